//! A root key in memory, and its line of text.

use std::fmt;

use aws_lc_rs::{digest, hmac, rand};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use super::{RootKey, RootKeyError, RootKeyId, RootKeySource, hex};
use crate::cipher::Cipher;

/// How a root key's line begins; the number is the format's.
const PREFIX: &str = "valv-root-1:";

/// The first byte of a wrapped data key: format byte, nonce (12 bytes), ciphertext (32 bytes), tag (16 bytes).
const FORMAT: u8 = 1;

/// A root key that wraps in this process.
pub(super) struct SoftwareKey {
    id: RootKeyId,
    cipher: Cipher,
}

impl SoftwareKey {
    /// Reads `valv-root-1:{base64url of 32 bytes}:{check sum}`, alone on its line.
    pub(super) fn parse(text: &str, from: &RootKeySource) -> Result<Self, RootKeyError> {
        let malformed = |problem| RootKeyError::Malformed { from: from.to_string(), problem };
        let line = text.trim();
        if line.is_empty() {
            return Err(malformed("is empty"));
        }
        if line.contains(['\n', '\r']) {
            return Err(malformed("has more than one line"));
        }
        let rest = line.strip_prefix(PREFIX).ok_or_else(|| {
            malformed(match line.starts_with("valv-root-") {
                true => "was written by a newer valv",
                false => "does not hold a root key (a line that begins with `valv-root-1:`)",
            })
        })?;
        let (encoded, sum) = rest.split_once(':').ok_or_else(|| malformed("is cut off"))?;
        if check_sum(encoded) != sum {
            return Err(malformed("is damaged: its check sum is not right"));
        }
        let mut key = Zeroizing::new([0; 32]);
        match URL_SAFE_NO_PAD.decode_slice(encoded, &mut *key) {
            Ok(32) => Self::new(&key).ok_or_else(|| malformed("holds a key that cannot be used")),
            _ => Err(malformed("does not hold 32 bytes in base64url")),
        }
    }

    fn new(key: &[u8; 32]) -> Option<Self> {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), b"valv root key id");
        Some(Self { id: RootKeyId(hex(&tag.as_ref()[..8])), cipher: Cipher::new(key).ok()? })
    }
}

impl RootKey for SoftwareKey {
    fn id(&self) -> &RootKeyId {
        &self.id
    }

    fn wrap(&self, context: &[u8], data_key: &[u8; 32]) -> Result<Vec<u8>, RootKeyError> {
        self.cipher.seal(&[FORMAT], context, data_key).map_err(|_| RootKeyError::NoRandomness)
    }

    fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>, RootKeyError> {
        let body = match wrapped.split_first() {
            Some((&FORMAT, body)) => body,
            _ => return Err(RootKeyError::DoesNotOpen),
        };
        let opened = self.cipher.open(context, body).map_err(|_| RootKeyError::DoesNotOpen)?;
        let mut data_key = Zeroizing::new([0; 32]);
        if opened.len() != data_key.len() {
            return Err(RootKeyError::DoesNotOpen);
        }
        data_key.copy_from_slice(&opened);
        Ok(data_key)
    }
}

impl fmt::Debug for SoftwareKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SoftwareKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The line of a new root key.
pub(super) fn generate() -> Result<Zeroizing<String>, RootKeyError> {
    let mut key = Zeroizing::new([0; 32]);
    rand::fill(&mut *key).map_err(|_| RootKeyError::NoRandomness)?;
    let encoded = Zeroizing::new(URL_SAFE_NO_PAD.encode(*key));
    Ok(Zeroizing::new(format!("{PREFIX}{}:{}", *encoded, check_sum(&encoded))))
}

/// Finds slips of the hand, not attackers: 8 digits of the SHA-256 of all that stands before it.
fn check_sum(encoded: &str) -> String {
    let mut sum = digest::Context::new(&digest::SHA256);
    sum.update(PREFIX.as_bytes());
    sum.update(encoded.as_bytes());
    hex(&sum.finish().as_ref()[..4])
}
