//! A replica follows home.

use std::time::Duration;

use valv_engine::layout;
use valv_geo::apply::{LogBounds, ReplicaState, StopReason};
use valv_sealing::{LogRecord, VaultEnvelope};

use crate::home::{NOW, count, group, id};
use crate::world::{World, settings};

#[tokio::test(start_paused = true)]
async fn a_replica_takes_what_home_commits() {
    let mut world = World::new(1);
    let a = world.home.create("alpha").await;
    world.home.put(a, &[("secrets/A", b"1")]).await;
    let replica = world.follow();
    world.caught_up().await;
    for n in 0..50_u8 {
        world.home.put(a, &[("secrets/A", &[n]), (&format!("secrets/B{n}"), &[n])]).await;
    }
    let b = world.home.create("beta").await;
    world.home.put(b, &[("secrets/A", b"2")]).await;
    world.home.remove(a, &["secrets/B7"]).await;
    world.home.set_deleted(b, true).await;
    let report = world.caught_up().await;
    assert_eq!((report.vaults, report.undecided, report.leftover), (2, 0, 0));
    assert_eq!(world.home.stored(&world.pair, a, "secrets/A"), Some(vec![49]));
    assert_eq!(world.home.stored(&world.pair, a, "secrets/B7"), None);
    let status = replica.status();
    assert_eq!((status.behind_commits, status.applied_commits, status.copied_vaults), (0, 56, 0));
    assert!(status.lag.unwrap() < Duration::from_secs(2));
}

/// The replica's log holds home's records byte for byte, so that the chain can be followed on.
#[tokio::test(start_paused = true)]
async fn the_replica_keeps_homes_log() {
    let mut world = World::new(1);
    let a = world.home.create("alpha").await;
    for n in 0..30_u8 {
        world.home.put(a, &[("secrets/A", &[n])]).await;
    }
    world.follow();
    world.caught_up().await;
    let logs = layout::logs(&group(), &id(a));
    let log = |disk: &crate::engine::Disk| {
        disk.keys(&logs).iter().map(|key| disk.memory().records[key].clone()).collect::<Vec<_>>()
    };
    assert_eq!(log(&world.pair), log(&world.home.disk));
    assert_eq!(log(&world.pair).len(), 31);
}

/// F25: a vault that is behind the log is copied anew, alone, deletions included, and what it had is removed.
#[tokio::test(start_paused = true)]
async fn f25_a_vault_behind_the_log_is_copied_anew_alone() {
    let mut world = World::new(1);
    let (a, b) = (world.home.create("alpha").await, world.home.create("beta").await);
    for n in [a, b] {
        world.home.put(n, &[("secrets/A", b"1"), ("secrets/B", b"1")]).await;
    }
    world.follow();
    world.caught_up().await;
    world.running.clear();
    world.home.remove(a, &["secrets/B"]).await;
    for n in 0..20 {
        world.home.put(a, &[(&format!("secrets/C{n}"), b"2")]).await;
    }
    world.observe().await;
    world.home.trim(a, 5).await;
    let replica = world.follow();
    world.caught_up().await;
    let status = replica.status();
    assert_eq!((status.copied_vaults, status.applied_commits), (1, 0));
    assert_eq!(world.home.stored(&world.pair, a, "secrets/B"), None);
    // Commits go on in the new generation, through restarts too.
    world.home.put(a, &[("secrets/A", b"3")]).await;
    world.home.configure(a, "other properties").await;
    world.caught_up().await;
    world.running.clear();
    world.home.put(a, &[("secrets/A", b"4")]).await;
    world.follow();
    world.caught_up().await;
    assert_eq!(world.home.stored(&world.pair, a, "secrets/A"), Some(b"4".to_vec()));
    assert_eq!(generation(&world, a), 2);
    tokio::time::sleep(settings().grace * 2).await;
    let report = world.caught_up().await;
    assert_eq!((report.leftover, report.undecided), (0, 0), "the old generation is gone");
    let all = layout::all_data(&group(), &id(a));
    assert_eq!(count(&*world.pair.engine(), all).await, 21);
}

fn generation(world: &World, n: u32) -> u64 {
    let memory = world.pair.memory();
    let record = &memory.records[&layout::vault(&group(), &world.home.vaults[&n].name)];
    VaultEnvelope::decode(record).unwrap().generation
}

/// What an earlier task left between a copy and the removal of what it replaced is removed by the next one.
#[tokio::test(start_paused = true)]
async fn f24_what_a_copy_replaced_is_removed_after_a_crash_too() {
    let mut world = World::new(1);
    let a = world.home.create("alpha").await;
    world.home.put(a, &[("secrets/A", b"1")]).await;
    world.follow();
    world.caught_up().await;
    world.running.clear();
    world.home.put(a, &[("secrets/A", b"2")]).await;
    world.observe().await;
    world.home.trim(a, 0).await;
    world.follow();
    assert_eq!(world.caught_up().await.leftover, 1);
    world.running.clear();
    world.follow();
    tokio::time::sleep(settings().grace * 2).await;
    assert_eq!(world.caught_up().await.leftover, 0);
}

/// A name that was let go and taken again belongs to the new vault, whatever order the two are applied in.
#[tokio::test(start_paused = true)]
async fn a_name_passes_from_a_purged_vault_to_a_new_one() {
    for trimmed in [false, true] {
        let mut world = World::new(1);
        let a = world.home.create("alpha").await;
        world.home.put(a, &[("secrets/A", b"1")]).await;
        world.follow();
        world.caught_up().await;
        world.running.clear();
        world.home.set_deleted(a, true).await;
        world.home.purge(a).await;
        let b = world.home.create("alpha").await;
        world.home.put(b, &[("secrets/A", b"2")]).await;
        world.observe().await;
        if trimmed {
            world.home.sweep(a).await;
            world.home.trim(b, 1).await;
        }
        world.follow();
        world.caught_up().await;
        assert_eq!(world.home.stored(&world.pair, b, "secrets/A"), Some(b"2".to_vec()));
        let name = layout::vault(&group(), &world.home.vaults[&b].name);
        assert_eq!(VaultEnvelope::decode(&world.pair.memory().records[&name]).unwrap().id, id(b));
    }
}

/// The replica bounds its own log and removes what a purged vault leaves, as its home does.
#[tokio::test(start_paused = true)]
async fn a_replica_keeps_its_log_bounded_and_sweeps_purged_vaults() {
    let mut world = World::new(1);
    let (a, b) = (world.home.create("alpha").await, world.home.create("beta").await);
    for n in 0..80_u8 {
        world.home.put(a, &[("secrets/A", &[n])]).await;
        world.home.put(b, &[(&format!("secrets/{n}"), b"x")]).await;
    }
    world.home.set_deleted(b, true).await;
    world.home.purge(b).await;
    let replica = world.follow();
    world.caught_up().await;
    let bounds = LogBounds { commits_max: 10, bytes_max: u64::MAX, age_max_s: 3600 };
    replica.keep(bounds, NOW).await.unwrap();
    let left = |prefix: bytes::Bytes| world.pair.keys(&prefix).len();
    assert_eq!((left(layout::logs(&group(), &id(a))), left(layout::logs(&group(), &id(b)))), (10, 1));
    assert_eq!(left(layout::all_data(&group(), &id(b))), 0);
    assert_eq!(left(layout::all_data(&group(), &id(a))), 1);
    let bytes = LogBounds { commits_max: 100, bytes_max: 1000, age_max_s: 3600 };
    replica.keep(bytes, NOW).await.unwrap();
    assert!((1..10).contains(&left(layout::logs(&group(), &id(a)))));
    replica.keep(bounds, NOW.plus(3601)).await.unwrap();
    assert_eq!(left(layout::logs(&group(), &id(a))), 0);
    world.home.put(a, &[("secrets/A", b"after")]).await;
    world.caught_up().await;
}

/// F37: the largest commit that home takes can be applied, in a generation of the replica's own too.
#[tokio::test(start_paused = true)]
async fn f37_the_largest_commits_are_applied() {
    let mut world = World::new(1);
    let a = world.home.create("alpha").await;
    world.follow();
    world.caught_up().await;
    world.running.clear();
    world.observe().await;
    world.home.put(a, &[("secrets/A", b"1")]).await;
    world.observe().await;
    world.home.trim(a, 0).await;
    world.follow();
    world.caught_up().await;
    // The log record holds the value once more; what is left of the bound is keys, framing and tags.
    let large = vec![7; valv_engine::MAX_TRANSACTION_BYTES / 2 - 600];
    let names: Vec<String> = (0..118).map(|n| format!("secrets/{n:03}")).collect();
    let many: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"x"[..])).collect();
    for _ in 0..5 {
        world.home.put(a, &[("secrets/LARGE", &large)]).await;
        world.home.put(a, &many).await;
        world.home.configure(a, &"p".repeat(300_000)).await;
    }
    let report = world.caught_up().await;
    assert_eq!((report.vaults, report.undecided), (1, 0));
    tokio::time::sleep(settings().grace * 2).await;
    let commits = world.pair.keys(&layout::logs(&group(), &id(a))).len();
    assert_eq!(commits, 15);
    for key in world.home.disk.keys(&layout::logs(&group(), &id(a))) {
        assert!(LogRecord::decode(&world.home.disk.memory().records[&key]).is_ok());
    }
}

/// F24: three appliers at once do no harm, and none is needed more than the others.
#[tokio::test(start_paused = true)]
async fn f24_three_appliers_at_once() {
    let mut world = World::new(3);
    for disk in [&world.home.disk, &world.pair] {
        disk.faults.lock().unwrap().pause_ms = 20;
    }
    let a = world.home.create("alpha").await;
    for _ in 0..3 {
        world.follow();
    }
    for round in 0..6_u8 {
        for n in 0..20_u8 {
            world.home.put(a, &[("secrets/A", &[round, n]), (&format!("secrets/{n}"), &[round])]).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        world.observe().await;
        world.home.trim(a, 2).await;
        let report = world.check().await;
        assert_eq!(report.violations, Vec::<String>::new());
    }
    world.caught_up().await;
    world.running.truncate(1);
    world.home.put(a, &[("secrets/A", b"one is left")]).await;
    world.caught_up().await;
}

/// F24, F16: a transaction that the engine performs long after its applier gave up on it finds another head,
/// and does nothing.
#[tokio::test(start_paused = true)]
async fn f24_late_transactions_change_nothing() {
    let mut world = World::new(7);
    let a = world.home.create("alpha").await;
    *world.pair.faults.lock().unwrap() = crate::engine::Faults { commit: 60, read: 0, pause_ms: 30 };
    world.follow();
    world.follow();
    for n in 0..100_u8 {
        world.home.put(a, &[("secrets/A", &[n]), (&format!("secrets/{}", n % 7), &[n])]).await;
        tokio::time::sleep(Duration::from_millis(40)).await;
        let report = world.check().await;
        assert_eq!(report.violations, Vec::<String>::new());
    }
    world.caught_up().await;
}

/// F33: a root key that differs is found on applying, before the checkpoint moves, and it stops only what it concerns.
#[tokio::test(start_paused = true)]
async fn f33_a_wrong_root_key_stops_the_replica() {
    let mut world = World::new(1);
    let a = world.home.create("alpha").await;
    world.home.put(a, &[("secrets/A", b"1")]).await;
    let right = std::sync::Arc::clone(&world.home.keyring);
    let wrong = crate::world::start(&world.pair, crate::home::keyring(), world.shipper(), settings());
    world.running.push(wrong);
    let state = world.reaches(|state| matches!(state, ReplicaState::Stopped(_))).await;
    assert!(matches!(state, ReplicaState::Stopped(StopReason::WrongRootKey { .. })), "{state:?}");
    assert_eq!(world.pair.keys(&layout::heads(&group())).len(), 0, "the checkpoint has not moved");
    // The same where a vault is copied whole.
    world.observe().await;
    world.home.trim(a, 0).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(matches!(
        world.running[0].replica.status().state,
        ReplicaState::Stopped(StopReason::WrongRootKey { .. })
    ));
    assert_eq!(world.pair.keys(&layout::heads(&group())).len(), 0);
    world.running.clear();
    world.running.push(crate::world::start(&world.pair, right, world.shipper(), settings()));
    world.caught_up().await;
}
