//! EC keys and ECDSA (FIPS 186-5). AWS-LC takes nonces from random numbers mixed with key and digest.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P256K1_SHA256_FIXED,
    ECDSA_P256K1_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA512_FIXED, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    EcdsaVerificationAlgorithm, KeyPair as _, ParsedPublicKey,
};
use valv_model::Result;
use zeroize::Zeroizing;

use crate::{
    algorithm::Algorithm,
    jwk::{PublicJwk, encode},
    kind::Curve,
    private_key::fault,
    rsa::import,
};

pub(crate) struct EcKey {
    curve: Curve,
    pair: EcdsaKeyPair,
    public: ParsedPublicKey,
}

/// Before the coordinates of an uncompressed point (SEC 1, section 2.3.3).
const UNCOMPRESSED: u8 = 4;

impl EcKey {
    pub(crate) fn generate(curve: Curve) -> Result<Self> {
        EcdsaKeyPair::generate(signing(curve))
            .ok()
            .and_then(|pair| Self::new(curve, pair))
            .ok_or_else(|| fault("the library made no EC key"))
    }

    /// Nothing if it is not a key on this curve.
    pub(crate) fn from_pkcs8(curve: Curve, pkcs8: &[u8]) -> Option<Self> {
        EcdsaKeyPair::from_pkcs8(signing(curve), pkcs8).ok().and_then(|pair| Self::new(curve, pair))
    }

    /// Nothing if the point is not on the curve or not the private key's. All three are as long as the field.
    pub(crate) fn from_members(curve: Curve, d: &[u8], x: &[u8], y: &[u8]) -> Option<Self> {
        let point = [&[UNCOMPRESSED], x, y].concat();
        EcdsaKeyPair::from_private_key_and_public_key(signing(curve), d, &point)
            .ok()
            .and_then(|pair| Self::new(curve, pair))
    }

    fn new(curve: Curve, pair: EcdsaKeyPair) -> Option<Self> {
        let public = parse(curve, pair.public_key().as_ref())?;
        Some(Self { curve, pair, public })
    }

    pub(crate) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>> {
        let document = self.pair.to_pkcs8v1().map_err(|_| fault("an EC key can not be written"))?;
        Ok(Zeroizing::new(document.as_ref().to_vec()))
    }

    pub(crate) fn curve(&self) -> Curve {
        self.curve
    }

    pub(crate) fn public(&self) -> PublicJwk {
        let point = self.pair.public_key().as_ref();
        let coordinates = point.get(1..).unwrap_or_default();
        let (x, y) = coordinates.split_at_checked(self.curve.field_bytes()).unwrap_or_default();
        PublicJwk { crv: Some(self.curve), x: Some(encode(x)), y: Some(encode(y)), ..PublicJwk::default() }
    }

    pub(crate) fn sign(&self, digest: &[u8]) -> Result<Vec<u8>> {
        let digest = import(algorithm(self.curve), digest)?;
        let signature = self.pair.sign_digest(&digest).map_err(|_| fault("ECDSA signing failed"))?;
        Ok(signature.as_ref().to_vec())
    }

    pub(crate) fn verify(&self, digest: &[u8], signature: &[u8]) -> Result<bool> {
        verify(&self.public, self.curve, digest, signature)
    }
}

/// Reads an uncompressed point.
pub(crate) fn parse(curve: Curve, point: &[u8]) -> Option<ParsedPublicKey> {
    ParsedPublicKey::new(verification(curve), point).ok()
}

pub(crate) fn verify(
    public: &ParsedPublicKey,
    curve: Curve,
    digest: &[u8],
    signature: &[u8],
) -> Result<bool> {
    let digest = import(algorithm(curve), digest)?;
    Ok(public.verify_digest_sig(&digest, signature).is_ok())
}

/// The one algorithm of the curve.
fn algorithm(curve: Curve) -> Algorithm {
    match curve {
        Curve::P256 => Algorithm::Es256,
        Curve::P384 => Algorithm::Es384,
        Curve::P521 => Algorithm::Es512,
        Curve::P256K => Algorithm::Es256K,
    }
}

fn signing(curve: Curve) -> &'static EcdsaSigningAlgorithm {
    match curve {
        Curve::P256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
        Curve::P384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
        Curve::P521 => &ECDSA_P521_SHA512_FIXED_SIGNING,
        Curve::P256K => &ECDSA_P256K1_SHA256_FIXED_SIGNING,
    }
}

fn verification(curve: Curve) -> &'static EcdsaVerificationAlgorithm {
    match curve {
        Curve::P256 => &ECDSA_P256_SHA256_FIXED,
        Curve::P384 => &ECDSA_P384_SHA384_FIXED,
        Curve::P521 => &ECDSA_P521_SHA512_FIXED,
        Curve::P256K => &ECDSA_P256K1_SHA256_FIXED,
    }
}
