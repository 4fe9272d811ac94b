//! The algorithms: their words, and which key and which operation each fits.

use std::fmt;

use aws_lc_rs::digest;
use valv_model::{Error, Result};

use crate::kind::{Curve, Family, KeyOperation, KeyType};

/// `alg`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(
    missing_docs,
    reason = "the words of RFC 7518 and of Azure's JsonWebKeyEncryptionAlgorithm, -SignatureAlgorithm"
)]
pub enum Algorithm {
    Rsa15,
    RsaOaep,
    RsaOaep256,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    /// PKCS#1 v1.5 over bytes without a digest's name. Known, so that it is refused by name.
    RsNull,
    Es256,
    Es384,
    Es512,
    /// Also read from its older word `ECDSA256`.
    Es256K,
    A128Kw,
    A192Kw,
    A256Kw,
    A128Gcm,
    A192Gcm,
    A256Gcm,
    A128Cbc,
    A192Cbc,
    A256Cbc,
    A128CbcPad,
    A192CbcPad,
    A256CbcPad,
    Hs256,
    Hs384,
    Hs512,
}

/// What an algorithm does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// RSA encryption: encrypts data and wraps keys.
    EncryptAndWrap,
    /// AES on data.
    Encrypt,
    /// AES key wrap.
    Wrap,
    /// Signatures and MACs of digests.
    Sign,
}

use Algorithm::{
    A128Cbc, A128CbcPad, A128Gcm, A128Kw, A192Cbc, A192CbcPad, A192Gcm, A192Kw, A256Cbc, A256CbcPad, A256Gcm,
    A256Kw, Es256, Es256K, Es384, Es512, Hs256, Hs384, Hs512, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512,
    RsNull, Rsa15, RsaOaep, RsaOaep256,
};

impl Algorithm {
    /// All algorithms, `RSNULL` included, which no key does.
    pub const ALL: [Self; 29] = [
        Rsa15, RsaOaep, RsaOaep256, Rs256, Rs384, Rs512, Ps256, Ps384, Ps512, RsNull, Es256, Es384, Es512,
        Es256K, A128Kw, A192Kw, A256Kw, A128Gcm, A192Gcm, A256Gcm, A128Cbc, A192Cbc, A256Cbc, A128CbcPad,
        A192CbcPad, A256CbcPad, Hs256, Hs384, Hs512,
    ];

    /// Reads the word on the wire; case matters (RFC 7515, section 4.1.1). `ECDSA256` is [`Algorithm::Es256K`].
    ///
    /// # Errors
    /// 400 `BadParameter` for any other word.
    pub fn parse(word: &str) -> Result<Self> {
        let word = if word == "ECDSA256" { "ES256K" } else { word };
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == word).ok_or_else(|| {
            Error::bad("Property alg has invalid value: it names no algorithm of this service.")
        })
    }

    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Rsa15 => "RSA1_5",
            RsaOaep => "RSA-OAEP",
            RsaOaep256 => "RSA-OAEP-256",
            Rs256 => "RS256",
            Rs384 => "RS384",
            Rs512 => "RS512",
            Ps256 => "PS256",
            Ps384 => "PS384",
            Ps512 => "PS512",
            RsNull => "RSNULL",
            Es256 => "ES256",
            Es384 => "ES384",
            Es512 => "ES512",
            Es256K => "ES256K",
            A128Kw => "A128KW",
            A192Kw => "A192KW",
            A256Kw => "A256KW",
            A128Gcm => "A128GCM",
            A192Gcm => "A192GCM",
            A256Gcm => "A256GCM",
            A128Cbc => "A128CBC",
            A192Cbc => "A192CBC",
            A256Cbc => "A256CBC",
            A128CbcPad => "A128CBCPAD",
            A192CbcPad => "A192CBCPAD",
            A256CbcPad => "A256CBCPAD",
            Hs256 => "HS256",
            Hs384 => "HS384",
            Hs512 => "HS512",
        }
    }

    /// The length in bytes of the digest that `sign` and `verify` take; nothing for the other algorithms.
    #[must_use]
    pub fn digest_bytes(self) -> Option<usize> {
        self.digest().map(digest::Algorithm::output_len)
    }

    /// The one curve whose keys do this algorithm.
    #[must_use]
    pub fn curve(self) -> Option<Curve> {
        match self {
            Es256 => Some(Curve::P256),
            Es384 => Some(Curve::P384),
            Es512 => Some(Curve::P521),
            Es256K => Some(Curve::P256K),
            _ => None,
        }
    }

    /// The digest that was taken of what is signed.
    pub(crate) fn digest(self) -> Option<&'static digest::Algorithm> {
        match self {
            Rs256 | Ps256 | Es256 | Es256K | Hs256 => Some(&digest::SHA256),
            Rs384 | Ps384 | Es384 | Hs384 => Some(&digest::SHA384),
            Rs512 | Ps512 | Es512 | Hs512 => Some(&digest::SHA512),
            _ => None,
        }
    }

    /// The AES key size in bits.
    pub(crate) fn aes_bits(self) -> Option<u32> {
        match self {
            A128Kw | A128Gcm | A128Cbc | A128CbcPad => Some(128),
            A192Kw | A192Gcm | A192Cbc | A192CbcPad => Some(192),
            A256Kw | A256Gcm | A256Cbc | A256CbcPad => Some(256),
            _ => None,
        }
    }

    fn family(self) -> Family {
        match self {
            Rsa15 | RsaOaep | RsaOaep256 | Rs256 | Rs384 | Rs512 | Ps256 | Ps384 | Ps512 | RsNull => {
                Family::Rsa
            }
            Es256 | Es384 | Es512 | Es256K => Family::Ec,
            _ => Family::Oct,
        }
    }

    pub(crate) fn usage(self) -> Use {
        match self {
            Rsa15 | RsaOaep | RsaOaep256 => Use::EncryptAndWrap,
            A128Kw | A192Kw | A256Kw => Use::Wrap,
            Rs256 | Rs384 | Rs512 | Ps256 | Ps384 | Ps512 | RsNull | Es256 | Es384 | Es512 | Es256K
            | Hs256 | Hs384 | Hs512 => Use::Sign,
            _ => Use::Encrypt,
        }
    }

    /// Checks that `operation` with this algorithm makes sense for a key of this type and size (`bits`) or
    /// curve. Needs no key, so it can be asked before one is opened.
    ///
    /// # Errors
    /// 400 `BadParameter`, in Azure's words where they are known.
    pub fn check(self, operation: KeyOperation, kty: KeyType, bits: u32, curve: Option<Curve>) -> Result<()> {
        use KeyOperation::{Decrypt, Encrypt, Export, Import, Sign, UnwrapKey, Verify, WrapKey};
        let usage = self.usage();
        let does = match operation {
            Encrypt | Decrypt => matches!(usage, Use::Encrypt | Use::EncryptAndWrap),
            WrapKey | UnwrapKey => matches!(usage, Use::Wrap | Use::EncryptAndWrap),
            Sign | Verify => usage == Use::Sign,
            Import | Export => false,
        };
        if !does {
            return Err(Error::bad(format!(
                "Algorithm '{self}' can not be used for operation '{operation}'."
            )));
        }
        if self == RsNull {
            return Err(Error::bad(
                "Algorithm 'RSNULL' is not supported: it signs bytes without the name of their digest. Use RS256, RS384, RS512, PS256, PS384 or PS512.",
            ));
        }
        let noun = if usage == Use::Sign { "signing" } else { "encryption" };
        if kty.family() != self.family() {
            return Err(Error::bad(format!(
                "Key and {noun} algorithm are incompatible. Key URL uses key type '{kty}', and algorithm '{self}' can only be used with key type {}.",
                self.family().words(),
            )));
        }
        if let (Some(of_key), Some(of_algorithm)) = (curve, self.curve())
            && of_key != of_algorithm
        {
            return Err(Error::bad(format!(
                "Key and signing algorithm are incompatible. Key URL uses curve '{of_key}', and algorithm '{self}' can only be used with curve '{of_algorithm}'.",
            )));
        }
        if let Some(needed) = self.aes_bits()
            && needed != bits
        {
            return Err(Error::bad(format!(
                "Key and encryption algorithm are incompatible. Key URL uses key size {bits}, and algorithm '{self}' can only be used with key size {needed}.",
            )));
        }
        if self.family() == Family::Oct && usage == Use::Sign && bits < MIN_HMAC_BITS {
            return Err(Error::bad(format!(
                "Key and signing algorithm are incompatible. Key URL uses key size {bits}, and algorithm '{self}' can only be used with key size {MIN_HMAC_BITS} or more.",
            )));
        }
        Ok(())
    }
}

/// RFC 7518, section 3.2, wants an HMAC key as long as the digest. Azure's longest `oct` key has 256 bits,
/// which would leave HS384 and HS512 without a key; so all three take a key of 256 bits. That is RFC 7518 for
/// HS256, and for the other two no weaker than it: the strength is that of the key (SP 800-224, section 4).
const MIN_HMAC_BITS: u32 = 256;

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::parse(algorithm.as_str()).unwrap(), algorithm);
        }
        assert_eq!(Algorithm::parse("ECDSA256").unwrap(), Es256K);
        assert!(Algorithm::parse("es256").is_err());
        assert!(Algorithm::parse("").is_err());
    }

    fn refusal(
        algorithm: Algorithm,
        operation: KeyOperation,
        kty: KeyType,
        bits: u32,
        curve: Option<Curve>,
    ) -> String {
        algorithm.check(operation, kty, bits, curve).unwrap_err().message
    }

    #[test]
    fn what_does_not_fit_is_refused_in_azures_words() {
        assert_eq!(
            refusal(Es256, KeyOperation::Sign, KeyType::Ec, 256, Some(Curve::P256K)),
            "Key and signing algorithm are incompatible. Key URL uses curve 'P-256K', and algorithm 'ES256' can only be used with curve 'P-256'."
        );
        assert!(
            refusal(Es256, KeyOperation::Sign, KeyType::RsaHsm, 2048, None).contains("key type 'RSA-HSM'")
        );
        assert!(refusal(RsNull, KeyOperation::Sign, KeyType::Rsa, 2048, None).contains("RSNULL"));
        assert!(refusal(A128Kw, KeyOperation::WrapKey, KeyType::Oct, 256, None).contains("key size 128"));
        assert!(
            refusal(A256Kw, KeyOperation::Encrypt, KeyType::Oct, 256, None).contains("operation 'encrypt'")
        );
        assert!(
            refusal(A256Gcm, KeyOperation::WrapKey, KeyType::Oct, 256, None).contains("operation 'wrapKey'")
        );
        assert!(refusal(Hs256, KeyOperation::Sign, KeyType::Oct, 192, None).contains("256 or more"));
    }

    #[test]
    fn every_algorithm_but_rsnull_fits_some_key_and_only_its_own_operations() {
        let keys = KeyType::ALL.into_iter().flat_map(|kty| match kty.family() {
            Family::Rsa => vec![(kty, 2048, None)],
            Family::Ec => Curve::ALL.into_iter().map(|curve| (kty, curve.bits(), Some(curve))).collect(),
            Family::Oct => vec![(kty, 128, None), (kty, 192, None), (kty, 256, None)],
        });
        let mut fits = std::collections::HashMap::<Algorithm, usize>::new();
        for (kty, bits, curve) in keys {
            for algorithm in Algorithm::ALL {
                for operation in KeyOperation::ALL {
                    if algorithm.check(operation, kty, bits, curve).is_ok() {
                        assert!(kty.allows(operation));
                        *fits.entry(algorithm).or_default() += 1;
                    }
                }
            }
        }
        // Two types (plain and HSM) times the operations.
        for algorithm in Algorithm::ALL {
            let expected = match algorithm.usage() {
                _ if algorithm == RsNull => None,
                Use::EncryptAndWrap => Some(8),
                Use::Encrypt | Use::Wrap | Use::Sign => Some(4),
            };
            assert_eq!(fits.get(&algorithm).copied(), expected, "{algorithm}");
        }
    }
}
