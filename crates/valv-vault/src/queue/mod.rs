//! The vault's queue: every write of a vault passes it, in order.
//!
//! It gathers what waits, reads the head and everything the changes need at one revision, runs the changes
//! one after the other (a later one sees what an earlier one wrote), and commits all of them as one
//! transaction that compares and advances the head. On `Conflict` it reads again and runs them again; an
//! unknown outcome is resubmitted, identical, until it succeeds or its compare fails. One log record per change.

use valv_model::{Operation, Result, UnixSeconds, VersionId};
use valv_sealing::RecordKind;
use zeroize::Zeroizing;

use crate::vaults::{Vault, VaultState};
use crate::{Service, WriteContext};

/// What a change must be able to see. Paths are below the vault's generation, such as `secrets/NAME`.
#[derive(Clone, Debug)]
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
    /// Replace the vault's own record.
    Vault(Box<VaultState>),
}

/// What a change decided.
#[derive(Default)]
pub struct Decision {
    /// The records to write; none: nothing is committed and the outcome is answered at once.
    pub writes: Vec<Write>,
    /// The version made or changed; goes to the log record's outcome.
    pub version: Option<VersionId>,
}

/// The vault at head *n*, as far as the change said that it needs it.
pub struct State<'a> {
    #[allow(dead_code)]
    pub(crate) vault: &'a VaultState,
}

impl State<'_> {
    /// The time the change is judged by.
    #[must_use]
    pub fn now(&self) -> UnixSeconds {
        todo!()
    }

    /// The same in milliseconds, for version ids.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        todo!()
    }

    /// The vault's own record.
    #[must_use]
    pub fn vault(&self) -> &VaultState {
        self.vault
    }

    /// A record the change needs. A record that does not open is an internal error for this change only.
    pub fn get(&self, path: &str, kind: RecordKind) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let _ = (path, kind);
        todo!()
    }

    /// The records of a needed prefix, in path order: (path, record).
    pub fn list(&self, prefix: &str, kind: RecordKind) -> Result<Vec<(String, Zeroizing<Vec<u8>>)>> {
        let _ = (prefix, kind);
        todo!()
    }

    /// The last record of a prefix needed with [`Need::Last`] (or of a needed prefix).
    pub fn last(&self, prefix: &str, kind: RecordKind) -> Result<Option<(String, Zeroizing<Vec<u8>>)>> {
        let _ = (prefix, kind);
        todo!()
    }

    /// The paths of a needed prefix, without opening the records.
    #[must_use]
    pub fn paths(&self, prefix: &str) -> Vec<String> {
        let _ = prefix;
        todo!()
    }
}

/// A pure function of a vault's state. May run more than once.
pub struct Change {
    /// For the log and metrics.
    pub operation: Operation,
    /// What `decide` will look at.
    pub needs: Vec<Need>,
    /// The decision. An `Err` commits nothing.
    pub decide: Box<dyn Fn(&State<'_>) -> Result<Decision> + Send + Sync>,
}

/// A change that is durable.
#[derive(Clone, Debug)]
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
    /// Errors: what `decide` returned; `Throttled` when the queue is full; `ServiceUnavailable` when nothing was
    /// sent; `UnknownOutcome` at the deadline; `InsufficientStorage`.
    pub async fn submit(&self, vault: &Vault, context: &WriteContext, change: Change) -> Result<Committed> {
        let _ = (vault, context, change);
        todo!()
    }
}
