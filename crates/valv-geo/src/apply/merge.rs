//! Consecutive commits of a vault become one transaction of the replica. No I/O, no clock.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde_json::Value;
use valv_engine::planted::{self, Bug};
use valv_engine::{GroupId, MAX_TRANSACTION_BYTES, MAX_TRANSACTION_OPS, Op, layout};
use valv_model::VaultId;
use valv_sealing::{Head, LogRecord, VaultEnvelope};

use crate::view;

/// The head's operation at most: its key and value.
const HEAD_BYTES: usize = 256;

/// One commit as it came.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    /// What it says.
    pub(crate) record: LogRecord,
    /// The log record itself, which the chain is computed over.
    pub(crate) encoded: Bytes,
}

/// Why a commit cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is not what a home writes.
    Malformed(String),
    /// Another vault's record still stands at its name: that vault's purge has to come first.
    NameTaken,
}

/// What a log record may change: the vault's data, and the records at its name.
pub(crate) enum Place {
    Data,
    Name,
}

/// The place of a key, if the vault may write there.
pub(crate) fn place(group: &GroupId, vault: &VaultId, key: &[u8]) -> Option<Place> {
    if key.starts_with(&layout::all_data(group, vault)) {
        return view::generation_of(key, group, vault).map(|_| Place::Data);
    }
    let below = |prefix: Bytes| {
        key.strip_prefix(&*prefix).is_some_and(|name| !name.is_empty() && !name.contains(&b'/'))
    };
    (below(layout::vaults(group)) || below(layout::deleted_vaults(group))).then_some(Place::Name)
}

/// The keys at names that commits touch.
pub(crate) fn names(group: &GroupId, vault: &VaultId, commits: &[Commit]) -> BTreeSet<Bytes> {
    let ops = commits.iter().flat_map(|commit| &commit.record.ops);
    let is_name = |key: &&Bytes| matches!(place(group, vault, key), Some(Place::Name));
    ops.map(Op::key).filter(is_name).cloned().collect()
}

/// The key in the store's own generation. The mark of a purge, in generation 0, stays there.
pub(crate) fn local_key(group: &GroupId, vault: &VaultId, key: &Bytes, generation: Option<u64>) -> Bytes {
    let Some(generation) = generation.filter(|_| !planted::active(Bug::LocalGenerationIgnored)) else {
        return key.clone();
    };
    let prefix = layout::all_data(group, vault);
    let path = key.get(prefix.len()..).and_then(|rest| rest.splitn(2, |byte| *byte == b'/').nth(1));
    match (view::generation_of(key, group, vault), path) {
        (Some(1..), Some(path)) => [&*layout::data(group, vault, generation), path].concat().into(),
        _ => key.clone(),
    }
}

/// A vault's record with the store's own generation. Fields that this program does not know survive.
pub(crate) fn local_envelope(stored: &Bytes, generation: Option<u64>) -> Bytes {
    let Some(generation) = generation else { return stored.clone() };
    match serde_json::from_slice::<Value>(stored) {
        Ok(Value::Object(mut fields)) => {
            fields.insert("generation".into(), generation.into());
            Value::Object(fields).to_string().into()
        }
        _ => stored.clone(),
    }
}

/// A vault's record, checked to be one of this vault's at this key.
pub(crate) fn envelope(
    group: &GroupId,
    vault: &VaultId,
    key: &Bytes,
    stored: &[u8],
) -> Result<VaultEnvelope, Refusal> {
    let envelope = VaultEnvelope::decode(stored).map_err(|e| Refusal::Malformed(e.to_string()))?;
    let places = [layout::vault(group, &envelope.name), layout::deleted_vault(group, &envelope.name)];
    if envelope.id == *vault && places.contains(key) {
        Ok(envelope)
    } else {
        Err(Refusal::Malformed(format!(
            "a record of vault {} stands at {}",
            envelope.id,
            String::from_utf8_lossy(key)
        )))
    }
}

/// What merging has made.
#[derive(Debug)]
pub(crate) struct Merged {
    /// All operations, log records and head included.
    pub(crate) ops: Vec<Op>,
    /// The head after it.
    pub(crate) head: Head,
    /// How many of the commits it holds.
    pub(crate) commits: usize,
}

/// Merges as many of the commits as one transaction holds; at least one. `others`: the keys at names where
/// another vault's record stands.
pub(crate) fn merge(
    group: &GroupId,
    vault: &VaultId,
    head: Head,
    generation: Option<u64>,
    others: &BTreeSet<Bytes>,
    commits: &[Commit],
) -> Result<Merged, Refusal> {
    let mut ops: BTreeMap<Bytes, Op> = BTreeMap::new();
    let mut logs = Vec::new();
    let (mut at, mut bytes) = (head, HEAD_BYTES);
    for commit in commits {
        let log = layout::log(group, vault, commit.record.number);
        let mut added = log.len() + commit.encoded.len();
        let mut count = ops.len() + logs.len() + 2;
        let mut step = Vec::with_capacity(commit.record.ops.len());
        for op in &commit.record.ops {
            if skipped(commit) {
                continue;
            }
            let Some(op) = local_op(group, vault, generation, others, op)? else { continue };
            added += op.size();
            match ops.get(op.key()) {
                Some(replaced) => added = added.saturating_sub(replaced.size()),
                None => count += 1,
            }
            step.push(op);
        }
        if (count > MAX_TRANSACTION_OPS || bytes + added > MAX_TRANSACTION_BYTES) && !logs.is_empty() {
            break;
        }
        bytes += added;
        ops.extend(step.into_iter().map(|op| (op.key().clone(), op)));
        at = Head { number: commit.record.number, chain: at.chain.next(&commit.encoded) };
        logs.push(Op::Put(log, commit.encoded.clone()));
    }
    let commits = logs.len();
    let mut ops: Vec<Op> = ops.into_values().collect();
    ops.extend(logs);
    ops.push(Op::Put(layout::head(group, vault), at.encode()));
    Ok(Merged { ops, head: at, commits })
}

fn skipped(commit: &Commit) -> bool {
    planted::active(Bug::CommitSkipped) && commit.record.number.is_multiple_of(5)
}

/// An operation as this store performs it; none if it does not concern this store.
fn local_op(
    group: &GroupId,
    vault: &VaultId,
    generation: Option<u64>,
    others: &BTreeSet<Bytes>,
    op: &Op,
) -> Result<Option<Op>, Refusal> {
    let foreign =
        || Refusal::Malformed(format!("the key {} is not this vault's", String::from_utf8_lossy(op.key())));
    let place = place(group, vault, op.key()).ok_or_else(foreign)?;
    Ok(match (place, op) {
        (Place::Data, Op::Put(key, value)) => {
            Some(Op::Put(local_key(group, vault, key, generation), value.clone()))
        }
        (Place::Data, Op::Delete(key)) => Some(Op::Delete(local_key(group, vault, key, generation))),
        (Place::Name, Op::Put(key, stored)) => {
            envelope(group, vault, key, stored)?;
            if others.contains(key) {
                return Err(Refusal::NameTaken);
            }
            Some(Op::Put(key.clone(), local_envelope(stored, generation)))
        }
        // The vault's own record is gone already, and the name belongs to the next one.
        (Place::Name, Op::Delete(key)) => (!others.contains(key)).then(|| Op::Delete(key.clone())),
    })
}
