//! One write of the file: the transactions that waited, checked in order, each against what the ones before
//! it leave.

use bytes::Bytes;
use redb::{Database, Durability, Table, WriteTransaction};
use valv_engine::planted::{self, Bug};
use valv_engine::{Change, CommitError, Compare, Expect, Op, Revision, Transaction};

use crate::settings::Settings;
use crate::space::{self, Growth, Space};
use crate::tables::{self, META, RECORDS, REVISION, STORED};

/// One transaction with its lease's comparison.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) lease: Compare,
    pub(crate) transaction: Transaction,
}

/// What became of a batch that is durable.
pub(crate) struct Done {
    /// One for each request, in order.
    pub(crate) results: Vec<Result<Revision, CommitError>>,
    /// What happened, in order.
    pub(crate) changes: Vec<Change>,
}

/// Writes a batch; when it returns `Ok`, it is durable. An error is about the file: then nothing can be said
/// about any request of the batch from here.
pub(crate) fn write(
    database: &Database,
    requests: &[Request],
    settings: &Settings,
    space: Space,
) -> Result<Done, redb::Error> {
    let mut txn = database.begin_write()?;
    if planted::active(Bug::NoFsync) {
        txn.set_durability(Durability::None)?;
    }
    let done = apply(&txn, requests, settings, space)?;
    if done.changes.is_empty() {
        txn.abort()?;
    } else {
        txn.commit()?;
    }
    Ok(done)
}

fn apply(
    txn: &WriteTransaction,
    requests: &[Request],
    settings: &Settings,
    space: Space,
) -> Result<Done, redb::Error> {
    let mut records = txn.open_table(RECORDS)?;
    let mut meta = txn.open_table(META)?;
    let mut revision = Revision(tables::number(&meta, REVISION)?);
    let mut stored = tables::number(&meta, STORED)?;
    let mut done = Done { results: Vec::with_capacity(requests.len()), changes: Vec::new() };
    for request in requests {
        let plan = match plan(&records, request)? {
            Ok(plan) => plan,
            Err(refused) => {
                done.results.push(Err(refused));
                continue;
            }
        };
        if let Some(why) = space::refusal(settings, space, stored, plan.growth) {
            done.results.push(Err(CommitError::Full(why)));
            continue;
        }
        if !plan.ops.is_empty() {
            revision.0 += 1;
            stored = stored.saturating_add_signed(plan.bytes);
            for op in &plan.ops {
                match op {
                    Op::Put(key, value) => records.insert(&**key, &**value)?,
                    Op::Delete(key) => records.remove(&**key)?,
                };
            }
            done.changes.push(Change { revision, ops: plan.ops });
        }
        done.results.push(Ok(revision));
    }
    meta.insert(REVISION, &revision.0.to_be_bytes()[..])?;
    meta.insert(STORED, &stored.to_be_bytes()[..])?;
    Ok(done)
}

/// What a transaction whose comparisons hold will do.
struct Plan {
    ops: Vec<Op>,
    growth: Growth,
    /// Bytes of keys and values added, less those removed.
    bytes: i64,
}

fn plan(
    records: &Table<&'static [u8], &'static [u8]>,
    request: &Request,
) -> Result<Result<Plan, CommitError>, redb::Error> {
    if !holds(records, &request.lease)? && !planted::active(Bug::StaleLeaseTaken) {
        return Ok(Err(CommitError::StaleLease));
    }
    for compare in &request.transaction.compares {
        if !holds(records, compare)? && !planted::active(Bug::CompareLeftOut) {
            return Ok(Err(CommitError::Conflict));
        }
    }
    let mut plan = Plan { ops: Vec::new(), growth: Growth::default(), bytes: 0 };
    for op in &request.transaction.ops {
        let key = op.key();
        let before = tables::record(records, key)?.map(|value| key.len() + value.len());
        let after = match op {
            Op::Put(..) => Some(op.size()),
            Op::Delete(_) => None,
        };
        if before.is_none() && after.is_none() {
            continue;
        }
        plan.growth.count(key, before, after);
        let signed = |bytes: Option<usize>| i64::try_from(bytes.unwrap_or(0)).unwrap_or(i64::MAX);
        plan.bytes += signed(after) - signed(before);
        plan.ops.push(op.clone());
    }
    Ok(Ok(plan))
}

fn holds(records: &Table<&'static [u8], &'static [u8]>, compare: &Compare) -> Result<bool, redb::Error> {
    let stored: Option<Bytes> = tables::record(records, &compare.key)?;
    Ok(match &compare.expect {
        Expect::Absent => stored.is_none(),
        Expect::Value(value) => stored.as_ref() == Some(value),
    })
}
