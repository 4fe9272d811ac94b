//! What the operations need from below: records of one revision, and the vault's queue. Tests bring their own.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use valv_access::Permit;
use valv_engine::{KeyRange, layout};
use valv_model::{Error, ObjectName, Operation, Result, UnixSeconds};
use valv_sealing::{RecordKind, SealError};
use zeroize::Zeroizing;

use super::records::{self, Plaintext};
use crate::queue::{Change, Committed, Decision, Need, State, Write};
use crate::vaults::{Vault, VaultState};
use crate::{Service, WriteContext};

/// What a decision sees of the vault.
pub(crate) trait View {
    /// The time it is judged by.
    fn now(&self) -> UnixSeconds;
    /// The same in milliseconds.
    fn now_ms(&self) -> i64;
    /// The vault's own record.
    fn vault(&self) -> &VaultState;
    /// One record.
    fn get(&self, path: &str) -> Result<Option<Plaintext>>;
    /// The last record of a prefix: (path, record).
    fn last(&self, prefix: &str) -> Result<Option<(String, Plaintext)>>;
    /// The paths of a prefix.
    fn paths(&self, prefix: &str) -> Vec<String>;
}

impl View for State<'_> {
    fn now(&self) -> UnixSeconds {
        State::now(self)
    }
    fn now_ms(&self) -> i64 {
        State::now_ms(self)
    }
    fn vault(&self) -> &VaultState {
        State::vault(self)
    }
    fn get(&self, path: &str) -> Result<Option<Plaintext>> {
        counted(State::get(self, path, records::kind(path)))
    }
    fn last(&self, prefix: &str) -> Result<Option<(String, Plaintext)>> {
        counted(State::last(self, prefix, records::kind(prefix)))
    }
    fn paths(&self, prefix: &str) -> Vec<String> {
        State::paths(self, prefix)
    }
}

/// A pure function from the vault's state to the writes and what the caller is told of them.
pub(crate) type Decide<T> = Box<dyn Fn(&dyn View) -> Result<(Decision, T)> + Send + Sync>;

/// One commit of an operation.
pub(crate) struct Step<T> {
    pub(crate) operation: Operation,
    pub(crate) needs: Vec<Need>,
    pub(crate) decide: Decide<T>,
}

/// How a step ended.
pub(crate) enum Done<T> {
    /// Decided and durable now.
    Fresh(T),
    /// Was durable before: this is a retry.
    Replayed(Committed),
}

/// A record that was read: its path, and what is in it or why that cannot be known.
pub(crate) struct Found {
    pub(crate) path: String,
    pub(crate) record: Result<Plaintext, String>,
}

impl Found {
    /// Decodes the record. A damaged one is reported and is an internal error (F36).
    pub(crate) fn decode<T>(self, decode: impl FnOnce(&[u8]) -> Result<T, String>) -> Result<T> {
        let Self { path, record } = self;
        record.and_then(|record| decode(&record)).map_err(|problem| damaged(&path, &problem))
    }
}

/// Counts a record that did not open for a decision.
fn counted<T>(opened: Result<T>) -> Result<T> {
    opened.inspect_err(|_| metrics::counter!(DAMAGED).increment(1))
}

/// Counts records that do not open or cannot be read.
const DAMAGED: &str = "valv_damaged_records";

/// Reports a damaged record. Paths name the object; they hold nothing secret.
pub(crate) fn damaged(path: &str, problem: &str) -> Error {
    metrics::counter!(DAMAGED).increment(1);
    tracing::error!(path, problem, "damaged record");
    Error::internal(format!("damaged record at {path}: {problem}"))
}

/// A vault's records as the operations reach them.
pub(crate) trait Desk: Sync {
    /// The vault as the request sees it.
    fn vault(&self) -> &VaultState;

    /// Reads ranges of paths, all at one revision.
    fn read(&self, ranges: Vec<KeyRange>) -> impl Future<Output = Result<Vec<Vec<Found>>>> + Send;

    /// Commits a step through the vault's queue.
    fn submit<T: Send + 'static>(
        &self,
        context: &WriteContext,
        step: Step<T>,
    ) -> impl Future<Output = Result<Done<T>>> + Send;

    /// Seals a backup for this deployment. `of`: the type of object, to which the blob is bound.
    fn seal_backup(
        &self,
        of: &'static str,
        plaintext: Plaintext,
    ) -> impl Future<Output = Result<Vec<u8>>> + Send;

    /// Opens a backup of this deployment.
    fn open_backup(
        &self,
        of: &'static str,
        sealed: Vec<u8>,
    ) -> impl Future<Output = Result<Plaintext>> + Send;
}

/// The real one.
pub(crate) struct Live<'a> {
    pub(crate) service: &'a Service,
    pub(crate) vault: &'a Vault,
}

impl Service {
    /// The vault's records for one operation, once the permit is seen to be for just that: the vault, the
    /// operation and the object. Anything else is a fault of the caller's code.
    pub(crate) fn desk<'a>(
        &'a self,
        permit: &Permit,
        vault: &'a Vault,
        operation: Operation,
        object: Option<&ObjectName>,
    ) -> Result<Live<'a>> {
        if permit.operation() != operation
            || permit.vault() != Some(&vault.state.envelope.id)
            || permit.object() != object
        {
            return Err(Error::internal(format!(
                "a permit for {} was used for {operation}",
                permit.operation()
            )));
        }
        Ok(Live { service: self, vault })
    }
}

/// A record as it is stored.
pub(crate) struct Sealed {
    pub(crate) path: String,
    pub(crate) bytes: Bytes,
}

impl Live<'_> {
    /// Reads ranges of paths, all at one revision, and opens nothing.
    pub(crate) async fn read_sealed(&self, ranges: Vec<KeyRange>) -> Result<Vec<Vec<Sealed>>> {
        let Vault { group, state, .. } = self.vault;
        let prefix = layout::data(group, &state.envelope.id, state.envelope.generation);
        let below = |key: &[u8]| -> Bytes { [&prefix[..], key].concat().into() };
        let ranges: Vec<KeyRange> = ranges
            .into_iter()
            .map(|range| KeyRange { start: below(&range.start), end: below(&range.end), ..range })
            .collect();
        let sealed = |entry: valv_engine::Entry| {
            let path = entry.key.get(prefix.len()..).unwrap_or_default();
            Sealed { path: String::from_utf8_lossy(path).into_owned(), bytes: entry.value }
        };
        let read = self.service.node.read(&ranges).await?;
        Ok(read.into_iter().map(|entries| entries.into_iter().map(sealed).collect()).collect())
    }

    /// Opens a record. `newer`: the vault as it was looked up anew for a record before this one.
    pub(crate) async fn open(&self, sealed: &Sealed, newer: &mut Option<Arc<Vault>>) -> Result<Found> {
        let Sealed { path, bytes } = sealed;
        let envelope = &self.vault.state.envelope;
        let kind = records::kind(path);
        let record = match self.vault.keys.open(path, kind, bytes) {
            // The vault's data key was rotated after this request looked at the vault.
            Err(SealError::NoSuchDataKey(_)) => {
                if newer.is_none() {
                    let vault = self.service.look(Some(&envelope.name)).await?.vault;
                    *newer = vault.filter(|vault| vault.state.envelope.id == envelope.id);
                }
                newer.as_ref().ok_or_else(gone)?.keys.open(path, kind, bytes)
            }
            opened => opened,
        };
        Ok(Found { path: path.clone(), record: record.map_err(|error| error.to_string()) })
    }
}

impl Desk for Live<'_> {
    fn vault(&self) -> &VaultState {
        &self.vault.state
    }

    async fn read(&self, ranges: Vec<KeyRange>) -> Result<Vec<Vec<Found>>> {
        let mut newer = None;
        let mut found = Vec::with_capacity(ranges.len());
        for sealed in self.read_sealed(ranges).await? {
            let mut range = Vec::with_capacity(sealed.len());
            for sealed in sealed {
                range.push(self.open(&sealed, &mut newer).await?);
            }
            found.push(range);
        }
        Ok(found)
    }

    async fn submit<T: Send + 'static>(&self, context: &WriteContext, step: Step<T>) -> Result<Done<T>> {
        let answer = Arc::new(Mutex::new(None));
        let Step { operation, needs, decide } = step;
        let slot = answer.clone();
        let change = Change {
            operation,
            needs,
            decide: Box::new(move |state| {
                let (decision, told) = decide(state)?;
                // A decision that runs again replaces what it told before.
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
                Ok(decision)
            }),
        };
        let committed = self.service.submit(self.vault, context, change).await?;
        let told = answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(match told {
            Some(told) if !committed.replayed => Done::Fresh(told),
            _ => Done::Replayed(committed),
        })
    }

    async fn seal_backup(&self, of: &'static str, plaintext: Plaintext) -> Result<Vec<u8>> {
        let barrier = self.service.barrier.clone();
        off_thread(move || {
            barrier
                .keyring()
                .seal_backup(of, &plaintext)
                .map_err(|error| Error::internal(format!("a backup cannot be sealed: {error}")))
        })
        .await
    }

    async fn open_backup(&self, of: &'static str, sealed: Vec<u8>) -> Result<Plaintext> {
        let barrier = self.service.barrier.clone();
        off_thread(move || open_backup(barrier.keyring(), of, &sealed)).await
    }
}

/// Opens a sealed backup.
pub(crate) fn open_backup(keyring: &valv_sealing::Keyring, of: &str, sealed: &[u8]) -> Result<Plaintext> {
    keyring.open_backup(of, sealed).map_err(|error| super::errors::malformed_backup(error.to_string()))
}

/// Megabytes are sealed and opened beside the request threads.
async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal(format!("a computation did not end: {error}")))?
}

/// The vault was deleted while the request ran.
fn gone() -> Error {
    Error::unavailable("The vault was changed while the request ran. Nothing was changed; try again.")
}

/// A put of a record at one of our paths.
pub(crate) fn put(path: String, plaintext: Zeroizing<Vec<u8>>) -> Write {
    let kind: RecordKind = records::kind(&path);
    Write::Put { path, kind, plaintext }
}
