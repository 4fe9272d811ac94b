//! A vault is copied whole, under a generation of its own that one transaction switches on.
//!
//! Readers go by the vault's record, so they see the old generation whole until then and the new one whole from then on.

use bytes::Bytes;
use futures::StreamExt;
use tokio::time::Instant;
use valv_engine::planted::{self, Bug};
use valv_engine::{KeyRange, MAX_TRANSACTION_BYTES, Op, Transaction, layout};
use valv_model::{VaultId, VaultName};
use valv_sealing::{Head, VaultEnvelope};

use super::StopReason;
use super::advance::Reached;
use super::context::{Context, Counters};
use super::local::{Copying, Fail, LocalRecord, LocalVault, is, remove_range, settle};
use super::merge;
use crate::source::{CopyEvent, CopyStream, Record, SourceError, VaultRecord};
use crate::view::{self, ViewError};

/// Records written at once.
const WRITE_COUNT: usize = 100;

/// Bytes of records written at once.
const WRITE_BYTES: usize = MAX_TRANSACTION_BYTES - 16 * 1024;

/// Copies a vault.
pub(super) async fn copy(context: &Context, vault: &VaultId) -> Result<Reached, Fail> {
    let Some(local) = wait_for_turn(context, vault).await? else {
        // Somebody else has copied it meanwhile.
        return Ok(context.local(vault).await?.head.map_or(Reached::NameTaken, Reached::Head));
    };
    let mut stream = context.ask(context.source.copy(&context.group, vault)).await?;
    let (head, record) = match next(context, &mut stream).await? {
        CopyEvent::Begin { lineage, .. }
            if lineage != context.lineage && !planted::active(Bug::LineageIgnored) =>
        {
            return Err(Fail::Again);
        }
        CopyEvent::Begin { head, record, .. } => (head, record),
        _ => return Err(useless("a copy does not begin with its beginning")),
    };
    let may_go_back = local.local.as_ref().is_some_and(|record| record.anew);
    if let Some(here) = local.head
        && !may_go_back
        && head.map_or(0, |head| head.number) < here.number
    {
        let home = head.map_or(0, |head| head.number);
        let reason = StopReason::HomeBehind { vault: vault.to_string(), home, here: here.number };
        return Err(Fail::Stop(reason));
    }
    let target = match record {
        Some(record) => Some(check(context, vault, record)?),
        None => None,
    };
    if let Some(target) = &target
        && !name_is_free(context, vault, &target.envelope.name).await?
    {
        return Ok(Reached::NameTaken);
    }
    let purged = target.is_none();
    tracing::info!(group = %context.group, %vault, "a vault is copied whole");
    let homes = target.as_ref().map_or(0, |target| target.envelope.generation);
    let mut copying = begin(context, vault, local, homes).await?;
    let mut received = 0;
    loop {
        match next(context, &mut stream).await? {
            CopyEvent::Records(records) => {
                received += records.len() as u64;
                copying.write(context, vault, records).await?;
            }
            CopyEvent::End { records } if records == received => break,
            _ => return Err(useless("a copy is not whole")),
        }
    }
    if !switch(context, vault, copying, head, target).await? {
        return Ok(Reached::NameTaken);
    }
    Counters::add(&context.counters.copies, 1);
    Ok(Reached::Copied { head, purged })
}

/// What a copy is to switch on.
struct Target {
    record: VaultRecord,
    envelope: VaultEnvelope,
}

fn check(context: &Context, vault: &VaultId, record: VaultRecord) -> Result<Target, Fail> {
    let envelope = VaultEnvelope::decode(&record.envelope)
        .map_err(|e| Fail::Source(SourceError::Damaged(e.to_string())))?;
    if envelope.id != *vault {
        return Err(Context::malformed(vault, "the copy is another vault's"));
    }
    context.keys(vault, &envelope)?;
    Ok(Target { record, envelope })
}

async fn next(context: &Context, stream: &mut CopyStream) -> Result<CopyEvent, Fail> {
    let ended = || SourceError::Unreachable("a copy broke off".into());
    context.ask(async { stream.next().await.ok_or_else(ended)? }).await
}

fn useless(why: &str) -> Fail {
    Fail::Source(SourceError::Refused(why.into()))
}

/// Waits while somebody else copies the vault and gets on with it. None: it is done.
async fn wait_for_turn(context: &Context, vault: &VaultId) -> Result<Option<LocalVault>, Fail> {
    let first = context.local(vault).await?;
    let under_way = |local: &LocalVault| local.local.as_ref().is_some_and(|record| record.copying.is_some());
    let own = |local: &LocalVault| {
        let copying = local.local.as_ref().and_then(|record| record.copying.as_ref());
        copying.is_some_and(|copying| copying.by == context.by)
    };
    let (mut seen, mut since) = (first.stored_local.clone(), Instant::now());
    let mut local = first;
    while under_way(&local) && !own(&local) && since.elapsed() < context.settings.copy_patience {
        tokio::time::sleep(context.settings.copy_patience / 8).await;
        local = context.local(vault).await?;
        if !under_way(&local) {
            return Ok(None);
        }
        if local.stored_local != seen {
            (seen, since) = (local.stored_local.clone(), Instant::now());
        }
    }
    Ok(Some(local))
}

/// Whether no other vault's record stands at a name.
async fn name_is_free(context: &Context, vault: &VaultId, name: &VaultName) -> Result<bool, Fail> {
    let places = [layout::vault(&context.group, name), layout::deleted_vault(&context.group, name)];
    for stored in context.values(places).await?.values().flatten() {
        if belongs_to_another(context, vault, stored).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a vault record is that of another vault, which is here too. One that names a vault which is not here is damaged.
pub(super) async fn belongs_to_another(
    context: &Context,
    vault: &VaultId,
    stored: &[u8],
) -> Result<bool, Fail> {
    let Some(owner) = owner(stored).filter(|owner| owner != vault) else { return Ok(false) };
    Ok(view::value(&*context.engine, layout::head(&context.group, &owner)).await?.is_some())
}

fn owner(stored: &[u8]) -> Option<VaultId> {
    VaultEnvelope::decode(stored).ok().map(|envelope| envelope.id)
}

/// Chooses a generation that nobody has written to, nor will while following the log, which goes to `homes`
/// where there was no copy before; and says so in the store.
async fn begin(context: &Context, vault: &VaultId, local: LocalVault, homes: u64) -> Result<Writer, Fail> {
    let last = KeyRange::prefix(layout::all_data(&context.group, vault)).limit(1).reversed();
    let read = context.engine.read(&[last]).await?;
    let written = read.ranges.iter().flatten().next();
    let written =
        written.and_then(|entry| view::generation_of(&entry.key, &context.group, vault)).unwrap_or(0);
    let record = local.local.clone().unwrap_or_default();
    let before = record.copying.as_ref().map_or(0, |copying| copying.generation);
    let generation = written.max(before).max(record.generation.unwrap_or(homes)) + 1;
    let copying = Copying { generation, by: context.by, records: 0 };
    let mut writer = Writer { local, record, copying };
    writer.commit(context, vault, Vec::new()).await?;
    Ok(writer)
}

/// A copy under way. Each of its transactions compares the store's record of it, and changes it: whoever
/// takes the copy over ends this one.
struct Writer {
    local: LocalVault,
    record: LocalRecord,
    copying: Copying,
}

impl Writer {
    async fn write(&mut self, context: &Context, vault: &VaultId, records: Vec<Record>) -> Result<(), Fail> {
        let prefix = layout::data(&context.group, vault, self.copying.generation);
        let (mut ops, mut bytes) = (Vec::new(), 0);
        for Record { path, value } in records {
            let op = Op::Put([&*prefix, path.as_bytes()].concat().into(), value);
            if ops.len() >= WRITE_COUNT || (bytes + op.size() > WRITE_BYTES && !ops.is_empty()) {
                self.commit(context, vault, std::mem::take(&mut ops)).await?;
                bytes = 0;
            }
            bytes += op.size();
            ops.push(op);
        }
        if ops.is_empty() { Ok(()) } else { self.commit(context, vault, ops).await }
    }

    async fn commit(&mut self, context: &Context, vault: &VaultId, mut ops: Vec<Op>) -> Result<(), Fail> {
        self.copying.records += ops.len() as u64;
        let stored = LocalRecord { copying: Some(self.copying.clone()), ..self.record.clone() }.encode();
        let key = layout::local(&context.group, vault);
        // A record that is already so, of a copy that this task broke off, is no different transaction.
        ops.push(Op::Put(key.clone(), stored.clone()));
        let compares = vec![
            is(layout::copied(&context.group), self.local.copied.clone()),
            is(key.clone(), self.local.stored_local.clone()),
        ];
        let transaction = Transaction { compares, ops };
        if settle(&*context.engine, &context.lease, transaction, Some((key, Some(stored.clone())))).await? {
            self.local.stored_local = Some(stored);
            Ok(())
        } else {
            Err(Fail::Again)
        }
    }
}

/// Switches the new generation on. False: another vault has the name.
async fn switch(
    context: &Context,
    vault: &VaultId,
    writer: Writer,
    head: Option<Head>,
    target: Option<Target>,
) -> Result<bool, Fail> {
    let Context { engine, group, lease, names, .. } = context;
    let Writer { local, copying, .. } = writer;
    let generation = copying.generation;
    let name = match &target {
        Some(target) => Some(target.envelope.name.clone()),
        None => match names.find(&**engine, group, vault).await {
            Ok(name) => name,
            // A record that cannot be read may be this vault's or another's: it stays where it is.
            Err(ViewError::Damaged(why)) => {
                tracing::error!(%group, why, "a vault's record is damaged");
                None
            }
            Err(error) => return Err(error.into()),
        },
    };
    let places = name.map(|name| [layout::vault(group, &name), layout::deleted_vault(group, &name)]);
    let stored = context.values(places.clone().into_iter().flatten()).await?;
    let mut ops: Vec<Op> = Vec::new();
    for (key, stored) in stored.iter().filter_map(|(key, stored)| Some((key, stored.as_ref()?))) {
        if !belongs_to_another(context, vault, stored).await? {
            ops.push(Op::Delete(key.clone()));
        } else if target.is_some() {
            return Ok(false);
        }
    }
    let (local_key, head_key) = (layout::local(group, vault), layout::head(group, vault));
    let switched = match (&target, &places) {
        (Some(Target { record, envelope }), Some([live, deleted])) => {
            let key = if record.deleted { deleted } else { live };
            ops.retain(|op| op.key() != key);
            ops.push(Op::Put(key.clone(), merge::local_envelope(&record.envelope, Some(generation))));
            names.remember(vault, &envelope.name);
            Some(LocalRecord { generation: Some(generation), ..LocalRecord::default() }.encode())
        }
        _ => {
            ops.push(Op::Put(layout::purge_mark(group, vault), Bytes::new()));
            None
        }
    };
    ops.push(match &switched {
        Some(record) => Op::Put(local_key.clone(), record.clone()),
        None => Op::Delete(local_key.clone()),
    });
    ops.push(match head {
        Some(head) => Op::Put(head_key, head.encode()),
        None => Op::Delete(head_key),
    });
    let mut compares = local.compares(group, vault);
    compares.extend(stored.into_iter().map(|(key, stored)| is(key, stored)));
    let transaction = Transaction { compares, ops };
    if settle(&**engine, lease, transaction, Some((local_key, switched))).await? {
        Ok(true)
    } else {
        Err(Fail::Again)
    }
}

/// Removes what a copy has replaced: the records of the generations before it, all of them if the vault was
/// purged, and the log records up to the head that it was copied at, because nothing can follow them.
pub(super) async fn clean(context: &Context, vault: &VaultId, what: Clean) -> Result<(), Fail> {
    if planted::active(Bug::OldGenerationLeft) {
        return Ok(());
    }
    let local = context.local(vault).await?;
    let generation = local.local.and_then(|record| record.generation).unwrap_or(0);
    let data = |generation| layout::data(&context.group, vault, generation);
    let log = |number| layout::log(&context.group, vault, number);
    let mut ranges = Vec::new();
    if what.purged && generation == 0 {
        ranges.push((data(1), KeyRange::prefix(layout::all_data(&context.group, vault)).end));
        ranges.push((data(0), data(1)));
    } else if generation > 1 {
        ranges.push((data(1), data(generation)));
    }
    if let Some(head) = what.head {
        ranges.push((log(0), log(head.number.saturating_add(1))));
    } else if what.purged {
        ranges.push((log(0), KeyRange::prefix(layout::logs(&context.group, vault)).end));
    }
    for (start, end) in ranges {
        remove_range(&*context.engine, &context.lease, start, end).await?;
    }
    Ok(())
}

/// Gives a copy up that was broken off and is not needed any more, because home's log could be followed after
/// all. `seen`: the store's record of it; whoever goes on with the copy changes that, and ends this.
pub(super) async fn give_up(context: &Context, vault: &VaultId, seen: Option<Bytes>) -> Result<(), Fail> {
    let local = context.local(vault).await?;
    let Some(record) =
        local.local.clone().filter(|_| seen.is_none_or(|seen| local.stored_local == Some(seen)))
    else {
        return Ok(());
    };
    let Some(copying) = record.copying else { return Ok(()) };
    let key = layout::local(&context.group, vault);
    let settle = async |ops| {
        let compares = vec![is(key.clone(), local.stored_local.clone())];
        settle(&*context.engine, &context.lease, Transaction { compares, ops }, None).await
    };
    // Readers and home's commits use another generation.
    let start = layout::data(&context.group, vault, copying.generation);
    let range = KeyRange { limit: WRITE_COUNT / 2, ..KeyRange::prefix(start) };
    loop {
        let read = context.engine.read(std::slice::from_ref(&range)).await?;
        let gone: Vec<Op> = read.ranges.into_iter().flatten().map(|entry| Op::Delete(entry.key)).collect();
        if gone.is_empty() {
            break;
        }
        if !settle(gone).await? {
            return Ok(());
        }
    }
    let op = match record.generation {
        None => Op::Delete(key.clone()),
        Some(_) => Op::Put(key.clone(), LocalRecord { copying: None, ..record }.encode()),
    };
    settle(vec![op]).await.map(drop)
}

/// What is to be removed after a copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Clean {
    /// The head that the vault was copied at.
    pub(super) head: Option<Head>,
    /// The copy was of a vault that is purged, or that home never had.
    pub(super) purged: bool,
}
