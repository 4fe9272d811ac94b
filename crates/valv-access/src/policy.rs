//! A vault's own rules.

use serde::{Deserialize, Serialize};
use valv_model::{ClientId, ObjectType, PrincipalId, RegionName, TenantId, VaultId, VaultName};

use crate::{Caller, RoleAssignment};

/// Azure's access policy: words per object type, compared without case; `all` stands for every word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessPolicy {
    /// The principal.
    pub object_id: PrincipalId,
    /// If set, only this application acting for the principal (a user) matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application_id: Option<ClientId>,
    /// Words for secrets, such as `get`, `list`.
    #[serde(default)]
    pub secrets: Vec<String>,
    /// Words for keys.
    #[serde(default)]
    pub keys: Vec<String>,
    /// Words for certificates.
    #[serde(default)]
    pub certificates: Vec<String>,
}

impl AccessPolicy {
    /// Does the policy allow this word for objects of this type? Words compare without case.
    #[must_use]
    pub fn allows(&self, kind: ObjectType, word: &str) -> bool {
        let words = match kind {
            ObjectType::Secret => &self.secrets,
            ObjectType::Vault | ObjectType::Deployment | ObjectType::Token | ObjectType::Service => {
                return false;
            }
        };
        words.iter().any(|w| w.eq_ignore_ascii_case(word) || w.eq_ignore_ascii_case("all"))
    }

    /// Does the policy speak of this caller: of its principal or one of its groups, and, where the policy
    /// names an application, of that application acting for a user?
    #[must_use]
    pub fn concerns(&self, caller: &Caller) -> bool {
        let application = match &self.application_id {
            Some(application) => caller.acts_for_user() && caller.client() == Some(application),
            None => true,
        };
        application && caller.is(&self.object_id)
    }
}

/// What [`crate::authorize`] must know of a vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultAccess {
    /// The vault's id.
    pub id: VaultId,
    /// Its name.
    pub name: VaultName,
    /// The tenant whose tokens it takes.
    pub tenant: TenantId,
    /// Its home region.
    pub region: RegionName,
    /// True: role assignments decide. False: access policies decide.
    pub rbac: bool,
    /// Access policies.
    pub policies: Vec<AccessPolicy>,
    /// Role assignments at this vault or at objects in it.
    pub assignments: Vec<RoleAssignment>,
}
