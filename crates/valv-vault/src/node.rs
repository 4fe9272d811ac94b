//! What all tasks of a node share: the barrier, the clock, leases, opened vault records.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use quick_cache::sync::Cache;
use valv_engine::{Entry, GroupId, KeyRange, LeaseError, ReadError, WriteLease, layout};
use valv_model::{Error, ErrorCode, Result, VaultId, VaultName};
use valv_sealing::{Barrier, Keyring};

use crate::vaults::Vault;
use crate::{Clock, ServiceSettings};

/// The most vaults whose opened record is kept.
const VAULTS_KEPT: usize = 4096;

/// A node's shared parts.
pub(crate) struct Node {
    pub(crate) barrier: Barrier,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: ServiceSettings,
    leases: Mutex<HashMap<GroupId, WriteLease>>,
    /// By group and name: the record as stored, and opened. A record that differs in one byte is opened anew.
    opened: Cache<(GroupId, VaultName), (Bytes, Arc<Vault>)>,
    /// This region's own group first, then the groups that it holds as a replica.
    groups: Vec<GroupId>,
}

impl Node {
    pub(crate) fn new(barrier: Barrier, clock: Arc<dyn Clock>, settings: ServiceSettings) -> Self {
        let groups = std::iter::once(&settings.region).chain(&settings.replicas).map(GroupId::of_region);
        let groups = groups.collect();
        Self { barrier, clock, settings, leases: Mutex::default(), opened: Cache::new(VAULTS_KEPT), groups }
    }

    /// The groups of vaults that the store holds: this region's own first, then those of which it is a replica.
    pub(crate) fn groups(&self) -> &[GroupId] {
        &self.groups
    }

    /// Is the group written here? The engine's lease has the last word; this decides what is not even tried.
    pub(crate) fn is_home(&self, group: &GroupId) -> bool {
        if *group == GroupId::system() {
            self.settings.system_home == self.settings.region
        } else {
            *group == self.group()
        }
    }

    /// The group of this region's vaults.
    pub(crate) fn group(&self) -> GroupId {
        GroupId::of_region(&self.settings.region)
    }

    pub(crate) fn keyring(&self) -> &Keyring {
        self.barrier.keyring()
    }

    /// Reads ranges at one revision.
    pub(crate) async fn read(&self, ranges: &[KeyRange]) -> Result<Vec<Vec<Entry>>> {
        let read = self.barrier.read(ranges).await.map_err(read_error)?;
        if read.ranges.len() == ranges.len() {
            Ok(read.ranges)
        } else {
            Err(Error::internal("the engine answered another number of ranges than it was asked for"))
        }
    }

    /// The lease of a group, taken when it is first needed and kept until [`Node::forget_lease`].
    pub(crate) async fn lease(&self, group: &GroupId) -> Result<WriteLease, LeaseError> {
        let known = self.leases.lock().unwrap_or_else(PoisonError::into_inner).get(group).cloned();
        if let Some(lease) = known {
            return Ok(lease);
        }
        let lease = self.barrier.lease(group, &self.settings.region).await?;
        self.leases.lock().unwrap_or_else(PoisonError::into_inner).insert(group.clone(), lease.clone());
        Ok(lease)
    }

    /// A commit said that the lease is stale.
    pub(crate) fn forget_lease(&self, group: &GroupId) {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner).remove(group);
    }

    /// The vault whose live record was read, from the cache if it has exactly these bytes.
    pub(crate) fn live_vault(&self, group: &GroupId, name: &VaultName, stored: &Bytes) -> Result<Arc<Vault>> {
        let place = (group.clone(), name.clone());
        if let Some((bytes, vault)) = self.opened.get(&place)
            && bytes == *stored
        {
            return Ok(vault);
        }
        let vault = Arc::new(Vault::open(self.keyring(), group, name, stored, false)?);
        self.opened.insert(place, (stored.clone(), Arc::clone(&vault)));
        Ok(vault)
    }

    /// The vault of that name and whether it is soft-deleted, from what stands at its two places.
    pub(crate) fn vault_of(
        &self,
        group: &GroupId,
        name: &VaultName,
        live: &[Entry],
        deleted: &[Entry],
    ) -> Result<Option<Arc<Vault>>> {
        match (live.first(), deleted.first()) {
            (Some(entry), _) => self.live_vault(group, name, &entry.value).map(Some),
            (None, Some(entry)) => {
                Ok(Some(Arc::new(Vault::open(self.keyring(), group, name, &entry.value, true)?)))
            }
            (None, None) => Ok(None),
        }
    }

    /// Reads the vault of that name, live or soft-deleted, in any of the groups that the store holds.
    pub(crate) async fn find_vault(&self, name: &VaultName) -> Result<Option<Arc<Vault>>> {
        let places = |group| [layout::vault(group, name), layout::deleted_vault(group, name)];
        let ranges: Vec<_> = self.groups.iter().flat_map(places).map(KeyRange::key).collect();
        let read = self.read(&ranges).await?;
        for (group, places) in self.groups.iter().zip(read.chunks_exact(2)) {
            let [live, deleted] = places else { continue };
            if let Some(vault) = self.vault_of(group, name, live, deleted)? {
                return Ok(Some(vault));
            }
        }
        Ok(None)
    }

    /// The id of the vault whose live record was opened last under that name.
    pub(crate) fn known_id(&self, group: &GroupId, name: &VaultName) -> Option<VaultId> {
        let (_, vault) = self.opened.get(&(group.clone(), name.clone()))?;
        Some(vault.state.envelope.id.clone())
    }
}

/// What a caller is told about a read that failed.
pub(crate) fn read_error(error: ReadError) -> Error {
    match error {
        ReadError::Unavailable(why) => {
            Error::unavailable("The service cannot read its store now; nothing was changed. Try again.")
                .detail(why)
        }
        ReadError::Damaged(why) => Error::internal(format!("the engine found its store damaged: {why}")),
    }
}

/// What a caller is told when there is no lease.
pub(crate) fn lease_error(error: LeaseError, operation: &str) -> Error {
    match error {
        LeaseError::NotHome { home } => Error::read_only(operation).detail(format!("{home} is home")),
        LeaseError::Read(error) => read_error(error),
        other => Error::internal(other.to_string()),
    }
}

/// 404 for a vault.
pub(crate) fn vault_not_found(name: &VaultName) -> Error {
    Error::new(ErrorCode::VaultNotFound, format!("The vault '{name}' was not found."))
}
