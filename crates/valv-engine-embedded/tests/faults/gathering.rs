//! Many commits share one sync, and the queue has an end.

use futures::future::join_all;
use futures::{FutureExt, poll};
use valv_engine::CommitError;
use valv_engine_embedded::{EmbeddedEngine, Settings};

use super::{disk::Disk, groups, lease, put, puts, shared, until, value};

/// While one commit waits for its sync, 64 more arrive: they need one sync, or two.
#[tokio::test]
async fn waiting_commits_share_a_sync() {
    let disk = Disk::default();
    let engine = shared(
        EmbeddedEngine::create_backend(disk.clone(), &groups(), "r".into(), Settings::default()).unwrap(),
    );
    let lease = lease(&*engine).await;
    disk.close_gate();
    let first = {
        let (engine, lease) = (engine.clone(), lease.clone());
        tokio::spawn(async move { engine.commit(&lease, puts([put("first", "1")])).await })
    };
    until("the first commit syncs", async || disk.waiting() == 1).await;
    let names: Vec<_> = (0..64).map(|n| format!("{n}")).collect();
    let mut rest = join_all(names.iter().map(|name| engine.commit(&lease, puts([put(name, "1")])))).boxed();
    assert!(poll!(&mut rest).is_pending());
    // Readers do not wait for writers.
    assert_eq!(value(&*engine, "first").await, None);
    let before = disk.syncs();
    disk.open_gate();
    first.await.unwrap().unwrap();
    let mut revisions: Vec<_> = rest.await.into_iter().map(|result| result.unwrap()).collect();
    let syncs = disk.syncs() - before;
    assert!((1..=3).contains(&syncs), "65 commits took {syncs} syncs");
    revisions.dedup();
    assert_eq!(revisions.len(), 64, "each has a revision of its own");
}

/// A conflict in the middle of a batch does not disturb the others, and a later one sees an earlier one.
#[tokio::test]
async fn a_conflict_does_not_disturb_its_batch() {
    use valv_engine::{Compare, Expect, Transaction};

    let disk = Disk::default();
    let engine = shared(
        EmbeddedEngine::create_backend(disk.clone(), &groups(), "r".into(), Settings::default()).unwrap(),
    );
    let lease = lease(&*engine).await;
    disk.close_gate();
    let mut first = engine.commit(&lease, puts([put("first", "1")])).boxed();
    assert!(poll!(&mut first).is_pending());
    until("the first commit syncs", async || disk.waiting() == 1).await;
    let step = |from: Option<&'static str>, to: &'static str| {
        let expect = from.map_or(Expect::Absent, |value| Expect::Value(value.into()));
        let compares = vec![Compare { key: super::key("n"), expect }];
        engine.commit(&lease, Transaction { compares, ops: vec![put("n", to)] })
    };
    let steps =
        [step(None, "1"), step(None, "2"), step(Some("1"), "3"), step(Some("1"), "4"), step(Some("3"), "5")];
    let mut steps = join_all(steps).boxed();
    assert!(poll!(&mut steps).is_pending());
    disk.open_gate();
    first.await.unwrap();
    let done: Vec<_> = steps.await.into_iter().map(|result| result.map(|_| ())).collect();
    let conflict = Err(CommitError::Conflict);
    assert_eq!(done, [Ok(()), conflict.clone(), Ok(()), conflict, Ok(())]);
    assert_eq!(value(&*engine, "n").await, Some("5".into()));
}

/// A full queue refuses at once, and what was refused does not happen.
#[tokio::test]
async fn a_full_queue_refuses() {
    let disk = Disk::default();
    let settings = Settings { queue: 4, ..Settings::default() };
    let engine =
        shared(EmbeddedEngine::create_backend(disk.clone(), &groups(), "r".into(), settings).unwrap());
    let lease = lease(&*engine).await;
    disk.close_gate();
    let mut first = engine.commit(&lease, puts([put("first", "1")])).boxed();
    assert!(poll!(&mut first).is_pending());
    until("the first commit syncs", async || disk.waiting() == 1).await;
    let names: Vec<_> = (0..6).map(|n| format!("{n}")).collect();
    let mut rest = join_all(names.iter().map(|name| engine.commit(&lease, puts([put(name, "1")])))).boxed();
    assert!(poll!(&mut rest).is_pending());
    disk.open_gate();
    let results = rest.await;
    for (name, result) in names.iter().zip(&results) {
        let taken = name.as_str() < "4";
        assert_eq!(result.is_ok(), taken, "{name}: {result:?}");
        assert!(taken || matches!(result, Err(CommitError::Unavailable(_))));
        assert_eq!(value(&*engine, name).await.is_some(), taken);
    }
}

/// A disk that does not answer: the outcome is unknown at the deadline, and what still waited in the queue
/// then is not done.
#[tokio::test]
async fn a_silent_disk_has_a_deadline() {
    let disk = Disk::default();
    let settings = Settings { commit_deadline: std::time::Duration::from_millis(50), ..Settings::default() };
    let engine =
        shared(EmbeddedEngine::create_backend(disk.clone(), &groups(), "r".into(), settings).unwrap());
    let lease = lease(&*engine).await;
    disk.close_gate();
    let stuck = engine.commit(&lease, puts([put("stuck", "1")])).await;
    assert!(matches!(stuck, Err(CommitError::UnknownOutcome(_))), "{stuck:?}");
    let queued = engine.commit(&lease, puts([put("queued", "1")])).await;
    assert!(matches!(queued, Err(CommitError::UnknownOutcome(_))), "{queued:?}");
    disk.open_gate();
    until("the stuck commit arrives", async || value(&*engine, "stuck").await.is_some()).await;
    until("commits work", async || engine.commit(&lease, puts([put("last", "1")])).await.is_ok()).await;
    assert_eq!(value(&*engine, "queued").await, None);
}
