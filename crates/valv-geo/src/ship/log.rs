//! A vault's commits after a head.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use valv_engine::{Engine, GroupId, KeyRange, layout};
use valv_model::VaultId;
use valv_sealing::{Chain, Head};

use crate::source::{LogAnswer, LogPage, PAGE_BYTES};
use crate::view::ViewError;

/// Log records read at once while nothing is known of their size. Each may have 700 KiB.
const FIRST_READ: usize = 16;

/// Log records read at once at most.
const READ_MAX: usize = 1024;

/// Places of histories that are known to lead to the heads: where the last pages ended. Within one lineage
/// what was true of them stays true.
#[derive(Default)]
pub(super) struct Trusted(Mutex<BTreeMap<(GroupId, VaultId), Head>>);

/// The most vaults of which a place is known.
const TRUSTED_MAX: usize = 10_000;

impl Trusted {
    fn is(&self, group: &GroupId, vault: &VaultId, head: Head) -> bool {
        let places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.get(&(group.clone(), vault.clone())) == Some(&head)
    }

    fn remember(&self, group: &GroupId, vault: &VaultId, head: Head) {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if places.len() >= TRUSTED_MAX {
            places.clear();
        }
        places.insert((group.clone(), vault.clone()), head);
    }
}

/// See [`crate::source::Source::log`].
pub(super) async fn log(
    engine: &dyn Engine,
    trusted: &Trusted,
    group: &GroupId,
    vault: &VaultId,
    after: Head,
) -> Result<LogAnswer, ViewError> {
    let damaged = |why: String| ViewError::Damaged(format!("vault {vault}: {why}"));
    let first = KeyRange {
        start: layout::log(group, vault, after.number.saturating_add(1)),
        end: layout::log(group, vault, u64::MAX),
        limit: FIRST_READ,
        reverse: false,
    };
    let read = engine.read(&[KeyRange::key(layout::head(group, vault)), first]).await?;
    let [head, first] = &read.ranges[..] else { return Err(damaged("a read lacks ranges".into())) };
    let head = match head.first() {
        Some(entry) => Head::decode(&entry.value).map_err(|e| damaged(e.to_string()))?,
        None => Head::START,
    };
    if head.number < after.number {
        return Ok(LogAnswer::Behind { head });
    }
    if head.number == after.number {
        return Ok(if head == after {
            LogAnswer::Page(LogPage { records: Vec::new(), end: after, head })
        } else {
            LogAnswer::Diverged { head }
        });
    }
    let mut walk =
        Walk { engine, group, vault, to: head.number, at: after, unread: Vec::new(), bytes: 0, count: 0 };
    if let Some(gone) = walk.take_up(first.iter().map(|entry| (entry.key.clone(), entry.value.clone()))) {
        return Ok(gone);
    }
    let mut records: Vec<Bytes> = Vec::new();
    let mut bytes = 0;
    while let Some(record) = match walk.next().await? {
        Step::Record(record) => Some(record),
        Step::Gone(oldest) => return Ok(LogAnswer::Gone { oldest }),
        Step::End => None,
    } {
        bytes += record.len();
        if bytes > PAGE_BYTES && !records.is_empty() {
            walk.put_back(record);
            break;
        }
        walk.pass(&record);
        records.push(record);
    }
    let end = walk.at;
    // The chain has one way only: whether the place asked about lies on it shows at the head.
    if !trusted.is(group, vault, after) {
        loop {
            match walk.next().await? {
                Step::Record(record) => walk.pass(&record),
                Step::Gone(oldest) => return Ok(LogAnswer::Gone { oldest }),
                Step::End => break,
            }
        }
        if walk.at != head {
            return Ok(LogAnswer::Diverged { head });
        }
    } else if end.number == head.number && end != head {
        return Ok(LogAnswer::Diverged { head });
    }
    trusted.remember(group, vault, end);
    Ok(LogAnswer::Page(LogPage { records, end, head }))
}

/// The way from one place of a vault's log to its head.
struct Walk<'a> {
    engine: &'a dyn Engine,
    group: &'a GroupId,
    vault: &'a VaultId,
    to: u64,
    at: Head,
    /// Read and not passed, the next one last.
    unread: Vec<Bytes>,
    bytes: usize,
    count: usize,
}

enum Step {
    Record(Bytes),
    Gone(Option<u64>),
    End,
}

impl Walk<'_> {
    /// Takes up what was read, as far as it is what follows without a gap.
    fn take_up(&mut self, entries: impl Iterator<Item = (Bytes, Bytes)>) -> Option<LogAnswer> {
        let mut oldest = None;
        let mut number = self.at.number;
        for (key, record) in entries {
            number += 1;
            if number > self.to {
                break;
            }
            if key != layout::log(self.group, self.vault, number) {
                oldest = std::str::from_utf8(key.get(key.len().saturating_sub(16)..).unwrap_or_default())
                    .ok()
                    .and_then(|digits| u64::from_str_radix(digits, 16).ok());
                break;
            }
            self.bytes += record.len();
            self.count += 1;
            self.unread.push(record);
        }
        self.unread.reverse();
        self.unread.is_empty().then_some(LogAnswer::Gone { oldest })
    }

    async fn next(&mut self) -> Result<Step, ViewError> {
        if let Some(record) = self.unread.pop() {
            return Ok(Step::Record(record));
        }
        if self.at.number == self.to {
            return Ok(Step::End);
        }
        let average = self.bytes / self.count.max(1) + 1;
        let range = KeyRange {
            start: layout::log(self.group, self.vault, self.at.number + 1),
            end: layout::log(self.group, self.vault, self.to.saturating_add(1)),
            limit: (PAGE_BYTES / average).clamp(1, READ_MAX),
            reverse: false,
        };
        let page = self.engine.read(&[range]).await?.ranges.into_iter().next().unwrap_or_default();
        match self.take_up(page.into_iter().map(|entry| (entry.key, entry.value))) {
            Some(LogAnswer::Gone { oldest }) => Ok(Step::Gone(oldest)),
            _ => Ok(self.unread.pop().map_or(Step::Gone(None), Step::Record)),
        }
    }

    fn put_back(&mut self, record: Bytes) {
        self.unread.push(record);
    }

    fn pass(&mut self, record: &Bytes) {
        let chain: Chain = self.at.chain.next(record);
        self.at = Head { number: self.at.number + 1, chain };
    }
}
