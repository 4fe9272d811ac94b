//! Packets between regions vanish, come late, or only one way: FAILURES F17, F19 to F22. Each region on a host of its own.

use std::time::{Duration, Instant};

use valv_tests::{HOME, OTHER, Outcome, Pair, SlowLink, Traffic};

use crate::long;

/// From the moment the link is whole: everybody is served by home again, and the copies agree.
const HEALED: Duration = Duration::from_secs(10);

fn replica(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Replica(_))
}

fn home(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Home(_))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f17_a_door_that_cannot_reach_home_is_answered_by_the_pair_and_nothing_is_passed_on_twice() {
    let pair = Pair::separate().await;
    let traffic = Traffic::start(&[pair.gateway(), pair.door(OTHER)], pair.plant()).await;
    // The pair could ask home; but what was forwarded once is not forwarded again, so it answers as the replica.
    pair.cut(HOME, &["--from", "gateway"]);
    let cut = Instant::now();
    traffic.until_seen("the replica's answer", "gateway", replica).await;
    traffic.until_seen("a refused write", "gateway", |o| *o == Outcome::ReadOnly).await;
    let refused = Instant::now();
    traffic.until_home(OTHER).await;
    traffic.go_on(Duration::from_secs(2)).await;
    let healing = Instant::now();
    pair.heal(HOME);
    traffic.until_home("gateway").await;
    let seen = traffic.stop().await;
    seen.no_read_failed();
    seen.writes_are_refused_in_azures_words();
    seen.none_acknowledged(Some("gateway"), refused, healing);
    let elsewhere = seen.samples.iter().filter(|s| s.door == OTHER && s.at >= cut && s.end <= healing);
    for sample in elsewhere {
        assert!(home(&sample.outcome) || sample.outcome == Outcome::Acknowledged, "{sample:?}");
    }
    pair.finish(seen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f19_a_home_that_hears_and_is_not_heard_or_the_other_way_round_is_lost_for_both() {
    let pair = Pair::separate().await;
    let traffic = Traffic::start(&[pair.gateway(), pair.door(OTHER)], pair.plant()).await;
    for way in ["in", "out"] {
        for door in ["gateway", OTHER] {
            traffic.until_home(door).await;
        }
        pair.caught_up().await;
        pair.cut(HOME, &["--one-way", way]);
        for door in ["gateway", OTHER] {
            traffic.until_seen("the replica's answer", door, replica).await;
            traffic.until_seen("a refused write", door, |o| *o == Outcome::ReadOnly).await;
        }
        traffic.go_on(Duration::from_secs(2)).await;
        let healing = Instant::now();
        pair.heal(HOME);
        for door in ["gateway", OTHER] {
            let back = traffic.until_home(door).await;
            assert!(back - healing <= HEALED, "{door}: {:?}", back - healing);
        }
    }
    let seen = traffic.stop().await;
    seen.no_read_failed();
    seen.writes_are_refused_in_azures_words();
    pair.finish(seen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f19_a_link_between_the_regions_that_carries_one_way_only_counts_as_cut() {
    let pair = Pair::separate().await;
    let traffic = Traffic::start(&[pair.gateway(), pair.door(OTHER)], pair.plant()).await;
    for way in ["in", "out"] {
        traffic.until_home(OTHER).await;
        pair.caught_up().await;
        pair.cut(HOME, &["--from", OTHER, "--one-way", way]);
        traffic.until_seen("the replica's answer", OTHER, replica).await;
        traffic.until_seen("a write", "gateway", |o| *o == Outcome::Acknowledged).await;
        traffic.go_on(Duration::from_secs(1)).await;
        let healing = Instant::now();
        pair.heal(HOME);
        let back = traffic.until_home(OTHER).await;
        assert!(back - healing <= HEALED, "{:?}", back - healing);
    }
    let seen = traffic.stop().await;
    seen.no_read_failed();
    seen.writes_are_refused_in_azures_words();
    // The gateway reaches both all the time: nothing changes there.
    for sample in seen.samples.iter().filter(|s| s.door == "gateway") {
        assert!(home(&sample.outcome) || sample.outcome == Outcome::Acknowledged, "{sample:?}");
    }
    pair.finish(seen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f20_regions_that_cannot_see_each_other_never_both_take_writes() {
    let pair = Pair::separate().await;
    let traffic = Traffic::start(&[pair.gateway(), pair.door(HOME), pair.door(OTHER)], pair.plant()).await;
    traffic.until_home(OTHER).await;
    pair.caught_up().await;
    pair.cut(HOME, &["--from", OTHER]);
    let cut = Instant::now();
    traffic.until_seen("the replica's answer", OTHER, replica).await;
    traffic.until_seen("a refused write", OTHER, |o| *o == Outcome::ReadOnly).await;
    let refused = Instant::now();
    traffic.go_on(long(Duration::from_secs(60), Duration::from_secs(5))).await;
    let healing = Instant::now();
    pair.heal(HOME);
    let back = traffic.until_home(OTHER).await;
    assert!(back - healing <= HEALED, "the pair forwards again after {:?}", back - healing);
    let seen = traffic.stop().await;
    seen.no_read_failed();
    seen.writes_are_refused_in_azures_words();
    seen.none_acknowledged(Some(OTHER), refused, healing);
    // At home everything works, and the gateway sees home.
    for sample in seen.samples.iter().filter(|s| s.door != OTHER && s.at >= cut && s.end <= healing) {
        assert!(home(&sample.outcome) || sample.outcome == Outcome::Acknowledged, "{sample:?}");
    }
    pair.finish(seen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f21_a_home_that_comes_and_goes_fails_no_read() {
    let pair = Pair::separate().await;
    let traffic = Traffic::start(&[pair.gateway(), pair.door(OTHER)], pair.plant()).await;
    let end = Instant::now() + long(Duration::from_secs(300), Duration::from_secs(25));
    let most = long(10.0, 5.0);
    while Instant::now() < end {
        pair.cut(HOME, &[]);
        traffic.go_on(Duration::from_secs_f32(fastrand::f32() * most + 0.5)).await;
        pair.heal(HOME);
        traffic.go_on(Duration::from_secs_f32(fastrand::f32() * most + 0.5)).await;
    }
    let healing = Instant::now();
    for door in ["gateway", OTHER] {
        let back = traffic.until_home(door).await;
        assert!(back - healing <= HEALED, "{door}: {:?}", back - healing);
    }
    let seen = traffic.stop().await;
    seen.no_read_failed();
    seen.writes_are_refused_in_azures_words();
    pair.finish(seen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f22_a_lossy_link_fails_no_read() {
    let pair = Pair::separate().await;
    let traffic = Traffic::start(&[pair.gateway(), pair.door(OTHER)], pair.plant()).await;
    for percent in ["20", "60"] {
        pair.cut(HOME, &["--loss", percent]);
        traffic.go_on(long(Duration::from_secs(60), Duration::from_secs(6))).await;
        pair.heal(HOME);
        for door in ["gateway", OTHER] {
            traffic.until_home(door).await;
        }
    }
    let seen = traffic.stop().await;
    seen.no_read_failed();
    seen.writes_are_refused_in_azures_words();
    pair.finish(seen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f22_a_slow_link_is_given_up_after_the_first_answers_that_came_late() {
    let pair = Pair::start().await;
    // The gateway reaches home through a proxy of ours.
    let text = pair.configuration("gateway");
    let peers = text.split("[[regions]]").find(|part| part.contains(HOME)).expect("home's peers");
    let address = peers.split('"').find(|word| word.contains(':')).expect("home's address").to_owned();
    let link = SlowLink::start(address.parse().expect("an address")).await;
    pair.configure("gateway", &text.replace(&address, &link.address().to_string()));
    let before = pair.pid("gateway");
    pair.signal("gateway", rustix::process::Signal::KILL);
    pair.until_gateway_is_not(before);
    valv_tests::until_async("the gateway", async || {
        let answer = pair.gateway().1.try_send("GET", "/secrets", None).await;
        answer.is_ok_and(|answer| answer.status == 200).then_some(())
    })
    .await;
    let traffic = Traffic::start(&[pair.gateway()], pair.plant()).await;
    traffic.until_home("gateway").await;
    pair.caught_up().await;
    link.delay(Duration::from_secs(1));
    traffic.until_seen("the replica's answer", "gateway", replica).await;
    traffic.until_seen("a refused write", "gateway", |o| *o == Outcome::ReadOnly).await;
    let noticed = Instant::now();
    traffic.go_on(Duration::from_secs(4)).await;
    let whole = Instant::now();
    link.delay(Duration::ZERO);
    let back = traffic.until_home("gateway").await;
    assert!(back - whole <= HEALED, "{:?}", back - whole);
    let seen = traffic.stop().await;
    seen.no_read_failed();
    seen.writes_are_refused_in_azures_words();
    // No read waits for its deadline any more: the breaker is open.
    let mut took: Vec<Duration> =
        seen.reads().filter(|s| s.at >= noticed && s.end <= whole).map(valv_tests::Sample::took).collect();
    took.sort_unstable();
    let median = took[took.len() / 2];
    assert!(median < Duration::from_millis(300), "reads wait {median:?} each");
    pair.finish(seen).await;
}

/// The network namespaces that there are.
fn namespaces() -> Vec<String> {
    let output = std::process::Command::new("ip").args(["netns", "list"]).output().expect("ip runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().filter_map(|line| Some(line.split(' ').next()?.to_owned())).collect()
}

#[test]
fn separate_hosts_are_gone_after_a_stop_and_what_a_crash_leaves_goes_with_the_next_start() {
    let mut dev = valv_tests::Dev::start_with(&["--separate-hosts"]);
    let hosts = |dev: &valv_tests::Dev| -> Vec<String> {
        let text = std::fs::read_to_string(dev.data().join("hosts")).expect("the names of its hosts");
        text.lines().skip(1).map(str::to_owned).collect()
    };
    let there = |names: &[String]| namespaces().iter().filter(|name| names.contains(name)).count();
    let first = hosts(&dev);
    assert_eq!((first.len(), there(&first)), (3, 3), "{first:?}");
    dev.kill();
    assert_eq!(there(&first), 3, "nobody was there to remove them");
    dev.restart();
    let second = hosts(&dev);
    let left: Vec<String> = first.iter().filter(|name| !second.contains(name)).cloned().collect();
    assert_eq!((there(&left), there(&second)), (0, 3), "{first:?} {second:?}");
    assert!(dev.stop().success());
    assert_eq!(there(&second), 0);
    assert!(!dev.data().join("hosts").exists());
}
