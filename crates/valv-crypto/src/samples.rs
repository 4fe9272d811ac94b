//! Keys for tests, made once by `openssl genpkey`; making RSA keys takes seconds.

use crate::{
    Generate, JsonWebKey, KeyType, PrivateKey, generate, import,
    kind::{Curve, Family},
};

macro_rules! sample {
    ($name:literal) => {
        include_str!(concat!("../tests/samples/", $name, ".json"))
    };
}

pub(crate) const RSA_2048: &str = sample!("rsa-2048");
pub(crate) const RSA_2048_LARGE_E: &str = sample!("rsa-2048-e33");
pub(crate) const RSA_2048_MINIMAL_EULER: &str = sample!("rsa-2048-minimal-euler");
pub(crate) const RSA_3072: &str = sample!("rsa-3072");
pub(crate) const RSA_4096: &str = sample!("rsa-4096");
pub(crate) const EC: [&str; 4] =
    [sample!("ec-p-256"), sample!("ec-p-384"), sample!("ec-p-521"), sample!("ec-p-256k")];
/// Weak keys, and a word of why.
pub(crate) const WEAK: [(&str, &str); 5] = [
    (sample!("weak-rsa-1024"), "1024 bits"),
    (sample!("weak-rsa-e3"), "odd number from 65537"),
    (sample!("weak-rsa-close"), "too close"),
    (sample!("weak-rsa-composite"), "not a prime"),
    (sample!("weak-rsa-unbalanced"), "half the length"),
];

pub(crate) fn jwk(text: &str) -> JsonWebKey {
    serde_json::from_str(text).unwrap()
}

/// A key of each kind, with its plain type: RSA of three sizes, EC on four curves, `oct` of three sizes.
pub(crate) fn keys() -> Vec<PrivateKey> {
    let rsa = [RSA_2048, RSA_3072, RSA_4096].into_iter().chain(EC).map(|text| import(&jwk(text)).unwrap());
    let oct = [128, 192, 256]
        .map(|bits| generate(&Generate { size: Some(bits), ..Generate::new(KeyType::Oct) }).unwrap());
    rsa.chain(oct).collect()
}

/// A new key of the kind, but for RSA, which has one sample.
pub(crate) fn key(kty: KeyType, curve: Option<Curve>) -> PrivateKey {
    match kty.family() {
        Family::Rsa => import(&jwk(RSA_2048)).unwrap(),
        Family::Ec | Family::Oct => generate(&Generate { curve, ..Generate::new(kty) }).unwrap(),
    }
}
