//! What is too large or too much: FAILURES F37, F39; and the planned stop of F01.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use valv_tests::{Api, Broken, DEADLINE, Ledger, Node, create_vault, until, until_async};

use crate::plant;

const MIB: usize = 1 << 20;
/// Nothing that a client says may make the server hold more, KiB: its idle size, some bodies of 1 MiB, one
/// backup of 500 versions of 25 KiB in its several forms.
const MEMORY_KIB: u64 = 400 * 1024;

/// The head of a request with a token and these further lines.
fn head(api: &Api, line: &str, lines: &str) -> String {
    let token = api.token().expect("a token");
    format!("{line} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n{lines}\r\n")
}

/// Writes everything, which must succeed, and only then reads: the status.
async fn written_then_read(api: &Api, bytes: &[u8]) -> u16 {
    let mut stream = api.connect().await.expect("a connection");
    stream.write_all(bytes).await.expect("the server takes what a client writes");
    let mut line = [0; 12];
    stream.read_exact(&mut line).await.expect("a status line");
    String::from_utf8_lossy(&line[9..]).parse().expect("a status")
}

/// Sends bytes, which may be only the beginning of a request, and reads the first answer.
async fn first_answer(api: &Api, bytes: &[u8]) -> (u16, String) {
    let mut stream = api.connect().await.expect("a connection");
    // The server may refuse and close before it has read all.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    let read = async {
        while !String::from_utf8_lossy(&answer).contains("\r\n\r\n") {
            match stream.read(&mut part).await {
                Ok(read) if read > 0 => answer.extend_from_slice(&part[..read]),
                _ => break,
            }
        }
        String::from_utf8_lossy(&answer).into_owned()
    };
    let text = tokio::time::timeout(DEADLINE, read).await.expect("an answer in time");
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("no answer: {text:?}")), text)
}

/// A body of exactly this size that is a good request: blanks do not count in JSON.
fn padded(size: usize) -> String {
    let body = json!({ "value": "v" }).to_string();
    format!("{body}{}", " ".repeat(size - body.len()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f37_a_body_that_is_too_large_is_refused_at_once() {
    let mut node = Node::new();
    // What waits for the rest of a body waits longer than this test does.
    node.limits.push_str("body_ms = 300000\n");
    node.init();
    node.start();
    node.furnish().await;
    let api = node.api().await;
    let before = node.process().peak_memory_kib();

    let put = |lines: &str| head(&api, "PUT /secrets/big?api-version=7.4", lines);
    let whole = format!("{}{}", put(&format!("content-length: {MIB}\r\n")), padded(MIB));
    assert_eq!(first_answer(&api, whole.as_bytes()).await.0, 200, "1 MiB is allowed");
    // No byte of these bodies is ever sent: the claim is enough.
    for claimed in [MIB + 1, 100 * MIB, usize::MAX / 2] {
        let (status, text) =
            first_answer(&api, put(&format!("content-length: {claimed}\r\n")).as_bytes()).await;
        assert_eq!(status, 413, "{claimed}: {text}");
    }
    let claim = format!("content-length: {}\r\n", 100 * MIB);
    let restore = head(&api, "POST /secrets/restore?api-version=7.4", &claim);
    assert_eq!(first_answer(&api, restore.as_bytes()).await.0, 413);
    let token =
        format!("POST /{}/oauth2/v2.0/token HTTP/1.1\r\nhost: localhost\r\n{claim}\r\n", valv_tests::TENANT);
    assert_eq!(first_answer(&api, token.as_bytes()).await.0, 413);
    for nonsense in ["-1", "1e3", "99999999999999999999999999", "1, 2"] {
        let (status, text) =
            first_answer(&api, put(&format!("content-length: {nonsense}\r\n")).as_bytes()).await;
        assert_eq!(status, 400, "{nonsense}: {text}");
    }
    // In chunks nothing is claimed: the first byte beyond the limit is one too many, and the end is never sent.
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let chunked = put("transfer-encoding: chunked\r\n");
    let good = format!("{chunked}{}0\r\n\r\n", chunk(&padded(MIB)));
    assert_eq!(first_answer(&api, good.as_bytes()).await.0, 200, "1 MiB in chunks is allowed");
    let bad = format!("{chunked}{}{}", chunk(&padded(MIB)), chunk(" "));
    assert_eq!(first_answer(&api, bad.as_bytes()).await.0, 413);

    // A client that writes all it has before it reads is told why, too.
    let patient = format!("{}{}", put(&format!("content-length: {}\r\n", 3 * MIB)), padded(3 * MIB));
    assert_eq!(written_then_read(&api, patient.as_bytes()).await, 413);

    // Many at once that claim much and send little.
    let claims: Vec<_> = (0..200)
        .map(|_| {
            let (api, bytes) = (api.clone(), put(&format!("content-length: {MIB}\r\n")) + "{");
            tokio::spawn(async move {
                let mut stream = api.connect().await.expect("a connection");
                stream.write_all(bytes.as_bytes()).await.expect("a write");
                stream
            })
        })
        .collect();
    let mut held = Vec::new();
    for claim in claims {
        held.push(claim.await.expect("a connection"));
    }
    api.send("GET", "/secrets/big", None).await.expect(200);
    let grown = node.process().peak_memory_kib().saturating_sub(before);
    assert!(grown < 100 * 1024, "200 claims of 1 MiB made the server grow by {grown} KiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f37_too_many_and_too_long_headers_are_refused() {
    let mut node = Node::ready().await;
    let api = node.api().await;
    let get = |lines: &str| head(&api, "GET /secrets?api-version=7.4", lines);
    let many = |count: usize| (0..count).map(|n| format!("x-{n}: y\r\n")).collect::<String>();
    assert_eq!(first_answer(&api, get(&many(50)).as_bytes()).await.0, 200);
    for lines in [
        many(101),
        many(10_000),
        format!("x: {}\r\n", "y".repeat(65 << 10)),
        format!("x: {}\r\n", "y".repeat(MIB)),
    ] {
        let (status, text) = first_answer(&api, get(&lines).as_bytes()).await;
        assert_eq!(status, 431, "{} bytes: {text}", lines.len());
    }
    let long = format!("GET /secrets/{}?api-version=7.4", "y".repeat(100_000));
    let status = first_answer(&api, head(&api, &long, "").as_bytes()).await.0;
    assert!([400, 414, 431].contains(&status), "{status}");
    assert!(node.process().peak_memory_kib() < MEMORY_KIB);
    api.send("GET", "/secrets", None).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f37_values_and_tags_up_to_their_limits() {
    let node = Node::ready().await;
    let api = node.api().await;
    let put = async |body: Value| api.send("PUT", "/secrets/limits", Some(body)).await;
    put(json!({ "value": "v".repeat(25_600) })).await.expect(200);
    assert_eq!(
        api.send("GET", "/secrets/limits", None).await.json()["value"].as_str().map(str::len),
        Some(25_600)
    );
    put(json!({ "value": "v".repeat(25_601) })).await.refused(400, "BadParameter", None);
    // Bytes, not characters.
    put(json!({ "value": "ü".repeat(12_801) })).await.refused(400, "BadParameter", None);
    let tags = |count: usize| -> Value { (0..count).map(|n| (format!("t{n}"), json!("x"))).collect() };
    put(json!({ "value": "v", "tags": tags(15) })).await.expect(200);
    put(json!({ "value": "v", "tags": tags(16) })).await.refused(400, "BadParameter", None);
    put(json!({ "value": "v", "tags": { "n".repeat(512): "v".repeat(512) } })).await.expect(200);
    put(json!({ "value": "v", "tags": { "n".repeat(513): "v" } })).await.refused(400, "BadParameter", None);
    put(json!({ "value": "v", "tags": { "n": "v".repeat(513) } })).await.refused(400, "BadParameter", None);
    put(json!({ "value": "v", "contentType": "c".repeat(255) })).await.expect(200);
    put(json!({ "value": "v", "contentType": "c".repeat(256) })).await.refused(400, "BadParameter", None);
    let name = |length| format!("/secrets/{}", "n".repeat(length));
    api.send("PUT", &name(127), Some(json!({ "value": "v" }))).await.expect(200);
    api.send("PUT", &name(128), Some(json!({ "value": "v" }))).await.refused(400, "BadParameter", None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f37_500_large_versions_are_listed_backed_up_and_restored() {
    let mut node = Node::ready().await;
    let api = node.api().await;
    let value = |n: usize| format!("{n:05}{}", "v".repeat(25_595));
    let mut ledger = Ledger::default();
    let writers: Vec<_> = (0..10)
        .map(|writer| {
            let api = api.clone();
            tokio::spawn(async move {
                let mut ledger = Ledger::default();
                for turn in 0..50 {
                    assert!(
                        ledger.set(&api, "large", &value(writer * 50 + turn)).await,
                        "a write was refused"
                    );
                }
                ledger
            })
        })
        .collect();
    for writer in writers {
        ledger.merge(writer.await.expect("a writer"));
    }
    assert_eq!(ledger.acknowledged(), 500);
    // Lists them page by page, and reads each.
    ledger.check(&api).await;
    let blob = api.send("POST", "/secrets/large/backup", None).await.expect(200).json()["value"].clone();
    let back = api.send("PUT", "/secrets/large", Some(json!({ "value": "the 501st" }))).await;
    back.expect(200);
    let too_many = api.send("POST", "/secrets/large/backup", None).await;
    assert!(too_many.status == 200 || too_many.status == 400, "{:?}", too_many.status);
    api.send("POST", "/secrets/restore", Some(json!({ "value": blob }))).await.expect(409);
    api.send("DELETE", "/secrets/large", None).await.expect(200);
    api.send("DELETE", "/deletedsecrets/large", None).await.expect(204);
    api.send("POST", "/secrets/restore", Some(json!({ "value": blob }))).await.expect(200);
    ledger.check(&api).await;
    let peak = node.process().peak_memory_kib();
    assert!(peak < MEMORY_KIB, "the server held {peak} KiB");
    // What was restored is in the file, not only in memory.
    node.kill();
    node.start();
    ledger.check(&node.api().await).await;
}

/// Writers that go on until told to stop; each keeps its account and counts refusals.
async fn write_on(api: Api, writer: usize, until: Instant) -> (Ledger, usize) {
    let (mut ledger, mut throttled) = (Ledger::default(), 0);
    for turn in 0.. {
        if Instant::now() >= until {
            break;
        }
        let (name, value) = (format!("over-{writer}"), format!("value-{writer}-{turn}"));
        let answer = api.try_send("PUT", &format!("/secrets/{name}"), Some(json!({ "value": value }))).await;
        if let Ok(answer) = &answer
            && answer.status != 200
        {
            answer.clone().refused(429, "Throttled", None);
            let after: u32 = answer.header("retry-after").and_then(|s| s.parse().ok()).expect("Retry-After");
            assert!((1..=10).contains(&after), "{after}");
            throttled += 1;
        }
        ledger.note(&name, &value, answer);
    }
    (ledger, throttled)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f39_overload_gets_429_and_then_service_is_whole_again() {
    let mut node = Node::new();
    node.limits.push_str("requests = 4\n");
    node.init();
    node.start();
    node.furnish().await;
    let api = node.api().await;
    let end = Instant::now() + Duration::from_secs(crate::long(60, 4));
    let writers: Vec<_> = (0..40).map(|writer| tokio::spawn(write_on(api.clone(), writer, end))).collect();
    let (mut ledger, mut throttled) = (Ledger::default(), 0);
    for writer in writers {
        let (account, refused) = writer.await.expect("a writer");
        ledger.merge(account);
        throttled += refused;
    }
    assert!(throttled > 0, "40 writers at 4 places were never refused");
    assert!(ledger.acknowledged() > 40, "only {} writes came through", ledger.acknowledged());
    // No place was lost: as many as there are can work at once, again and again.
    for _ in 0..50 {
        api.send("GET", "/secrets", None).await.expect(200);
    }
    ledger.check(&api).await;
    assert_eq!(node.health("/readyz").map(|(status, _)| status), Some(200));
    let metrics = node.health("/metrics").expect("metrics").1;
    assert!(metrics.contains("valv_throttled_total"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f39_a_vault_that_uses_up_its_rate_waits_and_the_others_do_not() {
    let mut node = Node::new();
    node.limits = "rate = true\n".to_owned();
    node.init();
    node.start();
    node.furnish().await;
    let api = node.api().await;
    create_vault(&api, "neighbour", json!({})).await;
    let neighbour = api.to(&node.vault_url("neighbour"));

    let start = Instant::now();
    let mut accepted = 0_u32;
    let refused = loop {
        let batch: Vec<_> = (0..16)
            .map(|n| {
                let api = api.clone();
                tokio::spawn(async move {
                    api.send("PUT", &format!("/secrets/rate-{n}"), Some(json!({ "value": "v" }))).await
                })
            })
            .collect();
        let mut last = None;
        for answer in batch {
            let answer = answer.await.expect("an answer");
            match answer.status.as_u16() {
                200 => accepted += 1,
                _ => last = Some(answer.refused(429, "Throttled", None)),
            }
        }
        if let Some(refused) = last {
            break refused;
        }
        assert!(start.elapsed() < DEADLINE, "{accepted} creations and none was refused");
    };
    // 300 at once, 30 more in each second (Azure: 300 in 10 s).
    let allowed = 300 + 30 * (start.elapsed().as_secs() as u32 + 1);
    assert!((300..=allowed).contains(&accepted), "{accepted} were accepted, {allowed} may be");
    let words = refused.json()["error"]["message"].to_string();
    assert!(words.contains("VaultRequestTypeLimitReached"), "{words}");

    // Others go on: reads here, reads and creations in the other vault.
    for _ in 0..20 {
        api.send("GET", "/secrets/rate-0", None).await.expect(200);
        neighbour.send("PUT", "/secrets/other", Some(json!({ "value": "v" }))).await.expect(200);
        neighbour.send("GET", "/secrets/other", None).await.expect(200);
    }
    // Refused calls do not count: after many of them the wait is what it was.
    let mut wait = 0;
    for _ in 0..200 {
        let answer = api.send("PUT", "/secrets/again", Some(json!({ "value": "v" }))).await;
        if answer.status == 429 {
            wait = answer.header("retry-after").and_then(|s| s.parse().ok()).expect("Retry-After");
            assert!((1..=10).contains(&wait), "after refused calls the wait is {wait} s");
        }
    }
    tokio::time::sleep(Duration::from_secs(wait)).await;
    api.send("PUT", "/secrets/again", Some(json!({ "value": "v" }))).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f01_a_planned_stop_answers_what_is_in_flight_and_takes_no_more() {
    let plant = plant();
    let mut node = Node::ready().await;
    let api = node.api().await;
    // A request whose body is on its way: `100 Continue` says that the server has begun to read it.
    let body = json!({ "value": format!("{plant}-late") }).to_string();
    let lines = format!("expect: 100-continue\r\ncontent-length: {}\r\n", body.len());
    let begin = head(&api, "PUT /secrets/late?api-version=7.4", &lines);
    let mut slow = api.connect().await.expect("a connection");
    slow.write_all(begin.as_bytes()).await.expect("a write");
    let mut part = [0; 256];
    let read = tokio::time::timeout(DEADLINE, slow.read(&mut part)).await.expect("a word in time");
    assert!(String::from_utf8_lossy(&part[..read.expect("a read")]).contains("100 Continue"));
    // And others that write all the while.
    let end = Instant::now() + DEADLINE;
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let (api, plant) = (api.clone(), plant.clone());
            tokio::spawn(async move {
                let mut ledger = Ledger::default();
                for turn in 0.. {
                    let (name, value) = (format!("w{writer}"), format!("{plant}-{writer}-{turn}"));
                    let path = format!("/secrets/{name}");
                    let answer = api.try_send("PUT", &path, Some(json!({ "value": value }))).await;
                    if let Ok(answer) = &answer {
                        assert_eq!(answer.status, 200, "{answer:?}");
                    }
                    let gone = answer.is_err();
                    ledger.note(&name, &value, answer);
                    if gone || Instant::now() > end {
                        break;
                    }
                }
                ledger
            })
        })
        .collect();
    node.process().signal(Signal::TERM);
    let port = node.port();
    until("new connections to be refused", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_err().then_some(())
    });
    assert!(node.process().exited().is_none(), "it left while a request was in flight");
    slow.write_all(body.as_bytes()).await.expect("a write");
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(DEADLINE, slow.read_to_end(&mut answer)).await.expect("an end in time");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let status = node.process().wait();
    assert!(status.success(), "{status}");
    let mut ledger = Ledger::default();
    for writer in writers {
        ledger.merge(writer.await.expect("a writer"));
    }
    node.start();
    let api = node.api().await;
    ledger.check(&api).await;
    let late = api.send("GET", "/secrets/late", None).await.expect(200).json();
    assert_eq!(late["value"], format!("{plant}-late"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f01_a_stop_does_not_wait_for_ever() {
    let mut node = Node::new();
    node.limits.push_str("shutdown_ms = 1000\n");
    node.init();
    node.start();
    node.furnish().await;
    let api = node.api().await;
    let begin =
        head(&api, "PUT /secrets/never?api-version=7.4", "expect: 100-continue\r\ncontent-length: 100\r\n");
    let mut slow = api.connect().await.expect("a connection");
    slow.write_all(begin.as_bytes()).await.expect("a write");
    let mut part = [0; 256];
    assert!(slow.read(&mut part).await.is_ok_and(|read| read > 0));
    let _idle = api.connect().await.expect("a connection");
    let told = Instant::now();
    assert!(node.stop().success());
    assert!(told.elapsed() < Duration::from_secs(20), "it took {:?} to stop", told.elapsed());
    node.start();
    node.api().await.send("GET", "/secrets/never", None).await.expect(404);
}

/// Over HTTP/2 the same limits hold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f37_limits_hold_over_http2() {
    let node = Node::ready().await;
    let api = node.api().await;
    let long = api.with_token(Some("y".repeat(100_000)));
    // Its header block is beyond what the connection allows at all: an answer, or the end of it.
    if let Ok(answer) = long.http2("GET", "/secrets?api-version=7.4").await {
        assert_eq!(answer.status, 431, "{answer:?}");
    }
    let long = api.with_token(Some("y".repeat(66_000)));
    match long.http2("GET", "/secrets?api-version=7.4").await {
        Ok(answer) => assert_eq!(answer.status, 431, "{answer:?}"),
        Err(Broken(why)) => panic!("no answer: {why}"),
    }
    let answer = api.http2("GET", "/secrets?api-version=7.4").await.expect("an answer");
    answer.expect(200);
    let request = Request::get("/secrets?api-version=7.4").body(Full::<Bytes>::default()).expect("a request");
    until_async("service as before", async || {
        api.request(request.clone()).await.ok().filter(|answer| answer.status == 401)
    })
    .await;
}
