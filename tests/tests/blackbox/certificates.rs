//! The certificate that clients see: FAILURES F34.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use valv_tests::{Api, DEADLINE, Node, until_async};

/// The certificate that a new connection is shown.
async fn shown(api: &Api) -> Option<Vec<u8>> {
    let stream = api.connect().await.ok()?;
    let certificates = stream.get_ref().1.peer_certificates()?;
    certificates.first().map(|certificate| certificate.to_vec())
}

/// A request on a connection that stays open.
async fn get(stream: &mut TlsStream<TcpStream>, api: &Api) -> String {
    let token = api.token().expect("a token");
    let request = format!(
        "GET /secrets/here?api-version=7.4 HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("the connection is open");
    let mut part = vec![0; 16 * 1024];
    let read = tokio::time::timeout(DEADLINE, stream.read(&mut part)).await.expect("an answer in time");
    String::from_utf8_lossy(&part[..read.expect("an answer")]).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f34_a_replaced_certificate_is_taken_up_and_no_connection_is_dropped() {
    let mut node = Node::ready().await;
    let api = node.api().await;
    api.send("PUT", "/secrets/here", Some(json!({ "value": "v" }))).await.expect(200);
    let mut open = api.connect().await.expect("a connection");
    assert!(get(&mut open, &api).await.starts_with("HTTP/1.1 200"));
    let first = shown(&api).await.expect("a certificate");
    assert!(!node.process().output().contains("WARN"), "{}", node.process().output());

    // One that ends soon is used, and the log says so.
    node.renew_certificate(time::Duration::days(20));
    let second = until_async("the new certificate", async || shown(&api).await.filter(|c| *c != first)).await;
    until_async("a warning", async || {
        let output = node.process().output();
        output.lines().any(|l| l.contains("WARN") && l.contains("certificate")).then_some(())
    })
    .await;
    let metrics = node.health("/metrics").expect("metrics").1;
    let left = metrics
        .lines()
        .find_map(|l| l.strip_prefix("valv_certificate_expires_in_seconds{listener=\"public\"} "));
    let left: f64 = left.and_then(|text| text.parse().ok()).expect("a metric to alarm on");
    assert!((19.0 * 86_400.0..=20.0 * 86_400.0).contains(&left), "{left}");
    assert!(get(&mut open, &api).await.starts_with("HTTP/1.1 200"), "the open connection goes on");

    // Files that cannot be used change nothing, and the log says so: no certificate; one without its key.
    let file = node.root().join("tls.crt");
    let good = std::fs::read(&file).expect("the certificate");
    let foreign = Node::new();
    for (broken, said) in [
        (b"no certificate at all".to_vec(), 1),
        (std::fs::read(foreign.root().join("tls.crt")).expect("a certificate"), 2),
    ] {
        std::fs::write(&file, broken).expect("a writable directory");
        until_async("an error in the log", async || {
            let output = node.process().output();
            let lines = output.lines().filter(|l| l.contains("ERROR") && l.contains("tls.crt"));
            (lines.count() >= said).then_some(())
        })
        .await;
        assert_eq!(shown(&api).await.as_ref(), Some(&second), "the old one stays");
        assert!(get(&mut open, &api).await.starts_with("HTTP/1.1 200"));
    }
    std::fs::write(&file, good).expect("a writable directory");
    node.renew_certificate(time::Duration::days(90));
    until_async("the third certificate", async || shown(&api).await.filter(|c| *c != second && *c != first))
        .await;
    assert!(get(&mut open, &api).await.starts_with("HTTP/1.1 200"));
    let keys = std::fs::read_to_string(node.root().join("tls.key")).expect("the key");
    let middle = keys.lines().nth(1).expect("a line of the key");
    assert!(!node.process().output().contains(middle), "a private key in the log");
    assert!(node.stop().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f34_after_its_end_there_is_no_plain_text_and_a_new_one_heals_without_a_restart() {
    let mut node = Node::ready().await;
    let api = node.api().await;
    api.send("PUT", "/secrets/here", Some(json!({ "value": "v" }))).await.expect(200);
    let mut open = api.connect().await.expect("a connection");
    let first = shown(&api).await.expect("a certificate");
    node.renew_certificate(time::Duration::seconds(6));
    until_async("the short-lived certificate", async || shown(&api).await.filter(|c| *c != first)).await;
    until_async("its end", async || match api.connect().await {
        Ok(_) => None,
        Err(broken) => {
            assert!(broken.0.contains("expired"), "{}", broken.0);
            Some(())
        }
    })
    .await;
    let warned = node.process().output();
    assert!(warned.lines().any(|l| l.contains("WARN") && l.contains("certificate")), "{warned}");
    // What was agreed before goes on; nobody is served without TLS.
    assert!(get(&mut open, &api).await.starts_with("HTTP/1.1 200"));
    let answer = plain(node.port(), "GET /secrets?api-version=7.4 HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert!(!answer.contains("HTTP/"), "plain text was answered: {answer}");
    assert_eq!(node.health("/readyz").map(|(status, _)| status), Some(200));
    // A restart does not need a good one either, and then a new one is taken up as ever.
    assert!(node.stop().success());
    node.start();
    assert!(api.connect().await.is_err());
    node.renew_certificate(time::Duration::days(90));
    let request = Request::get("/secrets/here?api-version=7.4")
        .header(header::AUTHORIZATION, format!("Bearer {}", api.token().expect("a token")))
        .body(Full::<Bytes>::default())
        .expect("a request");
    until_async("service as before", async || {
        api.request(request.clone()).await.ok().filter(|answer| answer.status == 200)
    })
    .await;
}

/// What a caller without TLS reads.
async fn plain(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Old versions of TLS and a connection in plain text get nothing, with a good certificate as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f34_nobody_is_served_in_plain_text() {
    let node = Node::ready().await;
    for request in [
        "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "GET /secrets?api-version=7.4 HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let answer = plain(node.port(), request).await;
        assert!(!answer.contains("HTTP/"), "{request:?} was answered: {answer}");
    }
}
