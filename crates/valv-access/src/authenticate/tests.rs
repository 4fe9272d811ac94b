use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use proptest::prelude::*;
use serde_json::{Value, json};
use valv_model::{ClientId, PrincipalId};

use super::*;
use crate::{ClientRecord, ClientSecret, Issuer, IssuerSettings, SigningKey};

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
const TENANT: &str = "11111111-2222-3333-4444-555555555555";
const RESOURCE: &str = "https://vault.localhost:8443";
const APP: &str = "aaaaaaaa-0000-0000-0000-000000000001";
const OBJECT: &str = "bbbbbbbb-0000-0000-0000-000000000001";

struct World {
    issuer: Issuer,
    registry: Registry,
    secret: String,
    authenticator: Authenticator,
    _dir: tempfile::TempDir,
}

fn settings(issuer: &Issuer, dir: &std::path::Path) -> AuthenticatorSettings {
    AuthenticatorSettings {
        tenant: TenantId::parse(TENANT).unwrap(),
        resource: RESOURCE.into(),
        built_in_issuer: Some(issuer.issuer().to_owned()),
        issuers: vec![],
        cache_dir: dir.to_owned(),
        skew_s: 60,
    }
}

fn world() -> World {
    let issuer = Issuer::new(IssuerSettings {
        tenant: TenantId::parse(TENANT).unwrap(),
        authority: "https://login.vault.localhost:8443".into(),
        resource: RESOURCE.into(),
        lifetime_s: 3600,
    });
    let (secret, text) = ClientSecret::generate(NOW, None).unwrap();
    let id = ClientId::parse(APP).unwrap();
    let principal = PrincipalId::parse(OBJECT).unwrap();
    let record =
        ClientRecord { id: id.clone(), principal, name: "app".into(), created: NOW, secrets: vec![secret] };
    let registry = Registry {
        clients: [(id, record)].into(),
        signing_keys: vec![SigningKey::generate(NOW).unwrap()],
        assignments: vec![],
        commit: 1,
    };
    let dir = tempfile::tempdir().unwrap();
    let authenticator = Authenticator::new(settings(&issuer, dir.path())).unwrap();
    World { issuer, registry, secret: text.to_string(), authenticator, _dir: dir }
}

impl World {
    async fn token(&self) -> String {
        let form = format!(
            "grant_type=client_credentials&client_id={APP}&client_secret={}&scope={RESOURCE}/.default",
            self.secret
        );
        let grant = self.issuer.token(TENANT, form.as_bytes(), None, &self.registry, NOW).await.unwrap();
        grant.body["access_token"].as_str().unwrap().to_owned()
    }

    async fn authenticate(&self, token: &str, now: UnixSeconds) -> Result<Caller> {
        self.authenticator.authenticate(Some(&format!("Bearer {token}")), &self.registry, now).await
    }

    async fn refusal(&self, token: &str) -> String {
        let error = self.authenticate(token, NOW).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Unauthorized);
        error.message
    }

    fn claims(&self) -> Value {
        json!({
            "aud": RESOURCE, "iss": self.issuer.issuer(), "tid": TENANT, "oid": OBJECT, "appid": APP,
            "iat": NOW.0, "nbf": NOW.0, "exp": NOW.0 + 3600,
        })
    }

    /// A token signed by the real key, with claims that the issuer would not make.
    fn signed(&self, claims: &Value) -> String {
        let key = &self.registry.signing_keys[0];
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(key.id.clone());
        jsonwebtoken::encode(&header, claims, &EncodingKey::from_ec_der(&key.der().unwrap())).unwrap()
    }

    fn with(&self, claim: &str, value: Value) -> String {
        let mut claims = self.claims();
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(claim)),
            value => claims[claim] = value,
        }
        self.signed(&claims)
    }
}

#[tokio::test]
async fn a_token_of_the_built_in_issuer_makes_a_caller_and_is_remembered() {
    let world = world();
    let token = world.token().await;
    for _ in 0..2 {
        let caller = world.authenticate(&token, NOW).await.unwrap();
        assert_eq!(caller.principal().as_str(), OBJECT);
        assert_eq!(caller.client().unwrap().as_str(), APP);
        assert_eq!(caller.tenant().as_str(), TENANT);
        assert_eq!(caller.issuer(), world.issuer.issuer());
        assert!(!caller.acts_for_user() && caller.groups().is_empty() && caller.upn().is_none());
    }
    assert_eq!(world.authenticator.checked.len(), 1);
}

#[tokio::test]
async fn f31_a_remembered_token_is_judged_by_the_clock_each_time() {
    let world = world();
    let token = world.token().await;
    for (now, good) in [
        (NOW, true),
        (NOW.plus(-60), true),
        (NOW.plus(-61), false),
        (NOW.plus(3600), true),
        (NOW.plus(3659), true),
        (NOW.plus(3660), false),
        (NOW.plus(2 * 86_400), false),
        (NOW.plus(-2 * 86_400), false),
        (NOW, true),
    ] {
        let fresh = Authenticator::new(world.authenticator.settings.clone()).unwrap();
        let header = format!("Bearer {token}");
        assert_eq!(fresh.authenticate(Some(&header), &world.registry, now).await.is_ok(), good, "{now:?}");
        assert_eq!(world.authenticate(&token, now).await.is_ok(), good, "{now:?}");
    }
}

#[tokio::test]
async fn a_removed_client_or_key_stops_working_at_once() {
    let mut world = world();
    let token = world.token().await;
    world.authenticate(&token, NOW).await.unwrap();

    let clients = std::mem::take(&mut world.registry.clients);
    assert!(world.refusal(&token).await.contains("not registered"), "at the same commit number");
    world.registry.commit += 1;
    assert!(world.refusal(&token).await.contains("not registered"));
    world.registry.clients = clients;
    world.authenticate(&token, NOW).await.unwrap();

    let client = ClientId::parse(APP).unwrap();
    world.registry.clients.get_mut(&client).unwrap().principal = PrincipalId::parse(TENANT).unwrap();
    assert!(world.refusal(&token).await.contains("not registered"), "made anew under another principal");
    world.registry.clients.get_mut(&client).unwrap().principal = PrincipalId::parse(OBJECT).unwrap();

    let old = world.registry.signing_keys.remove(0);
    world.registry.signing_keys.push(SigningKey::generate(NOW).unwrap());
    assert!(world.refusal(&token).await.starts_with("AKV10046"), "at the same commit number");
    world.registry.commit += 1;
    assert!(world.refusal(&token).await.starts_with("AKV10046"));
    world.registry.signing_keys.insert(0, old);
    world.authenticate(&token, NOW).await.unwrap();
    world.authenticate(&world.token().await, NOW).await.unwrap();

    // A key replaced under its own id, in a new commit.
    let id = world.registry.signing_keys[0].id.clone();
    world.registry.signing_keys[0] = SigningKey { id, ..SigningKey::generate(NOW).unwrap() };
    world.registry.commit += 1;
    assert!(world.refusal(&token).await.contains("signature"));
}

#[tokio::test]
async fn a_tampered_token_is_refused_in_each_segment() {
    let world = world();
    let token = world.token().await;
    world.authenticate(&token, NOW).await.unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    for segment in 0..3 {
        for at in 0..parts[segment].len() {
            let mut bytes = parts[segment].as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let mut changed = parts.clone();
            let text = String::from_utf8(bytes).unwrap();
            changed[segment] = &text;
            world.refusal(&changed.join(".")).await;
        }
    }
    for broken in [
        "",
        ".",
        "..",
        "...",
        parts[0],
        &parts[..2].join("."),
        &format!("{token}."),
        &format!("{token}.x"),
        &format!(".{token}"),
    ] {
        world.refusal(broken).await;
    }
    assert_eq!(world.authenticator.checked.len(), 1, "what is refused is not remembered");
}

#[tokio::test]
async fn no_signature_and_no_shared_secret_is_accepted() {
    let world = world();
    let key = &world.registry.signing_keys[0];
    let claims = URL_SAFE_NO_PAD.encode(world.claims().to_string());
    for alg in ["none", "None", "NONE", "nOnE", "", "HS256", "EdDSA", "RS256", "ES384", "PS512", "ES256K"] {
        let header = URL_SAFE_NO_PAD.encode(json!({ "alg": alg, "typ": "JWT", "kid": key.id }).to_string());
        for signature in ["", "AAAA", token_signature(&world.token().await)] {
            assert!(
                world.refusal(&format!("{header}.{claims}.{signature}")).await.starts_with("AKV10000"),
                "{alg}"
            );
        }
    }
    // The public key in every form that a confused verifier may take as the secret of an HMAC.
    let public = key.public().unwrap();
    for secret in [
        public.point.clone(),
        public.x.into_bytes(),
        public.y.into_bytes(),
        key.id.clone().into_bytes(),
        vec![],
    ] {
        for alg in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let mut header = Header::new(alg);
            header.kid = Some(key.id.clone());
            let token =
                jsonwebtoken::encode(&header, &world.claims(), &EncodingKey::from_secret(&secret)).unwrap();
            assert!(world.refusal(&token).await.contains("does not fit"));
        }
    }
}

fn token_signature(token: &str) -> &str {
    // The signature of another token: leaked for the test's life only.
    Box::leak(token.rsplit('.').next().unwrap().to_owned().into_boxed_str())
}

#[tokio::test]
async fn a_key_of_somebody_else_does_not_sign_for_us() {
    let world = world();
    let other = SigningKey::generate(NOW).unwrap();
    for kid in [Some(world.registry.signing_keys[0].id.clone()), Some(other.id.clone()), None] {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = kid;
        // A key that the token brings along is never looked at.
        header.jwk = serde_json::from_value(json!({
            "kty": "EC", "crv": "P-256", "x": other.public().unwrap().x, "y": other.public().unwrap().y,
        }))
        .ok();
        header.jku = Some("https://evil.example/keys".into());
        let token =
            jsonwebtoken::encode(&header, &world.claims(), &EncodingKey::from_ec_der(&other.der().unwrap()))
                .unwrap();
        world.refusal(&token).await;
    }
}

#[tokio::test]
async fn every_claim_is_judged() {
    let world = world();
    for (claim, value, text) in [
        (
            "aud",
            json!("https://vault.azure.net"),
            "AKV10022: Invalid audience. Expected https://vault.localhost:8443, found: https://vault.azure.net.",
        ),
        ("aud", json!([]), "AKV10022"),
        ("aud", json!(null), "AKV10022"),
        ("aud", json!("https://vault.localhost"), "AKV10022"),
        ("aud", json!("https://vault.localhost:8443//"), "AKV10022"),
        (
            "iss",
            json!("https://sts.windows.net/x/"),
            "AKV10032: Invalid issuer. Expected one of https://login.vault.localhost:8443",
        ),
        ("iss", json!(null), "AKV10000"),
        ("iss", json!(["https://login.vault.localhost:8443"]), "AKV10000"),
        ("tid", json!("99999999-2222-3333-4444-555555555555"), "AKV10032: Invalid tenant"),
        ("tid", json!(7), "AKV10032: Invalid tenant"),
        ("oid", json!("not-a-uuid"), "AKV10000: The token's claim oid"),
        ("oid", json!(null), "AKV10000: The token's claim oid"),
        ("exp", json!(null), "AKV10000: The token has no expiry"),
        ("exp", json!("soon"), "AKV10000: The token's claim exp"),
        ("exp", json!(NOW.0 - 60), "AKV10000: The token expired"),
        ("nbf", json!(NOW.0 + 61), "AKV10000: The token is not valid before"),
        ("appid", json!("not-a-client"), "AKV10000: The client"),
        ("appid", json!(null), "AKV10000: The client"),
    ] {
        let message = world.refusal(&world.with(claim, value)).await;
        assert!(message.starts_with(text), "{claim}: {message}");
    }
    for (claim, value) in [
        ("aud", json!("https://vault.localhost:8443/")),
        ("aud", json!(["https://other.example", RESOURCE])),
        ("nbf", json!(null)),
        ("exp", json!(1_800_000_100.5)),
        ("tid", json!(null)),
        ("tid", json!(TENANT.to_uppercase())),
    ] {
        world.authenticate(&world.with(claim, value), NOW).await.unwrap();
    }
}

#[tokio::test]
async fn the_issuer_that_chose_the_key_is_the_one_that_the_claims_name() {
    let world = world();
    let claims = world.claims();
    let tenant = TenantId::parse(TENANT).unwrap();
    let expected = Expected {
        issuer: "https://another.example",
        tenant: &tenant,
        audiences: &[RESOURCE.to_owned()],
        principal_claim: "oid",
    };
    assert!(Claims(claims.as_object().unwrap()).check(&expected).is_err());
    let expected = Expected { issuer: world.issuer.issuer(), ..expected };
    assert!(Claims(claims.as_object().unwrap()).check(&expected).is_ok());

    // Two issuers in one token: no reader may pick one and another the other.
    let key = &world.registry.signing_keys[0];
    let encode = |text: String| URL_SAFE_NO_PAD.encode(text);
    let twice = claims.to_string().replacen('{', "{\"iss\":\"https://another.example\",", 1);
    let header = json!({ "alg": "ES256", "kid": key.id }).to_string();
    let message = format!("{}.{}", encode(header), encode(twice));
    let signing = EncodingKey::from_ec_der(&key.der().unwrap());
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &signing, Algorithm::ES256).unwrap();
    world.refusal(&format!("{message}.{signature}")).await;
}

#[tokio::test]
async fn users_and_groups_are_read() {
    let world = world();
    let mut claims = world.claims();
    claims["scp"] = json!("user_impersonation");
    claims["upn"] = json!("ann@example.org\u{7}");
    claims["groups"] = json!([TENANT, "/admins", 7]);
    let caller = world.authenticate(&world.signed(&claims), NOW).await.unwrap();
    assert!(caller.acts_for_user());
    assert_eq!(caller.upn(), Some("ann@example.org?"));
    assert_eq!(caller.groups(), [PrincipalId::parse(TENANT).unwrap()]);
    assert!(caller.is(caller.principal()) && caller.is(&caller.groups()[0]));
}

#[tokio::test]
async fn extensions_that_we_do_not_know_are_refused() {
    let world = world();
    let key = &world.registry.signing_keys[0];
    let encode = |change: &dyn Fn(&mut Header)| {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(key.id.clone());
        change(&mut header);
        jsonwebtoken::encode(&header, &world.claims(), &EncodingKey::from_ec_der(&key.der().unwrap()))
            .unwrap()
    };
    world.refusal(&encode(&|header| header.crit = Some(vec!["exp".into()]))).await;
    world.refusal(&encode(&|header| header.extras.insert("zip", "DEF"))).await;
    world.refusal(&encode(&|header| header.typ = Some("dpop+jwt".into()))).await;
    world.refusal(&encode(&|header| header.kid = Some("k".repeat(300)))).await;
    world.authenticate(&encode(&|header| header.typ = None), NOW).await.unwrap();
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused() {
    let world = world();
    for skew_s in [-1, 301] {
        let settings = AuthenticatorSettings { skew_s, ..world.authenticator.settings.clone() };
        assert!(Authenticator::new(settings).unwrap_err().message.contains("skew"));
    }
}

static WORLD: std::sync::LazyLock<World> = std::sync::LazyLock::new(world);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn random_tokens_never_panic_and_never_authenticate(
        header in proptest::option::of("(Bearer )?(\\PC{0,60}|[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,90})"),
        alg in "ES256|HS256|none|RS256",
        claims in "\\{\"iss\":\"(https://login.vault.localhost:8443/11111111-2222-3333-4444-555555555555/v2.0|x)\"(,\"exp\":[0-9e.-]{0,9})?\\}",
        signature: Vec<u8>,
    ) {
        let world = &*WORLD;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let header_json = json!({ "alg": alg, "kid": world.registry.signing_keys[0].id }).to_string();
        let built = format!("Bearer {}.{}.{}", URL_SAFE_NO_PAD.encode(header_json), URL_SAFE_NO_PAD.encode(&claims), URL_SAFE_NO_PAD.encode(&signature));
        for header in [header.as_deref(), Some(&built)] {
            let answer = runtime.block_on(world.authenticator.authenticate(header, &world.registry, NOW));
            prop_assert_eq!(answer.unwrap_err().code, ErrorCode::Unauthorized);
        }
    }
}
