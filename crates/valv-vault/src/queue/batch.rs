//! Runs changes one after the other and makes one transaction of what they decide. No I/O, no clock.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use valv_engine::{MAX_TRANSACTION_BYTES, MAX_TRANSACTION_OPS, layout};
use valv_model::{Error, ErrorCode, Operation, Result, UnixSeconds};
use valv_sealing::{Head, Keyring, LogRecord, Outcome, RecordKind, RequestKey, SealedOp};

use super::memory::RequestMemory;
use super::state::{Overlaid, Overlay, Reading, State, can_answer};
use super::{Change, Committed, Decision, Scope, Target, Write};
use crate::lifecycle::{PURGE_MARK, purge_mark};
use crate::node::vault_not_found;
use crate::vaults::{VAULT_RECORD_BYTES_MAX, Vault};
use crate::{OURSELVES, WriteContext};

/// The head's operation: its key and value.
const HEAD_BYTES: usize = 256;

/// What became of a change that was added.
#[derive(Debug)]
pub(super) enum Added {
    /// Its writes are part of the transaction.
    Staged(Committed),
    /// It is answered without a write.
    Answered(Result<Committed>),
    /// There is no room for it, or it needs what was not read: the next batch takes it.
    NotNow,
}

/// A transaction in the making.
pub(super) struct Batch<'a> {
    keyring: &'a Keyring,
    target: &'a Target,
    memory: &'a RequestMemory,
    reading: &'a Reading,
    now_ms: i64,
    /// None: purged, or never there.
    vault: Option<Arc<Vault>>,
    head: Head,
    /// Bytes of all log records so far.
    log_bytes: u64,
    overlay: Overlay,
    ops: BTreeMap<Bytes, SealedOp>,
    pub(super) logs: Vec<(LogRecord, Bytes)>,
    requests: HashMap<[u8; 32], Committed>,
    bytes: usize,
}

/// What the log calls an operation. Azure has another name for a rotation that nobody asked for.
fn log_name(operation: Operation, caller: &str) -> &'static str {
    match operation {
        Operation::KeyRotate if caller == OURSELVES => "KeyRotateIfDue",
        operation => operation.name(),
    }
}

/// What one change adds.
struct Step {
    vault: Option<Arc<Vault>>,
    overlay: Vec<(String, Overlaid)>,
    ops: Vec<SealedOp>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(
        keyring: &'a Keyring,
        target: &'a Target,
        memory: &'a RequestMemory,
        reading: &'a Reading,
        vault: Option<Arc<Vault>>,
        head: Head,
        now_ms: i64,
    ) -> Self {
        Self {
            keyring,
            target,
            memory,
            reading,
            now_ms,
            vault,
            head,
            log_bytes: memory.log_bytes,
            overlay: Overlay::new(),
            ops: BTreeMap::new(),
            logs: Vec::new(),
            requests: HashMap::new(),
            bytes: HEAD_BYTES,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.logs.is_empty()
    }

    /// Runs one change on top of those before it.
    pub(super) fn add(&mut self, change: &Change, context: &WriteContext, scope: Scope) -> Added {
        if let Some(request) = &context.request {
            let first = self.memory.find(request).or_else(|| self.requests.get(&request.0).cloned());
            if let Some(first) = first {
                return Added::Answered(Ok(Committed { replayed: true, ..first }));
            }
        }
        if !can_answer(&change.needs, self.reading, &self.overlay) {
            return Added::NotNow;
        }
        match self.run(change, scope) {
            Err(error) => Added::Answered(Err(error)),
            Ok(None) => Added::NotNow,
            Ok(Some((decision, step))) => self.stage(change, context, decision, step),
        }
    }

    /// The change's decision with its writes sealed. None: its writes cannot follow those before it in one transaction.
    fn run(&self, change: &Change, scope: Scope) -> Result<Option<(Decision, Step)>> {
        let vault = self.vault.as_ref().filter(|vault| match scope {
            Scope::Live => vault.state.properties.deleted.is_none(),
            Scope::Any => true,
        });
        let vault = vault.ok_or_else(|| vault_not_found(&self.target.name))?;
        let state = State {
            vault: &vault.state,
            keys: &vault.keys,
            now_ms: self.now_ms,
            needs: &change.needs,
            reading: self.reading,
            overlay: &self.overlay,
        };
        let mut decision = (change.decide)(&state)?;
        let writes = std::mem::take(&mut decision.writes);
        Ok(Some((decision, self.seal(vault, writes)?)))
    }

    /// Turns writes into operations; a vault record among them decides the keys of what follows it.
    fn seal(&self, vault: &Arc<Vault>, writes: Vec<Write>) -> Result<Step> {
        let Target { group, id, name } = self.target;
        let mut step = Step { vault: Some(Arc::clone(vault)), overlay: Vec::new(), ops: Vec::new() };
        for write in writes {
            let Some(vault) = step.vault.clone() else {
                return Err(Error::internal("a change writes into a vault that it purged"));
            };
            let key = |path: &str| {
                let mut key = layout::data(group, id, vault.state.envelope.generation).to_vec();
                key.extend_from_slice(path.as_bytes());
                Bytes::from(key)
            };
            match write {
                Write::Put { path, kind, plaintext } => {
                    step.ops.push(vault.keys.put(key(&path), &path, kind, &plaintext));
                    step.overlay.push((path, Overlaid::Put { kind, plaintext }));
                }
                Write::Delete { path } => {
                    step.ops.push(SealedOp::delete(key(&path)));
                    step.overlay.push((path, Overlaid::Deleted));
                }
                Write::Vault(mut state) => {
                    if state.envelope.id != *id || state.envelope.name != *name {
                        return Err(Error::internal("a change gives its vault another name or id"));
                    }
                    let keys = self
                        .keyring
                        .unwrap(id, &state.envelope.data_keys)
                        .map_err(|e| Error::internal(format!("vault '{name}': {e}")))?;
                    state.seal(&keys)?;
                    let (is, was) =
                        (state.properties.deleted.is_some(), vault.state.properties.deleted.is_some());
                    let put = if is { SealedOp::deleted_vault } else { SealedOp::vault };
                    let put = put(group, name, &state.envelope);
                    if put.op().size() > VAULT_RECORD_BYTES_MAX {
                        return Err(Error::bad(format!(
                            "The vault '{name}' has too many access policies, role assignments and tags: its record would have {} bytes, and at most {VAULT_RECORD_BYTES_MAX} are allowed.",
                            put.op().size()
                        )));
                    }
                    step.ops.push(put);
                    if is != was {
                        let old = if was { layout::deleted_vault } else { layout::vault };
                        step.ops.push(SealedOp::delete(old(group, name)));
                    }
                    step.vault = Some(Arc::new(Vault::new(group.clone(), *state, keys)));
                }
                Write::Purge => {
                    step.ops.push(vault.keys.put(purge_mark(group, id), PURGE_MARK, RecordKind::Vault, b""));
                    step.ops.push(SealedOp::delete(layout::vault(group, name)));
                    step.ops.push(SealedOp::delete(layout::deleted_vault(group, name)));
                    step.vault = None;
                }
            }
        }
        // One record written twice by one change: the last write is the one that counts.
        let mut last = BTreeMap::new();
        for op in step.ops.drain(..) {
            last.insert(op.op().key().clone(), op);
        }
        step.ops.extend(last.into_values());
        Ok(step)
    }

    fn stage(&mut self, change: &Change, context: &WriteContext, decision: Decision, step: Step) -> Added {
        if step.ops.is_empty() {
            let number = self.head.number;
            return Added::Answered(Ok(Committed { version: decision.version, number, replayed: false }));
        }
        let record = LogRecord {
            number: self.head.number + 1,
            time: UnixSeconds(self.now_ms.div_euclid(1000)),
            operation: log_name(change.operation, &context.caller).to_owned(),
            caller: context.caller.clone(),
            request: context.request,
            outcome: Outcome { version: decision.version.clone() },
            log_bytes: self.log_bytes,
            ops: step.ops.iter().map(|op| op.op().clone()).collect(),
        };
        let encoded = record.encode();
        let mut added = layout::log(&self.target.group, &self.target.id, record.number).len() + encoded.len();
        let mut count = self.ops.len() + self.logs.len() + 2;
        for op in &step.ops {
            added += op.op().size();
            match self.ops.get(op.op().key()) {
                Some(replaced) => added = added.saturating_sub(replaced.op().size()),
                None => count += 1,
            }
        }
        if count > MAX_TRANSACTION_OPS || self.bytes + added > MAX_TRANSACTION_BYTES {
            return if self.is_empty() {
                Added::Answered(Err(too_large(count, added)))
            } else {
                Added::NotNow
            };
        }
        self.bytes += added;
        self.log_bytes += encoded.len() as u64;
        self.head = Head { number: record.number, chain: self.head.chain.next(&encoded) };
        self.vault = step.vault;
        self.overlay.extend(step.overlay);
        self.ops.extend(step.ops.into_iter().map(|op| (op.op().key().clone(), op)));
        let committed = Committed { version: decision.version, number: record.number, replayed: false };
        if let Some(RequestKey(key)) = context.request {
            self.requests.insert(key, committed.clone());
        }
        self.logs.push((record, encoded));
        Added::Staged(committed)
    }

    /// All operations of the transaction, its log records and head included, and the log records themselves.
    pub(super) fn finish(self) -> (Vec<SealedOp>, Vec<(LogRecord, Bytes)>) {
        let Target { group, id, .. } = self.target;
        let mut ops: Vec<SealedOp> = self.ops.into_values().collect();
        ops.extend(
            self.logs.iter().map(|(record, encoded)| SealedOp::log(group, id, record, encoded.clone())),
        );
        ops.push(SealedOp::head(group, id, &self.head));
        (ops, self.logs)
    }
}

fn too_large(count: usize, bytes: usize) -> Error {
    Error::new(
        ErrorCode::PayloadTooLarge,
        format!(
            "The change is too large for one commit: {count} operations and {bytes} bytes; at most {MAX_TRANSACTION_OPS} and {MAX_TRANSACTION_BYTES} are allowed. Nothing was changed."
        ),
    )
}
