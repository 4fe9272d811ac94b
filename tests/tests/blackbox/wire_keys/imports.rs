//! Keys that come from outside: taken whole or with the least, refused broken; never shown again.

use super::*;
use valv_tests::scan;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_imported_whole_or_with_the_least_and_never_shown_again() {
    let keys = Keys::start().await;
    let mut planted = Vec::new();
    for (name, file, members) in [
        ("rsa", "rsa-2048", "n e d p q dp dq qi"),
        ("rsa-least", "rsa-2048", "n e d"),
        ("rsa-euler", "rsa-2048-minimal-euler", "n e d"),
        ("rsa-large-e", "rsa-2048-e33", "n e d p q dp dq qi"),
        ("rsa-3072", "rsa-3072", "n e d p q dp dq qi"),
        ("rsa-4096", "rsa-4096", "n e d"),
        ("ec", "ec-p-256", "crv x y d"),
        ("ec-384", "ec-p-384", "crv x y d"),
        ("ec-521", "ec-p-521", "crv x y d"),
        ("ec-k", "ec-p-256k", "crv x y d"),
    ] {
        let whole = sample(file);
        let mut jwk = json!({ "kty": whole["kty"] });
        for member in members.split(' ') {
            assert!(whole[member].is_string(), "{file} has no {member}");
            jwk[member] = whole[member].clone();
        }
        for member in PRIVATE {
            if let Some(text) = jwk[member].as_str() {
                planted.push(text.to_owned());
            }
        }
        let made = keys.import(name, &jwk).await.expect(200).json();
        for member in ["n", "e", "crv", "x", "y"] {
            assert_eq!(made["key"][member], jwk[member], "{name}: {made}");
        }
        assert_eq!(made["key"]["kty"], whole["kty"]);
        let (alg, digest) = match name {
            "ec" => ("ES256", 32),
            "ec-384" => ("ES384", 48),
            "ec-521" => ("ES512", 64),
            "ec-k" => ("ES256K", 32),
            _ => ("RS256", 32),
        };
        let digest = encode(&vec![1; digest]);
        let body = json!({ "alg": alg, "value": digest });
        let signed = keys.post(&format!("/keys/{name}/sign"), body).await.expect(200).json();
        let body = json!({ "alg": alg, "digest": digest, "value": signed["value"] });
        let verified = keys.post(&format!("/keys/{name}/verify"), body).await.expect(200).json();
        assert_eq!(verified["value"], true, "{name}");
    }
    let oct = [0xA7; 32];
    planted.push(encode(&oct));
    let body = json!({
        "key": { "kty": "oct", "k": encode(&oct), "key_ops": ["wrapKey", "unwrapKey"] },
        "Hsm": true, "attributes": { "enabled": true, "exportable": false }, "tags": { "a": "b" },
    });
    let made = keys.send("PUT", "/keys/oct", body).await.expect(200).json();
    assert_eq!((&made["key"]["kty"], &made["attributes"]["hsmPlatform"]), (&json!("oct-HSM"), &json!("0")));
    assert_eq!(
        (&made["key"]["key_ops"], &made["tags"]),
        (&json!(["wrapKey", "unwrapKey"]), &json!({ "a": "b" }))
    );
    // RFC 3394, section 4.6: this key is that key.
    let kek: Vec<u8> = (0..32).collect();
    keys.import("kek", &json!({ "kty": "oct", "k": encode(&kek) })).await.expect(200);
    let data: Vec<u8> = (0..16).map(|n| n * 0x11).chain(0..16).collect();
    let body = json!({ "alg": "A256KW", "value": encode(&data) });
    let wrapped = decode(&keys.post("/keys/kek/wrapkey", body).await.expect(200).json()["value"]);
    let hex: String = wrapped.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21");
    for (name, hsm) in [("rsa-hsm", "RSA-HSM"), ("ec-hsm", "EC-HSM")] {
        let body =
            json!({ "Hsm": true, "key": sample(if hsm == "RSA-HSM" { "rsa-2048" } else { "ec-p-256" }) });
        assert_eq!(
            keys.send("PUT", &format!("/keys/{name}"), body).await.expect(200).json()["key"]["kty"],
            hsm
        );
    }
    let mut jwk = sample("ec-p-256");
    jwk["kty"] = json!("EC-HSM");
    assert_eq!(keys.import("ec-said", &jwk).await.expect(200).json()["key"]["kty"], "EC-HSM");
    keys.post("/keys/rsa/backup", Value::Null).await.expect(200);

    // Nothing of it lies in a log, in the store, or among the audit's lines.
    let Keys { mut node, api } = keys;
    drop(api);
    assert!(node.stop().success());
    let planted: Vec<&str> = planted.iter().map(String::as_str).collect();
    assert!(scan::assert_nowhere(node.root(), &planted, &[]) >= 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_weak_and_foreign_keys_are_refused_without_an_echo() {
    let keys = Keys::start().await;
    let (rsa, ec) = (sample("rsa-2048"), sample("ec-p-256"));
    let with = |jwk: &Value, member: &str, value: Value| {
        let mut jwk = jwk.clone();
        jwk[member] = value;
        jwk
    };
    let other = sample("rsa-2048-e33");
    let cases = [
        (sample("weak-rsa-1024"), "1024 bits"),
        (sample("weak-rsa-e3"), "odd number from 65537"),
        (sample("weak-rsa-close"), "too close"),
        (sample("weak-rsa-composite"), "not a prime"),
        (sample("weak-rsa-unbalanced"), "half the length"),
        (with(&rsa, "d", Value::Null), "Property d of the key is missing"),
        (with(&rsa, "n", Value::Null), "Property n of the key is missing"),
        (with(&rsa, "qi", Value::Null), "all of p, q, dp, dq and qi, or none"),
        (with(&rsa, "n", other["n"].clone()), "The key is not valid"),
        (with(&rsa, "dp", other["dp"].clone()), "The key is not valid"),
        (with(&rsa, "d", json!("*")), "Property d of the key has invalid value: it is not base64url"),
        (with(&rsa, "d", json!(7)), "Property 'key.d' has invalid value"),
        (with(&rsa, "kty", json!("EC")), "crv"),
        (with(&rsa, "kty", json!("DSA")), "kty"),
        (with(&rsa, "key_ops", json!(["sing"])), "key_ops"),
        (with(&rsa, "key_hsm", json!("AAAA")), "key_hsm"),
        (with(&ec, "y", ec["x"].clone()), "not the point of d"),
        (with(&ec, "crv", json!("P-384")), "not the point of d"),
        (with(&ec, "crv", json!("P-224")), "crv"),
        (with(&ec, "d", Value::Null), "Property d of the key is missing"),
        (with(&ec, "key_ops", json!(["encrypt"])), "key_ops"),
        (json!({ "kty": "oct" }), "Property k of the key is missing"),
        (json!({ "kty": "oct", "k": encode(&[1; 20]) }), "oct keys have 128"),
        (json!({}), "'key.kty'"),
        (json!([]), "'key'"),
    ];
    for (jwk, says) in cases {
        let answer = keys.import("refused", &jwk).await.refused(400, "BadParameter", None);
        let words = message(&answer);
        assert!(words.contains(says), "{says}: {words}");
        for member in PRIVATE {
            let private = jwk[member].as_str().unwrap_or_default();
            assert!(private.len() < 8 || !words.contains(private), "the answer repeats {member}");
        }
    }
    for (body, says) in [
        (json!({ "key": rsa, "attributes": { "exportable": true } }), "exportable"),
        (json!({ "key": rsa, "release_policy": { "data": "e30" } }), "AKV.SKR.1005"),
        (json!({ "key": rsa, "Hsm": "yes" }), "'Hsm'"),
        (json!({}), "'key'"),
        (Value::Null, "no body"),
    ] {
        let answer = keys.send("PUT", "/keys/refused", body).await;
        let words = message(&answer.refused(400, "BadParameter", None));
        assert!(words.contains(says), "{says}: {words}");
    }
    keys.get("/keys/refused").await.refused(404, "KeyNotFound", None);
}
