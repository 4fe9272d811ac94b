//! F11: a sync that fails is never believed, and what follows is as durable as ever.

use valv_engine::{CommitError, Engine, KeyRange, Op};
use valv_engine_embedded::{EmbeddedEngine, Settings};

use super::{disk::Disk, groups, key, lease, put, puts, until, value};

/// The system takes what a failed sync should have written for clean. The engine must not: after the power
/// goes, what it has shown and acknowledged since is there.
#[tokio::test]
async fn f11_failed_sync_is_not_believed() {
    let disk = Disk::default();
    let engine =
        EmbeddedEngine::create_backend(disk.clone(), &groups(), "root".into(), Settings::default()).unwrap();
    let lease = lease(&engine).await;
    engine.commit(&lease, puts([put("before", "1")])).await.unwrap();
    // Many pages, of which later commits touch few. The file has grown to hold them before.
    let many: Vec<_> = (0..100).map(|n| put(&format!("failed/{n:03}"), vec![n; 4000])).collect();
    engine.commit(&lease, puts(many.clone())).await.unwrap();
    let gone: Vec<_> = many.iter().map(|op| Op::Delete(op.key().clone())).collect();
    engine.commit(&lease, puts(gone)).await.unwrap();
    engine.commit(&lease, puts([put("before", "1")])).await.unwrap();
    disk.fail_syncs(1);
    let failed = engine.commit(&lease, puts(many)).await;
    assert!(matches!(failed, Err(CommitError::UnknownOutcome(_))), "{failed:?}");
    // By itself it works again.
    let all = [KeyRange::prefix(key("failed/"))];
    let shown = engine.read(&all).await.unwrap().ranges;
    assert!(shown[0].len() == 100 || shown[0].is_empty());
    engine.commit(&lease, puts([put("after", "1")])).await.unwrap();
    disk.lose_power_at(Some(0));
    drop(engine);
    disk.restore_power(&mut fastrand::Rng::with_seed(1), 0.0);
    let engine = EmbeddedEngine::open_backend(disk, Settings::default()).expect("the file opens");
    assert_eq!(value(&engine, "before").await, Some("1".into()));
    assert_eq!(engine.read(&all).await.unwrap().ranges, shown);
    assert_eq!(value(&engine, "after").await, Some("1".into()));
}

/// While the disk goes on failing, commits are refused, nothing hangs, and service returns by itself.
#[tokio::test]
async fn f11_a_failing_disk_refuses_and_heals() {
    let disk = Disk::default();
    let engine =
        EmbeddedEngine::create_backend(disk.clone(), &groups(), "root".into(), Settings::default()).unwrap();
    let lease = lease(&engine).await;
    let from = engine.read(&[]).await.unwrap().revision;
    disk.fail_syncs(u64::MAX);
    let first = engine.commit(&lease, puts([put("a", "1")])).await;
    assert!(matches!(first, Err(CommitError::UnknownOutcome(_))), "{first:?}");
    for _ in 0..5 {
        let refused = engine.commit(&lease, puts([put("b", "1")])).await;
        assert!(matches!(refused, Err(CommitError::Unavailable(_))), "{refused:?}");
    }
    assert!(engine.read(&[KeyRange::key(key("a"))]).await.is_err());
    disk.fail_syncs(0);
    until("reads are back", async || engine.read(&[]).await.is_ok()).await;
    assert_eq!(value(&engine, "b").await, None);
    engine.commit(&lease, puts([put("c", "1")])).await.unwrap();
    // A stream must not skip a commit whose outcome was unknown.
    if value(&engine, "a").await.is_some() {
        assert!(engine.changes(engine.lineage(), from).await.is_err());
    }
}

/// A read that fails once is tried again on the file opened anew; no commit has to come by for that.
#[tokio::test]
async fn f11_a_read_that_fails_once_is_not_noticed() {
    let disk = Disk::default();
    // Without a cache every read reaches the disk.
    let settings = Settings { cache_bytes: 0, ..Settings::default() };
    let engine = EmbeddedEngine::create_backend(disk.clone(), &groups(), "root".into(), settings).unwrap();
    let lease = lease(&engine).await;
    engine.commit(&lease, puts([put("a", "1")])).await.unwrap();
    for _ in 0..10 {
        disk.fail_reads(1);
        assert_eq!(value(&engine, "a").await, Some("1".into()));
    }
    disk.fail_reads(u64::MAX);
    assert!(engine.read(&[KeyRange::key(key("a"))]).await.is_err());
    disk.fail_reads(0);
    until("reads are back", async || engine.read(&[KeyRange::key(key("a"))]).await.is_ok()).await;
}
