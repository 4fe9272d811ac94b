use std::time::{Duration, Instant};

use super::*;
use crate::testing::{Fault, context, request};

#[tokio::test(start_paused = true)]
async fn f16_a_lost_answer_is_settled_whatever_happened_to_the_commit() {
    for faults in [
        vec![Fault::Lost],
        vec![Fault::Dropped],
        vec![Fault::Late(1)],
        vec![Fault::Late(2)],
        vec![Fault::Late(5)],
        vec![Fault::Dropped, Fault::Dropped, Fault::Lost],
        vec![Fault::Late(3), Fault::Late(3), Fault::Dropped],
        vec![Fault::Lost, Fault::Busy, Fault::Dropped],
        vec![Fault::Dropped, Fault::Busy, Fault::Late(2), Fault::Busy],
    ] {
        let world = World::new().await;
        let vault = world.vault("dev").await;
        world.engine.faults.lock().unwrap().extend(faults.clone());
        let done = world.service.submit(&vault, &context(), append("list", "a")).await;
        assert!(done.is_ok(), "{faults:?}: {done:?}");
        let next = world.service.submit(&vault, &context(), append("list", "b")).await.unwrap();
        assert_eq!(position(&next), 1, "{faults:?}");
        assert_eq!(stored(&world, &vault, "list").await.unwrap(), "a b ", "{faults:?}");
        assert_eq!(check_log(&world, &vault), 3, "{faults:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_engine_before_anything_was_sent_is_a_definite_refusal() {
    let world = World::new().await;
    let vault = world.vault("dev").await;
    world.engine.faults.lock().unwrap().push_back(Fault::Busy);
    let error = world.service.submit(&vault, &context(), append("list", "a")).await.unwrap_err();
    assert_eq!(error.code, valv_model::ErrorCode::ServiceUnavailable);
    assert_eq!(stored(&world, &vault, "list").await, None);
}

#[tokio::test(start_paused = true)]
async fn the_queue_settles_what_its_client_no_longer_waits_for() {
    let world = World::new().await;
    let vault = world.vault("dev").await;
    world.engine.faults.lock().unwrap().extend(vec![Fault::Dropped; 12]);
    let soon = WriteContext { deadline: Instant::now() + Duration::from_millis(100), ..request(1) };
    let error = world.service.submit(&vault, &soon, append("list", "a")).await.unwrap_err();
    assert_eq!(error.code, valv_model::ErrorCode::UnknownOutcome);
    let again = world.service.submit(&vault, &request(1), append("list", "a")).await.unwrap();
    assert!(again.replayed);
    assert_eq!(stored(&world, &vault, "list").await.unwrap(), "a ");
}

/// Two nodes write one vault, and answers are lost.
#[tokio::test(start_paused = true)]
async fn f16_two_nodes_at_one_vault_lose_nothing_and_write_nothing_twice() {
    let world = World::new().await;
    let vault = world.vault("dev").await;
    let engine: Arc<dyn valv_engine::Engine> = world.engine.clone();
    let barrier = valv_sealing::Barrier::open(engine, world.keyring.clone()).await.unwrap();
    let settings = world.service.settings.clone();
    let other = Arc::new(crate::Service::open(barrier, world.clock.clone(), settings).await.unwrap());
    let faults = [Fault::None, Fault::Late(2), Fault::Lost, Fault::Dropped, Fault::None, Fault::Late(4)];
    world.engine.faults.lock().unwrap().extend(faults.into_iter().cycle().take(120));
    let writers = (0..60).map(|n| {
        let service = Arc::clone(if n % 2 == 0 { &world.service } else { &other });
        let vault = Arc::clone(&vault);
        tokio::spawn(async move {
            // Spread out, so that there are many small commits.
            tokio::time::sleep(Duration::from_millis(n)).await;
            service.submit(&vault, &context(), append("list", &n.to_string())).await.unwrap()
        })
    });
    let done = futures::future::join_all(writers.collect::<Vec<_>>()).await;
    let list = stored(&world, &vault, "list").await.unwrap();
    let list = words(&list);
    assert_eq!(list.len(), 60);
    for (n, done) in done.iter().enumerate() {
        assert_eq!(list[position(done.as_ref().unwrap())], n.to_string());
    }
    check_log(&world, &vault);
}
