//! What a replica's store keeps for itself, and its writes.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use valv_engine::planted::{self, Bug};
use valv_engine::{
    CommitError, Compare, Engine, Expect, GroupId, KeyRange, Lineage, Op, ReadError, ReplicaLease, Revision,
    Transaction, WriteLease, layout,
};
use valv_model::VaultId;
use valv_sealing::Head;

use super::{Copied, StopReason};
use crate::source::{SourceError, VaultHead};
use crate::view::{self, ViewError};

/// The first and the longest pause between two submissions of one transaction.
const PAUSE: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// How often a transaction is submitted before the store is said to fail.
const SUBMISSIONS_MAX: usize = 20;

/// Records removed at once; their values are read with them.
const REMOVE_PAGE: usize = 50;

/// The record at `g/{group}/copied`. Unknown fields survive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CopiedRecord {
    pub(crate) lineage: Lineage,
    /// See [`Copied::complete`].
    #[serde(default)]
    pub(crate) complete: bool,
    /// This is a home that is being rebuilt from a replica.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) rebuilding: bool,
    #[serde(flatten)]
    pub(crate) extra: serde_json::Map<String, serde_json::Value>,
}

impl CopiedRecord {
    pub(crate) fn new(lineage: Lineage) -> Self {
        Self { lineage, complete: false, rebuilding: false, extra: serde_json::Map::new() }
    }

    pub(crate) fn encode(&self) -> Bytes {
        // An id and a word always serialise.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    pub(crate) fn decode(stored: &[u8]) -> Result<Self, ViewError> {
        serde_json::from_slice(stored).map_err(|e| ViewError::Damaged(format!("what is copied: {e}")))
    }
}

/// The record at `g/{group}/local/{vault}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LocalRecord {
    /// The generation of the vault's data in this store; none: the one that home uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) generation: Option<u64>,
    /// A copy that is under way, or was broken off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) copying: Option<Copying>,
    /// The vault has to be copied anew, whatever its head says.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) anew: bool,
}

/// A copy under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Copying {
    /// What it writes to.
    pub(crate) generation: u64,
    /// Who does it.
    pub(crate) by: uuid::Uuid,
    /// How many records it has written.
    pub(crate) records: u64,
}

impl LocalRecord {
    pub(crate) fn encode(&self) -> Bytes {
        // Numbers and ids always serialise.
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

/// Why a step came to nothing.
#[derive(Debug)]
pub(crate) enum Fail {
    /// The source does not help.
    Source(SourceError),
    /// This store does not help.
    Store(String),
    /// What is known of the group is out of date: begin anew.
    Again,
    /// The vault, or the whole group, takes nothing more.
    Stop(StopReason),
}

impl From<SourceError> for Fail {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

impl From<ReadError> for Fail {
    fn from(error: ReadError) -> Self {
        Self::Store(error.to_string())
    }
}

impl From<ViewError> for Fail {
    fn from(error: ViewError) -> Self {
        Self::Store(error.to_string())
    }
}

/// The record of what a store's content of a group was copied from.
pub(crate) async fn copied_record(
    engine: &dyn Engine,
    group: &GroupId,
) -> Result<Option<CopiedRecord>, ViewError> {
    let stored = view::value(engine, layout::copied(group)).await?;
    stored.map(|stored| CopiedRecord::decode(&stored)).transpose()
}

/// What a replica's store has copied of a group; none before the first contact with home.
pub async fn copied(engine: &dyn Engine, group: &GroupId) -> Result<Option<Copied>, SourceError> {
    let Some(record) = copied_record(engine, group).await? else { return Ok(None) };
    let (_, heads) = view::heads(engine, group).await?;
    let heads = heads.into_iter().filter_map(|(vault, head)| Some(VaultHead { vault, head: head.ok()? }));
    Ok(Some(Copied { lineage: record.lineage, complete: record.complete, heads: heads.collect() }))
}

/// Was all of the group copied once, as the record at `g/{group}/copied` says? Only then does absence in the copy say
/// anything.
pub fn is_complete(stored: Option<&Bytes>) -> Result<bool, SourceError> {
    let Some(stored) = stored else { return Ok(false) };
    Ok(CopiedRecord::decode(stored)?.complete)
}

/// A vault as the replica's store has it, at one revision.
#[derive(Clone, Debug)]
pub(crate) struct LocalVault {
    pub(crate) copied: Option<Bytes>,
    pub(crate) stored_head: Option<Bytes>,
    /// None: damaged.
    pub(crate) head: Option<Head>,
    pub(crate) stored_local: Option<Bytes>,
    /// None: damaged.
    pub(crate) local: Option<LocalRecord>,
}

impl LocalVault {
    pub(crate) async fn read(
        engine: &dyn Engine,
        group: &GroupId,
        vault: &VaultId,
    ) -> Result<Self, ReadError> {
        let places = [layout::copied(group), layout::head(group, vault), layout::local(group, vault)];
        let read = engine.read(&places.map(KeyRange::key)).await?;
        let mut values =
            read.ranges.into_iter().map(|range| range.into_iter().next().map(|entry| entry.value));
        let mut next = || values.next().flatten();
        let (copied, stored_head, stored_local) = (next(), next(), next());
        let head = stored_head.as_ref().map_or(Some(Head::START), |head| Head::decode(head).ok());
        let local = match &stored_local {
            Some(stored) => serde_json::from_slice(stored).ok(),
            None => Some(LocalRecord::default()),
        };
        Ok(Self { copied, stored_head, head, stored_local, local })
    }

    pub(crate) fn copied_lineage(&self) -> Option<Lineage> {
        CopiedRecord::decode(self.copied.as_ref()?).ok().map(|record| record.lineage)
    }

    /// What every write to the vault compares: the same home's store is copied, and nobody else wrote.
    pub(crate) fn compares(&self, group: &GroupId, vault: &VaultId) -> Vec<Compare> {
        let mut compares = vec![
            is(layout::copied(group), self.copied.clone()),
            is(layout::local(group, vault), self.stored_local.clone()),
        ];
        if !planted::active(Bug::ReplicaHeadNotCompared) {
            compares.push(is(layout::head(group, vault), self.stored_head.clone()));
        }
        compares
    }
}

/// The comparison with what was read.
pub(crate) fn is(key: Bytes, stored: Option<Bytes>) -> Compare {
    Compare { key, expect: stored.map_or(Expect::Absent, Expect::Value) }
}

/// The proof under which something is written.
#[derive(Clone, Copy)]
pub(crate) enum Lease<'a> {
    Replica(&'a ReplicaLease),
    Home(&'a WriteLease),
}

impl Lease<'_> {
    async fn submit(self, engine: &dyn Engine, transaction: Transaction) -> Result<Revision, CommitError> {
        match self {
            Self::Replica(lease) => engine.apply(lease, transaction).await,
            Self::Home(lease) => engine.commit(lease, transaction).await,
        }
    }
}

impl<'a> From<&'a ReplicaLease> for Lease<'a> {
    fn from(lease: &'a ReplicaLease) -> Self {
        Self::Replica(lease)
    }
}

impl<'a> From<&'a WriteLease> for Lease<'a> {
    fn from(lease: &'a WriteLease) -> Self {
        Self::Home(lease)
    }
}

/// Submits a transaction, identical each time, until its outcome is known. True: it happened; false: a
/// comparison failed. `witness`: a key with the value that only this transaction gives it.
pub(crate) async fn settle(
    engine: &dyn Engine,
    lease: impl Into<Lease<'_>>,
    transaction: Transaction,
    witness: Option<(Bytes, Option<Bytes>)>,
) -> Result<bool, Fail> {
    let lease = lease.into();
    let mut pause = PAUSE;
    let mut unknown = false;
    let mut last = String::new();
    for _ in 0..SUBMISSIONS_MAX {
        match lease.submit(engine, transaction.clone()).await {
            Ok(_) => return Ok(true),
            Err(CommitError::Conflict) => {
                let Some((key, value)) = witness.filter(|_| unknown) else { return Ok(false) };
                return Ok(view::value(engine, key).await? == value);
            }
            Err(CommitError::StaleLease) => return Err(Fail::Again),
            Err(CommitError::UnknownOutcome(why)) => {
                unknown = true;
                last = why;
            }
            Err(CommitError::Unavailable(why)) => last = why,
            Err(error @ (CommitError::Full(_) | CommitError::Malformed(_))) => {
                return Err(Fail::Store(error.to_string()));
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
    Err(Fail::Store(last))
}

/// Removes all of a range, some at a time.
pub(crate) async fn remove_range(
    engine: &dyn Engine,
    lease: impl Into<Lease<'_>>,
    start: Bytes,
    end: Bytes,
) -> Result<(), Fail> {
    let (lease, range) = (lease.into(), KeyRange { start, end, limit: REMOVE_PAGE, reverse: false });
    loop {
        let read = engine.read(std::slice::from_ref(&range)).await?;
        let gone: Vec<Bytes> = read.ranges.into_iter().flatten().map(|entry| entry.key).collect();
        let full = gone.len() == REMOVE_PAGE;
        if !gone.is_empty() {
            remove(engine, lease, gone).await?;
        }
        if !full {
            return Ok(());
        }
    }
}

/// Removes keys that nobody reads and nobody writes again.
pub(crate) async fn remove(
    engine: &dyn Engine,
    lease: impl Into<Lease<'_>>,
    gone: Vec<Bytes>,
) -> Result<(), Fail> {
    let ops = gone.into_iter().map(Op::Delete).collect();
    settle(engine, lease, Transaction { compares: Vec::new(), ops }, None).await.map(drop)
}
