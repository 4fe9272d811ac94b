//! Keys: every operation of Azure's REST API for them, but release and attestation.
//!
//! Reads and changes of records are the same as for any object. The private part of a
//! key is in its version's record only; it is opened for an operation, used on the pool for computation, and
//! leaves in no answer.

use serde::{Deserialize, Serialize};
use valv_access::Permit;
use valv_crypto::{Algorithm, Generate, JsonWebKey, KeyOperation, KeyType, PublicJwk};
use valv_model::{Attributes, ObjectName, Operation, RecoveryLevel, Result, Tags, UnixSeconds, VersionId};
use zeroize::Zeroizing;

use crate::objects::{backup, delete, list, restore};
use crate::vaults::Vault;
use crate::{Page, PageRequest, Service, WriteContext};

pub use crate::objects::AttributesPatch;

mod cache;
pub(crate) use cache::KeyCache;

mod crypto;

mod event;
pub(crate) use event::Events;
pub use event::{KeyEvent, KeyEventKind};

mod fuzzing;
pub use fuzzing::{decode_any, open_any};

mod kind;
pub(crate) use kind::Key;

mod limits;
pub use limits::MAX_TAG_CHARS;

mod pool;
pub use pool::PoolSettings;
pub(crate) use pool::{Length, Pool};

mod records;

mod rotate;
pub(crate) use rotate::lifecycle;

mod rotation;

#[cfg(test)]
mod site;

#[cfg(test)]
mod tests;

/// The attributes of a key that a client may set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyAttributesPatch {
    /// `enabled`, `nbf`, `exp`.
    pub common: AttributesPatch,
    /// Create and import only; true is refused, because nothing is ever released.
    pub exportable: Option<bool>,
}

/// The parameters of `KeyCreate`.
#[derive(Clone, Debug)]
pub struct KeyCreate {
    /// Type, size, curve, exponent.
    pub generate: Generate,
    /// What the key may do; None: all that its type can.
    pub key_ops: Option<Vec<KeyOperation>>,
    /// Attributes.
    pub attributes: KeyAttributesPatch,
    /// Tags.
    pub tags: Tags,
}

/// The parameters of `KeyImport`. No `Debug`: it would show private members.
pub struct KeyImport {
    /// The key.
    pub key: JsonWebKey,
    /// True: the key becomes one of the `-HSM` types.
    pub hsm: bool,
    /// Attributes.
    pub attributes: KeyAttributesPatch,
    /// Tags.
    pub tags: Tags,
}

/// The parameters of `KeyUpdate`. `None` keeps what is there.
#[derive(Clone, Debug, Default)]
pub struct KeyUpdate {
    /// Replaces what the key may do.
    pub key_ops: Option<Vec<KeyOperation>>,
    /// Attributes.
    pub attributes: KeyAttributesPatch,
    /// Replaces all tags.
    pub tags: Option<Tags>,
}

/// A version of a key as lists show it.
#[derive(Clone, Debug)]
pub struct KeyItem {
    /// The name as it was spelled when the key was made.
    pub name: ObjectName,
    /// The version.
    pub version: VersionId,
    /// Attributes.
    pub attributes: Attributes,
    /// Always false as long as nothing is released.
    pub exportable: bool,
    /// What deleting means here.
    pub recovery_level: RecoveryLevel,
    /// Tags.
    pub tags: Tags,
}

/// A version of a key with its public part.
#[derive(Clone, Debug)]
pub struct KeyBundle {
    /// Name, version, attributes, tags.
    pub item: KeyItem,
    /// The type.
    pub kty: KeyType,
    /// What it may do.
    pub key_ops: Vec<KeyOperation>,
    /// The public members; none for symmetric keys.
    pub public: PublicJwk,
}

/// A deleted key: its current version and the dates.
#[derive(Clone, Debug)]
pub struct DeletedKey {
    /// The version that was current.
    pub bundle: KeyBundle,
    /// When it was deleted.
    pub deleted: UnixSeconds,
    /// When it is purged by itself.
    pub scheduled_purge: UnixSeconds,
}

/// What to compute with a key. Bytes are decoded; no `Debug`: it would show plaintext.
pub enum Computation {
    /// Encrypts data.
    Encrypt {
        /// RSA, GCM, CBC.
        algorithm: Algorithm,
        /// The plaintext.
        value: Zeroizing<Vec<u8>>,
        /// CBC only, which needs it.
        iv: Option<Vec<u8>>,
        /// GCM only.
        aad: Option<Vec<u8>>,
    },
    /// Decrypts data.
    Decrypt {
        /// RSA, GCM, CBC.
        algorithm: Algorithm,
        /// The ciphertext.
        value: Vec<u8>,
        /// GCM and CBC.
        iv: Option<Vec<u8>>,
        /// GCM.
        tag: Option<Vec<u8>>,
        /// GCM.
        aad: Option<Vec<u8>>,
    },
    /// Wraps a key.
    Wrap {
        /// RSA, AES key wrap.
        algorithm: Algorithm,
        /// The key to wrap.
        value: Zeroizing<Vec<u8>>,
    },
    /// Unwraps a key.
    Unwrap {
        /// RSA, AES key wrap.
        algorithm: Algorithm,
        /// The wrapped key.
        value: Vec<u8>,
    },
    /// Signs a digest.
    Sign {
        /// RS, PS, ES, HS.
        algorithm: Algorithm,
        /// The digest.
        digest: Vec<u8>,
    },
    /// Verifies a signature of a digest.
    Verify {
        /// RS, PS, ES, HS.
        algorithm: Algorithm,
        /// The digest.
        digest: Vec<u8>,
        /// The signature.
        signature: Vec<u8>,
    },
}

/// What a computation gave. No `Debug`: it may be plaintext.
pub enum Computed {
    /// Encrypt, decrypt, wrap, unwrap, sign.
    Value {
        /// The result.
        value: Zeroizing<Vec<u8>>,
        /// GCM and CBC encryption: the initialization vector.
        iv: Option<Vec<u8>>,
        /// GCM encryption: the tag.
        tag: Option<Vec<u8>>,
        /// GCM encryption: the additional authenticated data as it was given.
        aad: Option<Vec<u8>>,
    },
    /// Verify.
    Verified(bool),
}

/// The answer of a computation.
pub struct KeyResult {
    /// The key's name as it is spelled.
    pub name: ObjectName,
    /// The version that did it.
    pub version: VersionId,
    /// Its type; with `bits`, what such a computation counts for in the vault's rate.
    pub kty: KeyType,
    /// Its size: of the modulus, the field, or the symmetric key.
    pub bits: u32,
    /// What it gave.
    pub computed: Computed,
}

#[allow(clippy::missing_errors_doc, reason = "the errors are Azure's; see docs/operations.md")]
impl Service {
    /// Makes a key, or a new version of it. Generation runs on the pool for computation.
    pub async fn key_create(
        &self,
        permit: &Permit,
        context: &WriteContext,
        vault: &Vault,
        name: &ObjectName,
        create: KeyCreate,
    ) -> Result<KeyBundle> {
        let desk = self.desk(permit, vault, Operation::KeyCreate, Some(name))?;
        records::create(&self.pool, &desk, context, name, create).await
    }
    /// Takes a key in, or a new version of it.
    pub async fn key_import(
        &self,
        permit: &Permit,
        context: &WriteContext,
        vault: &Vault,
        name: &ObjectName,
        import: KeyImport,
    ) -> Result<KeyBundle> {
        let desk = self.desk(permit, vault, Operation::KeyImport, Some(name))?;
        records::import(&self.pool, &desk, context, name, import).await
    }
    /// The current version, or the one asked for. Disabled and expired keys are answered.
    pub async fn key_get(
        &self,
        permit: &Permit,
        vault: &Vault,
        name: &ObjectName,
        version: Option<&VersionId>,
    ) -> Result<KeyBundle> {
        let desk = self.desk(permit, vault, Operation::KeyGet, Some(name))?;
        records::get(&desk, name, version).await
    }
    /// Changes a version's operations, attributes, tags. Without a version: the current one.
    pub async fn key_update(
        &self,
        permit: &Permit,
        context: &WriteContext,
        vault: &Vault,
        name: &ObjectName,
        version: Option<&VersionId>,
        update: KeyUpdate,
    ) -> Result<KeyBundle> {
        let desk = self.desk(permit, vault, Operation::KeyUpdate, Some(name))?;
        records::update(&desk, context, name, version, update).await
    }
    /// Live keys in the order of their upper-cased names.
    pub async fn key_list(
        &self,
        permit: &Permit,
        vault: &Vault,
        page: &PageRequest,
    ) -> Result<Page<KeyItem>> {
        let desk = self.desk(permit, vault, Operation::KeyList, None)?;
        list::live::<Key>(&desk, page).await
    }
    /// Versions of a live key, oldest first; an absent name has none.
    pub async fn key_list_versions(
        &self,
        permit: &Permit,
        vault: &Vault,
        name: &ObjectName,
        page: &PageRequest,
    ) -> Result<Page<KeyItem>> {
        let desk = self.desk(permit, vault, Operation::KeyListVersions, Some(name))?;
        list::versions::<Key>(&desk, name, page).await
    }
    /// Soft-deletes a key with all versions.
    pub async fn key_delete(
        &self,
        permit: &Permit,
        context: &WriteContext,
        vault: &Vault,
        name: &ObjectName,
    ) -> Result<DeletedKey> {
        let desk = self.desk(permit, vault, Operation::KeyDelete, Some(name))?;
        delete::delete::<Key>(&desk, context, name).await
    }
    /// Deleted keys in name order.
    pub async fn key_list_deleted(
        &self,
        permit: &Permit,
        vault: &Vault,
        page: &PageRequest,
    ) -> Result<Page<DeletedKey>> {
        let desk = self.desk(permit, vault, Operation::KeyListDeleted, None)?;
        list::deleted::<Key>(&desk, page).await
    }
    /// One deleted key.
    pub async fn key_get_deleted(
        &self,
        permit: &Permit,
        vault: &Vault,
        name: &ObjectName,
    ) -> Result<DeletedKey> {
        let desk = self.desk(permit, vault, Operation::KeyGetDeleted, Some(name))?;
        delete::get_deleted::<Key>(&desk, name).await
    }
    /// Takes a deleted key back, all versions as they were.
    pub async fn key_recover(
        &self,
        permit: &Permit,
        context: &WriteContext,
        vault: &Vault,
        name: &ObjectName,
    ) -> Result<KeyBundle> {
        let desk = self.desk(permit, vault, Operation::KeyRecover, Some(name))?;
        delete::recover::<Key>(&desk, context, name).await
    }
    /// Destroys a deleted key.
    pub async fn key_purge(
        &self,
        permit: &Permit,
        context: &WriteContext,
        vault: &Vault,
        name: &ObjectName,
    ) -> Result<()> {
        let desk = self.desk(permit, vault, Operation::KeyPurge, Some(name))?;
        delete::purge::<Key>(&desk, context, name).await
    }
    /// All versions and the rotation policy as an opaque blob (base64url text) that only this deployment opens.
    pub async fn key_backup(&self, permit: &Permit, vault: &Vault, name: &ObjectName) -> Result<String> {
        let desk = self.desk(permit, vault, Operation::KeyBackup, Some(name))?;
        backup::backup::<Key>(&desk, name).await
    }
    /// Brings a backup back under its own name. 409 where the name exists, live or deleted.
    pub async fn key_restore(
        &self,
        permit: &Permit,
        context: &WriteContext,
        vault: &Vault,
        blob: &str,
    ) -> Result<KeyBundle> {
        let desk = self.desk(permit, vault, Operation::KeyRestore, None)?;
        restore::restore::<Key>(&desk, context, blob).await
    }
    /// Encrypt, decrypt, wrap, unwrap, sign, verify: the permit's operation must be the computation's. Private
    /// keys come from a bounded cache; what takes long runs on the pool for computation, which answers 429 when
    /// it is full.
    pub async fn key_compute(
        &self,
        permit: &Permit,
        vault: &Vault,
        name: &ObjectName,
        version: Option<&VersionId>,
        computation: Computation,
    ) -> Result<KeyResult> {
        let desk = self.desk(permit, vault, computation.operation(), Some(name))?;
        crypto::key_compute(&desk, permit, name, version, computation).await
    }
    /// Makes a new version of the same type, size, operations and tags; it expires as the rotation policy says.
    pub async fn key_rotate(
        &self,
        permit: &Permit,
        context: &WriteContext,
        vault: &Vault,
        name: &ObjectName,
    ) -> Result<KeyBundle> {
        let desk = self.desk(permit, vault, Operation::KeyRotate, Some(name))?;
        rotate::rotate(&desk, &self.pool, context, name).await
    }
    /// The rotation policy; a key that was never given one has the default.
    pub async fn key_rotation_policy(
        &self,
        permit: &Permit,
        vault: &Vault,
        name: &ObjectName,
    ) -> Result<KeyRotationPolicy> {
        let desk = self.desk(permit, vault, Operation::KeyRotationPolicyGet, Some(name))?;
        rotate::policy(&desk, name).await
    }
    /// Replaces the rotation policy.
    pub async fn key_set_rotation_policy(
        &self,
        permit: &Permit,
        context: &WriteContext,
        vault: &Vault,
        name: &ObjectName,
        policy: RotationPolicy,
    ) -> Result<KeyRotationPolicy> {
        let desk = self.desk(permit, vault, Operation::KeyRotationPolicySet, Some(name))?;
        rotate::set_policy(&desk, context, name, policy).await
    }
    /// Calls `listener` for every event from now on, once each; the first listener stays. Not for an event whose
    /// node died between its commit and the call.
    pub fn on_key_event(&self, listener: impl Fn(&KeyEvent) + Send + Sync + 'static) {
        self.events.listen(Box::new(listener));
    }
    /// Random bytes (`/rng`), 1 to 128 of them.
    pub async fn random_bytes(
        &self,
        permit: &Permit,
        vault: &Vault,
        count: u32,
    ) -> Result<Zeroizing<Vec<u8>>> {
        self.desk(permit, vault, Operation::RandomBytesGet, None)?;
        crypto::random_bytes(count)
    }
}

/// The rotation policy of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRotationPolicy {
    /// The key's name as it is spelled.
    pub name: ObjectName,
    /// The policy.
    pub policy: RotationPolicy,
    /// When it was first set; None: it is the default.
    pub created: Option<UnixSeconds>,
    /// When it was last set.
    pub updated: Option<UnixSeconds>,
}

/// When a key gets a new version by itself, and when its end is announced. Durations are ISO 8601 text, kept as
/// they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RotationPolicy {
    /// What happens when.
    #[serde(default)]
    pub lifetime_actions: Vec<LifetimeAction>,
    /// How long a version made by rotation lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry_time: Option<String>,
}

/// One action with its trigger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LifetimeAction {
    /// `Rotate` or `Notify`.
    pub action: LifetimeActionType,
    /// After the version's creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_after_create: Option<String>,
    /// Before the version's expiry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_before_expiry: Option<String>,
}

/// What an action does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LifetimeActionType {
    /// Makes a new version.
    Rotate,
    /// Reports that the end is near.
    Notify,
}
