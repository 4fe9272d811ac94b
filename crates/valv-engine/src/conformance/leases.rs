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
