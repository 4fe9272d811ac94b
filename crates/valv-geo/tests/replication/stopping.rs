//! What is not a continuation is not followed (F27); a person chooses, and both choices work.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use valv_engine::{Epoch, GroupId, GroupMeta, Lineage, layout};
use valv_geo::apply::{ReplicaState, StopReason, accept, copied, rebuild, rebuilding};
use valv_geo::ship::Shipper;
use valv_geo::source::{BucketPage, Buckets, CopyStream, HeadsStream, LogAnswer, Source, SourceError};
use valv_model::VaultId;
use valv_sealing::Head;

use crate::engine::Disk;
use crate::home::{Home, group, groups, home_region, id, pair_region};
use crate::world::World;

/// A home that the pair has copied, with a backup that is older than what was copied.
async fn restored(new_lineage: bool) -> (World, Home) {
    let mut world = World::new(1);
    let a = world.home.create("alpha").await;
    world.home.put(a, &[("secrets/A", b"1"), ("secrets/B", b"1")]).await;
    let mut backup = world.home.disk.memory().clone();
    let mut home = Home::new(world.home.disk.clone(), Arc::clone(&world.home.keyring));
    home.vaults = world.home.vaults.clone();
    for n in 0..30_u8 {
        world.home.put(a, &[("secrets/A", &[n])]).await;
    }
    let b = world.home.create("beta").await;
    world.home.put(b, &[("secrets/A", b"1")]).await;
    world.follow();
    world.caught_up().await;
    world.running.clear();
    world.observe().await;
    if new_lineage {
        backup.lineage = Lineage(uuid::Uuid::from_u128(77));
    }
    world.home.disk.restore(backup);
    (world, home)
}

/// What the pair holds, its own notes left out.
fn content(disk: &Disk) -> Vec<(Bytes, Bytes)> {
    disk.memory().records.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

#[tokio::test(start_paused = true)]
async fn f27_a_restored_home_is_not_followed() {
    let (mut world, mut home) = restored(true).await;
    let before = content(&world.pair);
    // Numbers are used again for other content, and beyond those that were copied.
    for n in 0..60_u8 {
        home.put(0, &[("secrets/A", &[100 + n])]).await;
    }
    world.follow();
    let state = world.reaches(|state| matches!(state, ReplicaState::Stopped(_))).await;
    let copied = Lineage(uuid::Uuid::from_u128(1));
    let now = Lineage(uuid::Uuid::from_u128(77));
    assert_eq!(state, ReplicaState::Stopped(StopReason::LineageChanged { copied, now }));
    tokio::time::sleep(std::time::Duration::from_secs(20)).await;
    assert_eq!(content(&world.pair), before);
}

#[tokio::test(start_paused = true)]
async fn f27_an_older_home_of_the_same_lineage_is_not_followed() {
    let (mut world, mut home) = restored(false).await;
    let before = content(&world.pair);
    world.follow();
    let state = world.reaches(|state| matches!(state, ReplicaState::Stopped(_))).await;
    assert!(matches!(state, ReplicaState::Stopped(StopReason::HomeBehind { .. })), "{state:?}");
    // It catches up with other content: the numbers say nothing then, the chain does.
    for n in 0..60_u8 {
        home.put(0, &[("secrets/A", &[100 + n])]).await;
    }
    let broken =
        |state: &ReplicaState| matches!(state, ReplicaState::Stopped(StopReason::ChainBroken { .. }));
    world.reaches(broken).await;
    world.running.clear();
    world.follow();
    world.reaches(broken).await;
    assert_eq!(content(&world.pair), before);
}

/// The operator keeps the restored home.
#[tokio::test(start_paused = true)]
async fn f27_the_restored_home_can_be_accepted() {
    let (mut world, mut home) = restored(true).await;
    for n in 0..5_u8 {
        home.put(0, &[("secrets/A", &[100 + n])]).await;
    }
    let lineage = world.home.disk.memory().lineage;
    let engine = world.pair.engine();
    assert_eq!(accept(&*engine, &group(), &pair_region(), lineage).await, Ok(2));
    assert_eq!(accept(&*engine, &group(), &pair_region(), lineage).await, Ok(0));
    world.history = valv_geo::verify::History::new(group());
    world.home = home;
    world.follow();
    world.reaches(|state| *state == ReplicaState::Following).await;
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    world.home.put(0, &[("secrets/C", b"1")]).await;
    let report = world.caught_up().await;
    assert_eq!((report.vaults, report.leftover), (1, 0));
    assert_eq!(world.home.stored(&world.pair, 0, "secrets/A"), Some(vec![104]));
    assert_eq!(
        world.pair.keys(&layout::all_data(&group(), &id(1))).len(),
        0,
        "the vault that home does not have"
    );
    assert_eq!(world.pair.keys(&layout::vaults(&group())).len(), 1);
    let copied = copied(&*world.pair.engine(), &group()).await.unwrap().unwrap();
    assert_eq!((copied.lineage, copied.heads.len(), copied.complete), (lineage, 1, true));
}

/// The operator rebuilds home from the pair, which is newer: nothing is lost, numbers and chains go on, and
/// the pair follows by itself.
#[tokio::test(start_paused = true)]
async fn f27_home_is_rebuilt_from_the_pair() {
    let mut world = World::new(1);
    let (a, b) = (world.home.create("alpha").await, world.home.create("beta").await);
    for n in 0..300_u32 {
        world.home.put(a, &[(&format!("secrets/{n}"), &[7; 100])]).await;
    }
    world.home.set_deleted(b, true).await;
    let c = world.home.create("gamma").await;
    world.home.set_deleted(c, true).await;
    world.home.purge(c).await;
    world.follow();
    world.caught_up().await;
    world.running.clear();
    let lost = Arc::clone(&world.home.keyring);
    // The disks are gone: an empty store of another lineage.
    let empty = Disk::new(9, &groups(), 5);
    let pair: Arc<dyn Source> = Arc::new(Shipper::new(world.pair.engine()));
    let engine = empty.engine();
    // It breaks off at every point, and is called again.
    let mut rebuilt = Err(None);
    for round in 0..200 {
        let faults = if round < 100 { 40 } else { 0 };
        *empty.faults.lock().unwrap() = crate::engine::Faults { commit: 0, read: faults, pause_ms: 0 };
        rebuilt = rebuild(&*engine, &lost, &pair, &group(), &home_region()).await.map_err(Some);
        if rebuilt.is_ok() {
            break;
        }
        empty.faults.lock().unwrap().read = 0;
        if rebuilding(&*engine, &group()).await.unwrap() {
            let half: Arc<dyn Source> = Arc::new(Shipper::new(empty.engine()));
            let events = half.heads(&group()).await.unwrap();
            assert!(
                futures::StreamExt::into_future(events).await.0.unwrap().is_err(),
                "a half store is not shipped"
            );
        }
    }
    let rebuilt = rebuilt.unwrap();
    assert_eq!((rebuilt.vaults, rebuilt.continues), (3, Lineage(uuid::Uuid::from_u128(1))));
    assert!(!rebuilding(&*engine, &group()).await.unwrap());
    let again = rebuild(&*engine, &lost, &pair, &group(), &home_region()).await;
    assert!(again.is_err(), "a store that is full is not filled");
    let vaults = world.home.vaults.clone();
    world.home = Home::new(empty, lost);
    world.home.vaults = vaults;
    world.home.put(a, &[("secrets/NEW", b"1")]).await;
    world.home.set_deleted(b, false).await;
    world.follow();
    let report = world.caught_up().await;
    assert_eq!((report.undecided, report.leftover), (0, 0));
    let status = world.running[0].replica.status();
    assert_eq!((status.lineage, status.applied_commits), (Some(Lineage(uuid::Uuid::from_u128(9))), 2));
    assert_eq!(status.copied_vaults, 0, "the pair follows the log");
}

/// A group's epoch is the same on both sides, or nothing is taken.
#[tokio::test(start_paused = true)]
async fn another_epoch_stops_the_replica() {
    let mut world = World::new(1);
    world.home.create("alpha").await;
    let raised = GroupMeta { home: home_region(), epoch: Epoch(2) }.encode();
    world.pair.memory().records.insert(layout::group_meta(&group()), raised);
    world.follow();
    let state = world.reaches(|state| matches!(state, ReplicaState::Stopped(_))).await;
    let reason = StopReason::EpochChanged { home: Epoch(1), here: Epoch(2) };
    assert_eq!(state, ReplicaState::Stopped(reason));
    assert_eq!(world.pair.keys(&layout::heads(&group())).len(), 0);
}

/// The home takes no copies of its own group.
#[tokio::test(start_paused = true)]
async fn a_home_is_no_replica() {
    let mut world = World::new(1);
    world.home.create("alpha").await;
    world.pair = world.home.disk.clone();
    let own = GroupMeta { home: pair_region(), epoch: Epoch(1) }.encode();
    world.pair.memory().records.insert(layout::group_meta(&group()), own);
    world.follow();
    let state = world.reaches(|state| matches!(state, ReplicaState::Stopped(_))).await;
    assert!(matches!(state, ReplicaState::Stopped(StopReason::NotReplica(_))), "{state:?}");
}

type Forge = Box<dyn Fn(&mut LogAnswer) + Send + Sync>;

/// A source whose log answers are changed on the way.
struct Forged {
    inner: Arc<dyn Source>,
    forge: Forge,
}

#[async_trait]
impl Source for Forged {
    async fn heads(&self, group: &GroupId) -> Result<HeadsStream, SourceError> {
        self.inner.heads(group).await
    }
    async fn log(&self, group: &GroupId, vault: &VaultId, after: Head) -> Result<LogAnswer, SourceError> {
        let mut answer = self.inner.log(group, vault, after).await?;
        (self.forge)(&mut answer);
        Ok(answer)
    }
    async fn copy(&self, group: &GroupId, vault: &VaultId) -> Result<CopyStream, SourceError> {
        self.inner.copy(group, vault).await
    }
    async fn buckets(&self, group: &GroupId, vault: &VaultId) -> Result<Buckets, SourceError> {
        self.inner.buckets(group, vault).await
    }
    async fn bucket(
        &self,
        group: &GroupId,
        vault: &VaultId,
        bucket: u8,
        after: &str,
    ) -> Result<BucketPage, SourceError> {
        self.inner.bucket(group, vault, bucket, after).await
    }
}

/// Home's log changed on the way, or damaged, is not applied: one record altered, left out, repeated, moved.
#[tokio::test(start_paused = true)]
async fn a_broken_chain_is_not_applied() {
    let forgeries: Vec<(&str, Forge)> = vec![
        (
            "altered",
            Box::new(|answer| {
                let LogAnswer::Page(page) = answer else { return };
                let Some(record) = page.records.get_mut(1) else { return };
                let mut bytes = record.to_vec();
                // Inside the sealed value, so that it still reads as a log record.
                let at = bytes.len() - 8;
                bytes[at] ^= 1;
                *record = bytes.into();
            }),
        ),
        (
            "left out",
            Box::new(|answer| {
                let LogAnswer::Page(page) = answer else { return };
                if page.records.len() > 2 {
                    page.records.remove(1);
                }
            }),
        ),
        (
            "repeated",
            Box::new(|answer| {
                let LogAnswer::Page(page) = answer else { return };
                if let Some(record) = page.records.first().cloned() {
                    page.records.insert(0, record);
                }
            }),
        ),
        (
            "reordered",
            Box::new(|answer| {
                let LogAnswer::Page(page) = answer else { return };
                page.records.reverse();
            }),
        ),
        (
            "cut short",
            Box::new(|answer| {
                let LogAnswer::Page(page) = answer else { return };
                page.records.pop();
            }),
        ),
    ];
    for (what, forge) in forgeries {
        let mut world = World::new(1);
        let a = world.home.create("alpha").await;
        for n in 0..5_u8 {
            world.home.put(a, &[("secrets/A", &[n])]).await;
        }
        let source = Arc::new(Forged { inner: world.shipper(), forge });
        world.follow_with(source, crate::world::settings());
        let state = world.reaches(|state| matches!(state, ReplicaState::Stopped(_))).await;
        assert!(
            matches!(state, ReplicaState::Stopped(StopReason::ChainBroken { after: 0, .. })),
            "{what}: {state:?}"
        );
        assert_eq!(world.pair.keys(&layout::all_data(&group(), &id(a))).len(), 0, "{what}");
        // The fault ends: nobody has to do anything.
        world.running.clear();
        world.follow();
        world.caught_up().await;
    }
}

/// A log record at home that a disk has damaged is noticed by home, before it is sent.
#[tokio::test(start_paused = true)]
async fn a_damaged_log_at_home_is_not_followed() {
    let mut world = World::new(1);
    let a = world.home.create("alpha").await;
    world.home.put(a, &[("secrets/A", b"1")]).await;
    world.follow();
    world.caught_up().await;
    world.running.clear();
    for n in 0..5_u8 {
        world.home.put(a, &[("secrets/A", &[n])]).await;
    }
    world.home.disk.damage(&layout::log(&group(), &id(a), 5), |record| {
        let at = record.len() - 8;
        record[at] ^= 1;
    });
    world.follow();
    world
        .reaches(|state| matches!(state, ReplicaState::Stopped(StopReason::ChainBroken { after: 2, .. })))
        .await;
    assert_eq!(world.home.stored(&world.pair, a, "secrets/A"), Some(b"1".to_vec()));
}
