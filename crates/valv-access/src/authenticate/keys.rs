//! Keys that check signatures, each bound to the algorithms that fit it: a token's header never chooses
//! how a key is used (RFC 8725 sections 3.1 and 3.2).

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};
use valv_model::Result;

use super::{refuse, shown};
use crate::SigningKey;

/// RSA keys that small are refused (RFC 7518 section 3.3).
const RSA_BYTES_MIN: usize = 256;

/// A public key and the algorithms it may be used with.
#[derive(Clone)]
pub(super) struct VerifyKey {
    key: DecodingKey,
    algorithms: Vec<Algorithm>,
}

impl VerifyKey {
    /// The public half of one of the built-in issuer's keys.
    pub(super) fn built_in(key: &SigningKey) -> Result<Self> {
        Ok(Self { key: DecodingKey::from_ec_der(&key.public()?.point), algorithms: vec![Algorithm::ES256] })
    }

    /// A key that an issuer publishes; None if it is none for signatures that we check.
    pub(super) fn published(jwk: &Jwk) -> Option<Self> {
        let common = &jwk.common;
        let signs = common.public_key_use.as_ref().is_none_or(|u| *u == PublicKeyUse::Signature)
            && common.key_operations.as_ref().is_none_or(|ops| ops.contains(&KeyOperations::Verify));
        let mut algorithms = match &jwk.algorithm {
            AlgorithmParameters::RSA(rsa) if modulus_bytes(&rsa.n)? >= RSA_BYTES_MIN => vec![
                Algorithm::RS256,
                Algorithm::RS384,
                Algorithm::RS512,
                Algorithm::PS256,
                Algorithm::PS384,
                Algorithm::PS512,
            ],
            AlgorithmParameters::EllipticCurve(ec) => match ec.curve {
                EllipticCurve::P256 => vec![Algorithm::ES256],
                EllipticCurve::P384 => vec![Algorithm::ES384],
                _ => return None,
            },
            _ => return None,
        };
        if let Some(named) = &common.key_algorithm {
            algorithms.retain(|algorithm| format!("{algorithm:?}") == named.to_string());
        }
        let key = DecodingKey::from_jwk(jwk).ok()?;
        (signs && !algorithms.is_empty()).then_some(Self { key, algorithms })
    }

    /// The claims of a token that this key signed. Its times and names are not checked yet.
    pub(super) fn verify(&self, token: &str, algorithm: Algorithm) -> Result<Map<String, Value>> {
        if !self.algorithms.contains(&algorithm) {
            return Err(refuse(
                "AKV10000",
                format_args!("The token's algorithm {algorithm:?} does not fit its key."),
            ));
        }
        let mut validation = Validation::new(algorithm);
        // The library would judge them by the system's clock; `Claims` and `Window` judge by the given one.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        match jsonwebtoken::decode::<Map<String, Value>>(token, &self.key, &validation) {
            Ok(data) => Ok(data.claims),
            Err(error) => Err(match error.kind() {
                ErrorKind::InvalidSignature => refuse("AKV10000", "The token's signature is not valid."),
                _ => malformed(),
            }),
        }
    }
}

/// The algorithm and key id of a token's header. Nothing is checked yet.
pub(super) fn header(token: &str) -> Result<(Algorithm, String)> {
    let header = jsonwebtoken::decode_header(token).map_err(|_| malformed())?;
    if header.crit.is_some() || header.enc.is_some() || header.zip.is_some() {
        return Err(refuse(
            "AKV10000",
            "The token's header asks for an extension (crit, enc or zip) that is not supported.",
        ));
    }
    if !matches!(header.typ.as_deref(), None | Some("JWT" | "jwt" | "at+jwt" | "application/at+jwt")) {
        return Err(refuse("AKV10000", "The token's type is neither JWT nor at+jwt."));
    }
    match header.kid {
        Some(kid) if kid.len() <= 256 => Ok((header.alg, kid)),
        Some(kid) => Err(refuse("AKV10046", format_args!("The token's key id {} is too long.", shown(&kid)))),
        None => Err(refuse(
            "AKV10046",
            "Unable to resolve the key used for signature validation: the token names no key id.",
        )),
    }
}

/// The token is no JWT with an asymmetric signature. The token is not repeated.
pub(super) fn malformed() -> valv_model::Error {
    refuse(
        "AKV10000",
        "The bearer token is not a JWT with a signature of RS256, RS384, RS512, PS256, PS384, PS512, ES256 or ES384.",
    )
}

fn modulus_bytes(n: &str) -> Option<usize> {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let bytes = URL_SAFE_NO_PAD.decode(n).ok()?;
    Some(bytes.len() - bytes.iter().take_while(|byte| **byte == 0).count())
}
