//! Data keys: one or more per vault, wrapped by a root key.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use valv_model::{UnixSeconds, VaultId};
use zeroize::Zeroizing;

use crate::{RootKeyError, RootKeyId, RootKeys, SealedOp};

/// What a record is; part of the associated data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// The body of a vault's own record.
    Vault,
    /// The current state of a secret.
    Secret,
    /// One version of a secret.
    SecretVersion,
    /// A registered client.
    Client,
    /// A signing key of the built-in issuer.
    SigningKey,
    /// A role assignment.
    RoleAssignment,
    /// The inside of a backup blob.
    Backup,
}

/// A data key as it is stored.
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
    #[error("a data key is wrapped under root key {0:?}, which is not configured")]
    NoSuchRootKey(RootKeyId),
}

/// The unwrapped data keys of one vault.
pub struct DataKeys {}

impl DataKeys {
    /// Seals a record for the place `key` (a whole engine key made by `layout::data(..) + path`; `path` is its part below the generation).
    pub fn put(&self, key: Bytes, path: &str, kind: RecordKind, plaintext: &[u8]) -> SealedOp {
        let _ = (key, path, kind, plaintext);
        todo!()
    }

    /// Seals bytes without making an operation of them (backup blobs, vault bodies).
    #[must_use]
    pub fn seal(&self, path: &str, kind: RecordKind, plaintext: &[u8]) -> Bytes {
        let _ = (path, kind, plaintext);
        todo!()
    }

    /// Opens a record of this vault.
    pub fn open(&self, path: &str, kind: RecordKind, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let _ = (path, kind, sealed);
        todo!()
    }

    /// The number of the key that seals now.
    #[must_use]
    pub fn current(&self) -> u32 {
        todo!()
    }
}

/// The root keys in use and the data keys unwrapped so far (bounded).
pub struct Keyring {}

impl Keyring {
    /// A keyring over the root keys.
    #[must_use]
    pub fn new(root: RootKeys) -> Self {
        let _ = root;
        todo!()
    }

    /// The root keys in use.
    #[must_use]
    pub fn root_keys(&self) -> Arc<RootKeys> {
        todo!()
    }

    /// Takes up other root keys while serving.
    pub fn replace_root_keys(&self, root: RootKeys) {
        let _ = root;
        todo!()
    }

    /// A new random data key for a vault, wrapped under the current root key.
    pub fn generate(
        &self,
        vault: &VaultId,
        number: u32,
        now: UnixSeconds,
    ) -> Result<WrappedDataKey, RootKeyError> {
        let _ = (vault, number, now);
        todo!()
    }

    /// The unwrapped keys of a vault; the one with the highest number seals. Cached by the wrapped keys' content.
    pub fn unwrap(&self, vault: &VaultId, keys: &[WrappedDataKey]) -> Result<Arc<DataKeys>, SealError> {
        let _ = (vault, keys);
        todo!()
    }

    /// The same data keys wrapped under the current root key.
    pub fn rewrap(&self, vault: &VaultId, keys: &[WrappedDataKey]) -> Result<Vec<WrappedDataKey>, SealError> {
        let _ = (vault, keys);
        todo!()
    }
}
