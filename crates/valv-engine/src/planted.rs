//! Faults planted on purpose, to see that the tests would notice them.
//!
//! Only with the cargo feature `planted-bugs`, which no release has: `VALV_PLANTED_BUG=<name>` then
//! switches one fault on, once for the whole process. Without the feature [`active`] is the constant
//! `false` and no environment is read; that is why this is the one place outside the program that may.
//!
//! | name | planted in | test that must fail |
//! |---|---|---|
//! | `no-fsync` | `valv-engine-embedded`: acknowledges before the sync | `power_loss::f03_power_loss` |
//! | `compare-left-out` | `valv-engine-embedded`: takes every comparison for true | `compares_decide` |
//! | `stale-lease-taken` | `valv-engine-embedded`: does not compare the group's meta record | `a_stale_lease_commits_nothing` |
//! | `sync-believed` | `valv-engine-embedded`: goes on after a failed sync without writing again | `syncs::f11_failed_sync_is_not_believed` |
//! | `plaintext-stored` | `valv-sealing`: seals nothing | `a_sealed_record_shows_nothing_of_its_plaintext` |
//! | `request-key-ignored` | `valv-vault`: a retried write is done again | named there |
//! | `replica-takes-writes` | `valv-engine`: grants a write lease to any region | `a_lease_is_given_to_the_home_alone` |
//! | `home-takes-copies` | `valv-engine`: grants a replica's lease to the home | `a_replica_lease_is_given_to_others_alone` |
//! | `replica-head-not-compared` | `valv-geo`: does not compare the replica's head | `following::f24_late_transactions_change_nothing` |
//! | `commit-skipped` | `valv-geo`: leaves out a commit's records | `following::a_replica_takes_what_home_commits` |
//! | `chain-not-checked` | `valv-geo`: takes any record for the next one | `stopping::a_broken_chain_is_not_applied` |
//! | `old-generation-left` | `valv-geo`: does not remove the old generation | `following::f24_what_a_copy_replaced_is_removed_after_a_crash_too` |
//! | `lineage-ignored` | `valv-geo`: does not compare lineages | `stopping::f27_a_restored_home_is_not_followed` |
//! | `local-generation-ignored` | `valv-geo`: writes to home's generation | `following::f25_a_vault_behind_the_log_is_copied_anew_alone` |

/// What can be switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Commits are acknowledged before they are durable.
    NoFsync,
    /// Comparisons of transactions are not made.
    CompareLeftOut,
    /// The lease's own comparison is not made.
    StaleLeaseTaken,
    /// After a failed sync, what was written before it is taken for durable.
    SyncBelieved,
    /// Records are stored unsealed.
    PlaintextStored,
    /// The idempotency key of a write is ignored.
    RequestKeyIgnored,
    /// A region that is not the home gets a write lease.
    ReplicaTakesWrites,
    /// The home gets a replica's lease.
    HomeTakesCopies,
    /// A replica applies without comparing its head.
    ReplicaHeadNotCompared,
    /// A replica leaves a commit out.
    CommitSkipped,
    /// A replica does not check the chain.
    ChainNotChecked,
    /// What a new generation replaced stays.
    OldGenerationLeft,
    /// A replica follows any store.
    LineageIgnored,
    /// A replica writes to the generation that home uses.
    LocalGenerationIgnored,
}

impl Bug {
    /// Every bug.
    pub const ALL: [Self; 14] = [
        Self::NoFsync,
        Self::CompareLeftOut,
        Self::StaleLeaseTaken,
        Self::SyncBelieved,
        Self::PlaintextStored,
        Self::RequestKeyIgnored,
        Self::ReplicaTakesWrites,
        Self::HomeTakesCopies,
        Self::ReplicaHeadNotCompared,
        Self::CommitSkipped,
        Self::ChainNotChecked,
        Self::OldGenerationLeft,
        Self::LineageIgnored,
        Self::LocalGenerationIgnored,
    ];

    /// The word that `VALV_PLANTED_BUG` takes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoFsync => "no-fsync",
            Self::CompareLeftOut => "compare-left-out",
            Self::StaleLeaseTaken => "stale-lease-taken",
            Self::SyncBelieved => "sync-believed",
            Self::PlaintextStored => "plaintext-stored",
            Self::RequestKeyIgnored => "request-key-ignored",
            Self::ReplicaTakesWrites => "replica-takes-writes",
            Self::HomeTakesCopies => "home-takes-copies",
            Self::ReplicaHeadNotCompared => "replica-head-not-compared",
            Self::CommitSkipped => "commit-skipped",
            Self::ChainNotChecked => "chain-not-checked",
            Self::OldGenerationLeft => "old-generation-left",
            Self::LineageIgnored => "lineage-ignored",
            Self::LocalGenerationIgnored => "local-generation-ignored",
        }
    }
}

/// Whether this fault is switched on in this process.
#[cfg(feature = "planted-bugs")]
#[must_use]
pub fn active(bug: Bug) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<Bug>> = std::sync::OnceLock::new();
    let chosen = CHOSEN.get_or_init(|| {
        let name = std::env::var("VALV_PLANTED_BUG").ok()?;
        Bug::ALL.into_iter().find(|bug| bug.name() == name)
    });
    *chosen == Some(bug)
}

/// Whether this fault is switched on: never, in a build without the feature.
#[cfg(not(feature = "planted-bugs"))]
#[must_use]
#[inline(always)]
pub const fn active(_: Bug) -> bool {
    false
}
