//! Every algorithm against another implementation, both ways: what we make they take, what they make we take.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::convert::Infallible;

use aes_gcm::{
    Aes128Gcm, Aes256Gcm, AesGcm, KeyInit as _,
    aead::{Aead as _, Payload, consts::U12},
    aes::Aes192,
};
use aws_lc_rs::{digest, hmac, key_wrap, key_wrap::KeyWrap as _, rand};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rsa::{
    BoxedUint, Oaep, Pkcs1v15Encrypt, Pkcs1v15Sign, Pss,
    rand_core::{TryCryptoRng, TryRng},
    sha2::{Sha256, Sha384, Sha512},
};
use serde_json::Value;
use valv_crypto::{
    Algorithm, Curve, Decrypt, Encrypt, Generate, JsonWebKey, KeyType, PrivateKey, generate, import,
};

struct Rng;

impl TryRng for Rng {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_ne_bytes(bytes))
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_ne_bytes(bytes))
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        rand::fill(bytes).unwrap();
        Ok(())
    }
}

impl TryCryptoRng for Rng {}

fn bytes(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    rand::fill(&mut bytes).unwrap();
    bytes
}

fn member(jwk: &Value, name: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap()
}

/// One key as ours and as theirs.
fn rsa_pair(text: &str) -> (PrivateKey, rsa::PrivateKey) {
    let jwk: Value = serde_json::from_str(text).unwrap();
    let uint = |name| BoxedUint::from_be_slice_vartime(&member(&jwk, name));
    let theirs =
        rsa::PrivateKey::from_components(uint("n"), uint("e"), uint("d"), vec![uint("p"), uint("q")])
            .unwrap();
    (import(&serde_json::from_str(text).unwrap()).unwrap(), theirs)
}

const RSA: [&str; 3] = [
    include_str!("samples/rsa-2048.json"),
    include_str!("samples/rsa-3072.json"),
    include_str!("samples/rsa-4096.json"),
];

#[test]
fn rsa_encryption() {
    for text in RSA {
        let (ours, theirs) = rsa_pair(text);
        let public = theirs.to_public_key();
        for length in [0, 1, 32, 190] {
            let data = bytes(length);
            let check = |algorithm, value: Vec<u8>, open: &dyn Fn(&[u8]) -> Vec<u8>| {
                assert_eq!(ours.decrypt(algorithm, &value, &Decrypt::default()).unwrap()[..], data);
                assert_eq!(open(&ours.encrypt(algorithm, &data, &Encrypt::default()).unwrap().value), data);
                assert_eq!(open(&ours.wrap_key(algorithm, &data).unwrap()), data);
                assert_eq!(ours.unwrap_key(algorithm, &value).unwrap()[..], data);
            };
            let value = public.encrypt(&mut Rng, Pkcs1v15Encrypt, &data).unwrap();
            check(Algorithm::Rsa15, value, &|value| theirs.decrypt(Pkcs1v15Encrypt, value).unwrap());
            let value = public.encrypt(&mut Rng, Oaep::<Sha256>::new(), &data).unwrap();
            check(Algorithm::RsaOaep256, value, &|value| {
                theirs.decrypt(Oaep::<Sha256>::new(), value).unwrap()
            });
        }
    }
}

#[test]
fn rsa_signatures() {
    for text in RSA {
        let (ours, theirs) = rsa_pair(text);
        macro_rules! check {
            ($hash:ty, $bytes:literal, $pkcs1:expr, $pss:expr) => {
                let digest = bytes($bytes);
                let scheme = || Pkcs1v15Sign::new::<$hash>();
                let signature = ours.sign($pkcs1, &digest).unwrap();
                assert_eq!(signature, theirs.sign(scheme(), &digest).unwrap());
                theirs.as_public_key().verify(scheme(), &digest, &signature).unwrap();
                assert!(ours.verify($pkcs1, &digest, &signature).unwrap());

                let scheme = || Pss::<$hash>::new();
                let signature = ours.sign($pss, &digest).unwrap();
                theirs.as_public_key().verify(scheme(), &digest, &signature).unwrap();
                let signature = theirs.sign_with_rng(&mut Rng, scheme(), &digest).unwrap();
                assert!(ours.verify($pss, &digest, &signature).unwrap());
            };
        }
        check!(Sha256, 32, Algorithm::Rs256, Algorithm::Ps256);
        check!(Sha384, 48, Algorithm::Rs384, Algorithm::Ps384);
        check!(Sha512, 64, Algorithm::Rs512, Algorithm::Ps512);
    }
}

macro_rules! ecdsa {
    ($test:ident, $library:ident, $curve:expr, $algorithm:expr) => {
        #[test]
        fn $test() {
            use $library::ecdsa::{
                Signature, SigningKey, VerifyingKey,
                signature::hazmat::{PrehashSigner as _, PrehashVerifier as _},
            };
            for _ in 0..20 {
                let digest = bytes($algorithm.digest_bytes().unwrap());
                let ours = generate(&Generate { curve: Some($curve), ..Generate::new(KeyType::Ec) }).unwrap();
                let public = serde_json::to_value(ours.public()).unwrap();
                let point = [vec![4], member(&public, "x"), member(&public, "y")].concat();
                let theirs = VerifyingKey::from_sec1_bytes(&point).unwrap();
                let signature = Signature::from_slice(&ours.sign($algorithm, &digest).unwrap()).unwrap();
                // k256 takes the smaller of the two values of S alone, as Bitcoin does.
                let signature = signature.normalize_s();
                theirs.verify_prehash(&digest, &signature).unwrap();
                assert!(ours.verify($algorithm, &digest, &signature.to_bytes()).unwrap());

                let d = bytes($curve.field_bytes());
                let Ok(theirs) = SigningKey::from_slice(&d) else { continue };
                let point = VerifyingKey::from(&theirs).to_sec1_point(false);
                let (x, y) = point.as_bytes()[1..].split_at($curve.field_bytes());
                let text = |bytes: &[u8]| Some(URL_SAFE_NO_PAD.encode(bytes).into());
                let ours = import(&JsonWebKey {
                    kty: "EC".to_owned(),
                    crv: Some($curve.to_string()),
                    d: text(&d),
                    x: text(x),
                    y: text(y),
                    ..JsonWebKey::default()
                })
                .unwrap();
                let signature: Signature = theirs.sign_prehash(&digest).unwrap();
                assert!(ours.verify($algorithm, &digest, &signature.to_bytes()).unwrap());
            }
        }
    };
}

ecdsa!(es256, p256, Curve::P256, Algorithm::Es256);
ecdsa!(es384, p384, Curve::P384, Algorithm::Es384);
ecdsa!(es512, p521, Curve::P521, Algorithm::Es512);
ecdsa!(es256k, k256, Curve::P256K, Algorithm::Es256K);

fn oct(key: &[u8]) -> PrivateKey {
    let k = Some(URL_SAFE_NO_PAD.encode(key).into());
    import(&JsonWebKey { kty: "oct".to_owned(), k, ..JsonWebKey::default() }).unwrap()
}

macro_rules! gcm {
    ($key:expr, $cipher:ty, $algorithm:expr) => {
        let (key, iv, data, aad) = (bytes($key), bytes(12), bytes(100), bytes(20));
        let (ours, theirs) = (oct(&key), <$cipher>::new_from_slice(&key).unwrap());
        let sealed = ours.encrypt($algorithm, &data, &Encrypt { iv: None, aad: Some(&aad) }).unwrap();
        let value = [sealed.value, sealed.tag.unwrap()].concat();
        let nonce = sealed.iv.unwrap();
        let opened =
            theirs.decrypt(nonce[..].try_into().unwrap(), Payload { msg: &value, aad: &aad }).unwrap();
        assert_eq!(opened, data);
        let value = theirs.encrypt(iv[..].try_into().unwrap(), Payload { msg: &data, aad: &aad }).unwrap();
        let (value, tag) = value.split_at(100);
        let with = Decrypt { iv: Some(&iv), tag: Some(tag), aad: Some(&aad) };
        assert_eq!(ours.decrypt($algorithm, value, &with).unwrap()[..], data);
    };
}

#[test]
fn aes_gcm() {
    for _ in 0..50 {
        gcm!(16, Aes128Gcm, Algorithm::A128Gcm);
        gcm!(24, AesGcm<Aes192, U12>, Algorithm::A192Gcm);
        gcm!(32, Aes256Gcm, Algorithm::A256Gcm);
    }
}

#[test]
fn aes_key_wrap() {
    for (length, algorithm, cipher) in
        [(16, Algorithm::A128Kw, &key_wrap::AES_128), (32, Algorithm::A256Kw, &key_wrap::AES_256)]
    {
        for inner in [16, 24, 32, 64, 1024] {
            let (key, inner) = (bytes(length), bytes(inner));
            let ours = oct(&key);
            let theirs = || key_wrap::AesKek::new(cipher, &key).unwrap();
            let mut out = vec![0; inner.len() + 8];
            let value = ours.wrap_key(algorithm, &inner).unwrap();
            assert_eq!(theirs().unwrap(&value, &mut out).unwrap(), &inner[..]);
            assert_eq!(theirs().wrap(&inner, &mut out).unwrap(), &value[..]);
            assert_eq!(ours.unwrap_key(algorithm, &value).unwrap()[..], inner);
        }
    }
}

#[test]
fn hmac_of_a_digest() {
    let key = bytes(32);
    let digest = digest::digest(&digest::SHA384, b"message");
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA384, &key), digest.as_ref());
    assert_eq!(oct(&key).sign(Algorithm::Hs384, digest.as_ref()).unwrap(), tag.as_ref());
}
