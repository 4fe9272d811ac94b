//! Role assignments: the deployment's own are records of the system vault, the others stand in their vault's record.

use std::sync::Arc;

use uuid::Uuid;
use valv_access::{BUILT_IN_ROLES, Permit, Registry, Role, RoleAssignment, Scope, Target, may_assign};
use valv_model::{Error, ErrorCode, Operation, Result};
use valv_sealing::RecordKind;
use zeroize::Zeroizing;

use super::registry::{ROLE_ASSIGNMENTS, system_vault};
use crate::queue::{Change, Decision, Need, State, Write};
use crate::vaults::{ASSIGNMENTS_MAX, Vault, assignment_exists, demand};
use crate::{Service, WriteContext};

#[allow(clippy::missing_errors_doc, reason = "the errors are Azure's; see docs/operations.md")]
impl Service {
    /// Assigns a role, at the deployment (stored here) or at a vault or object (stored with the vault).
    pub async fn role_assignment_put(
        &self,
        permit: &Permit,
        context: &WriteContext,
        assignment: RoleAssignment,
    ) -> Result<RoleAssignment> {
        demand(permit, Operation::RoleAssignmentPut)?;
        self.check_assigner(permit, assignment.role).await?;
        self.assign(context, assignment).await
    }

    /// All assignments that this region knows: the deployment's and those of every vault that it holds, replicas too.
    pub async fn role_assignment_list(&self, permit: &Permit) -> Result<Vec<RoleAssignment>> {
        demand(permit, Operation::RoleAssignmentList)?;
        let (registry, vaults) = self.assignments().await?;
        let of_vaults = vaults.iter().flat_map(|vault| &vault.state.properties.assignments);
        Ok(registry.assignments.iter().chain(of_vaults).cloned().collect())
    }

    /// Removes an assignment that is kept here: of the deployment in the system group's home, of a vault in the
    /// vault's. What another region keeps is not found.
    pub async fn role_assignment_delete(
        &self,
        permit: &Permit,
        context: &WriteContext,
        id: &Uuid,
    ) -> Result<()> {
        demand(permit, Operation::RoleAssignmentDelete)?;
        let (registry, vaults) = (self.look(None).await?.registry, self.vaults(false).await?);
        let of_vaults = vaults.iter().flat_map(|vault| &vault.state.properties.assignments);
        if let Some(known) = registry.assignments.iter().chain(of_vaults).find(|known| known.id == *id) {
            self.check_assigner(permit, known.role).await?;
        }
        self.unassign(context, *id).await
    }

    /// Some may hand out certain roles only. An unknown role is refused, or taken away, by what follows.
    async fn check_assigner(&self, permit: &Permit, role: Uuid) -> Result<()> {
        let Some(role) = Role::find(role) else { return Ok(()) };
        let registry = self.look(None).await?.registry;
        may_assign(permit.caller(), role, Target { vault: None, object: None }, &registry)
    }

    pub(crate) async fn assign(
        &self,
        context: &WriteContext,
        assignment: RoleAssignment,
    ) -> Result<RoleAssignment> {
        if !BUILT_IN_ROLES.iter().any(|role| role.id == assignment.role) {
            return Err(Error::bad(format!("There is no role with the id {}.", assignment.role)));
        }
        let (registry, vaults) = self.assignments().await?;
        let of_vaults = vaults.iter().flat_map(|vault| &vault.state.properties.assignments);
        let known = registry.assignments.iter().chain(of_vaults).find(|known| known.id == assignment.id);
        if known.is_some_and(|known| *known != assignment) {
            return Err(assignment_exists(&assignment.id));
        }
        match &assignment.scope {
            Scope::Deployment => self.assign_in_deployment(context, &registry, assignment.clone()).await?,
            Scope::Vault { vault } => {
                let vault = self.live(vault).await?;
                self.assign_in_vault(&vault, context, assignment.clone()).await?;
            }
            Scope::Object { vault, collection, .. } => {
                if !["secrets", "keys", "certificates"].contains(&collection.as_str()) {
                    return Err(Error::bad(
                        "The scope's collection must be 'secrets', 'keys' or 'certificates'.",
                    ));
                }
                let vault = self.live(vault).await?;
                self.assign_in_vault(&vault, context, assignment.clone()).await?;
            }
        }
        Ok(assignment)
    }

    async fn assign_in_deployment(
        &self,
        context: &WriteContext,
        registry: &Registry,
        assignment: RoleAssignment,
    ) -> Result<()> {
        if registry.assignments.len() >= ASSIGNMENTS_MAX {
            return Err(Error::bad(format!(
                "The deployment has {} role assignments; at most {ASSIGNMENTS_MAX} are allowed.",
                registry.assignments.len()
            )));
        }
        let path = format!("{ROLE_ASSIGNMENTS}{}", assignment.id);
        let place = path.clone();
        let plaintext = serde_json::to_vec(&assignment).map_err(|e| Error::internal(e.to_string()))?;
        let decide = Box::new(move |state: &State<'_>| {
            let kind = RecordKind::RoleAssignment;
            match state.get(&place, kind)? {
                Some(known) if *known != plaintext => Err(assignment_exists(&assignment.id)),
                Some(_) => Ok(Decision::default()),
                None => {
                    let plaintext = Zeroizing::new(plaintext.clone());
                    let writes = vec![Write::Put { path: place.clone(), kind, plaintext }];
                    Ok(Decision { writes, version: None })
                }
            }
        });
        let change =
            Change { operation: Operation::RoleAssignmentPut, needs: vec![Need::Record(path)], decide };
        let system = system_vault(&self.node).await?;
        self.submit(&system, context, change).await.map(drop)
    }

    pub(crate) async fn unassign(&self, context: &WriteContext, id: Uuid) -> Result<()> {
        let vaults = self.vaults(false).await?;
        let holds =
            |vault: &&Arc<Vault>| vault.state.properties.assignments.iter().any(|known| known.id == id);
        if let Some(vault) = vaults.iter().find(holds) {
            return self.unassign_in_vault(vault, context, id).await.map(drop);
        }
        // In the deployment, or removed by an earlier try of the same request, or never there.
        let path = format!("{ROLE_ASSIGNMENTS}{id}");
        let place = path.clone();
        let decide = Box::new(move |state: &State<'_>| {
            if state.paths(&place).is_empty() {
                return Err(Error::new(ErrorCode::NotFound, format!("There is no role assignment {id}.")));
            }
            Ok(Decision { writes: vec![Write::Delete { path: place.clone() }], version: None })
        });
        let needs = vec![Need::Prefix { prefix: path, limit: 1 }];
        let change = Change { operation: Operation::RoleAssignmentDelete, needs, decide };
        let system = system_vault(&self.node).await?;
        self.submit(&system, context, change).await.map(drop)
    }

    /// Where assignments stand.
    async fn assignments(&self) -> Result<(Arc<Registry>, Vec<Arc<Vault>>)> {
        Ok((self.look(None).await?.registry, self.held_vaults(false).await?))
    }
}
