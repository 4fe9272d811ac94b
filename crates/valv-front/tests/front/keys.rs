//! Keys in Azure's JSON, and what audit, metrics and rates make of them.

use serde_json::{Value, json};
use valv_front::Rates;

use crate::world::{Answer, HOST, World, settings};

async fn send(world: &World, method: &str, path: &str, body: Value) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    world.send(method, path, &world.admin, body).await
}

#[tokio::test]
async fn a_key_in_azures_json() {
    let world = World::new().await;
    let send = async |method: &str, path: &str, body: Value| send(&world, method, path, body).await;
    let body = json!({"kty": "EC-HSM", "key_ops": ["sign"], "tags": {"a": "b"}, "attributes": {"exp": 4_000_000_000_i64}});
    let made = send("POST", "/keys/Signer/create", body).await.expect(200).json();
    let kid = made["key"]["kid"].as_str().unwrap().to_owned();
    let version = kid.strip_prefix(&format!("https://{HOST}/keys/Signer/")).unwrap();
    assert_eq!((&made["key"]["kty"], &made["key"]["crv"]), (&json!("EC-HSM"), &json!("P-256")));
    assert_eq!((&made["key"]["key_ops"], &made["tags"]), (&json!(["sign"]), &json!({"a": "b"})));
    let attributes = &made["attributes"];
    assert_eq!((&attributes["exportable"], &attributes["hsmPlatform"]), (&json!(false), &json!("0")));
    assert!(
        attributes["created"].is_i64()
            && attributes["exp"] == 4_000_000_000_i64
            && attributes["nbf"].is_null()
    );
    for path in [format!("/keys/signer/{version}"), "/keys/SIGNER/".into(), "//keys/Signer".into()] {
        assert_eq!(send("GET", &path, Value::Null).await.expect(200).json(), made, "{path}");
    }
    let list = send("GET", "/keys", Value::Null).await.expect(200).json();
    assert_eq!(list["value"][0]["kid"], format!("https://{HOST}/keys/Signer"));
    assert!(list["value"][0]["key"].is_null() && list["nextLink"].is_null());
    let versions = send("GET", "/keys/signer/versions", Value::Null).await.expect(200).json();
    assert_eq!(versions["value"][0]["kid"], kid);

    let digest = "A".repeat(43);
    let body = json!({"alg": "ES256", "value": digest});
    for path in ["/keys/signer/sign", "/keys/signer//sign", &format!("/keys/signer/{version}/Sign")] {
        let signed = send("POST", path, body.clone()).await.expect(200).json();
        assert_eq!((&signed["kid"], signed["value"].as_str().unwrap().len()), (&json!(kid), 86), "{path}");
        assert!(signed.as_object().unwrap().len() == 2);
    }
    let body = json!({"alg": "ES256", "digest": digest, "value": "A".repeat(86)});
    let refused = send("POST", "/keys/signer/verify", body.clone()).await.expect(403).json();
    assert_eq!(refused["error"]["innererror"]["code"], "KeyOperationForbidden");
    send("PATCH", "/keys/signer/", json!({"key_ops": ["verify"]})).await.expect(200);
    assert_eq!(send("POST", "/keys/signer/verify", body).await.expect(200).json(), json!({"value": false}));

    let deleted = send("DELETE", "/keys/signer", Value::Null).await.expect(200).json();
    assert_eq!(deleted["recoveryId"], format!("https://{HOST}/deletedkeys/Signer"));
    let items = send("GET", "/deletedkeys", Value::Null).await.expect(200).json();
    assert_eq!(items["value"][0]["kid"], format!("https://{HOST}/keys/Signer"));
    send("POST", "/deletedkeys/signer/recover", Value::Null).await.expect(200);
    let random = send("POST", "/rng", json!({"count": 12})).await.expect(200).json();
    assert_eq!(random["value"].as_str().unwrap().len(), 16);
    assert_eq!(
        send("POST", "/keys/none/sign", json!({"alg": "ES256", "value": digest})).await.code(),
        "KeyNotFound"
    );
}

#[tokio::test]
async fn the_audit_names_key_and_algorithm_and_nothing_of_what_was_computed() {
    let world = World::new().await;
    send(
        &world,
        "PUT",
        "/keys/wrap",
        json!({"key": {"kty": "oct", "k": "s3cretKeyMaterial_s3cretKeyMaterial_s3cretA"}}),
    )
    .await
    .expect(200);
    let plaintext = "s3cretPlaintextx";
    let wrapped =
        send(&world, "POST", "/keys/wrap/encrypt", json!({"alg": "A256GCM", "value": plaintext})).await;
    let wrapped = wrapped.expect(200).json();
    let event = world.audit.events().pop().unwrap();
    for (pointer, value) in [
        ("/operationName", json!("KeyEncrypt")),
        ("/resultType", json!("Success")),
        ("/properties/id", wrapped["kid"].clone()),
        ("/properties/Algorithm", json!("A256GCM")),
    ] {
        assert_eq!(event.pointer(pointer), Some(&value), "{pointer}");
    }
    let mut body = wrapped.clone();
    body["alg"] = json!("A256GCM");
    assert_eq!(send(&world, "POST", "/keys/wrap/decrypt", body).await.expect(200).json()["value"], plaintext);
    send(&world, "POST", "/keys/wrap/encrypt", json!({"alg": "s3cret", "value": plaintext}))
        .await
        .expect(400);
    send(&world, "PUT", "/keys/x", json!({"key": {"kty": "oct", "k": "s3cret"}})).await.expect(400);
    send(&world, "PUT", "/keys/x", json!({"key": {"kty": "s3cret", "d": ["s3cret"]}})).await.expect(400);
    let event = world.audit.events().pop().unwrap();
    assert_eq!((&event["operationName"], &event["resultType"]), (&json!("KeyImport"), &json!("Failure")));
    assert!(event["properties"].get("Algorithm").is_none());
    let text = world.audit.text();
    for secret in ["s3cret", wrapped["value"].as_str().unwrap()] {
        assert!(!text.contains(secret), "{secret} in the audit log");
    }
}

#[tokio::test]
async fn f39_keys_have_rates_of_their_own() {
    let mut settings = settings();
    settings.rates = Some(Rates { create: 100, other: 100, key_create: 2, key: 4 });
    let world = World::with(settings, false).await;
    let create = async |kty: &str| send(&world, "POST", "/keys/a/create", json!({ "kty": kty })).await;
    create("EC-HSM").await.expect(200);
    let answer = create("EC").await.expect(429);
    assert_eq!(answer.code(), "Throttled");
    assert!((1..=10).contains(&answer.header("retry-after").parse().unwrap()));
    assert_eq!(create("DSA").await.status, 400, "what is wrong is told first, and does not count");
    // The key is known to be of an -HSM type: each signature counts twice.
    let body = json!({"alg": "ES256", "value": "A".repeat(43)});
    let sign = async || send(&world, "POST", "/keys/a/sign", body.clone()).await.status.as_u16();
    assert_eq!((sign().await, sign().await, sign().await), (200, 200, 429));
    send(&world, "PUT", "/secrets/a", json!({"value": "x"})).await.expect(200);
    send(&world, "PUT", "/keys/b", json!({"key": {"kty": "oct", "k": "A".repeat(43)}})).await.expect(200);
}
