//! No outcome escapes the audit log, and no value enters it.

use std::sync::atomic::Ordering;

use serde_json::json;

use crate::world::{HOST, World, request};

#[tokio::test]
async fn every_outcome_is_a_line_and_no_line_holds_a_value() {
    let world = World::new().await;
    let before = world.audit.events().len();
    let mut sent = request("PUT", "/secrets/a?x=query-s3cret", &world.admin, r#"{"value":"s3cret-value"}"#);
    sent.headers_mut().insert("user-agent", "tests/1".parse().unwrap());
    sent.headers_mut().insert("x-ms-client-request-id", "my-id".parse().unwrap());
    let id = world.handle(sent).await.expect(200).json()["id"].clone();
    let events = world.audit.events();
    assert_eq!(events.len(), before + 1);
    let event = &events[before];
    for (pointer, value) in [
        ("/category", json!("AuditEvent")),
        ("/resourceId", json!("/VAULTS/DEV")),
        ("/operationName", json!("SecretSet")),
        ("/operationVersion", json!("7.6")),
        ("/resultType", json!("Success")),
        ("/resultSignature", json!("OK")),
        ("/callerIpAddress", json!("127.0.0.1")),
        ("/correlationId", json!("my-id")),
        ("/identity/claim/appid", json!(world.admin_id.0)),
        ("/properties/clientInfo", json!("tests/1")),
        ("/properties/requestUri", json!(format!("https://{HOST}/secrets/a"))),
        ("/properties/id", id),
        ("/properties/httpStatusCode", json!(200)),
    ] {
        assert_eq!(event.pointer(pointer), Some(&value), "{pointer}");
    }
    world.send("GET", "/secrets/a", &world.admin, "").await.expect(200);
    world.send("GET", "/secrets/none", &world.admin, "").await.expect(404);
    world.send("PUT", "/secrets/a", &world.admin, r#"{"value":["s3cret-value"]}"#).await.expect(400);
    world.send("GET", "/no/such/path/at-all", &world.admin, "").await.expect(404);
    world.handle(http::Request::get("/").body(Default::default()).unwrap()).await.expect(400);
    let names: Vec<_> = world.audit.events()[before + 1..]
        .iter()
        .map(|e| e["operationName"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["SecretGet", "SecretGet", "SecretSet", "Unknown", "Unknown"]);
    let text = world.audit.text();
    for secret in ["s3cret", &world.admin, &world.admin_id.1] {
        assert!(!text.contains(secret));
    }
}

#[tokio::test]
async fn while_a_required_sink_fails_nothing_is_answered_and_a_done_write_is_no_refusal() {
    let world = World::new().await;
    world.send("PUT", "/secrets/a", &world.admin, r#"{"value":"one"}"#).await.expect(200);
    world.audit.fails.store(true, Ordering::SeqCst);
    // The sink was whole when this write began: it is done, and what is said of it must not deny that (R2).
    world.send("PUT", "/secrets/a", &world.admin, r#"{"value":"two"}"#).await.expect(504);
    let read = world.send("GET", "/secrets/a", &world.admin, "").await.expect(503);
    assert!(!String::from_utf8_lossy(&read.body).contains("two"));
    world.send("PUT", "/secrets/a", &world.admin, r#"{"value":"three"}"#).await.expect(503);
    world.audit.fails.store(false, Ordering::SeqCst);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let read = loop {
        let read = world.send("GET", "/secrets/a", &world.admin, "").await;
        if read.status == 200 || std::time::Instant::now() > end {
            break read;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!(read.expect(200).json()["value"], "two");
}

#[tokio::test]
async fn the_near_end_of_a_key_is_a_line_once() {
    let world = World::new().await;
    let exp = world.service.clock().now().plus_days(20);
    let body = json!({"kty": "EC", "attributes": {"exp": exp.0}}).to_string();
    let kid =
        world.send("POST", "/keys/Ends/create", &world.admin, body).await.expect(200).json()["key"]["kid"]
            .clone();
    let before = world.audit.events().len();
    for _ in 0..2 {
        world.service.lifecycle_round().await.unwrap();
    }
    // Lines are written in order: the next request's comes after all of them.
    world.send("GET", "/keys/Ends", &world.admin, "").await.expect(200);
    let events = world.audit.events().split_off(before);
    let names: Vec<_> = events.iter().map(|event| event["operationName"].as_str().unwrap()).collect();
    assert_eq!(names, ["KeyNearExpiryEventGridNotification", "KeyGet"]);
    for (pointer, value) in [
        ("/category", json!("AuditEvent")),
        ("/resourceId", json!("/VAULTS/DEV")),
        ("/resultType", json!("Success")),
        ("/properties/id", kid),
        ("/properties/region", json!("eastus")),
    ] {
        assert_eq!(events[0].pointer(pointer), Some(&value), "{pointer}");
    }
}
