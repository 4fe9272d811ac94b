//! What regions pull: answers in one message, and streams that wait for whoever reads them.

use std::io;

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _};
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use serde::Serialize;
use tokio::sync::mpsc;
use valv_geo::source::SourceError;
use valv_geo::wire::encode;

use super::Hall;
use super::answer::{Body, Refusal, unwritten, whole, within};
use crate::replication::{Pull, frame};

/// Messages that are ready while the peer still reads the one before.
const AHEAD: usize = 1;

pub(super) async fn answer(hall: &Hall, question: Pull) -> Result<Response<Body>, Refusal> {
    let source = &*hall.services.source;
    match question {
        Pull::Heads(group) => match within(hall, source.heads(&group)).await? {
            Ok(stream) => Ok(streamed(hall, stream)),
            Err(error) => Ok(failed(hall, error)),
        },
        Pull::Copy(group, vault) => match within(hall, source.copy(&group, &vault)).await? {
            Ok(stream) => Ok(streamed(hall, stream)),
            Err(error) => Ok(failed(hall, error)),
        },
        Pull::Log(group, vault, after) => one(&within(hall, source.log(&group, &vault, after)).await?),
        Pull::Buckets(group, vault) => one(&within(hall, source.buckets(&group, &vault)).await?),
        Pull::Bucket(group, vault, bucket, after) => {
            one(&within(hall, source.bucket(&group, &vault, bucket, &after)).await?)
        }
    }
}

/// One message. That the source fails is a part of the answer.
fn one<T: Serialize>(answer: &Result<T, SourceError>) -> Result<Response<Body>, Refusal> {
    let message = encode(answer).map_err(|e| unwritten(e.to_string()))?;
    Ok(Response::new(whole(message)))
}

/// A stream that is over with its first message.
fn failed(hall: &Hall, error: SourceError) -> Response<Body> {
    streamed::<()>(hall, futures::stream::iter([Err(error)]).boxed())
}

/// A stream of framed messages, each of them an event or the failure that ends it. The task that fills it never
/// is more than a message ahead, and ends when the peer takes nothing for too long, or goes, or the node stops.
fn streamed<T: Serialize + Send + 'static>(
    hall: &Hall,
    mut events: BoxStream<'static, Result<T, SourceError>>,
) -> Response<Body> {
    let (send, taken) = mpsc::channel::<Part>(AHEAD);
    let (patience, stop) = (hall.settings.frame, hall.stop.clone());
    hall.tasks.spawn(async move {
        loop {
            let event = tokio::select! {
                () = send.closed() => return,
                () = stop.cancelled() => return,
                event = events.next() => event,
            };
            let last = !matches!(event, Some(Ok(_)));
            let message =
                match event.map(|event| encode(&event).map_err(|e| e.to_string()).and_then(|m| frame(&m))) {
                    Some(Ok(message)) => Some(message),
                    Some(Err(why)) => {
                        tracing::error!(why, "an event of a replication stream cannot be sent");
                        return;
                    }
                    None => None,
                };
            let end = last.then_some(Part::End);
            for part in message.map(Part::Message).into_iter().chain(end) {
                let sent = tokio::select! {
                    () = stop.cancelled() => return,
                    sent = tokio::time::timeout(patience, send.send(part)) => sent,
                };
                if !matches!(sent, Ok(Ok(()))) {
                    return;
                }
            }
            if last {
                return;
            }
        }
    });
    let body = futures::stream::unfold(Some(taken), |taken| async move {
        let mut taken = taken?;
        match taken.recv().await {
            Some(Part::Message(message)) => Some((Ok(Frame::data(message)), Some(taken))),
            Some(Part::End) => None,
            // An end would say that this was all.
            None => Some((Err(io::Error::other("the stream is given up")), None)),
        }
    });
    let mut answer = Response::new(StreamBody::new(body).boxed_unsync());
    *answer.status_mut() = StatusCode::OK;
    answer
}

/// What the task of a stream hands on. Without its end the stream was cut.
enum Part {
    Message(Bytes),
    End,
}
