use std::{sync::Arc, time::Duration};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use proptest::prelude::*;

use super::*;
use crate::{ClientSecret, SigningKey};
use valv_model::PrincipalId;

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
const TENANT: &str = "11111111-2222-3333-4444-555555555555";
const RESOURCE: &str = "https://vault.localhost:8443";
const APP: &str = "aaaaaaaa-0000-0000-0000-000000000001";
const OBJECT: &str = "bbbbbbbb-0000-0000-0000-000000000001";

fn issuer() -> Issuer {
    Issuer::new(IssuerSettings {
        tenant: TenantId::parse(TENANT).unwrap(),
        authority: "https://login.vault.localhost:8443".into(),
        resource: RESOURCE.into(),
        lifetime_s: 3599,
    })
}

fn client(secrets: Vec<ClientSecret>) -> Registry {
    let id = ClientId::parse(APP).unwrap();
    let principal = PrincipalId::parse(OBJECT).unwrap();
    let record = ClientRecord { id: id.clone(), principal, name: "app".into(), created: NOW, secrets };
    Registry {
        clients: [(id, record)].into(),
        signing_keys: vec![SigningKey::generate(NOW).unwrap()],
        assignments: vec![],
        commit: 1,
    }
}

fn registry() -> (Registry, String) {
    let (secret, text) = ClientSecret::generate(NOW, None).unwrap();
    (client(vec![secret]), text.to_string())
}

fn form(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(pairs);
    form.finish().into_bytes()
}

fn usual<'a>(secret: &'a str, scope: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("grant_type", "client_credentials"),
        ("client_id", APP),
        ("client_secret", secret),
        ("scope", scope),
    ]
}

async fn ask(pairs: &[(&str, &str)], registry: &Registry) -> Result<TokenGrant, TokenError> {
    issuer().token(TENANT, &form(pairs), None, registry, NOW).await
}

fn claims(token: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

fn code(error: &TokenError) -> i64 {
    error.body["error_codes"][0].as_i64().unwrap()
}

#[tokio::test]
async fn a_client_with_its_secret_gets_a_token_with_every_claim() {
    let (registry, secret) = registry();
    let scope = format!("{RESOURCE}/.default");
    let mut pairs = usual(&secret, &scope);
    pairs.extend([
        ("claims", "{\"access_token\":{}}"),
        ("client_info", "1"),
        ("x-client-SKU", "MSAL.Python"),
    ]);
    let grant = ask(&pairs, &registry).await.unwrap();
    assert_eq!(grant.client.as_str(), APP);
    assert_eq!(grant.body["token_type"], "Bearer");
    assert_eq!((&grant.body["expires_in"], &grant.body["ext_expires_in"]), (&json!(3599), &json!(3599)));
    let token = grant.body["access_token"].as_str().unwrap();
    let claims = claims(token);
    for (claim, expected) in [
        ("aud", json!(RESOURCE)),
        ("iss", json!(format!("https://login.vault.localhost:8443/{TENANT}/v2.0"))),
        ("tid", json!(TENANT)),
        ("oid", json!(OBJECT)),
        ("sub", json!(OBJECT)),
        ("appid", json!(APP)),
        ("azp", json!(APP)),
        ("appidacr", json!("1")),
        ("ver", json!("2.0")),
        ("iat", json!(NOW.0)),
        ("nbf", json!(NOW.0)),
        ("exp", json!(NOW.0 + 3599)),
    ] {
        assert_eq!(claims[claim], expected, "{claim}");
    }
    assert!(claims["uti"].is_string());
    let header = jsonwebtoken::decode_header(token).unwrap();
    assert_eq!((header.alg, header.kid.as_ref()), (Algorithm::ES256, Some(&registry.signing_keys[0].id)));
    assert!(!format!("{grant:?}").contains(token));
}

#[tokio::test]
async fn the_scope_may_have_a_second_slash_and_the_older_form_names_the_resource() {
    let (registry, secret) = registry();
    for scope in [format!("{RESOURCE}/.default"), format!("{RESOURCE}//.default")] {
        ask(&usual(&secret, &scope), &registry).await.unwrap();
    }
    for resource in [RESOURCE.to_owned(), format!("{RESOURCE}/")] {
        let mut pairs = usual(&secret, "");
        pairs.push(("resource", &resource));
        ask(&pairs, &registry).await.unwrap();
    }
}

type Pairs = Vec<(&'static str, String)>;
type Change = Box<dyn Fn(&mut Pairs)>;

#[tokio::test]
async fn refusals_carry_entras_codes_and_never_the_secret() {
    let (registry, secret) = registry();
    let scope = format!("{RESOURCE}/.default");
    let usual = |change: &Change| {
        let mut pairs: Pairs = vec![
            ("grant_type", "client_credentials".into()),
            ("client_id", APP.into()),
            ("client_secret", secret.clone()),
            ("scope", scope.clone()),
        ];
        change(&mut pairs);
        pairs
    };
    let set = |at: usize, value: &str| -> Change {
        let value = value.to_owned();
        Box::new(move |pairs| pairs[at].1 = value.clone())
    };
    let drop_at = |at: usize| -> Change { Box::new(move |pairs| drop(pairs.remove(at))) };
    let cases: Vec<(Change, u16, &str, i64)> = vec![
        (set(2, "wr0ng-s3cr3t"), 401, "invalid_client", 7_000_215),
        (set(1, "aaaaaaaa-0000-0000-0000-000000000002"), 400, "unauthorized_client", 700_016),
        (set(1, "no \"uuid\"\n"), 400, "unauthorized_client", 700_016),
        (set(3, "https://vault.localhost:8443"), 400, "invalid_scope", 70_011),
        (set(3, "openid https://vault.localhost:8443/.default"), 400, "invalid_scope", 70_011),
        (set(3, "https://graph.example/.default"), 400, "invalid_resource", 500_011),
        (set(0, "password"), 400, "unsupported_grant_type", 70_003),
        (drop_at(0), 400, "invalid_request", 900_144),
        (drop_at(1), 400, "invalid_request", 900_144),
        (drop_at(2), 401, "invalid_client", 7_000_216),
        (drop_at(3), 400, "invalid_request", 900_144),
        (Box::new(|pairs| pairs.push(("client_id", APP.into()))), 400, "invalid_request", 9_002_313),
        (Box::new(|pairs| pairs.push(("client_assertion", "x".into()))), 401, "invalid_client", 700_027),
    ];
    for (change, status, error, number) in cases {
        let pairs = usual(&change);
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let refusal = ask(&pairs, &registry).await.unwrap_err();
        let json = serde_json::to_string(&refusal.body).unwrap();
        assert_eq!(
            (refusal.status, refusal.body["error"].as_str().unwrap(), code(&refusal)),
            (status, error, number),
            "{json}"
        );
        assert!(!json.contains(&secret) && !json.contains("wr0ng") && !json.contains('\\'), "{json}");
        for member in ["error_description", "timestamp", "trace_id", "correlation_id"] {
            assert!(refusal.body[member].is_string(), "{member}");
        }
    }
    let refusal = issuer().token("common", &form(&[]), None, &registry, NOW).await.unwrap_err();
    assert_eq!((refusal.status, code(&refusal)), (400, 90_002));
    assert_eq!(refusal.body["error"], "invalid_tenant");
    let long = vec![b'a'; 65 * 1024];
    assert_eq!(code(&issuer().token(TENANT, &long, None, &registry, NOW).await.unwrap_err()), 9_002_313);
}

#[tokio::test]
async fn http_basic_carries_the_credentials_as_well() {
    let (mut registry, secret) = registry();
    let scope = format!("{RESOURCE}/.default");
    let form = form(&[("grant_type", "client_credentials"), ("scope", &scope)]);
    let basic = |text: &str| format!("basic {}", STANDARD.encode(text));
    let header = basic(&format!("{APP}:{secret}"));
    issuer().token(TENANT, &form, Some(&header), &registry, NOW).await.unwrap();
    for bad in ["", "Basic", "Basic !", "Bearer x", &basic("no-colon"), &basic(&format!("{APP}:wrong"))] {
        let refusal = issuer().token(TENANT, &form, Some(bad), &registry, NOW).await.unwrap_err();
        assert_eq!((refusal.status, refusal.body["error"].as_str()), (401, Some("invalid_client")), "{bad}");
    }
    let chosen = ClientSecret::chosen("a&b=c+d%e:f g", NOW, None).unwrap();
    registry.clients.values_mut().next().unwrap().secrets.push(chosen);
    let header = basic(&format!("{APP}:a%26b%3Dc%2Bd%25e%3Af+g"));
    issuer().token(TENANT, &form, Some(&header), &registry, NOW).await.unwrap();
}

#[tokio::test]
async fn each_unexpired_secret_of_a_client_works_and_an_expired_one_does_not() {
    let (old, old_text) = ClientSecret::generate(NOW, Some(NOW)).unwrap();
    let (new, new_text) = ClientSecret::generate(NOW, Some(NOW.plus(1))).unwrap();
    let chosen = ClientSecret::chosen("chosen by a person", NOW, None).unwrap();
    let registry = client(vec![old, chosen, new]);
    let scope = format!("{RESOURCE}/.default");
    for good in [new_text.as_str(), "chosen by a person"] {
        ask(&usual(good, &scope), &registry).await.unwrap();
    }
    assert_eq!(code(&ask(&usual(&old_text, &scope), &registry).await.unwrap_err()), 7_000_222);
    assert_eq!(code(&ask(&usual("chosen by nobody", &scope), &registry).await.unwrap_err()), 7_000_215);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_of_chosen_secrets_beyond_the_bound_are_refused_at_once() {
    let issuer = Arc::new(issuer());
    let registry = Arc::new(client(vec![ClientSecret::chosen("chosen by a person", NOW, None).unwrap()]));
    let scope = format!("{RESOURCE}/.default");
    let body = Arc::new(form(&usual("guessed by a machine", &scope)));
    let ask = || {
        let (issuer, registry, body) = (Arc::clone(&issuer), Arc::clone(&registry), Arc::clone(&body));
        tokio::spawn(async move { issuer.token(TENANT, &body, None, &registry, NOW).await.unwrap_err() })
    };
    let answers = futures::future::join_all((0..200).map(|_| ask())).await;
    let mut statuses: Vec<u16> = answers.into_iter().map(|answer| answer.unwrap().status).collect();
    statuses.sort_unstable();
    statuses.dedup();
    assert_eq!(statuses, [401, 429]);
    let last = tokio::time::timeout(Duration::from_secs(60), ask()).await.unwrap().unwrap();
    assert_eq!(last.status, 401, "every place is given back");
}

#[tokio::test]
async fn app_service_answers_in_strings_and_checks_the_header() {
    let (registry, secret) = registry();
    let header = format!("{APP}:{secret}");
    for query in [
        format!("api-version=2019-08-01&resource={RESOURCE}"),
        format!("resource=https%3A%2F%2Fvault.localhost%3A8443%2F&client_id={APP}"),
    ] {
        let grant = issuer().app_service_token(&query, Some(&header), &registry, NOW).await.unwrap();
        for member in ["access_token", "expires_on", "resource", "token_type", "client_id"] {
            assert!(grant.body[member].is_string(), "{member}");
        }
        assert_eq!(grant.body["expires_on"], (NOW.0 + 3599).to_string());
    }
    let query = format!("resource={RESOURCE}");
    for (header, query, status) in [
        (None, query.as_str(), 401),
        (Some("no colon"), &query, 401),
        (Some(&*format!("{APP}:wrong")), &query, 401),
        (Some(&*header), "", 400),
        (Some(&*header), "resource=https://other.example", 400),
        (Some(&*header), &format!("{query}&client_id={OBJECT}"), 400),
    ] {
        let refusal = issuer().app_service_token(query, header, &registry, NOW).await.unwrap_err();
        assert_eq!(refusal.status, status, "{query}");
        assert_eq!(refusal.body["statusCode"], status);
        assert!(refusal.body["message"].is_string() && !refusal.body.to_string().contains(&secret));
    }
}

#[tokio::test]
async fn imds_answers_in_strings_and_wants_the_metadata_header() {
    let (mut registry, _) = registry();
    let id = ClientId::parse(APP).unwrap();
    let query = format!("api-version=2018-02-01&resource={RESOURCE}");
    let grant = issuer().managed_identity_token(&query, Some("True"), &id, &registry, NOW).await.unwrap();
    for member in [
        "access_token",
        "client_id",
        "expires_in",
        "expires_on",
        "ext_expires_in",
        "not_before",
        "resource",
        "token_type",
    ] {
        assert!(grant.body[member].is_string(), "{member}");
    }
    for (query, metadata) in [
        (query.as_str(), None),
        (&query, Some("false")),
        ("", Some("true")),
        (&format!("{query}&client_id={OBJECT}"), Some("true")),
    ] {
        let refusal =
            issuer().managed_identity_token(query, metadata, &id, &registry, NOW).await.unwrap_err();
        assert_eq!(refusal.status, 400);
    }
    registry.clients.clear();
    let refusal =
        issuer().managed_identity_token(&query, Some("true"), &id, &registry, NOW).await.unwrap_err();
    assert_eq!(refusal.status, 400);
}

#[tokio::test]
async fn without_a_signing_key_nothing_is_issued() {
    let (mut registry, secret) = registry();
    registry.signing_keys.clear();
    let scope = format!("{RESOURCE}/.default");
    assert_eq!(ask(&usual(&secret, &scope), &registry).await.unwrap_err().status, 500);
}

#[test]
fn discovery_names_the_authority_everywhere() {
    let issuer = issuer();
    let document = issuer.openid_configuration(&TENANT.to_uppercase(), NOW).unwrap();
    let base = format!("https://login.vault.localhost:8443/{TENANT}");
    assert_eq!(document["issuer"], issuer.issuer());
    assert_eq!(document["token_endpoint"], format!("{base}/oauth2/v2.0/token"));
    assert_eq!(document["jwks_uri"], format!("{base}/discovery/v2.0/keys"));
    assert!(document["authorization_endpoint"].as_str().unwrap().starts_with(&base));
    assert_eq!(code(&issuer.openid_configuration("organizations", NOW).unwrap_err()), 90_002);
    let instance = issuer.instance_discovery();
    assert_eq!(instance["metadata"][0]["aliases"][0], "login.vault.localhost:8443");
    assert_eq!(
        instance["tenant_discovery_endpoint"],
        format!("{base}/v2.0/.well-known/openid-configuration")
    );
}

#[test]
fn the_published_keys_are_public_halves_only() {
    let (mut registry, _) = registry();
    registry.signing_keys.push(SigningKey::generate(NOW).unwrap());
    let keys = issuer().jwks(&registry);
    assert_eq!(keys["keys"].as_array().unwrap().len(), 2);
    for key in keys["keys"].as_array().unwrap() {
        assert!(key.get("d").is_none());
        let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(key.clone()).unwrap();
        let thumbprint = jwk.thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256).unwrap();
        assert_eq!(key["kid"], thumbprint);
    }
}

proptest! {
    #[test]
    fn no_form_makes_parsing_panic(form: Vec<u8>, header in proptest::option::of("\\PC*")) {
        let _ = TokenRequest::parse(&form, header.as_deref(), NOW).and_then(|request| request.check_scope(RESOURCE, NOW));
    }

    #[test]
    fn no_header_makes_basic_panic(header in "Basic [A-Za-z0-9+/=]{0,40}") {
        let _ = TokenRequest::parse(b"grant_type=client_credentials", Some(&header), NOW);
    }
}
