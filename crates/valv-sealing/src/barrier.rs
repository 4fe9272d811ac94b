//! The one way to the engine.

use std::sync::Arc;

use bytes::Bytes;
use valv_engine::{
    CommitError, Compare, Engine, Expect, GroupId, KeyRange, LeaseError, Op, Read, ReadError, Revision,
    WriteLease,
};
use valv_model::{RegionName, VaultId, VaultName};

use crate::{Head, Keyring, LogRecord, RootKeyError, RootKeyId, VaultEnvelope};

/// An operation whose value may go below the barrier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedOp(Op);

impl SealedOp {
    /// Only sealing calls this.
    pub(crate) fn sealed(key: Bytes, sealed: Bytes) -> Self {
        Self(Op::Put(key, sealed))
    }

    /// Removes a key.
    #[must_use]
    pub fn delete(key: Bytes) -> Self {
        Self(Op::Delete(key))
    }

    /// Stores a vault's head.
    #[must_use]
    pub fn head(group: &GroupId, vault: &VaultId, head: &Head) -> Self {
        Self(Op::Put(valv_engine::layout::head(group, vault), head.encode()))
    }

    /// Stores a log record, already encoded because the chain is computed over the same bytes.
    #[must_use]
    pub fn log(group: &GroupId, vault: &VaultId, record: &LogRecord, encoded: Bytes) -> Self {
        Self(Op::Put(valv_engine::layout::log(group, vault, record.number), encoded))
    }

    /// Stores a live vault's record.
    #[must_use]
    pub fn vault(group: &GroupId, name: &VaultName, envelope: &VaultEnvelope) -> Self {
        Self(Op::Put(valv_engine::layout::vault(group, name), envelope.encode()))
    }

    /// Stores a soft-deleted vault's record.
    #[must_use]
    pub fn deleted_vault(group: &GroupId, name: &VaultName, envelope: &VaultEnvelope) -> Self {
        Self(Op::Put(valv_engine::layout::deleted_vault(group, name), envelope.encode()))
    }

    /// Stores the id of the root key in use.
    #[must_use]
    pub fn root_key(id: &RootKeyId) -> Self {
        Self(Op::Put(valv_engine::layout::root_key(), Bytes::from(id.0.clone())))
    }

    /// The operation as the log records it.
    #[must_use]
    pub fn op(&self) -> &Op {
        &self.0
    }
}

/// An engine and the keys to what it holds.
#[derive(Clone)]
pub struct Barrier {
    engine: Arc<dyn Engine>,
    keyring: Arc<Keyring>,
}

impl Barrier {
    /// A barrier over an engine. Compares the store's root key record with the keyring: a store whose root
    /// key is not configured is refused here, before anything is served (F33).
    pub async fn open(engine: Arc<dyn Engine>, keyring: Arc<Keyring>) -> Result<Self, RootKeyError> {
        let store = stored_root_key(&*engine).await?.ok_or(RootKeyError::NoRecord)?;
        let root = keyring.root_keys();
        if root.find(&store).is_none() {
            return Err(RootKeyError::Wrong { store, configured: root.ids().cloned().collect() });
        }
        Ok(Self { engine, keyring })
    }

    /// A barrier over a store that was just made: records the current root key as the store's. Refused
    /// when the store names a root key already or holds anything but its groups: never new keys over old
    /// data. For `valv init`; a second call after a success is refused, so it is not for serving.
    pub async fn create(
        engine: Arc<dyn Engine>,
        keyring: Arc<Keyring>,
        lease: &WriteLease,
    ) -> Result<Self, RootKeyError> {
        if stored_root_key(&*engine).await?.is_some() || !is_new(&*engine).await? {
            return Err(RootKeyError::NotEmpty);
        }
        let barrier = Self { engine, keyring };
        let record = SealedOp::root_key(barrier.keyring.root_keys().current().id());
        let absent = Compare { key: valv_engine::layout::root_key(), expect: Expect::Absent };
        barrier.commit(lease, vec![absent], vec![record]).await.map_err(|error| match error {
            CommitError::Conflict => RootKeyError::NotEmpty,
            other => RootKeyError::Commit(other),
        })?;
        Ok(barrier)
    }

    /// The keys.
    #[must_use]
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// See [`Engine::lease`].
    pub async fn lease(&self, group: &GroupId, region: &RegionName) -> Result<WriteLease, LeaseError> {
        self.engine.lease(group, region).await
    }

    /// See [`Engine::read`]. What it returns is opened with [`crate::DataKeys::open`] or a record's `decode`.
    pub async fn read(&self, ranges: &[KeyRange]) -> Result<Read, ReadError> {
        self.engine.read(ranges).await
    }

    /// See [`Engine::commit`].
    pub async fn commit(
        &self,
        lease: &WriteLease,
        compares: Vec<Compare>,
        ops: Vec<SealedOp>,
    ) -> Result<Revision, CommitError> {
        let ops = ops.into_iter().map(|op| op.0).collect();
        self.engine.commit(lease, valv_engine::Transaction { compares, ops }).await
    }
}

/// The root key that the store names.
async fn stored_root_key(engine: &dyn Engine) -> Result<Option<RootKeyId>, RootKeyError> {
    let read = engine.read(&[KeyRange::key(valv_engine::layout::root_key())]).await?;
    let Some(entry) = read.ranges.first().and_then(|entries| entries.first()) else { return Ok(None) };
    match std::str::from_utf8(&entry.value) {
        Ok(id) if id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit()) => {
            Ok(Some(RootKeyId(id.to_owned())))
        }
        _ => Err(RootKeyError::DamagedRecord),
    }
}

/// Nothing below the groups but their own records.
async fn is_new(engine: &dyn Engine) -> Result<bool, RootKeyError> {
    // A store has few groups, and every other key of a group would stand among so many first ones.
    let read = engine.read(&[KeyRange::prefix("g/").limit(1000)]).await?;
    Ok(read.ranges.iter().flatten().all(|entry| entry.key.ends_with(b"/meta")))
}
