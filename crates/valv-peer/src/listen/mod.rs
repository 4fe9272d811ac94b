//! The inter-node listener: who may connect, for how long, and how it stops.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use valv_geo::source::Source;

use crate::tls::{PeerTls, Shown};
use crate::{Forwarded, ListenSettings, Local, Rights, Role};

mod answer;
pub(crate) use answer::REFUSAL_HEADER;

mod connection;
mod replication;

/// Pause after a failed accept: without file handles it would fail again at once.
const PAUSE: Duration = Duration::from_millis(50);

/// What the listener stands before.
pub struct Services {
    /// Performs forwarded requests.
    pub forwarded: Arc<dyn Forwarded>,
    /// Answers questions about the node and its store.
    pub local: Arc<dyn Local>,
    /// What other regions copy from.
    pub source: Arc<dyn Source>,
    /// Who may ask what.
    pub rights: Rights,
}

/// What all connections share.
struct Hall {
    services: Services,
    settings: ListenSettings,
    stop: CancellationToken,
    /// Connections and requests: a request goes on when its connection breaks, so that its outcome is audited.
    tasks: TaskTracker,
}

/// Serves peers until `shutdown` is done; then takes no more connections, lets requests under way finish within
/// the drain time, and returns.
pub async fn serve(
    services: Services,
    tls: Arc<PeerTls>,
    settings: ListenSettings,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) {
    let drain = settings.drain;
    let places = Arc::new(Semaphore::new(settings.connections.min(Semaphore::MAX_PERMITS)));
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let hall = Arc::new(Hall { services, settings, stop, tasks });
    hall.tasks.spawn(accept(Arc::clone(&hall), tls, listener, places));
    shutdown.await;
    hall.stop.cancel();
    hall.tasks.close();
    if tokio::time::timeout(drain, hall.tasks.wait()).await.is_err() {
        tracing::warn!(left = hall.tasks.len(), "stopped before all requests of peers were done");
    }
}

async fn accept(hall: Arc<Hall>, tls: Arc<PeerTls>, listener: TcpListener, places: Arc<Semaphore>) {
    let mut fails = false;
    loop {
        let accepted = tokio::select! {
            () = hall.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Once for each time that it begins: it comes again and again while file handles are short.
                if !std::mem::replace(&mut fails, true) {
                    tracing::warn!(%error, "connections of peers cannot be accepted");
                }
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        fails = false;
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            refused("places");
            continue;
        };
        let connection = greet(Arc::clone(&hall), Arc::clone(&tls), stream);
        hall.tasks.spawn(async move {
            let _place = place;
            connection.await;
        });
    }
}

/// The handshake, the question who it is, and then the connection.
async fn greet(hall: Arc<Hall>, tls: Arc<PeerTls>, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let handshake = tokio_rustls::TlsAcceptor::from(tls.server()).accept(stream);
    let handshake = tokio::select! {
        () = hall.stop.cancelled() => return,
        handshake = tokio::time::timeout(hall.settings.handshake, handshake) => handshake,
    };
    let stream = match handshake {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            refused("handshake");
            tracing::debug!(%error, "a peer's TLS handshake failed");
            return;
        }
        Err(_) => return refused("late"),
    };
    let session = stream.get_ref().1;
    let shown = session.peer_certificates().and_then(<[_]>::first).and_then(Shown::of);
    let Some((role, not_after)) = shown.and_then(|s| Some((s.role?, s.not_after))) else {
        refused("no role");
        tracing::warn!("a peer's certificate names no region and no gateway; it is refused");
        return;
    };
    if !hall.services.rights.admits(&role) {
        refused("unknown region");
        tracing::warn!(%role, "a peer is of a region that this deployment does not have; it is refused");
        return;
    }
    if session.alpn_protocol() != Some(b"h2") {
        return refused("no HTTP/2");
    }
    connection::serve(hall, stream, role, not_after).await;
}

fn refused(reason: &'static str) {
    metrics::counter!("valv_peer_connections_refused_total", "reason" => reason).increment(1);
}

/// A role's label on metrics.
fn label(role: &Role) -> String {
    role.region().map_or_else(|| "gateway".to_owned(), ToString::to_string)
}
