//! The operations over a whole service: sealed records, the vault's queue, an engine that fails on demand.

use std::sync::Arc;

use bytes::Bytes;
use valv_engine::layout;
use valv_model::ErrorCode;

use super::super::{set, *};
use super::bench::{all, name as secret, value};
use crate::objects::desk::Live;
use crate::objects::{backup, delete, list, restore};
use crate::testing::{Fault, World, context, name, request};

fn live<'a>(world: &'a World, vault: &'a Vault) -> Live<'a> {
    Live { service: &world.service, vault }
}

/// The stored keys of a vault's records whose path begins so.
fn keys(world: &World, vault: &Vault, path: &str) -> Vec<Bytes> {
    let prefix = layout::data(&vault.group, &vault.state.envelope.id, 1);
    let prefix = [&prefix[..], path.as_bytes()].concat();
    world.engine.records().into_keys().filter(|key| key.starts_with(&prefix)).collect()
}

#[tokio::test(start_paused = true)]
async fn f37_the_largest_histories_pass_the_queue_and_outlive_their_vault() {
    let world = World::new().await;
    let vault = world.vault("from").await;
    let (desk, n) = (live(&world, &vault), secret("large"));
    // Characters that JSON writes in six bytes.
    let text = |at: usize| format!("{at:03}{}", "\u{1}".repeat(MAX_VALUE_BYTES - 3));
    for at in 0..MAX_BACKUP_VERSIONS {
        set::set(&desk, &context(), &n, value(&text(at))).await.unwrap();
    }
    let blob = backup::backup::<Secret>(&desk, &n).await.unwrap();
    delete::delete::<Secret>(&desk, &context(), &n).await.unwrap();
    delete::purge::<Secret>(&desk, &context(), &n).await.unwrap();
    assert!(keys(&world, &vault, "").is_empty());
    world.service.delete_vault(&context(), &name("from")).await.unwrap();

    let other = world.vault("other").await;
    let desk = live(&world, &other);
    let commits = world.engine.commits.load(std::sync::atomic::Ordering::SeqCst);
    let item = restore::restore::<Secret>(&desk, &context(), &blob).await.unwrap();
    assert!(world.engine.commits.load(std::sync::atomic::Ordering::SeqCst) - commits > 40);
    assert_eq!(keys(&world, &other, "").len(), MAX_BACKUP_VERSIONS + 1);
    let got = set::get(&desk, &n, None).await.unwrap();
    assert_eq!((got.item.version, got.value.to_string()), (item.version, text(MAX_BACKUP_VERSIONS - 1)));
}

#[tokio::test(start_paused = true)]
async fn f37_a_secret_of_the_largest_size_passes_the_queue() {
    let world = World::new().await;
    let vault = world.vault("dev").await;
    let (desk, n) = (live(&world, &vault), secret(&"n".repeat(127)));
    let mut largest = value(&"\u{1}".repeat(MAX_VALUE_BYTES));
    largest.tags = (0..15)
        .map(|i| (format!("{i:02}{}", "\u{1}".repeat(MAX_TAG_CHARS - 2)), "\u{1}".repeat(MAX_TAG_CHARS)))
        .collect();
    largest.content_type = Some("\u{1}".repeat(MAX_CONTENT_TYPE_CHARS));
    let tags = largest.tags.clone();
    set::set(&desk, &context(), &n, largest).await.unwrap();
    let update = SecretUpdate { tags: Some(tags), ..SecretUpdate::default() };
    set::update(&desk, &context(), &n, None, update).await.unwrap();
    delete::delete::<Secret>(&desk, &context(), &n).await.unwrap();
    delete::recover::<Secret>(&desk, &context(), &n).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn writers_of_one_secret_at_once_make_one_line_of_versions() {
    let world = World::new().await;
    let vault = world.vault("dev").await;
    let mut tasks = tokio::task::JoinSet::new();
    for at in 0..64 {
        let (service, vault) = (Arc::clone(&world.service), Arc::clone(&vault));
        tasks.spawn(async move {
            let desk = Live { service: &service, vault: &vault };
            set::set(&desk, &context(), &secret("a"), value(&at.to_string())).await.map(|made| made.item)
        });
    }
    let mut made: Vec<SecretItem> = tasks.join_all().await.into_iter().map(Result::unwrap).collect();
    made.sort_by(|a, b| a.version.cmp(&b.version));
    let mut previous = None;
    for item in &made {
        assert_eq!(item.previous_version, previous);
        previous = Some(item.version.clone());
    }
    let current = set::get(&live(&world, &vault), &secret("a"), None).await.unwrap();
    assert_eq!(Some(current.item.version), previous);
}

#[tokio::test(start_paused = true)]
async fn f02_a_write_whose_answer_was_lost_is_done_once() {
    for fault in [Fault::Lost, Fault::Dropped, Fault::Late(2)] {
        let mut world = World::new().await;
        let vault = world.vault("dev").await;
        let n = secret("a");
        world.engine.faults.lock().unwrap().push_back(fault.clone());
        let first = set::set(&live(&world, &vault), &request(1), &n, value("one")).await.unwrap().item;
        // The client never heard of it, and asks another process.
        world.restart().await;
        let again = set::set(&live(&world, &vault), &request(1), &n, value("one")).await.unwrap();
        assert_eq!((&again.item.version, again.value.as_str()), (&first.version, "one"), "{fault:?}");
        let page = list::versions::<Secret>(&live(&world, &vault), &n, &all()).await.unwrap();
        assert_eq!(page.items.len(), 1, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn f36_no_changed_byte_and_no_moved_record_is_ever_answered() {
    let world = World::new().await;
    let vault = world.vault("dev").await;
    let desk = live(&world, &vault);
    for text in ["a", "b"] {
        set::set(&desk, &context(), &secret(text), value(text)).await.unwrap();
    }
    let neighbour = async || {
        assert_eq!(*set::get(&desk, &secret("b"), None).await.unwrap().value, "b");
    };
    let refused = async |text: &str| {
        let error = set::get(&desk, &secret(text), None).await.err().expect("a refusal");
        assert_eq!(error.code, ErrorCode::InternalError);
    };
    for path in ["secrets/A", "secretversions/A/"] {
        let key = keys(&world, &vault, path).remove(0);
        let stored = world.engine.records()[&key].to_vec();
        for at in 0..stored.len() {
            let mut changed = stored.clone();
            changed[at] ^= 1 << (at % 8);
            world.engine.put(key.clone(), changed.into());
            refused("a").await;
            if path == "secrets/A" {
                // It can be neither written nor listed, and its neighbours can.
                let error = set::set(&desk, &context(), &secret("a"), value("new")).await.err().unwrap();
                assert_eq!(error.code, ErrorCode::InternalError);
                let listed = list::live::<Secret>(&desk, &all()).await.unwrap().items;
                assert_eq!(listed.iter().map(|item| item.name.as_str()).collect::<Vec<_>>(), ["b"]);
            }
            neighbour().await;
        }
        world.engine.put(key, stored.into());
        assert_eq!(*set::get(&desk, &secret("a"), None).await.unwrap().value, "a");
    }
    // Each other's records, of one kind.
    for path in ["secrets/", "secretversions/"] {
        let keys = keys(&world, &vault, path);
        let records = world.engine.records();
        world.engine.put(keys[0].clone(), records[&keys[1]].clone());
        world.engine.put(keys[1].clone(), records[&keys[0]].clone());
        refused("a").await;
        refused("b").await;
        for key in keys {
            world.engine.put(key.clone(), records[&key].clone());
        }
        neighbour().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_looked_before_the_data_key_was_rotated_reads_what_came_after() {
    let world = World::new().await;
    let before = world.vault("dev").await;
    let (desk, n) = (live(&world, &before), secret("a"));
    set::set(&desk, &context(), &n, value("one")).await.unwrap();
    world.service.rotate_data_key(&context(), &name("dev")).await.unwrap();
    set::set(&desk, &context(), &n, value("two")).await.unwrap();
    assert_eq!(*set::get(&desk, &n, None).await.unwrap().value, "two");
    assert_eq!(list::live::<Secret>(&desk, &all()).await.unwrap().items.len(), 1);
    assert_eq!(list::versions::<Secret>(&desk, &n, &all()).await.unwrap().items.len(), 2);
}
