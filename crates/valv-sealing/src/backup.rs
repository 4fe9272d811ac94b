//! Backups: sealed under a key of their own, which the root key wraps. They open in every vault of the
//! deployment, also after the vault they came from is gone.
//!
//! ```text
//! format byte | root key id's length (1 byte), id | wrapped key's length (2 bytes), wrapped key | nonce, ciphertext, tag
//! ```
//!
//! Everything before the nonce is authenticated with the ciphertext.

use aws_lc_rs::rand;
use zeroize::Zeroizing;

use crate::{
    Keyring, RootKeyError, RootKeyId, SealError,
    cipher::{Cipher, associated_data},
};

const FORMAT: u8 = 1;

impl Keyring {
    /// Seals a backup of an object type (`secret`, ...) under a fresh key.
    ///
    /// Errors: no randomness, or a root key's token that does not answer.
    pub fn seal_backup(&self, of: &str, plaintext: &[u8]) -> Result<Vec<u8>, RootKeyError> {
        let mut key = Zeroizing::new([0; 32]);
        rand::fill(&mut *key).map_err(|_| RootKeyError::NoRandomness)?;
        let root = self.root_keys();
        let root = root.current();
        let wrapped = root.wrap(&context(of), &key)?;
        let id = root.id().0.as_bytes();
        let mut header = vec![FORMAT];
        header.push(u8::try_from(id.len()).map_err(|_| too_long())?);
        header.extend_from_slice(id);
        header.extend_from_slice(&u16::try_from(wrapped.len()).map_err(|_| too_long())?.to_be_bytes());
        header.extend_from_slice(&wrapped);
        let cipher = Cipher::new(&key).map_err(|_| RootKeyError::NoRandomness)?;
        cipher.seal(&header, &place(of, &header), plaintext).map_err(|_| RootKeyError::NoRandomness)
    }

    /// Opens what [`Keyring::seal_backup`] made for the same object type, under any root key in use.
    ///
    /// Errors: [`SealError::Damaged`] for anything else, [`SealError::NoSuchRootKey`] for a root key that
    /// is no longer configured, [`SealError::RootKey`] for one that does not do its work.
    pub fn open_backup(&self, of: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let parts = Parts::read(sealed).ok_or(SealError::Damaged)?;
        let id = std::str::from_utf8(parts.root_key).map_err(|_| SealError::Damaged)?;
        // What is no id of ours may be anything, so no message repeats it.
        if !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(SealError::Damaged);
        }
        let id = RootKeyId(id.to_owned());
        let roots = self.root_keys();
        let root = roots.find(&id).ok_or(SealError::NoSuchRootKey(id))?;
        let key = root.unwrap(&context(of), parts.wrapped).map_err(|error| match error {
            RootKeyError::DoesNotOpen => SealError::Damaged,
            other => SealError::RootKey(other.to_string()),
        })?;
        let cipher = Cipher::new(&key).map_err(|_| SealError::Damaged)?;
        cipher.open(&place(of, parts.header), parts.body).map_err(|_| SealError::Damaged)
    }
}

struct Parts<'a> {
    header: &'a [u8],
    root_key: &'a [u8],
    wrapped: &'a [u8],
    body: &'a [u8],
}

impl<'a> Parts<'a> {
    fn read(sealed: &'a [u8]) -> Option<Self> {
        let (&[FORMAT, id_len], rest) = sealed.split_first_chunk::<2>()? else { return None };
        let (root_key, rest) = rest.split_at_checked(id_len.into())?;
        let (wrapped_len, rest) = rest.split_first_chunk::<2>()?;
        let (wrapped, body) = rest.split_at_checked(u16::from_be_bytes(*wrapped_len).into())?;
        Some(Self { header: &sealed[..sealed.len() - body.len()], root_key, wrapped, body })
    }
}

/// What the wrapped key is bound to.
fn context(of: &str) -> Vec<u8> {
    associated_data(&[b"valv backup key", of.as_bytes()])
}

/// What the ciphertext is bound to.
fn place(of: &str, header: &[u8]) -> Vec<u8> {
    associated_data(&[b"valv backup", of.as_bytes(), header])
}

fn too_long() -> RootKeyError {
    RootKeyError::Token("its id or what it wraps is too long".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RootKeySource, RootKeys};

    fn source() -> RootKeySource {
        RootKeySource::Text { variable: "TEST".into(), line: RootKeys::generate().unwrap() }
    }

    #[test]
    fn a_backup_opens_under_every_root_key_in_use_and_as_its_own_type_only() {
        let (old, new) = (source(), source());
        let keyring = Keyring::new(RootKeys::load(std::slice::from_ref(&old)).unwrap());
        let sealed = keyring.seal_backup("secret", b"inside").unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"inside"));
        assert_eq!(*keyring.open_backup("secret", &sealed).unwrap(), b"inside");
        assert_eq!(keyring.open_backup("key", &sealed), Err(SealError::Damaged));

        keyring.replace_root_keys(RootKeys::load(&[new, old]).unwrap());
        assert_eq!(*keyring.open_backup("secret", &sealed).unwrap(), b"inside");
        let stranger = Keyring::new(RootKeys::load(&[source()]).unwrap());
        assert!(matches!(stranger.open_backup("secret", &sealed), Err(SealError::NoSuchRootKey(_))));
    }

    #[test]
    fn no_byte_can_be_changed_added_or_taken_away() {
        let keyring = Keyring::new(RootKeys::load(&[source()]).unwrap());
        let sealed = keyring.seal_backup("secret", b"a longer inside than one block of the cipher").unwrap();
        for at in 0..sealed.len() {
            for flip in [0x01, 0x20, 0x80, 0xff] {
                let mut changed = sealed.clone();
                changed[at] ^= flip;
                assert!(keyring.open_backup("secret", &changed).is_err(), "byte {at} with {flip:02x}");
            }
            assert!(keyring.open_backup("secret", &sealed[..at]).is_err(), "cut at {at}");
        }
        let longer = [&sealed[..], &[0]].concat();
        assert!(keyring.open_backup("secret", &longer).is_err());
    }
}
