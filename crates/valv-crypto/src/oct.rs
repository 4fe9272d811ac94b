//! Symmetric keys: AES (GCM, CBC, key wrap) and HMAC.

use aes_kw::{KeyInit as _, KwAes128, KwAes192, KwAes256};
use aws_lc_rs::{
    aead::{AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    cipher::{
        AES_128, AES_192, AES_256, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext,
        UnboundCipherKey,
    },
    hmac,
    iv::FixedLength,
    rand,
};
use subtle::{
    ConditionallySelectable as _, ConstantTimeEq as _, ConstantTimeGreater as _, ConstantTimeLess as _,
};
use valv_model::{Error, Result};
use zeroize::Zeroizing;

use crate::{
    algorithm::Algorithm,
    limits::{MAX_AAD_BYTES, MAX_DATA_BYTES, MAX_WRAPPED_KEY_BYTES, length},
    private_key::{Decrypt, Encrypt, Encrypted, cannot_decrypt, fault, unused},
};

/// The block of AES, and the initialization vector of CBC.
const BLOCK: usize = 16;

/// GCM tags are never shortened.
const TAG_BYTES: usize = 16;

/// AES key wrap works on halves of blocks, at least two, and adds one (RFC 3394).
const SEMIBLOCK: usize = 8;

pub(crate) struct OctKey(Zeroizing<Vec<u8>>);

/// What of AES an algorithm is.
enum Mode {
    Gcm,
    Cbc,
    CbcPad,
}

impl OctKey {
    pub(crate) fn check_bits(bits: u32) -> Result<()> {
        match bits {
            128 | 192 | 256 => Ok(()),
            _ => Err(Error::bad("Property key_size has invalid value: oct keys have 128, 192 or 256 bits.")),
        }
    }

    pub(crate) fn new(bytes: Zeroizing<Vec<u8>>) -> Result<Self> {
        let key = Self(bytes);
        Self::check_bits(key.bits())?;
        Ok(key)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn bits(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX).saturating_mul(8)
    }

    pub(crate) fn encrypt(
        &self,
        algorithm: Algorithm,
        plaintext: &[u8],
        with: &Encrypt<'_>,
    ) -> Result<Encrypted> {
        let failed = |_| fault("AES encryption failed");
        let mode = mode(algorithm)?;
        check_data(algorithm, &mode, plaintext)?;
        if let Mode::Gcm = mode {
            unused(algorithm, &[("iv", with.iv)])?;
            let aad = check_aad(with.aad)?;
            let mut iv = [0; NONCE_LEN];
            rand::fill(&mut iv).map_err(failed)?;
            let mut value = plaintext.to_vec();
            let tag = self
                .gcm()?
                .seal_in_place_separate_tag(Nonce::assume_unique_for_key(iv), Aad::from(aad), &mut value)
                .map_err(failed)?;
            return Ok(Encrypted {
                value,
                iv: Some(iv.to_vec()),
                tag: Some(tag.as_ref().to_vec()),
                aad: with.aad.map(<[u8]>::to_vec),
            });
        }
        unused(algorithm, &[("aad", with.aad)])?;
        let iv = check_iv(algorithm, with.iv)?;
        // Reserved whole, so that padding does not move the plaintext and leave a copy.
        let mut value = Vec::with_capacity(plaintext.len() + BLOCK);
        value.extend_from_slice(plaintext);
        if let Mode::CbcPad = mode {
            let padding = BLOCK - plaintext.len() % BLOCK;
            value.resize(plaintext.len() + padding, padding as u8);
        }
        EncryptingKey::cbc(self.cipher()?)
            .and_then(|key| {
                key.less_safe_encrypt(&mut value, EncryptionContext::Iv128(FixedLength::from(iv)))
            })
            .map_err(failed)?;
        Ok(Encrypted { value, iv: Some(iv.to_vec()), ..Encrypted::default() })
    }

    pub(crate) fn decrypt(
        &self,
        algorithm: Algorithm,
        value: &[u8],
        with: &Decrypt<'_>,
    ) -> Result<Zeroizing<Vec<u8>>> {
        let mode = mode(algorithm)?;
        let mut plaintext = Zeroizing::new(Vec::with_capacity(value.len() + TAG_BYTES));
        plaintext.extend_from_slice(value);
        if let Mode::Gcm = mode {
            check_data(algorithm, &mode, value)?;
            let aad = check_aad(with.aad)?;
            let iv = with.iv.unwrap_or_default();
            let nonce = Nonce::try_assume_unique_for_key(iv).map_err(|_| {
                Error::bad(format!(
                    "Invalid length of 'iv': {} bytes. {algorithm} requires {NONCE_LEN} bytes, encoded with base64url.",
                    iv.len(),
                ))
            })?;
            let tag = with.tag.unwrap_or_default();
            length("tag", tag.len(), tag.len() == TAG_BYTES, || {
                format!("{algorithm} requires {TAG_BYTES} bytes")
            })?;
            plaintext.extend_from_slice(tag);
            self.gcm()?.open_in_place(nonce, Aad::from(aad), &mut plaintext).map_err(|_| cannot_decrypt())?;
            plaintext.truncate(value.len());
            return Ok(plaintext);
        }
        unused(algorithm, &[("tag", with.tag), ("aad", with.aad)])?;
        let iv = check_iv(algorithm, with.iv)?;
        let whole = !value.is_empty() && value.len().is_multiple_of(BLOCK);
        length("value", value.len(), whole && value.len() <= MAX_DATA_BYTES + BLOCK, || {
            format!("{algorithm} requires a multiple of {BLOCK} bytes, at most {MAX_DATA_BYTES}")
        })?;
        DecryptingKey::cbc(self.cipher()?)
            .and_then(|key| {
                key.decrypt(&mut plaintext, DecryptionContext::Iv128(FixedLength::from(iv))).map(|_| ())
            })
            .map_err(|_| cannot_decrypt())?;
        if let Mode::CbcPad = mode {
            let padding = padding(&plaintext).ok_or_else(cannot_decrypt)?;
            plaintext.truncate(value.len() - padding);
        }
        Ok(plaintext)
    }

    pub(crate) fn wrap(&self, algorithm: Algorithm, key: &[u8]) -> Result<Vec<u8>> {
        check_wrap(algorithm, key, 2 * SEMIBLOCK, MAX_WRAPPED_KEY_BYTES)?;
        let mut value = vec![0; key.len() + SEMIBLOCK];
        let wrapped = match self.bits() {
            128 => KwAes128::new_from_slice(&self.0).map(|kek| kek.wrap_key(key, &mut value).is_ok()),
            192 => KwAes192::new_from_slice(&self.0).map(|kek| kek.wrap_key(key, &mut value).is_ok()),
            _ => KwAes256::new_from_slice(&self.0).map(|kek| kek.wrap_key(key, &mut value).is_ok()),
        };
        if wrapped == Ok(true) { Ok(value) } else { Err(fault("AES key wrap failed")) }
    }

    pub(crate) fn unwrap(&self, algorithm: Algorithm, value: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        check_wrap(algorithm, value, 3 * SEMIBLOCK, MAX_WRAPPED_KEY_BYTES + SEMIBLOCK)?;
        let mut key = Zeroizing::new(vec![0; value.len() - SEMIBLOCK]);
        let unwrapped = match self.bits() {
            128 => KwAes128::new_from_slice(&self.0).map(|kek| kek.unwrap_key(value, &mut key).is_ok()),
            192 => KwAes192::new_from_slice(&self.0).map(|kek| kek.unwrap_key(value, &mut key).is_ok()),
            _ => KwAes256::new_from_slice(&self.0).map(|kek| kek.unwrap_key(value, &mut key).is_ok()),
        };
        if unwrapped == Ok(true) { Ok(key) } else { Err(cannot_decrypt()) }
    }

    pub(crate) fn sign(&self, algorithm: Algorithm, digest: &[u8]) -> Result<Vec<u8>> {
        Ok(hmac::sign(&self.hmac(algorithm)?, digest).as_ref().to_vec())
    }

    pub(crate) fn verify(&self, algorithm: Algorithm, digest: &[u8], signature: &[u8]) -> Result<bool> {
        Ok(hmac::verify(&self.hmac(algorithm)?, digest, signature).is_ok())
    }

    fn hmac(&self, algorithm: Algorithm) -> Result<hmac::Key> {
        let algorithm = match algorithm {
            Algorithm::Hs256 => hmac::HMAC_SHA256,
            Algorithm::Hs384 => hmac::HMAC_SHA384,
            Algorithm::Hs512 => hmac::HMAC_SHA512,
            _ => return Err(fault("not an HMAC algorithm")),
        };
        Ok(hmac::Key::new(algorithm, &self.0))
    }

    fn gcm(&self) -> Result<LessSafeKey> {
        let algorithm = match self.bits() {
            128 => &AES_128_GCM,
            192 => &AES_192_GCM,
            _ => &AES_256_GCM,
        };
        UnboundKey::new(algorithm, &self.0)
            .map(LessSafeKey::new)
            .map_err(|_| fault("an AES key was not taken"))
    }

    fn cipher(&self) -> Result<UnboundCipherKey> {
        let algorithm = match self.bits() {
            128 => &AES_128,
            192 => &AES_192,
            _ => &AES_256,
        };
        UnboundCipherKey::new(algorithm, &self.0).map_err(|_| fault("an AES key was not taken"))
    }
}

fn mode(algorithm: Algorithm) -> Result<Mode> {
    use Algorithm::{
        A128Cbc, A128CbcPad, A128Gcm, A192Cbc, A192CbcPad, A192Gcm, A256Cbc, A256CbcPad, A256Gcm,
    };
    match algorithm {
        A128Gcm | A192Gcm | A256Gcm => Ok(Mode::Gcm),
        A128Cbc | A192Cbc | A256Cbc => Ok(Mode::Cbc),
        A128CbcPad | A192CbcPad | A256CbcPad => Ok(Mode::CbcPad),
        _ => Err(fault("not an algorithm of AES encryption")),
    }
}

fn check_data(algorithm: Algorithm, mode: &Mode, data: &[u8]) -> Result<()> {
    length("value", data.len(), data.len() <= MAX_DATA_BYTES, || {
        format!("{algorithm} takes at most {MAX_DATA_BYTES} bytes")
    })?;
    let whole = !data.is_empty() && data.len().is_multiple_of(BLOCK);
    length("value", data.len(), whole || !matches!(mode, Mode::Cbc), || {
        format!("{algorithm} requires a multiple of {BLOCK} bytes")
    })
}

fn check_aad(aad: Option<&[u8]>) -> Result<&[u8]> {
    let aad = aad.unwrap_or_default();
    length("aad", aad.len(), aad.len() <= MAX_AAD_BYTES, || {
        format!("It takes at most {MAX_AAD_BYTES} bytes")
    })?;
    Ok(aad)
}

fn check_iv(algorithm: Algorithm, iv: Option<&[u8]>) -> Result<[u8; BLOCK]> {
    let iv = iv.unwrap_or_default();
    iv.try_into().map_err(|_| {
        Error::bad(format!(
            "Invalid length of 'iv': {} bytes. {algorithm} requires {BLOCK} bytes, encoded with base64url.",
            iv.len(),
        ))
    })
}

fn check_wrap(algorithm: Algorithm, value: &[u8], least: usize, most: usize) -> Result<()> {
    let fits = value.len().is_multiple_of(SEMIBLOCK) && (least..=most).contains(&value.len());
    length("value", value.len(), fits, || {
        format!("{algorithm} requires a multiple of {SEMIBLOCK} bytes, from {least} to {most}")
    })
}

/// The length of the padding (RFC 5652, section 6.3), found without a branch on the plaintext but the last.
fn padding(padded: &[u8]) -> Option<usize> {
    let last = padded.last()?;
    let mut right = !last.ct_gt(&(BLOCK as u8));
    for (behind, byte) in (0_u8..).zip(padded.iter().rev().take(BLOCK)) {
        let wrong = behind.ct_lt(last) & !byte.ct_eq(last);
        right &= !wrong;
    }
    let length = u8::conditional_select(&0, last, right);
    // A last byte of 0 is no padding either.
    (length != 0).then_some(usize::from(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_found_and_all_others_are_refused() {
        for length in 1..=16_u8 {
            let mut block = [0xee; 32];
            block[32 - usize::from(length)..].fill(length);
            assert_eq!(padding(&block), Some(length.into()));
            if length > 1 {
                block[32 - usize::from(length)] ^= 1;
                assert_eq!(padding(&block), None);
            }
        }
        for last in (17..=255).chain([0]) {
            assert_eq!(padding(&[last; 32]), None);
        }
        assert_eq!(padding(&[]), None);
    }
}
