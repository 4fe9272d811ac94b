use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;
use valv_model::{ErrorCode, TenantId};

use super::*;
use crate::{Authenticator, AuthenticatorSettings, Caller, Registry, SigningKey};

mod https;

const NOW: i64 = 1_800_000_000;
const TENANT: &str = "11111111-2222-3333-4444-555555555555";
const USER: &str = "eeeeeeee-0000-0000-0000-000000000001";
const RESOURCE: &str = "https://vault.localhost:8443";
const ISSUER: &str = "https://keycloak.example/realms/main";

fn external(issuer: &str) -> ExternalIssuer {
    ExternalIssuer {
        issuer: issuer.into(),
        audiences: vec!["valv".into()],
        discovery: None,
        principal_claim: "sub".into(),
        ca_file: None,
    }
}

fn jwk(key: &SigningKey) -> Value {
    let public = key.public().unwrap();
    json!({ "kty": "EC", "crv": "P-256", "use": "sig", "kid": key.id, "x": public.x, "y": public.y })
}

fn claims() -> Value {
    json!({ "iss": ISSUER, "aud": ["account", "valv"], "sub": USER, "azp": "some-client", "exp": NOW + 100 * 3600, "preferred_username": "ann" })
}

fn token_of(key: &SigningKey, kid: &str, claims: &Value) -> String {
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some(kid.to_owned());
    let token =
        jsonwebtoken::encode(&header, claims, &EncodingKey::from_ec_der(&key.der().unwrap())).unwrap();
    format!("Bearer {token}")
}

fn token(key: &SigningKey) -> String {
    token_of(key, &key.id, &claims())
}

fn new_key() -> SigningKey {
    SigningKey::generate(UnixSeconds(NOW)).unwrap()
}

/// An issuer whose keys and health the test decides; remembers when it was asked.
#[derive(Default)]
struct Fake {
    keys: Mutex<Option<Vec<Value>>>,
    asked: Mutex<Vec<Instant>>,
}

#[async_trait]
impl FetchKeys for Arc<Fake> {
    async fn fetch(&self, _: &ExternalIssuer) -> Result<Vec<Value>, FetchError> {
        self.asked.lock().unwrap().push(Instant::now());
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.keys.lock().unwrap().clone().ok_or(FetchError::Time)
    }
}

impl Fake {
    fn publishes(&self, keys: &[&SigningKey]) {
        *self.keys.lock().unwrap() = Some(keys.iter().map(|key| jwk(key)).collect());
    }
    fn stops(&self) {
        *self.keys.lock().unwrap() = None;
    }
    fn asked(&self) -> Vec<Instant> {
        self.asked.lock().unwrap().clone()
    }
}

struct World {
    fake: Arc<Fake>,
    wall: Arc<AtomicI64>,
    dir: tempfile::TempDir,
    authenticator: Arc<Authenticator>,
    refresh: Option<tokio::task::JoinHandle<()>>,
}

impl World {
    fn new() -> Self {
        let (fake, wall, dir) = (Arc::default(), Arc::new(AtomicI64::new(NOW)), tempfile::tempdir().unwrap());
        let authenticator = Self::authenticator(&fake, &wall, dir.path());
        Self { fake, wall, dir, authenticator, refresh: None }
    }

    fn authenticator(fake: &Arc<Fake>, wall: &Arc<AtomicI64>, dir: &Path) -> Arc<Authenticator> {
        let settings = AuthenticatorSettings {
            tenant: TenantId::parse(TENANT).unwrap(),
            resource: RESOURCE.into(),
            built_in_issuer: None,
            issuers: vec![external(ISSUER)],
            cache_dir: dir.join("keys"),
            skew_s: 60,
        };
        let wall = Arc::clone(wall);
        let clock: Clock = Arc::new(move || UnixSeconds(wall.load(Ordering::SeqCst)));
        Arc::new(Authenticator::with(settings, Box::new(Arc::clone(fake)), clock).unwrap())
    }

    /// The node again, from its disk.
    fn restart(&mut self) {
        if let Some(refresh) = self.refresh.take() {
            refresh.abort();
        }
        self.authenticator = Self::authenticator(&self.fake, &self.wall, self.dir.path());
    }

    /// Starts the background work and waits for its first round.
    async fn refresh(&mut self) {
        let mut rounds = self.authenticator.sources[0].rounds.subscribe();
        let authenticator = Arc::clone(&self.authenticator);
        self.refresh = Some(tokio::spawn(async move { authenticator.refresh_forever().await }));
        timeout(Duration::from_secs(30), rounds.changed()).await.unwrap().unwrap();
    }

    async fn ask(&self, token: &str) -> valv_model::Result<Caller> {
        let now = UnixSeconds(self.wall.load(Ordering::SeqCst));
        self.authenticator.authenticate(Some(token), &Registry::default(), now).await
    }

    async fn refused(&self, token: &str) {
        let error = self.ask(token).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Unauthorized);
        assert!(error.message.starts_with("AKV10046"), "{error}");
    }

    fn wall(&self, seconds: i64) {
        self.wall.store(NOW + seconds, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_of_an_external_issuer_makes_a_caller() {
    let mut world = World::new();
    let key = new_key();
    world.fake.publishes(&[&key]);
    world.refresh().await;
    let caller = world.ask(&token(&key)).await.unwrap();
    assert_eq!((caller.principal().as_str(), caller.issuer(), caller.upn()), (USER, ISSUER, Some("ann")));
    assert_eq!(caller.tenant().as_str(), TENANT, "the issuer sends no tid");
    assert!(caller.client().is_none(), "its client ids are no UUIDs");
    for (claim, value, text) in [
        (
            "aud",
            json!(RESOURCE),
            "AKV10022: Invalid audience. Expected valv, found: https://vault.localhost:8443.",
        ),
        ("iss", json!("https://keycloak.example/realms/other"), "AKV10032"),
        ("tid", json!(USER), "AKV10032"),
        ("sub", json!("ann"), "AKV10000: The token's claim sub"),
        ("exp", json!(NOW - 60), "AKV10000: The token expired"),
    ] {
        let mut claims = claims();
        claims[claim] = value;
        let error = world.ask(&token_of(&key, &key.id, &claims)).await.unwrap_err();
        assert!(error.message.starts_with(text), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn f32_keys_of_an_issuer_that_stopped_are_used_for_24_hours() {
    let mut world = World::new();
    let key = new_key();
    world.fake.publishes(&[&key]);
    world.refresh().await;
    world.ask(&token(&key)).await.unwrap();
    world.fake.stops();
    tokio::time::sleep(Duration::from_secs(2 * 3600)).await;
    world.wall(24 * 3600 - 1);
    world.ask(&token(&key)).await.unwrap();
    world.wall(24 * 3600);
    world.refused(&token(&key)).await;
    // It returns: nobody has to do anything.
    world.fake.publishes(&[&key]);
    tokio::time::sleep(Duration::from_secs(61)).await;
    world.ask(&token(&key)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn f32_a_restart_without_the_issuer_uses_the_kept_keys() {
    use std::os::unix::fs::PermissionsExt;

    let mut world = World::new();
    let key = new_key();
    world.fake.publishes(&[&key]);
    world.refresh().await;
    let file = disk::file(&world.dir.path().join("keys"), ISSUER);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    world.fake.stops();
    world.restart();
    world.ask(&token(&key)).await.unwrap();
    world.refresh().await;
    world.ask(&token(&key)).await.unwrap();
    world.wall(24 * 3600);
    world.restart();
    world.refused(&token(&key)).await;

    world.wall(0);
    let good = std::fs::read(&file).unwrap();
    for damaged in [&b""[..], b"{}", &good[..good.len() / 2], b"\xff\xfe"] {
        std::fs::write(&file, damaged).unwrap();
        world.restart();
        world.refused(&token(&key)).await;
    }
    let other = String::from_utf8(good).unwrap().replace(ISSUER, "https://evil.example");
    std::fs::write(&file, other).unwrap();
    world.restart();
    world.refused(&token(&key)).await;
}

#[tokio::test(start_paused = true)]
async fn f32_a_rotated_key_is_fetched_once_and_the_old_one_stops_working() {
    let mut world = World::new();
    let (old, new) = (new_key(), new_key());
    let old_token = token(&old);
    world.fake.publishes(&[&old]);
    world.refresh().await;
    world.ask(&old_token).await.unwrap();
    world.fake.publishes(&[&new]);
    tokio::time::sleep(Duration::from_secs(61)).await;
    world.ask(&old_token).await.unwrap();
    let asked = world.fake.asked().len();

    // Everybody comes with the new key at once: all wait for one fetch, nobody is refused.
    let new_token = token(&new);
    let answers = futures::future::join_all((0..100).map(|_| world.ask(&new_token))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(world.fake.asked().len(), asked + 1);
    world.refused(&old_token).await;
    assert_eq!(
        world.fake.asked().len(),
        asked + 1,
        "the remembered token fell with its key, without another fetch"
    );
}

#[tokio::test(start_paused = true)]
async fn f32_keys_are_fetched_anew_each_hour() {
    let mut world = World::new();
    let (old, new) = (new_key(), new_key());
    world.fake.publishes(&[&old]);
    world.refresh().await;
    world.fake.publishes(&[&old, &new]);
    tokio::time::sleep(Duration::from_secs(3602)).await;
    assert_eq!(world.fake.asked().len(), 2);
    world.ask(&token(&new)).await.unwrap();
    world.ask(&token(&old)).await.unwrap();
    assert_eq!(world.fake.asked().len(), 2);
}

async fn ten_thousand_unknown_kids(world: &World, key: &SigningKey) {
    for number in 0..10_000 {
        world.refused(&token_of(key, &format!("kid-{number}"), &claims())).await;
        tokio::time::advance(Duration::from_millis(60)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn f32_ten_thousand_unknown_kids_cause_one_fetch_a_minute_at_most() {
    let mut world = World::new();
    let key = new_key();
    world.fake.publishes(&[&key]);
    world.refresh().await;
    ten_thousand_unknown_kids(&world, &key).await;
    let asked = world.fake.asked();
    assert!(asked.len() >= 5, "ten minutes and more have passed: {asked:?}");
    assert!(asked.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_secs(60)), "{asked:?}");
    world.ask(&token(&key)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn f32_unknown_kids_while_the_issuer_is_down_add_no_fetch_to_its_retries() {
    let mut world = World::new();
    world.refresh().await;
    ten_thousand_unknown_kids(&world, &new_key()).await;
    let asked = world.fake.asked();
    let gaps: Vec<u64> = asked.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
    assert_eq!(gaps[..4], [5, 10, 20, 40], "the retries back off");
    assert!(gaps[4..].iter().all(|gap| (60..=61).contains(gap)), "{gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_hangs_or_publishes_nothing_usable_leaves_the_known_keys() {
    let mut world = World::new();
    let key = new_key();
    world.fake.publishes(&[&key]);
    world.refresh().await;
    *world.fake.keys.lock().unwrap() =
        Some(vec![json!({ "kty": "oct", "k": "c2VjcmV0", "kid": "x" }), json!(7)]);
    tokio::time::sleep(Duration::from_secs(3700)).await;
    assert!(world.fake.asked().len() > 1);
    world.ask(&token(&key)).await.unwrap();
}

#[test]
fn what_an_unknown_key_causes_is_decided_by_time_alone() {
    let start = Instant::now();
    let after = |seconds: u64| start + Duration::from_secs(seconds);
    let pending = Demand { since: Some(start), pending: true };
    let done = Demand { since: Some(start), pending: false };
    for (demand, at, turn) in [
        (Demand::default(), 0, Turn::Ask),
        (pending, 0, Turn::Wait),
        (pending, 4, Turn::Wait),
        (pending, 5, Turn::GiveUp),
        (pending, 60, Turn::Ask),
        (done, 0, Turn::GiveUp),
        (done, 59, Turn::GiveUp),
        (done, 60, Turn::Ask),
    ] {
        assert_eq!(demand.turn(after(at)), turn, "{demand:?} {at}");
    }
    let waits: Vec<u64> = (1..=8).map(|failures| backoff(failures).as_secs()).collect();
    assert_eq!(waits, [5, 10, 20, 40, 60, 60, 60, 60]);
}

/// An RSA key: PKCS#8 in PEM, and its JWK.
fn rsa(size: aws_lc_rs::rsa::KeySize) -> (String, Value) {
    use aws_lc_rs::{encoding::AsDer, rsa, signature::KeyPair};
    let pair = rsa::KeyPair::generate(size).unwrap();
    let der = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(der.as_ref())
    );
    let public = pair.public_key();
    let (n, e) = (
        public.modulus().big_endian_without_leading_zero(),
        public.exponent().big_endian_without_leading_zero(),
    );
    (
        pem,
        json!({ "kty": "RSA", "kid": "rsa", "n": URL_SAFE_NO_PAD.encode(n), "e": URL_SAFE_NO_PAD.encode(e) }),
    )
}

#[tokio::test(start_paused = true)]
async fn rsa_keys_check_rs_and_ps_and_never_an_hmac() {
    let (pem, published) = rsa(aws_lc_rs::rsa::KeySize::Rsa2048);
    let mut world = World::new();
    *world.fake.keys.lock().unwrap() = Some(vec![published.clone()]);
    world.refresh().await;
    let sign = |alg, key: &EncodingKey| {
        let mut header = Header::new(alg);
        header.kid = Some("rsa".into());
        format!("Bearer {}", jsonwebtoken::encode(&header, &claims(), key).unwrap())
    };
    let key = EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap();
    use Algorithm::{HS256, HS384, HS512, PS256, PS384, PS512, RS256, RS384, RS512};
    for alg in [RS256, RS384, RS512, PS256, PS384, PS512] {
        world.ask(&sign(alg, &key)).await.unwrap();
    }
    let modulus = published["n"].as_str().unwrap();
    for secret in [modulus.as_bytes(), &URL_SAFE_NO_PAD.decode(modulus).unwrap()] {
        for alg in [HS256, HS384, HS512] {
            let error = world.ask(&sign(alg, &EncodingKey::from_secret(secret))).await.unwrap_err();
            assert!(error.message.contains("does not fit"), "{error}");
        }
    }
}

#[test]
fn published_keys_are_used_for_what_they_are_published_for() {
    let usable = |change: &[(&str, Value)]| {
        let mut key = jwk(&new_key());
        for (member, value) in change {
            key[*member] = value.clone();
        }
        KeySet::new(vec![key], UnixSeconds(NOW), 0).is_some()
    };
    assert!(usable(&[]));
    assert!(usable(&[("alg", json!("ES256"))]));
    assert!(usable(&[("key_ops", json!(["verify"]))]));
    for change in [
        &[("use", json!("enc"))][..],
        &[("alg", json!("ES384"))],
        &[("alg", json!("ECDH-ES"))],
        &[("alg", json!("HS256"))],
        &[("key_ops", json!(["encrypt"]))],
        &[("crv", json!("P-521"))],
        &[("x", json!("!"))],
        &[("kid", json!(null))],
        &[("kty", json!("oct")), ("k", json!("c2VjcmV0"))],
    ] {
        assert!(!usable(change), "{change:?}");
    }
    let small = json!({ "kty": "RSA", "kid": "rsa", "n": URL_SAFE_NO_PAD.encode([255; 128]), "e": "AQAB" });
    assert!(KeySet::new(vec![small], UnixSeconds(NOW), 0).is_none(), "RSA with 1024 bits");
}

#[test]
fn issuers_that_cannot_work_are_refused_at_the_start() {
    let settings = |issuers| AuthenticatorSettings {
        tenant: TenantId::parse(TENANT).unwrap(),
        resource: RESOURCE.into(),
        built_in_issuer: Some("https://login.example/v2.0".into()),
        issuers,
        cache_dir: "/nonexistent".into(),
        skew_s: 60,
    };
    let no_claim = ExternalIssuer { principal_claim: String::new(), ..external(ISSUER) };
    for (issuers, text) in [
        (vec![external(ISSUER), external(ISSUER)], "configured twice"),
        (vec![external("https://login.example/v2.0")], "configured twice"),
        (vec![external("http://keycloak.example")], "https"),
        (vec![no_claim], "principal claim"),
    ] {
        assert!(Authenticator::new(settings(issuers)).unwrap_err().message.contains(text), "{text}");
    }
    assert!(Authenticator::new(settings(vec![external(ISSUER)])).is_ok());
}
