//! The node's process dies, freezes, or starts with the wrong key: FAILURES F02, F03, F04, F33.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use rustix::process::Signal;
use serde_json::json;
use valv_tests::{Answer, Api, Broken, Ledger, Node, scan, until_async};

use crate::plant;

/// How often the process is killed; `VALV_KILLS` sets more for a long run.
fn kills() -> usize {
    std::env::var("VALV_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

/// Sets a secret as an SDK does: with a request id, which a retry repeats.
async fn set(api: &Api, name: &str, value: &str, id: &str) -> Result<Answer, Broken> {
    let request = Request::put(format!("/secrets/{name}?api-version=7.4"))
        .header(header::AUTHORIZATION, format!("Bearer {}", api.token().expect("a token")))
        .header(header::CONTENT_TYPE, "application/json")
        .header("x-ms-client-request-id", id)
        .body(Full::new(Bytes::from(json!({ "value": value }).to_string())))
        .expect("a request");
    api.request(request).await
}

/// One writer: sets its own secrets until the server is gone. Returns its account and the write that got no answer.
async fn write_until_gone(
    api: Api,
    writer: usize,
    round: usize,
    plant: String,
) -> (Ledger, (String, String, String)) {
    let mut ledger = Ledger::default();
    for turn in 0.. {
        let (name, value) = (format!("w{writer}-{}", turn % 3), format!("{plant}-{round}-{writer}-{turn}"));
        let id = uuid::Uuid::new_v4().to_string();
        let answer = set(&api, &name, &value, &id).await;
        let gone = answer.is_err();
        ledger.note(&name, &value, answer);
        if gone {
            return (ledger, (name, value, id));
        }
    }
    unreachable!("a writer ends when the server is gone")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f02_f03_kill_under_load_loses_nothing_acknowledged_and_a_retry_writes_once() {
    let plant = plant();
    let mut node = Node::ready().await;
    let mut ledger = Ledger::default();
    let mut retried = BTreeMap::new();
    for round in 0..kills() {
        let api = node.api().await;
        let writers: Vec<_> =
            (0..8).map(|w| tokio::spawn(write_until_gone(api.clone(), w, round, plant.clone()))).collect();
        // Kill after some more commits, a different number each round, so that it hits different moments.
        let goal = commits(&node) + 20 + 37 * round as u64;
        until_async("commits under load", async || (commits(&node) >= goal).then_some(())).await;
        node.kill();
        let mut unanswered = Vec::new();
        for writer in writers {
            let (account, last) = writer.await.expect("a writer");
            ledger.merge(account);
            unanswered.push(last);
        }
        node.start();
        // What got no answer is tried again with the same request id: it must end up written exactly once.
        let api = node.api().await;
        for (name, value, id) in unanswered {
            let version =
                set(&api, &name, &value, &id).await.expect("an answer").expect(200).json()["id"].clone();
            let again =
                set(&api, &name, &value, &id).await.expect("an answer").expect(200).json()["id"].clone();
            assert_eq!(version, again, "a retry made a second version");
            retried.insert(value, version.as_str().expect("an id").to_owned());
        }
    }
    let api = node.api().await;
    assert!(ledger.acknowledged() > kills() * 20, "only {} writes were acknowledged", ledger.acknowledged());
    ledger.check(&api).await;
    for (value, id) in &retried {
        let path = id.split_once("/secrets/").map(|(_, rest)| format!("/secrets/{rest}")).expect("an id");
        assert_eq!(api.send("GET", &path, None).await.expect(200).json()["value"], **value);
        once(&api, &path, value).await;
    }
    assert!(node.stop().success(), "SIGTERM ends the node in order");
    scan::assert_nowhere(node.root(), &[&plant], &[]);
}

/// No two versions of the secret hold this value.
async fn once(api: &Api, path: &str, value: &str) {
    let name = path.split('/').nth(2).expect("a name");
    let mut found = 0;
    let mut page = format!("/secrets/{name}/versions");
    loop {
        let answer = api.send("GET", &page, None).await.expect(200).json();
        for item in answer["value"].as_array().expect("a page") {
            let version = item["id"].as_str().and_then(|id| id.rsplit('/').next()).expect("a version");
            let secret = api.send("GET", &format!("/secrets/{name}/{version}"), None).await.expect(200);
            found += usize::from(secret.json()["value"] == *value);
        }
        match answer["nextLink"].as_str() {
            Some(next) => {
                let next = url::Url::parse(next).expect("an address");
                page = format!("{}?{}", next.path(), next.query().unwrap_or_default());
            }
            None => break,
        }
    }
    assert_eq!(found, 1, "{name} holds one write {found} times");
}

/// Acknowledged writes so far, as the metrics count them.
fn commits(node: &Node) -> u64 {
    let Some((200, text)) = node.health("/metrics") else { return 0 };
    let lines = text
        .lines()
        .filter(|l| l.starts_with("valv_requests_total") && l.contains("SecretSet") && l.contains("\"200\""));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f04_a_frozen_node_answers_fresh_when_it_wakes_and_lets_go_what_it_held() {
    let plant = plant();
    let mut node = Node::ready().await;
    node.limits.push_str("write_ms = 1000\n");
    node.stop();
    node.start();
    let api = node.api().await;
    set(&api, "frozen", &format!("{plant}-before"), "1").await.expect("an answer").expect(200);
    node.process().signal(Signal::STOP);
    // A write that arrives while the node is frozen, longer than its deadline, must not be done on waking up as
    // if nothing had happened: either it is refused, or it is a write like any other that is answered.
    let late = {
        let (api, value) = (api.clone(), format!("{plant}-late"));
        tokio::spawn(async move { set(&api, "frozen", &value, "2").await })
    };
    let slept = Instant::now();
    until_async("the freeze to outlast the write's deadline", async || {
        (slept.elapsed() > Duration::from_millis(2500)).then_some(())
    })
    .await;
    node.process().signal(Signal::CONT);
    let mut ledger = Ledger::default();
    ledger.note("frozen", &format!("{plant}-late"), late.await.expect("a writer"));
    let after = set(&api, "frozen", &format!("{plant}-after"), "3").await.expect("an answer").expect(200);
    let read = api.send("GET", "/secrets/frozen", None).await.expect(200).json();
    assert_eq!(read["id"], after.json()["id"], "the first read after waking up is fresh");
    assert_eq!(read["value"], format!("{plant}-after"));
    let versions = api.send("GET", "/secrets/frozen/versions", None).await.expect(200).json();
    let late = ledger.acknowledged();
    assert!(versions["value"].as_array().expect("versions").len() <= 3 && late <= 1);
    assert!(node.stop().success());
}

#[tokio::test]
async fn f33_without_its_root_key_a_node_refuses_to_start_and_says_why() {
    let mut node = Node::ready().await;
    let api = node.api().await;
    set(&api, "kept", "a value that stays", "1").await.expect("an answer").expect(200);
    assert!(node.stop().success());

    let refusal = |node: &mut Node| {
        node.spawn();
        let status = node.process().wait();
        assert!(!status.success(), "a node with the wrong root key started");
        node.process().output()
    };
    // Missing.
    std::fs::rename(node.root().join("root.key"), node.root().join("kept.key")).expect("a rename");
    let said = refusal(&mut node);
    assert!(said.contains("root.key"), "{said}");
    // Another one.
    node.generate_root_key("root.key");
    let said = refusal(&mut node);
    assert!(said.contains("root key"), "{said}");
    // Readable by others.
    std::fs::rename(node.root().join("kept.key"), node.root().join("root.key")).expect("a rename");
    let mode = |bits| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(node.root().join("root.key"), std::fs::Permissions::from_mode(bits))
            .expect("chmod");
    };
    mode(0o644);
    let mut open = node;
    let said = refusal(&mut open);
    assert!(said.contains("chmod"), "{said}");
    // The right one again; then no store at all is not replaced by a new one.
    std::fs::set_permissions(
        open.root().join("root.key"),
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .expect("chmod");
    open.start();
    let api = open.api().await;
    assert_eq!(
        api.send("GET", "/secrets/kept", None).await.expect(200).json()["value"],
        "a value that stays"
    );
    assert!(open.stop().success());
    std::fs::rename(open.store(), open.root().join("moved.redb")).expect("a rename");
    let said = refusal(&mut open);
    assert!(said.contains("valv init") && !open.store().exists(), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f33_root_and_data_keys_are_rotated_while_serving() {
    let plant = plant();
    let mut node = Node::ready().await;
    let api = node.api().await;
    let mut ledger = Ledger::default();
    for turn in 0..10 {
        assert!(ledger.set(&api, &format!("s{turn}"), &format!("{plant}-old-{turn}")).await);
    }
    // Someone goes on writing all the while.
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let writer = {
        let (api, plant) = (api.clone(), plant.clone());
        tokio::spawn(async move {
            let mut ledger = Ledger::default();
            for turn in 0.. {
                assert!(
                    ledger.set(&api, "busy", &format!("{plant}-busy-{turn}")).await,
                    "a write failed during rotation"
                );
                if *stopped.borrow_and_update() {
                    break;
                }
            }
            ledger
        })
    };
    node.generate_root_key("second.key");
    node.root_keys = vec!["second.key".to_owned(), "root.key".to_owned()];
    node.configure();
    let said = node.administer(&["key", "rotate"]);
    assert!(said.contains("root key"), "{said}");
    node.administer(&["key", "rotate", "--data-key", valv_tests::VAULT]);
    assert!(ledger.set(&api, "new", &format!("{plant}-under-the-new-key")).await);
    stop.send(true).expect("a writer");
    ledger.merge(writer.await.expect("a writer"));
    ledger.check(&api).await;

    // From now on the first key is not needed, and not enough.
    assert!(node.stop().success());
    node.root_keys = vec!["second.key".to_owned()];
    node.start();
    ledger.check(&node.api().await).await;
    assert!(node.stop().success());
    node.root_keys = vec!["root.key".to_owned()];
    node.spawn();
    assert!(!node.process().wait().success(), "the old root key alone still opened the store");
    scan::assert_nowhere(node.root(), &[&plant], &[]);
}
