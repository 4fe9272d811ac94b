//! A store's first content and the deployment's own records.

use valv_access::{Role, Scope};
use valv_engine::{GroupId, layout};
use valv_model::{ErrorCode, Result};
use zeroize::Zeroizing;

use super::*;
use crate::testing::{Fault, World, barrier, context, empty_store, region, request, settings, tenant};
use crate::{ManualClock, Service};

fn client(number: u8) -> ClientId {
    ClientId::parse(&format!("00000000-0000-4000-8000-0000000000{number:02x}")).unwrap()
}

fn named(name: &str) -> ClientPut {
    ClientPut { name: Some(name.into()), generate_secret: true, ..ClientPut::default() }
}

fn code<T>(result: Result<T>) -> ErrorCode {
    match result {
        Ok(_) => panic!("it was not refused"),
        Err(error) => error.code,
    }
}

#[tokio::test(start_paused = true)]
async fn init_makes_one_administrator_in_one_commit_and_is_refused_the_second_time() {
    for fault in [Fault::None, Fault::Lost, Fault::Dropped, Fault::Late(2)] {
        let (engine, keyring) = empty_store();
        let barrier = barrier(&engine, &keyring).await;
        let clock = std::sync::Arc::new(ManualClock::at(1));
        engine.faults.lock().unwrap().push_back(fault.clone());
        let admin = init(&barrier, &*clock, &region(), &tenant()).await.unwrap();
        assert_eq!(
            code(init(&barrier, &*clock, &region(), &tenant()).await),
            ErrorCode::Conflict,
            "{fault:?}"
        );
        let service = Service::open(barrier, clock, settings()).await.unwrap();
        let registry = service.look(None).await.unwrap().registry;
        assert_eq!((registry.clients.len(), registry.signing_keys.len(), registry.commit), (1, 1, 1));
        let known = &registry.clients[&admin.id];
        assert_eq!((known.name.as_str(), &known.principal), ("admin", &admin.principal));
        assert!(known.secrets[0].matches(&admin.secret.unwrap()));
        let [assignment] = &registry.assignments[..] else { panic!("one assignment") };
        assert_eq!((&assignment.principal, &assignment.scope), (&admin.principal, &Scope::Deployment));
        let role = Role::find(assignment.role).unwrap();
        assert_eq!(
            (role.name, role.data_actions.len()),
            ("Valv Administrator", 0),
            "no access to any secret"
        );
    }
}

#[tokio::test]
async fn a_store_without_a_system_vault_is_not_served() {
    let (engine, keyring) = empty_store();
    let barrier = barrier(&engine, &keyring).await;
    let clock = std::sync::Arc::new(ManualClock::at(1));
    let error = Service::open(barrier, clock, settings()).await.err().unwrap();
    assert!(error.detail.unwrap().contains("valv init"));
}

#[tokio::test]
async fn a_client_is_registered_changed_and_removed_and_every_request_sees_it_at_once() {
    let world = World::new().await;
    let service = &world.service;
    let unnamed = ClientPut { generate_secret: true, ..ClientPut::default() };
    assert_eq!(code(service.put_client(&context(), &client(1), unnamed).await), ErrorCode::BadParameter);
    let made = service.put_client(&request(1), &client(1), named("app")).await.unwrap();
    let secrets = |number| {
        let id = client(number);
        async move { service.look(None).await.unwrap().registry.clients.get(&id).map(|c| c.secrets.clone()) }
    };
    assert!(secrets(1).await.unwrap()[0].matches(&made.secret.unwrap()));
    // The secret of a lost answer cannot be shown again, and no second one is made.
    assert_eq!(code(service.put_client(&request(1), &client(1), named("app")).await), ErrorCode::Conflict);
    assert_eq!(secrets(1).await.unwrap().len(), 1);
    let chosen =
        |text: &str| ClientPut { chosen_secret: Some(Zeroizing::new(text.into())), ..ClientPut::default() };
    assert_eq!(
        code(service.put_client(&context(), &client(1), chosen("short")).await),
        ErrorCode::BadParameter
    );
    service.put_client(&context(), &client(1), chosen("a long chosen secret")).await.unwrap();
    assert!(secrets(1).await.unwrap()[1].matches("a long chosen secret"));
    for _ in 2..10 {
        service.put_client(&context(), &client(1), named("app")).await.unwrap();
    }
    assert_eq!(code(service.put_client(&context(), &client(1), named("app")).await), ErrorCode::BadParameter);
    service.delete_client(&context(), &client(1)).await.unwrap();
    assert!(secrets(1).await.is_none());
    assert_eq!(code(service.delete_client(&context(), &client(1)).await), ErrorCode::NotFound);
}

#[tokio::test]
async fn f36_a_damaged_client_locks_out_nobody_else() {
    let world = World::new().await;
    for number in [1, 2] {
        world.service.put_client(&context(), &client(number), named("app")).await.unwrap();
    }
    let system = registry::system_vault(&world.service.node).await.unwrap();
    let data = layout::data(&GroupId::system(), &system.state.envelope.id, 1);
    let key = |number| [&data[..], format!("{}{}", registry::CLIENTS, client(number)).as_bytes()].concat();
    let records = world.engine.records();
    // The record of the second client in the place of the first.
    world.engine.put(key(1).into(), records[&key(2)[..]].clone());
    world.service.put_client(&context(), &client(3), named("app")).await.unwrap();
    let known: Vec<_> = world.service.look(None).await.unwrap().registry.clients.keys().cloned().collect();
    assert_eq!(known, [client(2), client(3)]);
    world.service.delete_client(&context(), &client(1)).await.unwrap();
}
