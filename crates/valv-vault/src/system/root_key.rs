//! Root key rotation while serving.

use std::time::{Duration, Instant};

use valv_access::Permit;
use valv_engine::{CommitError, GroupId};
use valv_model::{Error, ErrorCode, Operation, Result};
use valv_sealing::{RootKeyId, SealedOp};

use super::registry::system_vault;
use crate::node::lease_error;
use crate::queue::{not_sent, refusal};
use crate::vaults::{Vault, VaultState, demand};
use crate::{Service, WriteContext};

/// The time one vault's commit may take, whatever the request's deadline is: a rotation takes as long as the
/// deployment has vaults, and can be repeated.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// The pause between two submissions of the root key record.
const PAUSE: Duration = Duration::from_millis(100);

#[allow(clippy::missing_errors_doc, reason = "the errors are Azure's; see docs/operations.md")]
impl Service {
    /// Wraps every data key under the keyring's current root key, one commit per vault, then records it as the
    /// store's. Returns how many vaults changed. Safe to repeat after an interruption.
    pub async fn root_key_rotate(&self, permit: &Permit, context: &WriteContext) -> Result<u64> {
        demand(permit, Operation::RootKeyRotate)?;
        self.rotate_root_key(context).await
    }

    /// The id of the root key that a rotation wraps data keys under.
    #[must_use]
    pub fn current_root_key(&self) -> RootKeyId {
        self.node.keyring().root_keys().current().id().clone()
    }

    pub(crate) async fn rotate_root_key(&self, context: &WriteContext) -> Result<u64> {
        let current = self.current_root_key();
        let mut changed = 0;
        // Until nothing is found: a vault may be made meanwhile by a node that does not know the new key yet.
        loop {
            let mut old = self.vaults(false).await?;
            old.extend(self.vaults(true).await?);
            if self.node.is_home(&GroupId::system()) {
                old.push(system_vault(&self.node).await?);
            }
            old.retain(|vault| is_under_another(vault, &current));
            if old.is_empty() {
                break;
            }
            for vault in old {
                self.rewrap(&vault, context).await?;
                changed += 1;
            }
        }
        self.check_all_open().await?;
        self.check_replicas(&current).await?;
        self.record_root_key(&current).await?;
        Ok(changed)
    }

    async fn rewrap(&self, vault: &Vault, context: &WriteContext) -> Result<()> {
        let barrier = self.barrier.clone();
        let rewrap = move |state: &mut VaultState| {
            let envelope = &mut state.envelope;
            let rewrapped = barrier.keyring().rewrap(&envelope.id, &envelope.data_keys);
            envelope.data_keys =
                rewrapped.map_err(|e| Error::internal(format!("vault '{}': {e}", envelope.name)))?;
            Ok(())
        };
        // One request makes many commits, of many vaults: its request key stands for none of them.
        let context =
            WriteContext { request: None, deadline: Instant::now() + STEP_TIMEOUT, ..context.clone() };
        self.change_vault(vault, &context, Operation::RootKeyRotate, rewrap).await.map(drop)
    }

    /// A vault that does not open is left out of lists, but its data keys may be under the old root key:
    /// recording the new one would say that the old one can be thrown away.
    async fn check_all_open(&self) -> Result<()> {
        let mut damaged = 0;
        for group in self.node.groups() {
            damaged += self.stored_vaults(group, false).await?.1 + self.stored_vaults(group, true).await?.1;
        }
        if damaged == 0 {
            return Ok(());
        }
        Err(Error::internal(format!(
            "{damaged} vault records do not open, so their data keys cannot be wrapped under the new root key; keep the old root key, and restore the store from a backup or from its pair"
        )))
    }

    /// The vaults of which this region is a replica are rotated by their home; until that has arrived here the old
    /// root key is needed, and the store's record must go on naming it.
    async fn check_replicas(&self, current: &RootKeyId) -> Result<()> {
        let mut held = self.held_vaults(false).await?;
        held.extend(self.held_vaults(true).await?);
        held.push(system_vault(&self.node).await?);
        let left = held.iter().filter(|vault| is_under_another(vault, current)).count();
        if left == 0 {
            return Ok(());
        }
        Err(Error::new(
            ErrorCode::Conflict,
            format!(
                "This region's vaults are under the new root key, and {left} vaults of other regions, copied here, are not yet. Rotate the root key in their regions too, then repeat this; until then keep the old root key."
            ),
        ))
    }

    async fn record_root_key(&self, id: &RootKeyId) -> Result<()> {
        // The record is the store's: any lease of this store will do, and this region has one of its own group.
        let group = self.node.group();
        let deadline = Instant::now() + STEP_TIMEOUT;
        while Instant::now() < deadline {
            let lease =
                self.node.lease(&group).await.map_err(|e| lease_error(e, Operation::RootKeyRotate.name()))?;
            match self.barrier.commit(&lease, Vec::new(), vec![SealedOp::root_key(id)]).await {
                Ok(_) => return Ok(()),
                Err(CommitError::StaleLease) => self.node.forget_lease(&group),
                Err(CommitError::UnknownOutcome(_)) => tokio::time::sleep(PAUSE).await,
                Err(error) => return Err(refusal(&error, Operation::RootKeyRotate.name())),
            }
        }
        Err(not_sent())
    }
}

fn is_under_another(vault: &Vault, current: &RootKeyId) -> bool {
    vault.state.envelope.data_keys.iter().any(|key| key.root_key != *current)
}
