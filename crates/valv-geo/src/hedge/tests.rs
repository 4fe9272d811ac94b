use proptest::prelude::*;
use valv_model::RegionName;

use super::*;
use crate::{Leg, PeerId, Role, Target};

fn forward(first: usize, then: usize) -> Forward {
    let leg = |role, n: usize| Leg {
        role,
        target: Target::Peer(PeerId {
            region: RegionName::parse("east").unwrap(),
            address: format!("node-{n}:1").into(),
        }),
    };
    Forward {
        first: (0..first).map(|n| leg(Role::Home, n)).collect(),
        then: (0..then).map(|n| leg(Role::Replica, n)).collect(),
    }
}

fn hedge(first: usize, then: usize, effect: Effect) -> Hedge {
    Hedge::new(&forward(first, then), effect, Settings::default())
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn a_silent_home_is_seconded_at_300_ms_and_replaced_at_900() {
    let mut hedge = hedge(3, 1, Effect::Read);
    assert_eq!(hedge.next(Event::Start, ms(0)), Action::Send(0));
    assert_eq!(hedge.next(Event::Tick, ms(0)), Action::Wait(ms(300)));
    assert_eq!(hedge.next(Event::Tick, ms(300)), Action::Send(1));
    assert_eq!(hedge.next(Event::Tick, ms(300)), Action::Wait(ms(900)));
    assert_eq!(hedge.next(Event::Tick, ms(900)), Action::Send(3));
    assert_eq!(hedge.next(Event::Tick, ms(900)), Action::Wait(ms(2_000)));
    assert_eq!(hedge.next(Event::Answered(3), ms(905)), Action::Answer(3));
}

#[test]
fn a_home_that_refuses_is_replaced_at_once() {
    for refused in [Event::Refused(0), Event::NotSent(0), Event::Lost(0)] {
        let mut hedge = hedge(1, 1, Effect::Read);
        assert_eq!(hedge.next(Event::Start, ms(0)), Action::Send(0));
        assert_eq!(hedge.next(refused, ms(3)), Action::Send(1), "{refused:?}");
        assert_eq!(hedge.next(Event::Answered(1), ms(5)), Action::Answer(1));
    }
}

#[test]
fn a_late_home_still_wins_if_it_comes_first() {
    let mut hedge = hedge(1, 1, Effect::Read);
    hedge.next(Event::Start, ms(0));
    assert_eq!(hedge.next(Event::Tick, ms(900)), Action::Send(1));
    assert_eq!(hedge.next(Event::Answered(0), ms(901)), Action::Answer(0));
}

#[test]
fn a_second_replica_is_asked_when_the_first_is_silent() {
    let mut hedge = hedge(1, 2, Effect::Read);
    hedge.next(Event::Start, ms(0));
    assert_eq!(hedge.next(Event::NotSent(0), ms(1)), Action::Send(1));
    assert_eq!(hedge.next(Event::Tick, ms(1)), Action::Wait(ms(301)));
    assert_eq!(hedge.next(Event::Tick, ms(301)), Action::Send(2));
    assert_eq!(hedge.next(Event::Tick, ms(301)), Action::Wait(ms(2_000)));
}

#[test]
fn a_read_that_everybody_lost_goes_round_again_a_few_times() {
    // Both pooled connections broke in the same instant; a second round opens new ones.
    let mut hedge = hedge(1, 1, Effect::Read);
    assert_eq!(hedge.next(Event::Start, ms(0)), Action::Send(0));
    assert_eq!(hedge.next(Event::Lost(0), ms(1)), Action::Send(1));
    assert_eq!(hedge.next(Event::Lost(1), ms(2)), Action::Wait(ms(102)));
    assert_eq!(hedge.next(Event::Tick, ms(102)), Action::Send(0));
    assert_eq!(hedge.next(Event::NotSent(0), ms(103)), Action::Send(1));
    assert_eq!(hedge.next(Event::Answered(1), ms(105)), Action::Answer(1));

    let mut hedge = super::tests::hedge(1, 0, Effect::Read);
    let (mut now, mut sent, mut event) = (ms(0), 0, Event::Start);
    let end = loop {
        match hedge.next(event, now) {
            Action::Send(0) => {
                sent += 1;
                event = Event::Refused(0);
            }
            Action::Wait(until) => {
                now = until;
                event = Event::Tick;
            }
            other => break other,
        }
    };
    assert_eq!((end, sent), (Action::GiveUp(GiveUp::Refused), 3));
    assert!(now < ms(500));
}

#[test]
fn a_write_is_sent_again_only_if_it_was_not_sent() {
    for harmless in [Event::NotSent(0), Event::Refused(0)] {
        let mut hedge = hedge(2, 0, Effect::Write);
        assert_eq!(hedge.next(Event::Start, ms(0)), Action::Send(0));
        assert_eq!(hedge.next(Event::Tick, ms(400)), Action::Wait(ms(2_000)), "a silent write is not hedged");
        assert_eq!(hedge.next(harmless, ms(400)), Action::Send(1));
        assert_eq!(hedge.next(Event::NotSent(1), ms(401)), Action::GiveUp(GiveUp::Refused));
    }
    let mut lost = hedge(2, 0, Effect::Write);
    lost.next(Event::Start, ms(0));
    assert_eq!(lost.next(Event::Lost(0), ms(1)), Action::GiveUp(GiveUp::Unanswered));
    let mut silent = hedge(2, 0, Effect::Write);
    silent.next(Event::Start, ms(0));
    assert_eq!(silent.next(Event::Tick, ms(2_000)), Action::GiveUp(GiveUp::Unanswered));
    let mut late = hedge(2, 0, Effect::Write);
    late.next(Event::Start, ms(0));
    assert_eq!(late.next(Event::NotSent(0), ms(1_000)), Action::GiveUp(GiveUp::Refused), "too late to send");
}

#[test]
fn nobody_to_ask_is_a_refusal() {
    for effect in [Effect::Read, Effect::Write] {
        assert_eq!(hedge(0, 0, effect).next(Event::Start, ms(0)), Action::GiveUp(GiveUp::Refused));
    }
}

#[test]
fn switched_off_nobody_else_is_asked() {
    let off = Settings { on: false, rounds: 1, ..Settings::default() };
    let mut hedge = Hedge::new(&forward(2, 1), Effect::Read, off);
    assert_eq!(hedge.next(Event::Start, ms(0)), Action::Send(0));
    assert_eq!(hedge.next(Event::Tick, ms(900)), Action::Wait(ms(2_000)));
    assert_eq!(hedge.next(Event::Refused(0), ms(901)), Action::GiveUp(GiveUp::Refused));
}

/// How one attempt ends, and after how long. None: never.
type Fate = Option<(u8, u64)>;

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    proptest::collection::vec(proptest::option::weighted(0.8, (0..4u8, 0..2_500u64)), 1..40)
}

/// What a simulated request did: the end, when, and each attempt with how it ended.
struct Ran {
    end: Action,
    at: Duration,
    /// Attempts in the order of sending: leg, when, how it ended.
    sent: Vec<(usize, Duration, Fate)>,
}

/// Drives a hedge as the router does, `late` behind every timer.
fn run(mut hedge: Hedge, fates: &[Fate], late: u64) -> Ran {
    let mut now = ms(0);
    let mut sent: Vec<(usize, Duration, Fate)> = Vec::new();
    let mut flying: Vec<(Duration, Event)> = Vec::new();
    let mut event = Event::Start;
    for _ in 0..1_000 {
        match hedge.next(event, now) {
            Action::Send(leg) => {
                let fate = fates.get(sent.len()).copied().flatten();
                sent.push((leg, now, fate));
                if let Some((how, after)) = fate {
                    let end = match how {
                        0 => Event::Answered(leg),
                        1 => Event::Refused(leg),
                        2 => Event::NotSent(leg),
                        _ => Event::Lost(leg),
                    };
                    flying.push((now + ms(after), end));
                }
                event = Event::Tick;
            }
            Action::Wait(until) => {
                assert!(until > now, "a wait that waits for nothing: {until:?} at {now:?}");
                let next =
                    flying.iter().enumerate().min_by_key(|(_, (at, _))| *at).map(|(n, (at, _))| (n, *at));
                (now, event) = match next {
                    Some((n, at)) if at <= until => (at.max(now), flying.swap_remove(n).1),
                    _ => (until + ms(late), Event::Tick),
                };
            }
            end => return Ran { end, at: now, sent },
        }
    }
    panic!("a request without end")
}

proptest! {
    /// Every request ends by its deadline (plus what the timer is late), and only then is anything called unanswered.
    #[test]
    fn every_request_ends(first in 0..4usize, then in 0..4usize, write: bool, fates in fates(), late in 0..50u64) {
        let effect = if write { Effect::Write } else { Effect::Read };
        let ran = run(hedge(first, then, effect), &fates, late);
        prop_assert!(ran.at <= ms(2_000 + late), "{:?}", ran.at);
        prop_assert!(ran.sent.iter().all(|(_, at, _)| *at < ms(2_000)));
        if ran.end == Action::GiveUp(GiveUp::Unanswered) && !write {
            prop_assert!(ran.at >= ms(2_000));
        }
    }

    /// A write is sent a second time only after the first provably did nothing.
    #[test]
    fn a_write_is_never_done_twice(first in 0..6usize, fates in fates(), late in 0..50u64) {
        let ran = run(hedge(first, 0, Effect::Write), &fates, late);
        for pair in ran.sent.windows(2) {
            let harmless = matches!(pair[0].2, Some((1 | 2, _)));
            prop_assert!(harmless, "sent again after {:?}", pair[0].2);
        }
        let harmful = ran.sent.iter().any(|(.., fate)| !matches!(fate, Some((1 | 2, _))));
        if ran.end == Action::GiveUp(GiveUp::Refused) {
            prop_assert!(!harmful, "a write that may have happened was called refused: {:?}", ran.sent);
        }
    }

    /// A read gets the first answer that comes, and nobody is asked twice at once.
    #[test]
    fn a_read_gets_the_first_answer(first in 0..4usize, then in 0..4usize, fates in fates()) {
        let ran = run(hedge(first, then, Effect::Read), &fates, 0);
        let ends = |at: &Duration, fate: &Fate| fate.map(|(_, after)| *at + ms(after));
        let soonest = ran.sent.iter().filter(|(.., fate)| matches!(fate, Some((0, _)))).filter_map(|(_, at, fate)| ends(at, fate)).min();
        match ran.end {
            Action::Answer(_) => prop_assert_eq!(Some(ran.at), soonest),
            _ => prop_assert!(soonest.is_none_or(|at| at >= ms(2_000))),
        }
        for (n, (leg, at, _)) in ran.sent.iter().enumerate() {
            for (_, before, fate) in ran.sent[..n].iter().filter(|(other, ..)| other == leg) {
                prop_assert!(ends(before, fate).is_some_and(|end| end <= *at), "leg {leg} twice at once");
            }
        }
    }

    /// As long as one replica answers within half a second, no read fails, whatever home does.
    #[test]
    fn no_read_that_the_replica_can_answer_fails(home in proptest::option::of((1..4u8, 0..2_500u64)), answer in 0..500u64) {
        let ran = run(hedge(1, 1, Effect::Read), &[home, Some((0, answer))], 0);
        prop_assert_eq!(ran.end, Action::Answer(1));
        prop_assert!(ran.at <= ms(900 + answer));
    }
}
