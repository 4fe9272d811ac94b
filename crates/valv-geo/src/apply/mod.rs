//! The replica's side: follows a source and applies whole commits.
//!
//! The head that the replica's store has of a vault is the checkpoint: every transaction compares it and
//! advances it together with the data. So a task may end at any point and begin anew, and several tasks at
//! once only take work from each other.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use valv_engine::{Engine, GroupId, Lineage};
use valv_model::{RegionName, VaultId};
use valv_sealing::Keyring;

use crate::source::Source;
use crate::view::Names;

mod accept;
mod advance;
mod compare;
mod context;
mod copy;
mod follow;
pub mod fuzzing;
mod keep;
mod lag;
mod local;
mod merge;
mod rebuild;
mod status;

pub use accept::accept;
use context::Counters;
pub use keep::LogBounds;
use local::Fail;
pub(crate) use local::copied_record;
pub use local::{copied, is_complete};
pub use rebuild::{RebuildError, Rebuilt, rebuild, rebuilding};
pub use status::{Copied, ReplicaState, ReplicaStatus, StopReason};

/// How a replica works. All are safe to change.
#[derive(Clone, Copy, Debug)]
pub struct ReplicaSettings {
    /// Vaults that are worked on at once.
    pub parallel: usize,
    /// How long one answer of the source may take.
    pub answer: Duration,
    /// How long the source's stream may be silent.
    pub silence: Duration,
    /// Before home is tried again.
    pub retry: Duration,
    /// Before it is looked again whether a reason to stop is gone.
    pub stopped: Duration,
    /// Between two comparisons of a vault with home's.
    pub compare: Duration,
    /// How long a copy that somebody else began may stand still before it is taken over.
    pub copy_patience: Duration,
    /// How long records that a copy replaced stay for readers that have begun with them.
    pub grace: Duration,
}

impl Default for ReplicaSettings {
    fn default() -> Self {
        Self {
            parallel: 8,
            answer: Duration::from_secs(10),
            silence: Duration::from_secs(4),
            retry: Duration::from_millis(250),
            stopped: Duration::from_secs(2),
            compare: Duration::from_secs(600),
            copy_patience: Duration::from_secs(4),
            grace: Duration::from_secs(5),
        }
    }
}

/// One group that this region copies from its home. [`Replica::run`] does the work.
pub struct Replica {
    engine: Arc<dyn Engine>,
    keyring: Arc<Keyring>,
    source: Arc<dyn Source>,
    group: GroupId,
    region: RegionName,
    settings: ReplicaSettings,
    names: Arc<Names>,
    counters: Arc<Counters>,
    by: uuid::Uuid,
    seen: Mutex<Seen>,
}

/// What the task tells of itself.
struct Seen {
    state: ReplicaState,
    lineage: Option<Lineage>,
    whole_at: Option<Instant>,
    behind_commits: u64,
    behind_vaults: u64,
    damaged_at_home: BTreeMap<VaultId, u64>,
}

impl Replica {
    /// A replica of `group` in the store of `region`, which is not the group's home.
    #[must_use]
    pub fn new(
        engine: Arc<dyn Engine>,
        keyring: Arc<Keyring>,
        source: Arc<dyn Source>,
        group: GroupId,
        region: RegionName,
        settings: ReplicaSettings,
    ) -> Self {
        let seen = Seen {
            state: ReplicaState::Unreachable("not tried yet".into()),
            lineage: None,
            whole_at: None,
            behind_commits: 0,
            behind_vaults: 0,
            damaged_at_home: BTreeMap::new(),
        };
        Self {
            engine,
            keyring,
            source,
            group,
            region,
            settings,
            names: Arc::default(),
            counters: Arc::default(),
            by: uuid::Uuid::new_v4(),
            seen: Mutex::new(seen),
        }
    }

    /// The group.
    #[must_use]
    pub fn group(&self) -> &GroupId {
        &self.group
    }

    /// Follows home for ever. It may be dropped at any point; another run goes on where this one was.
    pub async fn run(&self) {
        loop {
            let fail = match follow::follow(self).await {
                Ok(never) => match never {},
                Err(fail) => fail,
            };
            let pause = match fail {
                Fail::Again => self.settings.retry,
                Fail::Source(error) => {
                    self.note(|seen| seen.state = ReplicaState::Unreachable(error.to_string()));
                    self.settings.retry
                }
                Fail::Store(why) => {
                    self.note(|seen| seen.state = ReplicaState::StoreFails(why));
                    self.settings.stopped
                }
                Fail::Stop(reason) => {
                    self.note(|seen| seen.state = ReplicaState::Stopped(reason));
                    self.settings.stopped
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// How it stands now.
    #[must_use]
    pub fn status(&self) -> ReplicaStatus {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        ReplicaStatus {
            state: seen.state.clone(),
            lineage: seen.lineage,
            lag: seen.whole_at.map(|at| at.elapsed()),
            behind_commits: seen.behind_commits,
            behind_vaults: seen.behind_vaults,
            applied_commits: self.counters.commits.load(Ordering::Relaxed),
            copied_vaults: self.counters.copies.load(Ordering::Relaxed),
            repaired_records: self.counters.repaired.load(Ordering::Relaxed),
            damaged_at_home: seen.damaged_at_home.values().sum(),
        }
    }

    /// Changes what the status tells; a change of state is logged.
    fn note(&self, change: impl FnOnce(&mut Seen)) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let before = seen.state.clone();
        change(&mut seen);
        if seen.state == before {
            return;
        }
        let (group, state) = (&self.group, &seen.state);
        match state {
            ReplicaState::Following | ReplicaState::CopyingFirst => {
                tracing::info!(%group, ?state, "replication");
            }
            ReplicaState::Unreachable(why) => {
                tracing::warn!(%group, why, "replication: home does not answer")
            }
            ReplicaState::StoreFails(why) => {
                tracing::error!(%group, why, "replication: the store does not take commits")
            }
            ReplicaState::Stopped(reason) => tracing::error!(%group, %reason, "replication has stopped"),
        }
    }
}
