use super::*;
use crate::Lineage;

/// With many writers at once, every reader sees every commit, each once, in the order of the revisions.
pub async fn streams_are_ordered_and_gapless(harness: &mut impl Harness) {
    const TASKS: usize = 8;
    const EACH: usize = 25;
    let engine = harness.engine();
    let begin = revision(&*engine).await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(engine.changes(engine.lineage(), begin).await.unwrap());
    }
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let engine = harness.engine();
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for n in 0..EACH {
                    let op = put(&format!("{task}"), n.to_string());
                    let revision = commit(&*engine, puts([op.clone()])).await.unwrap();
                    acknowledged.push(Change { revision, ops: vec![op] });
                }
                acknowledged
            })
        })
        .collect();
    let mut expected = Vec::new();
    for task in tasks {
        expected.extend(task.await.unwrap());
    }
    expected.sort_by_key(|change| change.revision);
    assert!(expected.windows(2).all(|pair| pair[0].revision < pair[1].revision), "one revision twice");
    for mut stream in streams {
        for change in &expected {
            assert_eq!(next(&mut stream).await.unwrap(), *change);
        }
    }
}

/// A stream begins after any revision that is kept, and goes on with what comes.
pub async fn streams_begin_in_the_past(harness: &mut impl Harness) {
    let engine = harness.engine();
    let mut revisions = vec![revision(&*engine).await];
    for n in 0..20 {
        revisions.push(commit(&*engine, puts([put("a", n.to_string())])).await.unwrap());
    }
    for (at, from) in revisions.iter().enumerate() {
        let mut stream = engine.changes(engine.lineage(), *from).await.unwrap();
        for expected in &revisions[at + 1..] {
            assert_eq!(next(&mut stream).await.unwrap().revision, *expected);
        }
    }
    let mut stream = engine.changes(engine.lineage(), revisions[20]).await.unwrap();
    let later = commit(&*engine, puts([put("a", "later")])).await.unwrap();
    assert_eq!(next(&mut stream).await.unwrap().revision, later);
}

/// A change has the commit's operations, in their order.
pub async fn streams_say_what_happened(harness: &mut impl Harness) {
    let engine = harness.engine();
    let from = revision(&*engine).await;
    let all = [
        vec![put("b", "1"), put("a", "2"), put("empty", "")],
        vec![Op::Delete(key("a")), put("c", "3"), put("b", "4")],
        vec![Op::Delete(key("c")), Op::Delete(key("b"))],
    ];
    let mut stream = engine.changes(engine.lineage(), from).await.unwrap();
    for ops in all {
        let revision = commit(&*engine, puts(ops.clone())).await.unwrap();
        assert_eq!(next(&mut stream).await.unwrap(), Change { revision, ops });
    }
}

/// Where history is no longer kept, the oldest place to begin is named, and a stream can begin there.
pub async fn forgotten_history_is_compacted(harness: &mut impl Harness) {
    let engine = harness.engine();
    let begin = revision(&*engine).await;
    for n in 0..10 {
        commit(&*engine, puts([put("a", n.to_string())])).await.unwrap();
    }
    harness.compact().await;
    let refused = match engine.changes(engine.lineage(), begin).await {
        Err(error) => error,
        // An engine may learn it only from its store.
        Ok(mut stream) => next(&mut stream).await.unwrap_err(),
    };
    let ChangesError::Compacted { oldest } = refused else { panic!("{refused:?}") };
    assert!(oldest > begin && oldest <= revision(&*engine).await);
    let now = revision(&*engine).await;
    let mut stream = engine.changes(engine.lineage(), now).await.unwrap();
    let at = commit(&*engine, puts([put("a", "after")])).await.unwrap();
    assert_eq!(next(&mut stream).await.unwrap().revision, at);
}

/// A revision of another store is refused, however small it is.
pub async fn a_foreign_lineage_is_refused(harness: &mut impl Harness) {
    let engine = harness.engine();
    let foreign = Lineage(uuid::Uuid::from_u128(engine.lineage().0.as_u128() ^ 1));
    for from in [Revision(0), revision(&*engine).await] {
        let refused = engine.changes(foreign, from).await.err();
        assert_eq!(refused, Some(ChangesError::LineageChanged { now: engine.lineage() }));
    }
}

/// A revision that was never reached is refused: the store is older than the reader believes.
pub async fn a_future_revision_is_refused(harness: &mut impl Harness) {
    let engine = harness.engine();
    let now = revision(&*engine).await;
    let asked = Revision(now.0 + 1);
    let refused = engine.changes(engine.lineage(), asked).await.err();
    assert_eq!(refused, Some(ChangesError::NotReached { asked, now }));
    // A commit's own revision can be asked for at once.
    for n in 0..50 {
        let at = commit(&*engine, puts([put("a", n.to_string())])).await.unwrap();
        assert!(engine.changes(engine.lineage(), at).await.is_ok());
    }
}

/// A reader that does not keep up sees a prefix of the commits without a gap; then it is told `Compacted`,
/// unless it gets all.
pub async fn a_slow_reader_loses_nothing_silently(harness: &mut impl Harness) {
    let engine = harness.engine();
    let begin = revision(&*engine).await;
    let mut slow = engine.changes(engine.lineage(), begin).await.unwrap();
    let mut expected = Vec::new();
    for n in 0..300 {
        expected.push(commit(&*engine, puts([put("a", n.to_string())])).await.unwrap());
        if n == 10 {
            assert_eq!(next(&mut slow).await.unwrap().revision, expected[0]);
        }
        if n == 200 {
            harness.compact().await;
        }
    }
    for revision in &expected[1..] {
        match next(&mut slow).await {
            Ok(change) => assert_eq!(change.revision, *revision),
            Err(ChangesError::Compacted { oldest }) => {
                assert!(oldest >= *revision, "{oldest:?} is kept, {revision:?} was asked for");
                assert!(slow.next().await.is_none(), "nothing follows an error");
                return;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// After reopening, a stream goes on from where a reader was, or says `Compacted`; from now on it works.
pub async fn a_stream_continues_after_reopening_or_says_so(harness: &mut impl Harness) {
    let engine = harness.engine();
    let lineage = engine.lineage();
    let first = commit(&*engine, puts([put("a", "1")])).await.unwrap();
    let second = commit(&*engine, puts([put("a", "2")])).await.unwrap();
    drop(engine);
    harness.reopen().await;
    let engine = harness.engine();
    match engine.changes(lineage, first).await {
        Ok(mut stream) => assert_eq!(next(&mut stream).await.unwrap().revision, second),
        Err(error) => assert!(matches!(error, ChangesError::Compacted { oldest } if oldest > first)),
    }
    let mut stream = engine.changes(lineage, revision(&*engine).await).await.unwrap();
    let third = commit(&*engine, puts([put("a", "3")])).await.unwrap();
    assert_eq!(next(&mut stream).await.unwrap().revision, third);
}
