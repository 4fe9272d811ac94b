//! The rules of vault administration, through the queue, over an engine in memory.

use proptest::prelude::*;
use uuid::Uuid;
use valv_access::{AccessPolicy, BUILT_IN_ROLES, RoleAssignment, Scope};
use valv_engine::{GroupId, layout};
use valv_model::{ErrorCode, ObjectName, Operation, PrincipalId, Result, RetentionDays};

use super::*;
use crate::testing::{Fault, World, context, name, region, request};

fn principal(number: u64) -> PrincipalId {
    PrincipalId::parse(&format!("00000000-0000-4000-8000-{number:012x}")).unwrap()
}

fn policy(number: u64) -> AccessPolicy {
    AccessPolicy {
        object_id: principal(number),
        application_id: None,
        secrets: vec!["get".into()],
        keys: Vec::new(),
        certificates: Vec::new(),
    }
}

fn assignment(id: u128, scope: Scope) -> RoleAssignment {
    RoleAssignment { id: Uuid::from_u128(id), role: BUILT_IN_ROLES[0].id, principal: principal(1), scope }
}

async fn put(world: &World, put: VaultPut) -> Result<VaultView> {
    world.service.put_vault(&context(), &name("dev"), put, Ok(())).await
}

fn code<T>(result: Result<T>) -> ErrorCode {
    match result {
        Ok(_) => panic!("it was not refused"),
        Err(error) => error.code,
    }
}

#[tokio::test]
async fn what_is_fixed_at_creation_stays_and_purge_protection_is_only_switched_on() {
    let world = World::new().await;
    let days = |days| Some(RetentionDays::new(days).unwrap());
    let made = put(&world, VaultPut { retention: days(7), ..VaultPut::default() }).await.unwrap();
    assert!(made.properties.rbac && !made.properties.purge_protection);
    let again = put(&world, VaultPut { retention: days(7), ..VaultPut::default() }).await.unwrap();
    assert_eq!(
        (again.id, again.properties),
        (made.id.clone(), made.properties.clone()),
        "a retry changes nothing"
    );
    assert_eq!(
        code(put(&world, VaultPut { retention: days(8), ..VaultPut::default() }).await),
        ErrorCode::BadParameter
    );
    let protect = |on| VaultPut { purge_protection: Some(on), ..VaultPut::default() };
    assert!(put(&world, protect(true)).await.unwrap().properties.purge_protection);
    assert_eq!(code(put(&world, protect(false)).await), ErrorCode::BadParameter);
    let tags = (0..16).map(|n| (format!("t{n}"), String::new())).collect();
    assert_eq!(
        code(put(&world, VaultPut { tags: Some(tags), ..VaultPut::default() }).await),
        ErrorCode::BadParameter
    );
    let now = world.service.live(&name("dev")).await.unwrap();
    assert_eq!(now.state.properties.retention, RetentionDays::new(7).unwrap());
    assert!(now.state.properties.purge_protection && now.state.properties.tags.is_empty());
}

#[tokio::test]
async fn a_protected_vault_is_purged_by_nobody_before_its_time() {
    let world = World::new().await;
    put(&world, VaultPut { purge_protection: Some(true), ..VaultPut::default() }).await.unwrap();
    let world = &world;
    let purge = |purge| async move { world.service.purge_vault(&context(), &name("dev"), purge).await };
    assert_eq!(code(purge(Purge::Asked).await), ErrorCode::VaultNotFound, "it is live");
    let view = world.service.delete_vault(&context(), &name("dev")).await.unwrap();
    let deletion = view.properties.deleted.unwrap();
    assert_eq!(deletion.scheduled_purge, deletion.deleted.plus_days(90));
    assert_eq!(code(purge(Purge::Asked).await), ErrorCode::Forbidden);
    assert_eq!(code(purge(Purge::Due(deletion.scheduled_purge.plus(-1))).await), ErrorCode::Conflict);
    purge(Purge::Due(deletion.scheduled_purge)).await.unwrap();
    assert_eq!(code(purge(Purge::Asked).await), ErrorCode::VaultNotFound);
}

#[tokio::test]
async fn an_unknown_vault_is_404_for_every_operation() {
    let world = World::new().await;
    let (service, dev, context) = (&world.service, name("dev"), context());
    assert_eq!(code(service.live(&dev).await), ErrorCode::VaultNotFound);
    assert_eq!(code(service.delete_vault(&context, &dev).await), ErrorCode::VaultNotFound);
    assert_eq!(code(service.recover_vault(&context, &dev).await), ErrorCode::VaultNotFound);
    assert_eq!(code(service.purge_vault(&context, &dev, Purge::Asked).await), ErrorCode::VaultNotFound);
    assert_eq!(code(service.set_policy(&context, &dev, policy(1)).await), ErrorCode::VaultNotFound);
    assert_eq!(code(service.rotate_data_key(&context, &dev).await), ErrorCode::VaultNotFound);
    let at_vault = assignment(1, Scope::Vault { vault: dev });
    assert_eq!(code(service.assign(&context, at_vault).await), ErrorCode::VaultNotFound);
}

#[tokio::test]
async fn a_retry_of_a_deletion_gets_the_first_answer_and_another_deletion_404() {
    let world = World::new().await;
    world.vault("dev").await;
    let first = world.service.delete_vault(&request(1), &name("dev")).await.unwrap();
    world.clock.advance(60);
    let again = world.service.delete_vault(&request(1), &name("dev")).await.unwrap();
    assert_eq!(first.properties, again.properties);
    assert_eq!(code(world.service.delete_vault(&request(2), &name("dev")).await), ErrorCode::VaultNotFound);
    world.service.recover_vault(&request(3), &name("dev")).await.unwrap();
    world.service.recover_vault(&request(3), &name("dev")).await.unwrap();
    assert_eq!(code(world.service.recover_vault(&request(4), &name("dev")).await), ErrorCode::VaultNotFound);
}

#[tokio::test(start_paused = true)]
async fn f16_a_creation_whose_answer_was_lost_makes_one_vault() {
    for fault in [Fault::Lost, Fault::Dropped, Fault::Late(1), Fault::Late(3)] {
        let world = World::new().await;
        world.engine.faults.lock().unwrap().push_back(fault.clone());
        let made = put(&world, VaultPut::default()).await.unwrap();
        let seen = world.service.live(&name("dev")).await.unwrap();
        assert_eq!(seen.state.envelope.id, made.id, "{fault:?}");
        let heads = layout::heads(&GroupId::of_region(&region()));
        let heads = world.engine.records().keys().filter(|key| key.starts_with(&heads)).count();
        assert_eq!(heads, 1, "{fault:?}");
    }
}

#[tokio::test]
async fn two_creations_at_once_make_one_vault() {
    let world = World::new().await;
    let gate = world.engine.close_gate();
    let makers: Vec<_> = (0..8)
        .map(|_| {
            let service = std::sync::Arc::clone(&world.service);
            tokio::spawn(async move {
                service.put_vault(&context(), &name("dev"), VaultPut::default(), Ok(())).await
            })
        })
        .collect();
    gate.add_permits(1000);
    let mut ids = std::collections::HashSet::new();
    for maker in makers {
        ids.insert(maker.await.unwrap().unwrap().id);
    }
    assert_eq!(ids.len(), 1);
}

#[tokio::test]
async fn access_policies_are_set_replaced_removed_and_bounded() {
    let world = World::new().await;
    let vault = world.vault("dev").await;
    world.service.set_policy(&context(), &name("dev"), policy(1)).await.unwrap();
    let more = AccessPolicy { secrets: vec!["get".into(), "set".into()], ..policy(1) };
    let view = world.service.set_policy(&context(), &name("dev"), more.clone()).await.unwrap();
    assert_eq!(view.properties.policies, [more]);
    let fill = |state: &mut VaultState| {
        state.properties.policies = (1..=1024).map(policy).collect();
        Ok(())
    };
    world.service.change_vault(&vault, &context(), Operation::VaultPut, fill).await.unwrap();
    assert_eq!(
        code(world.service.set_policy(&context(), &name("dev"), policy(1025)).await),
        ErrorCode::BadParameter
    );
    world.service.set_policy(&context(), &name("dev"), policy(1024)).await.unwrap();
}

#[tokio::test]
async fn role_assignments_know_their_role_their_vault_and_their_bounds() {
    let world = World::new().await;
    let vault = world.vault("dev").await;
    let at = |number| assignment(number, Scope::Vault { vault: name("dev") });
    let assign = |assignment| async {
        let world = &world;
        world.service.assign(&context(), assignment).await
    };
    assign(at(1)).await.unwrap();
    assign(at(1)).await.unwrap();
    let other = assignment(1, Scope::Deployment);
    assert_eq!(code(assign(other).await), ErrorCode::Conflict, "an id stands for one assignment");
    let no_role = RoleAssignment { role: Uuid::nil(), ..at(2) };
    assert_eq!(code(assign(no_role).await), ErrorCode::BadParameter);
    let (vault_name, object) = (name("dev"), ObjectName::parse("a").unwrap());
    let odd = Scope::Object { vault: vault_name, collection: "things".into(), name: object };
    assert_eq!(code(assign(assignment(3, odd)).await), ErrorCode::BadParameter);
    assign(assignment(4, Scope::Deployment)).await.unwrap();
    assert_eq!(world.service.look(None).await.unwrap().registry.assignments.len(), 1);
    // Far beyond what a record can hold: the record's size refuses, and changes nothing.
    let fill = |count: u128| {
        move |state: &mut VaultState| {
            let scope = |n| Scope::Vault { vault: VaultName::parse(&format!("v{n}")).unwrap() };
            state.properties.assignments = (10..10 + count).map(|n| assignment(n, scope(n))).collect();
            Ok(())
        }
    };
    let filled = world.service.change_vault(&vault, &context(), Operation::VaultPut, fill(2000)).await;
    assert_eq!(code(filled), ErrorCode::BadParameter);
    world.service.change_vault(&vault, &context(), Operation::VaultPut, fill(1000)).await.unwrap();
    world.service.unassign(&context(), Uuid::from_u128(11)).await.unwrap();
    assert_eq!(world.service.live(&name("dev")).await.unwrap().state.properties.assignments.len(), 999);
    world.service.unassign(&context(), Uuid::from_u128(4)).await.unwrap();
    assert_eq!(code(world.service.unassign(&context(), Uuid::from_u128(4)).await), ErrorCode::NotFound);
}

#[tokio::test]
async fn f36_a_damaged_or_moved_vault_record_takes_down_its_own_vault_only() {
    let world = World::new().await;
    let (a, _) = (world.vault("vault-a").await, world.vault("vault-b").await);
    let place = |vault: &str| layout::vault(&a.group, &name(vault));
    let records = world.engine.records();
    let (of_a, of_b) = (records[&place("vault-a")].clone(), records[&place("vault-b")].clone());
    let fails =
        |vault: &'static str| async { world.service.look(Some(&name(vault))).await.err().map(|e| e.code) };
    let mut renamed: serde_json::Value = serde_json::from_slice(&of_b).unwrap();
    renamed["name"] = "vault-a".into();
    let mut flipped = of_a.to_vec();
    let middle = flipped.len() - 40;
    flipped[middle] ^= 1;
    for damage in [of_b.to_vec(), serde_json::to_vec(&renamed).unwrap(), flipped, b"{}".to_vec(), Vec::new()]
    {
        world.engine.put(place("vault-a"), damage.into());
        assert_eq!(fails("vault-a").await, Some(ErrorCode::InternalError));
        assert_eq!(fails("vault-b").await, None);
        assert_eq!(world.service.vaults(false).await.unwrap().len(), 1, "the list goes on");
        world.service.lifecycle_round().await.unwrap();
    }
    // A live record in the place of a deleted one, and the other way round.
    world.engine.put(layout::deleted_vault(&a.group, &name("vault-c")), of_b);
    assert_eq!(world.service.vaults(true).await.unwrap().len(), 0);
    // Repaired, it is there again: nothing of it was taken for purged.
    world.engine.put(place("vault-a"), of_a);
    let seen = world.service.look(Some(&name("vault-a"))).await.unwrap().vault.unwrap();
    world.service.set_policy(&context(), &name("vault-a"), policy(1)).await.unwrap();
    assert_eq!(seen.state, a.state);
}

proptest! {
    #[test]
    fn properties_read_back_and_unknown_fields_survive(days in 7..=90_u8, protect: bool, rbac: bool, field in "[a-z]{20}") {
        let text = serde_json::json!({
            "tenant": "00482a5a-887f-4fb3-b363-3b7fe8e74483", "region": "eastus", "retention": days,
            "purgeProtection": protect, "rbac": rbac, "created": 1, (field.as_str()): {"a": [1, 2]},
        });
        let properties: VaultProperties = serde_json::from_value(text.clone()).unwrap();
        let written = serde_json::to_value(&properties).unwrap();
        prop_assert_eq!(&written[&field], &text[&field]);
        prop_assert_eq!(serde_json::from_value::<VaultProperties>(written).unwrap(), properties);
    }
}
