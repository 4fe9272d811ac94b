//! Secrets: every operation of Azure's REST API for them.
//!
//! A read is one linearizable read. A write is a pure decision that the vault's queue runs; the few that
//! are too large for one commit mark the secret first, and the lifecycle ends what was interrupted.

use valv_access::Permit;
use valv_model::{Attributes, ObjectName, Operation, RecoveryLevel, Result, Tags, UnixSeconds, VersionId};
use zeroize::Zeroizing;

use crate::objects::{backup, delete, list, restore};
use crate::vaults::Vault;
use crate::{Page, PageRequest, Service, WriteContext};

pub use crate::objects::AttributesPatch;
pub use crate::objects::Tidied;
pub use crate::objects::limits::{MAX_BACKUP_CHARS, MAX_BACKUP_VERSIONS, MAX_DATE};

mod kind;
pub(crate) use kind::Secret;

mod limits;
pub use limits::{MAX_CONTENT_TYPE_CHARS, MAX_TAG_CHARS, MAX_VALUE_BYTES};

mod set;

mod fuzzing;
pub use fuzzing::{decode_any, open_any};

#[cfg(test)]
mod tests;

/// The parameters of `SecretSet`. Limits (value 25,600 bytes, contentType 255, 15 tags of 512) are checked here.
pub struct SecretSet {
    /// The value.
    pub value: Zeroizing<String>,
    /// Content type.
    pub content_type: Option<String>,
    /// Tags.
    pub tags: Tags,
    /// Attributes.
    pub attributes: AttributesPatch,
}

/// The parameters of `SecretUpdate`.
#[derive(Clone, Debug, Default)]
pub struct SecretUpdate {
    /// Content type.
    pub content_type: Option<String>,
    /// Replaces all tags.
    pub tags: Option<Tags>,
    /// Attributes.
    pub attributes: AttributesPatch,
}

/// A version of a secret without its value.
#[derive(Clone, Debug)]
pub struct SecretItem {
    /// The name as it was spelled when the secret was made.
    pub name: ObjectName,
    /// The version.
    pub version: VersionId,
    /// Attributes.
    pub attributes: Attributes,
    /// What deleting means here.
    pub recovery_level: RecoveryLevel,
    /// Content type.
    pub content_type: Option<String>,
    /// Tags.
    pub tags: Tags,
    /// The version before this one (`previousVersion`, api-version 2025-07-01 and later).
    pub previous_version: Option<VersionId>,
}

/// A version of a secret with its value. No `Debug`: it would show the value.
pub struct SecretBundle {
    /// All but the value.
    pub item: SecretItem,
    /// The value.
    pub value: Zeroizing<String>,
}

/// A deleted secret: its current version and the dates.
#[derive(Clone, Debug)]
pub struct DeletedSecret {
    /// The version that was current.
    pub item: SecretItem,
    /// When it was deleted.
    pub deleted: UnixSeconds,
    /// When it is purged by itself.
    pub scheduled_purge: UnixSeconds,
}

#[allow(clippy::missing_errors_doc, reason = "the errors are Azure's; see docs/operations.md")]
impl Service {
    /// Makes a new version.
    pub async fn secret_set(
        &self,
        permit: &Permit,
        context: &WriteContext,
        vault: &Vault,
        name: &ObjectName,
        set: SecretSet,
    ) -> Result<SecretBundle> {
        let desk = self.desk(permit, vault, Operation::SecretSet, Some(name))?;
        set::set(&desk, context, name, set).await
    }
    /// The current version, or the one asked for.
    pub async fn secret_get(
        &self,
        permit: &Permit,
        vault: &Vault,
        name: &ObjectName,
        version: Option<&VersionId>,
    ) -> Result<SecretBundle> {
        let desk = self.desk(permit, vault, Operation::SecretGet, Some(name))?;
        set::get(&desk, name, version).await
    }
    /// Changes a version's attributes, tags, content type. Without a version: the current one.
    pub async fn secret_update(
        &self,
        permit: &Permit,
        context: &WriteContext,
        vault: &Vault,
        name: &ObjectName,
        version: Option<&VersionId>,
        update: SecretUpdate,
    ) -> Result<SecretItem> {
        let desk = self.desk(permit, vault, Operation::SecretUpdate, Some(name))?;
        set::update(&desk, context, name, version, update).await
    }
    /// Live secrets in the order of their upper-cased names.
    pub async fn secret_list(
        &self,
        permit: &Permit,
        vault: &Vault,
        page: &PageRequest,
    ) -> Result<Page<SecretItem>> {
        let desk = self.desk(permit, vault, Operation::SecretList, None)?;
        list::live::<Secret>(&desk, page).await
    }
    /// Versions of a live secret, oldest first; an absent name has none.
    pub async fn secret_list_versions(
        &self,
        permit: &Permit,
        vault: &Vault,
        name: &ObjectName,
        page: &PageRequest,
    ) -> Result<Page<SecretItem>> {
        let desk = self.desk(permit, vault, Operation::SecretListVersions, Some(name))?;
        list::versions::<Secret>(&desk, name, page).await
    }
    /// Soft-deletes a secret with all versions.
    pub async fn secret_delete(
        &self,
        permit: &Permit,
        context: &WriteContext,
        vault: &Vault,
        name: &ObjectName,
    ) -> Result<DeletedSecret> {
        let desk = self.desk(permit, vault, Operation::SecretDelete, Some(name))?;
        delete::delete::<Secret>(&desk, context, name).await
    }
    /// Deleted secrets in name order.
    pub async fn secret_list_deleted(
        &self,
        permit: &Permit,
        vault: &Vault,
        page: &PageRequest,
    ) -> Result<Page<DeletedSecret>> {
        let desk = self.desk(permit, vault, Operation::SecretListDeleted, None)?;
        list::deleted::<Secret>(&desk, page).await
    }
    /// One deleted secret.
    pub async fn secret_get_deleted(
        &self,
        permit: &Permit,
        vault: &Vault,
        name: &ObjectName,
    ) -> Result<DeletedSecret> {
        let desk = self.desk(permit, vault, Operation::SecretGetDeleted, Some(name))?;
        delete::get_deleted::<Secret>(&desk, name).await
    }
    /// Takes a deleted secret back, all versions as they were.
    pub async fn secret_recover(
        &self,
        permit: &Permit,
        context: &WriteContext,
        vault: &Vault,
        name: &ObjectName,
    ) -> Result<SecretItem> {
        let desk = self.desk(permit, vault, Operation::SecretRecover, Some(name))?;
        delete::recover::<Secret>(&desk, context, name).await
    }
    /// Destroys a deleted secret.
    pub async fn secret_purge(
        &self,
        permit: &Permit,
        context: &WriteContext,
        vault: &Vault,
        name: &ObjectName,
    ) -> Result<()> {
        let desk = self.desk(permit, vault, Operation::SecretPurge, Some(name))?;
        delete::purge::<Secret>(&desk, context, name).await
    }
    /// All versions as an opaque blob (base64url text) that only this deployment opens.
    pub async fn secret_backup(&self, permit: &Permit, vault: &Vault, name: &ObjectName) -> Result<String> {
        let desk = self.desk(permit, vault, Operation::SecretBackup, Some(name))?;
        backup::backup::<Secret>(&desk, name).await
    }
    /// Brings a backup back under its own name. 409 where the name exists, live or deleted.
    pub async fn secret_restore(
        &self,
        permit: &Permit,
        context: &WriteContext,
        vault: &Vault,
        blob: &str,
    ) -> Result<SecretItem> {
        let desk = self.desk(permit, vault, Operation::SecretRestore, None)?;
        restore::restore::<Secret>(&desk, context, blob).await
    }
}
