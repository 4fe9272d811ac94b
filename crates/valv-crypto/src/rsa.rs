//! RSA keys (RFC 8017).

use std::sync::OnceLock;

use aws_lc_rs::{
    digest::Digest,
    encoding::{AsDer, Pkcs8V1Der},
    rsa::{
        KeyPair, KeyPairComponents, KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm,
        OaepPrivateDecryptingKey, OaepPublicEncryptingKey, Pkcs1PrivateDecryptingKey,
        Pkcs1PublicEncryptingKey, PrivateDecryptingKey, PublicEncryptingKey, PublicKeyComponents,
    },
    signature::{
        KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
        RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_2048_8192_SHA256,
        RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512,
        RsaEncoding, RsaParameters, UnparsedPublicKey,
    },
};
use valv_model::Result;
use zeroize::Zeroizing;

use crate::{
    algorithm::Algorithm,
    jwk::{PublicJwk, encode},
    limits::length,
    private_key::{cannot_decrypt, fault},
};

pub(crate) struct RsaKey {
    pair: KeyPair,
    encrypting: PublicEncryptingKey,
    /// The library wants the key once more for decryption; made when first asked for.
    decrypting: OnceLock<PrivateDecryptingKey>,
}

/// How the plaintext is padded.
enum Padding {
    Pkcs1,
    Oaep(&'static OaepAlgorithm),
}

impl RsaKey {
    pub(crate) fn generate(size: KeySize) -> Result<Self> {
        KeyPair::generate(size).ok().and_then(Self::new).ok_or_else(|| fault("the library made no RSA key"))
    }

    /// Nothing if it is not an RSA key, or not consistent.
    pub(crate) fn from_pkcs8(pkcs8: &[u8]) -> Option<Self> {
        KeyPair::from_pkcs8(pkcs8).ok().and_then(Self::new)
    }

    /// Nothing if the members do not belong together.
    pub(crate) fn from_components(components: &KeyPairComponents<&[u8]>) -> Option<Self> {
        KeyPair::from_components(components).ok().and_then(Self::new)
    }

    fn new(pair: KeyPair) -> Option<Self> {
        let public = pair.public_key();
        let components = PublicKeyComponents {
            n: public.modulus().big_endian_without_leading_zero(),
            e: public.exponent().big_endian_without_leading_zero(),
        };
        let encrypting: PublicEncryptingKey = components.try_into().ok()?;
        Some(Self { pair, encrypting, decrypting: OnceLock::new() })
    }

    pub(crate) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>> {
        let der: Pkcs8V1Der<'_> = self.pair.as_der().map_err(|_| fault("an RSA key can not be written"))?;
        Ok(Zeroizing::new(der.as_ref().to_vec()))
    }

    pub(crate) fn bits(&self) -> u32 {
        u32::try_from(self.encrypting.key_size_bits()).unwrap_or_default()
    }

    pub(crate) fn public(&self) -> PublicJwk {
        let public = self.pair.public_key();
        PublicJwk {
            n: Some(encode(public.modulus().big_endian_without_leading_zero())),
            e: Some(encode(public.exponent().big_endian_without_leading_zero())),
            ..PublicJwk::default()
        }
    }

    pub(crate) fn encrypt(&self, algorithm: Algorithm, plaintext: &[u8]) -> Result<Vec<u8>> {
        let padding = padding(algorithm)?;
        let failed = |_| fault("RSA encryption failed");
        let oaep = OaepPublicEncryptingKey::new(self.encrypting.clone()).map_err(failed)?;
        let pkcs1 = Pkcs1PublicEncryptingKey::new(self.encrypting.clone()).map_err(failed)?;
        let most = match padding {
            Padding::Pkcs1 => pkcs1.max_plaintext_size(),
            Padding::Oaep(hash) => oaep.max_plaintext_size(hash),
        };
        length("value", plaintext.len(), plaintext.len() <= most, || {
            format!("{algorithm} with a key of {} bits takes at most {most} bytes", self.bits())
        })?;
        let mut value = vec![0; self.encrypting.key_size_bytes()];
        let written = match padding {
            Padding::Pkcs1 => pkcs1.encrypt(plaintext, &mut value),
            Padding::Oaep(hash) => oaep.encrypt(hash, plaintext, &mut value, None),
        };
        let written = written.map_err(failed)?.len();
        value.truncate(written);
        Ok(value)
    }

    pub(crate) fn decrypt(&self, algorithm: Algorithm, value: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let padding = padding(algorithm)?;
        let size = self.encrypting.key_size_bytes();
        length("value", value.len(), value.len() == size, || {
            format!("{algorithm} with a key of {} bits requires {size} bytes", self.bits())
        })?;
        let key = self.decrypting()?.clone();
        let mut plaintext = Zeroizing::new(vec![0; size]);
        let written = match padding {
            Padding::Pkcs1 => Pkcs1PrivateDecryptingKey::new(key)
                .and_then(|key| key.decrypt(value, &mut plaintext).map(|written| written.len())),
            Padding::Oaep(hash) => OaepPrivateDecryptingKey::new(key)
                .and_then(|key| key.decrypt(hash, value, &mut plaintext, None).map(|written| written.len())),
        };
        let written = written.map_err(|_| cannot_decrypt())?;
        plaintext.truncate(written);
        Ok(plaintext)
    }

    pub(crate) fn sign(&self, algorithm: Algorithm, digest: &[u8]) -> Result<Vec<u8>> {
        let digest = import(algorithm, digest)?;
        let (encoding, _) = scheme(algorithm)?;
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair.sign_digest(encoding, &digest, &mut signature).map_err(|_| fault("RSA signing failed"))?;
        Ok(signature)
    }

    pub(crate) fn verify(&self, algorithm: Algorithm, digest: &[u8], signature: &[u8]) -> Result<bool> {
        verify(self.pair.public_key().as_ref(), algorithm, digest, signature)
    }

    fn decrypting(&self) -> Result<&PrivateDecryptingKey> {
        if let Some(key) = self.decrypting.get() {
            return Ok(key);
        }
        let key = PrivateDecryptingKey::from_pkcs8(&self.to_pkcs8()?)
            .map_err(|_| fault("an RSA key can not be read again"))?;
        Ok(self.decrypting.get_or_init(|| key))
    }
}

/// Verifies with an `RSAPublicKey` (RFC 8017, appendix A.1.1).
pub(crate) fn verify(public: &[u8], algorithm: Algorithm, digest: &[u8], signature: &[u8]) -> Result<bool> {
    let digest = import(algorithm, digest)?;
    let (_, parameters) = scheme(algorithm)?;
    Ok(UnparsedPublicKey::new(parameters, public).verify_digest(&digest, signature).is_ok())
}

fn padding(algorithm: Algorithm) -> Result<Padding> {
    match algorithm {
        Algorithm::Rsa15 => Ok(Padding::Pkcs1),
        Algorithm::RsaOaep => Ok(Padding::Oaep(&OAEP_SHA1_MGF1SHA1)),
        Algorithm::RsaOaep256 => Ok(Padding::Oaep(&OAEP_SHA256_MGF1SHA256)),
        _ => Err(fault("not an algorithm of RSA encryption")),
    }
}

/// Signing and verifying; PSS salts are as long as the digest (RFC 7518, section 3.5).
fn scheme(algorithm: Algorithm) -> Result<(&'static dyn RsaEncoding, &'static RsaParameters)> {
    match algorithm {
        Algorithm::Rs256 => Ok((&RSA_PKCS1_SHA256, &RSA_PKCS1_2048_8192_SHA256)),
        Algorithm::Rs384 => Ok((&RSA_PKCS1_SHA384, &RSA_PKCS1_2048_8192_SHA384)),
        Algorithm::Rs512 => Ok((&RSA_PKCS1_SHA512, &RSA_PKCS1_2048_8192_SHA512)),
        Algorithm::Ps256 => Ok((&RSA_PSS_SHA256, &RSA_PSS_2048_8192_SHA256)),
        Algorithm::Ps384 => Ok((&RSA_PSS_SHA384, &RSA_PSS_2048_8192_SHA384)),
        Algorithm::Ps512 => Ok((&RSA_PSS_SHA512, &RSA_PSS_2048_8192_SHA512)),
        _ => Err(fault("not an algorithm of RSA signatures")),
    }
}

/// A digest that was computed elsewhere.
pub(crate) fn import(algorithm: Algorithm, digest: &[u8]) -> Result<Digest> {
    algorithm
        .digest()
        .and_then(|known| Digest::import_less_safe(digest, known).ok())
        .ok_or_else(|| fault("a digest of the wrong length"))
}
