use super::*;
use crate::{MAX_TRANSACTION_BYTES, MAX_TRANSACTION_OPS};

/// `Absent` and `Value` hold exactly when they should, alone and together.
pub async fn compares_decide(harness: &mut impl Harness) {
    let engine = harness.engine();
    commit(&*engine, puts([put("a", "1"), put("empty", "")])).await.unwrap();
    let cases = [
        (vec![absent("b")], true),
        (vec![absent("a")], false),
        (vec![absent("empty")], false),
        (vec![holds("a", "1")], true),
        (vec![holds("a", "2")], false),
        (vec![holds("a", "")], false),
        (vec![holds("empty", "")], true),
        (vec![holds("b", "")], false),
        (vec![holds("a", "1"), absent("b")], true),
        (vec![holds("a", "1"), absent("b"), absent("a")], false),
        (vec![absent("a"), holds("a", "1")], false),
    ];
    for (n, (compares, happens)) in cases.into_iter().enumerate() {
        let mark = n.to_string();
        let transaction = Transaction { compares: compares.clone(), ops: vec![put("mark", mark.clone())] };
        let result = commit(&*engine, transaction).await;
        assert_eq!(result.is_ok(), happens, "{compares:?}: {result:?}");
        if !happens {
            assert_eq!(result, Err(CommitError::Conflict));
        }
        assert_eq!(value(&*engine, "mark").await == Some(mark.into()), happens);
    }
}

/// A refused transaction leaves no operation, no revision and no change behind.
pub async fn a_conflict_leaves_nothing(harness: &mut impl Harness) {
    let engine = harness.engine();
    let at = commit(&*engine, puts([put("a", "1"), put("b", "1")])).await.unwrap();
    let mut stream = engine.changes(engine.lineage(), at).await.unwrap();
    let ops = vec![put("a", "2"), Op::Delete(key("b")), put("c", "2")];
    let transaction = Transaction { compares: vec![holds("a", "0")], ops };
    assert_eq!(commit(&*engine, transaction).await, Err(CommitError::Conflict));
    let read = engine.read(&[KeyRange::prefix(key(""))]).await.unwrap();
    assert_eq!((names(&read.ranges[0]), read.revision), (vec!["a".to_owned(), "b".to_owned()], at));
    assert_eq!(value(&*engine, "a").await, Some("1".into()));
    let last = commit(&*engine, puts([put("d", "1")])).await.unwrap();
    assert_eq!(next(&mut stream).await.unwrap().revision, last);
}

/// Too many operations, too many bytes, one key twice, nothing to do: refused, and nothing happens.
pub async fn malformed_transactions_are_refused(harness: &mut impl Harness) {
    let engine = harness.engine();
    let before = revision(&*engine).await;
    let many = (0..=MAX_TRANSACTION_OPS).map(|n| put(&n.to_string(), "x")).collect::<Vec<_>>();
    let cases = [
        puts(many),
        puts([put("large", vec![0; MAX_TRANSACTION_BYTES])]),
        puts([put("twice", "1"), put("other", "1"), put("twice", "2")]),
        puts([put("twice", "1"), Op::Delete(key("twice"))]),
        puts([]),
        puts([Op::Put(Bytes::new(), "x".into())]),
        Transaction {
            compares: (0..=MAX_TRANSACTION_OPS).map(|n| absent(&n.to_string())).collect(),
            ops: vec![put("a", "1")],
        },
    ];
    for transaction in cases {
        let result = commit(&*engine, transaction).await;
        assert!(matches!(result, Err(CommitError::Malformed(_))), "{result:?}");
    }
    assert_eq!(revision(&*engine).await, before);
}

/// What the limits allow is taken, and comes back.
pub async fn the_largest_transaction_is_taken(harness: &mut impl Harness) {
    let engine = harness.engine();
    let name = |n: usize| format!("{n:03}");
    let each = MAX_TRANSACTION_BYTES / MAX_TRANSACTION_OPS - key(&name(0)).len();
    let ops: Vec<_> = (0..MAX_TRANSACTION_OPS).map(|n| put(&name(n), vec![n as u8; each])).collect();
    let compares = (0..MAX_TRANSACTION_OPS).map(|n| absent(&name(n))).collect();
    let at = commit(&*engine, Transaction { compares, ops: ops.clone() }).await.unwrap();
    for n in 0..MAX_TRANSACTION_OPS {
        assert_eq!(value(&*engine, &name(n)).await, Some(vec![n as u8; each].into()));
    }
    let before = Revision(at.0 - 1);
    let mut stream = engine.changes(engine.lineage(), before).await.unwrap();
    assert_eq!(next(&mut stream).await.unwrap(), Change { revision: at, ops });
}

/// A delete of what is not there makes no revision of its own; beside others it is left out.
pub async fn deleting_nothing_changes_nothing(harness: &mut impl Harness) {
    let engine = harness.engine();
    let before = revision(&*engine).await;
    let mut stream = engine.changes(engine.lineage(), before).await.unwrap();
    assert_eq!(commit(&*engine, puts([Op::Delete(key("none"))])).await, Ok(before));
    assert_eq!(revision(&*engine).await, before);
    let at = commit(&*engine, puts([Op::Delete(key("none")), put("a", "1")])).await.unwrap();
    assert_eq!(next(&mut stream).await.unwrap(), Change { revision: at, ops: vec![put("a", "1")] });
}

/// Many tasks count together by compare-and-set: no increment is lost, none is counted twice.
pub async fn counters_add_up(harness: &mut impl Harness) {
    const TASKS: u64 = 16;
    const EACH: u64 = 10;
    let engine = harness.engine();
    commit(&*engine, puts([put("count", "0")])).await.unwrap();
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let engine = harness.engine();
            tokio::spawn(async move {
                let lease = lease(&*engine).await;
                for _ in 0..EACH {
                    loop {
                        let now = value(&*engine, "count").await.unwrap();
                        let more = (number(&now) + 1).to_string();
                        let transaction = Transaction {
                            compares: vec![holds("count", now)],
                            ops: vec![put("count", more)],
                        };
                        match engine.commit(&lease, transaction).await {
                            Ok(_) => break,
                            Err(CommitError::Conflict) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(number(&value(&*engine, "count").await.unwrap()), TASKS * EACH);
}

/// Of many transactions that need the same state, one happens.
pub async fn one_winner_for_each_compare(harness: &mut impl Harness) {
    let engine = harness.engine();
    for round in 0..20 {
        let name = format!("prize{round}");
        let tasks: Vec<_> = (0..16)
            .map(|n: u32| {
                let (engine, name) = (harness.engine(), name.clone());
                tokio::spawn(async move {
                    let ops = vec![put(&name, n.to_string())];
                    (n, commit(&*engine, Transaction { compares: vec![absent(&name)], ops }).await)
                })
            })
            .collect();
        let mut winners = Vec::new();
        for task in tasks {
            match task.await.unwrap() {
                (n, Ok(_)) => winners.push(n),
                (_, Err(error)) => assert_eq!(error, CommitError::Conflict),
            }
        }
        assert_eq!(winners.len(), 1, "{winners:?}");
        assert_eq!(value(&*engine, &name).await, Some(winners[0].to_string().into()));
    }
}

/// How unknown outcomes are settled: the identical transaction, sent again after it went through, conflicts.
pub async fn a_resubmitted_transaction_conflicts(harness: &mut impl Harness) {
    let engine = harness.engine();
    let lease = lease(&*engine).await;
    engine.commit(&lease, puts([put("head", "6")])).await.unwrap();
    let compares = vec![holds("head", "6"), absent("log7")];
    let transaction = Transaction { compares, ops: vec![put("head", "7"), put("log7", "mine")] };
    let at = engine.commit(&lease, transaction.clone()).await.unwrap();
    for _ in 0..3 {
        assert_eq!(engine.commit(&lease, transaction.clone()).await, Err(CommitError::Conflict));
    }
    assert_eq!((value(&*engine, "log7").await, revision(&*engine).await), (Some("mine".into()), at));
}

/// What was acknowledged is there after the store was closed and opened, in the same lineage, and revisions
/// go on from where they were.
pub async fn commits_survive_reopening(harness: &mut impl Harness) {
    let engine = harness.engine();
    let lineage = engine.lineage();
    let mut last = revision(&*engine).await;
    drop(engine);
    for round in 0..3 {
        let engine = harness.engine();
        for n in 0..20 {
            let name = format!("{round}/{n:02}");
            let at = commit(&*engine, puts([put(&name, name.clone())])).await.unwrap();
            assert!(at > last, "{at:?} after {last:?}");
            last = at;
        }
        commit(&*engine, puts([Op::Delete(key(&format!("{round}/00")))])).await.unwrap();
        last = revision(&*engine).await;
        drop(engine);
        harness.reopen().await;
        let engine = harness.engine();
        assert_eq!(engine.lineage(), lineage);
        assert!(revision(&*engine).await >= last);
        let read = engine.read(&[KeyRange::prefix(key(""))]).await.unwrap();
        assert_eq!(read.ranges[0].len(), (round + 1) * 19);
        assert!(read.ranges[0].iter().all(|entry| entry.key.ends_with(&entry.value)));
    }
}
