//! A home that lost its store is filled from a replica: the other direction of a copy.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use valv_engine::{
    CommitError, Engine, GroupId, KeyRange, LeaseError, Lineage, MAX_TRANSACTION_BYTES, Op, Transaction,
    WriteLease, layout,
};
use valv_model::{RegionName, VaultId};
use valv_sealing::{Head, Keyring, VaultEnvelope};

use super::local::{CopiedRecord, Fail, copied_record, is, remove_range, settle};
use crate::source::{CopyEvent, HeadsEvent, Record, Source, SourceError, VaultHead, VaultRecord};
use crate::view;

/// How long one answer of the replica may take.
const ANSWER: Duration = Duration::from_secs(30);

/// Records written at once.
const WRITE_COUNT: usize = 100;

/// Bytes of records written at once.
const WRITE_BYTES: usize = MAX_TRANSACTION_BYTES - 16 * 1024;

/// What a home was rebuilt from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// Vaults, purged ones of which only the head is left included.
    pub vaults: usize,
    /// Records of their data.
    pub records: u64,
    /// The lineage that this store continues now.
    pub continues: Lineage,
}

/// Why a home was not rebuilt. It can be tried again: what is done already is not done twice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RebuildError {
    /// The store has vaults of its own.
    #[error("this store has vaults of the group already; only an empty store is filled from a replica")]
    NotEmpty,
    /// The replica has copied nothing.
    #[error("the replica has copied nothing of the group")]
    NothingCopied,
    /// The replica changed meanwhile.
    #[error(
        "the replica does not stand where it stood when the rebuilding began; empty this store and begin anew"
    )]
    Moved,
    /// A data key does not open.
    #[error("the data keys of vault {vault} do not open here: {why}")]
    WrongRootKey {
        /// The vault.
        vault: String,
        /// What is missing.
        why: String,
    },
    /// The store is not the group's home.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The replica does not answer, or not as it should.
    #[error("the replica: {0}")]
    Source(#[from] SourceError),
    /// This store does not take it.
    #[error("this store: {0}")]
    Store(String),
}

impl From<Fail> for RebuildError {
    fn from(fail: Fail) -> Self {
        match fail {
            Fail::Source(error) => Self::Source(error),
            Fail::Store(why) => Self::Store(why),
            Fail::Stop(reason) => Self::Store(reason.to_string()),
            Fail::Again => Self::Store(CommitError::StaleLease.to_string()),
        }
    }
}

/// Whether a home's group was left half filled by [`rebuild`]: then it must not be served.
pub async fn rebuilding(engine: &dyn Engine, group: &GroupId) -> Result<bool, SourceError> {
    Ok(copied_record(engine, group).await?.is_some_and(|record| record.rebuilding))
}

/// Fills the empty store of `region`, which is the home of `group`, from the group's replica. Heads and chains
/// go on where the replica has them, and the replica follows the store as a continuation of the one that it
/// copied. Nobody may serve the group meanwhile. After an error or a crash it is called again.
pub async fn rebuild(
    engine: &dyn Engine,
    keyring: &Keyring,
    source: &Arc<dyn Source>,
    group: &GroupId,
    region: &RegionName,
) -> Result<Rebuilt, RebuildError> {
    let lease = engine.lease(group, region).await?;
    let (continues, heads) = replica_heads(source, group).await?;
    let key = layout::copied(group);
    let begun = view::value(engine, key.clone()).await.map_err(Fail::from)?;
    let begin = CopiedRecord { rebuilding: true, ..CopiedRecord::new(continues) };
    match &begun {
        None => {
            if !view::heads(engine, group).await.map_err(Fail::from)?.1.is_empty() {
                return Err(RebuildError::NotEmpty);
            }
            put(engine, &lease, key.clone(), None, begin.encode()).await?;
        }
        Some(stored) if *stored == begin.encode() => {}
        Some(_) => return Err(RebuildError::NotEmpty),
    }
    let mut rebuilt = Rebuilt { vaults: 0, records: 0, continues };
    for VaultHead { vault, head } in heads {
        rebuilt.records += fill(engine, keyring, source, group, &lease, &vault, head).await?;
        rebuilt.vaults += 1;
    }
    let done = CopiedRecord { complete: true, ..CopiedRecord::new(continues) };
    put(engine, &lease, key, Some(begin.encode()), done.encode()).await?;
    Ok(rebuilt)
}

async fn put(
    engine: &dyn Engine,
    lease: &WriteLease,
    key: bytes::Bytes,
    was: Option<bytes::Bytes>,
    now: bytes::Bytes,
) -> Result<(), RebuildError> {
    let transaction =
        Transaction { compares: vec![is(key.clone(), was)], ops: vec![Op::Put(key.clone(), now.clone())] };
    if settle(engine, lease, transaction, Some((key, Some(now)))).await? {
        Ok(())
    } else {
        Err(RebuildError::NotEmpty)
    }
}

async fn answer<T>(answer: impl Future<Output = Result<T, SourceError>>) -> Result<T, SourceError> {
    let late = |_| SourceError::Unreachable("no answer in time".into());
    tokio::time::timeout(ANSWER, answer).await.map_err(late)?
}

/// All heads of the replica, and the lineage that it copied.
async fn replica_heads(
    source: &Arc<dyn Source>,
    group: &GroupId,
) -> Result<(Lineage, Vec<VaultHead>), RebuildError> {
    let mut stream = answer(source.heads(group)).await?;
    let (mut all, mut copied) = (Vec::new(), None);
    let ended = || SourceError::Unreachable("the stream of heads ended".into());
    while let HeadsEvent::Heads { continues, heads, .. } =
        answer(async { stream.next().await.ok_or_else(ended)? }).await?
    {
        copied = continues;
        all.extend(heads);
    }
    Ok((copied.ok_or(RebuildError::NothingCopied)?, all))
}

/// Fills in one vault; answers how many records it has.
async fn fill(
    engine: &dyn Engine,
    keyring: &Keyring,
    source: &Arc<dyn Source>,
    group: &GroupId,
    lease: &WriteLease,
    vault: &VaultId,
    head: Head,
) -> Result<u64, RebuildError> {
    let head_key = layout::head(group, vault);
    let store = |error: valv_engine::ReadError| RebuildError::Store(error.to_string());
    if let Some(stored) = view::value(engine, head_key.clone()).await.map_err(store)? {
        return if stored == head.encode() { Ok(0) } else { Err(RebuildError::Moved) };
    }
    // What an attempt that broke off has left.
    let left = KeyRange::prefix(layout::all_data(group, vault));
    remove_range(engine, lease, left.start, left.end).await?;
    let mut stream = answer(source.copy(group, vault)).await?;
    let broken = || SourceError::Unreachable("a copy broke off".into());
    let useless = |why: &str| RebuildError::Source(SourceError::Refused(why.into()));
    let CopyEvent::Begin { head: now, record, .. } =
        answer(async { stream.next().await.ok_or_else(broken)? }).await?
    else {
        return Err(useless("a copy does not begin with its beginning"));
    };
    if now != Some(head) {
        return Err(RebuildError::Moved);
    }
    let record = record.map(|record| check(keyring, vault, record)).transpose()?;
    let generation = record.as_ref().map_or(1, |(_, envelope)| envelope.generation);
    let prefix = layout::data(group, vault, generation);
    let mut received = 0;
    loop {
        let records = match answer(async { stream.next().await.ok_or_else(broken)? }).await? {
            CopyEvent::Records(records) => records,
            CopyEvent::End { records } if records == received => break,
            _ => return Err(useless("a copy is not whole")),
        };
        received += records.len() as u64;
        let (mut ops, mut bytes) = (Vec::new(), 0);
        for Record { path, value } in records {
            let op = Op::Put([&*prefix, path.as_bytes()].concat().into(), value);
            if ops.len() >= WRITE_COUNT || (bytes + op.size() > WRITE_BYTES && !ops.is_empty()) {
                write(engine, lease, std::mem::take(&mut ops)).await?;
                bytes = 0;
            }
            bytes += op.size();
            ops.push(op);
        }
        if !ops.is_empty() {
            write(engine, lease, ops).await?;
        }
    }
    let mut ops = vec![Op::Put(head_key.clone(), head.encode())];
    if let Some((VaultRecord { deleted, envelope: stored }, envelope)) = record {
        let place = if deleted { layout::deleted_vault } else { layout::vault };
        ops.push(Op::Put(place(group, &envelope.name), stored));
    }
    let transaction = Transaction { compares: vec![is(head_key.clone(), None)], ops };
    if settle(engine, lease, transaction, Some((head_key, Some(head.encode())))).await? {
        Ok(received)
    } else {
        Err(RebuildError::Moved)
    }
}

async fn write(engine: &dyn Engine, lease: &WriteLease, ops: Vec<Op>) -> Result<(), RebuildError> {
    settle(engine, lease, Transaction { compares: Vec::new(), ops }, None).await?;
    Ok(())
}

fn check(
    keyring: &Keyring,
    vault: &VaultId,
    record: VaultRecord,
) -> Result<(VaultRecord, VaultEnvelope), RebuildError> {
    let envelope =
        VaultEnvelope::decode(&record.envelope).map_err(|e| SourceError::Damaged(e.to_string()))?;
    if envelope.id != *vault {
        return Err(SourceError::Refused("a copy is another vault's".into()).into());
    }
    keyring.unwrap(vault, &envelope.data_keys).map_err(|error| RebuildError::WrongRootKey {
        vault: format!("{} ({vault})", envelope.name),
        why: error.to_string(),
    })?;
    Ok((record, envelope))
}
