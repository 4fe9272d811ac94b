use std::time::Duration;

use serde::{Deserialize, Serialize};
use valv_engine::{Epoch, Lineage};

use crate::source::VaultHead;

/// How a replica stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaStatus {
    /// What it does.
    pub state: ReplicaState,
    /// The home store's lineage that it copies; none before the first copy began.
    pub lineage: Option<Lineage>,
    /// The age of the newest state of home that is applied whole, by this machine's monotonic clock; none
    /// before this process caught up for the first time.
    pub lag: Option<Duration>,
    /// Commits that home is known to have and the replica has not.
    pub behind_commits: u64,
    /// Vaults of which that is so.
    pub behind_vaults: u64,
    /// Commits applied since the process began.
    pub applied_commits: u64,
    /// Vaults copied whole since the process began.
    pub copied_vaults: u64,
    /// Records that a comparison found different and repaired since the process began.
    pub repaired_records: u64,
    /// Records that the last comparisons found damaged at home; the replica keeps its own.
    pub damaged_at_home: u64,
}

impl ReplicaStatus {
    /// Before anything is known.
    pub const NEW: Self = Self {
        state: ReplicaState::Unreachable(String::new()),
        lineage: None,
        lag: None,
        behind_commits: 0,
        behind_vaults: 0,
        applied_commits: 0,
        copied_vaults: 0,
        repaired_records: 0,
        damaged_at_home: 0,
    };
}

/// What a replica does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReplicaState {
    /// It has not had a whole state of the group yet: not ready to answer reads.
    CopyingFirst,
    /// It follows home.
    Following,
    /// It goes on serving what it has and takes nothing more. It looks again now and then.
    Stopped(StopReason),
    /// Home cannot be reached now.
    Unreachable(String),
    /// Its own store does not take what comes.
    StoreFails(String),
}

/// Why a replica takes nothing more: what it sees at home is not a continuation of what it has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum StopReason {
    /// Home's store is another one, or was restored from a backup (F27).
    #[error(
        "home's store is not the one that was copied: its lineage is {now}, {copied} was copied; rebuild home from this replica, or accept home's store"
    )]
    LineageChanged {
        /// The lineage that was copied.
        copied: Lineage,
        /// Home's lineage.
        now: Lineage,
    },
    /// Home's epoch is not the one in this store.
    #[error("home is in epoch {home:?} of the group, this store in {here:?}")]
    EpochChanged {
        /// Home's.
        home: Epoch,
        /// This store's.
        here: Epoch,
    },
    /// A vault has more commits here than at home.
    #[error("vault {vault} has {here} commits here and {home} at home: home's store is older than it was")]
    HomeBehind {
        /// The vault.
        vault: String,
        /// The number of the head at home, 0 where it has none.
        home: u64,
        /// The number of the head here.
        here: u64,
    },
    /// The same number of commits, and not the same commits; or a record that does not belong to its chain.
    #[error("the history of vault {vault} at home does not continue the one here after commit {after}")]
    ChainBroken {
        /// The vault.
        vault: String,
        /// The last number that is applied here.
        after: u64,
    },
    /// What home sent is not what a home sends.
    #[error("home's record of vault {vault} cannot be applied: {why}")]
    Malformed {
        /// The vault.
        vault: String,
        /// What is wrong with it.
        why: String,
    },
    /// A data key does not open with the root keys that are configured here (F33).
    #[error("the data keys of vault {vault} do not open here: {why}")]
    WrongRootKey {
        /// The vault.
        vault: String,
        /// What is missing.
        why: String,
    },
    /// This store is no replica of the group.
    #[error("this store holds no replica of the group: {0}")]
    NotReplica(String),
}

/// What a replica's store has copied, for home to compare itself with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// The home store's lineage that was copied.
    pub lineage: Lineage,
    /// The replica once had a whole state of the group: that a vault is not there says something.
    pub complete: bool,
    /// The heads that are applied, in the order of the vaults' ids.
    pub heads: Vec<VaultHead>,
}
