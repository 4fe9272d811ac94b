//! A node whose clock is wrong or jumps: FAILURES F31. The wall clock is shifted by libfaketime for our process
//! alone; the monotonic clock stays as it is.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use valv_tests::{Api, Ledger, Node, Stall, TENANT, until_async, within};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// A node whose clock can be moved while it runs.
struct Shifted {
    node: Node,
    file: PathBuf,
}

impl Shifted {
    /// A node on the right clock, not started.
    fn new() -> Self {
        let library = ["x86_64", "aarch64"]
            .map(|machine| PathBuf::from(format!("/usr/lib/{machine}-linux-gnu/faketime/libfaketimeMT.so.1")))
            .into_iter()
            .find(|path| path.is_file());
        let library =
            library.expect("libfaketime is installed: `cargo xtask test` does it (package faketime)");
        let mut node = Node::new();
        let file = node.root().join("faketime");
        let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        node.variables = vec![
            variable("LD_PRELOAD", library.to_str().expect("a path")),
            variable("FAKETIME_TIMESTAMP_FILE", file.to_str().expect("a path")),
            variable("FAKETIME_NO_CACHE", "1"),
            variable("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            // A process-shared clock of the test runner's own would be another one.
            variable("FAKETIME_DONT_RESET", "1"),
        ];
        let shifted = Self { node, file };
        shifted.shift(0);
        shifted
    }

    async fn ready() -> Self {
        let mut shifted = Self::new();
        shifted.node.init();
        shifted.node.start();
        shifted.node.furnish().await;
        shifted
    }

    /// Puts the clock ahead of the right one by so many seconds, or behind it.
    fn shift(&self, seconds: i64) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{seconds:+}")).expect("a writable directory");
        std::fs::rename(new, &self.file).expect("a writable directory");
    }

    async fn set(&self, api: &Api, name: &str, value: &str) -> Value {
        api.send("PUT", &format!("/secrets/{name}"), Some(json!({ "value": value }))).await.expect(200).json()
    }
}

/// How far a secret's creation, by the node's clock, lies ahead of the right clock.
fn ahead(secret: &Value) -> i64 {
    let created = secret["attributes"]["created"].as_i64().expect("a date");
    created - time::OffsetDateTime::now_utc().unix_timestamp()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f31_tokens_are_judged_by_the_nodes_clock_within_the_skew() {
    let shifted = Shifted::ready().await;
    // An hour's token at the right time; 60 s are allowed.
    let api = shifted.node.api().await;
    let status = async |api: &Api| api.send("GET", "/secrets", None).await.status.as_u16();
    assert_eq!(status(&api).await, 200);
    shifted.shift(HOUR + 20);
    assert_eq!(status(&api).await, 200, "expired within the skew");
    for late in [HOUR + 90, 2 * DAY, 100 * DAY] {
        shifted.shift(late);
        assert_eq!(status(&api).await, 401, "{late} s later");
    }
    // A client signs in anew, by the same clock, and is served.
    shifted.shift(2 * DAY);
    let later = shifted.node.api().await;
    assert_eq!(status(&later).await, 200);
    assert!((ahead(&shifted.set(&later, "by-that-clock", "v").await) - 2 * DAY).abs() < 60);
    // Back again: what was issued in the future is not valid yet, what was valid is valid still.
    shifted.shift(0);
    assert_eq!(status(&later).await, 401);
    assert_eq!(status(&api).await, 200);
    shifted.shift(-2 * DAY);
    assert_eq!(status(&api).await, 401);
    assert_eq!(status(&shifted.node.api().await).await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f31_the_order_of_versions_does_not_depend_on_the_clock() {
    let mut shifted = Shifted::ready().await;
    let mut ledger = Ledger::default();
    let mut last = Value::Null;
    for (turn, shift) in [0, 2 * DAY, -2 * DAY, 0, 100 * DAY, -HOUR].into_iter().enumerate() {
        shifted.shift(shift);
        // At one of the jumps with a restart.
        if turn == 3 {
            shifted.node.kill();
            shifted.node.start();
        }
        let api = shifted.node.api().await;
        for more in 0..3 {
            let value = format!("{turn}-{more}");
            assert!(ledger.set(&api, "jumping", &value).await);
            last = api.send("GET", "/secrets/jumping", None).await.expect(200).json();
            assert_eq!(last["value"], value, "the current version is the one set last");
        }
        ledger.check(&api).await;
    }
    shifted.shift(0);
    shifted.node.kill();
    shifted.node.start();
    let api = shifted.node.api().await;
    let read = api.send("GET", "/secrets/jumping", None).await.expect(200).json();
    assert_eq!(read["id"], last["id"]);
    ledger.check(&api).await;
    // Deleted at a time that has not come yet, recovered at once.
    shifted.shift(2 * DAY);
    let later = shifted.node.api().await;
    later.send("DELETE", "/secrets/jumping", None).await.expect(200);
    shifted.shift(-2 * DAY);
    let earlier = shifted.node.api().await;
    earlier.send("POST", "/deletedsecrets/jumping/recover", None).await.expect(200);
    ledger.check(&earlier).await;
}

/// A clock that jumps ahead of every scheduled purge brings none of them forward, over restarts too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f31_a_clock_that_jumps_ahead_purges_nothing() {
    let mut shifted = Shifted::ready().await;
    let admin = shifted.node.api().await;
    valv_tests::create_vault(&admin, "gone", json!({ "softDeleteRetentionInDays": 7 })).await;
    let gone = admin.to(&shifted.node.vault_url("gone"));
    shifted.set(&gone, "inside", "a value").await;
    admin.send("DELETE", "/admin/vaults/gone", None).await.expect(200);
    let kept = shifted.set(&admin, "kept", "a value").await;
    let deleted = admin.send("DELETE", "/secrets/kept", None).await.expect(200).json();
    let purge = deleted["scheduledPurgeDate"].as_i64().expect("a date");
    let held = |shifted: &mut Shifted, times: usize| {
        within(Duration::from_secs(120), "the log to say that purges are held", || {
            let output = shifted.node.process().output();
            (output.matches("scheduled purges are held").count() >= times).then_some(())
        });
    };
    if crate::long(true, false) {
        // While it runs: the next look, at most a minute later, sees the jump.
        shifted.shift(100 * DAY);
        held(&mut shifted, 1);
        shifted.shift(0);
        admin.send("GET", "/deletedsecrets/kept", None).await.expect(200);
    }
    // Each start looks at once.
    let before = shifted.node.process().output().matches("scheduled purges are held").count();
    for times in 1..=2 {
        shifted.shift(100 * DAY);
        shifted.node.kill();
        shifted.node.start();
        held(&mut shifted, before + times);
        let api = shifted.node.api().await;
        let now = time::OffsetDateTime::now_utc().unix_timestamp() + 100 * DAY;
        assert!(now > purge, "by that clock it is due");
        let there = api.send("GET", "/deletedsecrets/kept", None).await.expect(200).json();
        assert_eq!(there["scheduledPurgeDate"], purge, "the date does not move");
        let vaults = api.send("GET", "/admin/deletedvaults", None).await.expect(200).json();
        assert_eq!(vaults["value"][0]["name"], "gone", "{vaults}");
    }
    shifted.shift(0);
    shifted.node.kill();
    shifted.node.start();
    let api = shifted.node.api().await;
    api.send("POST", "/deletedsecrets/kept/recover", None).await.expect(200);
    let back = api.send("GET", "/secrets/kept", None).await.expect(200).json();
    assert_eq!((&back["id"], &back["value"]), (&kept["id"], &json!("a value")));
    api.send("POST", "/admin/deletedvaults/gone/recover", None).await.expect(200);
    let inside =
        api.to(&shifted.node.vault_url("gone")).send("GET", "/secrets/inside", None).await.expect(200);
    assert_eq!(inside.json()["value"], "a value");
}

/// Time-outs run on the monotonic clock: a jump of the other one neither fires them nor stops them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f31_time_outs_do_not_use_the_wall_clock() {
    let mut shifted = Shifted::new();
    shifted.node.limits.push_str("handshake_ms = 3000\nhead_ms = 3000\nbody_ms = 3000\nidle_ms = 3000\n");
    shifted.node.init();
    shifted.node.start();
    shifted.node.furnish().await;
    let anonymous = shifted.node.anonymous();
    let stalled: Vec<_> = Stall::ALL
        .into_iter()
        .map(|stall| {
            let api = anonymous.clone();
            tokio::spawn(async move { (stall, stall.wait(&api, TENANT).await.0) })
        })
        .collect();
    // The clock goes wild, and requests of all kinds are answered all the while.
    let started = Instant::now();
    for shift in [2 * DAY, -2 * DAY, 0, 30 * DAY, -30 * DAY].into_iter().cycle() {
        if started.elapsed() > Duration::from_secs(4) {
            break;
        }
        shifted.shift(shift);
        let one = Instant::now();
        let api = shifted.node.api().await;
        let answer = api.send("PUT", "/secrets/wild", Some(json!({ "value": "v" }))).await;
        // The clock may have moved on between the token and its use only by our own hand: not here.
        answer.expect(200);
        assert!(one.elapsed() < Duration::from_secs(20), "{:?}", one.elapsed());
    }
    for stall in stalled {
        let (stall, took) = stall.await.expect("a stalled client");
        assert!(took >= Duration::from_millis(1500), "{stall:?} was ended after {took:?}");
    }
    shifted.shift(0);
    until_async("service as before", async || {
        let answer = shifted.node.api().await.send("GET", "/secrets/wild", None).await;
        (answer.status == 200).then_some(())
    })
    .await;
    assert!(shifted.node.stop().success());
}
