use super::*;
use crate::LeaseError;

/// The home gets a lease with the group's epoch; another region learns the home; an unknown group is named.
pub async fn a_lease_is_given_to_the_home_alone(harness: &mut impl Harness) {
    let engine = harness.engine();
    let lease = engine.lease(&group(), &home()).await.unwrap();
    assert_eq!((lease.group(), lease.region(), lease.epoch()), (&group(), &home(), Epoch(1)));
    assert_eq!(engine.lease(&group(), &other()).await.unwrap_err(), LeaseError::NotHome { home: home() });
    let elsewhere = GroupId::of_region(&other());
    assert_eq!(engine.lease(&elsewhere, &home()).await.unwrap_err(), LeaseError::NotHome { home: other() });
    assert!(engine.lease(&GroupId::system(), &home()).await.is_ok());
    let unknown = GroupId::of_region(&RegionName::parse("nowhere").unwrap());
    assert_eq!(engine.lease(&unknown, &home()).await.unwrap_err(), LeaseError::NoSuchGroup(unknown));
}

/// Once the epoch is raised, a commit under the old lease changes nothing, and a new lease works.
pub async fn a_stale_lease_commits_nothing(harness: &mut impl Harness) {
    let engine = harness.engine();
    let stale = lease(&*engine).await;
    let raised = GroupMeta { home: home(), epoch: Epoch(2) };
    let raise = puts([Op::Put(layout::group_meta(&group()), raised.encode())]);
    let at = engine.commit(&stale, raise.clone()).await.unwrap();
    for transaction in [puts([put("a", "1")]), raise] {
        assert_eq!(engine.commit(&stale, transaction).await, Err(CommitError::StaleLease));
    }
    assert_eq!((value(&*engine, "a").await, revision(&*engine).await), (None, at));
    let fresh = lease(&*engine).await;
    assert_eq!(fresh.epoch(), Epoch(2));
    engine.commit(&fresh, puts([put("a", "1")])).await.unwrap();
}

/// The same when another region became the home.
pub async fn a_moved_home_commits_nothing(harness: &mut impl Harness) {
    let engine = harness.engine();
    let stale = lease(&*engine).await;
    let moved = GroupMeta { home: other(), epoch: Epoch(1) };
    engine.commit(&stale, puts([Op::Put(layout::group_meta(&group()), moved.encode())])).await.unwrap();
    assert_eq!(engine.commit(&stale, puts([put("a", "1")])).await, Err(CommitError::StaleLease));
    assert_eq!(engine.lease(&group(), &home()).await.unwrap_err(), LeaseError::NotHome { home: other() });
    // The other groups are not concerned.
    let system = engine.lease(&GroupId::system(), &home()).await.unwrap();
    engine.commit(&system, puts([put("a", "1")])).await.unwrap();
}

/// A region that is not the home gets a replica's lease with the group's epoch; the home is told that it is.
pub async fn a_replica_lease_is_given_to_others_alone(harness: &mut impl Harness) {
    let engine = harness.engine();
    let lease = engine.replica_lease(&group(), &other()).await.unwrap();
    assert_eq!((lease.group(), lease.home(), lease.epoch()), (&group(), &home(), Epoch(1)));
    assert_eq!(engine.replica_lease(&group(), &home()).await.unwrap_err(), LeaseError::IsHome(home()));
    let unknown = GroupId::of_region(&RegionName::parse("nowhere").unwrap());
    let refused = engine.replica_lease(&unknown, &other()).await.unwrap_err();
    assert_eq!(refused, LeaseError::NoSuchGroup(unknown));
}

/// A replica takes whole transactions with their comparisons, and keeps them.
pub async fn a_replica_takes_what_is_applied(harness: &mut impl Harness) {
    let engine = harness.engine();
    let lease = engine.replica_lease(&group(), &other()).await.unwrap();
    let first = engine.apply(&lease, puts([put("a", "1"), put("b", "1")])).await.unwrap();
    let compared = |expected: &str| Transaction {
        compares: vec![holds("a", expected.to_owned())],
        ops: vec![put("a", "2"), Op::Delete(key("b"))],
    };
    assert_eq!(engine.apply(&lease, compared("0")).await, Err(CommitError::Conflict));
    assert_eq!(value(&*engine, "b").await, Some("1".into()));
    assert!(engine.apply(&lease, compared("1")).await.unwrap() > first);
    drop(engine);
    harness.reopen().await;
    let engine = harness.engine();
    assert_eq!((value(&*engine, "a").await, value(&*engine, "b").await), (Some("2".into()), None));
}

/// What is applied stays inside the replica's group and leaves its meta record alone; nothing else happens.
pub async fn a_replica_changes_its_group_alone(harness: &mut impl Harness) {
    let engine = harness.engine();
    let lease = engine.replica_lease(&group(), &other()).await.unwrap();
    let meta = GroupMeta { home: other(), epoch: Epoch(9) }.encode();
    let foreign = [
        Op::Put(layout::group_meta(&group()), meta.clone()),
        Op::Delete(layout::group_meta(&group())),
        Op::Put(layout::group_meta(&GroupId::system()), meta),
        Op::Delete(layout::root_key()),
        Op::Put(format!("g/{}", group()).into(), "x".into()),
        Op::Put("x".into(), "x".into()),
    ];
    for op in foreign {
        let refused = engine.apply(&lease, puts([put("a", "1"), op.clone()])).await;
        assert!(matches!(refused, Err(CommitError::Malformed(_))), "{op:?}: {refused:?}");
    }
    assert_eq!(value(&*engine, "a").await, None);
    let too_many =
        puts((0..=crate::MAX_TRANSACTION_OPS).map(|n| put(&n.to_string(), "")).collect::<Vec<_>>());
    assert!(matches!(engine.apply(&lease, too_many).await, Err(CommitError::Malformed(_))));
    assert!(engine.lease(&group(), &home()).await.is_ok());
}

/// Once the epoch is raised or the home moved, nothing is applied under the old lease.
pub async fn a_stale_replica_lease_applies_nothing(harness: &mut impl Harness) {
    let engine = harness.engine();
    for meta in [GroupMeta { home: home(), epoch: Epoch(2) }, GroupMeta { home: other(), epoch: Epoch(2) }] {
        let stale = engine.replica_lease(&group(), &other()).await.unwrap();
        let home = lease(&*engine).await;
        engine.commit(&home, puts([Op::Put(layout::group_meta(&group()), meta.encode())])).await.unwrap();
        assert_eq!(engine.apply(&stale, puts([put("a", "1")])).await, Err(CommitError::StaleLease));
    }
    assert_eq!(value(&*engine, "a").await, None);
    assert_eq!(engine.replica_lease(&group(), &other()).await.unwrap_err(), LeaseError::IsHome(other()));
}
