//! AES-256-GCM with random nonces, and the associated data it authenticates.

use std::fmt;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    error::Unspecified,
};
use zeroize::Zeroizing;

/// The length of a tag in bytes.
pub(crate) const TAG_LEN: usize = 16;

/// An AES-256-GCM key (NIST SP 800-38D) that draws a random 96-bit nonce for every message.
///
/// Random nonces bound a key to 2^32 messages (SP 800-38D, section 8.3). The expanded key lives in
/// memory that AWS-LC wipes when it is freed.
pub(crate) struct Cipher(RandomizedNonceKey);

impl Cipher {
    pub(crate) fn new(key: &[u8; 32]) -> Result<Self, Unspecified> {
        RandomizedNonceKey::new(&AES_256_GCM, key).map(Self)
    }

    /// `header`, then nonce, ciphertext and tag.
    pub(crate) fn seal(&self, header: &[u8], aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let start = header.len() + NONCE_LEN;
        // Reserved whole, so that no reallocation leaves a copy of the plaintext behind.
        let mut sealed = Vec::with_capacity(start + plaintext.len() + TAG_LEN);
        sealed.extend_from_slice(header);
        sealed.resize(start, 0);
        sealed.extend_from_slice(plaintext);
        let (nonce, tag) = self.0.seal_in_place_separate_tag(Aad::from(aad), &mut sealed[start..])?;
        sealed[header.len()..start].copy_from_slice(nonce.as_ref());
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// The plaintext of nonce, ciphertext and tag.
    pub(crate) fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unspecified> {
        let (nonce, ciphertext) = sealed.split_at_checked(NONCE_LEN).ok_or(Unspecified)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce)?;
        let mut buffer = Zeroizing::new(ciphertext.to_vec());
        let length = self.0.open_in_place(nonce, Aad::from(aad), &mut buffer)?.len();
        buffer.truncate(length);
        Ok(buffer)
    }
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cipher(..)")
    }
}

/// Associated data: each part behind its length (u64, big endian), so that no two lists of parts make the same bytes.
pub(crate) fn associated_data(parts: &[&[u8]]) -> Vec<u8> {
    let mut data = Vec::with_capacity(parts.iter().map(|part| 8 + part.len()).sum());
    for part in parts {
        data.extend_from_slice(&(part.len() as u64).to_be_bytes());
        data.extend_from_slice(part);
    }
    data
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn different_parts_make_different_associated_data(
            a: Vec<Vec<u8>>, b: Vec<Vec<u8>>,
        ) {
            let data = |parts: &[Vec<u8>]| {
                associated_data(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>())
            };
            prop_assert_eq!(a == b, data(&a) == data(&b));
            // The same bytes, cut in another place.
            let joined = vec![a.concat()];
            prop_assert_eq!(joined == a, data(&joined) == data(&a));
        }
    }

    #[test]
    fn two_seals_of_one_plaintext_share_no_nonce() {
        let cipher = Cipher::new(&[7; 32]).unwrap();
        let seal = || cipher.seal(&[], &[], b"same").unwrap();
        assert_ne!(seal()[..NONCE_LEN], seal()[..NONCE_LEN]);
    }
}
