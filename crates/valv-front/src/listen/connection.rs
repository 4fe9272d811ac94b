//! One connection, from the handshake to its end.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Hall;
use super::activity::{Activity, Verdict, Watched};
use crate::{Limits, Peer};

/// How long a connection that was told to go may take.
const GOODBYE: Duration = Duration::from_secs(5);
/// What the library lets through beyond our own limits, so that we can refuse it in Azure's form.
const SLACK_BYTES: usize = 16 << 10;
const SLACK_HEADERS: usize = 28;

type Answer = Pin<Box<dyn Future<Output = io::Result<Response<Full<Bytes>>>> + Send>>;

pub(super) async fn http1<S>(hall: Arc<Hall>, stream: S, peer: Peer)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = hall.front.settings().limits.clone();
    let activity = Activity::new();
    let stream = TokioIo::new(Watched::new(stream, activity.clone()));
    let handler = handler(&hall, &activity, &peer);
    let connection = conn::http1::Builder::new()
        .timer(TokioTimer::new())
        // Heads have a deadline of their own below, which also tells a slow head from an idle connection.
        .header_read_timeout(None)
        .max_headers(limits.headers + SLACK_HEADERS)
        .max_buf_size(limits.header_bytes + SLACK_BYTES)
        .serve_connection(stream, service_fn(handler));
    drive(&hall, connection, conn::http1::Connection::graceful_shutdown, &activity, &limits).await;
}

pub(super) async fn http2<S>(hall: Arc<Hall>, stream: S, peer: Peer)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = hall.front.settings().limits.clone();
    let activity = Activity::new();
    let handler = handler(&hall, &activity, &peer);
    let header_list = u32::try_from(limits.header_bytes + SLACK_BYTES).unwrap_or(u32::MAX);
    let connection = conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(header_list)
        // Streams opened and reset at once, and frames that make us reset: more than this ends the connection.
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(256)
        .max_send_buf_size(256 << 10)
        .keep_alive_interval(limits.idle / 2)
        .keep_alive_timeout(limits.header_read)
        .serve_connection(TokioIo::new(stream), service_fn(handler));
    drive(&hall, connection, conn::http2::Connection::graceful_shutdown, &activity, &limits).await;
}

/// Each request is a task: it goes on when its connection breaks, so that its outcome is known and audited.
fn handler(
    hall: &Arc<Hall>,
    activity: &Activity,
    peer: &Peer,
) -> impl Fn(Request<Incoming>) -> Answer + use<> {
    let (hall, activity, peer) = (Arc::clone(hall), activity.clone(), peer.clone());
    move |request| {
        let (front, peer, working) = (Arc::clone(&hall.front), peer.clone(), activity.begin());
        let task = hall.tasks.spawn(async move {
            let _working = working;
            front.handle(&peer, request).await
        });
        Box::pin(async move { task.await.map_err(io::Error::other) })
    }
}

/// Runs a connection until it ends, idles too long, sends a head too slowly, or the server stops.
async fn drive<C>(
    hall: &Hall,
    connection: C,
    say_goodbye: fn(Pin<&mut C>),
    activity: &Activity,
    limits: &Limits,
) where
    C: Future<Output = hyper::Result<()>>,
{
    let mut connection = pin!(connection);
    let look = (limits.header_read.min(limits.idle) / 4).clamp(Duration::from_millis(10), GOODBYE);
    let mut ticks = tokio::time::interval(look);
    let mut told_to_go: Option<Instant> = None;
    loop {
        tokio::select! {
            ended = &mut connection => return note(ended),
            () = hall.stop.cancelled(), if told_to_go.is_none() => {
                say_goodbye(connection.as_mut());
                told_to_go = Some(Instant::now());
            }
            _ = ticks.tick() => {}
        }
        match (activity.judge(limits.header_read, limits.idle), told_to_go) {
            // Its last answer may be under way still; one that nobody reads does not hold the connection.
            (_, Some(told)) if activity.is_quiet_since(told, GOODBYE) => return closed("goodbye"),
            (Verdict::HeadLate, _) => return closed("head"),
            (Verdict::Idle, None) => {
                say_goodbye(connection.as_mut());
                told_to_go = Some(Instant::now());
            }
            _ => {}
        }
    }
}

fn closed(reason: &'static str) {
    metrics::counter!("valv_connections_closed_total", "reason" => reason).increment(1);
}

fn note(ended: hyper::Result<()>) {
    let Err(error) = ended else { return };
    if error.is_parse_too_large() {
        closed("head too large");
    } else if error.is_parse() {
        closed("no HTTP");
    }
    tracing::debug!(%error, "a connection broke");
}
