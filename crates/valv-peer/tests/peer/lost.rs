//! Nodes that are gone, frozen, or die in the middle: what was provably not sent is told from what may have been.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::server::TlsStream;
use valv_peer::{Forwarder as _, SendError};

use crate::world::{
    Ca, Counting, Scripted, Server, get, hasty, head, nobody, peer, peers, settings, soon, until,
};

/// A listener that gives each connection, its handshake done, to `serve`.
pub async fn raw<F>(ca: &Ca, serve: impl Fn(TlsStream<TcpStream>) -> F + Send + 'static) -> valv_geo::PeerId
where
    F: Future<Output = ()> + Send + 'static,
{
    let acceptor = ca.raw_server("eastus");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                tokio::spawn(serve(stream));
            }
        }
    });
    peer("eastus", address)
}

#[tokio::test]
async fn f28_nothing_is_sent_to_a_node_that_is_not_there_and_it_is_found_again_when_it_is() {
    let ca = Ca::new();
    let (east, gateway) = (ca.region("eastus"), ca.gateway());
    let address = nobody().await;
    let node = peer("eastus", address);
    let peers = peers(&gateway, &[&node]);
    let begun = Instant::now();
    for _ in 0..100 {
        let error = peers.forward(&node, &head(), get("/"), soon()).await.unwrap_err();
        assert!(matches!(error, SendError::NotSent(_)), "{error:?}");
    }
    // A hundred requests did not pay for a hundred connections.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let source = Arc::new(Counting::default());
    let server =
        Server::start_with("eastus", &east, Scripted::echo(), source, settings(), Some(address)).await;
    until(async || peers.forward(&node, &head(), get("/"), soon()).await.ok()).await;
    server.stop().await;
    until(async || {
        let error = peers.forward(&node, &head(), get("/"), soon()).await.err()?;
        matches!(error, SendError::NotSent(_)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn f28_a_node_that_reads_the_request_and_dies_may_have_performed_it() {
    let ca = Ca::new();
    let node = raw(&ca, |stream| async move {
        let died = Arc::new(Notify::new());
        let die = died.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let die = die.clone();
            async move {
                request.into_body().collect().await.unwrap();
                die.notify_one();
                std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>().await
            }
        });
        let connection =
            http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
        tokio::select! { _ = connection => {}, () = died.notified() => {} }
    })
    .await;
    let peers = peers(&ca.gateway(), &[&node]);
    let request = Request::put("/").body(Bytes::from_static(b"body")).unwrap();
    let error = peers.forward(&node, &head(), request, soon()).await.unwrap_err();
    assert!(matches!(error, SendError::Sent(_)), "{error:?}");
}

#[tokio::test]
async fn f28_an_answer_that_is_cut_in_its_body_is_none() {
    let ca = Ca::new();
    let node = raw(&ca, |stream| async move {
        let died = Arc::new(Notify::new());
        let die = died.clone();
        let service = service_fn(move |_: Request<Incoming>| {
            let die = die.clone();
            async move {
                let first =
                    futures::stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"{\"val")))]);
                let rest = futures::stream::poll_fn(move |_| {
                    die.notify_one();
                    std::task::Poll::Pending
                });
                let body = StreamBody::new(futures::StreamExt::chain(first, rest));
                Ok::<_, Infallible>(Response::new(body))
            }
        });
        let connection =
            http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! { _ = &mut connection => {}, () = died.notified() => {} }
        // What was written goes out before it dies.
        let _ = tokio::time::timeout(Duration::from_millis(200), &mut connection).await;
    })
    .await;
    let peers = peers(&ca.gateway(), &[&node]);
    let error = peers.forward(&node, &head(), get("/"), soon()).await.unwrap_err();
    assert!(matches!(&error, SendError::Sent(why) if why.contains("cut short")), "{error:?}");
}

#[tokio::test]
async fn f28_a_frozen_node_that_only_accepts_costs_no_more_than_the_deadline_and_then_nothing() {
    let ca = Ca::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = peer("eastus", listener.local_addr().unwrap());
    let peers = hasty(&ca.gateway(), &[&node]);
    let begun = Instant::now();
    let deadline = begun + Duration::from_millis(200);
    let error = peers.forward(&node, &head(), get("/"), deadline).await.unwrap_err();
    assert!(matches!(error, SendError::NotSent(_)), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    // Once the first connection was given up, nobody waits for the next ones.
    until(async || {
        let begun = Instant::now();
        let error = peers.forward(&node, &head(), get("/"), soon()).await.unwrap_err();
        assert!(matches!(error, SendError::NotSent(_)), "{error:?}");
        (begun.elapsed() < Duration::from_millis(100)).then_some(())
    })
    .await;
    drop(listener);
}

/// Serves until the first request has arrived, and then keeps everything open and does nothing more, as a stopped
/// process does.
async fn freezing(ca: &Ca) -> valv_geo::PeerId {
    raw(ca, |stream| async move {
        let arrived = Arc::new(Notify::new());
        let arrive = arrived.clone();
        let service = service_fn(move |_: Request<Incoming>| {
            arrive.notify_one();
            std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>()
        });
        let connection =
            http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! { _ = &mut connection => {}, () = arrived.notified() => std::future::pending().await }
    })
    .await
}

#[tokio::test]
async fn f28_a_node_that_freezes_with_a_request_is_bounded_by_the_deadline() {
    let ca = Ca::new();
    let node = freezing(&ca).await;
    let peers = peers(&ca.gateway(), &[&node]);
    // Until there is a connection nothing is sent.
    until(async || {
        let begun = Instant::now();
        let deadline = begun + Duration::from_millis(150);
        let error = peers.forward(&node, &head(), get("/"), deadline).await.unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        matches!(error, SendError::Sent(_)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn f28_a_frozen_connection_is_noticed_by_its_pings() {
    let ca = Ca::new();
    let node = freezing(&ca).await;
    let peers = hasty(&ca.gateway(), &[&node]);
    until(async || {
        let error = peers.forward(&node, &head(), get("/"), soon()).await.unwrap_err();
        matches!(&error, SendError::Sent(why) if why.contains("keep-alive")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_the_node_refuses_was_not_sent() {
    let ca = Ca::new();
    let node = raw(&ca, |stream| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            respond.send_reset(h2::Reason::REFUSED_STREAM);
        }
    })
    .await;
    let peers = peers(&ca.gateway(), &[&node]);
    let error = peers.forward(&node, &head(), get("/"), soon()).await.unwrap_err();
    assert!(matches!(error, SendError::NotSent(_)), "{error:?}");
}
