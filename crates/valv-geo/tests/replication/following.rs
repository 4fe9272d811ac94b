//! A replica follows home.

use crate::world::World;

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
    assert!(status.lag.unwrap() < std::time::Duration::from_secs(2));
}
