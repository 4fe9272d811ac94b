//! Computations: what they answer, and which of them are refused in which words.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_algorithm_answers_in_azures_form_and_is_undone() {
    let keys = Keys::start().await;
    keys.import_sample("rsa", "rsa-2048").await;
    for (name, file) in
        [("p256", "ec-p-256"), ("p384", "ec-p-384"), ("p521", "ec-p-521"), ("p256k", "ec-p-256k")]
    {
        keys.import_sample(name, file).await;
    }
    for bits in [128, 192, 256] {
        keys.create(&format!("oct-{bits}"), json!({ "kty": "oct", "key_size": bits })).await;
    }
    let (data, iv, aad) = (encode(&[5; 32]), encode(&[9; 16]), encode(b"also this"));
    for (key, alg, with, extra) in [
        ("rsa", "RSA1_5", json!({}), &[][..]),
        ("rsa", "RSA-OAEP", json!({}), &[]),
        ("rsa", "RSA-OAEP-256", json!({}), &[]),
        ("oct-128", "A128GCM", json!({ "aad": aad }), &["aad", "iv", "tag"]),
        ("oct-192", "A192GCM", json!({}), &["iv", "tag"]),
        ("oct-256", "A256GCM", json!({ "aad": aad }), &["aad", "iv", "tag"]),
        ("oct-128", "A128CBC", json!({ "iv": iv }), &["iv"]),
        ("oct-192", "A192CBC", json!({ "iv": iv }), &["iv"]),
        ("oct-256", "A256CBC", json!({ "iv": iv }), &["iv"]),
        ("oct-128", "A128CBCPAD", json!({ "iv": iv }), &["iv"]),
        ("oct-192", "A192CBCPAD", json!({ "iv": iv }), &["iv"]),
        ("oct-256", "A256CBCPAD", json!({ "iv": iv }), &["iv"]),
    ] {
        let mut body = with;
        body["alg"] = json!(alg);
        body["value"] = json!(data);
        let sealed = keys.post(&format!("/keys/{key}/encrypt"), body).await.expect(200).json();
        let expected: BTreeSet<_> = ["kid", "value"].iter().chain(extra).copied().collect();
        assert_eq!(members(&sealed), expected, "{alg}: {sealed}");
        assert_eq!(sealed["kid"], keys.get(&format!("/keys/{key}")).await.json()["key"]["kid"]);
        let mut body = sealed.clone();
        body["alg"] = json!(alg);
        let opened = keys.post(&format!("/keys/{key}/decrypt"), body.clone()).await.expect(200).json();
        assert_eq!(
            (opened["value"].as_str(), &opened["kid"]),
            (Some(data.as_str()), &sealed["kid"]),
            "{alg}"
        );
        assert_eq!(members(&opened), BTreeSet::from(["kid", "value"]), "{alg}");
        // Padding is forgiven.
        body["value"] = json!(format!("{}==", body["value"].as_str().expect("text")).replace("===", "="));
        let length = decode(&sealed["value"]).len();
        if length % 3 == 1 {
            keys.post(&format!("/keys/{key}/decrypt"), body).await.expect(200);
        }
    }
    for (key, alg) in [
        ("rsa", "RSA1_5"),
        ("rsa", "RSA-OAEP"),
        ("rsa", "RSA-OAEP-256"),
        ("oct-128", "A128KW"),
        ("oct-192", "A192KW"),
        ("oct-256", "A256KW"),
    ] {
        let body = json!({ "alg": alg, "value": data });
        let wrapped = keys.post(&format!("/keys/{key}/wrapkey"), body).await.expect(200).json();
        assert_eq!(members(&wrapped), BTreeSet::from(["kid", "value"]), "{alg}");
        let body = json!({ "alg": alg, "value": wrapped["value"] });
        let opened = keys.post(&format!("/keys/{key}/unwrapkey"), body).await.expect(200).json();
        assert_eq!(opened["value"].as_str(), Some(data.as_str()), "{alg}");
    }
    for (key, alg, digest, signature) in [
        ("rsa", "RS256", 32, 256),
        ("rsa", "RS384", 48, 256),
        ("rsa", "RS512", 64, 256),
        ("rsa", "PS256", 32, 256),
        ("rsa", "PS384", 48, 256),
        ("rsa", "PS512", 64, 256),
        ("p256", "ES256", 32, 64),
        ("p384", "ES384", 48, 96),
        ("p521", "ES512", 64, 132),
        ("p256k", "ES256K", 32, 64),
        ("p256k", "ECDSA256", 32, 64),
        ("oct-256", "HS256", 32, 32),
        ("oct-256", "HS384", 48, 48),
        ("oct-256", "HS512", 64, 64),
    ] {
        let digest = encode(&vec![3; digest]);
        let body = json!({ "alg": alg, "value": digest });
        let signed = keys.post(&format!("/keys/{key}/sign"), body).await.expect(200).json();
        assert_eq!(members(&signed), BTreeSet::from(["kid", "value"]), "{alg}");
        let mut bytes = decode(&signed["value"]);
        assert_eq!(bytes.len(), signature, "{alg}");
        for good in [true, false] {
            let body = json!({ "alg": alg, "digest": digest, "value": encode(&bytes) });
            let said = keys.post(&format!("/keys/{key}/verify"), body).await.expect(200).json();
            assert_eq!(said, json!({ "value": good }), "{alg}");
            bytes[7] ^= 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_is_refused_in_azures_words() {
    let keys = Keys::start().await;
    keys.import_sample("rsa", "rsa-2048").await;
    keys.import_sample("ec", "ec-p-256").await;
    keys.import_sample("k1", "ec-p-256k").await;
    keys.create("oct", json!({ "kty": "oct", "key_size": 256 })).await;
    keys.create("oct-small", json!({ "kty": "oct", "key_size": 128 })).await;
    let (b1, b16, b32) = (encode(&[1]), encode(&[1; 16]), encode(&[1; 32]));
    for (path, body, words) in [
        (
            "k1/sign",
            json!({ "alg": "ES256K", "value": b1 }),
            "Invalid length of 'value': 1 bytes. ES256K requires 32 bytes, encoded with base64url.",
        ),
        (
            "k1/sign",
            json!({ "alg": "ES256", "value": b32 }),
            "Key and signing algorithm are incompatible. Key URL uses curve 'P-256K', and algorithm 'ES256' can only be used with curve 'P-256'.",
        ),
        (
            "rsa/sign",
            json!({ "alg": "RS256", "value": b16 }),
            "Invalid length of 'value': 16 bytes. RS256 requires 32 bytes",
        ),
        ("rsa/sign", json!({ "alg": "RS512", "value": b32 }), "RS512 requires 64 bytes"),
        ("rsa/sign", json!({ "alg": "ES256", "value": b32 }), "key type 'RSA'"),
        ("rsa/sign", json!({ "alg": "RSNULL", "value": b32 }), "RSNULL"),
        ("rsa/sign", json!({ "alg": "RSA-OAEP", "value": b32 }), "operation 'sign'"),
        (
            "rsa/verify",
            json!({ "alg": "PS256", "digest": b16, "value": b32 }),
            "Invalid length of 'digest': 16 bytes.",
        ),
        (
            "ec/verify",
            json!({ "alg": "ES256", "digest": b1, "value": b32 }),
            "Invalid length of 'digest': 1 bytes.",
        ),
        ("rsa/encrypt", json!({ "alg": "RS256", "value": b32 }), "operation 'encrypt'"),
        ("rsa/encrypt", json!({ "alg": "A256KW", "value": b32 }), "operation 'encrypt'"),
        ("rsa/encrypt", json!({ "alg": "A256GCM", "value": b32 }), "key type 'RSA'"),
        (
            "rsa/encrypt",
            json!({ "alg": "RSA-OAEP", "value": encode(&[1; 215]) }),
            "Invalid length of 'value': 215 bytes.",
        ),
        (
            "rsa/encrypt",
            json!({ "alg": "RSA-OAEP-256", "value": encode(&[1; 191]) }),
            "Invalid length of 'value'",
        ),
        ("rsa/encrypt", json!({ "alg": "RSA1_5", "value": encode(&[1; 246]) }), "Invalid length of 'value'"),
        ("rsa/wrapkey", json!({ "alg": "A256KW", "value": b32 }), "key type 'RSA'"),
        ("rsa/encrypt", json!({ "alg": "RSA-OAEP-512", "value": b32 }), "alg"),
        ("rsa/encrypt", json!({ "alg": "none", "value": b32 }), "alg"),
        ("rsa/encrypt", json!({ "value": b32 }), "Property 'alg' is missing"),
        ("rsa/encrypt", json!({ "alg": "RSA-OAEP" }), "Property 'value' is missing"),
        ("rsa/encrypt", json!({ "alg": "RSA-OAEP", "value": "+/+/" }), "Property 'value' has invalid value"),
        ("rsa/encrypt", json!({ "alg": "RSA-OAEP", "value": "A" }), "Property 'value' has invalid value"),
        ("rsa/encrypt", json!({ "alg": "RSA-OAEP", "value": [1] }), "Property 'value' has invalid value"),
        ("rsa/verify", json!({ "alg": "PS256", "value": b32 }), "Property 'digest' is missing"),
        ("rsa/encrypt", Value::Null, "no body"),
        ("ec/encrypt", json!({ "alg": "RSA-OAEP", "value": b32 }), ""),
        (
            "oct/wrapkey",
            json!({ "alg": "A256KW", "value": encode(&[1; 15]) }),
            "Invalid length of 'value': 15 bytes.",
        ),
        ("oct/wrapkey", json!({ "alg": "A256GCM", "value": b32 }), "operation 'wrapKey'"),
        ("oct/wrapkey", json!({ "alg": "A128KW", "value": b32 }), "key size 128"),
        ("oct/encrypt", json!({ "alg": "A256CBC", "value": b32 }), "Invalid length of 'iv': 0 bytes."),
        (
            "oct/encrypt",
            json!({ "alg": "A256CBC", "value": b32, "iv": encode(&[1; 12]) }),
            "Invalid length of 'iv': 12 bytes.",
        ),
        (
            "oct/encrypt",
            json!({ "alg": "A256CBC", "value": b1, "iv": b16 }),
            "Invalid length of 'value': 1 bytes.",
        ),
        (
            "oct/encrypt",
            json!({ "alg": "A256CBC", "value": b16, "iv": "%" }),
            "Property 'iv' has invalid value",
        ),
        (
            "oct/encrypt",
            json!({ "alg": "A256GCM", "value": encode(&vec![1; 128 * 1024 + 1]) }),
            "Invalid length of 'value': 131073 bytes.",
        ),
        ("oct/decrypt", json!({ "alg": "A256GCM", "value": b1, "iv": encode(&[1; 12]) }), "tag"),
        ("oct-small/sign", json!({ "alg": "HS256", "value": b32 }), "key size 128"),
    ] {
        let answer = keys.post(&format!("/keys/{path}"), body.clone()).await;
        if words.is_empty() {
            answer.refused(403, "Forbidden", Some("KeyOperationForbidden"));
            continue;
        }
        let said = message(&answer.refused(400, "BadParameter", None));
        let shown = body.to_string();
        assert!(said.contains(words), "{path} {}: {said}", &shown[..shown.len().min(200)]);
    }
}

/// Whatever is wrong with a ciphertext of the right length, one text says it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_decrypted_is_refused_in_one_text() {
    let keys = Keys::start().await;
    keys.import_sample("rsa", "rsa-2048").await;
    keys.create("oct", json!({ "kty": "oct" })).await;
    let gcm = json!({ "alg": "A256GCM", "value": encode(b"text"), "aad": encode(b"aad") });
    let sealed = keys.post("/keys/oct/encrypt", gcm).await.expect(200).json();
    let changed = |member: &str| {
        let mut body = sealed.clone();
        body["alg"] = json!("A256GCM");
        let mut bytes = decode(&body[member]);
        bytes[0] ^= 1;
        body[member] = json!(encode(&bytes));
        body
    };
    let wrap = json!({ "alg": "A256KW", "value": encode(&[1; 32]) });
    let mut wrapped = decode(&keys.post("/keys/oct/wrapkey", wrap).await.expect(200).json()["value"]);
    wrapped[3] ^= 1;
    let mut said = BTreeSet::new();
    for (path, body) in [
        ("rsa/decrypt", json!({ "alg": "RSA-OAEP", "value": encode(&[1; 256]) })),
        ("rsa/decrypt", json!({ "alg": "RSA-OAEP-256", "value": encode(&[2; 256]) })),
        ("rsa/unwrapkey", json!({ "alg": "RSA1_5", "value": encode(&[3; 256]) })),
        ("rsa/decrypt", json!({ "alg": "RSA-OAEP", "value": encode(&[255; 256]) })),
        ("oct/decrypt", changed("value")),
        ("oct/decrypt", changed("iv")),
        ("oct/decrypt", changed("tag")),
        ("oct/decrypt", changed("aad")),
        ("oct/decrypt", json!({ "alg": "A256CBCPAD", "value": encode(&[1; 32]), "iv": encode(&[1; 16]) })),
        ("oct/unwrapkey", json!({ "alg": "A256KW", "value": encode(&wrapped) })),
    ] {
        let answer = keys.post(&format!("/keys/{path}"), body.clone()).await;
        // One in 256 of random blocks ends like padding.
        if path == "oct/decrypt" && answer.status == 200 && body["alg"] == "A256CBCPAD" {
            continue;
        }
        said.insert(message(&answer.refused(400, "BadParameter", None)));
    }
    assert_eq!(said.len(), 1, "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_bytes_are_as_many_as_asked_for() {
    let keys = Keys::start().await;
    let mut seen = BTreeSet::new();
    for count in [1_usize, 32, 128, 128] {
        let answer = keys.post("/rng", json!({ "count": count })).await.expect(200).json();
        assert_eq!(members(&answer), BTreeSet::from(["value"]));
        let bytes = decode(&answer["value"]);
        assert_eq!(bytes.len(), count);
        assert!(count == 1 || seen.insert(bytes));
    }
    for body in [
        json!({}),
        json!({ "count": 0 }),
        json!({ "count": 129 }),
        json!({ "count": -1 }),
        json!({ "count": "8" }),
        Value::Null,
    ] {
        let answer = keys.post("/rng", body.clone()).await;
        let words = message(&answer.refused(400, "BadParameter", None));
        assert!(words.contains("count") || body.is_null(), "{body}: {words}");
    }
}
