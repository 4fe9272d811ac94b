//! JSON Web Keys (RFC 7517): the members that an import brings, and the public ones that an answer shows.

use std::fmt;

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::{Deserialize, Serialize};
use valv_model::{Error, Result};
use zeroize::Zeroizing;

use crate::kind::Curve;

/// Unpadded, as RFC 7515 has it; padding is forgiven when reading.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// No member of a key that we take is longer than 512 bytes.
const MAX_MEMBER_CHARS: usize = 1024;

/// A key as an import brings it (RFC 7518, section 6): private members in zeroizing memory, all in base64url.
///
/// Other members (`kid`, `alg`, `use`, ..) are ignored. `Debug` shows `kty` and `crv` alone.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the members of RFC 7518, section 6, under their own names")]
pub struct JsonWebKey {
    /// The key type, such as `RSA` or `EC-HSM`.
    pub kty: String,
    /// What the key may do, if the import says so.
    pub key_ops: Option<Vec<String>>,
    pub n: Option<Zeroizing<String>>,
    pub e: Option<Zeroizing<String>>,
    pub d: Option<Zeroizing<String>>,
    pub p: Option<Zeroizing<String>>,
    pub q: Option<Zeroizing<String>>,
    pub dp: Option<Zeroizing<String>>,
    pub dq: Option<Zeroizing<String>>,
    pub qi: Option<Zeroizing<String>>,
    pub k: Option<Zeroizing<String>>,
    pub crv: Option<String>,
    pub x: Option<Zeroizing<String>>,
    pub y: Option<Zeroizing<String>>,
    /// A key wrapped for somebody else's HSM ("bring your own key"); refused.
    pub key_hsm: Option<Zeroizing<String>>,
}

impl fmt::Debug for JsonWebKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonWebKey").field("kty", &self.kty).field("crv", &self.crv).finish_non_exhaustive()
    }
}

/// The public members of a key, in base64url; none for `oct`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PublicJwk {
    /// RSA: the modulus.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n: Option<String>,
    /// RSA: the public exponent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub e: Option<String>,
    /// EC: the curve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crv: Option<Curve>,
    /// EC: the point, as long as the field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x: Option<String>,
    /// EC: the point, as long as the field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub y: Option<String>,
}

pub(crate) fn encode(bytes: &[u8]) -> String {
    BASE64URL.encode(bytes)
}

/// The bytes of a member, if it is there and not empty.
pub(crate) fn optional(name: &str, member: Option<&Zeroizing<String>>) -> Result<Option<Zeroizing<Vec<u8>>>> {
    let Some(text) = member.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    if text.len() > MAX_MEMBER_CHARS {
        return Err(Error::bad(format!(
            "Property {name} of the key has invalid value: it is longer than any key that this service takes.",
        )));
    }
    // Reserved whole, so that no reallocation leaves a copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    BASE64URL.decode_vec(text.as_bytes(), &mut bytes).map_err(|_| {
        Error::bad(format!("Property {name} of the key has invalid value: it is not base64url."))
    })?;
    Ok(Some(bytes))
}

/// The bytes of a member that this type of key needs.
pub(crate) fn required(
    name: &str,
    member: Option<&Zeroizing<String>>,
    kty: &str,
) -> Result<Zeroizing<Vec<u8>>> {
    optional(name, member)?.ok_or_else(|| {
        Error::bad(format!("Property {name} of the key is missing: keys of type {kty} need it."))
    })
}
