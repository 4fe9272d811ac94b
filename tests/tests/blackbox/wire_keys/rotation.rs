//! Rotation and its policy.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_makes_a_version_like_the_last_one() {
    let keys = Keys::start().await;
    let body = json!({ "kty": "EC-HSM", "crv": "P-384", "key_ops": ["sign"], "tags": { "a": "b" } });
    let old = keys.create("turn", body).await;
    let new = keys.post("/keys/turn/rotate", Value::Null).await.expect(200).json();
    assert_ne!(new["key"]["kid"], old["key"]["kid"]);
    assert_ne!(new["key"]["x"], old["key"]["x"]);
    for member in ["kty", "crv", "key_ops"] {
        assert_eq!(new["key"][member], old["key"][member], "{member}");
    }
    assert_eq!(new["tags"], old["tags"]);
    assert!(new["attributes"].get("exp").is_none(), "{new}");
    let kid = old["key"]["kid"].as_str().expect("a kid");
    let version = kid.rsplit('/').next().expect("a version");
    assert_eq!(keys.get(&format!("/keys/turn/{version}")).await.expect(200).json(), old);
    assert_eq!(keys.get("/keys/turn").await.json(), new);
    keys.send("PUT", "/keys/turn/rotationpolicy", json!({ "attributes": { "expiryTime": "P90D" } }))
        .await
        .expect(200);
    let third = keys.post("/keys/turn/rotate", json!({})).await.expect(200).json();
    let attributes = &third["attributes"];
    let lives = attributes["exp"].as_i64().zip(attributes["created"].as_i64()).map(|(exp, made)| exp - made);
    assert_eq!(lives, Some(90 * 86_400), "{third}");
    keys.post("/keys/none/rotate", Value::Null).await.refused(404, "KeyNotFound", None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_is_kept_as_it_was_written_and_always_notifies() {
    let keys = Keys::start().await;
    let base = keys.api.base().as_str().trim_end_matches('/').to_owned();
    keys.create("Plan", json!({ "kty": "EC" })).await;
    let default = keys.get("/keys/plan/rotationpolicy").await.expect(200).json();
    assert_eq!(default["id"], format!("{base}/keys/Plan/rotationpolicy"));
    let notify = json!({ "trigger": { "timeBeforeExpiry": "P30D" }, "action": { "type": "Notify" } });
    assert_eq!(default["lifetimeActions"], json!([notify]), "{default}");

    let rotate = json!({ "trigger": { "timeAfterCreate": "P6M" }, "action": { "type": "Rotate" } });
    let body = json!({ "lifetimeActions": [rotate], "attributes": { "expiryTime": "P1Y" } });
    let set = keys.send("PUT", "/keys/plan/rotationpolicy", body).await.expect(200).json();
    assert_eq!(set["id"], default["id"]);
    assert_eq!(set["attributes"]["expiryTime"], "P1Y");
    assert!(set["attributes"]["created"].is_i64() && set["attributes"]["updated"].is_i64(), "{set}");
    let actions = set["lifetimeActions"].as_array().expect("a list");
    assert!(actions.contains(&rotate) && actions.contains(&notify) && actions.len() == 2, "{set}");
    assert_eq!(keys.get("/keys/plan/rotationpolicy").await.expect(200).json(), set);
    // The policy is the key's: it comes and goes with it.
    let blob = keys.post("/keys/plan/backup", Value::Null).await.expect(200).json();
    keys.send("DELETE", "/keys/plan", Value::Null).await.expect(200);
    keys.send("DELETE", "/deletedkeys/plan", Value::Null).await.expect(204);
    keys.post("/keys/restore", blob).await.expect(200);
    let restored = keys.get("/keys/plan/rotationpolicy").await.expect(200).json();
    assert_eq!(
        (&restored["lifetimeActions"], &restored["attributes"]["expiryTime"]),
        (&set["lifetimeActions"], &json!("P1Y"))
    );

    let action = |trigger: Value, kind: &str| json!({ "trigger": trigger, "action": { "type": kind } });
    let policy = |actions: Value, expiry: Value| json!({ "lifetimeActions": actions, "attributes": { "expiryTime": expiry } });
    for body in [
        policy(json!([action(json!({ "timeAfterCreate": "P90" }), "Rotate")]), json!("P1Y")),
        policy(json!([action(json!({ "timeAfterCreate": "P1D" }), "Rotate")]), json!("P1Y")),
        policy(json!([action(json!({ "timeBeforeExpiry": "P30D" }), "Rotate")]), Value::Null),
        policy(json!([action(json!({}), "Rotate")]), json!("P1Y")),
        policy(
            json!([action(json!({ "timeAfterCreate": "P90D", "timeBeforeExpiry": "P90D" }), "Rotate")]),
            json!("P1Y"),
        ),
        policy(json!([action(json!({ "timeAfterCreate": "P90D" }), "Explode")]), json!("P1Y")),
        policy(json!([action(json!({ "timeAfterCreate": "P2Y" }), "Rotate")]), json!("P1Y")),
        policy(json!([]), json!("P1D")),
        policy(json!([]), json!("soon")),
        policy(json!("none"), Value::Null),
        policy(json!([7]), Value::Null),
    ] {
        let answer = keys.send("PUT", "/keys/plan/rotationpolicy", body.clone()).await;
        let answer = answer.refused(400, "BadParameter", None);
        assert!(message(&answer).len() > 20, "{body}: {answer:?}");
    }
    assert_eq!(
        keys.get("/keys/plan/rotationpolicy").await.expect(200).json(),
        restored,
        "refused, so unchanged"
    );
    keys.get("/keys/none/rotationpolicy").await.refused(404, "KeyNotFound", None);
    keys.send("PUT", "/keys/none/rotationpolicy", json!({})).await.refused(404, "KeyNotFound", None);
}
