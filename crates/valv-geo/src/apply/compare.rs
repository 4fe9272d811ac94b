//! A vault is compared with home's, bucket by bucket, and what differs is repaired (F26).
//!
//! Both sides of a comparison stand at one head, so what differs is no commit that is under way. A record of
//! home's is taken only if it opens at its place: damage at home is not copied.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use valv_engine::{MAX_TRANSACTION_BYTES, Op, Transaction, layout};
use valv_model::VaultId;
use valv_sealing::{DataKeys, Head, VaultEnvelope};

use super::advance::{Reached, advance};
use super::context::{Context, Counters};
use super::copy::copy;
use super::local::{Fail, settle};
use super::merge;
use crate::bucket::{VAULT_PLACE, bucket_of, vault_value};
use crate::ship::{hashes, page};
use crate::source::{BucketPage, Record, VaultRecord};
use crate::view::{self, View, ViewError};

/// How often a page that home has moved on from is asked for again.
const ATTEMPTS: usize = 5;

/// Operations of one repair.
const REPAIR_COUNT: usize = 100;

/// Bytes of one repair.
const REPAIR_BYTES: usize = MAX_TRANSACTION_BYTES - 16 * 1024;

/// What a comparison has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Compared {
    /// Records repaired here.
    pub(super) repaired: u64,
    /// Records that do not open at home.
    pub(super) damaged_at_home: u64,
}

/// What becomes of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was made, and what differed is repaired.
    Compared(Compared),
    /// Not this time: commits come too fast.
    NotNow,
    /// The vault was copied whole instead.
    Copied(Reached),
}

/// Compares a vault and repairs it.
pub(super) async fn compare(context: &Context, vault: &VaultId) -> Result<Outcome, Fail> {
    let theirs = context.ask(context.source.buckets(&context.group, vault)).await?;
    if let Some(outcome) = stand_at(context, vault, theirs.head).await? {
        return Ok(outcome);
    }
    let purged = theirs.hashes.iter().all(|hash| *hash == [0; 32]);
    let view = match look(context, vault).await {
        Ok(view) if view.record.is_none() == purged => view,
        Ok(view) if view.head != Some(theirs.head) => return Ok(Outcome::NotNow),
        Ok(_) => return anew(context, vault, "it is here, or not, unlike at home").await,
        Err(ViewError::Damaged(why)) => return anew(context, vault, &why).await,
        Err(error) => return Err(error.into()),
    };
    let ours = hashes(view).await.map_err(|e| Fail::Store(e.to_string()))?;
    if ours.head != theirs.head {
        return Ok(Outcome::NotNow);
    }
    let mut compared = Compared::default();
    let all = ours.hashes.iter().zip(&theirs.hashes);
    let mut differ: Vec<u8> = (0..=u8::MAX).zip(all).filter(|(_, (a, b))| a != b).map(|(n, _)| n).collect();
    // The vault's own record first: it has the keys that tell whether the others are whole.
    differ.sort_by_key(|bucket| *bucket != bucket_of(VAULT_PLACE));
    for bucket in differ {
        if let Some(outcome) = repair_bucket(context, vault, bucket, &mut compared).await? {
            return Ok(outcome);
        }
    }
    Ok(Outcome::Compared(compared))
}

/// Copies a vault whose own record is of no use.
async fn anew(context: &Context, vault: &VaultId, why: &str) -> Result<Outcome, Fail> {
    tracing::error!(group = %context.group, %vault, why, "the replica's record of a vault is damaged; the vault is copied anew");
    let reached = copy(context, vault).await?;
    Counters::add(&context.counters.repaired, 1);
    Ok(Outcome::Copied(reached))
}

async fn look(context: &Context, vault: &VaultId) -> Result<View, ViewError> {
    view::view(&*context.engine, &context.group, vault, &context.names).await
}

/// Brings the vault to a head that home had. None: it stands there.
async fn stand_at(context: &Context, vault: &VaultId, head: Head) -> Result<Option<Outcome>, Fail> {
    loop {
        let before = context.local(vault).await?.head;
        match before {
            Some(here) if here == head => return Ok(None),
            Some(here) if here.number >= head.number => return Ok(Some(Outcome::NotNow)),
            _ => {}
        }
        match advance(context, vault, Some(head.number)).await? {
            Reached::Head(reached) if Some(reached) != before => {}
            Reached::Head(_) | Reached::NameTaken => return Ok(Some(Outcome::NotNow)),
            copied @ Reached::Copied { .. } => return Ok(Some(Outcome::Copied(copied))),
        }
    }
}

/// Repairs one bucket, page by page, each at a head of its own. None: it is done.
async fn repair_bucket(
    context: &Context,
    vault: &VaultId,
    bucket: u8,
    compared: &mut Compared,
) -> Result<Option<Outcome>, Fail> {
    let mut after = String::new();
    let mut attempts = 0;
    loop {
        let theirs = context.ask(context.source.bucket(&context.group, vault, bucket, &after)).await?;
        attempts += 1;
        if attempts > ATTEMPTS {
            return Ok(Some(Outcome::NotNow));
        }
        match stand_at(context, vault, theirs.head).await? {
            None => {}
            Some(Outcome::NotNow) => continue,
            outcome => return Ok(outcome),
        }
        let view = look(context, vault).await?;
        let record = view.record.clone();
        let ours = page(view, bucket, &after, usize::MAX).await.map_err(|e| Fail::Store(e.to_string()))?;
        if ours.head != theirs.head {
            continue;
        }
        let last = theirs.records.last().map(|record| record.path.clone());
        if theirs.records.iter().any(|record| bucket_of(&record.path) != bucket || record.path <= after) {
            return Err(Context::malformed(vault, "a bucket holds what does not belong to it"));
        }
        let done = theirs.last || last.is_none();
        if !repair_page(context, vault, record, ours, theirs, compared).await? {
            continue;
        }
        match last.filter(|_| !done) {
            Some(last) => (after, attempts) = (last, 0),
            None => return Ok(None),
        }
    }
}

/// Repairs what differs in a page. False: the vault moved on.
async fn repair_page(
    context: &Context,
    vault: &VaultId,
    record: Option<VaultRecord>,
    ours: BucketPage,
    theirs: BucketPage,
    compared: &mut Compared,
) -> Result<bool, Fail> {
    let end = if theirs.last { None } else { theirs.records.last().map(|record| record.path.clone()) };
    let inside = |path: &str| end.as_deref().is_none_or(|end| path <= end);
    let ours: BTreeMap<String, Bytes> =
        ours.records.into_iter().filter(|record| inside(&record.path)).map(|r| (r.path, r.value)).collect();
    let mut gone: BTreeMap<&str, ()> = ours.keys().map(|path| (path.as_str(), ())).collect();
    let mut wanted = Vec::new();
    for Record { path, value } in &theirs.records {
        gone.remove(path.as_str());
        let here = ours.get(path);
        let same = if path == VAULT_PLACE {
            here.and_then(stored_record).map(|r| vault_value(&r))
                == stored_record(value).map(|r| vault_value(&r))
        } else {
            here == Some(value)
        };
        if same {
            continue;
        }
        wanted.push((path, value));
    }
    let homes = theirs.records.iter().find(|record| record.path == VAULT_PLACE);
    let keys = match homes.and_then(|record| stored_record(&record.value)).or_else(|| record.clone()) {
        Some(record) => keys_of(context, vault, &record)?,
        None => None,
    };
    let local = context.local(vault).await?;
    if local.head != Some(theirs.head) {
        return Ok(false);
    }
    let Some(generation) = generation(&local, &record) else { return Ok(false) };
    let prefix = layout::data(&context.group, vault, generation);
    let key = |path: &str| Bytes::from([&*prefix, path.as_bytes()].concat());
    let mut ops = Vec::new();
    for (path, value) in wanted {
        if path == VAULT_PLACE {
            ops.extend(vault_record(context, vault, value, generation)?);
        } else if keys.as_ref().is_some_and(|keys| keys.authentic(path, value)) {
            ops.push(Op::Put(key(path), value.clone()));
        } else {
            tracing::error!(group = %context.group, %vault, path, "home's record is damaged; the replica keeps its own");
            compared.damaged_at_home += 1;
        }
    }
    ops.extend(gone.keys().filter(|path| **path != VAULT_PLACE).map(|path| Op::Delete(key(path))));
    let mut next = ops.into_iter().peekable();
    while next.peek().is_some() {
        let (mut some, mut bytes) = (Vec::new(), 0);
        while let Some(op) = next.next_if(|op| some.is_empty() || bytes + op.size() <= REPAIR_BYTES) {
            bytes += op.size();
            some.push(op);
            if some.len() >= REPAIR_COUNT {
                break;
            }
        }
        let count = some.len() as u64;
        let transaction = Transaction { compares: local.compares(&context.group, vault), ops: some };
        if !settle(&*context.engine, &context.lease, transaction, None).await? {
            return Ok(false);
        }
        tracing::warn!(group = %context.group, %vault, records = count, "records of the replica differed from home's and were repaired");
        compared.repaired += count;
        context.counters.repaired.fetch_add(count, Ordering::Relaxed);
    }
    Ok(true)
}

/// The generation that the vault has here.
fn generation(local: &super::local::LocalVault, record: &Option<VaultRecord>) -> Option<u64> {
    let here = local.local.as_ref()?.generation;
    here.or_else(|| {
        VaultEnvelope::decode(&record.as_ref()?.envelope).ok().map(|envelope| envelope.generation)
    })
}

fn keys_of(context: &Context, vault: &VaultId, record: &VaultRecord) -> Result<Option<Arc<DataKeys>>, Fail> {
    match VaultEnvelope::decode(&record.envelope) {
        Ok(envelope) => context.keys(vault, &envelope).map(Some),
        Err(_) => Ok(None),
    }
}

/// A vault's record as a bucket's page has it.
fn stored_record(value: &Bytes) -> Option<VaultRecord> {
    let (deleted, _) = value.split_first()?;
    Some(VaultRecord { deleted: *deleted != 0, envelope: value.slice(1..) })
}

/// The operations that put home's record of the vault in its place; none if it is damaged.
fn vault_record(context: &Context, vault: &VaultId, value: &Bytes, generation: u64) -> Result<Vec<Op>, Fail> {
    let Some(record) = stored_record(value) else { return Ok(Vec::new()) };
    let Ok(envelope) = VaultEnvelope::decode(&record.envelope) else { return Ok(Vec::new()) };
    if envelope.id != *vault {
        return Err(Context::malformed(vault, "a bucket holds another vault's record"));
    }
    context.keys(vault, &envelope)?;
    let (live, deleted) = (
        layout::vault(&context.group, &envelope.name),
        layout::deleted_vault(&context.group, &envelope.name),
    );
    let (key, other) = if record.deleted { (deleted, live) } else { (live, deleted) };
    Ok(vec![Op::Put(key, merge::local_envelope(&record.envelope, Some(generation))), Op::Delete(other)])
}
