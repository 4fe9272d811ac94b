//! Sockets: who may connect, for how long, and how the server stops.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use valv_model::ClientId;

use crate::resolve::Door;
use crate::{Front, Peer};

mod activity;
mod connection;

mod certificates;
pub use certificates::{CertificateError, Certificates};

/// What a listener is for.
#[derive(Clone)]
pub enum Entrance {
    /// HTTPS for everybody: TLS 1.2 and 1.3, HTTP/1.1 and HTTP/2.
    Public(Arc<Certificates>),
    /// Health and metrics over plain HTTP; the address must be a loopback one.
    Health,
    /// Tokens for one client over plain HTTP, as virtual machines get them; the address must be a loopback one.
    ManagedIdentity(ClientId),
}

/// Connections to one plain listener at a time.
const PLAIN_CONNECTIONS: usize = 256;
/// How often measurements are summed up.
const TIDY: Duration = Duration::from_secs(5);
/// Pause after a failed accept: without file handles it would fail again at once.
const PAUSE: Duration = Duration::from_millis(50);

/// What all connections share.
pub(crate) struct Hall {
    pub(crate) front: Arc<Front>,
    pub(crate) stop: CancellationToken,
    /// Connections and requests: a request goes on when its connection breaks, so that its outcome is audited.
    pub(crate) tasks: TaskTracker,
}

/// Serves until `shutdown` is done; then takes no more connections, lets requests in flight finish within the
/// drain time, and returns.
///
/// Errors: a plain listener on an address that others can reach.
pub async fn serve(
    front: Arc<Front>,
    listeners: Vec<(TcpListener, Entrance)>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    for (listener, entrance) in &listeners {
        let address = listener.local_addr()?;
        if !matches!(entrance, Entrance::Public(_)) && !address.ip().is_loopback() {
            let words = format!("{address} speaks plain HTTP: give it a loopback address such as 127.0.0.1");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, words));
        }
    }
    let limits = front.settings().limits.clone();
    let public = Arc::new(Semaphore::new(limits.connections));
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let hall = Arc::new(Hall { front, stop, tasks });
    for (listener, entrance) in listeners {
        let places = match entrance {
            Entrance::Public(_) => Arc::clone(&public),
            _ => Arc::new(Semaphore::new(PLAIN_CONNECTIONS)),
        };
        hall.tasks.spawn(accept(Arc::clone(&hall), listener, entrance, places));
    }
    hall.tasks.spawn(tidy(Arc::clone(&hall)));
    shutdown.await;
    hall.stop.cancel();
    hall.tasks.close();
    if tokio::time::timeout(limits.drain, hall.tasks.wait()).await.is_err() {
        tracing::warn!(left = hall.tasks.len(), "stopped before all requests were done");
    }
    hall.front.finish().await;
    Ok(())
}

/// Keeps the metrics small.
async fn tidy(hall: Arc<Hall>) {
    while tokio::time::timeout(TIDY, hall.stop.cancelled()).await.is_err() {
        hall.front.metrics().tidy();
    }
}

async fn accept(hall: Arc<Hall>, listener: TcpListener, entrance: Entrance, places: Arc<Semaphore>) {
    let mut fails = false;
    loop {
        let accepted = tokio::select! {
            () = hall.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Once for each time that it begins: it comes again and again while file handles are short.
                if !std::mem::replace(&mut fails, true) {
                    tracing::warn!(%error, "connections cannot be accepted");
                }
                metrics::counter!("valv_accepts_failed_total").increment(1);
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        fails = false;
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            metrics::counter!("valv_connections_refused_total").increment(1);
            continue;
        };
        let (door, identity, certificates) = match &entrance {
            Entrance::Public(certificates) => (Door::Public, None, Some(Arc::clone(certificates))),
            Entrance::Health => (Door::Health, None, None),
            Entrance::ManagedIdentity(client) => (Door::ManagedIdentity, Some(client.clone()), None),
        };
        let peer = Peer { address, door, identity };
        let connection = greet(Arc::clone(&hall), stream, peer, certificates);
        hall.tasks.spawn(async move {
            let _place = place;
            let open = metrics::gauge!("valv_connections_open");
            open.increment(1.0);
            connection.await;
            open.decrement(1.0);
        });
    }
}

/// The handshake, if there is one, and then the connection.
async fn greet(hall: Arc<Hall>, stream: TcpStream, peer: Peer, certificates: Option<Arc<Certificates>>) {
    // Answers are written whole: waiting for more would only delay them.
    let _ = stream.set_nodelay(true);
    let Some(certificates) = certificates else {
        return connection::http1(hall, stream, peer).await;
    };
    let within = hall.front.settings().limits.handshake;
    let handshake = tokio_rustls::TlsAcceptor::from(certificates.tls()).accept(stream);
    let handshake = tokio::select! {
        () = hall.stop.cancelled() => return,
        handshake = tokio::time::timeout(within, handshake) => handshake,
    };
    match handshake {
        Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
            connection::http2(hall, stream, peer).await;
        }
        Ok(Ok(stream)) => connection::http1(hall, stream, peer).await,
        Ok(Err(error)) => {
            metrics::counter!("valv_handshakes_failed_total", "reason" => "refused").increment(1);
            tracing::debug!(%error, "a TLS handshake failed");
        }
        Err(_) => metrics::counter!("valv_handshakes_failed_total", "reason" => "late").increment(1),
    }
}
