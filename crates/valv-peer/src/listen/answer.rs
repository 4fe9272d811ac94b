//! One question of a peer and its answer.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde::Serialize;
use valv_engine::GroupId;
use valv_model::VaultName;

use super::{Hall, label, replication};
use crate::forward::strip;
use crate::replication::Pull;
use crate::rights::Question;
use crate::wire::cbor;
use crate::{FORWARD_HEADER, ForwardHead, Role};

/// Stands in refusals of this listener, so that they are not taken for answers of the front.
pub(crate) const REFUSAL_HEADER: &str = "x-valv-peer-refusal";

/// What an answer's body is: whole, or a stream of frames.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A refusal of the listener: nothing was done.
pub(super) struct Refusal(pub(super) StatusCode, pub(super) String);

pub(super) async fn answer(hall: &Hall, role: Role, request: Request<Incoming>) -> Response<Body> {
    let labelled = label(&role);
    let outcome = dispatch(hall, role, request).await;
    outcome.unwrap_or_else(|Refusal(status, why)| {
        metrics::counter!("valv_peer_requests_refused_total", "role" => labelled.clone(), "status" => status.as_str().to_owned())
            .increment(1);
        tracing::debug!(role = labelled, %status, why, "a peer's request was refused");
        let mut refusal = Response::new(whole(why.into()));
        *refusal.status_mut() = status;
        refusal.headers_mut().insert(REFUSAL_HEADER, HeaderValue::from_static("1"));
        refusal
    })
}

async fn dispatch(hall: &Hall, role: Role, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
    let (mut head, body) = request.into_parts();
    if let Some(value) = head.headers.remove(FORWARD_HEADER) {
        permit(hall, &role, Question::Forward)?;
        let forward = ForwardHead::parse(value.as_bytes())
            .map_err(|e| Refusal(StatusCode::BAD_REQUEST, e.to_string()))?;
        return forwarded(hall, role, forward, head, body).await;
    }
    if head.method != Method::GET {
        return Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, "peers ask with GET".into()));
    }
    let path = head.uri.path().strip_prefix("/peer/v1/").unwrap_or_default();
    let (what, rest) = path.split_once('/').unwrap_or((path, ""));
    match what {
        "probe" if rest.is_empty() => {
            permit(hall, &role, Question::Probe)?;
            json(&within(hall, hall.services.local.probe()).await?)
        }
        "vault" => {
            permit(hall, &role, Question::Vault)?;
            let name = VaultName::parse(rest).map_err(|e| Refusal(StatusCode::BAD_REQUEST, e.message))?;
            json(&within(hall, hall.services.local.holding(&name)).await?.map_err(failed)?)
        }
        "standing" => {
            permit(hall, &role, Question::Standing)?;
            let group = group(rest)?;
            let copied = within(hall, hall.services.local.copied(&group)).await?.map_err(failed)?;
            Ok(Response::new(whole(cbor::write(&copied).map_err(unwritten)?)))
        }
        "heads" | "log" | "copy" | "buckets" | "bucket" => {
            let question = Pull::parse(what, rest).map_err(|why| Refusal(StatusCode::BAD_REQUEST, why))?;
            permit(hall, &role, Question::Pull(question.group()))?;
            replication::answer(hall, question).await
        }
        _ => Err(Refusal(StatusCode::NOT_FOUND, "peers have no such question".into())),
    }
}

/// A client's request that another door received.
async fn forwarded(
    hall: &Hall,
    role: Role,
    forward: ForwardHead,
    mut head: Parts,
    body: Incoming,
) -> Result<Response<Body>, Refusal> {
    let left = Duration::from_millis(forward.deadline_ms.into());
    let body = read(hall, body, left).await?;
    // The front reads a request as the client sent it.
    strip(&mut head.headers);
    let path = head.uri.path_and_query().map_or("/", |p| p.as_str());
    head.uri = Uri::try_from(path).map_err(|e| Refusal(StatusCode::BAD_REQUEST, e.to_string()))?;
    let host = HeaderValue::from_str(&forward.authority)
        .map_err(|e| Refusal(StatusCode::BAD_REQUEST, e.to_string()))?;
    head.headers.insert(HOST, host);
    let answer = hall.services.forwarded.handle(role, forward, Request::from_parts(head, body)).await;
    Ok(answer.map(whole))
}

async fn read(hall: &Hall, body: Incoming, left: Duration) -> Result<Bytes, Refusal> {
    let limit = hall.settings.body_bytes;
    let read = Limited::new(body, limit).collect();
    match tokio::time::timeout(left.min(hall.settings.body_read), read).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Refusal(StatusCode::PAYLOAD_TOO_LARGE, format!("the body has more than {limit} bytes")))
        }
        Ok(Err(error)) => Err(Refusal(StatusCode::BAD_REQUEST, format!("the body was cut short: {error}"))),
        Err(_) => Err(Refusal(StatusCode::REQUEST_TIMEOUT, "the body did not come in time".into())),
    }
}

pub(super) async fn within<T>(hall: &Hall, answer: impl Future<Output = T>) -> Result<T, Refusal> {
    let late = |_| Refusal(StatusCode::SERVICE_UNAVAILABLE, "the answer was not there in time".into());
    tokio::time::timeout(hall.settings.answer, answer).await.map_err(late)
}

fn permit(hall: &Hall, role: &Role, question: Question<'_>) -> Result<(), Refusal> {
    if hall.services.rights.allows(role, question) {
        return Ok(());
    }
    tracing::warn!(%role, ?question, "a peer asked for what it has no right to");
    Err(Refusal(StatusCode::FORBIDDEN, format!("{role} may not ask this")))
}

fn group(text: &str) -> Result<GroupId, Refusal> {
    GroupId::parse(text).map_err(|_| Refusal(StatusCode::BAD_REQUEST, "no name of a group".into()))
}

fn failed(error: valv_model::Error) -> Refusal {
    Refusal(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
}

pub(super) fn unwritten(why: String) -> Refusal {
    Refusal(StatusCode::INTERNAL_SERVER_ERROR, format!("the answer cannot be written: {why}"))
}

fn json<T: Serialize>(value: &T) -> Result<Response<Body>, Refusal> {
    let text = serde_json::to_vec(value).map_err(|e| {
        Refusal(StatusCode::INTERNAL_SERVER_ERROR, format!("the answer cannot be written: {e}"))
    })?;
    let mut answer = Response::new(whole(text.into()));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(answer)
}

pub(super) fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}
