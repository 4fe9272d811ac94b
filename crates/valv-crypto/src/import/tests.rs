use base64::{
    Engine as _,
    engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD},
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    Algorithm, Encrypt,
    jwk::encode,
    samples::{EC, RSA_2048, RSA_2048_LARGE_E, RSA_2048_MINIMAL_EULER, RSA_3072, RSA_4096, WEAK},
};

const CRT: [&str; 5] = ["p", "q", "dp", "dq", "qi"];

fn object(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn bytes(key: &Value, name: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap()
}

fn take(value: &Value) -> Result<PrivateKey> {
    let jwk = serde_json::from_value(value.clone()).map_err(|error| Error::bad(error.to_string()))?;
    import(&jwk)
}

fn refusal(value: &Value) -> String {
    take(value).unwrap_err().message
}

#[test]
fn rsa_keys_come_with_or_without_crt_members() {
    for text in [RSA_2048, RSA_2048_LARGE_E, RSA_3072, RSA_4096] {
        let whole = object(text);
        let mut minimal = whole.clone();
        for name in CRT {
            minimal.as_object_mut().unwrap().remove(name);
        }
        let (whole, minimal) = (take(&whole).unwrap(), take(&minimal).unwrap());
        assert_eq!(whole.public().n.as_deref(), object(text)["n"].as_str());
        assert_eq!(whole.public().e.as_deref(), object(text)["e"].as_str());
        assert_eq!(whole.public(), minimal.public());
        let value = whole.encrypt(Algorithm::RsaOaep, b"one", &Encrypt::default()).unwrap().value;
        assert_eq!(minimal.unwrap_key(Algorithm::RsaOaep, &value).unwrap()[..], *b"one");
        let signature = minimal.sign(Algorithm::Rs256, &[1; 32]).unwrap();
        assert_eq!(signature, whole.sign(Algorithm::Rs256, &[1; 32]).unwrap());
    }
}

#[test]
fn d_may_be_reduced_by_euler_or_by_carmichael() {
    let key = take(&object(RSA_2048_MINIMAL_EULER)).unwrap();
    let signature = key.sign(Algorithm::Ps384, &[1; 48]).unwrap();
    assert!(key.verify(Algorithm::Ps384, &[1; 48], &signature).unwrap());
}

#[test]
fn weak_rsa_keys_are_refused() {
    for (text, why) in WEAK {
        let refused = refusal(&object(text));
        assert!(refused.contains(why), "{refused}");
        let mut minimal = object(text);
        for name in CRT {
            minimal.as_object_mut().unwrap().remove(name);
        }
        // Recovery ends earlier for some: what counts is that they are refused.
        refusal(&minimal);
    }
}

#[test]
fn rsa_keys_with_a_part_missing_or_changed_are_refused() {
    let whole = object(RSA_2048);
    for name in ["n", "e", "d", "p", "q", "dp", "dq", "qi"] {
        let mut other = whole.clone();
        other[name] = Value::Null;
        let refused = refusal(&other);
        assert!(
            refused.contains(if CRT.contains(&name) { "not complete" } else { "is missing" }),
            "{refused}"
        );
        let member = bytes(&whole, name);
        for bit in [0, 1, 7] {
            let mut changed = member.clone();
            *changed.last_mut().unwrap() ^= 1 << bit;
            let mut other = whole.clone();
            other[name] = json!(encode(&changed));
            refusal(&other);
            // As a minimal key.
            for name in CRT {
                other[name] = Value::Null;
            }
            if !CRT.contains(&name) {
                refusal(&other);
            }
        }
    }
    for (name, wrong) in
        [("n", "!"), ("e", "AQA="), ("d", "AA"), ("p", "AQ"), ("e", "AQ"), ("e", "Ag"), ("e", "AQAA")]
    {
        let mut other = whole.clone();
        other[name] = json!(wrong);
        refusal(&other);
    }
    for (name, wrong, why) in [
        ("e", "AQAC", "odd number"),
        ("e", "AgAAAAE", "odd number"),
        ("d", "AA", "longer than half"),
        ("d", "AQAB", "longer than half"),
        ("d", &encode(&[0xff; 257]), "not longer than n"),
        ("n", &encode(&[0xfe; 256]), "odd modulus"),
    ] {
        let mut other = whole.clone();
        other[name] = json!(wrong);
        assert!(refusal(&other).contains(why), "{name}");
        for name in CRT {
            other[name] = Value::Null;
        }
        assert!(refusal(&other).contains(why), "{name}");
    }
    // The members of another key.
    let other = object(RSA_2048_LARGE_E);
    for name in ["n", "d", "p", "q", "dp", "dq", "qi"] {
        let mut mixed = whole.clone();
        mixed[name] = other[name].clone();
        refusal(&mixed);
    }
}

#[test]
fn leading_zeros_and_padding_are_forgiven() {
    let mut key = object(RSA_2048);
    for name in ["n", "e", "d", "p", "q", "dp", "dq", "qi"] {
        let member = bytes(&key, name);
        let padded = URL_SAFE.encode([&[0], &member[..]].concat());
        key[name] = json!(padded);
    }
    assert_eq!(take(&key).unwrap().public(), take(&object(RSA_2048)).unwrap().public());
}

#[test]
fn ec_keys_are_taken_on_every_curve_and_only_with_their_own_point() {
    for text in EC {
        let key = object(text);
        let taken = take(&key).unwrap();
        assert_eq!(taken.public().x.as_deref(), key["x"].as_str());
        assert_eq!(taken.public().y.as_deref(), key["y"].as_str());
        for name in ["d", "x", "y"] {
            let mut other = key.clone();
            other[name] = Value::Null;
            assert!(refusal(&other).contains("is missing"));
            for wrong in ["AA", "AQ", "_w"] {
                other[name] = json!(wrong);
                assert!(refusal(&other).contains("not valid"));
            }
            other[name] = json!(encode(&[0xff; 66]));
            refusal(&other);
            other[name] = json!(encode(&[0xff; 67]));
            assert!(refusal(&other).contains("too long"));
        }
        let mut other = key.clone();
        (other["x"], other["y"]) = (key["y"].clone(), key["x"].clone());
        assert!(refusal(&other).contains("not valid"));
        for curve in ["P-256", "P-384", "P-521", "P-256K", "P-224", ""] {
            let mut other = key.clone();
            other["crv"] = json!(curve);
            assert_eq!(take(&other).is_ok(), key["crv"] == curve, "{curve}");
        }
    }
    let mut key = object(EC[3]);
    key["crv"] = json!("SECP256K1");
    assert_eq!(take(&key).unwrap().curve(), Some(Curve::P256K));
}

#[test]
fn oct_keys_have_128_192_or_256_bits() {
    for length in 0..40 {
        let key = json!({ "kty": "oct", "k": encode(&vec![1; length]) });
        assert_eq!(take(&key).is_ok(), [16, 24, 32].contains(&length), "{length}");
    }
    refusal(&json!({ "kty": "oct-HSM" }));
}

#[test]
fn types_are_kept_apart_and_wrapped_keys_refused() {
    let mut key = object(EC[0]);
    key["kty"] = json!("EC-HSM");
    assert_eq!(take(&key).unwrap().kty(), KeyType::EcHsm);
    for wrong in ["", "ec", "RSA", "oct", "OKP"] {
        key["kty"] = json!(wrong);
        refusal(&key);
    }
    let mut key = object(RSA_2048);
    key["key_hsm"] = json!("e30");
    assert!(refusal(&key).contains("key_hsm"));
}

#[test]
fn members_of_any_length_are_refused_early() {
    let long = "A".repeat(1 << 20);
    for name in ["n", "e", "d", "p"] {
        let mut key = object(RSA_2048);
        key[name] = json!(long);
        assert!(refusal(&key).contains("longer than any key"));
    }
}

fn members() -> impl Strategy<Value = (usize, String, Value)> {
    let name = proptest::sample::select(vec![
        "kty", "n", "e", "d", "p", "q", "dp", "dq", "qi", "k", "crv", "x", "y", "key_hsm",
    ]);
    let bytes = proptest::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| json!(encode(&bytes)));
    let value = prop_oneof![Just(Value::Null), bytes, ".{0,12}".prop_map(|text| json!(text))];
    (0..6_usize, name.prop_map(str::to_owned), value)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn any_change_of_a_member_is_refused_or_changes_nothing(
        (sample, name, value) in members(), minimal: bool,
    ) {
        let text = [RSA_2048, RSA_2048_MINIMAL_EULER, EC[0], EC[1], EC[2], EC[3]][sample];
        let mut key = object(text);
        if minimal && sample < 2 {
            for name in CRT {
                key[name] = Value::Null;
            }
        }
        key[&name] = value;
        if let Ok(taken) = take(&key) {
            prop_assert_eq!(taken.public(), take(&object(text)).unwrap().public());
        }
    }

    #[test]
    fn any_numbers_are_refused_without_a_panic(
        n in proptest::collection::vec(any::<u8>(), 256), d in proptest::collection::vec(any::<u8>(), 200..257),
        top: bool, e: u32,
    ) {
        let mut n = n;
        n[0] |= 0x80;
        n[255] |= 1;
        let mut d = d;
        d[0] |= u8::from(top) << 7;
        let key = json!({ "kty": "RSA", "n": encode(&n), "e": encode(&(e | 0x10001).to_be_bytes()), "d": encode(&d) });
        prop_assert!(take(&key).is_err());
    }
}
