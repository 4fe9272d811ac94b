//! Secrets in Azure's JSON.

use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};

use crate::world::{HOST, World, request, settings};

#[tokio::test]
async fn a_secret_in_azures_json() {
    let world = World::new().await;
    let admin = &world.admin;
    let send = async |method: &str, path: &str, body: Value| {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        world.send(method, path, admin, body).await
    };
    let body = json!({"value": "v \"1\"", "contentType": "text", "tags": {"a": "b"}, "attributes": {"exp": 4_000_000_000_i64, "nbf": null}});
    let set = send("PUT", "/secrets/Db-Password", body).await.expect(200).json();
    let id = set["id"].as_str().unwrap();
    let version = id.strip_prefix(&format!("https://{HOST}/secrets/Db-Password/")).unwrap();
    assert_eq!((set["value"].as_str(), set["contentType"].as_str()), (Some("v \"1\""), Some("text")));
    assert_eq!(set["tags"], json!({"a": "b"}));
    let attributes = &set["attributes"];
    assert_eq!(attributes["enabled"], true);
    assert_eq!(attributes["exp"], 4_000_000_000_i64);
    assert!(
        attributes.get("nbf").is_none() && attributes["created"].is_i64() && attributes["updated"].is_i64()
    );
    assert_eq!(
        (&attributes["recoveryLevel"], &attributes["recoverableDays"]),
        (&json!("Recoverable+Purgeable"), &json!(90))
    );

    for path in [
        format!("/secrets/db-password/{version}"),
        "/secrets/DB-PASSWORD/".into(),
        "//secrets/Db-Password".into(),
    ] {
        assert_eq!(send("GET", &path, Value::Null).await.expect(200).json(), set, "{path}");
    }
    let changed = send("PATCH", "/secrets/Db-Password/", json!({"contentType": "x", "attributes": {}})).await;
    let changed = changed.expect(200).json();
    assert_eq!((changed["contentType"].as_str(), changed.get("value")), (Some("x"), None));
    assert_eq!(changed["attributes"]["exp"], 4_000_000_000_i64);

    let list = send("GET", "/secrets", Value::Null).await.expect(200).json();
    assert_eq!(list["nextLink"], Value::Null);
    assert_eq!(list["value"][0]["id"], format!("https://{HOST}/secrets/Db-Password"));
    let versions = send("GET", "/secrets/db-password/versions", Value::Null).await.expect(200).json();
    assert_eq!(versions["value"][0]["id"], id);
    assert_eq!(
        send("GET", "/secrets/none/versions", Value::Null).await.expect(200).json()["value"],
        json!([])
    );

    let backup = send("POST", "/secrets/db-password/backup", Value::Null).await.expect(200).json();
    let deleted = send("DELETE", "/secrets/db-password", Value::Null).await.expect(200).json();
    assert_eq!(deleted["recoveryId"], format!("https://{HOST}/deletedsecrets/Db-Password"));
    assert!(deleted["deletedDate"].is_i64() && deleted["scheduledPurgeDate"].is_i64());
    assert_eq!((&deleted["id"], deleted.get("value")), (&json!(id), None));
    assert_eq!(send("GET", "/deletedsecrets/db-password", Value::Null).await.expect(200).json(), deleted);
    let gone = send("GET", "/deletedsecrets", Value::Null).await.expect(200).json();
    assert_eq!(gone["value"][0]["id"], format!("https://{HOST}/secrets/Db-Password"));
    let conflict = send("PUT", "/secrets/db-password", json!({"value": "x"})).await.expect(409);
    assert_eq!(conflict.json()["error"]["innererror"]["code"], "ObjectIsDeletedButRecoverable");

    let recovered = send("POST", "/deletedsecrets/db-password/recover", Value::Null).await.expect(200).json();
    assert_eq!((&recovered["id"], recovered.get("value")), (&json!(id), None));
    send("DELETE", "/secrets/db-password", Value::Null).await.expect(200);
    let purged = send("DELETE", "/deletedsecrets/db-password", Value::Null).await.expect(204);
    assert!(purged.body.is_empty() && purged.header("content-type").is_empty());
    let restored = send("POST", "/secrets/restore", backup).await.expect(200).json();
    assert_eq!((&restored["id"], restored.get("value")), (&json!(id), None));
    assert_eq!(
        send("POST", "/secrets/restore", json!({"value": "AAAA"})).await.expect(400).code(),
        "Malformed backup blob"
    );
    assert_eq!(
        world.send("GET", "/secrets/db-password", admin, "").await.expect(200).json()["value"],
        "v \"1\""
    );
}

#[tokio::test]
async fn pages_follow_their_links_to_the_end() {
    let world = World::new().await;
    for n in 0..7 {
        let path = format!("/secrets/page-{n}");
        world.send("PUT", &path, &world.admin, r#"{"value":"x"}"#).await.expect(200);
    }
    let (mut seen, mut link) = (Vec::new(), format!("https://{HOST}/secrets?api-version=7.6&maxresults=3"));
    for _ in 0..9 {
        let path = link.strip_prefix(&format!("https://{HOST}")).unwrap();
        let request = Request::get(path).header("host", HOST);
        let request = request.header("authorization", format!("Bearer {}", world.admin));
        let page = world.handle(request.body(Full::default()).unwrap()).await.expect(200).json();
        let items = page["value"].as_array().unwrap();
        assert!(items.len() <= 3);
        seen.extend(items.iter().map(|i| i["id"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()));
        match page["nextLink"].as_str() {
            Some(next) => link = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, (0..7).map(|n| format!("page-{n}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn every_answer_has_azures_headers_and_its_own_id() {
    let world = World::new().await;
    let mut ids = std::collections::HashSet::new();
    for (token, path, status) in
        [(world.admin.as_str(), "/secrets", 200), ("", "/secrets", 401), (&world.admin, "/secrets/none", 404)]
    {
        let mut request = request("GET", path, token, "");
        let own = if status == 401 { "not sane: \u{7f}" } else { "5f0c1f0e-0d3c-4e0b-8f4b-0123456789ab" };
        request.headers_mut().insert(
            "x-ms-client-request-id",
            http::HeaderValue::from_bytes(own.replace('\u{7f}', "\t").as_bytes()).unwrap(),
        );
        let answer = world.handle(request).await.expect(status);
        for (name, value) in [
            ("cache-control", "no-cache"),
            ("pragma", "no-cache"),
            ("expires", "-1"),
            ("x-content-type-options", "nosniff"),
            ("strict-transport-security", "max-age=31536000;includeSubDomains"),
            ("content-type", "application/json; charset=utf-8"),
            ("x-ms-keyvault-region", "eastus"),
            ("x-ms-keyvault-network-info", "conn_type=Ipv4;addr=127.0.0.1;act_addr_fam=InterNetwork;"),
            ("x-ms-client-request-id", if status == 401 { "" } else { own }),
            (
                "x-ms-error-code",
                match status {
                    200 => "",
                    401 => "Unauthorized",
                    _ => "SecretNotFound",
                },
            ),
            ("retry-after", ""),
        ] {
            assert_eq!(answer.header(name), value, "{status}");
        }
        assert!(ids.insert(answer.header("x-ms-request-id").to_owned()));
    }
}

/// F02: a write that is sent again with the same `x-ms-client-request-id` is the same write.
#[tokio::test]
async fn f02_a_retry_gets_the_first_result_and_another_request_its_own() {
    let world = World::new().await;
    let set = async |value: &str, id: &str, path: &str| {
        let mut request = request("PUT", path, &world.admin, json!({ "value": value }).to_string());
        if !id.is_empty() {
            request.headers_mut().insert("x-ms-client-request-id", id.parse().unwrap());
        }
        world.handle(request).await.expect(200).json()["id"].as_str().unwrap().to_owned()
    };
    let first = set("a", "one", "/secrets/x").await;
    assert_eq!(set("a", "one", "/secrets/x").await, first);
    assert_eq!(set("a", "one", "/secrets/X/").await, first);
    assert_ne!(set("b", "one", "/secrets/x").await, first);
    assert_ne!(set("a", "two", "/secrets/x").await, first);
    assert_ne!(set("a", "", "/secrets/x").await, set("a", "", "/secrets/x").await);
}

#[tokio::test]
async fn f39_a_vault_over_its_rate_gets_429_with_retry_after() {
    let mut settings = settings();
    settings.rates = Some(valv_front::Rates { create: 2, ..valv_front::Rates::default() });
    let world = World::with(settings, false).await;
    let set = async || world.send("PUT", "/secrets/a", &world.admin, r#"{"value":"x"}"#).await;
    set().await.expect(200);
    set().await.expect(200);
    let answer = set().await.expect(429);
    assert_eq!(answer.code(), "Throttled");
    assert!((1..=5).contains(&answer.header("retry-after").parse().unwrap()));
    world.send("GET", "/secrets/a", &world.admin, "").await.expect(200);
    // Who has no permission does not use up the rate of those who have.
    world.send("PUT", "/secrets/a", "", "").await.expect(401);
}

#[tokio::test]
async fn f37_what_is_too_large_is_refused() {
    let world = World::new().await;
    let large = world.send("PUT", "/secrets/a", &world.admin, vec![b'x'; (1 << 20) + 1]).await.expect(413);
    assert_eq!(large.code(), "PayloadTooLarge");
    world.send("POST", "/secrets/restore", &world.admin, vec![b' '; 2 << 20]).await.expect(400);
    let mut many = request("GET", "/secrets", &world.admin, "");
    for n in 0..101 {
        many.headers_mut().append("x-n", n.to_string().parse().unwrap());
    }
    assert_eq!(world.handle(many).await.expect(431).code(), "HeadersTooLarge");
    let mut long = request("GET", "/secrets", &world.admin, "");
    long.headers_mut().append("x-n", "y".repeat(70_000).parse().unwrap());
    world.handle(long).await.expect(431);
}
