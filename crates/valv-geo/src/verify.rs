//! Is a replica a prefix of its home? A checker for tests, over any two stores.
//!
//! A replica's vault at commit *n* must hold what home's first *n* commits made, and nothing else (R4). Home's
//! log is bounded, so a [`History`] collects it while the test runs; a vault of which commits are missing is
//! compared with home's own data if both stand at one commit, and reported as not decided otherwise.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::TryStreamExt;
use valv_engine::{Engine, GroupId, Op, ReadError, layout};
use valv_model::VaultId;
use valv_sealing::{Head, LogRecord, VaultEnvelope};

use crate::bucket::{VAULT_PLACE, vault_value};
use crate::source::VaultRecord;
use crate::view;

/// All commits that a home was seen to have made in one group.
#[derive(Clone, Debug)]
pub struct History {
    group: GroupId,
    commits: BTreeMap<VaultId, BTreeMap<u64, Bytes>>,
}

/// What a check has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Vaults whose content was compared.
    pub vaults: usize,
    /// Records of those.
    pub records: usize,
    /// Commits that the replica lacks.
    pub behind: u64,
    /// Vaults of which too little of the history is known.
    pub undecided: usize,
    /// Records of generations that are not switched on: to be removed, or a copy under way.
    pub leftover: usize,
    /// What breaks the rule.
    pub violations: Vec<String>,
}

/// One vault in a store.
#[derive(Default)]
struct Stored {
    head: Option<Head>,
    record: Option<(VaultRecord, VaultEnvelope)>,
    /// By generation and path.
    data: BTreeMap<(u64, String), Bytes>,
}

impl Stored {
    /// What the vault holds by place, the vault's own record included.
    fn content(&self) -> BTreeMap<String, Bytes> {
        let Some((record, envelope)) = &self.record else { return BTreeMap::new() };
        let mut content: BTreeMap<String, Bytes> = self
            .data
            .iter()
            .filter(|((generation, _), _)| *generation == envelope.generation)
            .map(|((_, path), value)| (path.clone(), value.clone()))
            .collect();
        content.insert(VAULT_PLACE.into(), vault_value(record));
        content
    }

    fn leftover(&self) -> usize {
        let current = self.record.as_ref().map(|(_, envelope)| envelope.generation);
        self.data
            .keys()
            .filter(|(generation, _)| *generation != 0 && current.is_some_and(|c| c != *generation))
            .count()
    }
}

impl History {
    /// Of no commits.
    #[must_use]
    pub fn new(group: GroupId) -> Self {
        Self { group, commits: BTreeMap::new() }
    }

    /// Adds what home's log holds now.
    pub async fn observe(&mut self, home: &dyn Engine) -> Result<(), ReadError> {
        let prefix = Bytes::from(format!("g/{}/log/", self.group));
        let mut entries = home.snapshot(prefix.clone()).await?.entries;
        while let Some(entry) = entries.try_next().await? {
            let Some(vault) = view::id_at(&entry.key, prefix.len()) else { continue };
            if let Ok(record) = LogRecord::decode(&entry.value) {
                self.commits.entry(vault).or_default().insert(record.number, entry.value);
            }
        }
        Ok(())
    }

    /// Checks every vault of the replica. `home` helps where the history is not whole.
    pub async fn check(&self, replica: &dyn Engine, home: Option<&dyn Engine>) -> Result<Report, ReadError> {
        let here = stored(replica, &self.group).await?;
        let there = match home {
            Some(home) => stored(home, &self.group).await?,
            None => BTreeMap::new(),
        };
        let mut report = Report::default();
        for (vault, here) in &here {
            self.check_vault(vault, here, there.get(vault), &mut report);
        }
        for (vault, there) in &there {
            let number =
                |stored: Option<&Stored>| stored.and_then(|stored| stored.head).map_or(0, |head| head.number);
            report.behind += number(Some(there)).saturating_sub(number(here.get(vault)));
        }
        Ok(report)
    }

    fn check_vault(&self, vault: &VaultId, here: &Stored, there: Option<&Stored>, report: &mut Report) {
        report.leftover += here.leftover();
        let Some(head) = here.head else {
            if here.record.is_some() {
                report.violations.push(format!("vault {vault} has a record and no head"));
            }
            return;
        };
        let expected = match self.replay(vault, head) {
            Replayed::Content(content) => content,
            Replayed::Broken(why) => return report.violations.push(format!("vault {vault}: {why}")),
            Replayed::Unknown => match there.filter(|there| there.head == Some(head)) {
                Some(there) => there.content(),
                None => {
                    report.undecided += 1;
                    return;
                }
            },
        };
        let content = here.content();
        report.vaults += 1;
        report.records += content.len();
        for (place, value) in &expected {
            match content.get(place) {
                Some(found) if found == value => {}
                Some(_) => {
                    report.violations.push(format!("vault {vault} at {}: {place} differs", head.number))
                }
                None => {
                    report.violations.push(format!("vault {vault} at {}: {place} is missing", head.number))
                }
            }
        }
        for place in content.keys().filter(|place| !expected.contains_key(*place)) {
            report.violations.push(format!("vault {vault} at {}: {place} should not be there", head.number));
        }
    }

    /// What the first commits, up to a head, made of a vault.
    fn replay(&self, vault: &VaultId, head: Head) -> Replayed {
        let Some(commits) = self.commits.get(vault) else { return Replayed::Unknown };
        let mut at = Head::START;
        let mut content = BTreeMap::new();
        while at.number < head.number {
            let Some(encoded) = commits.get(&(at.number + 1)) else { return Replayed::Unknown };
            at = Head { number: at.number + 1, chain: at.chain.next(encoded) };
            let Ok(record) = LogRecord::decode(encoded) else { return Replayed::Unknown };
            for op in &record.ops {
                self.replay_op(vault, op, &mut content);
            }
        }
        if at.chain != head.chain {
            return Replayed::Broken(format!("its chain at {} is not home's", head.number));
        }
        // Once the vault's record is gone, so may be everything else.
        if content.contains_key(VAULT_PLACE) {
            Replayed::Content(content)
        } else {
            Replayed::Content(BTreeMap::new())
        }
    }

    fn replay_op(&self, vault: &VaultId, op: &Op, content: &mut BTreeMap<String, Bytes>) {
        let key = op.key();
        let deleted = key.starts_with(&layout::deleted_vaults(&self.group));
        if deleted || key.starts_with(&layout::vaults(&self.group)) {
            let value = |envelope: &Bytes| vault_value(&VaultRecord { deleted, envelope: envelope.clone() });
            match op {
                Op::Put(_, envelope) => drop(content.insert(VAULT_PLACE.into(), value(envelope))),
                // The record has moved to the other place already, unless this is where it was.
                Op::Delete(_) => {
                    let was = content.get(VAULT_PLACE).and_then(|value| value.first().copied());
                    if was == Some(u8::from(deleted)) {
                        content.remove(VAULT_PLACE);
                    }
                }
            }
            return;
        }
        let Some(generation) =
            view::generation_of(key, &self.group, vault).filter(|generation| *generation > 0)
        else {
            return;
        };
        let prefix = layout::data(&self.group, vault, generation);
        let Some(path) = key.strip_prefix(&*prefix) else { return };
        let path = String::from_utf8_lossy(path).into_owned();
        match op {
            Op::Put(_, value) => drop(content.insert(path, value.clone())),
            Op::Delete(_) => drop(content.remove(&path)),
        }
    }
}

enum Replayed {
    Content(BTreeMap<String, Bytes>),
    Broken(String),
    Unknown,
}

/// Everything of a group, at one revision.
async fn stored(engine: &dyn Engine, group: &GroupId) -> Result<BTreeMap<VaultId, Stored>, ReadError> {
    let mut vaults: BTreeMap<VaultId, Stored> = BTreeMap::new();
    let mut entries = engine.snapshot(layout::group(group)).await?.entries;
    let (heads, data) = (layout::heads(group), Bytes::from(format!("g/{group}/data/")));
    let (live, deleted) = (layout::vaults(group), layout::deleted_vaults(group));
    while let Some(entry) = entries.try_next().await? {
        let key = &entry.key;
        if key.starts_with(&heads) {
            let Some(vault) = view::id_at(key, heads.len()) else { continue };
            vaults.entry(vault).or_default().head = Head::decode(&entry.value).ok();
        } else if key.starts_with(&live) || key.starts_with(&deleted) {
            let Ok(envelope) = VaultEnvelope::decode(&entry.value) else { continue };
            let record = VaultRecord { deleted: key.starts_with(&deleted), envelope: entry.value.clone() };
            let vault = vaults.entry(envelope.id.clone()).or_default();
            vault.record = Some((record, envelope));
        } else if key.starts_with(&data) {
            let Some(vault) = view::id_at(key, data.len()) else { continue };
            let Some(generation) = view::generation_of(key, group, &vault) else { continue };
            let path = &key[layout::data(group, &vault, generation).len()..];
            let path = String::from_utf8_lossy(path).into_owned();
            vaults.entry(vault).or_default().data.insert((generation, path), entry.value.clone());
        }
    }
    Ok(vaults)
}
