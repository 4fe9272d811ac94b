//! A vault's access policies and role assignments.

use uuid::Uuid;
use valv_access::{AccessPolicy, Permit, RoleAssignment};
use valv_model::{Error, ErrorCode, Operation, PrincipalId, Result, VaultName};

use super::admin::demand;
use super::{Vault, VaultState, VaultView};
use crate::node::vault_not_found;
use crate::queue::Committed;
use crate::{Service, WriteContext};

/// Azure's limit on a vault's access policies (azure docs: key-vault/general/assign-access-policy).
pub(crate) const POLICIES_MAX: usize = 1024;

/// The most role assignments of one vault; its record's size can bound it sooner.
pub(crate) const ASSIGNMENTS_MAX: usize = 2000;

#[allow(clippy::missing_errors_doc, reason = "the errors are Azure's; see docs/operations.md")]
impl Service {
    /// Sets the access policy of one principal.
    pub async fn vault_access_policy_set(
        &self,
        permit: &Permit,
        context: &WriteContext,
        vault: &VaultName,
        policy: AccessPolicy,
    ) -> Result<VaultView> {
        demand(permit, Operation::VaultAccessPolicySet)?;
        self.set_policy(context, vault, policy).await
    }

    /// Removes the access policy of one principal.
    pub async fn vault_access_policy_delete(
        &self,
        permit: &Permit,
        context: &WriteContext,
        vault: &VaultName,
        principal: &PrincipalId,
    ) -> Result<()> {
        demand(permit, Operation::VaultAccessPolicyDelete)?;
        let (known, principal) = (self.known(vault).await?, principal.clone());
        let remove = move |state: &mut VaultState| remove_policy(state, &principal);
        self.change_vault(&known, context, Operation::VaultAccessPolicyDelete, remove).await.map(drop)
    }

    pub(crate) async fn set_policy(
        &self,
        context: &WriteContext,
        vault: &VaultName,
        policy: AccessPolicy,
    ) -> Result<VaultView> {
        let known = self.known(vault).await?;
        let set = move |state: &mut VaultState| set_policy(state, &policy);
        self.change_vault(&known, context, Operation::VaultAccessPolicySet, set).await?;
        self.live(vault).await.map(|vault| VaultView::from(&*vault))
    }

    /// Adds a role assignment to a vault's record.
    pub(crate) async fn assign_in_vault(
        &self,
        vault: &Vault,
        context: &WriteContext,
        assignment: RoleAssignment,
    ) -> Result<Committed> {
        let add = move |state: &mut VaultState| add_assignment(state, &assignment);
        self.change_vault(vault, context, Operation::RoleAssignmentPut, add).await
    }

    /// Removes a role assignment from a vault's record.
    pub(crate) async fn unassign_in_vault(
        &self,
        vault: &Vault,
        context: &WriteContext,
        id: Uuid,
    ) -> Result<Committed> {
        let remove = move |state: &mut VaultState| {
            state.properties.assignments.retain(|assignment| assignment.id != id);
            Ok(())
        };
        self.change_vault(vault, context, Operation::RoleAssignmentDelete, remove).await
    }
}

fn live(state: &VaultState) -> Result<()> {
    if state.properties.deleted.is_some() { Err(vault_not_found(&state.envelope.name)) } else { Ok(()) }
}

fn set_policy(state: &mut VaultState, policy: &AccessPolicy) -> Result<()> {
    live(state)?;
    let policies = &mut state.properties.policies;
    let same = |known: &AccessPolicy| {
        known.object_id == policy.object_id && known.application_id == policy.application_id
    };
    match policies.iter().position(same) {
        Some(at) => policies[at].clone_from(policy),
        None if policies.len() >= POLICIES_MAX => {
            return Err(Error::bad(format!(
                "The vault '{}' has {} access policies; at most {POLICIES_MAX} are allowed.",
                state.envelope.name,
                policies.len()
            )));
        }
        None => policies.push(policy.clone()),
    }
    Ok(())
}

fn remove_policy(state: &mut VaultState, principal: &PrincipalId) -> Result<()> {
    live(state)?;
    let before = state.properties.policies.len();
    state.properties.policies.retain(|policy| policy.object_id != *principal);
    if state.properties.policies.len() == before {
        return Err(Error::new(
            ErrorCode::NotFound,
            format!(
                "The vault '{}' has no access policy for the principal {principal}.",
                state.envelope.name
            ),
        ));
    }
    Ok(())
}

fn add_assignment(state: &mut VaultState, assignment: &RoleAssignment) -> Result<()> {
    live(state)?;
    let assignments = &mut state.properties.assignments;
    if let Some(known) = assignments.iter().find(|known| known.id == assignment.id) {
        return if known == assignment { Ok(()) } else { Err(assignment_exists(&assignment.id)) };
    }
    if assignments.len() >= ASSIGNMENTS_MAX {
        return Err(Error::bad(format!(
            "The vault '{}' has {} role assignments; at most {ASSIGNMENTS_MAX} are allowed.",
            state.envelope.name,
            assignments.len()
        )));
    }
    assignments.push(assignment.clone());
    Ok(())
}

/// 409: an assignment is never changed, only removed and made anew.
pub(crate) fn assignment_exists(id: &Uuid) -> Error {
    Error::new(
        ErrorCode::Conflict,
        format!(
            "The role assignment {id} exists and differs; its role, principal and scope are not allowed to be updated. Remove it first, or use another id."
        ),
    )
}
