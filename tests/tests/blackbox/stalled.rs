//! Slow and hostile clients: FAILURES F38.

use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use valv_tests::{Api, Node, Stall, TENANT, until_async};

/// Each of the four deadlines closes its own kinds of slow client: not before, and not long after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f38_each_deadline_closes_its_slow_clients() {
    for (deadline, stalls) in [
        ("handshake_ms", &[Stall::Handshake][..]),
        ("idle_ms", &[Stall::Idle, Stall::Http2Idle, Stall::Unread]),
        ("head_ms", &[Stall::Head]),
        ("body_ms", &[Stall::Body]),
    ] {
        let mut node = Node::new();
        // The one under test is short, the others never come.
        for name in ["handshake_ms", "idle_ms", "head_ms", "body_ms"] {
            let ms = if name == deadline { 1500 } else { 600_000 };
            node.limits.push_str(&format!("{name} = {ms}\n"));
        }
        node.init();
        node.start();
        for &stall in stalls {
            let (took, said) = stall.wait(&node.anonymous(), TENANT).await;
            assert!(took >= Duration::from_millis(1400), "{stall:?} was closed after {took:?}");
            if stall == Stall::Body {
                assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
            }
        }
        // Whoever is quick is served still.
        node.anonymous().send("GET", "/secrets", None).await.expect(401);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f38_stalled_connections_by_the_hundred_harm_nobody_else() {
    let each = crate::long(720, 50);
    raise_handle_limit();
    let mut node = Node::new();
    // Short of what they need together: a stalled client may not hold one of these places.
    node.limits
        .push_str("handshake_ms = 5000\nidle_ms = 5000\nhead_ms = 5000\nbody_ms = 5000\nrequests = 32\n");
    node.init();
    node.start();
    node.furnish().await;
    let api = node.api().await;
    api.send("PUT", "/secrets/here", Some(json!({ "value": "v" }))).await.expect(200);
    let anonymous = node.anonymous();
    let stalled: Vec<_> = (0..each)
        .flat_map(|_| Stall::ALL)
        .map(|stall| {
            let api = anonymous.clone();
            tokio::spawn(async move { stall.wait(&api, TENANT).await })
        })
        .collect();
    // Meanwhile 16 others go on, some on connections of their own for each request, until the slow ones are gone.
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let normal: Vec<_> = (0..16)
        .map(|n| {
            let (api, stopped) = (api.clone(), stopped.clone());
            tokio::spawn(async move {
                let mut count = 0;
                while !*stopped.borrow() {
                    // A clone has a connection of its own.
                    let fresh = api.clone();
                    let caller = if n % 2 == 0 { &api } else { &fresh };
                    let answer = caller.try_send("GET", "/secrets/here", None).await;
                    let answer = answer.unwrap_or_else(|e| panic!("a normal client was cut off: {}", e.0));
                    assert_eq!(answer.status, 200, "a normal client was refused: {answer:?}");
                    count += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                count
            })
        })
        .collect();
    for stall in stalled {
        stall.await.expect("every stalled connection is closed");
    }
    stop.send(true).expect("clients");
    let mut served = 0;
    for client in normal {
        served += client.await.expect("a normal client");
    }
    assert!(served >= 16, "{served}");
    assert!(node.process().exited().is_none());
    assert!(node.stop().success());
}

/// Streams of HTTP/2 opened and reset at once, by the thousand ("rapid reset", CVE-2023-44487).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f38_streams_opened_and_reset_end_their_connection_only() {
    let node = Node::ready().await;
    let api = node.api().await;
    let attackers: Vec<_> = (0..crate::long(50, 4))
        .map(|_| {
            let api = api.clone();
            tokio::spawn(async move { reset_streams(&api, 5_000).await })
        })
        .collect();
    for _ in 0..50 {
        api.send("GET", "/secrets", None).await.expect(200);
    }
    for attacker in attackers {
        let ended = attacker.await.expect("an attacker");
        assert!(ended, "5,000 streams opened and reset on one connection, and it stays open");
    }
    api.http2("GET", "/secrets?api-version=7.4").await.expect("an answer").expect(200);
}

/// Opens streams and resets each at once. Returns whether the server ended the connection.
async fn reset_streams(api: &Api, count: u32) -> bool {
    let mut stream = api.connect_http2().await.expect("a connection");
    // The preface and empty settings (RFC 9113, section 3.4).
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    // :method GET, :scheme https, :path / of the static table, :authority "a" (RFC 7541, appendix A).
    let headers = [0x82, 0x87, 0x84, 0x41, 0x01, b'a'];
    for n in 0..count {
        let id = 2 * n + 1;
        // HEADERS with END_HEADERS and END_STREAM, then RST_STREAM with CANCEL.
        bytes.extend(frame(1, 0x5, id, &headers));
        bytes.extend(frame(3, 0, id, &8_u32.to_be_bytes()));
    }
    let (mut read, mut write) = tokio::io::split(&mut stream);
    let writing = async {
        for part in bytes.chunks(4096) {
            if write.write_all(part).await.is_err() {
                return;
            }
        }
        let _ = write.flush().await;
        std::future::pending::<()>().await;
    };
    let reading = async {
        let mut part = [0; 4096];
        while read.read(&mut part).await.is_ok_and(|read| read > 0) {}
    };
    let over = async {
        tokio::select! {
            () = writing => {}
            () = reading => {}
        }
    };
    tokio::time::timeout(Duration::from_secs(30), over).await.is_ok()
}

/// A frame (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f38_connections_beyond_the_limit_are_refused_and_health_is_not() {
    let mut node = Node::new();
    node.limits.push_str("connections = 20\nidle_ms = 600000\n");
    node.init();
    node.start();
    node.furnish().await;
    let api = node.api().await;
    let mut held = Vec::new();
    until_async("a connection to be refused", async || match api.connect().await {
        Ok(stream) => {
            held.push(stream);
            assert!(held.len() <= 20, "more than 20 connections");
            None
        }
        Err(_) => Some(()),
    })
    .await;
    assert!(held.len() >= 10, "only {} connections", held.len());
    assert_eq!(
        node.health("/readyz").map(|(status, _)| status),
        Some(200),
        "health is answered nevertheless"
    );
    held.clear();
    until_async("room again", async || {
        let answer = api.try_send("GET", "/secrets", None).await.ok()?;
        (answer.status == 200).then_some(())
    })
    .await;
}

/// A machine's default of 1,024 file handles is no reason to stop taking connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f38_few_file_handles_end_in_refused_connections_not_in_a_dead_server() {
    let mut node = Node::new();
    node.limits.push_str("idle_ms = 600000\n");
    node.init();
    // Soft and hard: it cannot be raised. The configuration would allow 10,000 connections.
    node.wrapper = ["prlimit", "--nofile=96:96"].map(str::to_owned).to_vec();
    node.start();
    node.furnish().await;
    let api = node.api().await;
    let mut held = Vec::new();
    until_async("a connection to be refused", async || {
        match tokio::time::timeout(Duration::from_secs(2), api.connect()).await {
            Ok(Ok(stream)) => {
                held.push(stream);
                assert!(held.len() < 96, "more connections than file handles");
                None
            }
            _ => Some(()),
        }
    })
    .await;
    // Full, it still writes its audit log and store, and says how it is.
    assert_eq!(node.health("/readyz").map(|(status, _)| status), Some(200), "{}", node.process().output());
    let output = node.process().output();
    assert!(output.contains("limits.connections"), "the log names what to change: {output}");
    held.clear();
    until_async("room again", async || {
        let answer = api.try_send("PUT", "/secrets/again", Some(json!({ "value": "v" }))).await.ok()?;
        (answer.status == 200).then_some(())
    })
    .await;
    assert!(node.stop().success());
}

/// What a machine sets at first is raised to what it allows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f38_the_limit_of_file_handles_is_raised_to_what_is_allowed() {
    let mut node = Node::new();
    node.init();
    node.wrapper = ["prlimit", "--nofile=64:4096"].map(str::to_owned).to_vec();
    node.start();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", node.process().id())).expect("limits");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    assert_eq!(line.split_whitespace().nth(3), Some("4096"), "{line}");
}

fn raise_handle_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("a higher limit");
}
