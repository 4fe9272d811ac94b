use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;

/// A read sees a commit that was acknowledged before it, at that revision or a later one.
pub async fn reads_see_what_was_committed(harness: &mut impl Harness) {
    let engine = harness.engine();
    assert_eq!(value(&*engine, "a").await, None);
    for n in 0..50 {
        let at = commit(&*engine, puts([put("a", n.to_string())])).await.unwrap();
        let read = engine.read(&[KeyRange::key(key("a"))]).await.unwrap();
        assert_eq!(read.ranges[0], [Entry { key: key("a"), value: n.to_string().into() }]);
        assert!(read.revision >= at);
    }
    commit(&*engine, puts([Op::Delete(key("a"))])).await.unwrap();
    assert_eq!(value(&*engine, "a").await, None);
}

/// While one task writes rising numbers, no reader sees an older one than was acknowledged before its read
/// began, nor than any reader has seen before that, nor a revision that goes back.
pub async fn reads_are_linearizable(harness: &mut impl Harness) {
    const WRITES: u64 = 200;
    let engine = harness.engine();
    commit(&*engine, puts([put("n", "0")])).await.unwrap();
    let (floor, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let (engine, floor, done) = (harness.engine(), Arc::clone(&floor), Arc::clone(&done));
            tokio::spawn(async move {
                let (mut reads, mut last) = (0, Revision(0));
                while !done.load(Ordering::SeqCst) || reads == 0 {
                    let before = floor.load(Ordering::SeqCst);
                    let read = engine.read(&[KeyRange::key(key("n"))]).await.unwrap();
                    let seen = number(&read.ranges[0][0].value);
                    assert!(seen >= before, "read {seen} after {before} had been seen");
                    assert!(read.revision >= last, "the revision went back");
                    last = read.revision;
                    floor.fetch_max(seen, Ordering::SeqCst);
                    reads += 1;
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let lease = lease(&*engine).await;
    for n in 1..=WRITES {
        engine.commit(&lease, puts([put("n", n.to_string())])).await.unwrap();
        floor.fetch_max(n, Ordering::SeqCst);
    }
    done.store(true, Ordering::SeqCst);
    for reader in readers {
        reader.await.unwrap();
    }
}

/// Limits, ends, prefixes, `after` and both directions.
pub async fn ranges_begin_end_and_turn(harness: &mut impl Harness) {
    let engine = harness.engine();
    let names_put = ["a", "a/1", "a/2", "a/3", "a0", "b"];
    commit(&*engine, puts(names_put.map(|name| put(name, name.to_owned())))).await.unwrap();
    let range = |start: &str, end: &str| KeyRange {
        start: key(start),
        end: key(end),
        limit: usize::MAX,
        reverse: false,
    };
    let all = || KeyRange::prefix(key(""));
    let below = || KeyRange::prefix(key("a/"));
    let cases = [
        (KeyRange::key(key("a")), vec!["a"]),
        (KeyRange::key(key("c")), vec![]),
        (below(), vec!["a/1", "a/2", "a/3"]),
        (below().limit(2), vec!["a/1", "a/2"]),
        (below().limit(0), vec![]),
        (below().reversed(), vec!["a/3", "a/2", "a/1"]),
        (below().reversed().limit(1), vec!["a/3"]),
        (below().after(&key("a/1")), vec!["a/2", "a/3"]),
        (below().after(&key("a/1")).limit(1), vec!["a/2"]),
        (below().after(&key("a/3")), vec![]),
        (below().after(&key("a")), vec!["a/1", "a/2", "a/3"]),
        (range("a/2", "b"), vec!["a/2", "a/3", "a0"]),
        (range("b", "a"), vec![]),
        (range("a", "a"), vec![]),
        (all(), names_put.to_vec()),
        (all().limit(3).reversed(), vec!["b", "a0", "a/3"]),
    ];
    let ranges: Vec<_> = cases.iter().map(|(range, _)| range.clone()).collect();
    let read = engine.read(&ranges).await.unwrap();
    assert_eq!(read.ranges.len(), cases.len());
    for ((range, expected), entries) in cases.iter().zip(&read.ranges) {
        assert_eq!(names(entries), *expected, "{range:?}");
    }
}

/// Two ranges of one read never show two moments.
pub async fn ranges_share_one_revision(harness: &mut impl Harness) {
    let engine = harness.engine();
    commit(&*engine, puts([put("l", "0"), put("r", "0")])).await.unwrap();
    let writer = {
        let engine = harness.engine();
        tokio::spawn(async move {
            for n in 1..=200 {
                let n = n.to_string();
                commit(&*engine, puts([put("l", n.clone()), put("r", n)])).await.unwrap();
            }
        })
    };
    while !writer.is_finished() {
        let read = engine.read(&[KeyRange::key(key("r")), KeyRange::prefix(key("l"))]).await.unwrap();
        assert_eq!(read.ranges[0][0].value, read.ranges[1][0].value);
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
}

/// A snapshot shows one moment while writes go on, and says which.
pub async fn a_snapshot_is_of_one_revision(harness: &mut impl Harness) {
    const KEYS: usize = 100;
    let engine = harness.engine();
    let all = |n: u64| puts((0..KEYS).map(|k| put(&format!("k{k:03}"), n.to_string())).collect::<Vec<_>>());
    let first = commit(&*engine, all(0)).await.unwrap();
    let writer = {
        let engine = harness.engine();
        tokio::spawn(async move {
            let mut revisions = vec![first];
            for n in 1..=100 {
                revisions.push(commit(&*engine, all(n)).await.unwrap());
            }
            revisions
        })
    };
    let mut seen = Vec::new();
    while !writer.is_finished() {
        let snapshot = engine.snapshot(key("k")).await.unwrap();
        assert_eq!(snapshot.lineage, engine.lineage());
        let entries: Vec<_> = snapshot.entries.map(|entry| entry.unwrap()).collect().await;
        assert_eq!(entries.len(), KEYS);
        assert!(entries.is_sorted_by(|a, b| a.key < b.key));
        assert!(entries.iter().all(|entry| entry.value == entries[0].value), "two moments in one snapshot");
        seen.push((snapshot.revision, number(&entries[0].value)));
    }
    let revisions = writer.await.unwrap();
    for (revision, n) in seen {
        let expected = revisions.iter().rposition(|at| *at <= revision).unwrap();
        assert_eq!(n, expected as u64, "the snapshot's revision is not that of its entries");
    }
}

/// Only what begins with the prefix, and all of it, also when it is much.
pub async fn a_snapshot_keeps_to_its_prefix(harness: &mut impl Harness) {
    let engine = harness.engine();
    for chunk in 0..20 {
        let ops: Vec<_> = (0..100).map(|n| put(&format!("s/{chunk:02}{n:02}"), vec![7; 500])).collect();
        commit(&*engine, puts(ops)).await.unwrap();
    }
    commit(&*engine, puts([put("s", "x"), put("s0", "x")])).await.unwrap();
    let snapshot = engine.snapshot(key("s/")).await.unwrap();
    let entries: Vec<_> = snapshot.entries.map(|entry| entry.unwrap()).collect().await;
    assert_eq!(entries.len(), 2000);
    assert!(entries.is_sorted_by(|a, b| a.key < b.key));
    let empty = engine.snapshot(key("none/")).await.unwrap();
    assert_eq!(empty.entries.count().await, 0);
    let whole = engine.snapshot(Bytes::new()).await.unwrap();
    assert!(whole.entries.count().await >= 2002 + groups().len());
}
