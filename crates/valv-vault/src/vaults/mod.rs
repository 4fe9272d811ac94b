//! Vaults themselves: create, change, list, soft delete, recover, purge, access policies, role assignments, data keys.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use valv_access::{AccessPolicy, Permit, RoleAssignment, VaultAccess};
use valv_engine::GroupId;
use valv_model::{
    PrincipalId, RecoveryLevel, RegionName, Result, RetentionDays, Tags, TenantId, UnixSeconds, VaultName,
};
use valv_sealing::{DataKeys, VaultEnvelope};

use crate::{Service, WriteContext};

mod record;
pub(crate) use record::VAULT_RECORD_BYTES_MAX;

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

/// The administration of vaults. The permit's operation is the method's; each checks that.
#[allow(clippy::missing_errors_doc, reason = "the errors are Azure's; see docs/operations.md")]
impl Service {
    /// Creates a vault or changes its properties. 409 while a soft-deleted vault holds the name.
    pub async fn vault_put(
        &self,
        permit: &Permit,
        context: &WriteContext,
        name: &VaultName,
        put: VaultPut,
    ) -> Result<VaultView> {
        let _ = (permit, context, name, put);
        todo!()
    }
    /// One vault.
    pub async fn vault_get(&self, permit: &Permit, name: &VaultName) -> Result<VaultView> {
        let _ = (permit, name);
        todo!()
    }
    /// All live vaults, in name order.
    pub async fn vault_list(&self, permit: &Permit) -> Result<Vec<VaultView>> {
        let _ = permit;
        todo!()
    }
    /// All soft-deleted vaults, in name order.
    pub async fn vault_list_deleted(&self, permit: &Permit) -> Result<Vec<VaultView>> {
        let _ = permit;
        todo!()
    }
    /// Soft-deletes a vault: its content stays and cannot be reached; its name stays taken.
    pub async fn vault_delete(
        &self,
        permit: &Permit,
        context: &WriteContext,
        name: &VaultName,
    ) -> Result<VaultView> {
        let _ = (permit, context, name);
        todo!()
    }
    /// Takes a soft-deleted vault back, with all content and properties.
    pub async fn vault_recover(
        &self,
        permit: &Permit,
        context: &WriteContext,
        name: &VaultName,
    ) -> Result<VaultView> {
        let _ = (permit, context, name);
        todo!()
    }
    /// Destroys a soft-deleted vault: its data keys are gone with the commit, its records are removed after. Refused under purge protection.
    pub async fn vault_purge(&self, permit: &Permit, context: &WriteContext, name: &VaultName) -> Result<()> {
        let _ = (permit, context, name);
        todo!()
    }
    /// Sets the access policy of one principal.
    pub async fn vault_access_policy_set(
        &self,
        permit: &Permit,
        context: &WriteContext,
        vault: &VaultName,
        policy: AccessPolicy,
    ) -> Result<VaultView> {
        let _ = (permit, context, vault, policy);
        todo!()
    }
    /// Removes the access policy of one principal.
    pub async fn vault_access_policy_delete(
        &self,
        permit: &Permit,
        context: &WriteContext,
        vault: &VaultName,
        principal: &PrincipalId,
    ) -> Result<()> {
        let _ = (permit, context, vault, principal);
        todo!()
    }
    /// Gives the vault a new data key; older ones go on opening what they sealed.
    pub async fn vault_data_key_rotate(
        &self,
        permit: &Permit,
        context: &WriteContext,
        vault: &VaultName,
    ) -> Result<VaultView> {
        let _ = (permit, context, vault);
        todo!()
    }
}
