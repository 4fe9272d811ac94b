use std::time::Duration;

use valv_engine::{Epoch, GroupMeta, layout};
use valv_model::{ErrorCode, RegionName};

use super::*;
use crate::ServiceSettings;
use crate::testing::{Fault, context, region, request, settings};

#[tokio::test]
async fn f16_a_retry_is_answered_with_the_first_result() {
    let mut world = World::new().await;
    let vault = world.vault("dev").await;
    let first = world.service.submit(&vault, &request(1), append("list", "a")).await.unwrap();
    assert!(!first.replayed);
    let again = Committed { replayed: true, ..first.clone() };
    assert_eq!(world.service.submit(&vault, &request(1), append("list", "a")).await.unwrap(), again);
    assert_eq!(position(&world.service.submit(&vault, &request(2), append("list", "a")).await.unwrap()), 1);
    // Across a restart too.
    world.restart().await;
    assert_eq!(world.service.submit(&vault, &request(1), append("list", "a")).await.unwrap(), again);
    // And when another node made the commit after this one had read the log.
    let other = world.service.clone();
    world.service = {
        let engine: Arc<dyn valv_engine::Engine> = world.engine.clone();
        let barrier = valv_sealing::Barrier::open(engine, world.keyring.clone()).await.unwrap();
        Arc::new(crate::Service::open(barrier, world.clock.clone(), settings()).await.unwrap())
    };
    let there = other.submit(&vault, &request(3), append("list", "b")).await.unwrap();
    let here = world.service.submit(&vault, &request(3), append("list", "b")).await.unwrap();
    assert_eq!(here, Committed { replayed: true, ..there });
    let there = other.submit(&vault, &request(4), append("list", "c")).await.unwrap();
    let here = world.service.submit(&vault, &request(4), append("list", "c")).await.unwrap();
    assert_eq!(here, Committed { replayed: true, ..there });
    assert_eq!(stored(&world, &vault, "list").await.unwrap(), "a a b c ");
}

#[tokio::test]
async fn two_identical_requests_of_one_batch_write_once() {
    let world = World::new().await;
    let vault = world.vault("dev").await;
    let gate = world.engine.close_gate();
    let tries: Vec<_> = (0..5).map(|_| spawn(&world, &vault, request(1), append("list", "a"))).collect();
    gate.add_permits(1000);
    let done: Vec<_> =
        futures::future::join_all(tries).await.into_iter().map(|done| done.unwrap().unwrap()).collect();
    assert_eq!(done.iter().filter(|done| !done.replayed).count(), 1);
    assert!(done.iter().all(|one| (one.number, &one.version) == (done[0].number, &done[0].version)));
    assert_eq!(stored(&world, &vault, "list").await.unwrap(), "a ");
}

#[tokio::test]
async fn after_its_time_a_request_is_done_again_and_the_clock_of_the_wall_does_not_shorten_it() {
    let mut world =
        World::with(ServiceSettings { request_memory: Duration::from_secs(600), ..settings() }).await;
    let vault = world.vault("dev").await;
    world.service.submit(&vault, &request(1), append("list", "a")).await.unwrap();
    world.clock.jump(86_400);
    assert!(world.service.submit(&vault, &request(1), append("list", "a")).await.unwrap().replayed);
    world.clock.jump(-86_400 + 599);
    world.restart().await;
    assert!(world.service.submit(&vault, &request(1), append("list", "a")).await.unwrap().replayed);
    world.clock.advance(2);
    world.restart().await;
    assert!(!world.service.submit(&vault, &request(1), append("list", "a")).await.unwrap().replayed);
}

#[tokio::test]
async fn f02_after_a_crash_before_or_after_the_commit_a_retry_writes_exactly_once() {
    for crash in [Fault::CrashBefore, Fault::CrashAfter, Fault::Lost, Fault::Dropped] {
        let mut world = World::new().await;
        let vault = world.vault("dev").await;
        world.engine.faults.lock().unwrap().push_back(crash.clone());
        let lost = spawn(&world, &vault, request(1), append("list", "a"));
        crate::testing::until(|| world.engine.faults.lock().unwrap().is_empty()).await;
        world.restart().await;
        lost.abort();
        let done = world.service.submit(&vault, &request(1), append("list", "a")).await.unwrap();
        assert_eq!(done.replayed, matches!(crash, Fault::CrashAfter | Fault::Lost), "{crash:?}");
        assert_eq!(position(&done), 0);
        assert_eq!(stored(&world, &vault, "list").await.unwrap(), "a ", "{crash:?}");
        assert_eq!(check_log(&world, &vault), 2);
    }
}

#[tokio::test]
async fn a_stale_lease_is_renewed_and_another_home_is_read_only() {
    let world = World::new().await;
    let vault = world.vault("dev").await;
    let meta = |home: RegionName, epoch| GroupMeta { home, epoch: Epoch(epoch) }.encode();
    world.engine.put(layout::group_meta(&vault.group), meta(region(), 2));
    world.service.submit(&vault, &context(), append("list", "a")).await.unwrap();
    world.engine.put(layout::group_meta(&vault.group), meta(RegionName::parse("westus").unwrap(), 3));
    let error = world.service.submit(&vault, &context(), append("list", "b")).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::ServiceUnavailable);
    assert_eq!(
        error.message,
        "Operation \"SecretSet\" is unavailable: the service is currently in a read-only state."
    );
    assert_eq!(stored(&world, &vault, "list").await.unwrap(), "a ");
}
