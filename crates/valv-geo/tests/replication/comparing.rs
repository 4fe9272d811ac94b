//! F26: what differs is found within a round, and repaired.

use std::time::Duration;

use valv_engine::layout;
use valv_geo::apply::ReplicaSettings;

use crate::home::{group, id};
use crate::world::{World, settings};

fn often() -> ReplicaSettings {
    ReplicaSettings { compare: Duration::from_secs(5), ..settings() }
}

/// A replica with 100 records in one vault.
async fn world() -> (World, u32) {
    let mut world = World::new(1);
    let a = world.home.create("alpha").await;
    for n in 0..100_u8 {
        world.home.put(a, &[(&format!("secrets/{n:03}"), &[n])]).await;
    }
    let shipper = world.shipper();
    world.follow_with(shipper, often());
    world.caught_up().await;
    (world, a)
}

/// Waits for the next rounds of comparison to end.
async fn rounds() {
    tokio::time::sleep(Duration::from_secs(16)).await;
}

#[tokio::test(start_paused = true)]
async fn f26_damaged_swapped_deleted_and_foreign_records_are_repaired() {
    let (mut world, a) = world().await;
    let key = |path: &str| [&*layout::data(&group(), &id(a), 1), path.as_bytes()].concat();
    let value = |path: &str| world.pair.memory().records[&*key(path)].clone();
    world.pair.damage(&key("secrets/003"), |value| value[20] ^= 1);
    let (one, other) = (value("secrets/010"), value("secrets/011"));
    world.pair.memory().records.insert(key("secrets/010").into(), other);
    world.pair.memory().records.insert(key("secrets/011").into(), one);
    world.pair.memory().records.remove(&*key("secrets/050"));
    world.pair.memory().records.insert(key("secrets/foreign").into(), "x".into());
    assert_eq!(world.check().await.violations.len(), 5);
    rounds().await;
    assert_eq!(world.check().await.violations, Vec::<String>::new());
    let status = world.running[0].replica.status();
    assert_eq!((status.repaired_records, status.copied_vaults, status.damaged_at_home), (5, 0, 0));
    // Nothing is repaired twice.
    rounds().await;
    assert_eq!(world.running[0].replica.status().repaired_records, 5);
}

/// The same in a generation of the replica's own, while commits go on.
#[tokio::test(start_paused = true)]
async fn f26_repairs_go_on_under_writes_and_in_another_generation() {
    let (mut world, a) = world().await;
    world.running.clear();
    world.home.put(a, &[("secrets/000", b"x")]).await;
    world.observe().await;
    world.home.trim(a, 0).await;
    let shipper = world.shipper();
    world.follow_with(shipper, often());
    world.caught_up().await;
    let key = [&*layout::data(&group(), &id(a), 2), b"secrets/003"].concat();
    world.pair.damage(&key, |value| value[20] ^= 1);
    for n in 0..160_u8 {
        world.home.put(a, &[("secrets/busy", &[n])]).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    rounds().await;
    let report = world.caught_up().await;
    assert_eq!(report.vaults, 1);
    assert!(world.running[0].replica.status().repaired_records >= 1);
}

/// The vault's own record, its head, and the replica's note on its generation.
#[tokio::test(start_paused = true)]
async fn f26_a_damaged_vault_record_or_head_is_repaired() {
    for changed in ["record", "head", "record removed", "another record"] {
        let (mut world, a) = world().await;
        let name = layout::vault(&group(), &world.home.vaults[&a].name);
        match changed {
            "record" => world.pair.damage(&name, |record| record[0] = b'?'),
            "head" => world.pair.damage(&layout::head(&group(), &id(a)), |head| head[0] ^= 1),
            "record removed" => drop(world.pair.memory().records.remove(&name)),
            _ => world.pair.damage(&name, |record| {
                let text = String::from_utf8(record.clone()).unwrap();
                *record = text.replace("\"kept\"", "\"lost\"").into();
            }),
        }
        rounds().await;
        rounds().await;
        let report = world.caught_up().await;
        assert_eq!((report.vaults, report.records), (1, 101), "{changed}");
        world.home.put(a, &[("secrets/after", b"1")]).await;
        world.caught_up().await;
    }
}

/// F36: damage at home is not copied: the replica keeps what opens, and says so.
#[tokio::test(start_paused = true)]
async fn f36_damage_at_home_is_not_copied() {
    let (mut world, a) = world().await;
    let key = [&*layout::data(&group(), &id(a), 1), b"secrets/003"].concat();
    let whole = world.home.disk.memory().records[&*key].clone();
    world.home.disk.damage(&key, |value| value[20] ^= 1);
    rounds().await;
    assert_eq!(world.home.stored(&world.pair, a, "secrets/003"), Some(vec![3]));
    assert_eq!(world.running[0].replica.status().damaged_at_home, 1);
    world.home.disk.memory().records.insert(key.into(), whole);
    rounds().await;
    assert_eq!(world.running[0].replica.status().damaged_at_home, 0);
    world.caught_up().await;
}
