//! The vault's queue: every write of a vault passes it, in order.
//!
//! It gathers what waits, reads the head and everything the changes need at one revision, runs the changes
//! one after the other (a later one sees what an earlier one wrote), and commits all of them as one
//! transaction that compares and advances the head. On `Conflict` it reads again and runs them again; an
//! unknown outcome is resubmitted, identical, until it succeeds or its compare fails. One log record per change.
//!
//! ```text
//! submit -> job (waits, with a deadline) -> runner (gathers, reads) -> batch (decides, seals; pure)
//!        -> settle (commits until the outcome is known) -> memory (a retry gets the first result)
//! ```

use std::sync::Arc;

use valv_model::{Operation, Result, VersionId};
use valv_sealing::RecordKind;
use zeroize::Zeroizing;

use crate::vaults::{Vault, VaultState};
use crate::{Service, WriteContext};

mod batch;

mod job;
pub(crate) use job::{Scope, not_sent, unknown_outcome};

mod log;
pub(crate) use log::{remove, trim_log};

mod memory;

mod queues;
pub(crate) use queues::{Queues, Target};

mod runner;
pub(crate) use runner::refusal;

mod settle;
pub(crate) use settle::{Settled, Witness, settle};

mod state;
pub use state::State;

#[cfg(test)]
mod tests;

/// What a change must be able to see. Paths are below the vault's generation, such as `secrets/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Need {
    /// One record.
    Record(String),
    /// All records whose path begins so, at most `limit` of them, from the first.
    Prefix {
        /// The paths' beginning.
        prefix: String,
        /// The most records.
        limit: usize,
    },
    /// The last record whose path begins so.
    Last(String),
}

/// What a change does to one record.
pub enum Write {
    /// Seal and store.
    Put {
        /// Where.
        path: String,
        /// What.
        kind: RecordKind,
        /// The record.
        plaintext: Zeroizing<Vec<u8>>,
    },
    /// Remove.
    Delete {
        /// Where.
        path: String,
    },
    /// Replace the vault's own record. It stands among the live or the soft-deleted ones as its properties say.
    Vault(Box<VaultState>),
    /// Remove the vault's own record, and with it its data keys.
    Purge,
}

/// What a change decided.
#[derive(Default)]
pub struct Decision {
    /// The records to write; none: nothing is committed and the outcome is answered at once.
    pub writes: Vec<Write>,
    /// The version made or changed; goes to the log record's outcome.
    pub version: Option<VersionId>,
}

/// A decision: pure, may run more than once.
pub type Decide = Box<dyn Fn(&State<'_>) -> Result<Decision> + Send + Sync>;

/// A pure function of a vault's state. May run more than once.
pub struct Change {
    /// For the log and metrics.
    pub operation: Operation,
    /// What `decide` will look at.
    pub needs: Vec<Need>,
    /// The decision. An `Err` commits nothing.
    pub decide: Decide,
}

/// A change that is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The version made or changed.
    pub version: Option<VersionId>,
    /// The commit's number (the head's, where nothing had to be written).
    pub number: u64,
    /// True: this was a retry, and the first result is reported.
    pub replayed: bool,
}

impl Service {
    /// Submits a change to the vault's queue and waits until it is durable, or refused.
    ///
    /// Errors: what `decide` returned; `VaultNotFound` when the vault is no longer live; `Throttled` when the
    /// queue is full; `PayloadTooLarge` when the change alone is more than one commit takes;
    /// `ServiceUnavailable` when nothing was sent; `UnknownOutcome` at the deadline; `InsufficientStorage`.
    pub async fn submit(&self, vault: &Vault, context: &WriteContext, change: Change) -> Result<Committed> {
        self.submit_to(vault, context, change, Scope::Live).await
    }

    /// The same for vaults in another state.
    pub(crate) async fn submit_to(
        &self,
        vault: &Vault,
        context: &WriteContext,
        change: Change,
        scope: Scope,
    ) -> Result<Committed> {
        let target = Target {
            group: vault.group.clone(),
            id: vault.state.envelope.id.clone(),
            name: vault.state.envelope.name.clone(),
        };
        self.queues
            .submit(&self.node, target, vault.state.envelope.generation, context, Arc::new(change), scope)
            .await
    }
}
