//! The kinds of keys, and the words for what a key may do.

use std::fmt;

use serde::{Deserialize, Serialize};
use valv_model::{Error, Result};

/// `kty`. The `-HSM` types are kept apart by name and never exported; the mathematics is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KeyType {
    /// RSA.
    #[serde(rename = "RSA")]
    Rsa,
    /// RSA, never exported.
    #[serde(rename = "RSA-HSM")]
    RsaHsm,
    /// Elliptic curve.
    #[serde(rename = "EC")]
    Ec,
    /// Elliptic curve, never exported.
    #[serde(rename = "EC-HSM")]
    EcHsm,
    /// Symmetric.
    #[serde(rename = "oct")]
    Oct,
    /// Symmetric, never exported.
    #[serde(rename = "oct-HSM")]
    OctHsm,
}

/// What a key is made of, whatever its protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Rsa,
    Ec,
    Oct,
}

impl Family {
    /// The types of this family, as an error text names them.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Rsa => "'RSA' or 'RSA-HSM'",
            Self::Ec => "'EC' or 'EC-HSM'",
            Self::Oct => "'oct' or 'oct-HSM'",
        }
    }
}

impl KeyType {
    /// All types.
    pub const ALL: [Self; 6] = [Self::Rsa, Self::RsaHsm, Self::Ec, Self::EcHsm, Self::Oct, Self::OctHsm];

    /// Reads the word on the wire; case matters (RFC 7517, section 4.1).
    ///
    /// # Errors
    /// 400 `BadParameter` for any other word.
    pub fn parse(word: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|kty| kty.as_str() == word).ok_or_else(|| {
            Error::bad("Property kty has invalid value. It is one of RSA, RSA-HSM, EC, EC-HSM, oct, oct-HSM.")
        })
    }

    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rsa => "RSA",
            Self::RsaHsm => "RSA-HSM",
            Self::Ec => "EC",
            Self::EcHsm => "EC-HSM",
            Self::Oct => "oct",
            Self::OctHsm => "oct-HSM",
        }
    }

    /// Is this one of the types that are never exported?
    #[must_use]
    pub fn is_hsm(self) -> bool {
        matches!(self, Self::RsaHsm | Self::EcHsm | Self::OctHsm)
    }

    /// The type of the same mathematics that is never exported: what `Hsm: true` of an import means.
    #[must_use]
    pub fn to_hsm(self) -> Self {
        match self.family() {
            Family::Rsa => Self::RsaHsm,
            Family::Ec => Self::EcHsm,
            Family::Oct => Self::OctHsm,
        }
    }

    /// `key_ops` of a key that was made without saying any, in Azure's order.
    #[must_use]
    pub fn default_operations(self) -> &'static [KeyOperation] {
        use KeyOperation::{Decrypt, Encrypt, Sign, UnwrapKey, Verify, WrapKey};
        match self.family() {
            Family::Rsa | Family::Oct => &[Encrypt, Decrypt, Sign, Verify, WrapKey, UnwrapKey],
            Family::Ec => &[Sign, Verify],
        }
    }

    /// Can a key of this type ever do `operation`?
    #[must_use]
    pub fn allows(self, operation: KeyOperation) -> bool {
        matches!(operation, KeyOperation::Import | KeyOperation::Export)
            || self.default_operations().contains(&operation)
    }

    pub(crate) fn family(self) -> Family {
        match self {
            Self::Rsa | Self::RsaHsm => Family::Rsa,
            Self::Ec | Self::EcHsm => Family::Ec,
            Self::Oct | Self::OctHsm => Family::Oct,
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `crv`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Curve {
    /// NIST P-256.
    #[serde(rename = "P-256")]
    P256,
    /// NIST P-384.
    #[serde(rename = "P-384")]
    P384,
    /// NIST P-521.
    #[serde(rename = "P-521")]
    P521,
    /// SECG secp256k1; `SECP256K1` is its older name.
    #[serde(rename = "P-256K", alias = "SECP256K1")]
    P256K,
}

impl Curve {
    /// All curves.
    pub const ALL: [Self; 4] = [Self::P256, Self::P384, Self::P521, Self::P256K];

    /// Reads the word on the wire.
    ///
    /// # Errors
    /// 400 `BadParameter` for any other word.
    pub fn parse(word: &str) -> Result<Self> {
        let word = if word == "SECP256K1" { "P-256K" } else { word };
        Self::ALL.into_iter().find(|curve| curve.as_str() == word).ok_or_else(|| {
            Error::bad("Property crv has invalid value. It is one of P-256, P-384, P-521, P-256K.")
        })
    }

    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
            Self::P256K => "P-256K",
        }
    }

    /// The size of the field in bits.
    #[must_use]
    pub fn bits(self) -> u32 {
        match self {
            Self::P256 | Self::P256K => 256,
            Self::P384 => 384,
            Self::P521 => 521,
        }
    }

    /// The length of a coordinate, of a private key, and of each half of a signature, in bytes.
    #[must_use]
    pub fn field_bytes(self) -> usize {
        match self {
            Self::P256 | Self::P256K => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }
}

impl fmt::Display for Curve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One word of `key_ops`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the words of RFC 7517, section 4.3, and Azure's import and export")]
pub enum KeyOperation {
    Encrypt,
    Decrypt,
    Sign,
    Verify,
    WrapKey,
    UnwrapKey,
    Import,
    Export,
}

impl KeyOperation {
    /// All operations.
    pub const ALL: [Self; 8] = [
        Self::Encrypt,
        Self::Decrypt,
        Self::Sign,
        Self::Verify,
        Self::WrapKey,
        Self::UnwrapKey,
        Self::Import,
        Self::Export,
    ];

    /// Reads the word on the wire.
    ///
    /// # Errors
    /// 400 `BadParameter` for any other word.
    pub fn parse(word: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|operation| operation.as_str() == word).ok_or_else(|| {
            Error::bad(
                "Property key_ops has invalid value. Its words are encrypt, decrypt, sign, verify, wrapKey, unwrapKey, import, export.",
            )
        })
    }

    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Encrypt => "encrypt",
            Self::Decrypt => "decrypt",
            Self::Sign => "sign",
            Self::Verify => "verify",
            Self::WrapKey => "wrapKey",
            Self::UnwrapKey => "unwrapKey",
            Self::Import => "import",
            Self::Export => "export",
        }
    }
}

impl fmt::Display for KeyOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written() {
        for kty in KeyType::ALL {
            assert_eq!(KeyType::parse(kty.as_str()).unwrap(), kty);
            assert_eq!(serde_json::to_value(kty).unwrap(), kty.as_str());
        }
        for curve in Curve::ALL {
            assert_eq!(Curve::parse(curve.as_str()).unwrap(), curve);
            assert_eq!(serde_json::to_value(curve).unwrap(), curve.as_str());
        }
        for operation in KeyOperation::ALL {
            assert_eq!(KeyOperation::parse(operation.as_str()).unwrap(), operation);
            assert_eq!(serde_json::to_value(operation).unwrap(), operation.as_str());
        }
        assert_eq!(Curve::parse("SECP256K1").unwrap(), Curve::P256K);
        assert_eq!(serde_json::from_str::<Curve>("\"SECP256K1\"").unwrap(), Curve::P256K);
        assert!(KeyType::parse("rsa").is_err());
        assert!(Curve::parse("P-224").is_err());
        assert!(KeyOperation::parse("wrapkey").is_err());
    }

    #[test]
    fn operations_without_a_choice_are_azures_in_its_order() {
        let words =
            |kty: KeyType| kty.default_operations().iter().map(|o| o.as_str()).collect::<Vec<_>>().join(" ");
        assert_eq!(words(KeyType::RsaHsm), "encrypt decrypt sign verify wrapKey unwrapKey");
        assert_eq!(words(KeyType::Ec), "sign verify");
        assert!(!KeyType::EcHsm.allows(KeyOperation::Decrypt));
        assert!(KeyType::EcHsm.allows(KeyOperation::Export));
    }
}
