//! Azure's built-in Key Vault roles, the administrator's role, and their assignment.

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use valv_model::{ObjectName, ObjectType, PrincipalId, VaultName};

/// A role: which control-plane actions and which dataActions it allows. `*` at the end or in the middle
/// of an action stands for any text (azure docs: role-based-access-control/role-definitions).
#[derive(Clone, Copy, Debug)]
pub struct Role {
    /// Azure's role definition id.
    pub id: Uuid,
    /// Azure's name.
    pub name: &'static str,
    /// Control plane.
    pub actions: &'static [&'static str],
    /// Data plane.
    pub data_actions: &'static [&'static str],
}

/// All roles that can be assigned.
pub static BUILT_IN_ROLES: &[Role] = &[];

/// Where an assignment holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Scope {
    /// Everywhere.
    Deployment,
    /// One vault and all in it.
    Vault {
        /// The vault.
        vault: VaultName,
    },
    /// One object with all its versions, such as `secrets/db-password`.
    Object {
        /// The vault.
        vault: VaultName,
        /// `secrets`, `keys` or `certificates`.
        collection: String,
        /// The object.
        name: ObjectName,
    },
}

impl Scope {
    /// Does an assignment here cover the target? `object` is None for operations on a whole vault (lists, restore).
    #[must_use]
    pub fn covers(&self, vault: Option<&VaultName>, object: Option<(ObjectType, &ObjectName)>) -> bool {
        let _ = (vault, object);
        todo!()
    }
}

/// A principal holds a role at a scope. Deployment-wide ones live in the [`crate::Registry`], the others with their vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleAssignment {
    /// The assignment's id.
    pub id: Uuid,
    /// The role's definition id.
    pub role: Uuid,
    /// Who: a user, a group or an application's service principal.
    pub principal: PrincipalId,
    /// Where.
    pub scope: Scope,
}
