use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

fn settings() -> Settings {
    Settings::default()
}

/// Observes one probe after another, 500 ms apart, from time `start`.
fn probes(mut health: NodeHealth, start: Duration, probes: &str) -> NodeHealth {
    for (at, probe) in probes.chars().enumerate() {
        let seen = if probe == '+' { Observation::Good } else { Observation::Miss };
        health = health.observe(seen, start + MS * 500 * u32::try_from(at).unwrap(), &settings());
    }
    health
}

#[test]
fn two_misses_in_a_row_open_and_one_does_not() {
    let new = NodeHealth::new(Duration::ZERO);
    assert!(new.is_closed(), "a door that has just started tries everybody");
    assert!(probes(new.clone(), MS, "-").is_closed());
    assert!(probes(new.clone(), MS, "-+-+-+-").is_closed(), "misses that are not in a row");
    assert!(!probes(new, MS, "--").is_closed());
}

#[test]
fn it_closes_after_three_good_probes_over_the_time_and_the_stay() {
    let new = NodeHealth::new(Duration::ZERO);
    // Three good probes cover 1 s, which is too short; the fourth makes 1.5 s, and 2 s since it opened.
    assert!(!probes(new.clone(), MS, "--+++").is_closed());
    assert!(!probes(new.clone(), MS, "--+++-+++").is_closed(), "a miss begins the count anew");
    assert!(probes(new.clone(), MS, "--++++").is_closed());
    assert!(probes(new.clone(), MS, "------++++").is_closed());
    let slow_stay = Settings { stay_min: Duration::from_secs(3), ..settings() };
    let mut health = probes(new, MS, "--");
    for at in 2..7 {
        health = health.observe(Observation::Good, MS + MS * 500 * at, &slow_stay);
        assert!(!health.is_closed(), "within the minimum stay");
    }
    assert!(health.observe(Observation::Good, MS + MS * 500 * 7, &slow_stay).is_closed());
}

#[test]
fn a_return_takes_less_than_ten_seconds() {
    let mut health = probes(NodeHealth::new(Duration::ZERO), MS, "----");
    for at in 1..=20 {
        health = health.observe(Observation::Good, MS * 1_501 + MS * 500 * at, &settings());
    }
    assert!(health.is_closed());
}

#[test]
fn good_probes_in_a_burst_do_not_close() {
    let mut health = probes(NodeHealth::new(Duration::ZERO), MS, "--");
    for at in 0..1_000 {
        health = health.observe(Observation::Good, MS * 501 + MS * at, &settings());
    }
    assert!(!health.is_closed(), "a thousand good probes, but within one second");
}

#[test]
fn a_leap_of_the_clock_alone_changes_nothing() {
    let year = Duration::from_secs(365 * 86_400);
    let open = probes(NodeHealth::new(Duration::ZERO), MS, "--");
    // Forwards: one good probe after a year is one good probe.
    assert!(!open.clone().observe(Observation::Good, year, &settings()).is_closed());
    assert!(probes(NodeHealth::new(Duration::ZERO), year, "-").is_closed());
    // Backwards: the time before counts as none; nothing is undone, and new time counts from where it was.
    let back = open.observe(Observation::Good, Duration::ZERO, &settings());
    assert!(!probes(back, Duration::ZERO, "++").is_closed());
    let ahead = probes(NodeHealth::new(year), year, "--");
    assert!(
        !probes(ahead.clone(), MS, "++++++++").is_closed(),
        "before the latest time seen, no time passes"
    );
    assert!(probes(ahead, year + MS * 1_000, "++++").is_closed());
}

#[test]
fn a_masked_home_is_alive_and_not_home() {
    let masked = NodeProbe::Answered { engine: true, standing: false };
    let half_dead = NodeProbe::Answered { engine: false, standing: true };
    let mut node = NodeState::new(Duration::ZERO);
    for at in 1..=2 {
        node = node.observe(masked, MS * 500 * at, &settings());
    }
    assert!(node.alive.is_closed() && !node.home.is_closed());
    assert_eq!(RegionHealth::of([&node]), RegionHealth::Masked);

    let mut node = NodeState::new(Duration::ZERO);
    for at in 1..=2 {
        node = node.observe(half_dead, MS * 500 * at, &settings());
    }
    assert!(!node.alive.is_closed() && !node.home.is_closed(), "health is more than an open port (F23)");
    assert_eq!(RegionHealth::of([&node]), RegionHealth::Unavailable);
}

#[test]
fn a_region_is_available_as_long_as_one_node_is() {
    let good = NodeState::new(Duration::ZERO);
    let mut dead = good.clone();
    for at in 1..=2 {
        dead = dead.observe(NodeProbe::Missed, MS * 500 * at, &settings());
    }
    assert_eq!(RegionHealth::of([&dead, &good]), RegionHealth::Available);
    assert_eq!(RegionHealth::of([&dead, &dead]), RegionHealth::Unavailable);
    assert_eq!(RegionHealth::of([]), RegionHealth::Unavailable);
}

#[derive(Clone, Debug)]
struct Step {
    good: bool,
    /// Milliseconds, forwards or backwards.
    clock: i64,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let clock = prop_oneof![5 => 0..1_500i64, 1 => -5_000..0i64, 1 => Just(i64::from(u32::MAX))];
    proptest::collection::vec((any::<bool>(), clock).prop_map(|(good, clock)| Step { good, clock }), 0..200)
}

proptest! {
    /// Whatever happens and however the clock runs: it opens exactly at the second miss in a row, and closes only
    /// after enough good probes in a row, with enough time between them and since it opened.
    #[test]
    fn the_breaker_keeps_its_thresholds(steps in steps()) {
        let settings = settings();
        let mut health = NodeHealth::new(Duration::ZERO);
        let mut clock = 0i64;
        let (mut latest, mut misses, mut goods) = (0i64, 0u32, 0u32);
        // Time as the rule counts it: never backwards, and no step longer than `step_max`.
        let (mut good_time, mut open_time) = (Duration::ZERO, Duration::ZERO);
        for step in steps {
            clock = (clock + step.clock).max(0);
            let gone = Duration::from_millis((clock - latest).max(0).unsigned_abs()).min(settings.step_max);
            latest = latest.max(clock);
            let was_closed = health.is_closed();
            let seen = if step.good { Observation::Good } else { Observation::Miss };
            health = health.observe(seen, Duration::from_millis(clock.unsigned_abs()), &settings);
            if !was_closed {
                open_time += gone;
            }
            if step.good {
                misses = 0;
                good_time = if goods == 0 { Duration::ZERO } else { good_time + gone };
                goods += 1;
            } else {
                misses += 1;
                goods = 0;
            }
            match (was_closed, health.is_closed()) {
                (true, true) => prop_assert!(misses < settings.misses),
                (true, false) => {
                    prop_assert!(misses >= settings.misses);
                    open_time = Duration::ZERO;
                }
                (false, false) => prop_assert!(
                    goods < settings.goods || good_time < settings.good_for || open_time < settings.stay_min
                ),
                (false, true) => prop_assert!(
                    goods >= settings.goods && good_time >= settings.good_for && open_time >= settings.stay_min
                ),
            }
        }
    }

    /// A link that flaps as it likes changes the mode at most once per minimum stay.
    #[test]
    fn no_flapping(goods in proptest::collection::vec(any::<bool>(), 1..400)) {
        let settings = settings();
        let mut health = NodeHealth::new(Duration::ZERO);
        let mut opened: Option<Duration> = None;
        for (at, good) in goods.into_iter().enumerate() {
            let now = MS * 500 * u32::try_from(at).unwrap();
            let was_closed = health.is_closed();
            let seen = if good { Observation::Good } else { Observation::Miss };
            health = health.observe(seen, now, &settings);
            if was_closed && !health.is_closed() {
                opened = Some(now);
            }
            if !was_closed && health.is_closed() {
                prop_assert!(now - opened.unwrap() >= settings.stay_min);
            }
        }
    }
}
