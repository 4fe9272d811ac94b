//! The home region is lost and returns: FAILURES F28, F29. Whoever asks sees answers of the pair, and nobody acts.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use valv_tests::{HOME, OTHER, Outcome, PROMISE, Pair, Sample, Seen, Traffic, judge, until_async};

use crate::long;

/// From the moment a region is given back: writes work again.
const RETURN: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    Kill,
    Freeze,
    Partition,
}

impl Fault {
    fn take(self, pair: &Pair) {
        match self {
            Self::Kill => pair.fail(HOME),
            Self::Freeze => pair.signal(HOME, Signal::STOP),
            Self::Partition => pair.cut(HOME, &[]),
        }
    }

    fn give_back(self, pair: &Pair) {
        match self {
            Self::Freeze => pair.signal(HOME, Signal::CONT),
            Self::Kill | Self::Partition => pair.heal(HOME),
        }
    }
}

async fn lose_and_return(pair: Pair, fault: Fault) {
    let doors = [pair.gateway(), pair.door(OTHER)];
    let traffic = Traffic::start(&doors, pair.plant()).await;
    let mut moments = Vec::new();
    for _ in 0..long(50, 1) {
        for (door, _) in &doors {
            traffic.until_home(door).await;
        }
        pair.caught_up().await;
        let lost = Instant::now();
        fault.take(&pair);
        let taken = Instant::now();
        for (door, _) in &doors {
            traffic.until_seen("the replica's answer", door, |o| matches!(o, Outcome::Replica(_))).await;
            traffic.until_seen("a refused write", door, |o| *o == Outcome::ReadOnly).await;
        }
        traffic.go_on(Duration::from_secs(2)).await;
        let returning = Instant::now();
        fault.give_back(&pair);
        for (door, _) in &doors {
            let back = traffic.until_home(door).await;
            println!("{door}: home is back after {:?}", back - returning);
            assert!(back - returning <= RETURN, "{door}: home was back only after {:?}", back - returning);
        }
        moments.push((lost, taken, returning));
    }
    let seen = traffic.stop().await;
    seen.no_read_failed();
    seen.writes_are_refused_in_azures_words();
    println!("slowest of {} reads: {:?}", seen.reads().count(), seen.reads().map(Sample::took).max());
    for (lost, taken, returning) in moments {
        for (door, _) in &doors {
            let first = seen.first_replica(door, lost).expect("the replica answered");
            println!("{door}: the replica's first answer after {:?}", first - lost);
            assert!(
                first - lost <= PROMISE,
                "{door}: the replica's first answer came after {:?}",
                first - lost
            );
        }
        seen.none_acknowledged(None, taken, returning);
        refused_at_once_when_noticed(&seen, lost, returning);
    }
    pair.finish(seen).await;
}

/// Once a door has refused a write, it lets none wait any more.
fn refused_at_once_when_noticed(seen: &Seen, lost: Instant, returning: Instant) {
    for door in ["gateway", OTHER] {
        let writes = || seen.writes().filter(|w| w.door == door && w.at >= lost && w.end <= returning);
        let noticed =
            writes().filter(|w| w.outcome == Outcome::ReadOnly).map(|w| w.end).min().expect("noticed");
        // Those on their way when it was noticed count by their own deadline.
        for write in writes().filter(|w| w.at > noticed + PROMISE) {
            assert_eq!(write.outcome, Outcome::ReadOnly, "{write:?}");
            assert!(write.took() <= Duration::from_secs(1), "{write:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f28_f29_a_killed_home_region_fails_over_and_back_and_no_read_fails() {
    lose_and_return(Pair::start().await, Fault::Kill).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f28_f29_a_frozen_home_region_fails_over_and_back_and_no_read_fails() {
    lose_and_return(Pair::start().await, Fault::Freeze).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f28_f29_a_home_region_that_is_cut_off_fails_over_and_back_and_no_read_fails() {
    lose_and_return(Pair::separate().await, Fault::Partition).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f28_a_door_that_starts_during_an_outage_works_and_gives_tokens() {
    let pair = Pair::start().await;
    let traffic = Traffic::start(&[pair.gateway()], pair.plant()).await;
    traffic.until_home("gateway").await;
    let seen = traffic.stop().await;
    pair.caught_up().await;
    pair.fail(HOME);
    let before = pair.pid("gateway");
    pair.signal("gateway", Signal::KILL);
    pair.until_gateway_is_not(before);
    // Nobody at this door has ever heard of home.
    let api = until_async("a token", async || {
        let anonymous = pair.dev().anonymous();
        let there = anonymous.try_send("GET", "/secrets", None).await.is_ok_and(|a| a.status == 401);
        if !there {
            return None;
        }
        let (client, secret) = (pair.dev().var("AZURE_CLIENT_ID"), pair.dev().var("AZURE_CLIENT_SECRET"));
        Some(anonymous.sign_in(client, secret).await)
    })
    .await;
    let read = judge(api.try_send("GET", "/secrets/traffic-1", None).await);
    assert!(matches!(read, Outcome::Replica(_)), "{read:?}");
    pair.heal(HOME);
    until_async("home's answer", async || {
        let read = judge(api.try_send("GET", "/secrets/traffic-1", None).await);
        assert!(!matches!(read, Outcome::Failed(_)), "{read:?}");
        matches!(read, Outcome::Home(_)).then_some(())
    })
    .await;
    pair.finish(seen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f28_a_client_with_two_doors_survives_a_killed_door_also_while_home_is_lost() {
    let pair = Pair::start().await;
    let traffic = Traffic::start(&[pair.door(OTHER)], pair.plant()).await;
    let doors = [pair.gateway().1, pair.door(OTHER).1];
    // As a client does that knows two addresses: the next one, if no answer came.
    let ask = async || {
        for door in &doors {
            if let Ok(answer) = door.try_send("GET", "/secrets/traffic-1", None).await {
                return judge(Ok(answer));
            }
        }
        panic!("no door answers");
    };
    let first = ask().await;
    assert!(matches!(first, Outcome::Home(_)), "{first:?}");
    let before = pair.pid("gateway");
    pair.signal("gateway", Signal::KILL);
    let after = ask().await;
    assert!(matches!(after, Outcome::Home(_)), "{after:?}");
    pair.until_gateway_is_not(before);
    pair.caught_up().await;
    pair.fail(HOME);
    let before = pair.pid("gateway");
    pair.signal("gateway", Signal::KILL);
    let lost = ask().await;
    assert!(matches!(lost, Outcome::Replica(_)), "{lost:?}");
    pair.until_gateway_is_not(before);
    pair.heal(HOME);
    traffic.until_home(OTHER).await;
    let seen = traffic.stop().await;
    seen.no_read_failed();
    pair.finish(seen).await;
}
