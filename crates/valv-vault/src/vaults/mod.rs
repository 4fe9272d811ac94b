//! Vaults themselves: create, change, list, soft delete, recover, purge, access policies, role assignments, data keys.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use valv_access::{AccessPolicy, RoleAssignment, VaultAccess};
use valv_engine::GroupId;
use valv_model::{RecoveryLevel, RegionName, RetentionDays, Tags, TenantId, UnixSeconds, VaultName};
use valv_sealing::{DataKeys, VaultEnvelope};

mod access;
pub(crate) use access::{ASSIGNMENTS_MAX, assignment_exists};

mod admin;
pub(crate) use admin::demand;

mod create;
pub(crate) use create::{Birth, FirstRecord, Maker};

mod record;
pub(crate) use record::VAULT_RECORD_BYTES_MAX;

mod remove;
pub(crate) use remove::Purge;

#[cfg(test)]
mod tests;

/// The sealed body of a vault's record. Unknown fields survive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VaultProperties {
    /// Whose tokens the vault takes.
    pub tenant: TenantId,
    /// The home region at creation (`location` in answers).
    pub region: RegionName,
    /// Fixed at creation.
    pub retention: RetentionDays,
    /// Only ever switched on.
    pub purge_protection: bool,
    /// True: role assignments decide; false: access policies.
    pub rbac: bool,
    /// The paired region answers for the vault only while its copy is at most so many seconds behind (F35).
    /// None: it answers at any age, and says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica_age_max_s: Option<u32>,
    /// Access policies.
    #[serde(default)]
    pub policies: Vec<AccessPolicy>,
    /// Role assignments at this vault and its objects.
    #[serde(default)]
    pub assignments: Vec<RoleAssignment>,
    /// The vault's tags.
    #[serde(default)]
    pub tags: Tags,
    /// When it was made.
    pub created: UnixSeconds,
    /// Set while soft-deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<VaultDeletion>,
    /// What a newer program wrote.
    #[serde(flatten)]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

/// When a vault was deleted and when it goes for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VaultDeletion {
    /// Deleted at.
    pub deleted: UnixSeconds,
    /// Purged by itself at.
    pub scheduled_purge: UnixSeconds,
}

/// A vault's record, opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultState {
    /// The open part.
    pub envelope: VaultEnvelope,
    /// The body.
    pub properties: VaultProperties,
}

/// A vault as one request sees it.
pub struct Vault {
    /// Its group.
    pub group: GroupId,
    /// Its record.
    pub state: VaultState,
    /// What authorization needs of it.
    pub access: VaultAccess,
    /// Its data keys.
    pub keys: Arc<DataKeys>,
}

impl Vault {
    /// What deleting means here.
    #[must_use]
    pub fn recovery_level(&self) -> RecoveryLevel {
        RecoveryLevel {
            purge_protection: self.state.properties.purge_protection,
            retention: self.state.properties.retention,
        }
    }
}

/// The parameters of `VaultPut`. `None` keeps what an existing vault has, and takes the default for a new one.
#[derive(Clone, Debug, Default)]
pub struct VaultPut {
    /// 7 to 90 days; default 90; cannot be changed later.
    pub retention: Option<RetentionDays>,
    /// Can only be switched on.
    pub purge_protection: Option<bool>,
    /// Default true.
    pub rbac: Option<bool>,
    /// The most seconds that the paired region may be behind when it answers; 0: no limit, the default.
    pub replica_age_max_s: Option<u32>,
    /// Replaces all tags.
    pub tags: Option<Tags>,
}

/// One vault in answers.
#[derive(Clone, Debug)]
pub struct VaultView {
    /// Its name.
    pub name: VaultName,
    /// Its id.
    pub id: valv_model::VaultId,
    /// Its properties.
    pub properties: VaultProperties,
}
