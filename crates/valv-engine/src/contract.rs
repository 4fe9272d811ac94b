use std::collections::HashSet;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use valv_model::RegionName;

use crate::{GroupId, Lineage, ReplicaLease, Revision, WriteLease};

/// The most operations in one transaction (etcd's default `--max-txn-ops` is 128; the lease's and the
/// head's comparisons and records need some).
pub const MAX_TRANSACTION_OPS: usize = 120;

/// The most bytes of keys and values in one transaction (etcd refuses requests above 1.5 MiB).
pub const MAX_TRANSACTION_BYTES: usize = 700 * 1024;

/// A stored key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key, see [`crate::layout`].
    pub key: Bytes,
    /// The value, sealed unless the layout says otherwise.
    pub value: Bytes,
}

/// Keys from `start` up to but not including `end`, at most `limit` of them, in byte order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// First key.
    pub start: Bytes,
    /// First key beyond.
    pub end: Bytes,
    /// The most entries to return; 0 returns none.
    pub limit: usize,
    /// Return the *last* `limit` entries of the range, in descending order.
    pub reverse: bool,
}

impl KeyRange {
    /// One key.
    #[must_use]
    pub fn key(key: impl Into<Bytes>) -> Self {
        let start = key.into();
        let mut end = start.to_vec();
        end.push(0);
        Self { start, end: end.into(), limit: 1, reverse: false }
    }

    /// Everything that begins with `prefix`.
    #[must_use]
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let start = prefix.into();
        let mut end = start.to_vec();
        // The first key beyond all that begin with the prefix; an all-0xff prefix has none below "everything".
        while let Some(last) = end.pop() {
            if last < 0xff {
                end.push(last + 1);
                break;
            }
        }
        if end.is_empty() {
            end = vec![0xff; start.len() + 64];
        }
        Self { start, end: end.into(), limit: usize::MAX, reverse: false }
    }

    /// The same range with at most `limit` entries.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// The same range, from its end.
    #[must_use]
    pub fn reversed(mut self) -> Self {
        self.reverse = true;
        self
    }

    /// The same range beginning with the first key greater than `key`.
    #[must_use]
    pub fn after(mut self, key: &[u8]) -> Self {
        let mut start = key.to_vec();
        start.push(0);
        if start.as_slice() > &*self.start {
            self.start = start.into();
        }
        self
    }
}

/// What a read saw, all ranges at one revision.
#[derive(Clone, Debug)]
pub struct Read {
    /// The entries of each range, in the order the ranges were asked for.
    pub ranges: Vec<Vec<Entry>>,
    /// The revision read at; not older than any commit acknowledged before the read began.
    pub revision: Revision,
}

/// What a key must hold for a transaction to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Absent,
    /// Exactly this.
    Value(Bytes),
}

/// One comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The key.
    pub key: Bytes,
    /// What it must hold.
    pub expect: Expect,
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Store the value, replacing what is there.
    Put(Bytes, Bytes),
    /// Remove the key; nothing happens where there is none.
    Delete(Bytes),
}

impl Op {
    /// The key changed.
    #[must_use]
    pub fn key(&self) -> &Bytes {
        match self {
            Self::Put(key, _) | Self::Delete(key) => key,
        }
    }

    /// Bytes that count towards [`MAX_TRANSACTION_BYTES`].
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Put(key, value) => key.len() + value.len(),
            Self::Delete(key) => key.len(),
        }
    }
}

/// If all comparisons hold, all operations happen; otherwise none. No key stands in two operations, and
/// there is at least one operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// All must hold.
    pub compares: Vec<Compare>,
    /// All happen, at one revision.
    pub ops: Vec<Op>,
}

impl Transaction {
    /// Refuses what no engine takes. Engines call it before anything else, so that all refuse the same.
    pub fn check(&self) -> Result<(), CommitError> {
        let malformed = |why: String| Err(CommitError::Malformed(why));
        if self.ops.is_empty() {
            return malformed("it has no operation".into());
        }
        if self.ops.len() > MAX_TRANSACTION_OPS {
            return malformed(format!("{} operations; at most {MAX_TRANSACTION_OPS}", self.ops.len()));
        }
        if self.compares.len() > MAX_TRANSACTION_OPS {
            return malformed(format!("{} comparisons; at most {MAX_TRANSACTION_OPS}", self.compares.len()));
        }
        let bytes = self.size();
        if bytes > MAX_TRANSACTION_BYTES {
            return malformed(format!("{bytes} bytes of keys and values; at most {MAX_TRANSACTION_BYTES}"));
        }
        let mut keys = HashSet::with_capacity(self.ops.len());
        if !self.ops.iter().all(|op| keys.insert(op.key())) {
            return malformed("one key stands in two operations".into());
        }
        if self.ops.iter().any(|op| op.key().is_empty()) {
            return malformed("a key is empty".into());
        }
        Ok(())
    }

    /// Bytes of the operations' keys and values; what [`MAX_TRANSACTION_BYTES`] bounds.
    #[must_use]
    pub fn size(&self) -> usize {
        self.ops.iter().map(Op::size).sum()
    }
}

/// What one commit changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The commit's revision.
    pub revision: Revision,
    /// Its operations in their order, without deletes of keys that were not there.
    pub ops: Vec<Op>,
}

/// Commits in order, none left out; ends with an error when that can no longer be promised.
pub type ChangeStream = BoxStream<'static, Result<Change, ChangesError>>;

/// Everything below a prefix at one revision.
pub struct Snapshot {
    /// The store's lineage.
    pub lineage: Lineage,
    /// The revision of all entries.
    pub revision: Revision,
    /// The entries in key order.
    pub entries: BoxStream<'static, Result<Entry, ReadError>>,
}

/// Why no lease was given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// Another region is the group's home.
    #[error("region {home} is the home of this group")]
    NotHome {
        /// The home.
        home: RegionName,
    },
    /// This region is the group's home: it holds no replica.
    #[error("region {0} is the home of this group and holds no replica of it")]
    IsHome(RegionName),
    /// The store has no such group.
    #[error("the store has no group {0:?}; `valv init` makes a region's groups")]
    NoSuchGroup(GroupId),
    /// The group's record cannot be read.
    #[error("damaged record: {0}")]
    Damaged(String),
    /// The engine does not answer.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Why a read gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The engine cannot answer now.
    #[error("the engine does not answer: {0}")]
    Unavailable(String),
    /// The engine found its own file damaged.
    #[error("the engine's store is damaged: {0}")]
    Damaged(String),
}

/// Why a commit was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// A comparison did not hold; nothing happened. Read again and decide again.
    #[error("a comparison did not hold")]
    Conflict,
    /// The lease's epoch or home is no longer the group's; nothing happened.
    #[error("the lease is stale")]
    StaleLease,
    /// It may have happened, or may still happen. Absence proves nothing: submit the identical
    /// transaction again until it succeeds or a comparison fails.
    #[error("the outcome is unknown: {0}")]
    UnknownOutcome(String),
    /// The store has no room; nothing happened.
    #[error("the store is full: {0}")]
    Full(String),
    /// Refused by [`Transaction::check`]: too large, no operation, or one key twice; nothing happened.
    #[error("the transaction is not well formed: {0}")]
    Malformed(String),
    /// The engine cannot take it now; nothing was sent, nothing happened.
    #[error("the engine does not answer: {0}")]
    Unavailable(String),
}

/// Why there is no stream, or why it ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangesError {
    /// The history from there on is no longer kept, or the reader was too slow: take a snapshot.
    #[error("history before revision {oldest:?} is no longer kept")]
    Compacted {
        /// The oldest revision from which a stream can begin.
        oldest: Revision,
    },
    /// The store is not the one the revision came from.
    #[error("the store's lineage is {now}")]
    LineageChanged {
        /// The store's lineage.
        now: Lineage,
    },
    /// The revision lies in the future: this is an older copy of the store.
    #[error("revision {asked:?} has not been reached, the store is at {now:?}")]
    NotReached {
        /// What was asked for.
        asked: Revision,
        /// Where the store is.
        now: Revision,
    },
    /// The engine does not answer.
    #[error("the engine does not answer: {0}")]
    Unavailable(String),
}

/// A store of one region. See the crate's page for what it promises.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// The store's lineage.
    fn lineage(&self) -> Lineage;

    /// Reads the group's home and epoch, linearizably, and grants a lease if `region` is the home.
    async fn lease(&self, group: &GroupId, region: &RegionName) -> Result<WriteLease, LeaseError>;

    /// Reads all ranges at one revision, linearizably.
    async fn read(&self, ranges: &[KeyRange]) -> Result<Read, ReadError>;

    /// Makes all of the transaction durable, or none of it, at a revision of its own. The lease's own
    /// comparison is added by the engine. A transaction that only deletes what is not there changes
    /// nothing: it gets the revision that the store has.
    async fn commit(&self, lease: &WriteLease, transaction: Transaction) -> Result<Revision, CommitError>;

    /// Reads the group's home and epoch, linearizably, and grants a replica's lease if `region` is not the home.
    async fn replica_lease(&self, group: &GroupId, region: &RegionName) -> Result<ReplicaLease, LeaseError>;

    /// As [`Engine::commit`], on a group of which the store holds a replica. Takes only transactions that
    /// [`ReplicaLease::check`] lets pass.
    async fn apply(&self, lease: &ReplicaLease, transaction: Transaction) -> Result<Revision, CommitError>;

    /// Every commit after `from`, in order, and then every new one.
    async fn changes(&self, lineage: Lineage, from: Revision) -> Result<ChangeStream, ChangesError>;

    /// Everything that begins with `prefix`, at one revision.
    async fn snapshot(&self, prefix: Bytes) -> Result<Snapshot, ReadError>;
}
