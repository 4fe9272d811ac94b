//! The loop around the schedule, on virtual time, with attempts that do as they are told.

use std::sync::{Arc, Mutex};

use valv_geo::{PeerId, Role, Target};
use valv_model::RegionName;

use super::*;

/// What a node does with a request.
#[derive(Clone, Copy)]
enum Does {
    /// Answers with this status after so many milliseconds.
    Answer(u16, u64),
    /// Takes the request and says nothing.
    Hang,
    /// Cannot be reached.
    Away,
    /// Breaks the connection in the middle of the answer after so many milliseconds.
    Cut(u64),
}

use Does::{Answer, Away, Cut, Hang};

const MS: fn(u64) -> Duration = Duration::from_millis;

fn leg(role: Role, node: usize) -> Leg {
    let region = RegionName::parse(if role == Role::Home { "eastus" } else { "westus" }).unwrap();
    Leg { role, target: Target::Peer(PeerId { region, address: node.to_string().into() }) }
}

struct Tried {
    /// Which node was asked, and when.
    asked: Vec<(usize, Duration)>,
    /// Its number and status; Err: given up.
    ended: Result<(usize, u16), (GiveUp, Option<u16>)>,
    took: Duration,
}

fn status(came: Came) -> u16 {
    match came {
        Came::There(Ok(answer)) => answer.status().as_u16(),
        _ => 0,
    }
}

/// Runs a request over home nodes and replicas.
async fn ask(effect: Effect, home: &[Does], replicas: &[Does]) -> Tried {
    let forward = Forward {
        first: (0..home.len()).map(|n| leg(Role::Home, n)).collect(),
        then: (0..replicas.len()).map(|n| leg(Role::Replica, home.len() + n)).collect(),
    };
    let does: Vec<Does> = home.iter().chain(replicas).copied().collect();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let begun = tokio::time::Instant::now();
    let send = |leg: &Leg| -> Attempt<'static> {
        let Target::Peer(peer) = &leg.target else { panic!("{leg:?}") };
        let node: usize = peer.address.parse().unwrap();
        asked.lock().unwrap().push((node, begun.elapsed()));
        let does = does[node];
        Box::pin(async move {
            Came::There(match does {
                Answer(status, after) => {
                    tokio::time::sleep(MS(after)).await;
                    Ok(Response::builder().status(status).body(Bytes::new()).unwrap())
                }
                Hang => std::future::pending().await,
                Away => Err(SendError::NotSent("no connection".into())),
                Cut(after) => {
                    tokio::time::sleep(MS(after)).await;
                    Err(SendError::Sent("the answer was cut short".into()))
                }
            })
        })
    };
    let ended = match run(&forward, effect, Settings::default(), begun.into_std(), send).await {
        Ended::Answer(at, came) => Ok((at, status(came))),
        Ended::GaveUp(why, kept) => Err((why, kept.map(status))),
    };
    let asked = asked.lock().unwrap().clone();
    Tried { asked, ended, took: begun.elapsed() }
}

/// Milliseconds, as timers have a granularity of one.
fn about(took: Duration, ms: u64) -> bool {
    (MS(ms)..=MS(ms + 5)).contains(&took)
}

#[tokio::test(start_paused = true)]
async fn f28_reads_go_home_and_to_the_copy_when_home_is_slow_away_or_broken() {
    let yes = Answer(200, 10);
    let read = async |home: &[Does], replicas: &[Does]| ask(Effect::Read, home, replicas).await;

    let tried = read(&[yes], &[yes]).await;
    assert_eq!((tried.ended, tried.asked.len()), (Ok((0, 200)), 1), "home alone");

    let tried = read(&[Hang], &[yes]).await;
    assert_eq!(tried.ended, Ok((1, 200)));
    assert!(about(tried.took, 910), "frozen: {:?}", tried.took);

    let tried = read(&[Hang, yes], &[yes]).await;
    assert_eq!(tried.ended, Ok((1, 200)));
    assert!(about(tried.took, 310), "the second home node: {:?}", tried.took);

    for refuses in [Away, Cut(0), Answer(421, 0), Answer(503, 0), Answer(500, 0), Answer(504, 0)] {
        let tried = read(&[refuses], &[yes]).await;
        assert_eq!(tried.ended, Ok((1, 200)));
        assert!(about(tried.took, 10), "at once: {:?}", tried.took);
    }

    let tried = read(&[Answer(200, 1_500)], &[Answer(200, 1_000)]).await;
    assert_eq!(tried.ended, Ok((0, 200)), "slow, and still the first");

    let tried = read(&[Cut(600)], &[yes]).await;
    assert_eq!(tried.ended, Ok((1, 200)), "a region that dies in mid-body");
    assert!(about(tried.took, 610), "{:?}", tried.took);

    for answer in [200, 401, 403, 404, 409, 429] {
        let tried = read(&[Answer(answer, 1)], &[yes]).await;
        assert_eq!(tried.ended, Ok((0, answer)), "overload and refusals are answers");
    }

    let tried = read(&[Hang], &[Hang]).await;
    assert_eq!(tried.ended, Err((GiveUp::Unanswered, None)));
    assert!(about(tried.took, 2_000), "{:?}", tried.took);

    let tried = read(&[Answer(503, 0)], &[Away]).await;
    assert_eq!(tried.ended, Err((GiveUp::Refused, Some(503))), "home's own words are kept");
    assert!(tried.took < MS(2_000));
}

#[tokio::test(start_paused = true)]
async fn a_write_goes_to_one_home_node_and_to_another_only_if_it_was_not_sent() {
    let write = async |home: &[Does]| ask(Effect::Write, home, &[]).await;

    let tried = write(&[Away, Answer(200, 10), Answer(200, 10)]).await;
    assert_eq!(tried.ended, Ok((1, 200)));
    assert_eq!(tried.asked.len(), 2);

    let tried = write(&[Answer(421, 0), Answer(200, 0)]).await;
    assert_eq!(tried.ended, Ok((1, 200)), "refused by the node, nothing done");

    let tried = write(&[Hang, Answer(200, 0)]).await;
    assert_eq!(tried.ended, Err((GiveUp::Unanswered, None)));
    assert_eq!(tried.asked.len(), 1, "it may have happened");
    assert!(about(tried.took, 2_000), "{:?}", tried.took);

    let tried = write(&[Cut(100), Answer(200, 0)]).await;
    assert_eq!((tried.ended, tried.asked.len()), (Err((GiveUp::Unanswered, None)), 1));

    let tried = write(&[Away, Away]).await;
    assert_eq!(tried.ended, Err((GiveUp::Refused, None)));
    assert!(tried.took <= MS(1_000), "refused within a second: {:?}", tried.took);

    for answer in [429, 500, 503, 504, 507] {
        let tried = write(&[Answer(answer, 1), Answer(200, 0)]).await;
        assert_eq!(tried.ended, Ok((0, answer)), "a write's failure is its answer");
    }
}
