//! What a region that copies a group asks of the region it copies from.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use valv_engine::{Epoch, GroupId, Lineage};
use valv_model::VaultId;
use valv_sealing::Head;

/// The most bytes of records in one answer or event; a single record may be larger, but never larger than a
/// transaction.
pub const PAGE_BYTES: usize = 1024 * 1024;

/// The number of buckets that a vault's records are spread over for comparison.
pub const BUCKETS: usize = 256;

/// Where a group is copied from: the other region's store, over the network ([`crate::ship::Shipper`] is the
/// store's own side of it). Nothing that passes here is plaintext.
///
/// Implementors answer within a deadline of their own. The streams may be dropped at any moment.
#[async_trait]
pub trait Source: Send + Sync + 'static {
    /// The heads of all vaults of a group, those of purged ones too, and then each change of them.
    async fn heads(&self, group: &GroupId) -> Result<HeadsStream, SourceError>;

    /// The commits of a vault that follow `after`, at most [`PAGE_BYTES`] of them, if the vault's history
    /// passed through `after` and is kept from there on.
    async fn log(&self, group: &GroupId, vault: &VaultId, after: Head) -> Result<LogAnswer, SourceError>;

    /// The whole vault at one revision.
    async fn copy(&self, group: &GroupId, vault: &VaultId) -> Result<CopyStream, SourceError>;

    /// One hash for each bucket of the vault's records, all at one head.
    async fn buckets(&self, group: &GroupId, vault: &VaultId) -> Result<Buckets, SourceError>;

    /// The records of one bucket whose place follows `after`, in the order of their places, at one head.
    /// Begin with an `after` of `""`.
    async fn bucket(
        &self,
        group: &GroupId,
        vault: &VaultId,
        bucket: u8,
        after: &str,
    ) -> Result<BucketPage, SourceError>;
}

/// See [`Source::heads`].
pub type HeadsStream = BoxStream<'static, Result<HeadsEvent, SourceError>>;

/// See [`Source::copy`].
pub type CopyStream = BoxStream<'static, Result<CopyEvent, SourceError>>;

/// A vault with its head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultHead {
    /// The vault.
    pub vault: VaultId,
    /// How far its history has come.
    pub head: Head,
}

/// One event of the stream of heads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HeadsEvent {
    /// Heads that are new to the reader. The stream begins with all heads of the group, in as many events as
    /// they need, at least one.
    Heads {
        /// The store's lineage.
        lineage: Lineage,
        /// The lineage whose history this store continues: set where it was rebuilt from a replica.
        continues: Option<Lineage>,
        /// The group's epoch.
        epoch: Epoch,
        /// The heads.
        heads: Vec<VaultHead>,
    },
    /// The reader has heard of every commit that had been made when this was sent. Comes after the first
    /// heads and then once a second, each time after a linearizable read.
    CaughtUp {
        /// The store's lineage.
        lineage: Lineage,
        /// Digest of all heads of the group.
        digest: HeadsDigest,
    },
}

/// SHA-256 over all heads of a group, in the order of the vaults' ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HeadsDigest(pub [u8; 32]);

/// What becomes of the question for a vault's commits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogAnswer {
    /// Here they are.
    Page(LogPage),
    /// They are not all kept: copy the vault.
    Gone {
        /// The oldest number that is kept.
        oldest: Option<u64>,
    },
    /// The vault's head is behind the one asked about: this store is older than it was.
    Behind {
        /// The vault's head.
        head: Head,
    },
    /// The vault's history did not pass through the head asked about, or its log is damaged.
    Diverged {
        /// The vault's head.
        head: Head,
    },
}

/// Consecutive commits of a vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPage {
    /// The log records as they are stored, in order.
    pub records: Vec<Bytes>,
    /// The vault's head after the last of them.
    pub end: Head,
    /// The vault's head in the store.
    pub head: Head,
}

/// One event of a vault's copy: one `Begin`, some `Records`, one `End`. A copy without its end is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CopyEvent {
    /// What stands outside the vault's data.
    Begin {
        /// The store's lineage.
        lineage: Lineage,
        /// The head at the copy's revision; none where the store has no such vault and never had.
        head: Option<Head>,
        /// The vault's record as stored; none once it was purged.
        record: Option<VaultRecord>,
    },
    /// Sealed records in the order of their paths.
    Records(Vec<Record>),
    /// All was sent.
    End {
        /// How many records.
        records: u64,
    },
}

/// A vault's own record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultRecord {
    /// It stands among the soft-deleted vaults.
    pub deleted: bool,
    /// The stored envelope.
    pub envelope: Bytes,
}

/// A sealed record of a vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its path below the generation.
    pub path: String,
    /// Its sealed value.
    pub value: Bytes,
}

/// See [`Source::buckets`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Buckets {
    /// The vault's head when the hashes were made.
    pub head: Head,
    /// [`BUCKETS`] hashes; zeroes for a bucket without records.
    pub hashes: Vec<[u8; 32]>,
}

/// See [`Source::bucket`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketPage {
    /// The vault's head when the records were read.
    pub head: Head,
    /// The bucket's records after the place asked about. The vault's own record is among them, see
    /// [`crate::bucket::VAULT_PLACE`].
    pub records: Vec<Record>,
    /// No record of the bucket follows.
    pub last: bool,
}

/// Why there is no answer, or why a stream ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum SourceError {
    /// It cannot be reached or does not answer in time.
    #[error("the source does not answer: {0}")]
    Unreachable(String),
    /// It answered that it will not, or with what cannot be understood.
    #[error("the source's answer is of no use: {0}")]
    Refused(String),
    /// The store that it reads is damaged.
    #[error("the source's store is damaged: {0}")]
    Damaged(String),
}
