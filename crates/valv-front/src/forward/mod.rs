//! A request that others answer: the schedule is `valv_geo`'s pure [`Hedge`], the I/O around it is this loop.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use http::Response;
use valv_geo::hedge::{Action, Event, GiveUp, Hedge, Settings};
use valv_geo::{Forward, Leg};
use valv_model::{Effect, Error, ErrorCode, Result};
use valv_peer::SendError;

use crate::answer::{Record, Reply};

mod headers;
pub(crate) use headers::{given_back, strip};

mod legs;

mod received;

/// What one attempt brought.
pub(crate) enum Came {
    /// This node performed it; with what is to be audited.
    Here(Box<Record>, Result<Reply>),
    /// Another node was asked.
    There(Result<Response<Bytes>, SendError>),
}

/// An attempt under way.
pub(crate) type Attempt<'a> = Pin<Box<dyn Future<Output = Came> + Send + 'a>>;

/// How a forwarded request ended.
pub(crate) enum Ended {
    /// With this answer, of this leg.
    Answer(usize, Came),
    /// Without one; a refusal that came on the way is kept.
    GaveUp(GiveUp, Option<Came>),
}

/// Runs the schedule of one request. `arrived` is where its time begins, `send` starts an attempt.
pub(crate) async fn run<'a>(
    forward: &Forward,
    effect: Effect,
    schedule: Settings,
    arrived: Instant,
    send: impl Fn(&Leg) -> Attempt<'a>,
) -> Ended {
    let arrived = tokio::time::Instant::from_std(arrived);
    let mut hedge = Hedge::new(forward, effect, schedule);
    let mut flying = FuturesUnordered::new();
    let mut kept: Option<Came> = None;
    let mut event = Event::Start;
    loop {
        match hedge.next(event, arrived.elapsed()) {
            Action::Send(at) => {
                let leg = if at < forward.first.len() {
                    forward.first.get(at)
                } else {
                    forward.then.get(at - forward.first.len())
                };
                event = match leg {
                    Some(leg) => {
                        let attempt = send(leg);
                        flying.push(async move { (at, attempt.await) });
                        Event::Tick
                    }
                    None => Event::NotSent(at),
                };
            }
            Action::Wait(until) => {
                let later = tokio::time::sleep_until(arrived + until);
                event = tokio::select! {
                    Some((at, came)) = flying.next(), if !flying.is_empty() => {
                        let event = came.event(at, effect);
                        if event == Event::Answered(at) {
                            return Ended::Answer(at, came);
                        }
                        // The first refusal in words is the nearest to the client's choice.
                        kept = kept.or_else(|| came.is_in_words().then_some(came));
                        event
                    }
                    () = later => Event::Tick,
                };
            }
            // Answers are handed over as they come.
            Action::Answer(_) => return Ended::GaveUp(GiveUp::Unanswered, kept),
            Action::GiveUp(why) => return Ended::GaveUp(why, kept),
        }
    }
}

impl Came {
    /// What it means to the schedule.
    fn event(&self, at: usize, effect: Effect) -> Event {
        match self {
            Self::Here(_, Ok(reply)) if is_refusal(reply.status.as_u16(), effect) => Event::Refused(at),
            Self::Here(_, Ok(_)) => Event::Answered(at),
            Self::Here(_, Err(error)) if refuses(error, effect) => Event::Refused(at),
            Self::Here(_, Err(_)) => Event::Answered(at),
            Self::There(Ok(answer)) if is_refusal(answer.status().as_u16(), effect) => Event::Refused(at),
            Self::There(Ok(_)) => Event::Answered(at),
            Self::There(Err(SendError::NotSent(_))) => Event::NotSent(at),
            Self::There(Err(SendError::Sent(_))) => Event::Lost(at),
            Self::There(Err(SendError::Refused { .. })) => Event::Refused(at),
        }
    }

    /// Could it be given to the client if nothing better comes?
    fn is_in_words(&self) -> bool {
        match self {
            Self::Here(_, Ok(_)) => true,
            Self::Here(_, Err(error)) => error.code != ErrorCode::Misdirected,
            Self::There(Ok(answer)) => answer.status().as_u16() != 421,
            Self::There(Err(_)) => false,
        }
    }
}

/// Is an answer of this status none that the client should get while others can be asked? 421: the node does not take
/// that part. A read that its node could not answer can be answered elsewhere; a write's failure is its answer. 429
/// is an answer: overload is not failover.
fn is_refusal(status: u16, effect: Effect) -> bool {
    status == 421 || (effect == Effect::Read && matches!(status, 500 | 502 | 503 | 504))
}

/// The same of an error of this node's.
pub(crate) fn refuses(error: &Error, effect: Effect) -> bool {
    let fails = [ErrorCode::InternalError, ErrorCode::ServiceUnavailable, ErrorCode::GatewayTimeout];
    error.code == ErrorCode::Misdirected || (effect == Effect::Read && fails.contains(&error.code))
}

/// What is left until `deadline`, for another node: milliseconds.
pub(crate) fn left_ms(deadline: Instant) -> u32 {
    let left: Duration = deadline.saturating_duration_since(Instant::now());
    u32::try_from(left.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
