//! One connection of a peer, from its first request to its end.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::answer::{Body, answer};
use super::{Hall, label};
use crate::Role;
use crate::tls::left;

/// Room for one large answer on the way, and for many small ones.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

type Answer = Pin<Box<dyn Future<Output = io::Result<Response<Body>>> + Send>>;

pub(super) async fn serve<S>(hall: Arc<Hall>, stream: S, role: Role, not_after: i64)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let open = metrics::gauge!("valv_peer_connections_open", "role" => label(&role));
    open.increment(1.0);
    let settings = &hall.settings;
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(settings.streams)
        .max_header_list_size(u32::try_from(settings.header_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(256)
        // A hedged request is reset as soon as another node has answered: that is no attack.
        .max_local_error_reset_streams(4_096)
        .max_send_buf_size(1 << 20)
        .keep_alive_interval(settings.keep_alive)
        .keep_alive_timeout(settings.keep_alive)
        .serve_connection(TokioIo::new(stream), service_fn(handler(&hall, role)));
    let mut connection = pin!(connection);
    let mut leaving = false;
    // A certificate that ended lets nobody in any more, also not over a connection that is open still (F34).
    let mut end = pin!(tokio::time::sleep(left(not_after)));
    let ended = loop {
        tokio::select! {
            ended = &mut connection => break ended,
            () = hall.stop.cancelled(), if !leaving => {
                leaving = true;
                connection.as_mut().graceful_shutdown();
            }
            () = &mut end, if !leaving => {
                leaving = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a peer's connection broke");
    }
    open.decrement(1.0);
}

/// Each request is a task: it goes on when its connection breaks, so that its outcome is known and audited.
fn handler(hall: &Arc<Hall>, role: Role) -> impl Fn(Request<Incoming>) -> Answer + use<> {
    let hall = Arc::clone(hall);
    move |request| {
        let (this, role) = (Arc::clone(&hall), role.clone());
        let task = hall.tasks.spawn(async move { answer(&this, role, request).await });
        Box::pin(async move { task.await.map_err(io::Error::other) })
    }
}
