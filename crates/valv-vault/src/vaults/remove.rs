//! Soft delete, recover, purge.

use std::sync::Arc;

use valv_access::Permit;
use valv_model::{Error, ErrorCode, Operation, Result, UnixSeconds, VaultName};

use super::admin::demand;
use super::{VaultDeletion, VaultState, VaultView};
use crate::lifecycle::sweep;
use crate::node::vault_not_found;
use crate::queue::{Change, Decision, Scope, Write};
use crate::{Service, WriteContext};

#[allow(clippy::missing_errors_doc, reason = "the errors are Azure's; see docs/operations.md")]
impl Service {
    /// Soft-deletes a vault: its content stays and cannot be reached; its name stays taken.
    pub async fn vault_delete(
        &self,
        permit: &Permit,
        context: &WriteContext,
        name: &VaultName,
    ) -> Result<VaultView> {
        demand(permit, Operation::VaultDelete)?;
        self.delete_vault(context, name).await
    }

    /// Takes a soft-deleted vault back, with all content and properties.
    pub async fn vault_recover(
        &self,
        permit: &Permit,
        context: &WriteContext,
        name: &VaultName,
    ) -> Result<VaultView> {
        demand(permit, Operation::VaultRecover)?;
        self.recover_vault(context, name).await
    }

    /// Destroys a soft-deleted vault: its data keys are gone with the commit, its records are removed after. Refused under purge protection.
    pub async fn vault_purge(&self, permit: &Permit, context: &WriteContext, name: &VaultName) -> Result<()> {
        demand(permit, Operation::VaultPurge)?;
        self.purge_vault(context, name, Purge::Asked).await
    }

    pub(crate) async fn delete_vault(&self, context: &WriteContext, name: &VaultName) -> Result<VaultView> {
        // A retry of a deletion whose answer was lost finds the vault deleted.
        let vault = self.known(name).await?;
        self.change_vault_at(&vault, context, Operation::VaultDelete, delete).await?;
        let vault = self.known(name).await?;
        Ok(VaultView::from(&*vault))
    }

    pub(crate) async fn recover_vault(&self, context: &WriteContext, name: &VaultName) -> Result<VaultView> {
        let vault = self.known(name).await.map_err(|error| deleted_not_found(error, name))?;
        self.change_vault(&vault, context, Operation::VaultRecover, recover).await?;
        self.live(name).await.map(|vault| VaultView::from(&*vault))
    }

    pub(crate) async fn purge_vault(
        &self,
        context: &WriteContext,
        name: &VaultName,
        purge: Purge,
    ) -> Result<()> {
        let vault = self.known(name).await.map_err(|error| deleted_not_found(error, name))?;
        let decide = Box::new(move |state: &crate::queue::State<'_>| {
            may_purge(state.vault(), purge)?;
            Ok(Decision { writes: vec![Write::Purge], version: None })
        });
        let change = Change { operation: Operation::VaultPurge, needs: Vec::new(), decide };
        self.submit_to(&vault, context, change, Scope::Any).await?;
        let (node, group, id) =
            (Arc::clone(&self.node), vault.group.clone(), vault.state.envelope.id.clone());
        self.queues.spawn(async move {
            if let Err(error) = sweep(&node, &group, &id).await {
                tracing::warn!(vault = %id, %error, "a purged vault's records are not all removed yet; the next round goes on");
            }
        });
        Ok(())
    }
}

/// Why a vault is purged.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purge {
    /// Somebody asked for it.
    Asked,
    /// Its time has come, by this clock.
    Due(UnixSeconds),
}

fn delete(state: &mut VaultState, now: UnixSeconds) -> Result<()> {
    if state.properties.deleted.is_some() {
        return Err(vault_not_found(&state.envelope.name));
    }
    let scheduled_purge = now.plus_days(state.properties.retention.days().into());
    state.properties.deleted = Some(VaultDeletion { deleted: now, scheduled_purge });
    Ok(())
}

fn recover(state: &mut VaultState) -> Result<()> {
    match state.properties.deleted.take() {
        Some(_) => Ok(()),
        None => Err(deleted_not_found(vault_not_found(&state.envelope.name), &state.envelope.name)),
    }
}

fn may_purge(state: &VaultState, purge: Purge) -> Result<()> {
    let name = &state.envelope.name;
    let Some(deletion) = state.properties.deleted else {
        return Err(deleted_not_found(vault_not_found(name), name));
    };
    match purge {
        Purge::Asked if state.properties.purge_protection => Err(Error::new(
            ErrorCode::Forbidden,
            format!(
                "Operation 'DeletedVaultPurge' is not allowed: purge protection is enabled for the vault '{name}'. It is purged by itself after the retention period has passed."
            ),
        )),
        Purge::Due(now) if deletion.scheduled_purge > now => Err(Error::new(
            ErrorCode::Conflict,
            format!("The retention time of the vault '{name}' has not passed."),
        )),
        Purge::Asked | Purge::Due(_) => Ok(()),
    }
}

fn deleted_not_found(error: Error, name: &VaultName) -> Error {
    if error.code == ErrorCode::VaultNotFound {
        Error::new(ErrorCode::VaultNotFound, format!("The deleted vault '{name}' was not found."))
    } else {
        error
    }
}
