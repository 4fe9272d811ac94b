//! Requests to keys of every kind: answered or refused; what is encrypted and signed is decrypted and verified.
//! The first bytes choose key and algorithm and cut the rest into value, iv, tag and aad.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use valv_crypto::{Algorithm, Curve, Decrypt, Encrypt, Generate, KeyType, PrivateKey, generate};
use valv_model::ErrorCode;

static KEYS: LazyLock<Vec<PrivateKey>> = LazyLock::new(|| {
    let mut kinds = vec![Generate::new(KeyType::Rsa)];
    kinds.extend(Curve::ALL.map(|curve| Generate { curve: Some(curve), ..Generate::new(KeyType::Ec) }));
    kinds.extend([128, 192, 256].map(|bits| Generate { size: Some(bits), ..Generate::new(KeyType::Oct) }));
    kinds.iter().map(|kind| generate(kind).expect("a key")).collect()
});

fuzz_target!(|data: &[u8]| {
    let Some((&[key, algorithm, iv, tag, aad], rest)) = data.split_first_chunk::<5>() else { return };
    let key = &KEYS[usize::from(key) % KEYS.len()];
    let algorithm = Algorithm::ALL[usize::from(algorithm) % Algorithm::ALL.len()];
    let mut rest = rest;
    let mut cut = |length: u8| {
        let (part, left) = rest.split_at(rest.len().min(usize::from(length)));
        rest = left;
        (length != 0).then_some(part)
    };
    let (iv, tag, aad) = (cut(iv), cut(tag), cut(aad));
    let value = rest;

    let refused = |error: valv_model::Error| assert_eq!(error.code, ErrorCode::BadParameter, "{error:?}");
    match key.encrypt(algorithm, value, &Encrypt { iv, aad }) {
        Ok(sealed) => {
            let with =
                Decrypt { iv: sealed.iv.as_deref(), tag: sealed.tag.as_deref(), aad: sealed.aad.as_deref() };
            assert_eq!(key.decrypt(algorithm, &sealed.value, &with).expect("our own")[..], *value);
        }
        Err(error) => refused(error),
    }
    let _ = key.decrypt(algorithm, value, &Decrypt { iv, tag, aad }).map_err(refused);
    match key.wrap_key(algorithm, value) {
        Ok(wrapped) => assert_eq!(key.unwrap_key(algorithm, &wrapped).expect("our own")[..], *value),
        Err(error) => refused(error),
    }
    let _ = key.unwrap_key(algorithm, value).map_err(refused);
    match key.sign(algorithm, value) {
        Ok(signature) => assert!(key.verify(algorithm, value, &signature).expect("our own")),
        Err(error) => refused(error),
    }
});
