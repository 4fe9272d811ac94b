//! A client's request on its way through.

use std::convert::Infallible;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::Semaphore;
use valv_peer::{FORWARD_HEADER, Forwarder as _, ListenSettings, Peers, Role, SendError};

use crate::world::{
    Ca, Counting, DEADLINE, Scripted, Server, client, get, head, peers, raw_client, settings, soon, until,
};

#[tokio::test]
async fn a_request_arrives_as_the_client_sent_it_without_what_only_doors_may_say() {
    let ca = Ca::new();
    let forwarded = Scripted::new(|_, _, request: Request<Bytes>| async move {
        Response::builder()
            .status(201)
            .header("x-ms-keyvault-region", "eastus")
            .header("connection", "close")
            .body(request.into_body())
            .unwrap()
    });
    let server = Server::start("eastus", &ca.region("eastus"), forwarded.clone()).await;
    let peers = peers(&ca.gateway(), &[&server.peer]);
    let request = Request::put("https://dev.vault.localhost:8443/secrets/A%20b?api-version=7.4&x=%2F")
        .header("host", "evil.example")
        .header("authorization", "Bearer t")
        .header("x-ms-client-request-id", "17")
        .header("x-valv-forward", "forged")
        .header("x-valv-mode", "forged")
        .header("connection", "keep-alive, x-hop")
        .header("keep-alive", "timeout=5")
        .header("x-hop", "1")
        .header("te", "gzip")
        .header("proxy-authorization", "Basic eDp5")
        .header("transfer-encoding", "chunked")
        .body(Bytes::from_static(b"{\"value\":\"v\"}"))
        .unwrap();
    let answer = peers.forward(&server.peer, &head(), request, soon()).await.unwrap();
    assert_eq!(answer.status(), 201);
    assert_eq!(answer.headers()["x-ms-keyvault-region"], "eastus");
    assert_eq!(&answer.body()[..], b"{\"value\":\"v\"}");

    let seen = forwarded.seen.lock().unwrap();
    let (role, forward, request) = &seen[0];
    assert_eq!((role, forward), (&Role::Gateway, &head()));
    assert_eq!(
        (request.method().as_str(), request.uri()),
        ("PUT", &"/secrets/A%20b?api-version=7.4&x=%2F".parse().unwrap())
    );
    let mut names: Vec<&str> = request.headers().keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["authorization", "content-length", "host", "x-ms-client-request-id"]);
    assert_eq!(request.headers()["host"], "dev.vault.localhost:8443");
}

#[tokio::test]
async fn answers_of_the_front_pass_and_refusals_of_the_listener_are_told_from_them() {
    let ca = Ca::new();
    let forwarded =
        Scripted::new(|_, _, _| async { Response::builder().status(421).body(Bytes::new()).unwrap() });
    let limits = ListenSettings { body_bytes: 100, ..settings() };
    let source = std::sync::Arc::new(Counting::default());
    let server =
        Server::start_with("eastus", &ca.region("eastus"), forwarded.clone(), source, limits, None).await;
    let peers = peers(&ca.gateway(), &[&server.peer]);
    assert_eq!(peers.forward(&server.peer, &head(), get("/"), soon()).await.unwrap().status(), 421);
    // A path of our own, asked for by a client, is the front's business.
    assert_eq!(
        peers.forward(&server.peer, &head(), get("/peer/v1/probe"), soon()).await.unwrap().status(),
        421
    );
    assert_eq!(forwarded.seen.lock().unwrap().len(), 2);

    let large = Request::put("/").body(Bytes::from(vec![0; 101])).unwrap();
    let error = peers.forward(&server.peer, &head(), large, soon()).await.unwrap_err();
    assert!(matches!(error, SendError::Refused { status: 413, .. }), "{error:?}");
    let wrong = valv_peer::ForwardHead { authority: String::new(), ..head() };
    let error = peers.forward(&server.peer, &wrong, get("/"), soon()).await.unwrap_err();
    assert!(matches!(&error, SendError::NotSent(why) if why.contains(FORWARD_HEADER)), "{error:?}");
    assert_eq!(forwarded.seen.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn many_requests_share_one_connection() {
    let ca = Ca::new();
    let server = Server::start("eastus", &ca.region("eastus"), Scripted::echo()).await;
    let peers = peers(&ca.gateway(), &[&server.peer]);
    let body = Bytes::from(vec![7; 100_000]);
    let ask = |_| {
        let request = Request::put("/").body(body.clone()).unwrap();
        let (peers, peer) = (peers.clone(), server.peer.clone());
        async move { peers.forward(&peer, &head(), request, soon()).await.unwrap().into_body().len() }
    };
    let lengths = futures::future::join_all((0..200).map(ask)).await;
    assert!(lengths.iter().all(|length| *length == 100_000));
}

#[tokio::test]
async fn beyond_the_places_of_a_node_nothing_is_sent() {
    let ca = Ca::new();
    let held: &'static Semaphore = Box::leak(Box::new(Semaphore::new(0)));
    let forwarded = Scripted::new(move |_, _, _| async {
        let _ = held.acquire().await;
        Response::new(Bytes::new())
    });
    let server = Server::start("eastus", &ca.region("eastus"), forwarded.clone()).await;
    let limits = valv_peer::ClientSettings { in_flight: 1, ..client() };
    let peers = Peers::start(&ca.gateway(), limits, [server.peer.clone()]);
    let first = tokio::spawn({
        let (peers, peer) = (peers.clone(), server.peer.clone());
        async move { peers.forward(&peer, &head(), get("/"), soon()).await }
    });
    until(async || (forwarded.seen.lock().unwrap().len() == 1).then_some(())).await;
    let short = Instant::now() + Duration::from_millis(50);
    let error = peers.forward(&server.peer, &head(), get("/"), short).await.unwrap_err();
    assert!(matches!(&error, SendError::NotSent(why) if why.contains("too many")), "{error:?}");
    held.close();
    assert_eq!(first.await.unwrap().unwrap().status(), 200);
    assert_eq!(forwarded.seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_node_that_stops_finishes_what_it_has_begun() {
    let ca = Ca::new();
    let go: &'static Semaphore = Box::leak(Box::new(Semaphore::new(0)));
    let forwarded = Scripted::new(move |_, _, _| async {
        let _ = go.acquire().await;
        Response::new(Bytes::from_static(b"done"))
    });
    let server = Server::start("eastus", &ca.region("eastus"), forwarded.clone()).await;
    let peers = peers(&ca.gateway(), &[&server.peer]);
    let asked = tokio::spawn({
        let (peers, peer) = (peers.clone(), server.peer.clone());
        async move { peers.forward(&peer, &head(), get("/"), soon()).await }
    });
    until(async || (!forwarded.seen.lock().unwrap().is_empty()).then_some(())).await;
    let peer = server.peer.clone();
    let stopping = tokio::spawn(server.stop());
    // It takes nothing new, and says so before anything is sent.
    until(async || {
        let again =
            peers.forward(&peer, &head(), get("/"), Instant::now() + Duration::from_millis(200)).await;
        matches!(again, Err(SendError::NotSent(_))).then_some(())
    })
    .await;
    go.close();
    assert_eq!(&asked.await.unwrap().unwrap().into_body()[..], b"done");
    tokio::time::timeout(DEADLINE, stopping).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_only_doors_may_say_is_taken_away_on_both_sides() {
    let ca = Ca::new();
    // The client's side: what arrives at a server that takes everything.
    let seen: &'static Mutex<Vec<String>> = Box::leak(Box::default());
    let node = crate::lost::raw(&ca, move |stream| async move {
        let service = service_fn(move |request: Request<Incoming>| async move {
            seen.lock().unwrap().extend(request.headers().keys().map(ToString::to_string));
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
        });
        let _ =
            http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
    });
    let node = node.await;
    let request = Request::get("/").header("x-valv-mode", "forged").body(Bytes::new()).unwrap();
    peers(&ca.gateway(), &[&node]).forward(&node, &head(), request, soon()).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), [FORWARD_HEADER]);

    // The listener's side: what the front gets of a peer that sends everything.
    let forwarded = Scripted::echo();
    let server = Server::start("eastus", &ca.region("eastus"), forwarded.clone()).await;
    let mut raw = raw_client(&ca, &server.peer).await;
    let base = format!("https://{}", valv_peer::region_name(&server.peer.region));
    let request = Request::get(format!("{base}/secrets"))
        .header(FORWARD_HEADER, head().encode().unwrap())
        .header("x-valv-mode", "forged")
        .body(Full::default())
        .unwrap();
    assert_eq!(raw.send_request(request).await.unwrap().status(), 200);
    let names: Vec<String> =
        forwarded.seen.lock().unwrap()[0].2.headers().keys().map(ToString::to_string).collect();
    assert_eq!(names, ["host"]);

    // And what is no question is refused in so many words.
    for (method, path, forward, status) in [
        ("GET", "/secrets", Some("{}"), 400),
        ("GET", "/secrets", None, 404),
        ("GET", "/peer/v1/other", None, 404),
        ("GET", "/peer/v1/vault/a--b", None, 400),
        ("GET", "/peer/v1/heads/NO", None, 400),
        ("POST", "/peer/v1/probe", None, 405),
    ] {
        let mut request = Request::builder().method(method).uri(format!("{base}{path}"));
        if let Some(forward) = forward {
            request = request.header(FORWARD_HEADER, forward);
        }
        let answer = raw.send_request(request.body(Full::default()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), status, "{method} {path}");
        assert!(answer.headers().contains_key("x-valv-peer-refusal"));
    }
    assert_eq!(forwarded.seen.lock().unwrap().len(), 1);
}
