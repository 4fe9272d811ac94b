//! A private or symmetric key and its operations.

use std::fmt;

use valv_model::{Error, Result};
use zeroize::Zeroizing;

use crate::{
    algorithm::Algorithm,
    ec::EcKey,
    jwk::PublicJwk,
    kind::{Curve, Family, KeyOperation, KeyType},
    limits::length,
    oct::OctKey,
    rsa::RsaKey,
};

/// The version of the stored form, its first byte.
const STORED: u8 = 1;

/// A key that can do its private operations. Costs up to 0.5 ms to open ([`PrivateKey::from_stored`], RSA), so
/// it is worth keeping; it is `Send` and `Sync`, and many threads may use it at once. The material lives in
/// memory that is wiped when freed; `Debug` shows type and size alone.
///
/// # Failed decryption
/// What cannot be decrypted or unwrapped gives one and the same error, whether padding, tag, check value or
/// number was wrong. Only what every reader of the request can see, a length that fits no value of this
/// algorithm, gets a text of its own. RSA padding (OAEP and PKCS#1 v1.5) is removed by AWS-LC, CBC padding
/// here, both in constant time. Still, with `RSA1_5` and `CBCPAD` success itself says something about the
/// plaintext of a chosen ciphertext (Bleichenbacher 1998, Vaudenay 2002); AWS-LC has no implicit rejection. Who
/// asks needs the permission to decrypt, and should not hand answers on. OAEP and GCM have no such weakness.
pub struct PrivateKey {
    pub(crate) kty: KeyType,
    pub(crate) material: Material,
}

pub(crate) enum Material {
    Rsa(RsaKey),
    Ec(EcKey),
    Oct(OctKey),
}

/// What comes with a plaintext. Everything is optional here; what an algorithm needs or cannot use is checked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Encrypt<'a> {
    /// CBC: the initialization vector, 16 bytes. For GCM the key makes it, and refuses one.
    pub iv: Option<&'a [u8]>,
    /// GCM: data that is authenticated with the ciphertext.
    pub aad: Option<&'a [u8]>,
}

/// What comes with a ciphertext.
#[derive(Clone, Copy, Debug, Default)]
pub struct Decrypt<'a> {
    /// GCM (12 bytes) and CBC (16 bytes): the initialization vector.
    pub iv: Option<&'a [u8]>,
    /// GCM: the tag, 16 bytes.
    pub tag: Option<&'a [u8]>,
    /// GCM: data that was authenticated with the ciphertext.
    pub aad: Option<&'a [u8]>,
}

/// The answer of an encryption.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encrypted {
    /// The ciphertext.
    pub value: Vec<u8>,
    /// GCM and CBC: the initialization vector.
    pub iv: Option<Vec<u8>>,
    /// GCM: the tag.
    pub tag: Option<Vec<u8>>,
    /// GCM: the additional authenticated data, as it was given.
    pub aad: Option<Vec<u8>>,
}

/// The one answer to whatever cannot be decrypted.
pub(crate) fn cannot_decrypt() -> Error {
    Error::bad("The value can not be decrypted or unwrapped with this key and algorithm.")
}

/// A fault of the library where none is expected.
pub(crate) fn fault(what: &'static str) -> Error {
    Error::internal(what)
}

impl PrivateKey {
    /// The type.
    #[must_use]
    pub fn kty(&self) -> KeyType {
        self.kty
    }

    /// The size in bits: of the modulus, of the curve's field, or of the `oct` key.
    #[must_use]
    pub fn bits(&self) -> u32 {
        match &self.material {
            Material::Rsa(key) => key.bits(),
            Material::Ec(key) => key.curve().bits(),
            Material::Oct(key) => key.bits(),
        }
    }

    /// The curve of an EC key.
    #[must_use]
    pub fn curve(&self) -> Option<Curve> {
        match &self.material {
            Material::Ec(key) => Some(key.curve()),
            Material::Rsa(_) | Material::Oct(_) => None,
        }
    }

    /// The public members.
    #[must_use]
    pub fn public(&self) -> PublicJwk {
        match &self.material {
            Material::Rsa(key) => key.public(),
            Material::Ec(key) => key.public(),
            Material::Oct(_) => PublicJwk::default(),
        }
    }

    /// The key as bytes, to be sealed and stored: version, type, curve (EC) or length in bytes (`oct`), then
    /// PKCS#8 (RFC 5208; RSA, EC) or the bytes of the key (`oct`).
    ///
    /// # Errors
    /// 500 if the library fails.
    pub fn to_stored(&self) -> Result<Zeroizing<Vec<u8>>> {
        let (kind, material) = match &self.material {
            Material::Rsa(key) => (0, key.to_pkcs8()?),
            Material::Ec(key) => (curve_byte(key.curve()), key.to_pkcs8()?),
            Material::Oct(key) => (length_byte(key.bytes()), Zeroizing::new(key.bytes().to_vec())),
        };
        let mut stored = Zeroizing::new(Vec::with_capacity(3 + material.len()));
        stored.extend([STORED, kty_byte(self.kty), kind]);
        stored.extend_from_slice(&material);
        Ok(stored)
    }

    /// Opens what [`PrivateKey::to_stored`] wrote.
    ///
    /// # Errors
    /// 500: the record is damaged, or a newer program wrote it.
    pub fn from_stored(stored: &[u8]) -> Result<Self> {
        let damaged = || fault("a stored key can not be read");
        let (&[version, kty, kind], material) = stored.split_first_chunk::<3>().ok_or_else(damaged)?;
        if version != STORED {
            return Err(fault("a stored key is of a form that this program does not know"));
        }
        let kty = KeyType::ALL.into_iter().find(|known| kty_byte(*known) == kty).ok_or_else(damaged)?;
        let material = match kty.family() {
            Family::Rsa => Material::Rsa(RsaKey::from_pkcs8(material).ok_or_else(damaged)?),
            Family::Ec => {
                let curve =
                    Curve::ALL.into_iter().find(|known| curve_byte(*known) == kind).ok_or_else(damaged)?;
                Material::Ec(EcKey::from_pkcs8(curve, material).ok_or_else(damaged)?)
            }
            Family::Oct if length_byte(material) == kind => {
                Material::Oct(OctKey::new(Zeroizing::new(material.to_vec())).map_err(|_| damaged())?)
            }
            Family::Oct => return Err(damaged()),
        };
        Ok(Self { kty, material })
    }

    /// Encrypts data: RSA, GCM, CBC. The answer to GCM holds a random `iv` of 96 bits; SP 800-38D allows 2^32
    /// such messages under one key.
    ///
    /// # Errors
    /// 400 if algorithm, length, `iv` or `aad` do not fit.
    pub fn encrypt(&self, algorithm: Algorithm, plaintext: &[u8], with: &Encrypt<'_>) -> Result<Encrypted> {
        self.check(algorithm, KeyOperation::Encrypt)?;
        match &self.material {
            Material::Rsa(key) => {
                unused(algorithm, &[("iv", with.iv), ("aad", with.aad)])?;
                Ok(Encrypted { value: key.encrypt(algorithm, plaintext)?, ..Encrypted::default() })
            }
            Material::Oct(key) => key.encrypt(algorithm, plaintext, with),
            Material::Ec(_) => Err(fault("an EC key was asked to encrypt")),
        }
    }

    /// Decrypts data.
    ///
    /// # Errors
    /// 400 if algorithm, length, `iv`, `tag` or `aad` do not fit, and one text for all that does not decrypt.
    pub fn decrypt(
        &self,
        algorithm: Algorithm,
        value: &[u8],
        with: &Decrypt<'_>,
    ) -> Result<Zeroizing<Vec<u8>>> {
        self.check(algorithm, KeyOperation::Decrypt)?;
        match &self.material {
            Material::Rsa(key) => {
                unused(algorithm, &[("iv", with.iv), ("tag", with.tag), ("aad", with.aad)])?;
                key.decrypt(algorithm, value)
            }
            Material::Oct(key) => key.decrypt(algorithm, value, with),
            Material::Ec(_) => Err(fault("an EC key was asked to decrypt")),
        }
    }

    /// Wraps a key: RSA, AES key wrap.
    ///
    /// # Errors
    /// 400 if algorithm or length do not fit.
    pub fn wrap_key(&self, algorithm: Algorithm, key: &[u8]) -> Result<Vec<u8>> {
        self.check(algorithm, KeyOperation::WrapKey)?;
        match &self.material {
            Material::Rsa(wrapping) => wrapping.encrypt(algorithm, key),
            Material::Oct(wrapping) => wrapping.wrap(algorithm, key),
            Material::Ec(_) => Err(fault("an EC key was asked to wrap")),
        }
    }

    /// Unwraps a key.
    ///
    /// # Errors
    /// 400 if algorithm or length do not fit, and one text for all that does not unwrap.
    pub fn unwrap_key(&self, algorithm: Algorithm, value: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        self.check(algorithm, KeyOperation::UnwrapKey)?;
        match &self.material {
            Material::Rsa(wrapping) => wrapping.decrypt(algorithm, value),
            Material::Oct(wrapping) => wrapping.unwrap(algorithm, value),
            Material::Ec(_) => Err(fault("an EC key was asked to unwrap")),
        }
    }

    /// Signs a digest; `oct` keys make an HMAC of it. ECDSA signatures are R and S, each as long as the field.
    ///
    /// # Errors
    /// 400 if the algorithm or the length of the digest does not fit.
    pub fn sign(&self, algorithm: Algorithm, digest: &[u8]) -> Result<Vec<u8>> {
        self.check(algorithm, KeyOperation::Sign)?;
        check_digest("value", algorithm, digest)?;
        match &self.material {
            Material::Rsa(key) => key.sign(algorithm, digest),
            Material::Ec(key) => key.sign(digest),
            Material::Oct(key) => key.sign(algorithm, digest),
        }
    }

    /// Is this a signature of the digest by this key? A signature of a wrong length is none.
    ///
    /// # Errors
    /// 400 if the algorithm or the length of the digest does not fit.
    pub fn verify(&self, algorithm: Algorithm, digest: &[u8], signature: &[u8]) -> Result<bool> {
        self.check(algorithm, KeyOperation::Verify)?;
        check_digest("digest", algorithm, digest)?;
        match &self.material {
            Material::Rsa(key) => key.verify(algorithm, digest, signature),
            Material::Ec(key) => key.verify(digest, signature),
            Material::Oct(key) => key.verify(algorithm, digest, signature),
        }
    }

    fn check(&self, algorithm: Algorithm, operation: KeyOperation) -> Result<()> {
        algorithm.check(operation, self.kty, self.bits(), self.curve())
    }
}

fn check_digest(member: &str, algorithm: Algorithm, digest: &[u8]) -> Result<()> {
    let needed = algorithm.digest_bytes().unwrap_or_default();
    length(member, digest.len(), digest.len() == needed, || format!("{algorithm} requires {needed} bytes"))
}

/// Refuses members that the algorithm has no use for: a caller who sends them counts on them.
pub(crate) fn unused(algorithm: Algorithm, members: &[(&str, Option<&[u8]>)]) -> Result<()> {
    match members.iter().find(|(_, value)| value.is_some_and(|value| !value.is_empty())) {
        Some((name, _)) => Err(Error::bad(format!(
            "Property {name} has invalid value: algorithm '{algorithm}' does not take it here."
        ))),
        None => Ok(()),
    }
}

fn kty_byte(kty: KeyType) -> u8 {
    match kty {
        KeyType::Rsa => 1,
        KeyType::RsaHsm => 2,
        KeyType::Ec => 3,
        KeyType::EcHsm => 4,
        KeyType::Oct => 5,
        KeyType::OctHsm => 6,
    }
}

fn length_byte(key: &[u8]) -> u8 {
    u8::try_from(key.len()).unwrap_or(u8::MAX)
}

fn curve_byte(curve: Curve) -> u8 {
    match curve {
        Curve::P256 => 1,
        Curve::P384 => 2,
        Curve::P521 => 3,
        Curve::P256K => 4,
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({}, {} bits)", self.kty, self.bits())
    }
}

#[cfg(test)]
mod tests;
