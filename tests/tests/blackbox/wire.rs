//! Azure's wire as no SDK shows it: the challenge, headers, forms of paths, versions, methods.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::json;
use valv_tests::{Answer, Api, Dev};

use crate::{plant, stop_and_scan};

#[tokio::test]
async fn wire() {
    let dev = Dev::start();
    let (api, plant) = (dev.api().await, plant());
    challenge_comes_before_everything(&dev).await;
    tokens_that_are_not_accepted(&api).await;
    headers_of_every_answer(&dev, &api, &plant).await;
    forms_of_paths(&api, &plant).await;
    versions_of_the_api(&api).await;
    method_override(&api, &plant).await;
    pages_belong_to_their_list(&api, &plant).await;
    bodies_that_are_wrong(&api, &plant).await;
    discovery_documents(&dev, &api).await;
    token_answers(&dev).await;
    the_name_that_resolves_everywhere(&dev, &api, &plant).await;
    let token = api.token().unwrap_or_default().to_owned();
    let signature = token.rsplit('.').next().unwrap_or_default();
    drop(api);
    stop_and_scan(dev, &[&plant, signature]);
}

fn name() -> String {
    format!("wire-{}", uuid::Uuid::new_v4().simple())
}

async fn set(api: &Api, name: &str, value: &str) -> Answer {
    api.send("PUT", &format!("/secrets/{name}"), Some(json!({ "value": value }))).await.expect(200)
}

/// Without a token: 401 with the one form of the challenge that all SDKs read, whatever else is wrong.
async fn challenge_comes_before_everything(dev: &Dev) {
    let api = dev.anonymous();
    let domain = dev.var("VALV_URL").replace("https://dev.", "https://");
    let authority = dev.var("AZURE_AUTHORITY_HOST").trim_end_matches('/');
    let wanted =
        format!("Bearer authorization=\"{authority}/{}\", resource=\"{domain}\"", dev.var("AZURE_TENANT_ID"));
    for (method, path) in [
        ("GET", "/secrets"),
        ("PUT", "/secrets/a"),
        ("PUT", "/secrets/not_a_name"),
        ("GET", "/secrets/a/no-version"),
        ("PATCH", "/secrets/a/"),
        ("POST", "/secrets/restore"),
        ("GET", "/secrets?api-version=1.0"),
        ("GET", "/secrets?api-version=7.4&maxresults=x"),
        ("DELETE", "/deletedsecrets/a"),
    ] {
        let answer = api.send(method, path, None).await.refused(401, "Unauthorized", None);
        assert_eq!(answer.header("www-authenticate"), Some(wanted.as_str()), "{method} {path}");
        let words = answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(words.starts_with("AKV10000: "), "{words}");
    }
    let request = Request::put("/secrets/a?api-version=7.4").header("content-type", "text/plain");
    let request = request.body(Full::new(Bytes::from_static(b"{ no json"))).expect("a request");
    let answer = api.request(request).await.expect("an answer").refused(401, "Unauthorized", None);
    assert!(answer.header("www-authenticate").is_some());
}

async fn tokens_that_are_not_accepted(api: &Api) {
    let good = api.token().expect("a token").to_owned();
    let (head, rest) = good.split_once('.').expect("a JWT");
    let (claims, signature) = rest.split_once('.').expect("a JWT");
    for token in [
        "x".to_owned(),
        String::new(),
        "a.b.c".to_owned(),
        format!("{head}.{claims}."),
        format!("{head}.{claims}.{}", signature.chars().rev().collect::<String>()),
        // {"alg":"none","typ":"JWT"}
        format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{claims}."),
        "y".repeat(20_000),
    ] {
        let answer = api.with_token(Some(token.clone())).send("GET", "/secrets", None).await;
        if token.len() > 10_000 && answer.status == 431 {
            continue;
        }
        let answer = answer.refused(401, "Unauthorized", None);
        assert!(answer.header("www-authenticate").is_some_and(|c| c.starts_with("Bearer authorization=")));
        assert!(token.len() < 4 || !String::from_utf8_lossy(&answer.body).contains(&token), "an echo");
    }
    api.send("GET", "/secrets", None).await.expect(200);
}

async fn headers_of_every_answer(dev: &Dev, api: &Api, plant: &str) {
    let name = name();
    set(api, &name, &format!("{plant}-headers")).await;
    let mut ids = std::collections::BTreeSet::new();
    for (api, method, path, status) in [
        (api.clone(), "GET", format!("/secrets/{name}"), 200),
        (api.clone(), "GET", "/secrets".to_owned(), 200),
        (dev.anonymous(), "GET", "/secrets".to_owned(), 401),
        (api.clone(), "GET", "/secrets/wire-none".to_owned(), 404),
        (api.clone(), "GET", "/secrets/not_a_name".to_owned(), 400),
        (api.clone(), "DELETE", format!("/secrets/{name}"), 200),
        (api.clone(), "PUT", format!("/secrets/{name}"), 409),
        (api.clone(), "DELETE", format!("/deletedsecrets/{name}"), 204),
    ] {
        let body = (method == "PUT").then(|| json!({ "value": "v" }));
        let answer = api.send(method, &path, body).await.expect(status);
        let header = |name| answer.header(name).unwrap_or_else(|| panic!("{status} has no {name}"));
        assert_eq!(header("cache-control"), "no-cache");
        assert_eq!(header("pragma"), "no-cache");
        assert_eq!(header("expires"), "-1");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("strict-transport-security"), "max-age=31536000;includeSubDomains");
        assert!(
            !header("x-ms-keyvault-region").is_empty() && !header("x-ms-keyvault-service-version").is_empty()
        );
        assert!(header("x-ms-keyvault-network-info").starts_with("conn_type=Ipv4;addr=127.0.0.1;"));
        assert!(uuid::Uuid::parse_str(header("x-ms-request-id")).is_ok());
        assert!(ids.insert(header("x-ms-request-id").to_owned()), "each request has an id of its own");
        if status == 204 {
            assert!(answer.body.is_empty());
        } else {
            assert_eq!(header("content-type"), "application/json; charset=utf-8");
        }
    }
    let own = uuid::Uuid::new_v4().to_string();
    let request = Request::get("/secrets?api-version=7.4").header("x-ms-client-request-id", &own);
    let request = request.body(Full::default()).expect("a request");
    let answer = dev.anonymous().request(request).await.expect("an answer");
    assert_eq!(answer.header("x-ms-client-request-id"), Some(own.as_str()));
}

async fn forms_of_paths(api: &Api, plant: &str) {
    let (name, value) = (name(), format!("{plant}-paths"));
    set(api, &name, &value).await;
    for path in [
        format!("/secrets/{name}"),
        format!("/secrets/{name}/"),
        format!("//secrets/{name}"),
        format!("/secrets/{}/", name.to_uppercase()),
        format!("/secrets/{name}?api%2Dversion=7.5&api-version=7.5"),
        format!("/secrets/%77{}/", &name[1..]),
    ] {
        assert_eq!(api.send("GET", &path, None).await.expect(200).json()["value"], value, "{path}");
    }
    let request = Request::get(format!("/secrets/{name}/?api%2Dversion=2025-07-01"))
        .header("authorization", format!("Bearer {}", api.token().expect("a token")));
    let answer = api.request(request.body(Full::default()).expect("a request")).await.expect("an answer");
    assert_eq!(answer.expect(200).json()["value"], value);
    let answer = api.http2("GET", &format!("/secrets/{name}?api-version=7.4")).await.expect("an answer");
    let answer = answer.expect(200);
    assert_eq!(answer.json()["value"], value);
    let id = answer.json()["id"].as_str().unwrap_or_default().to_owned();
    assert!(id.starts_with(&format!("{}secrets/{name}/", api.base())), "{id}");
    for path in ["/", "/secret", "/secrets/a/b/c/d", "/keys/a/b/c/d/e", "/secrets/a/versions/x"] {
        let answer = api.send("GET", path, None).await;
        assert!([400, 404].contains(&answer.status.as_u16()), "{path}: {answer:?}");
        assert!(answer.code().is_some(), "{path}: {answer:?}");
    }
    let answer = api.send("DELETE", "/secrets", None).await;
    assert!([400, 404, 405].contains(&answer.status.as_u16()), "{answer:?}");
}

async fn versions_of_the_api(api: &Api) {
    for version in [
        "2016-10-01",
        "7.0",
        "7.1",
        "7.2",
        "7.3",
        "7.4",
        "7.5",
        "7.6",
        "2025-07-01",
        "2026-04-01",
        "7.6-preview.2",
        "2026-03-01-preview",
    ] {
        api.send("GET", &format!("/secrets?api-version={version}"), None).await.expect(200);
    }
    for version in ["", "7", "7.7", "2015-06-01", "2026-04-01-preview", "x%0a", "%ff"] {
        let path = format!("/secrets?api-version={version}");
        api.send("GET", &path, None).await.refused(400, "BadParameter", None);
    }
    let answer = api.send("GET", "/secrets?api-version=9.9", None).await;
    let words = answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
    assert!(words.starts_with("The specified version (9.9) is not recognized."), "{words}");
    let request =
        Request::get("/secrets").header("authorization", format!("Bearer {}", api.token().expect("a token")));
    let answer = api.request(request.body(Full::default()).expect("a request")).await.expect("an answer");
    answer.refused(400, "BadParameter", None);
}

/// POST with `X-HTTP-METHOD` stands for another verb.
async fn method_override(api: &Api, plant: &str) {
    let (name, value) = (name(), format!("{plant}-override"));
    let request = |method: &str, body: String| {
        Request::post(format!("/secrets/{name}?api-version=7.4"))
            .header("x-http-method", method)
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {}", api.token().expect("a token")))
            .body(Full::new(Bytes::from(body)))
            .expect("a request")
    };
    let body = json!({ "value": value }).to_string();
    api.request(request("PUT", body)).await.expect("an answer").expect(200);
    let answer = api.request(request("GET", String::new())).await.expect("an answer").expect(200);
    assert_eq!(answer.json()["value"], value);
    api.request(request("DELETE", String::new())).await.expect("an answer").expect(200);
    api.send("GET", &format!("/secrets/{name}"), None).await.refused(404, "SecretNotFound", None);
}

async fn pages_belong_to_their_list(api: &Api, plant: &str) {
    let name = name();
    for n in 0..3 {
        set(api, &name, &format!("{plant}-page {n}")).await;
        set(api, &format!("{name}-{n}"), &format!("{plant}-page {n}")).await;
    }
    let page = api.send("GET", "/secrets?maxresults=2", None).await.expect(200).json();
    assert_eq!(page["value"].as_array().map(Vec::len), Some(2));
    let link = page["nextLink"].as_str().expect("a next page");
    let url = url::Url::parse(link).expect("an address");
    assert_eq!((url.scheme(), url.authority()), ("https", api.base().authority()), "{link}");
    let query = url.query().unwrap_or_default();
    assert!(query.contains("$skiptoken=") && query.contains("maxresults=2"), "{link}");
    let next = api.send("GET", &format!("/secrets?{query}"), None).await.expect(200).json();
    assert!(next["value"].as_array().is_some_and(|items| !items.is_empty()));
    assert_ne!(next["value"], page["value"]);
    for token in ["x", "AAAA", "%00", "eyJ9", "%2e%2e"] {
        let path = format!("/secrets?api-version=7.4&$skiptoken={token}");
        let answer = api.send("GET", &path, None).await;
        assert_eq!(
            (answer.status.as_u16(), answer.code().as_deref()),
            (400, Some("BadParameter")),
            "{token}"
        );
    }
    for maxresults in ["0", "26", "-1", "x", "", "99999999999999999999"] {
        let path = format!("/secrets?maxresults={maxresults}");
        api.send("GET", &path, None).await.refused(400, "BadParameter", None);
    }
}

async fn bodies_that_are_wrong(api: &Api, plant: &str) {
    let name = name();
    let planted = format!("{plant}-body");
    let put = |body: String| {
        let request = Request::put(format!("/secrets/{name}?api-version=7.4"))
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {}", api.token().expect("a token")))
            .body(Full::new(Bytes::from(body)))
            .expect("a request");
        async move { api.request(request).await.expect("an answer") }
    };
    for body in [
        String::new(),
        "null".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        format!("{{\"value\": \"{planted}\""),
        format!("{{\"value\": \"{planted}\"}} x"),
        format!("{{\"value\": [\"{planted}\"]}}"),
        format!("{{\"value\": {{\"{planted}\": 1}}}}"),
        format!("{{\"value\": \"{planted}\", \"tags\": \"{planted}\"}}"),
        format!("{{\"value\": \"{planted}\", \"tags\": {{\"a\": 1}}}}"),
        format!("{{\"value\": \"{planted}\", \"attributes\": {{\"enabled\": \"{planted}\"}}}}"),
        format!("{{\"value\": \"{planted}\", \"attributes\": {{\"exp\": \"{planted}\"}}}}"),
        format!("{{\"value\": \"{planted}\", \"attributes\": {{\"exp\": 1e300}}}}"),
        format!("{{\"value\": \"{planted}\\ud800\"}}"),
        "[".repeat(100_000),
    ] {
        let answer = put(body.clone()).await;
        let answer = answer.refused(400, "BadParameter", None);
        let words = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(!words.contains(&planted), "the answer repeats the value");
    }
    api.send("GET", &format!("/secrets/{name}"), None).await.refused(404, "SecretNotFound", None);
    put(json!({ "value": planted, "unknown": { "member": true }, "attributes": {} }).to_string())
        .await
        .expect(200);
}

async fn discovery_documents(dev: &Dev, api: &Api) {
    let authority = dev.var("AZURE_AUTHORITY_HOST").trim_end_matches('/');
    let login = api.with_token(None).to(&url::Url::parse(authority).expect("an address"));
    let tenant = dev.var("AZURE_TENANT_ID");
    let get = async |path: String| {
        let request = Request::get(path).body(Full::default()).expect("a request");
        login.request(request).await.expect("an answer")
    };
    let document = get(format!("/{tenant}/v2.0/.well-known/openid-configuration")).await.expect(200).json();
    for (member, path) in
        [("token_endpoint", "oauth2/v2.0/token"), ("authorization_endpoint", "oauth2/v2.0/authorize")]
    {
        assert_eq!(document[member], format!("{authority}/{tenant}/{path}"));
    }
    assert!(document["issuer"].as_str().is_some_and(|i| i.starts_with(authority)), "{document}");
    let keys = url::Url::parse(document["jwks_uri"].as_str().expect("jwks_uri")).expect("an address");
    let keys = get(keys.path().to_owned()).await.expect(200).json();
    let keys = keys["keys"].as_array().expect("keys");
    assert!(!keys.is_empty());
    for key in keys {
        assert!(key["kid"].is_string() && key.get("d").is_none() && key.get("p").is_none(), "a public key");
    }
    let stranger = uuid::Uuid::new_v4();
    let answer = get(format!("/{stranger}/v2.0/.well-known/openid-configuration")).await;
    let answer = answer.expect(400).json();
    assert_eq!(answer["error"], "invalid_tenant", "{answer}");
}

/// The types that the SDKs insist on; and text that the Rust SDK can read, which cannot undo escapes.
async fn token_answers(dev: &Dev) {
    let api = dev.anonymous();
    let (client, secret) = (dev.var("AZURE_CLIENT_ID"), dev.var("AZURE_CLIENT_SECRET"));
    let answer = api.token_request(client, secret).await.expect(200);
    assert!(answer.header("cache-control").is_some_and(|c| c.contains("no-")), "no cache may keep a token");
    let answer = answer.json();
    assert_eq!(answer["token_type"], "Bearer");
    // Python fetches a new token for every request when less than 300 s are left.
    assert!(answer["expires_in"].as_i64().is_some_and(|s| s > 600), "{answer}");
    assert!(answer["ext_expires_in"].is_i64());
    let stranger = uuid::Uuid::new_v4().to_string();
    for (client, secret, code) in [
        (client, "wrong", 7_000_215),
        (client, "", 0),
        (stranger.as_str(), secret, 700_016),
        ("no-uuid", secret, 0),
        ("", "", 0),
    ] {
        let answer = api.token_request(client, secret).await;
        assert!([400, 401].contains(&answer.status.as_u16()), "{answer:?}");
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let json = answer.json();
        let codes: Vec<i64> =
            json["error_codes"].as_array().expect("codes").iter().filter_map(|c| c.as_i64()).collect();
        assert!(!codes.is_empty() && (code == 0 || codes == [code]), "{text}");
        let words = json["error_description"].as_str().unwrap_or_default();
        assert!(words.starts_with(&format!("AADSTS{}: ", codes[0])), "{text}");
        assert!(text.contains(words), "an escape in: {text}");
        assert!(secret.len() < 10 || !text.contains(secret), "the answer repeats the secret");
        for member in ["error", "timestamp", "trace_id", "correlation_id"] {
            assert!(json[member].is_string(), "{member} in {text}");
        }
    }
}

/// `localhost` is always the vault `dev`, for machines where names below it do not resolve.
async fn the_name_that_resolves_everywhere(dev: &Dev, api: &Api, plant: &str) {
    let port = api.base().port().expect("a port");
    let local = api.to(&url::Url::parse(&format!("https://localhost:{port}")).expect("an address"));
    let (name, value) = (name(), format!("{plant}-local"));
    set(api, &name, &value).await;
    let answer = local.send("GET", &format!("/secrets/{name}"), None).await.expect(200).json();
    assert_eq!(answer["value"], value);
    let id = answer["id"].as_str().unwrap_or_default();
    assert!(id.starts_with(&format!("https://localhost:{port}/secrets/{name}/")), "{id}");
    let other = dev.var("VALV_URL").replace("//dev.", "//nobody.");
    let nobody = api.to(&url::Url::parse(&other).expect("an address"));
    let answer = nobody.send("GET", "/secrets", None).await;
    assert!(answer.status == 404 && answer.code().is_some(), "a vault that is not there: {answer:?}");
}
