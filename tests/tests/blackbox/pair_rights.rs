//! Half a failure, certificates between regions, access taken away during a cut: FAILURES F23, F34, F35.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair,
};
use serde_json::json;
use time::OffsetDateTime;
use valv_tests::{HOME, OTHER, Outcome, Pair, Process, Stranger, Traffic, create_vault, judge, until_async};

/// From the moment of healing: access that was taken away is gone.
const GONE: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f23_a_home_whose_disk_hangs_fails_no_read_and_lets_no_write_wait_beyond_its_deadline() {
    let pair = Pair::start().await;
    let traffic = Traffic::start(&[pair.gateway(), pair.door(OTHER)], pair.plant()).await;
    traffic.until_home(OTHER).await;
    // Every sync of its disk hangs for longer than any deadline.
    let mut strace = Command::new("strace");
    strace.args([
        "-f",
        "-qq",
        "-e",
        "trace=fsync,fdatasync",
        "-e",
        "inject=fsync,fdatasync:delay_enter=4000000",
    ]);
    strace.args(["-o", "/dev/null", "-p", &pair.pid(HOME).as_raw_nonzero().to_string()]);
    let mut strace = Process::spawn(strace, "strace", &pair.dev().logs());
    traffic.until_seen("a write without an answer", "gateway", |o| matches!(o, Outcome::Unknown(_))).await;
    let hanging = Instant::now();
    traffic.go_on(Duration::from_secs(5)).await;
    let healing = Instant::now();
    strace.signal(rustix::process::Signal::TERM);
    strace.wait();
    for door in ["gateway", OTHER] {
        traffic.until_home(door).await;
    }
    let seen = traffic.stop().await;
    seen.no_read_failed();
    // Trouble with writes is no loss of home: it goes on answering. (While the file grows, reads wait for its sync, and
    // those that wait too long are answered by the replica.)
    let meanwhile = seen.reads().filter(|s| s.at >= hanging && s.end <= healing);
    let at_home = meanwhile.filter(|s| matches!(s.outcome, Outcome::Home(_))).count();
    assert!(at_home >= 20, "home answered {at_home} reads only");
    for write in seen.writes() {
        assert!(write.took() <= valv_tests::PROMISE + valv_tests::SLACK, "{write:?}");
    }
    pair.finish(seen).await;
}

/// Replaces the certificate with which a region's node is known to others.
fn certify(pair: &Pair, region: &str, valid_for: time::Duration) {
    let data = pair.dev().data();
    let authority = fs::read_to_string(data.join("peer-ca.key")).expect("the authority's key");
    let named = |name: &str| {
        let mut names = DistinguishedName::new();
        names.push(DnType::CommonName, name);
        names
    };
    let mut params = CertificateParams::new([]).expect("parameters");
    params.distinguished_name = named("Valv peers");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let issuer = Issuer::new(params, KeyPair::from_pem(&authority).expect("a key"));
    let mut leaf = CertificateParams::new([format!("{region}.region.valv.internal")]).expect("parameters");
    leaf.distinguished_name = named("Valv peer");
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    leaf.use_authority_key_identifier_extension = true;
    leaf.not_before = OffsetDateTime::now_utc() - time::Duration::hours(1);
    leaf.not_after = OffsetDateTime::now_utc() + valid_for;
    let key = KeyPair::generate().expect("a key");
    let certificate = leaf.signed_by(&key, &issuer).expect("a certificate");
    for (ending, text) in [("key", key.serialize_pem()), ("crt", certificate.pem())] {
        let file = data.join(format!("peer-{region}.{ending}"));
        fs::write(file.with_extension("fresh"), text).expect("a writable folder");
        fs::rename(file.with_extension("fresh"), file).expect("a writable folder");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f34_an_expired_certificate_between_regions_is_a_cut_and_a_new_one_is_taken_up() {
    let pair = Pair::start().await;
    let doors = [pair.gateway(), pair.door(OTHER)];
    let traffic = Traffic::start(&doors, pair.plant()).await;
    for (door, _) in &doors {
        traffic.until_home(door).await;
    }
    pair.caught_up().await;
    pair.fail(HOME);
    certify(&pair, HOME, time::Duration::seconds(25));
    pair.heal(HOME);
    let home = pair.pid(HOME);
    for (door, _) in &doors {
        traffic.until_home(door).await;
    }
    pair.caught_up().await;
    // A connection ends with the certificate under which it was made, and none is made without verification.
    for (door, _) in &doors {
        traffic.until_seen("the replica's answer", door, |o| matches!(o, Outcome::Replica(_))).await;
        traffic.until_seen("a refused write", door, |o| *o == Outcome::ReadOnly).await;
    }
    certify(&pair, HOME, time::Duration::days(90));
    for (door, _) in &doors {
        traffic.until_home(door).await;
    }
    let seen = traffic.stop().await;
    seen.no_read_failed();
    assert_eq!(pair.pid(HOME), home, "a restart was needed");
    pair.finish(seen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f35_access_taken_away_during_a_cut_shows_its_age_and_is_gone_after_it() {
    let pair = Pair::separate().await;
    let traffic = Traffic::start(&[pair.gateway(), pair.door(OTHER)], pair.plant()).await;
    let admin = pair.door(HOME).1;
    create_vault(&admin, "bounded", json!({ "maximumReplicaAge": 3 })).await;
    let reader = Stranger::register(&admin, "reader").await;
    let role = reader.assign(&admin, "Key Vault Secrets User", "/").await;
    let there = reader.api.via(door(&pair));
    let bounded = there.to(&vault(&pair, "bounded"));
    let seed = admin.to(&vault(&pair, "bounded"));
    let value = format!("{}-bounded", pair.plant());
    until_async("the new vault", async || {
        let answer = seed.try_send("PUT", "/secrets/kept", Some(json!({ "value": value }))).await;
        answer.is_ok_and(|answer| answer.status == 200).then_some(())
    })
    .await;
    until_async("the reader's access at the pair's door", async || {
        let ready = [
            there.try_send("GET", "/secrets/traffic-1", None).await,
            bounded.try_send("GET", "/secrets/kept", None).await,
        ];
        ready.into_iter().all(|answer| matches!(judge(answer), Outcome::Home(_))).then_some(())
    })
    .await;
    pair.caught_up().await;
    pair.cut(HOME, &["--from", OTHER]);
    traffic.until_seen("the replica's answer", OTHER, |o| matches!(o, Outcome::Replica(_))).await;
    admin.send("DELETE", &format!("/admin/roleassignments/{role}"), None).await;
    let at_home = reader.api.via(home_door(&pair)).send("GET", "/secrets/traffic-1", None).await;
    assert_eq!(at_home.status, 403, "{at_home:?}");
    // The pair does not know; it says how old its answer is. A vault with a limit refuses past it.
    let answer = there.send("GET", "/secrets/traffic-1", None).await.expect(200);
    let lag: u64 = answer.header("x-valv-replica-lag-ms").and_then(|lag| lag.parse().ok()).expect("a lag");
    assert!(lag >= 500, "the age is hidden: {lag} ms");
    let refused = until_async("the limit", async || {
        let answer = bounded.send("GET", "/secrets/kept", None).await;
        (answer.status == 503).then_some(answer)
    })
    .await;
    refused.refused(503, "ServiceUnavailable", None);
    let answer = there.send("GET", "/secrets/traffic-1", None).await;
    assert_eq!(answer.status, 200, "a vault without a limit goes on");
    pair.heal(HOME);
    traffic.until_home(OTHER).await;
    let healed = Instant::now();
    until_async("access to be gone", async || {
        let answer = there.try_send("GET", "/secrets/traffic-1", None).await;
        answer.is_ok_and(|answer| answer.status == 403).then_some(())
    })
    .await;
    assert!(
        healed.elapsed() <= GONE + valv_tests::SLACK,
        "access was gone only after {:?}",
        healed.elapsed()
    );
    let seen = traffic.stop().await;
    seen.no_read_failed();
    pair.finish(seen).await;
}

fn door(pair: &Pair) -> std::net::SocketAddr {
    pair.door(OTHER).1.connects_to()
}

fn home_door(pair: &Pair) -> std::net::SocketAddr {
    pair.door(HOME).1.connects_to()
}

/// Another vault's own name.
fn vault(pair: &Pair, name: &str) -> url::Url {
    let mut url = pair.gateway().1.base().clone();
    url.set_host(Some(&format!("{name}.vault.localhost"))).expect("a host");
    url
}
