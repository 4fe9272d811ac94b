//! What all tasks of one connection of a replica share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use valv_engine::{Engine, GroupId, KeyRange, Lineage, ReplicaLease};
use valv_model::VaultId;
use valv_sealing::{DataKeys, Keyring, SealError, VaultEnvelope};

use super::local::{Fail, LocalVault};
use super::{ReplicaSettings, StopReason};
use crate::source::{Source, SourceError};
use crate::view::Names;

/// What is counted since the process began.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) commits: AtomicU64,
    pub(super) copies: AtomicU64,
    pub(super) repaired: AtomicU64,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64, more: u64) {
        counter.fetch_add(more, Ordering::Relaxed);
    }
}

pub(super) struct Context {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) keyring: Arc<Keyring>,
    pub(super) source: Arc<dyn Source>,
    pub(super) group: GroupId,
    pub(super) settings: ReplicaSettings,
    pub(super) names: Arc<Names>,
    pub(super) counters: Arc<Counters>,
    /// Of this replica's task, to tell its own copies from another's.
    pub(super) by: uuid::Uuid,
    pub(super) lease: ReplicaLease,
    /// Home's lineage, which this store copies.
    pub(super) lineage: Lineage,
}

impl Context {
    /// The vault as it is here; only while the same home's store is copied.
    pub(super) async fn local(&self, vault: &VaultId) -> Result<LocalVault, Fail> {
        let local = LocalVault::read(&*self.engine, &self.group, vault).await?;
        if local.copied_lineage() == Some(self.lineage) { Ok(local) } else { Err(Fail::Again) }
    }

    /// An answer of the source, within the deadline.
    pub(super) async fn ask<T>(
        &self,
        answer: impl Future<Output = Result<T, SourceError>>,
    ) -> Result<T, Fail> {
        match tokio::time::timeout(self.settings.answer, answer).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Fail::Source(SourceError::Unreachable("no answer in time".into()))),
        }
    }

    /// What stands at keys.
    pub(super) async fn values(
        &self,
        keys: impl IntoIterator<Item = Bytes>,
    ) -> Result<BTreeMap<Bytes, Option<Bytes>>, Fail> {
        let keys: Vec<Bytes> = keys.into_iter().collect();
        if keys.is_empty() {
            return Ok(BTreeMap::new());
        }
        let ranges: Vec<KeyRange> = keys.iter().cloned().map(KeyRange::key).collect();
        let read = self.engine.read(&ranges).await?;
        let values = read.ranges.into_iter().map(|range| range.into_iter().next().map(|entry| entry.value));
        Ok(keys.into_iter().zip(values).collect())
    }

    /// The data keys of a vault's record, if they open here (F33).
    pub(super) fn keys(&self, vault: &VaultId, envelope: &VaultEnvelope) -> Result<Arc<DataKeys>, Fail> {
        let vault_name = || format!("{} ({vault})", envelope.name);
        self.keyring.unwrap(vault, &envelope.data_keys).map_err(|error| match error {
            // A token that does not answer now is no wrong key.
            SealError::RootKey(why) => Fail::Store(format!("vault {}: {why}", vault_name())),
            other => Fail::Stop(StopReason::WrongRootKey { vault: vault_name(), why: other.to_string() }),
        })
    }

    pub(super) fn malformed(vault: &VaultId, why: impl Into<String>) -> Fail {
        Fail::Stop(StopReason::Malformed { vault: vault.to_string(), why: why.into() })
    }
}
