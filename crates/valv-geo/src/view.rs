//! What a store holds of a group or a vault, at one revision.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use valv_engine::{
    ChangesError, Engine, Entry, GroupId, GroupMeta, KeyRange, Op, ReadError, Revision, layout,
};
use valv_model::{VaultId, VaultName};
use valv_sealing::{Head, VaultEnvelope};

use crate::source::VaultRecord;

/// How often a view of a busy vault is tried.
const ATTEMPTS: usize = 8;

/// Vault records read at once when a vault's name is looked for. Each may have 320 KiB.
const NAMES_PAGE: usize = 32;

/// Why there is no view.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ViewError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the store's history is gone faster than a vault can be looked at")]
    Busy,
    #[error("{0}")]
    Damaged(String),
}

/// The heads of a group's vaults, with the revision that they are of.
pub(crate) async fn heads(
    engine: &dyn Engine,
    group: &GroupId,
) -> Result<(Revision, BTreeMap<VaultId, Result<Head, String>>), ReadError> {
    let prefix = layout::heads(group);
    let mut snapshot = engine.snapshot(prefix.clone()).await?;
    let mut heads = BTreeMap::new();
    while let Some(entry) = snapshot.entries.next().await {
        let entry = entry?;
        if let Some(vault) = id_at(&entry.key, prefix.len()) {
            heads.insert(vault, Head::decode(&entry.value).map_err(|e| e.to_string()));
        }
    }
    Ok((snapshot.revision, heads))
}

/// The group's meta record.
pub(crate) async fn meta(engine: &dyn Engine, group: &GroupId) -> Result<Option<GroupMeta>, ViewError> {
    let stored = value(engine, layout::group_meta(group)).await?;
    let meta = stored.map(|stored| serde_json::from_slice(&stored)).transpose();
    meta.map_err(|e| ViewError::Damaged(format!("group {group}: {e}")))
}

/// What stands at a key.
pub(crate) async fn value(engine: &dyn Engine, key: Bytes) -> Result<Option<Bytes>, ReadError> {
    let read = engine.read(&[KeyRange::key(key)]).await?;
    Ok(read.ranges.into_iter().flatten().next().map(|entry| entry.value))
}

/// The vault id that follows a prefix of so many bytes in a key.
pub(crate) fn id_at(key: &[u8], prefix: usize) -> Option<VaultId> {
    let id = key.get(prefix..)?.split(|byte| *byte == b'/').next()?;
    VaultId::parse(std::str::from_utf8(id).ok()?).ok()
}

/// The generation of a key of a vault's data.
pub(crate) fn generation_of(key: &[u8], group: &GroupId, vault: &VaultId) -> Option<u64> {
    let rest = key.strip_prefix(&*layout::all_data(group, vault))?;
    let digits = rest.split(|byte| *byte == b'/').next()?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Names of vaults by their ids, as they were last seen. Any of them may be out of date.
#[derive(Default)]
pub(crate) struct Names(Mutex<BTreeMap<VaultId, VaultName>>);

/// The most names remembered.
const NAMES_MAX: usize = 100_000;

impl Names {
    pub(crate) fn remember(&self, vault: &VaultId, name: &VaultName) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= NAMES_MAX {
            names.clear();
        }
        names.insert(vault.clone(), name.clone());
    }

    fn known(&self, vault: &VaultId) -> Option<VaultName> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(vault).cloned()
    }

    /// The vault's name; none: no vault record is this vault's.
    pub(crate) async fn find(
        &self,
        engine: &dyn Engine,
        group: &GroupId,
        vault: &VaultId,
    ) -> Result<Option<VaultName>, ViewError> {
        match self.known(vault) {
            Some(name) => Ok(Some(name)),
            None => self.look(engine, group, vault).await,
        }
    }

    /// Looks through all vault records; remembers what it sees.
    async fn look(
        &self,
        engine: &dyn Engine,
        group: &GroupId,
        vault: &VaultId,
    ) -> Result<Option<VaultName>, ViewError> {
        let mut damaged = None;
        for prefix in [layout::vaults(group), layout::deleted_vaults(group)] {
            let mut range = KeyRange::prefix(prefix).limit(NAMES_PAGE);
            loop {
                let page = engine.read(&[range.clone()]).await?.ranges.into_iter().next().unwrap_or_default();
                for entry in &page {
                    match VaultEnvelope::decode(&entry.value) {
                        Ok(envelope) => self.remember(&envelope.id, &envelope.name),
                        Err(error) => {
                            damaged = Some(format!("{}: {error}", String::from_utf8_lossy(&entry.key)))
                        }
                    }
                }
                let Some(last) = page.last().filter(|_| page.len() == NAMES_PAGE) else { break };
                range = range.after(&last.key);
            }
        }
        match (self.known(vault), damaged) {
            (Some(name), _) => Ok(Some(name)),
            // It may be this vault's record that cannot be read: that is not the same as none.
            (None, Some(damaged)) => Err(ViewError::Damaged(damaged)),
            (None, None) => Ok(None),
        }
    }
}

/// A vault at one revision.
pub(crate) struct View {
    /// None: the store has no such vault and never had.
    pub(crate) head: Option<Head>,
    /// None: it was purged.
    pub(crate) record: Option<VaultRecord>,
    /// The records' paths and values, in order.
    pub(crate) records: BoxStream<'static, Result<(String, Bytes), ReadError>>,
}

/// The keys of a view that stand outside the vault's data.
struct Outside {
    keys: [Bytes; 3],
    values: [Option<Bytes>; 3],
}

impl Outside {
    fn take_up(&mut self, op: &Op) {
        let Some(at) = self.keys.iter().position(|key| key == op.key()) else { return };
        self.values[at] = match op {
            Op::Put(_, value) => Some(value.clone()),
            Op::Delete(_) => None,
        };
    }
}

/// Looks at a vault: head, record and data of one revision.
pub(crate) async fn view(
    engine: &dyn Engine,
    group: &GroupId,
    vault: &VaultId,
    names: &Names,
) -> Result<View, ViewError> {
    for _ in 0..ATTEMPTS {
        if let Some(view) = try_view(engine, group, vault, names).await? {
            return Ok(view);
        }
    }
    Err(ViewError::Busy)
}

/// None: try again.
async fn try_view(
    engine: &dyn Engine,
    group: &GroupId,
    vault: &VaultId,
    names: &Names,
) -> Result<Option<View>, ViewError> {
    let head_key = layout::head(group, vault);
    let Some(_) = value(engine, head_key.clone()).await? else {
        return Ok(Some(View { head: None, record: None, records: futures::stream::empty().boxed() }));
    };
    // The head first: a vault that has one has its record too, or was purged.
    let name = names.find(engine, group, vault).await?;
    let keys = match &name {
        Some(name) => [head_key, layout::vault(group, name), layout::deleted_vault(group, name)],
        None => [head_key, Bytes::new(), Bytes::new()],
    };
    let read = engine.read(&keys.clone().map(KeyRange::key)).await?;
    let mut values = read.ranges.into_iter().map(|range| range.into_iter().next().map(|entry| entry.value));
    let mut outside = Outside { keys, values: std::array::from_fn(|_| values.next().flatten()) };
    let snapshot = engine.snapshot(layout::all_data(group, vault)).await?;
    if snapshot.revision > read.revision
        && !catch_up(engine, &mut outside, read.revision, snapshot.revision).await?
    {
        return Ok(None);
    }
    let [head, live, deleted] = outside.values;
    let head = head.map(|head| Head::decode(&head)).transpose();
    let head = head.map_err(|e| ViewError::Damaged(format!("vault {vault}: {e}")))?;
    let record = own_record(vault, live, false)?.or(own_record(vault, deleted, true)?);
    let Some((record, envelope)) = record else {
        return Ok(Some(View { head, record: None, records: futures::stream::empty().boxed() }));
    };
    let prefix = layout::data(group, vault, envelope.generation);
    let records = snapshot.entries.filter_map(move |entry| {
        let record = match entry {
            Ok(Entry { key, value }) => {
                key.strip_prefix(&*prefix).map(|path| Ok((String::from_utf8_lossy(path).into_owned(), value)))
            }
            Err(error) => Some(Err(error)),
        };
        std::future::ready(record)
    });
    Ok(Some(View { head, record: Some(record), records: records.boxed() }))
}

/// The record if it is this vault's: another one may have taken the name of one that was purged.
fn own_record(
    vault: &VaultId,
    stored: Option<Bytes>,
    deleted: bool,
) -> Result<Option<(VaultRecord, VaultEnvelope)>, ViewError> {
    let Some(stored) = stored else { return Ok(None) };
    let envelope =
        VaultEnvelope::decode(&stored).map_err(|e| ViewError::Damaged(format!("vault {vault}: {e}")))?;
    Ok((envelope.id == *vault).then_some((VaultRecord { deleted, envelope: stored }, envelope)))
}

/// Brings what was read at `from` to where it stood at `to`. False: the history is gone already.
async fn catch_up(
    engine: &dyn Engine,
    outside: &mut Outside,
    from: Revision,
    to: Revision,
) -> Result<bool, ViewError> {
    let unavailable = |why: String| ViewError::Read(ReadError::Unavailable(why));
    let mut changes = match engine.changes(engine.lineage(), from).await {
        Ok(changes) => changes,
        Err(ChangesError::Compacted { .. }) => return Ok(false),
        Err(error) => return Err(unavailable(error.to_string())),
    };
    let mut seen = from;
    while seen < to {
        match changes.next().await {
            Some(Ok(change)) if change.revision > to => break,
            Some(Ok(change)) => {
                seen = change.revision;
                change.ops.iter().for_each(|op| outside.take_up(op));
            }
            Some(Err(ChangesError::Compacted { .. })) => return Ok(false),
            Some(Err(error)) => return Err(unavailable(error.to_string())),
            None => return Err(unavailable("the stream of changes ended".into())),
        }
    }
    Ok(true)
}
