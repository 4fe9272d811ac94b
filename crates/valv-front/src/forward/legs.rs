//! The attempts of a forwarded request: this node itself, as home or from its copy, or another node.

use std::time::Instant;

use bytes::Bytes;
use http::{Request, Uri};
use valv_geo::hedge::GiveUp;
use valv_geo::{Forward, Leg, Target};
use valv_model::{Effect, Error, ErrorCode, Operation, Result};
use valv_peer::ForwardHead;

use super::{Attempt, Came, Ended, given_back, left_ms, run};
use crate::front::{Outcome, Received};
use crate::route::{Place, misdirected, nobody};
use crate::serve::{Serving, Taken};
use crate::{Far, Front};

impl Front {
    /// Asks others, on the plan's schedule.
    pub(crate) async fn forward(
        &self,
        far: &Far,
        request: &Received<'_>,
        record: &mut crate::answer::Record,
        (place, forward): (&Place, &Forward),
        operation: Operation,
        (body, arrived): (&Bytes, Instant),
    ) -> Result<Outcome> {
        let effect = operation.spec().effect;
        let schedule = far.schedule(operation, self.settings().limits.write);
        let deadline = arrived + schedule.deadline;
        let begun = record.clone();
        let send = |leg: &Leg| -> Attempt<'_> {
            let head = ForwardHead {
                attempt: begun.request_id,
                deadline_ms: left_ms(deadline),
                asked_as: leg.role,
                client: request.peer.address,
                authority: request.asked.authority.as_str().to_owned(),
                request_id: begun.request_id,
                minimum_commit: request.minimum_commit,
                doors: vec![self.settings().region.to_string()],
            };
            let (mut record, role, target) = (Box::new(begun.clone()), leg.role, leg.target.clone());
            Box::pin(async move {
                match target {
                    Target::Here => {
                        let serving = Serving {
                            mode: role.into(),
                            from: None,
                            group: Some(&place.group),
                            placed: true,
                        };
                        let body = Taken::<http_body_util::Empty<Bytes>>::Whole(body.clone());
                        let result = match &self.wiring.here {
                            Some(here) => self.serve(here, request, &serving, &mut record, body).await,
                            None => Err(misdirected("a gateway holds nothing")),
                        };
                        Came::Here(record, result)
                    }
                    Target::Peer(peer) => {
                        let sent = far.forwarder.forward(&peer, &head, again(request, body), deadline).await;
                        if let Err(error) = &sent {
                            tracing::info!(request = %head.request_id, node = %peer.address, region = %peer.region, %error, "a forwarded request was not answered");
                        }
                        Came::There(sent)
                    }
                }
            })
        };
        if effect == Effect::Write {
            record.writes();
        }
        let ended = run(forward, effect, schedule, arrived, send).await;
        meter(&ended, forward);
        match ended {
            Ended::Answer(_, came) | Ended::GaveUp(GiveUp::Refused, Some(came)) => came.outcome(record),
            Ended::GaveUp(GiveUp::Refused, None) => Err(match effect {
                // Nothing was done: there is a copy that answers reads meanwhile, or there is none.
                Effect::Write if !far.regions.replicas(&place.group).is_empty() => {
                    Error::read_only(operation.name())
                }
                _ => nobody(operation),
            }),
            Ended::GaveUp(GiveUp::Unanswered, _) => Err(unanswered(effect)),
        }
    }
}

impl Came {
    fn outcome(self, record: &mut crate::answer::Record) -> Result<Outcome> {
        match self {
            Self::Here(of_leg, result) => {
                *record = *of_leg;
                result.map(Outcome::Mine)
            }
            Self::There(Ok(answer)) => Ok(Outcome::Theirs(Box::new(given_back(answer)))),
            Self::There(Err(error)) => Err(Error::internal(error.to_string())),
        }
    }
}

/// The client's request once more.
fn again(request: &Received<'_>, body: &Bytes) -> Request<Bytes> {
    let mut copy = Request::new(body.clone());
    *copy.method_mut() = request.head.method.clone();
    let path = request.head.uri.path_and_query().cloned();
    *copy.uri_mut() = path.map(Uri::from).unwrap_or_default();
    *copy.headers_mut() = request.head.headers.clone();
    copy
}

fn unanswered(effect: Effect) -> Error {
    match effect {
        Effect::Write => Error::new(
            ErrorCode::UnknownOutcome,
            "The vault's home region did not answer in time. The write may have happened, or may still happen, once.",
        ),
        Effect::Read => {
            Error::new(ErrorCode::GatewayTimeout, "No region answered in time. Nothing was changed.")
        }
    }
}

fn meter(ended: &Ended, forward: &Forward) {
    let by = match ended {
        Ended::Answer(at, _) => {
            let leg = forward.first.iter().chain(&forward.then).nth(*at);
            match leg.map(|leg| leg.role) {
                Some(valv_geo::Role::Replica) => "replica",
                _ => "home",
            }
        }
        Ended::GaveUp(GiveUp::Refused, _) => "refused",
        Ended::GaveUp(GiveUp::Unanswered, _) => "nobody",
    };
    metrics::counter!("valv_forwards_total", "answered" => by).increment(1);
}
