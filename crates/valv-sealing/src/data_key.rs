//! Data keys: one or more per vault, each seals records.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use valv_engine::planted::{Bug, active};
use valv_model::{UnixSeconds, VaultId};
use zeroize::Zeroizing;

use crate::{RootKeyId, SealedOp, cipher::Cipher, cipher::associated_data};

/// The first byte of a sealed record: format byte, data key number (u32, big endian), nonce (12 bytes), ciphertext, tag (16 bytes).
const FORMAT: u8 = 1;

/// Format byte and data key number.
const HEADER_LEN: usize = 5;

/// What a record is; part of the associated data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// The body of a vault's own record.
    Vault,
    /// The current state of a secret.
    Secret,
    /// One version of a secret.
    SecretVersion,
    /// The current state of a key.
    Key,
    /// One version of a key.
    KeyVersion,
    /// A registered client.
    Client,
    /// A signing key of the built-in issuer.
    SigningKey,
    /// A role assignment.
    RoleAssignment,
    /// The inside of a backup blob.
    Backup,
}

impl RecordKind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Vault,
        Self::Secret,
        Self::SecretVersion,
        Self::Key,
        Self::KeyVersion,
        Self::Client,
        Self::SigningKey,
        Self::RoleAssignment,
        Self::Backup,
    ];

    /// The word in the associated data. Records on disk depend on it: it never changes.
    fn word(self) -> &'static str {
        match self {
            Self::Vault => "vault",
            Self::Secret => "secret",
            Self::SecretVersion => "secret-version",
            Self::Key => "key",
            Self::KeyVersion => "key-version",
            Self::Client => "client",
            Self::SigningKey => "signing-key",
            Self::RoleAssignment => "role-assignment",
            Self::Backup => "backup",
        }
    }
}

/// A data key as it is stored. Unknown fields survive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrappedDataKey {
    /// Its number within the vault, from 1; stands in every record it sealed.
    pub number: u32,
    /// The root key it is wrapped under.
    pub root_key: RootKeyId,
    /// When it was made.
    pub created: UnixSeconds,
    /// The wrapped key, base64url.
    pub wrapped: String,
    /// What a newer program wrote.
    #[serde(flatten)]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

/// Why something did not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Damaged, or not the record that belongs in this place.
    #[error("the record does not open: it is damaged or not the one that belongs here")]
    Damaged,
    /// The record names a data key that the vault does not have.
    #[error("the record was sealed under data key {0}, which its vault does not have")]
    NoSuchDataKey(u32),
    /// The data key names a root key that is not configured.
    #[error("a data key is wrapped under root key {0}, which is not configured; add that root key's file")]
    NoSuchRootKey(RootKeyId),
    /// The root key is configured and cannot be used now.
    #[error("a data key cannot be unwrapped: {0}")]
    RootKey(String),
}

/// The unwrapped data keys of one vault.
///
/// A data key seals at most 2^32 records, because its nonces are random (NIST SP 800-38D, section 8.3).
/// At a thousand records a second that is 49 days of writing without a pause. Nothing counts them or rotates
/// the key by itself: docs/deploy.md tells the operator when to.
pub struct DataKeys {
    vault: VaultId,
    /// Ascending by number, never empty; the last one seals.
    keys: Vec<(u32, Cipher)>,
}

impl DataKeys {
    /// Of ciphers in any order; `None` without any, or when one number stands twice.
    pub(crate) fn new(vault: VaultId, mut keys: Vec<(u32, Cipher)>) -> Option<Self> {
        keys.sort_by_key(|(number, _)| *number);
        let distinct = keys.windows(2).all(|pair| pair[0].0 != pair[1].0);
        (distinct && !keys.is_empty()).then_some(Self { vault, keys })
    }

    /// Seals a record for the place `key` (a whole engine key made by `layout::data(..) + path`; `path` is its part below the generation).
    #[must_use]
    pub fn put(&self, key: Bytes, path: &str, kind: RecordKind, plaintext: &[u8]) -> SealedOp {
        SealedOp::sealed(key, self.seal(path, kind, plaintext))
    }

    /// Seals bytes without making an operation of them (backup blobs, vault bodies).
    #[must_use]
    pub fn seal(&self, path: &str, kind: RecordKind, plaintext: &[u8]) -> Bytes {
        let Some((number, cipher)) = self.keys.last() else { unreachable!("never empty") };
        let mut header = [FORMAT; HEADER_LEN];
        header[1..].copy_from_slice(&number.to_be_bytes());
        if active(Bug::PlaintextStored) {
            return [&header, plaintext].concat().into();
        }
        match cipher.seal(&header, &self.place(path, kind), plaintext) {
            Ok(sealed) => sealed.into(),
            Err(_) => unreachable!("AES-GCM refuses only plaintexts beyond 64 GiB"),
        }
    }

    /// Opens a record of this vault.
    pub fn open(&self, path: &str, kind: RecordKind, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (header, body) = sealed.split_first_chunk::<HEADER_LEN>().ok_or(SealError::Damaged)?;
        let [FORMAT, number @ ..] = *header else { return Err(SealError::Damaged) };
        let number = u32::from_be_bytes(number);
        let at = self
            .keys
            .binary_search_by_key(&number, |(number, _)| *number)
            .map_err(|_| SealError::NoSuchDataKey(number))?;
        if active(Bug::PlaintextStored) {
            return Ok(Zeroizing::new(body.to_vec()));
        }
        self.keys[at].1.open(&self.place(path, kind), body).map_err(|_| SealError::Damaged)
    }

    /// Whether a record is one of this vault's that belongs at `path`, whatever its kind. Nobody sees what it
    /// says.
    #[must_use]
    pub fn authentic(&self, path: &str, sealed: &[u8]) -> bool {
        RecordKind::ALL.into_iter().any(|kind| self.open(path, kind, sealed).is_ok())
    }

    /// The number of the key that seals now.
    #[must_use]
    pub fn current(&self) -> u32 {
        self.keys.last().map_or(0, |(number, _)| *number)
    }

    fn place(&self, path: &str, kind: RecordKind) -> Vec<u8> {
        associated_data(&[self.vault.as_str().as_bytes(), path.as_bytes(), kind.word().as_bytes()])
    }
}

impl fmt::Debug for DataKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<u32> = self.keys.iter().map(|(number, _)| *number).collect();
        f.debug_struct("DataKeys")
            .field("vault", &self.vault)
            .field("numbers", &numbers)
            .finish_non_exhaustive()
    }
}
