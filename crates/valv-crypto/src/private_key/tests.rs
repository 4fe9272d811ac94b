use aws_lc_rs::digest;
use proptest::prelude::*;

use super::*;
use crate::{
    Generate, JsonWebKey, MAX_AAD_BYTES, MAX_DATA_BYTES, MAX_WRAPPED_KEY_BYTES,
    algorithm::Use,
    generate, import,
    samples::{self, jwk, key},
};

/// The algorithms that this key does.
fn algorithms(key: &PrivateKey, usage: impl Fn(Use) -> bool, operation: KeyOperation) -> Vec<Algorithm> {
    let fits = |algorithm: &Algorithm| {
        usage(algorithm.usage()) && algorithm.check(operation, key.kty(), key.bits(), key.curve()).is_ok()
    };
    Algorithm::ALL.into_iter().filter(fits).collect()
}

fn needs_iv(algorithm: Algorithm) -> bool {
    algorithm.as_str().contains("CBC")
}

const IV: [u8; 16] = [9; 16];

fn encrypt(key: &PrivateKey, algorithm: Algorithm, plaintext: &[u8]) -> Encrypted {
    let iv = needs_iv(algorithm).then_some(&IV[..]);
    let aad = algorithm.as_str().contains("GCM").then_some(&b"bound"[..]);
    key.encrypt(algorithm, plaintext, &Encrypt { iv, aad }).unwrap()
}

fn decrypt(key: &PrivateKey, algorithm: Algorithm, sealed: &Encrypted) -> Result<Zeroizing<Vec<u8>>> {
    let with = Decrypt { iv: sealed.iv.as_deref(), tag: sealed.tag.as_deref(), aad: sealed.aad.as_deref() };
    key.decrypt(algorithm, &sealed.value, &with)
}

/// Every way to hurt one bit of one member.
fn hurt(sealed: &Encrypted, bit: usize) -> Vec<Encrypted> {
    let flip = |bytes: &mut [u8]| {
        let at = bit / 8 % bytes.len();
        bytes[at] ^= 1 << (bit % 8);
    };
    let mut all = vec![sealed.clone(); 4];
    flip(&mut all[0].value);
    if let Some(iv) = &mut all[1].iv {
        flip(iv);
    }
    if let Some(tag) = &mut all[2].tag {
        flip(tag);
    }
    if let Some(aad) = &mut all[3].aad {
        flip(aad);
    }
    all.retain(|other| other != sealed);
    all
}

#[test]
fn what_is_encrypted_is_decrypted_and_nothing_else() {
    for key in samples::keys() {
        let stored = PrivateKey::from_stored(&key.to_stored().unwrap()).unwrap();
        for algorithm in algorithms(&key, |_| true, KeyOperation::Encrypt) {
            let plaintext = [7; 32];
            let sealed = encrypt(&key, algorithm, &plaintext);
            assert_ne!(sealed.value[..], plaintext[..]);
            assert_eq!(decrypt(&stored, algorithm, &sealed).unwrap()[..], plaintext, "{algorithm}");
            for bit in [0, 9, 77, 255] {
                for hurt in hurt(&sealed, bit) {
                    match decrypt(&key, algorithm, &hurt) {
                        Ok(other) => {
                            // CBC tells nobody whether it was changed.
                            assert!(needs_iv(algorithm) && other[..] != plaintext, "{algorithm}");
                        }
                        Err(error) => assert_eq!(error, cannot_decrypt(), "{algorithm}"),
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_wrapped_is_unwrapped_and_nothing_else() {
    for key in samples::keys() {
        for algorithm in algorithms(&key, |_| true, KeyOperation::WrapKey) {
            let inner = [5; 32];
            let mut value = key.wrap_key(algorithm, &inner).unwrap();
            assert_eq!(key.unwrap_key(algorithm, &value).unwrap()[..], inner, "{algorithm}");
            for at in 0..value.len().min(40) {
                value[at] ^= 0x40;
                assert_eq!(key.unwrap_key(algorithm, &value).unwrap_err(), cannot_decrypt(), "{algorithm}");
                value[at] ^= 0x40;
            }
        }
    }
}

#[test]
fn what_is_signed_is_verified_and_nothing_else() {
    for key in samples::keys() {
        let stored = PrivateKey::from_stored(&key.to_stored().unwrap()).unwrap();
        for algorithm in algorithms(&key, |_| true, KeyOperation::Sign) {
            let mut digest = digest::digest(algorithm.digest().unwrap(), b"message").as_ref().to_vec();
            let mut signature = key.sign(algorithm, &digest).unwrap();
            let length = match key.curve() {
                Some(curve) => 2 * curve.field_bytes(),
                None if key.kty() == KeyType::Rsa => key.bits() as usize / 8,
                None => digest.len(),
            };
            assert_eq!(signature.len(), length, "{algorithm}");
            assert!(stored.verify(algorithm, &digest, &signature).unwrap(), "{algorithm}");
            digest[3] ^= 1;
            assert!(!key.verify(algorithm, &digest, &signature).unwrap(), "{algorithm}");
            digest[3] ^= 1;
            for at in [0, 1, length / 2, length - 1] {
                signature[at] ^= 1;
                assert!(!key.verify(algorithm, &digest, &signature).unwrap(), "{algorithm}");
                signature[at] ^= 1;
            }
            for wrong in [&signature[1..], &signature[..length - 1], &[&signature[..], &[0]].concat(), &[]] {
                assert!(!key.verify(algorithm, &digest, wrong).unwrap(), "{algorithm}");
            }
        }
    }
}

#[test]
fn digests_of_a_wrong_length_are_refused_in_azures_words() {
    let ec = key(KeyType::Ec, Some(Curve::P256K));
    assert_eq!(
        ec.sign(Algorithm::Es256K, &[1]).unwrap_err().message,
        "Invalid length of 'value': 1 bytes. ES256K requires 32 bytes, encoded with base64url."
    );
    assert!(ec.verify(Algorithm::Es256K, &[0; 31], &[]).unwrap_err().message.contains("'digest': 31 bytes"));
    assert_eq!(
        ec.sign(Algorithm::Es256, &[0; 32]).unwrap_err().message,
        "Key and signing algorithm are incompatible. Key URL uses curve 'P-256K', and algorithm 'ES256' can only be used with curve 'P-256'."
    );
    let rsa = key(KeyType::Rsa, None);
    assert!(rsa.sign(Algorithm::Ps512, &[0; 48]).unwrap_err().message.contains("PS512 requires 64 bytes"));
    assert!(rsa.sign(Algorithm::RsNull, &[0; 32]).unwrap_err().message.contains("RSNULL"));
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    let invalid = |result: Result<()>, words: &str| {
        let message = result.unwrap_err().message;
        assert!(message.starts_with("Invalid length of ") && message.contains(words), "{message}");
    };
    let rsa = key(KeyType::Rsa, None);
    for (algorithm, most) in
        [(Algorithm::Rsa15, 245), (Algorithm::RsaOaep, 214), (Algorithm::RsaOaep256, 190)]
    {
        let value = rsa.wrap_key(algorithm, &vec![1; most]).unwrap();
        assert_eq!(rsa.unwrap_key(algorithm, &value).unwrap().len(), most);
        invalid(rsa.wrap_key(algorithm, &vec![1; most + 1]).map(drop), &format!("at most {most} bytes"));
        for length in [0, 1, 255, 257, 512] {
            invalid(rsa.unwrap_key(algorithm, &vec![1; length]).map(drop), "requires 256 bytes");
        }
    }
    let oct = key(KeyType::Oct, None);
    for length in [0, 8, 15, 17, MAX_WRAPPED_KEY_BYTES + 8] {
        invalid(oct.wrap_key(Algorithm::A256Kw, &vec![0; length]).map(drop), "multiple of 8");
    }
    for length in [0, 8, 16, 25, MAX_WRAPPED_KEY_BYTES + 16] {
        invalid(oct.unwrap_key(Algorithm::A256Kw, &vec![0; length]).map(drop), "multiple of 8");
    }
    let with = Encrypt { iv: Some(&IV), aad: None };
    for length in [0, 1, 15, 17, MAX_DATA_BYTES + 16] {
        invalid(oct.encrypt(Algorithm::A256Cbc, &vec![0; length], &with).map(drop), "'value'");
        let with = Decrypt { iv: Some(&IV), ..Decrypt::default() };
        if length % 16 != 0 || length == 0 {
            invalid(oct.decrypt(Algorithm::A256CbcPad, &vec![0; length], &with).map(drop), "'value'");
        }
    }
    for iv in [None, Some(&IV[1..]), Some(&[0; 17][..])] {
        invalid(oct.encrypt(Algorithm::A256CbcPad, b"data", &Encrypt { iv, aad: None }).map(drop), "'iv'");
        invalid(
            oct.decrypt(Algorithm::A256Cbc, &[0; 16], &Decrypt { iv, ..Decrypt::default() }).map(drop),
            "'iv'",
        );
        let with = Decrypt { iv, tag: Some(&[0; 16]), aad: None };
        invalid(oct.decrypt(Algorithm::A256Gcm, &[0; 16], &with).map(drop), "'iv'");
    }
    for tag in [None, Some(&IV[..12]), Some(&[0; 17][..])] {
        let with = Decrypt { iv: Some(&IV[..12]), tag, aad: None };
        invalid(oct.decrypt(Algorithm::A256Gcm, &[0; 16], &with).map(drop), "'tag'");
    }
    let data = vec![0; MAX_DATA_BYTES + 1];
    invalid(oct.encrypt(Algorithm::A256Gcm, &data, &Encrypt::default()).map(drop), "at most");
    let aad = vec![0; MAX_AAD_BYTES + 1];
    invalid(oct.encrypt(Algorithm::A256Gcm, b"", &Encrypt { iv: None, aad: Some(&aad) }).map(drop), "'aad'");
}

#[test]
fn the_longest_data_makes_the_way_there_and_back() {
    let oct = key(KeyType::Oct, None);
    let data = vec![3; MAX_DATA_BYTES];
    for algorithm in [Algorithm::A256Gcm, Algorithm::A256Cbc, Algorithm::A256CbcPad] {
        assert_eq!(decrypt(&oct, algorithm, &encrypt(&oct, algorithm, &data)).unwrap()[..], data);
    }
    let inner = vec![3; MAX_WRAPPED_KEY_BYTES];
    let value = oct.wrap_key(Algorithm::A256Kw, &inner).unwrap();
    assert_eq!(oct.unwrap_key(Algorithm::A256Kw, &value).unwrap()[..], inner);
}

#[test]
fn members_without_a_use_are_refused() {
    let (rsa, oct) = (key(KeyType::Rsa, None), key(KeyType::Oct, None));
    let iv = Encrypt { iv: Some(&IV), aad: None };
    let aad = Encrypt { iv: Some(&IV), aad: Some(b"bound") };
    assert!(rsa.encrypt(Algorithm::RsaOaep, b"", &iv).unwrap_err().message.contains("iv"));
    assert!(oct.encrypt(Algorithm::A256Gcm, b"", &iv).unwrap_err().message.contains("iv"));
    assert!(oct.encrypt(Algorithm::A256CbcPad, b"", &aad).unwrap_err().message.contains("aad"));
    let with = Decrypt { iv: Some(&IV), tag: Some(&IV), aad: None };
    assert!(oct.decrypt(Algorithm::A256CbcPad, &IV, &with).unwrap_err().message.contains("tag"));
}

#[test]
fn gcm_never_uses_an_iv_twice() {
    let oct = key(KeyType::Oct, None);
    let ivs: std::collections::HashSet<_> = (0..1000)
        .map(|_| oct.encrypt(Algorithm::A256Gcm, b"", &Encrypt::default()).unwrap().iv.unwrap())
        .collect();
    assert_eq!(ivs.len(), 1000);
}

#[test]
fn a_stored_key_keeps_type_curve_and_public_members() {
    for key in samples::keys() {
        for kty in [key.kty(), key.kty().to_hsm()] {
            let key = PrivateKey { kty, ..PrivateKey::from_stored(&key.to_stored().unwrap()).unwrap() };
            let stored = key.to_stored().unwrap();
            let read = PrivateKey::from_stored(&stored).unwrap();
            assert_eq!((read.kty(), read.bits(), read.curve()), (kty, key.bits(), key.curve()));
            assert_eq!(read.public(), key.public());
            assert_eq!(format!("{read:?}"), format!("PrivateKey({kty}, {} bits)", key.bits()));
            for length in 0..stored.len().min(60) {
                assert!(PrivateKey::from_stored(&stored[..length]).is_err());
            }
            for (at, byte) in [(0, 0), (0, 2), (1, 0), (1, 7)] {
                let mut damaged = stored.to_vec();
                damaged[at] = byte;
                assert!(PrivateKey::from_stored(&damaged).is_err());
            }
        }
    }
}

#[test]
fn debug_of_a_jwk_shows_no_material() {
    let shown = format!("{:?}", jwk(samples::EC[0]));
    let JsonWebKey { d, x, .. } = jwk(samples::EC[0]);
    assert!(!shown.contains(d.unwrap().as_str()) && !shown.contains(x.unwrap().as_str()), "{shown}");
}

#[test]
fn keys_are_shared_between_threads() {
    let key = &key(KeyType::Rsa, None);
    std::thread::scope(|scope| {
        for byte in 0..4 {
            scope.spawn(move || {
                for _ in 0..5 {
                    let sealed = encrypt(key, Algorithm::RsaOaep256, &[byte; 20]);
                    assert_eq!(decrypt(key, Algorithm::RsaOaep256, &sealed).unwrap()[..], [byte; 20]);
                    let signature = key.sign(Algorithm::Ps256, &[byte; 32]).unwrap();
                    assert!(key.verify(Algorithm::Ps256, &[byte; 32], &signature).unwrap());
                }
            });
        }
    });
}

proptest! {
    #[test]
    fn any_data_makes_the_way_there_and_back(data: Vec<u8>, aad: Option<Vec<u8>>, size in 0..3_usize, iv: [u8; 16]) {
        let bits = [128, 192, 256][size];
        let key = generate(&Generate { size: Some(bits), ..Generate::new(KeyType::Oct) }).unwrap();
        let aad = aad.as_deref();
        let gcm = [Algorithm::A128Gcm, Algorithm::A192Gcm, Algorithm::A256Gcm][size];
        let sealed = key.encrypt(gcm, &data, &Encrypt { iv: None, aad }).unwrap();
        prop_assert_eq!(sealed.aad.as_deref(), aad);
        prop_assert_eq!(&decrypt(&key, gcm, &sealed).unwrap()[..], &data[..]);
        let pad = [Algorithm::A128CbcPad, Algorithm::A192CbcPad, Algorithm::A256CbcPad][size];
        let sealed = key.encrypt(pad, &data, &Encrypt { iv: Some(&iv), aad: None }).unwrap();
        prop_assert_eq!(&decrypt(&key, pad, &sealed).unwrap()[..], &data[..]);
        let kw = [Algorithm::A128Kw, Algorithm::A192Kw, Algorithm::A256Kw][size];
        let wrapped = key.wrap_key(kw, &data);
        prop_assert_eq!(wrapped.is_ok(), data.len() % 8 == 0 && data.len() >= 16);
        if let Ok(value) = wrapped {
            prop_assert_eq!(&key.unwrap_key(kw, &value).unwrap()[..], &data[..]);
        }
    }

    #[test]
    fn any_stored_bytes_are_read_or_refused(stored: Vec<u8>, start in 0..4_u8, kty in 0..8_u8, curve in 0..6_u8) {
        let _ = PrivateKey::from_stored(&stored);
        let _ = PrivateKey::from_stored(&[&[start, kty, curve], &stored[..]].concat());
    }

    #[test]
    fn any_request_is_answered_or_refused(
        algorithm in proptest::sample::select(Algorithm::ALL.to_vec()),
        sample in 0..6_usize,
        value: Vec<u8>,
        iv: Option<Vec<u8>>,
        tag: Option<Vec<u8>>,
        aad: Option<Vec<u8>>,
    ) {
        thread_local!(static KEYS: Vec<PrivateKey> = {
            let mut keys: Vec<_> = samples::EC.map(|text| import(&jwk(text)).unwrap()).into();
            keys.extend([key(KeyType::Rsa, None), key(KeyType::Oct, None)]);
            keys
        });
        KEYS.with(|keys| {
            let key = &keys[sample];
            let (iv, tag, aad) = (iv.as_deref(), tag.as_deref(), aad.as_deref());
            let _ = key.encrypt(algorithm, &value, &Encrypt { iv, aad });
            let _ = key.decrypt(algorithm, &value, &Decrypt { iv, tag, aad });
            let _ = key.wrap_key(algorithm, &value);
            let _ = key.unwrap_key(algorithm, &value);
            let _ = key.sign(algorithm, &value);
            let _ = key.verify(algorithm, &value, &value);
        });
    }
}
