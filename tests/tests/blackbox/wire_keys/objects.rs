//! Keys as objects: made, shown, listed, changed, deleted, taken back, kept and restored.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_is_made_with_its_defaults_and_shown_as_azure_shows_it() {
    let keys = Keys::start().await;
    let base = keys.api.base().as_str().trim_end_matches('/').to_owned();
    let all = json!(["encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"]);
    let sign = json!(["sign", "verify"]);
    // (name, body, members of the key, operations, an exact member)
    for (name, body, shown, operations, exact) in [
        ("rsa", json!({ "kty": "RSA" }), "e key_ops kid kty n", &all, ("e", json!("AQAB"))),
        (
            "rsa-hsm",
            json!({ "kty": "RSA-HSM", "key_size": 2048 }),
            "e key_ops kid kty n",
            &all,
            ("kty", json!("RSA-HSM")),
        ),
        ("ec", json!({ "kty": "EC" }), "crv key_ops kid kty x y", &sign, ("crv", json!("P-256"))),
        (
            "ec-384",
            json!({ "kty": "EC", "crv": "P-384" }),
            "crv key_ops kid kty x y",
            &sign,
            ("crv", json!("P-384")),
        ),
        (
            "ec-521",
            json!({ "kty": "EC", "crv": "P-521" }),
            "crv key_ops kid kty x y",
            &sign,
            ("crv", json!("P-521")),
        ),
        (
            "ec-k",
            json!({ "kty": "EC", "crv": "P-256K" }),
            "crv key_ops kid kty x y",
            &sign,
            ("crv", json!("P-256K")),
        ),
        (
            "ec-old",
            json!({ "kty": "EC", "crv": "SECP256K1" }),
            "crv key_ops kid kty x y",
            &sign,
            ("crv", json!("P-256K")),
        ),
        ("ec-hsm", json!({ "kty": "EC-HSM" }), "crv key_ops kid kty x y", &sign, ("kty", json!("EC-HSM"))),
        ("oct", json!({ "kty": "oct" }), "key_ops kid kty", &all, ("kty", json!("oct"))),
        ("oct-128", json!({ "kty": "oct", "key_size": 128 }), "key_ops kid kty", &all, ("kty", json!("oct"))),
        (
            "oct-hsm",
            json!({ "kty": "oct-HSM", "key_size": 192 }),
            "key_ops kid kty",
            &all,
            ("kty", json!("oct-HSM")),
        ),
    ] {
        let made = keys.create(name, body).await;
        let key = &made["key"];
        assert_eq!(members(&made), BTreeSet::from(["attributes", "key", "tags"]), "{made}");
        assert_eq!(members(key), shown.split(' ').collect(), "{made}");
        assert_eq!(&key["key_ops"], operations, "{made}");
        assert_eq!(key[exact.0], exact.1, "{made}");
        let kid = key["kid"].as_str().unwrap_or_default();
        let version = kid.strip_prefix(&format!("{base}/keys/{name}/")).unwrap_or_else(|| panic!("{kid}"));
        assert!(version.len() == 32 && version.bytes().all(|b| b.is_ascii_hexdigit()), "{kid}");
        let attributes = &made["attributes"];
        assert_eq!(attributes["enabled"], true);
        assert!(attributes["created"].is_i64() && attributes["updated"].is_i64(), "{made}");
        assert_eq!(attributes["recoveryLevel"], "Recoverable+Purgeable");
        assert_eq!((&attributes["recoverableDays"], &attributes["exportable"]), (&json!(90), &json!(false)));
        let hsm = name.ends_with("-hsm");
        assert_eq!(attributes["hsmPlatform"], if hsm { json!("0") } else { Value::Null }, "{made}");
        for path in [
            format!("/keys/{name}"),
            format!("/keys/{name}/{version}"),
            format!("//KEYS/{}/", name.to_uppercase()),
        ] {
            assert_eq!(keys.get(&path).await.expect(200).json(), made, "{path}");
        }
    }
    // Coordinates and moduli are as long as the field, whatever their first byte is.
    for (name, member, bytes) in [("ec", "x", 32), ("ec-521", "y", 66), ("rsa", "n", 256)] {
        let key = keys.get(&format!("/keys/{name}")).await.json();
        assert_eq!(decode(&key["key"][member]).len(), bytes, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_create_asks_for_is_kept_or_refused_by_name() {
    let keys = Keys::start().await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs();
    let body = json!({
        "kty": "EC", "key_ops": ["verify"], "tags": { "team": "one" },
        "attributes": { "enabled": false, "nbf": now - 10, "exp": now + 10, "exportable": false },
    });
    let made = keys.create("chosen", body).await;
    assert_eq!(made["key"]["key_ops"], json!(["verify"]));
    assert_eq!(made["tags"], json!({ "team": "one" }));
    let attributes = &made["attributes"];
    assert_eq!(
        (&attributes["enabled"], &attributes["nbf"], &attributes["exp"]),
        (&json!(false), &json!(now - 10), &json!(now + 10))
    );
    for (body, says) in [
        (Value::Null, "no body"),
        (json!({}), "'kty'"),
        (json!({ "kty": "DSA" }), "kty"),
        (json!({ "kty": "RSA", "key_size": 1024 }), "key_size"),
        (json!({ "kty": "RSA", "key_size": 8192 }), "key_size"),
        (json!({ "kty": "RSA", "key_size": "2048" }), "key_size"),
        (json!({ "kty": "RSA", "public_exponent": 3 }), "public_exponent"),
        (json!({ "kty": "EC", "crv": "P-192" }), "crv"),
        (json!({ "kty": "EC", "key_ops": ["encrypt"] }), "key_ops"),
        (json!({ "kty": "EC", "key_ops": ["sing"] }), "key_ops"),
        (json!({ "kty": "oct", "key_size": 64 }), "key_size"),
        (json!({ "kty": "oct", "crv": "P-256" }), "crv"),
        (json!({ "kty": "EC", "attributes": { "exportable": true } }), "exportable"),
        (json!({ "kty": "EC", "release_policy": { "data": "e30" } }), "AKV.SKR.1005"),
        (json!({ "kty": "EC", "tags": { "n".repeat(257): "v" } }), "256"),
        (json!({ "kty": "EC", "attributes": { "nbf": -1 } }), "nbf"),
    ] {
        let answer = keys.post("/keys/refused/create", body.clone()).await;
        let words = message(&answer.refused(400, "BadParameter", None));
        assert!(words.contains(says), "{body}: {words}");
    }
    let answer = keys.post("/keys/not_a_name/create", json!({ "kty": "EC" })).await;
    let words = message(&answer.refused(400, "BadParameter", None));
    assert_eq!(words, "The request URI contains an invalid name: not_a_name");
    keys.get("/keys/refused").await.refused(404, "KeyNotFound", None);
    for path in ["/keys/chosen/release", "/keys/chosen/0123456789abcdef0123456789abcdef/attestation"] {
        assert!([404, 405].contains(&keys.post(path, json!({})).await.status.as_u16()), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_lists_and_pages_are_azures() {
    let keys = Keys::start().await;
    let base = keys.api.base().as_str().trim_end_matches('/').to_owned();
    let mut kids = Vec::new();
    for _ in 0..3 {
        kids.push(keys.create("Many", json!({ "kty": "EC" })).await["key"]["kid"].clone());
    }
    for n in 0..26 {
        keys.create(&format!("p-{n:02}"), json!({ "kty": "oct" })).await;
    }
    let versions = keys.get("/keys/many/versions").await.expect(200).json();
    let items = versions["value"].as_array().expect("a list");
    assert_eq!(items.iter().map(|i| i["kid"].clone()).collect::<Vec<_>>(), kids);
    assert_eq!(members(&items[0]), BTreeSet::from(["attributes", "kid", "tags"]), "{versions}");
    assert_eq!(versions["nextLink"], Value::Null);
    assert_eq!(keys.get("/keys/many").await.json()["key"]["kid"], kids[2], "the last one made is current");
    assert_eq!(keys.get("/keys/none/versions").await.expect(200).json()["value"], json!([]));

    // Disabled ones are listed, and nothing of secrets is.
    keys.update("p-00", json!({ "attributes": { "enabled": false } })).await.expect(200);
    keys.send("PUT", "/secrets/a-secret", json!({ "value": "v" })).await.expect(200);
    let mut seen = Vec::new();
    let mut path = "/keys".to_owned();
    loop {
        let page = keys.get(&path).await.expect(200).json();
        let items = page["value"].as_array().expect("a list");
        assert!((1..=25).contains(&items.len()), "{page}");
        seen.extend(items.iter().map(|i| i["kid"].as_str().unwrap_or_default().to_owned()));
        let Some(link) = page["nextLink"].as_str() else { break };
        path = link.strip_prefix(&base).unwrap_or_else(|| panic!("{link}")).to_owned();
    }
    let names = std::iter::once("Many".to_owned()).chain((0..26).map(|n| format!("p-{n:02}")));
    let expected: Vec<_> = names.map(|name| format!("{base}/keys/{name}")).collect();
    assert_eq!(seen, expected);
    let page = keys.get("/keys?maxresults=2").await.expect(200).json();
    assert_eq!(page["value"].as_array().map(Vec::len), Some(2));
    keys.get("/keys?maxresults=26").await.refused(400, "BadParameter", None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_changes_what_it_names_and_makes_no_version() {
    let keys = Keys::start().await;
    let old = keys.create("up", json!({ "kty": "EC", "tags": { "a": "b" } })).await;
    let first = old["key"]["kid"].as_str().expect("a kid").rsplit('/').next().expect("a version").to_owned();
    keys.create("up", json!({ "kty": "EC" })).await;
    let body = json!({ "key_ops": ["sign"], "attributes": { "exp": 4_000_000_000_i64, "nbf": null } });
    let changed = keys.send("PATCH", &format!("/keys/up/{first}"), body).await.expect(200).json();
    assert_eq!((&changed["key"]["key_ops"], &changed["tags"]), (&json!(["sign"]), &json!({ "a": "b" })));
    assert_eq!((&changed["key"]["kid"], &changed["key"]["x"]), (&old["key"]["kid"], &old["key"]["x"]));
    assert_eq!(changed["attributes"]["exp"], 4_000_000_000_i64);
    assert_eq!(keys.get(&format!("/keys/up/{first}")).await.json(), changed);
    assert_eq!(keys.get("/keys/up/versions").await.json()["value"].as_array().map(Vec::len), Some(2));
    let current = keys.update("up", json!({ "tags": {} })).await.expect(200).json();
    assert_ne!(current["key"]["kid"], old["key"]["kid"]);
    assert!(current["attributes"].get("exp").is_none(), "the other version is as it was: {current}");
    for (body, says) in [
        (json!({ "key_ops": ["encrypt"] }), "key_ops"),
        (json!({ "key_ops": "sign" }), "'key_ops'"),
        (json!({ "attributes": { "exportable": true } }), "exportable"),
        (json!({ "release_policy": {} }), "AKV.SKR.1005"),
    ] {
        let words = message(&keys.update("up", body.clone()).await.refused(400, "BadParameter", None));
        assert!(words.contains(says), "{body}: {words}");
    }
    keys.update("none", json!({})).await.refused(404, "KeyNotFound", None);
    let absent = format!("/keys/up/{}", "0".repeat(32));
    keys.send("PATCH", &absent, json!({})).await.refused(404, "KeyNotFound", None);
    keys.send("PATCH", "/keys/up/no-version", json!({})).await.refused(400, "BadParameter", None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_keys_are_out_of_use_and_come_back_whole() {
    let keys = Keys::start().await;
    let base = keys.api.base().as_str().trim_end_matches('/').to_owned();
    keys.import_sample("Gone", "rsa-2048").await;
    let made = keys.create("gone", json!({ "kty": "oct", "tags": { "a": "b" } })).await;
    let seal = json!({ "alg": "A256KW", "value": encode(&[7; 32]) });
    let wrapped = keys.post("/keys/gone/wrapkey", seal.clone()).await.expect(200).json();
    let deleted = keys.send("DELETE", "/keys/gone", Value::Null).await.expect(200).json();
    assert_eq!(deleted["recoveryId"], format!("{base}/deletedkeys/Gone"));
    assert!(deleted["deletedDate"].is_i64() && deleted["scheduledPurgeDate"].is_i64(), "{deleted}");
    assert_eq!((&deleted["key"], &deleted["tags"]), (&made["key"], &made["tags"]));
    assert_eq!(keys.get("/deletedkeys/gone").await.expect(200).json(), deleted);
    let item = keys.get("/deletedkeys").await.expect(200).json()["value"][0].clone();
    let shown = ["attributes", "deletedDate", "kid", "recoveryId", "scheduledPurgeDate", "tags"];
    assert_eq!(members(&item), BTreeSet::from(shown), "{item}");
    assert_eq!(item["kid"], format!("{base}/keys/Gone"));

    let not_found = "A key with (name/id) gone was not found in this key vault. If you recently deleted this key you may be able to recover it using the correct recovery command. For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125182";
    for (method, path, body) in [
        ("GET", "/keys/gone", Value::Null),
        ("POST", "/keys/gone/wrapkey", seal.clone()),
        ("POST", "/keys/gone/backup", Value::Null),
        ("POST", "/keys/gone/rotate", Value::Null),
        ("GET", "/keys/gone/rotationpolicy", Value::Null),
        ("PATCH", "/keys/gone/", json!({})),
        ("DELETE", "/keys/gone", Value::Null),
    ] {
        let answer = keys.send(method, path, body).await.refused(404, "KeyNotFound", None);
        assert_eq!(message(&answer), not_found, "{method} {path}");
    }
    assert_eq!(keys.get("/keys/gone/versions").await.expect(200).json()["value"], json!([]));
    for (method, path, body) in [
        ("POST", "/keys/gone/create", json!({ "kty": "EC" })),
        ("PUT", "/keys/gone", json!({ "key": sample("ec-p-256") })),
    ] {
        let answer = keys.send(method, path, body).await;
        let answer = answer.refused(409, "Conflict", Some("ObjectIsDeletedButRecoverable"));
        assert!(
            message(&answer).starts_with("Key gone is currently in a deleted but recoverable state"),
            "{answer:?}"
        );
    }
    let recovered = keys.post("/deletedkeys/gone/recover", Value::Null).await.expect(200).json();
    assert_eq!(recovered, made);
    let open = json!({ "alg": "A256KW", "value": wrapped["value"] });
    assert_eq!(decode(&keys.post("/keys/gone/unwrapkey", open).await.expect(200).json()["value"]), [7; 32]);
    assert_eq!(keys.get("/keys/gone/versions").await.json()["value"].as_array().map(Vec::len), Some(2));
    for (method, path) in
        [("GET", "/deletedkeys/gone"), ("POST", "/deletedkeys/gone/recover"), ("DELETE", "/deletedkeys/gone")]
    {
        let answer = keys.send(method, path, Value::Null).await.refused(404, "KeyNotFound", None);
        assert_eq!(message(&answer), "Deleted Key not found: gone");
    }
    keys.send("DELETE", "/keys/gone", Value::Null).await.expect(200);
    let purged = keys.send("DELETE", "/deletedkeys/gone", Value::Null).await.expect(204);
    assert!(purged.body.is_empty());
    keys.get("/deletedkeys/gone").await.refused(404, "KeyNotFound", None);
    let fresh = keys.create("gone", json!({ "kty": "oct" })).await;
    assert_ne!(fresh["key"]["kid"], made["key"]["kid"]);
    let open = json!({ "alg": "A256KW", "value": wrapped["value"] });
    keys.post("/keys/gone/unwrapkey", open).await.refused(400, "BadParameter", None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_restores_every_version_and_no_changed_byte() {
    let keys = Keys::start().await;
    let old = keys.import_sample("kept", "rsa-2048").await;
    let old = old["key"]["kid"].as_str().expect("a kid").rsplit('/').next().expect("a version").to_owned();
    let sealed = json!({ "alg": "RSA-OAEP-256", "value": encode(b"before") });
    let sealed = keys.post("/keys/kept/encrypt", sealed).await.expect(200).json()["value"].clone();
    let current = keys.create("kept", json!({ "kty": "EC", "tags": { "a": "b" } })).await;
    let blob = keys.post("/keys/kept/backup", Value::Null).await.expect(200).json();
    assert_eq!(members(&blob), BTreeSet::from(["value"]));
    let bytes = decode(&blob["value"]);
    keys.post("/keys/restore", blob.clone()).await.refused(409, "Conflict", None);
    keys.send("DELETE", "/keys/kept", Value::Null).await.expect(200);
    keys.post("/keys/restore", blob.clone()).await.refused(409, "Conflict", None);
    keys.send("DELETE", "/deletedkeys/kept", Value::Null).await.expect(204);

    for at in (0..bytes.len()).step_by(bytes.len() / 40 + 1).chain([bytes.len() - 1]) {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let answer = keys.post("/keys/restore", json!({ "value": encode(&changed) })).await;
        let answer = answer.refused(400, "Malformed backup blob", None);
        assert_eq!(message(&answer), "Backup blob is corrupt.", "byte {at}");
    }
    for value in ["", "AAAA", "not base64url!"] {
        let answer = keys.post("/keys/restore", json!({ "value": value })).await;
        answer.refused(400, "Malformed backup blob", None);
    }
    keys.post("/keys/restore", json!({})).await.refused(400, "BadParameter", None);
    // Blobs of one type are none of the other.
    keys.post("/secrets/restore", blob.clone()).await.refused(400, "Malformed backup blob", None);
    keys.send("PUT", "/secrets/kept", json!({ "value": "v" })).await.expect(200);
    let secret = keys.post("/secrets/kept/backup", Value::Null).await.expect(200).json();
    keys.post("/keys/restore", secret).await.refused(400, "Malformed backup blob", None);

    let padded =
        format!("{}{}", blob["value"].as_str().expect("text"), ["", "=", "==", "="][bytes.len() * 4 % 3]);
    let restored = keys.post("/keys/restore", json!({ "value": padded })).await.expect(200).json();
    assert_eq!(restored, current);
    let open = json!({ "alg": "RSA-OAEP-256", "value": sealed });
    let opened = keys.post(&format!("/keys/kept/{old}/decrypt"), open).await.expect(200).json();
    assert_eq!(decode(&opened["value"]), b"before");
}
