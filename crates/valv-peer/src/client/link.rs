//! The connection to one node. A task makes it, keeps it, and makes it anew: requests never pay for that.

use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;
use tokio_rustls::client::TlsStream;
use valv_geo::PeerId;

use crate::tls::files::Reload as _;
use crate::tls::{PeerTls, Shown, left, server_name};
use crate::{ClientSettings, SendError, region_name};

type Sender = http2::SendRequest<Full<Bytes>>;
type Connection = http2::Connection<TokioIo<TlsStream<TcpStream>>, Full<Bytes>, TokioExecutor>;

const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
/// For requests under way on a connection that is replaced.
const RETIRE: Duration = Duration::from_secs(30);
/// How long a request waits for the connection that replaces one that has just ended.
const REPLACED: Duration = Duration::from_millis(100);

/// How the connection is.
#[derive(Clone)]
enum State {
    /// It is being made for the first time, or after one that ended in order: worth a wait.
    Connecting,
    /// Requests can be sent.
    Up(Sender),
    /// The node could not be reached; that is tried again and again, and nobody waits for it.
    Down(Arc<str>),
}

/// The connection to one node.
pub(crate) struct Link {
    node: PeerId,
    state: watch::Receiver<State>,
    places: Semaphore,
    task: AbortHandle,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Link {
    pub(crate) fn start(node: PeerId, tls: Arc<PeerTls>, settings: ClientSettings) -> Self {
        let (told, state) = watch::channel(State::Connecting);
        let places = Semaphore::new(settings.in_flight.min(Semaphore::MAX_PERMITS));
        let task = tokio::spawn(keep(node.clone(), tls, settings, told)).abort_handle();
        Self { node, state, places, task }
    }

    /// Asks a question of this crate's own and reads the answer whole, all before `deadline`.
    pub(crate) async fn get(
        &self,
        path: &str,
        answer_bytes: usize,
        deadline: Instant,
    ) -> Result<Response<Bytes>, SendError> {
        let answer = self.call(question(&self.node, path)?, answer_bytes, deadline).await?;
        if answer.status().is_success() { Ok(answer) } else { Err(refused(answer.status(), answer.body())) }
    }

    /// Asks for a stream; `deadline` is for its beginning.
    pub(crate) async fn open(&self, path: &str, deadline: Instant) -> Result<Incoming, SendError> {
        let answer = self.begin(question(&self.node, path)?, deadline.into()).await?;
        let (head, body) = answer.into_parts();
        if head.status.is_success() {
            return Ok(body);
        }
        let why = tokio::time::timeout_at(deadline.into(), Limited::new(body, 4_096).collect()).await;
        let why = why.ok().and_then(Result::ok).map(|body| body.to_bytes()).unwrap_or_default();
        Err(refused(head.status, &why))
    }

    /// Sends a request and reads the answer whole, all before `deadline`.
    pub(crate) async fn call(
        &self,
        request: Request<Bytes>,
        answer_bytes: usize,
        deadline: Instant,
    ) -> Result<Response<Bytes>, SendError> {
        let deadline = deadline.into();
        let place = tokio::time::timeout_at(deadline, self.places.acquire());
        let _place = place.await.map_err(|_| not_sent("too many requests are under way to this node"))?;
        let answer = self.begin(request, deadline).await?;
        let (head, body) = answer.into_parts();
        let whole = tokio::time::timeout_at(deadline, Limited::new(body, answer_bytes).collect()).await;
        match whole {
            Ok(Ok(body)) => Ok(Response::from_parts(head, body.to_bytes())),
            Ok(Err(error)) => Err(SendError::Sent(format!("the answer was cut short: {error}"))),
            Err(_) => Err(SendError::Sent("the answer's body did not come in time".into())),
        }
    }

    /// Sends a request and waits for the answer's head.
    pub(crate) async fn begin(
        &self,
        request: Request<Bytes>,
        deadline: tokio::time::Instant,
    ) -> Result<Response<Incoming>, SendError> {
        let mut request = request.map(Full::new);
        let mut state = self.state.clone();
        for last in [false, true] {
            let mut sender = up(&mut state, deadline).await?;
            match tokio::time::timeout_at(deadline, sender.try_send_request(request)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(mut error)) => match error.take_message() {
                    Some(unsent) if !last => request = unsent,
                    Some(_) => return Err(not_sent("the connection has just ended")),
                    None => return Err(classify(&error.into_error())),
                },
                Err(_) => return Err(SendError::Sent("no answer came in time".into())),
            }
            // The connection ended just now: its task knows soon, and may have the next one at once.
            let replaced = (tokio::time::Instant::now() + REPLACED).min(deadline);
            let _ = tokio::time::timeout_at(replaced, state.changed()).await;
        }
        Err(not_sent("the connection has just ended"))
    }
}

fn question(node: &PeerId, path: &str) -> Result<Request<Bytes>, SendError> {
    let mut question = Request::new(Bytes::new());
    *question.uri_mut() = uri(node, path)?;
    *question.version_mut() = http::Version::HTTP_2;
    Ok(question)
}

/// The target of a request to a node.
pub(crate) fn uri(node: &PeerId, path: &str) -> Result<Uri, SendError> {
    Uri::builder()
        .scheme("https")
        .authority(region_name(&node.region))
        .path_and_query(path)
        .build()
        .map_err(|e| SendError::NotSent(format!("no request target: {e}")))
}

/// An answer that says no, with as much of its words as a log takes.
pub(crate) fn refused(status: StatusCode, body: &[u8]) -> SendError {
    let why = String::from_utf8_lossy(body).chars().filter(|c| !c.is_control()).take(300).collect();
    SendError::Refused { status: status.as_u16(), why }
}

async fn up(state: &mut watch::Receiver<State>, deadline: tokio::time::Instant) -> Result<Sender, SendError> {
    let settled = state.wait_for(|state| !matches!(state, State::Connecting));
    match tokio::time::timeout_at(deadline, settled).await {
        Ok(Ok(state)) => match &*state {
            State::Up(sender) => Ok(sender.clone()),
            State::Down(why) => Err(not_sent(why)),
            State::Connecting => Err(not_sent("not connected yet")),
        },
        Ok(Err(_)) => Err(not_sent("this node is stopping")),
        Err(_) => Err(not_sent("no connection was there in time")),
    }
}

fn not_sent(why: &str) -> SendError {
    SendError::NotSent(why.to_owned())
}

/// A stream that the peer refused was not looked at (RFC 9113, section 8.7); of everything else nobody knows.
fn classify(error: &hyper::Error) -> SendError {
    let refused = error
        .source()
        .and_then(|source| source.downcast_ref::<h2::Error>())
        .is_some_and(|e| e.is_remote() && e.is_reset() && e.reason() == Some(h2::Reason::REFUSED_STREAM));
    if refused {
        return not_sent("the node takes no more requests");
    }
    let cause = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    SendError::Sent(format!("{error}{cause}"))
}

/// Connects for ever.
async fn keep(node: PeerId, tls: Arc<PeerTls>, settings: ClientSettings, told: watch::Sender<State>) {
    let shortest = settings.reconnect / 10;
    let mut pause = shortest;
    let mut reported = false;
    loop {
        let connected = tokio::time::timeout(settings.connect, connect(&node, &tls, &settings)).await;
        let broken =
            match connected.unwrap_or_else(|_| Err(format!("no connection within {:?}", settings.connect))) {
                Ok((sender, connection, not_after)) => {
                    let since = Instant::now();
                    told.send_replace(State::Up(sender));
                    let ended = run(connection, not_after).await;
                    // A peer that refuses our certificate lets us connect first (TLS 1.3), and then ends it.
                    let lasted = since.elapsed() >= settings.reconnect;
                    if lasted {
                        (pause, reported) = (shortest, false);
                    }
                    match ended {
                        Ok(()) if lasted => None,
                        Ok(()) => Some("it was ended at once".to_owned()),
                        Err(why) => Some(why),
                    }
                }
                Err(why) => Some(why),
            };
        let Some(why) = broken else {
            told.send_replace(State::Connecting);
            continue;
        };
        if !std::mem::replace(&mut reported, true) {
            tracing::warn!(node = &*node.address, region = %node.region, why, "no connection; this is tried again and again");
        }
        metrics::counter!("valv_peer_connections_lost_total", "node" => node.address.to_string())
            .increment(1);
        told.send_replace(State::Down(format!("{} cannot be reached: {why}", node.address).into()));
        tokio::time::sleep(pause.mul_f64(fastrand::f64().mul_add(0.5, 0.75))).await;
        pause = (pause * 2).min(settings.reconnect);
    }
}

/// Runs a connection until it ends or one of its certificates does.
async fn run(connection: Connection, not_after: i64) -> Result<(), String> {
    let mut connection = Box::pin(connection);
    tokio::select! {
        ended = &mut connection => ended.map_err(|error| error.to_string()),
        () = tokio::time::sleep(left(not_after)) => {
            // What is under way is finished; nobody begins anything on it any more.
            tokio::spawn(tokio::time::timeout(RETIRE, connection));
            Ok(())
        }
    }
}

async fn connect(
    node: &PeerId,
    tls: &PeerTls,
    settings: &ClientSettings,
) -> Result<(Sender, Connection, i64), String> {
    let stream = TcpStream::connect(&*node.address).await.map_err(|e| e.to_string())?;
    let _ = stream.set_nodelay(true);
    let name = server_name(&node.region).ok_or("its region is no DNS name")?;
    let ours = tls.not_after();
    let stream = tokio_rustls::TlsConnector::from(tls.client())
        .connect(name, stream)
        .await
        .map_err(|e| e.to_string())?;
    let session = stream.get_ref().1;
    if session.alpn_protocol() != Some(b"h2") {
        return Err("it does not speak HTTP/2".into());
    }
    let shown = session.peer_certificates().and_then(<[_]>::first).and_then(Shown::of);
    let theirs = shown.ok_or("its certificate cannot be read")?.not_after;
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_reset_streams(1_024)
        .keep_alive_interval(settings.ping)
        .keep_alive_timeout(settings.ping_timeout)
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|e| e.to_string())?;
    Ok((sender, connection, ours.min(theirs)))
}
