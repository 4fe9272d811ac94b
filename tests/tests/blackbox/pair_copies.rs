//! The pair's copy: broken off, too old, damaged, of another store, under another root key: FAILURES F24 to F27, F33.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use valv_tests::{
    Api, Damage, HOME, Ledger, OTHER, Outcome, Pair, Seen, Traffic, damage, judge, until_async,
};

use crate::long;

/// What a region's node says of the copy it holds.
async fn copy(pair: &Pair, region: &'static str, group: &str) -> Option<Value> {
    let answer = pair.door(region).1.try_send("GET", "/admin/status", None).await.ok()?;
    let status = (answer.status == 200).then(|| answer.json()).filter(|status| status["region"] == region)?;
    status["replicas"].as_array()?.iter().find(|copy| copy["group"] == group).cloned()
}

async fn set_many(api: &Api, ledger: &mut Ledger, plant: &str, round: &str, count: usize) {
    for number in 0..count {
        let value = format!("{plant}-{round}-{number}");
        assert!(ledger.set(api, &format!("many-{}", number % 40), &value).await, "write {number} of {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f24_a_pair_that_is_killed_again_and_again_while_it_copies_holds_a_whole_prefix() {
    let pair = Pair::start().await;
    let traffic = Traffic::start(&[pair.gateway()], pair.plant()).await;
    for _ in 0..long(50, 6) {
        pair.fail(OTHER);
        // Some commits are there to copy when it returns; then it is killed in the middle of something else each time.
        traffic.until_seen("a write", "gateway", |o| *o == Outcome::Acknowledged).await;
        pair.heal(OTHER);
        traffic.go_on(Duration::from_millis(fastrand::u64(..700))).await;
    }
    let seen = traffic.stop().await;
    // Home never noticed.
    seen.no_read_failed();
    for sample in &seen.samples {
        assert!(
            matches!(sample.outcome, Outcome::Home(_) | Outcome::Acknowledged),
            "home noticed that its pair is away: {sample:?}"
        );
    }
    pair.finish(seen).await;
}

/// How often the pair has begun to copy a whole vault, as its log says.
fn copied_whole(pair: &Pair) -> usize {
    let log = fs::read_to_string(pair.dev().data().join("westus.log")).expect("a log");
    log.matches("a vault is copied whole").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f24_f25_a_pair_that_was_away_longer_than_home_keeps_its_log_is_copied_anew() {
    let pair = Pair::start().await;
    pair.restart_with(HOME, "[replication]\nlog_commits = 100\n");
    pair.until_home_answers().await;
    let traffic = Traffic::start(&[pair.gateway()], pair.plant()).await;
    traffic.until_home("gateway").await;
    pair.caught_up().await;
    pair.fail(OTHER);
    let api = pair.gateway().1;
    let mut ledger = Ledger::default();
    set_many(&api, &mut ledger, pair.plant(), "away", long(5_000, 450)).await;
    let before = copied_whole(&pair);
    // Killed in the middle of the copy too (F24).
    for _ in 0..long(20, 3) {
        pair.heal(OTHER);
        traffic.go_on(Duration::from_millis(fastrand::u64(..400))).await;
        pair.fail(OTHER);
    }
    pair.heal(OTHER);
    pair.caught_up().await;
    // Not from the log, which no longer reached back so far.
    assert!(copied_whole(&pair) > before, "the pair caught up without copying the vault");
    // From the pair as from home.
    let mut seen = traffic.stop().await;
    seen.no_read_failed();
    seen.ledger.merge(ledger);
    pair.caught_up().await;
    pair.fail(HOME);
    until_async("the replica's answer", async || {
        let answer = judge(api.try_send("GET", "/secrets/many-7", None).await);
        matches!(answer, Outcome::Replica(_)).then_some(())
    })
    .await;
    seen.ledger.check(&api).await;
    pair.heal(HOME);
    pair.finish(seen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f26_damaged_records_of_a_copy_are_refused_found_and_fetched_again() {
    let pair = Pair::start().await;
    let traffic = Traffic::start(&[pair.gateway()], pair.plant()).await;
    traffic.until_home("gateway").await;
    let seen = traffic.stop().await;
    pair.caught_up().await;
    pair.fail(OTHER);
    let kinds = [Damage::Flip, Damage::Delete, Damage::Swap];
    let damaged = damage(&pair.dev().data(), OTHER, HOME, &kinds).await;
    // Before anything is repaired: what the pair shows is right, or it is an error.
    pair.fail(HOME);
    pair.heal(OTHER);
    let api = pair.door(OTHER).1;
    until_async("the pair", async || {
        let answer = api.try_send("GET", "/secrets", None).await;
        answer.is_ok_and(|answer| answer.status == 200).then_some(())
    })
    .await;
    for object in 0..6 {
        let page = api.send("GET", &format!("/secrets/traffic-{object}/versions"), None).await;
        let versions = if page.status == 200 { page.json()["value"].as_array().cloned() } else { None };
        for id in versions.unwrap_or_default().iter().filter_map(|version| version["id"].as_str()) {
            let version = id.rsplit('/').next().expect("a version");
            let path = format!("/secrets/traffic-{object}/{version}");
            let answer = api.send("GET", &path, None).await;
            match answer.status.as_u16() {
                200 => assert!(answer.json()["value"].as_str().is_some_and(|v| v.starts_with(pair.plant()))),
                500 | 404 => {}
                other => panic!("{path}: {other}"),
            }
        }
    }
    pair.heal(HOME);
    pair.restart_with(OTHER, "[replication]\ncompare_s = 5\n");
    until_async("the damage to be repaired", async || {
        let copy = copy(&pair, OTHER, HOME).await?;
        (copy["repairedRecords"].as_u64()? >= damaged as u64).then_some(())
    })
    .await;
    pair.finish(seen).await;
}

/// A pair whose home was brought back from a copy of its file that is older than what the pair holds. What was written
/// before the copy was made, and after it.
async fn older_home(pair: &Pair) -> (Seen, Ledger) {
    let api = pair.gateway().1;
    let traffic = Traffic::start(&[pair.gateway()], pair.plant()).await;
    traffic.until_home("gateway").await;
    let seen = traffic.stop().await;
    let store = pair.dev().data().join("eastus.redb");
    let backup = pair.dev().root().join("backup.redb");
    pair.caught_up().await;
    pair.fail(HOME);
    fs::copy(&store, &backup).expect("a backup");
    pair.heal(HOME);
    until_written(&api, &format!("{}-p", pair.plant())).await;
    let mut ledger = Ledger::default();
    set_many(&api, &mut ledger, pair.plant(), "after", 120).await;
    pair.caught_up().await;
    pair.fail(HOME);
    fs::copy(&backup, &store).expect("the backup restored");
    pair.heal(HOME);
    (seen, ledger)
}

async fn until_written(api: &Api, value: &str) {
    until_async("writes", async || {
        let answer = api.try_send("PUT", "/secrets/probe", Some(json!({ "value": value }))).await;
        answer.is_ok_and(|answer| answer.status == 200).then_some(())
    })
    .await;
}

/// Makes a region's store anew from its pair's copy; the old one is set aside.
fn rebuild(pair: &Pair, region: &str) {
    pair.fail(region);
    let data = pair.dev().data();
    let aside = pair.dev().root().join(format!("{region}.aside"));
    fs::rename(data.join(format!("{region}.redb")), aside).expect("the store set aside");
    let config = data.join(format!("{region}.toml"));
    let config = config.to_str().expect("a path in UTF-8");
    let output = pair.command(&["region", "rebuild", "--from-pair", "--config", config]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    pair.heal(region);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f27_a_home_that_returns_older_does_not_mask_the_pair_and_is_rebuilt_from_it() {
    let pair = Pair::start().await;
    let (mut seen, ledger) = older_home(&pair).await;
    // The pair goes on answering, with what home has forgotten; nobody writes, at any door.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(6) {
        for (door, api) in [pair.gateway(), pair.door(OTHER), pair.door(HOME)] {
            let read = judge(api.try_send("GET", "/secrets/many-39", None).await);
            match read {
                Outcome::Replica(value) => assert_eq!(value, format!("{}-after-119", pair.plant()), "{door}"),
                other => panic!("{door}: {other:?}"),
            }
            let body = Some(json!({ "value": format!("{}-never", pair.plant()) }));
            let write = api.send("PUT", "/secrets/many-39", body).await;
            write.refused(503, "ServiceUnavailable", None);
        }
    }
    rebuild(&pair, HOME);
    until_written(&pair.gateway().1, &format!("{}-q", pair.plant())).await;
    seen.ledger.merge(ledger);
    pair.finish(seen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f27_an_operator_may_keep_the_older_home_by_making_the_pair_anew() {
    let pair = Pair::start().await;
    let (seen, _forgotten) = older_home(&pair).await;
    let api = pair.gateway().1;
    let refused = api.send("PUT", "/secrets/probe", Some(json!({ "value": "never, never" }))).await;
    refused.refused(503, "ServiceUnavailable", None);
    rebuild(&pair, OTHER);
    until_written(&api, &format!("{}-r", pair.plant())).await;
    // Home's history goes on from where the backup ends, on both sides.
    let gone = api.send("GET", "/secrets/many-39", None).await;
    assert_eq!(gone.status, 404, "{gone:?}");
    pair.finish(seen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f33_a_pair_with_another_root_key_says_so_while_home_is_alive() {
    let pair = Pair::start().await;
    let traffic = Traffic::start(&[pair.gateway()], pair.plant()).await;
    let output = pair.command(&["key", "generate", "--out", "other.key"]);
    assert!(output.status.success());
    // The pair's store is made anew under another key, as if it had been set up with the wrong one.
    pair.fail(OTHER);
    let data = pair.dev().data();
    fs::rename(pair.dev().root().join("other.key"), data.join("other.key")).expect("a rename");
    fs::rename(data.join("westus.redb"), pair.dev().root().join("right.redb")).expect("a rename");
    let right = pair.configuration(OTHER);
    pair.configure(OTHER, &right.replace("root.key", "other.key"));
    let config = data.join("westus.toml");
    let made = pair.command(&["init", "--config", config.to_str().expect("a path in UTF-8")]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    pair.heal(OTHER);
    until_async("the pair to say that it cannot open what it copies", async || {
        let state = pair.copies().await.get(HOME)?["state"].as_str()?.to_owned();
        (state.contains("stopped") && state.contains("root key")).then_some(())
    })
    .await;
    // Home goes on.
    traffic.until_home("gateway").await;
    let seen = traffic.stop().await;
    seen.no_read_failed();
    // The right key and the right store again.
    pair.fail(OTHER);
    fs::rename(pair.dev().root().join("right.redb"), data.join("westus.redb")).expect("a rename");
    pair.configure(OTHER, &right);
    pair.heal(OTHER);
    pair.finish(seen).await;
}
