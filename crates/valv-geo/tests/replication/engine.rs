//! An engine in memory that gives every answer a real one may give, as its dice say.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use tokio::sync::Notify;
use valv_engine::{
    Change, ChangeStream, ChangesError, CommitError, Compare, Engine, Entry, Expect, GroupId, GroupMeta,
    KeyRange, LeaseError, Lineage, Op, Read, ReadError, ReplicaLease, Revision, Snapshot, Transaction,
    WriteLease, layout,
};
use valv_model::RegionName;

/// What a store holds.
#[derive(Clone)]
pub(crate) struct Memory {
    pub(crate) lineage: Lineage,
    pub(crate) records: BTreeMap<Bytes, Bytes>,
    revision: u64,
    history: VecDeque<Change>,
    late: Vec<(u32, Compare, Transaction)>,
}

/// How often things go wrong, in percent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) commit: u32,
    pub(crate) read: u32,
    /// The longest pause of a call, in milliseconds.
    pub(crate) pause_ms: u64,
}

/// A store that engines are opened on.
#[derive(Clone)]
pub(crate) struct Disk {
    memory: Arc<Mutex<Memory>>,
    /// Wakes in the order of waiting, which a watch channel does not.
    published: Arc<Notify>,
    pub(crate) dice: Arc<Mutex<fastrand::Rng>>,
    pub(crate) faults: Arc<Mutex<Faults>>,
}

impl Disk {
    pub(crate) fn new(lineage: u128, groups: &[(GroupId, GroupMeta)], seed: u64) -> Self {
        let records = groups.iter().map(|(group, meta)| (layout::group_meta(group), meta.encode())).collect();
        let memory = Memory {
            lineage: Lineage(uuid::Uuid::from_u128(lineage)),
            records,
            revision: 1,
            history: VecDeque::new(),
            late: Vec::new(),
        };
        Self {
            memory: Arc::new(Mutex::new(memory)),
            published: Arc::default(),
            dice: Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))),
            faults: Arc::default(),
        }
    }

    pub(crate) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap()
    }

    pub(crate) fn engine(&self) -> Arc<Model> {
        let lineage = self.memory().lineage;
        Arc::new(Model { lineage, disk: self.clone() })
    }

    /// Takes the place of what is there, as a restored backup does.
    pub(crate) fn restore(&self, backup: Memory) {
        *self.memory() = backup;
        self.memory().history.clear();
        self.memory().late.clear();
        self.publish();
    }

    pub(crate) fn forget_history(&self) {
        self.memory().history.clear();
    }

    /// Changes a record behind everybody's back.
    pub(crate) fn damage(&self, key: &[u8], change: impl FnOnce(&mut Vec<u8>)) {
        let mut memory = self.memory();
        let mut value = memory.records[key].to_vec();
        change(&mut value);
        memory.records.insert(Bytes::copy_from_slice(key), value.into());
    }

    pub(crate) fn keys(&self, prefix: &[u8]) -> Vec<Bytes> {
        self.memory().records.keys().filter(|key| key.starts_with(prefix)).cloned().collect()
    }

    fn chance(&self, percent: u32) -> bool {
        percent > 0 && self.dice.lock().unwrap().u32(0..100) < percent
    }

    async fn pause(&self) {
        let most = self.faults.lock().unwrap().pause_ms;
        if most > 0 {
            let pause = self.dice.lock().unwrap().u64(0..=most);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    fn publish(&self) {
        self.published.notify_waiters();
    }
}

impl Memory {
    fn holds(&self, compare: &Compare) -> bool {
        match (&compare.expect, self.records.get(&compare.key)) {
            (Expect::Absent, None) => true,
            (Expect::Value(value), Some(found)) => value == found,
            _ => false,
        }
    }

    fn apply(&mut self, lease: &Compare, transaction: &Transaction) -> Result<Revision, CommitError> {
        if !self.holds(lease) {
            return Err(CommitError::StaleLease);
        }
        if !transaction.compares.iter().all(|compare| self.holds(compare)) {
            return Err(CommitError::Conflict);
        }
        let mut ops = Vec::new();
        for op in &transaction.ops {
            let changes = match op {
                Op::Put(key, value) => {
                    self.records.insert(key.clone(), value.clone());
                    true
                }
                Op::Delete(key) => self.records.remove(key).is_some(),
            };
            if changes {
                ops.push(op.clone());
            }
        }
        if !ops.is_empty() {
            self.revision += 1;
            self.history.push_back(Change { revision: Revision(self.revision), ops });
        }
        Ok(Revision(self.revision))
    }

    fn tick(&mut self) {
        let mut due = Vec::new();
        self.late.retain_mut(|(left, lease, transaction)| {
            *left -= 1;
            if *left == 0 {
                due.push((lease.clone(), std::mem::take(transaction)));
            }
            *left > 0
        });
        for (lease, transaction) in due {
            self.apply(&lease, &transaction).ok();
        }
    }

    fn range(&self, range: &KeyRange) -> Vec<Entry> {
        if range.start >= range.end {
            return Vec::new();
        }
        let entry = |(key, value): (&Bytes, &Bytes)| Entry { key: key.clone(), value: value.clone() };
        let found = self.records.range(range.start.clone()..range.end.clone());
        if range.reverse {
            found.rev().take(range.limit).map(entry).collect()
        } else {
            found.take(range.limit).map(entry).collect()
        }
    }
}

/// One process's engine on a store.
pub(crate) struct Model {
    lineage: Lineage,
    pub(crate) disk: Disk,
}

impl Model {
    async fn submit(&self, lease: Compare, transaction: Transaction) -> Result<Revision, CommitError> {
        transaction.check()?;
        self.disk.pause().await;
        let faulty = self.disk.faults.lock().unwrap().commit;
        let fault = if self.disk.chance(faulty) { self.disk.dice.lock().unwrap().u32(0..4) } else { 9 };
        let outcome = {
            let mut memory = self.disk.memory();
            memory.tick();
            match fault {
                0 => Err(CommitError::UnknownOutcome("dropped".into())),
                1 => {
                    let calls = self.disk.dice.lock().unwrap().u32(1..6);
                    memory.late.push((calls, lease, transaction));
                    Err(CommitError::UnknownOutcome("late".into()))
                }
                2 => Err(CommitError::Unavailable("busy".into())),
                3 => match memory.apply(&lease, &transaction) {
                    Ok(_) => Err(CommitError::UnknownOutcome("lost".into())),
                    refused => refused,
                },
                _ => memory.apply(&lease, &transaction),
            }
        };
        self.disk.publish();
        self.disk.pause().await;
        outcome
    }

    async fn readable(&self) -> Result<(), ReadError> {
        self.disk.pause().await;
        let faulty = self.disk.faults.lock().unwrap().read;
        if self.disk.chance(faulty) { Err(ReadError::Unavailable("the dice say so".into())) } else { Ok(()) }
    }

    fn meta(&self, group: &GroupId) -> Option<Bytes> {
        self.disk.memory().records.get(&layout::group_meta(group)).cloned()
    }
}

#[async_trait]
impl Engine for Model {
    fn lineage(&self) -> Lineage {
        self.lineage
    }

    async fn lease(&self, group: &GroupId, region: &RegionName) -> Result<WriteLease, LeaseError> {
        WriteLease::grant(group, region, self.meta(group).as_ref())
    }

    async fn read(&self, ranges: &[KeyRange]) -> Result<Read, ReadError> {
        self.readable().await?;
        let read = {
            let mut memory = self.disk.memory();
            memory.tick();
            let ranges = ranges.iter().map(|range| memory.range(range)).collect();
            Read { ranges, revision: Revision(memory.revision) }
        };
        self.disk.publish();
        Ok(read)
    }

    async fn commit(&self, lease: &WriteLease, transaction: Transaction) -> Result<Revision, CommitError> {
        self.submit(lease.compare(), transaction).await
    }

    async fn replica_lease(&self, group: &GroupId, region: &RegionName) -> Result<ReplicaLease, LeaseError> {
        ReplicaLease::grant(group, region, self.meta(group).as_ref())
    }

    async fn apply(&self, lease: &ReplicaLease, transaction: Transaction) -> Result<Revision, CommitError> {
        lease.check(&transaction)?;
        self.submit(lease.compare(), transaction).await
    }

    async fn changes(&self, lineage: Lineage, from: Revision) -> Result<ChangeStream, ChangesError> {
        if lineage != self.lineage {
            return Err(ChangesError::LineageChanged { now: self.lineage });
        }
        let place = Some((self.disk.clone(), from.0));
        Ok(stream::unfold(place, |place| async {
            let (disk, mut at) = place?;
            loop {
                let published = Arc::clone(&disk.published);
                let mut news = std::pin::pin!(published.notified());
                news.as_mut().enable();
                {
                    let memory = disk.memory();
                    let base = memory.history.front().map_or(memory.revision, |first| first.revision.0 - 1);
                    if at < base || at > memory.revision {
                        return Some((Err(ChangesError::Compacted { oldest: Revision(base) }), None));
                    }
                    let skip = usize::try_from(at - base).unwrap();
                    if let Some(change) = memory.history.get(skip) {
                        let change = change.clone();
                        drop(memory);
                        at = change.revision.0;
                        return Some((Ok(change), Some((disk, at))));
                    }
                }
                news.await;
            }
        })
        .boxed())
    }

    async fn snapshot(&self, prefix: Bytes) -> Result<Snapshot, ReadError> {
        self.readable().await?;
        let (entries, revision) = {
            let mut memory = self.disk.memory();
            memory.tick();
            (memory.range(&KeyRange::prefix(prefix)), Revision(memory.revision))
        };
        self.disk.publish();
        let disk = self.disk.clone();
        let entries = stream::iter(entries.into_iter().enumerate()).then(move |(n, entry)| {
            let disk = disk.clone();
            async move {
                if n % 16 == 15 {
                    disk.pause().await;
                }
                Ok(entry)
            }
        });
        Ok(Snapshot { lineage: self.lineage, revision, entries: entries.boxed() })
    }
}
