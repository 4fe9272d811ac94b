//! The queue against a sequential model: whatever the engine loses or delays, the outcome is that of running
//! the committed changes one by one in the order of their numbers.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use valv_model::ErrorCode;

use super::*;
use crate::testing::{Fault, context, request};

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        6 => Just(Fault::None),
        1 => Just(Fault::Lost),
        1 => Just(Fault::Dropped),
        1 => (1..6_u32).prop_map(Fault::Late),
        1 => Just(Fault::Busy),
    ]
}

/// (list, milliseconds before it is submitted, has a request key)
fn change() -> impl Strategy<Value = (u8, u64, bool)> {
    (0..3_u8, 0..30_u64, any::<bool>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn the_queue_equals_a_sequential_model(
        faults in proptest::collection::vec(fault(), 0..40),
        changes in proptest::collection::vec(change(), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(run(faults, changes));
    }
}

async fn run(faults: Vec<Fault>, changes: Vec<(u8, u64, bool)>) {
    let world = World::new().await;
    let vault = world.vault("dev").await;
    world.engine.faults.lock().unwrap().extend(faults);
    let writers = changes.iter().enumerate().map(|(at, (list, pause, keyed))| {
        let (service, vault) = (Arc::clone(&world.service), Arc::clone(&vault));
        let (list, pause, keyed) = (list.to_string(), *pause, *keyed);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let context = if keyed { request(u8::try_from(at).unwrap()) } else { context() };
            loop {
                match service.submit(&vault, &context, append(&list, &at.to_string())).await {
                    // A definite refusal: it may be tried again with or without a key.
                    Err(error) if error.code == ErrorCode::ServiceUnavailable => {}
                    other => return other.unwrap(),
                }
            }
        })
    });
    let done = futures::future::join_all(writers.collect::<Vec<_>>()).await;
    let mut by_number = BTreeMap::new();
    for (at, done) in done.into_iter().enumerate() {
        let done = done.unwrap();
        assert!(by_number.insert(done.number, (at, position(&done))).is_none(), "one number for two changes");
    }
    let mut model: BTreeMap<u8, Vec<usize>> = BTreeMap::new();
    for (number, (at, position)) in &by_number {
        let list = model.entry(changes[*at].0).or_default();
        assert_eq!(*position, list.len(), "change {at}, number {number}, saw another state");
        list.push(*at);
    }
    for (list, expected) in model {
        let found = stored(&world, &vault, &list.to_string()).await.unwrap();
        assert_eq!(words(&found), expected.iter().map(ToString::to_string).collect::<Vec<_>>());
    }
    assert_eq!(check_log(&world, &vault), changes.len() as u64 + 1);
}
