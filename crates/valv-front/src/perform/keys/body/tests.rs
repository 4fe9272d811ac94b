use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn said<T>(read: impl Fn(&[u8]) -> Result<T>, body: Value) -> String {
    match read(body.to_string().as_bytes()) {
        Ok(_) => String::new(),
        Err(error) => error.message,
    }
}

#[test]
fn a_key_is_created_from_its_type_and_defaults() {
    let read = |body: Value| create(body.to_string().as_bytes()).unwrap();
    let least = read(json!({ "kty": "RSA" }));
    assert_eq!(least.generate, Generate::new(KeyType::Rsa));
    assert!(least.key_ops.is_none() && least.tags.is_empty());
    assert_eq!(least.attributes, KeyAttributesPatch::default());
    let full = read(json!({
        "kty": "RSA-HSM", "key_size": 3072, "public_exponent": 65537, "key_ops": ["wrapKey", "sign"], "crv": null,
        "attributes": { "enabled": false, "nbf": 1, "exp": 2, "exportable": false, "created": 7 },
        "tags": { "a": "b" }, "release_policy": null,
    }));
    assert_eq!((full.generate.kty, full.generate.size), (KeyType::RsaHsm, Some(3072)));
    assert_eq!(full.key_ops.unwrap(), [KeyOperation::WrapKey, KeyOperation::Sign]);
    let common = full.attributes.common;
    assert_eq!((common.enabled, common.nbf.unwrap().0, common.exp.unwrap().0), (Some(false), 1, 2));
    assert_eq!(full.tags["a"], "b");
    let ec = read(json!({ "kty": "EC", "crv": "SECP256K1" }));
    assert_eq!(ec.generate.curve, Some(Curve::P256K));
}

#[test]
fn what_a_create_gets_wrong_is_named() {
    for (body, part) in [
        (json!({}), "Property 'kty' is missing"),
        (json!({ "kty": 7 }), "Property 'kty' has invalid value"),
        (json!({ "kty": "rsa" }), "Property kty has invalid value"),
        (json!({ "kty": "RSA", "key_size": 1024 }), "key_size"),
        (json!({ "kty": "RSA", "key_size": -1 }), "Property 'key_size'"),
        (json!({ "kty": "RSA", "crv": "P-256" }), "crv"),
        (json!({ "kty": "EC", "crv": "P-224" }), "crv"),
        (json!({ "kty": "oct", "key_size": 512 }), "key_size"),
        (json!({ "kty": "RSA", "public_exponent": 3 }), "public_exponent"),
        (json!({ "kty": "RSA", "key_ops": "sign" }), "Property 'key_ops'"),
        (json!({ "kty": "RSA", "key_ops": ["Sign"] }), "key_ops"),
        (json!({ "kty": "RSA", "attributes": { "exp": "x" } }), "Property 'attributes.exp'"),
        (json!({ "kty": "RSA", "attributes": { "exportable": true } }), "Property 'attributes.exportable'"),
        (json!({ "kty": "RSA", "release_policy": {} }), "AKV.SKR.1005"),
        (
            json!({ "kty": "RSA", "attributes": { "exportable": true }, "release_policy": {} }),
            "secure key release is not offered",
        ),
    ] {
        let words = said(create, body.clone());
        assert!(words.contains(part), "{body}: {words}");
    }
    assert!(said(update, json!({ "release_policy": { "data": "e30" } })).contains("AKV.SKR.1005"));
    assert!(said(update, json!({ "attributes": { "exportable": true } })).contains("exportable"));
    assert_eq!(said(update, json!({ "attributes": {} })), "");
    assert!(update(b"").is_ok());
}

#[test]
fn an_import_brings_a_jwk_and_no_message_repeats_it() {
    let body = json!({
        "Hsm": true,
        "key": { "kty": "RSA", "n": "bg", "e": "ZQ", "d": "ZA", "key_ops": ["sign"], "kid": "x", "p": null },
        "attributes": { "enabled": true },
        "tags": { "a": "b" },
    });
    let read = import(body.to_string().as_bytes()).unwrap();
    assert!(read.hsm && read.key.d.as_ref().is_some_and(|d| d.as_str() == "ZA") && read.key.p.is_none());
    assert_eq!(read.key.key_ops.as_deref(), Some(&["sign".to_owned()][..]));
    assert!(import(br#"{"hsm":true,"key":{"kty":"EC"}}"#).unwrap().hsm);
    assert!(!import(br#"{"key":{"kty":"EC"}}"#).unwrap().hsm);
    for (body, part) in [
        (json!({}), "Property 'key' is missing"),
        (json!({ "key": "s3cret" }), "Property 'key' has invalid value"),
        (json!({ "key": {} }), "Property 'key.kty' is missing"),
        (json!({ "key": { "kty": "RSA", "d": ["s3cret"] } }), "Property 'key.d'"),
        (json!({ "key": { "kty": "RSA", "k": { "s3cret": 1 } } }), "Property 'key.k'"),
        (json!({ "key": { "kty": "RSA", "key_ops": ["s3cret"] } }), "key_ops"),
        (json!({ "key": { "kty": "RSA" }, "Hsm": "s3cret" }), "Property 'Hsm'"),
        (json!({ "key": { "kty": "RSA" }, "release_policy": { "data": "s3cret" } }), "AKV.SKR.1005"),
    ] {
        let words = said(import, body.clone());
        assert!(words.contains(part), "{body}: {words}");
        assert!(!words.contains("s3cret"), "{words}");
    }
}

#[test]
fn each_computation_has_its_own_members() {
    let read = |operation, body: Value| {
        computation(operation, body.to_string().as_bytes()).map(|(_, c)| c).map_err(|e| e.message)
    };
    let body =
        json!({ "alg": "A128GCM", "value": "AQ==", "iv": "Ag", "tag": "Aw", "aad": "BA", "digest": "BQ" });
    let Ok(Computation::Encrypt { algorithm, value, iv, aad }) = read(Operation::KeyEncrypt, body.clone())
    else {
        panic!("no encryption")
    };
    assert_eq!(algorithm, Algorithm::A128Gcm);
    assert_eq!((&value[..], iv.unwrap(), aad.unwrap()), (&[1][..], vec![2], vec![4]));
    let Ok(Computation::Decrypt { value, iv, tag, aad, .. }) = read(Operation::KeyDecrypt, body.clone())
    else {
        panic!("no decryption")
    };
    assert_eq!((value, iv.unwrap(), tag.unwrap(), aad.unwrap()), (vec![1], vec![2], vec![3], vec![4]));
    let Ok(Computation::Sign { digest, .. }) = read(Operation::KeySign, body.clone()) else {
        panic!("no signature")
    };
    assert_eq!(digest, [1]);
    let Ok(Computation::Verify { digest, signature, .. }) = read(Operation::KeyVerify, body.clone()) else {
        panic!("no verification")
    };
    assert_eq!((digest, signature), (vec![5], vec![1]));
    assert!(matches!(read(Operation::KeyWrap, body.clone()), Ok(Computation::Wrap { .. })));
    assert!(matches!(read(Operation::KeyUnwrap, body), Ok(Computation::Unwrap { .. })));

    for operation in [
        Operation::KeyEncrypt,
        Operation::KeyDecrypt,
        Operation::KeyWrap,
        Operation::KeyUnwrap,
        Operation::KeySign,
        Operation::KeyVerify,
    ] {
        for (body, part) in [
            (json!({ "digest": "AA", "value": "AA" }), "Property 'alg' is missing"),
            (json!({ "alg": "s3cret", "digest": "AA", "value": "AA" }), "alg"),
            (json!({ "alg": "RSA-OAEP", "digest": "AA" }), "Property 'value' is missing"),
            (
                json!({ "alg": "RSA-OAEP", "digest": "AA", "value": "+s3cret" }),
                "Property 'value' has invalid value",
            ),
            (json!({ "alg": "RSA-OAEP", "digest": "AA", "value": 7 }), "Property 'value' has invalid value"),
        ] {
            let words = read(operation, body.clone()).err().unwrap_or_default();
            assert!(words.contains(part), "{operation} {body}: {words}");
            assert!(!words.contains("s3cret"), "{words}");
        }
    }
    let words = read(Operation::KeyVerify, json!({ "alg": "RS256", "value": "AA" })).err().unwrap();
    assert!(words.contains("Property 'digest' is missing"), "{words}");
    let words =
        read(Operation::KeyDecrypt, json!({ "alg": "A128CBC", "value": "AA", "iv": "!" })).err().unwrap();
    assert!(words.contains("Property 'iv'"), "{words}");
}

#[test]
fn a_rotation_policy_is_read_as_azure_writes_it() {
    let body = json!({
        "id": "ignored",
        "lifetimeActions": [
            { "trigger": { "timeAfterCreate": "P90D", "timeBeforeExpiry": null }, "action": { "type": "Rotate" } },
            { "trigger": { "timeBeforeExpiry": "P30D" }, "action": { "type": "notify" } },
        ],
        "attributes": { "expiryTime": "P2Y", "created": 1 },
    });
    let read = policy(body.to_string().as_bytes()).unwrap();
    assert_eq!(read.expiry_time.as_deref(), Some("P2Y"));
    let [rotate, notify] = &read.lifetime_actions[..] else { panic!("{read:?}") };
    assert_eq!(
        (rotate.action, rotate.time_after_create.as_deref()),
        (LifetimeActionType::Rotate, Some("P90D"))
    );
    assert_eq!(
        (notify.action, notify.time_before_expiry.as_deref()),
        (LifetimeActionType::Notify, Some("P30D"))
    );
    assert_eq!(policy(b"{}").unwrap(), RotationPolicy::default());
    for (body, part) in [
        (json!({ "lifetimeActions": {} }), "Property 'lifetimeActions'"),
        (json!({ "lifetimeActions": [7] }), "Property 'lifetimeActions'"),
        (json!({ "lifetimeActions": [{}] }), "Property 'lifetimeActions[0].trigger' is missing"),
        (
            json!({ "lifetimeActions": [{ "trigger": {} }] }),
            "Property 'lifetimeActions[0].action' is missing",
        ),
        (
            json!({ "lifetimeActions": [{ "trigger": {}, "action": { "type": "Explode" } }] }),
            "Property 'lifetimeActions[0].action.type' has invalid value. It must be Rotate or Notify.",
        ),
        (
            json!({ "lifetimeActions": [{ "trigger": { "timeAfterCreate": 7 }, "action": { "type": "Rotate" } }] }),
            "Property 'lifetimeActions[0].trigger.timeAfterCreate'",
        ),
        (json!({ "attributes": { "expiryTime": 7 } }), "Property 'attributes.expiryTime'"),
    ] {
        let words = said(policy, body.clone());
        assert!(words.contains(part), "{body}: {words}");
    }
    assert!(said(count, json!({})).contains("Property 'count' is missing"));
    assert!(said(count, json!({ "count": -1 })).contains("Property 'count' has invalid value"));
    assert_eq!(count(b"{\"count\":32}").unwrap(), 32);
}

proptest! {
    #[test]
    fn no_body_panics(body in "\\PC*|[{}\\[\\]\":,a-z0-9\\\\]*") {
        for spec in valv_model::OPERATIONS {
            let _ = parse(spec.operation, body.as_bytes());
        }
    }
}
