//! The operations over a whole service: sealed records, the vault's queue, an engine that fails on demand.

use std::sync::Arc;

use bytes::Bytes;
use valv_engine::layout;
use valv_model::ErrorCode;

use super::super::{records, *};
use super::bench::{all, ec, name as key, of};
use crate::objects::desk::Live;
use crate::objects::read;
use crate::objects::records::{Object, Version};
use crate::testing::{Fault, World, context, name, request};

fn live<'a>(world: &'a World, vault: &'a Vault) -> Live<'a> {
    Live { service: &world.service, vault }
}

async fn create(world: &World, vault: &Vault, context: &WriteContext, n: &ObjectName) -> Result<KeyBundle> {
    records::create(&world.service.pool, &live(world, vault), context, n, ec()).await
}

/// The private key of the current version, as an operation with it opens it.
async fn open(world: &World, vault: &Vault, n: &ObjectName) -> Result<valv_crypto::PrivateKey> {
    let (_, stored): (Object<Key>, Version<Key>) = read::version(&live(world, vault), n, None).await?;
    valv_crypto::PrivateKey::from_stored(&stored.value.0)
}

/// The stored keys of a vault's records whose path begins so.
fn stored(world: &World, vault: &Vault, path: &str) -> Vec<Bytes> {
    let prefix = layout::data(&vault.group, &vault.state.envelope.id, 1);
    let prefix = [&prefix[..], path.as_bytes()].concat();
    world.engine.records().into_keys().filter(|key| key.starts_with(&prefix)).collect()
}

#[tokio::test]
async fn f02_a_creation_whose_answer_was_lost_makes_one_key() {
    for fault in [Fault::Lost, Fault::Dropped, Fault::Late(2)] {
        let mut world = World::new().await;
        let vault = world.vault("dev").await;
        let n = key("a");
        world.engine.faults.lock().unwrap().push_back(fault.clone());
        let first = create(&world, &vault, &request(1), &n).await.unwrap();
        // The client never heard of it, and asks another process, which makes another key in vain.
        world.restart().await;
        let again = create(&world, &vault, &request(1), &n).await.unwrap();
        assert_eq!((&again.item.version, &again.public), (&first.item.version, &first.public), "{fault:?}");
        assert_eq!(open(&world, &vault, &n).await.unwrap().public(), first.public, "{fault:?}");
        let page = list::versions::<Key>(&live(&world, &vault), &n, &all()).await.unwrap();
        assert_eq!(page.items.len(), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn writers_of_one_key_at_once_make_one_line_of_versions() {
    let world = World::new().await;
    let vault = world.vault("dev").await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let (service, vault) = (Arc::clone(&world.service), Arc::clone(&vault));
        tasks.spawn(async move {
            let desk = Live { service: &service, vault: &vault };
            records::create(&service.pool, &desk, &context(), &key("a"), of(KeyType::Ec)).await.unwrap()
        });
    }
    let mut made = tasks.join_all().await;
    made.sort_by(|a, b| a.item.version.cmp(&b.item.version));
    made.dedup_by(|a, b| a.item.version == b.item.version);
    assert_eq!(made.len(), 32);
    let current = open(&world, &vault, &key("a")).await.unwrap();
    assert_eq!(Some(current.public()), made.pop().map(|last| last.public));
}

#[tokio::test]
async fn f36_no_changed_byte_and_no_moved_record_is_ever_used() {
    let world = World::new().await;
    let vault = world.vault("dev").await;
    for text in ["a", "b"] {
        create(&world, &vault, &context(), &key(text)).await.unwrap();
    }
    let refused = async |text: &str| {
        let error = open(&world, &vault, &key(text)).await.expect_err("a refusal");
        assert_eq!(error.code, ErrorCode::InternalError);
    };
    for path in ["keys/A", "keyversions/A/"] {
        let key_of = stored(&world, &vault, path).remove(0);
        let record = world.engine.records()[&key_of].to_vec();
        for at in 0..record.len() {
            let mut changed = record.clone();
            changed[at] ^= 1 << (at % 8);
            world.engine.put(key_of.clone(), changed.into());
            refused("a").await;
            if path == "keys/A" {
                let error = create(&world, &vault, &context(), &key("a")).await.err().unwrap();
                assert_eq!(error.code, ErrorCode::InternalError);
            }
            open(&world, &vault, &key("b")).await.unwrap();
        }
        world.engine.put(key_of, record.into());
        open(&world, &vault, &key("a")).await.unwrap();
    }
    // Each other's records, of one kind.
    for path in ["keys/", "keyversions/"] {
        let places = stored(&world, &vault, path);
        let records = world.engine.records();
        world.engine.put(places[0].clone(), records[&places[1]].clone());
        world.engine.put(places[1].clone(), records[&places[0]].clone());
        refused("a").await;
        refused("b").await;
        for place in places {
            world.engine.put(place.clone(), records[&place].clone());
        }
    }
    // All of b moved to a's name: whole and consistent, and still not a.
    let records = world.engine.records();
    for path in ["keys/", "keyversions/"] {
        let places = stored(&world, &vault, path);
        let moved = String::from_utf8(places[1].to_vec()).unwrap().replace("/B", "/A");
        world.engine.put(moved.into(), records[&places[1]].clone());
    }
    refused("a").await;
    let shown = records::get(&live(&world, &vault), &key("a"), None).await;
    assert_eq!(shown.err().map(|error| error.code), Some(ErrorCode::InternalError));
    open(&world, &vault, &key("b")).await.unwrap();
}

#[tokio::test]
async fn a_deleted_key_goes_when_its_time_has_come_and_not_before() {
    const DAY: i64 = 86_400;
    let world = World::new().await;
    let vault = world.vault("dev").await;
    for text in ["gone", "stays"] {
        create(&world, &vault, &context(), &key(text)).await.unwrap();
    }
    world.service.lifecycle_round().await.unwrap();
    delete::delete::<Key>(&live(&world, &vault), &context(), &key("gone")).await.unwrap();
    world.clock.advance(90 * DAY - 1);
    world.service.lifecycle_round().await.unwrap();
    assert_eq!(stored(&world, &vault, "deletedkeys/").len(), 1, "a second early");
    world.clock.advance(1);
    world.service.lifecycle_round().await.unwrap();
    assert!(stored(&world, &vault, "deletedkeys/").is_empty());
    assert_eq!(stored(&world, &vault, "keyversions/").len(), 1);
    open(&world, &vault, &key("stays")).await.unwrap();
}

#[tokio::test]
async fn a_restored_key_signs_in_another_vault_after_its_own_is_gone() {
    let world = World::new().await;
    let from = world.vault("from").await;
    let made = create(&world, &from, &context(), &key("a")).await.unwrap();
    let blob = backup::backup::<Key>(&live(&world, &from), &key("a")).await.unwrap();
    world.service.delete_vault(&context(), &name("from")).await.unwrap();
    let other = world.vault("other").await;
    let restored = restore::restore::<Key>(&live(&world, &other), &context(), &blob).await.unwrap();
    assert_eq!(restored.item.version, made.item.version);
    let private = open(&world, &other, &key("a")).await.unwrap();
    let digest = [7; 32];
    let signature = private.sign(Algorithm::Es256, &digest).unwrap();
    assert!(private.verify(Algorithm::Es256, &digest, &signature).unwrap());
    assert_eq!(private.public(), made.public);
}
