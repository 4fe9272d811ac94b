//! Real sockets: deadlines, limits, certificates, stopping. Each deadline here is short, and no test asks
//! for less than "it happens" or "it does not happen before".

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use valv_front::listen::{Certificates, Entrance, serve};
use valv_front::{FrontSettings, Limits};
use valv_model::ClientId;

use crate::world::{World, settings};

/// Longer than anything here takes on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(300);
/// Long enough for a request on a machine that stumbles.
const IDLE: Duration = Duration::from_secs(2);
const NAME: &str = "dev.vault.localhost";

struct Server {
    world: World,
    public: SocketAddr,
    health: SocketAddr,
    identity: SocketAddr,
    certificates: Arc<Certificates>,
    dir: tempfile::TempDir,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<std::io::Result<()>>,
}

fn write_certificate(dir: &Path) {
    let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).unwrap();
    std::fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
}

impl Server {
    async fn start(change: impl FnOnce(&mut Limits)) -> Self {
        let mut settings: FrontSettings = settings();
        change(&mut settings.limits);
        let world = World::with(settings, true).await;
        let dir = tempfile::tempdir().unwrap();
        write_certificate(dir.path());
        let certificates =
            Certificates::load(dir.path().join("cert.pem"), dir.path().join("key.pem")).unwrap();
        let client = ClientId::parse(&world.admin_id.0).unwrap();
        let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
        for entrance in
            [Entrance::Public(Arc::clone(&certificates)), Entrance::Health, Entrance::ManagedIdentity(client)]
        {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            addresses.push(listener.local_addr().unwrap());
            listeners.push((listener, entrance));
        }
        let (stop, stopped) = oneshot::channel();
        let shutdown = async { drop(stopped.await) };
        let served = tokio::spawn(serve(Arc::clone(&world.front), listeners, shutdown));
        let (public, health, identity) = (addresses[0], addresses[1], addresses[2]);
        Self { world, public, health, identity, certificates, dir, stop: Some(stop), served }
    }

    async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.public).await.unwrap()
    }

    async fn tls(&self, protocol: &str) -> TlsStream<TcpStream> {
        self.try_tls(protocol).await.unwrap()
    }

    async fn try_tls(&self, protocol: &str) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.dir.path().join("cert.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = builder.unwrap().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let name = ServerName::try_from(NAME).unwrap();
        timeout(PATIENCE, TlsConnector::from(Arc::new(config)).connect(name, self.tcp().await)).await.unwrap()
    }

    /// Sends bytes and reads what comes until the server closes.
    async fn raw(&self, bytes: &str) -> String {
        let mut stream = self.tls("http/1.1").await;
        stream.write_all(bytes.as_bytes()).await.unwrap();
        read_to_end(&mut stream).await
    }

    fn head(&self, line: &str) -> String {
        format!("{line} HTTP/1.1\r\nHost: {NAME}\r\nAuthorization: Bearer {}\r\n", self.world.admin)
    }

    async fn plain(address: SocketAddr, path: &str, header: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{header}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    }
}

async fn read_to_end(stream: &mut TlsStream<TcpStream>) -> String {
    let mut answer = Vec::new();
    // A connection that is cut has said all it had to say.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the server closes");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn both_protocols_are_spoken() {
    let server = Server::start(|_| {}).await;
    let answer = server
        .raw(&format!("{}Connection: close\r\n\r\n", server.head("GET /secrets?api-version=7.6")))
        .await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(server.tls("h2").await))
            .await
            .unwrap();
    tokio::spawn(connection);
    for n in 0..3 {
        let request = Request::put(format!("https://{NAME}/secrets/h2?api-version=7.6"))
            .header("authorization", format!("Bearer {}", server.world.admin))
            .body(Full::<Bytes>::from(format!("{{\"value\":\"{n}\"}}")));
        let answer = sender.send_request(request.unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&body).contains(&format!("https://{NAME}/secrets/h2/")));
    }
}

#[tokio::test]
async fn a_refusal_leaves_the_connection_usable() {
    let server = Server::start(|_| {}).await;
    let mut stream = server.tls("http/1.1").await;
    let put = format!("PUT /secrets/a?api-version=7.6 HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 13\r\n");
    // The body comes in a packet of its own, after the head was read.
    stream.write_all(format!("{put}\r\n").as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    stream.write_all(b"{\"value\":\"x\"}").await.unwrap();
    let second = format!(
        "{put}Authorization: Bearer {}\r\nConnection: close\r\n\r\n{{\"value\":\"x\"}}",
        server.world.admin
    );
    stream.write_all(second.as_bytes()).await.unwrap();
    let answers = read_to_end(&mut stream).await;
    assert!(answers.starts_with("HTTP/1.1 401") && answers.contains("HTTP/1.1 200"), "{answers}");
}

#[tokio::test]
async fn f38_a_handshake_that_does_not_come_is_ended() {
    let server = Server::start(|limits| limits.handshake = SHORT).await;
    let (start, mut stream) = (Instant::now(), server.tcp().await);
    let mut byte = [0];
    let read = timeout(PATIENCE, stream.read(&mut byte)).await.expect("the server closes");
    assert!(matches!(read, Ok(0) | Err(_)) && start.elapsed() >= SHORT);
}

#[tokio::test]
async fn f38_a_head_that_comes_byte_by_byte_is_ended() {
    let server = Server::start(|limits| limits.header_read = SHORT).await;
    let mut stream = server.tls("http/1.1").await;
    let (mut reader, mut writer) = tokio::io::split(&mut stream);
    let drip = async {
        loop {
            if writer.write_all(b"G").await.is_err() || writer.flush().await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let mut answer = Vec::new();
    tokio::select! {
        () = drip => {}
        read = timeout(PATIENCE, reader.read_to_end(&mut answer)) => drop(read.expect("the server closes")),
    }
}

#[tokio::test]
async fn f38_a_body_that_does_not_come_is_answered_with_408() {
    let server = Server::start(|limits| limits.body_read = SHORT).await;
    let answer = server
        .raw(&format!("{}Content-Length: 20\r\n\r\n{{", server.head("PUT /secrets/a?api-version=7.6")))
        .await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("RequestTimeout"), "{answer}");
}

#[tokio::test]
async fn f38_an_idle_connection_is_ended_and_a_used_one_is_not() {
    let server = Server::start(|limits| limits.idle = IDLE).await;
    let mut stream = server.tls("http/1.1").await;
    let start = Instant::now();
    for _ in 0..6 {
        stream
            .write_all(format!("{}\r\n", server.head("GET /secrets?api-version=7.6")).as_bytes())
            .await
            .unwrap();
        let mut part = [0; 4096];
        let read = timeout(PATIENCE, stream.read(&mut part)).await.unwrap().unwrap();
        assert!(part[..read].starts_with(b"HTTP/1.1 200"));
        tokio::time::sleep(IDLE / 5).await;
    }
    assert!(start.elapsed() > IDLE);
    assert_eq!(read_to_end(&mut stream).await, "");
    // HTTP/2, too.
    let h2 = TokioIo::new(server.tls("h2").await);
    let (sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), h2).await.unwrap();
    let _ = timeout(PATIENCE, connection).await.expect("the server closes");
    drop(sender);
}

#[tokio::test]
async fn f38_stalled_connections_do_not_keep_others_out() {
    let server = Server::start(|limits| limits.connections = 200).await;
    let mut stalled = Vec::new();
    for n in 0..150 {
        let mut stream = server.tcp().await;
        if n % 2 == 0 {
            stream.write_all(&[22, 3, 1]).await.unwrap();
        }
        stalled.push(stream);
    }
    for _ in 0..40 {
        let answer = server
            .raw(&format!("{}Connection: close\r\n\r\n", server.head("GET /secrets?api-version=7.6")))
            .await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[tokio::test]
async fn f38_connections_beyond_the_limit_are_closed_and_places_come_back() {
    let server = Server::start(|limits| limits.connections = 2).await;
    let one = server.tls("http/1.1").await;
    let _two = server.tls("http/1.1").await;
    assert!(server.try_tls("http/1.1").await.is_err());
    drop(one);
    until("a place comes back", async || server.try_tls("http/1.1").await.is_ok()).await;
}

#[tokio::test]
async fn f38_streams_opened_and_reset_end_their_connection_only() {
    let server = Server::start(|_| {}).await;
    let h2 = TokioIo::new(server.tls("h2").await);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), h2).await.unwrap();
    tokio::spawn(connection);
    // Each round opens streams, lets the server see them, and resets them.
    let end = Instant::now() + PATIENCE;
    while !sender.is_closed() {
        assert!(Instant::now() < end, "the connection goes on");
        let asked = (0..20).map(|_| {
            let request = Request::get(format!("https://{NAME}/secrets?api-version=7.6"));
            Box::pin(sender.send_request(request.body(Full::<Bytes>::default()).unwrap()))
        });
        let mut asked: Vec<_> = asked.collect();
        for answer in &mut asked {
            let _ = timeout(Duration::ZERO, answer).await;
        }
        tokio::task::yield_now().await;
        drop(asked);
        tokio::task::yield_now().await;
    }
    let get = format!("{}Connection: close\r\n\r\n", server.head("GET /secrets?api-version=7.6"));
    let answer = server.raw(&get).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn f37_too_large_is_said_before_it_is_read() {
    let server = Server::start(|_| {}).await;
    let put = server.head("PUT /secrets/a?api-version=7.6");
    let answer = server.raw(&format!("{put}Content-Length: 107374182400\r\n\r\n{{")).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("PayloadTooLarge"), "{answer}");
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x1_0000));
    let answer = server.raw(&format!("{put}Transfer-Encoding: chunked\r\n\r\n{}", chunk.repeat(17))).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let get = server.head("GET /secrets?api-version=7.6");
    for (size, form) in [(66_000, "HeadersTooLarge"), (200_000, "HTTP/1.1 431")] {
        let answer =
            server.raw(&format!("{get}X-N: {}\r\nConnection: close\r\n\r\n", "y".repeat(size))).await;
        assert!(answer.starts_with("HTTP/1.1 431") && answer.contains(form), "{answer}");
    }
    let many: String = (0..10_000).map(|n| format!("x-{n}: 1\r\n")).collect();
    let answer = server.raw(&format!("{get}{many}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn f38_f39_slow_bodies_take_no_place_and_beyond_their_own_number_get_429() {
    let server = Server::start(|limits| limits.in_flight = 1).await;
    let put = format!(
        "{}Expect: 100-continue\r\nContent-Length: 13\r\nConnection: close\r\n\r\n",
        server.head("PUT /secrets/a?api-version=7.6")
    );
    let mut slow = Vec::new();
    let refused = loop {
        let mut stream = server.tls("http/1.1").await;
        stream.write_all(put.as_bytes()).await.unwrap();
        let mut word = [0; 1024];
        let read = timeout(PATIENCE, stream.read(&mut word)).await.unwrap().unwrap();
        let word = String::from_utf8_lossy(&word[..read]).into_owned();
        if !word.starts_with("HTTP/1.1 100") {
            break word;
        }
        // Its body is waited for.
        slow.push(stream);
        assert!(slow.len() < 200, "slow bodies without end");
    };
    assert!(refused.starts_with("HTTP/1.1 429"), "{refused}");
    assert!(refused.to_lowercase().contains("retry-after: 1"), "{refused}");
    assert_eq!(slow.len(), 16);
    let get = format!("{}Connection: close\r\n\r\n", server.head("GET /secrets?api-version=7.6"));
    assert!(server.raw(&get).await.starts_with("HTTP/1.1 200"), "the one place is free");
    assert!(Server::plain(server.health, "/healthz", "").await.starts_with("HTTP/1.1 200"));
    let mut first = slow.remove(0);
    first.write_all(b"{\"value\":\"x\"}").await.unwrap();
    assert!(read_to_end(&mut first).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn f34_a_new_certificate_is_shown_and_open_connections_go_on() {
    let server = Server::start(|_| {}).await;
    tokio::spawn(Arc::clone(&server.certificates).watch(Duration::from_millis(20)));
    let get = format!("{}\r\n", server.head("GET /secrets?api-version=7.6"));
    let mut old = server.tls("http/1.1").await;
    let shown = |stream: &TlsStream<TcpStream>| stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    let before = shown(&old);
    write_certificate(server.dir.path());
    until("the new certificate is shown", async || {
        server.try_tls("http/1.1").await.is_ok_and(|stream| shown(&stream) != before)
    })
    .await;
    old.write_all(get.as_bytes()).await.unwrap();
    let mut part = [0; 1024];
    let read = timeout(PATIENCE, old.read(&mut part)).await.unwrap().unwrap();
    assert!(part[..read].starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn f01_stopping_lets_requests_in_flight_finish_and_takes_no_more() {
    let mut server = Server::start(|_| {}).await;
    let mut slow = server.tls("http/1.1").await;
    let idle = server.tls("http/1.1").await;
    let put = format!(
        "{}Content-Length: 13\r\nExpect: 100-continue\r\n\r\n",
        server.head("PUT /secrets/a?api-version=7.6")
    );
    slow.write_all(put.as_bytes()).await.unwrap();
    slow.flush().await.unwrap();
    // It is in flight once its body is asked for.
    let mut part = [0; 64];
    let read = timeout(PATIENCE, slow.read(&mut part)).await.unwrap().unwrap();
    assert!(part[..read].starts_with(b"HTTP/1.1 100"));
    server.stop.take().unwrap().send(()).unwrap();
    until("no more connections", async || TcpStream::connect(server.public).await.is_err()).await;
    // As long as it is not answered, nobody is told that all is done.
    assert!(timeout(SHORT, &mut server.served).await.is_err());
    slow.write_all(b"{\"value\":\"x\"}").await.unwrap();
    let answer = read_to_end(&mut slow).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    timeout(PATIENCE, server.served).await.expect("it returns").unwrap().unwrap();
    drop(idle);
}

#[tokio::test]
async fn a_write_whose_client_left_is_done_once_and_audited() {
    let server = Server::start(|_| {}).await;
    let mut stream = server.tls("http/1.1").await;
    let put = format!(
        "{}Content-Length: 13\r\n\r\n{{\"value\":\"x\"}}",
        server.head("PUT /secrets/left?api-version=7.6")
    );
    stream.write_all(put.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    drop(stream);
    until("the write is audited", async || {
        server.world.audit.events().iter().any(|e| {
            e["operationName"] == "SecretSet"
                && e["properties"]["id"].as_str().is_some_and(|id| id.contains("/secrets/left/"))
        })
    })
    .await;
}

#[tokio::test]
async fn health_and_identity_have_listeners_of_their_own() {
    let server = Server::start(|_| {}).await;
    assert!(Server::plain(server.health, "/healthz", "").await.contains("live"));
    let mut old = TcpStream::connect(server.health).await.unwrap();
    old.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, old.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.contains(" 200 OK"), "{answer}");
    assert!(Server::plain(server.health, "/readyz", "").await.starts_with("HTTP/1.1 200"));
    let metrics = Server::plain(server.health, "/metrics", "").await;
    let counted = "valv_requests_total{activity_type=\"vault\",activity_name=\"VaultPut\",status=\"200\"}";
    assert!(
        metrics.contains(counted) && metrics.contains("valv_request_duration_seconds_bucket"),
        "{metrics}"
    );
    let secrets = Server::plain(server.health, "/secrets?api-version=7.6", "").await;
    assert!(secrets.starts_with("HTTP/1.1 404") && !secrets.contains("www-authenticate"), "{secrets}");
    let path = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.localhost:8443";
    let token = Server::plain(server.identity, path, "Metadata: true\r\n").await;
    assert!(token.starts_with("HTTP/1.1 200") && token.contains("access_token"), "{token}");
    assert!(Server::plain(server.identity, path, "").await.starts_with("HTTP/1.1 400"));
    assert!(
        Server::plain(server.identity, "/admin/status?api-version=7.6", "").await.starts_with("HTTP/1.1 404")
    );
}

#[tokio::test]
async fn plain_http_is_spoken_on_loopback_only() {
    let world = World::new().await;
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let refused = serve(Arc::clone(&world.front), vec![(listener, Entrance::Health)], async {}).await;
    assert!(refused.unwrap_err().to_string().contains("loopback"));
}
