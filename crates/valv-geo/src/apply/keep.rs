//! What a replica does by itself: it bounds its own log and removes what purged vaults leave behind. It is no
//! change of any vault, and no commit of home's says it.

use valv_engine::{KeyRange, LeaseError, Op, ReplicaLease, Transaction, layout};
use valv_model::{UnixSeconds, VaultId};
use valv_sealing::{Head, LogRecord, VaultEnvelope};

use super::Replica;
use super::local::{Fail, is, remove_range, settle};
use crate::source::SourceError;
use crate::view;

/// Heads read at once.
const HEADS_PAGE: usize = 500;

/// Vault records looked at at once. Each may have 320 KiB.
const NAMES_PAGE: usize = 32;

/// Log records looked at at once. Each may have 700 KiB.
const LOG_PAGE: usize = 32;

/// The bounds of a vault's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogBounds {
    /// Commits.
    pub commits_max: u64,
    /// Bytes of log records.
    pub bytes_max: u64,
    /// Seconds since a commit was made.
    pub age_max_s: i64,
}

impl LogBounds {
    /// Whether a commit must go, when the newest one is `newest` and the log ends at `end` bytes.
    fn exceeds(&self, record: &LogRecord, newest: u64, end: u64, now: UnixSeconds) -> bool {
        newest.saturating_sub(record.number) >= self.commits_max
            || end.saturating_sub(record.log_bytes) > self.bytes_max
            || now.0.saturating_sub(record.time.0) > self.age_max_s
    }
}

impl Replica {
    /// One round over all vaults of the replica: trims their logs and removes what purged ones leave behind.
    /// The lifecycle calls it once a minute. What cannot be done now is left to the next round.
    pub async fn keep(&self, bounds: LogBounds, now: UnixSeconds) -> Result<(), SourceError> {
        let lease = match self.engine.replica_lease(&self.group, &self.region).await {
            Ok(lease) => lease,
            Err(LeaseError::Read(error)) => return Err(error.into()),
            Err(error) => return Err(SourceError::Refused(error.to_string())),
        };
        self.remove_strays(&lease).await.map_err(|fail| SourceError::Unreachable(format!("{fail:?}")))?;
        let prefix = layout::heads(&self.group);
        let mut range = KeyRange::prefix(prefix.clone()).limit(HEADS_PAGE);
        loop {
            let page = self.engine.read(std::slice::from_ref(&range)).await?.ranges;
            let page = page.into_iter().next().unwrap_or_default();
            for entry in &page {
                let Some(vault) = view::id_at(&entry.key, prefix.len()) else { continue };
                let Ok(head) = Head::decode(&entry.value) else { continue };
                let kept = match self.sweep(&lease, &vault, head).await {
                    Ok(()) => self.trim(&lease, &vault, bounds, now).await,
                    Err(fail) => Err(fail),
                };
                if let Err(fail) = kept {
                    tracing::warn!(group = %self.group, %vault, ?fail, "a step of keeping the replica failed; the next round tries again");
                }
            }
            let Some(last) = page.last().filter(|_| page.len() == HEADS_PAGE) else { return Ok(()) };
            range = range.after(&last.key);
        }
    }

    /// Removes vault records that name a vault which is not here. A vault's record comes and goes with its head,
    /// so such a one is damaged; if its vault is still there, a comparison brings the record back.
    async fn remove_strays(&self, lease: &ReplicaLease) -> Result<(), Fail> {
        for prefix in [layout::vaults(&self.group), layout::deleted_vaults(&self.group)] {
            let mut range = KeyRange::prefix(prefix).limit(NAMES_PAGE);
            loop {
                let read = self.engine.read(std::slice::from_ref(&range)).await?;
                let page = read.ranges.into_iter().next().unwrap_or_default();
                for entry in &page {
                    let Ok(envelope) = VaultEnvelope::decode(&entry.value) else { continue };
                    let head = layout::head(&self.group, &envelope.id);
                    if view::value(&*self.engine, head.clone()).await?.is_some() {
                        continue;
                    }
                    tracing::error!(group = %self.group, vault = %envelope.id, "a damaged vault record is removed");
                    let compares = vec![is(entry.key.clone(), Some(entry.value.clone())), is(head, None)];
                    let ops = vec![Op::Delete(entry.key.clone())];
                    settle(&*self.engine, lease, Transaction { compares, ops }, None).await?;
                }
                let Some(last) = page.last().filter(|_| page.len() == NAMES_PAGE) else { break };
                range = range.after(&last.key);
            }
        }
        Ok(())
    }

    /// Removes a purged vault's records, its log but for the last record, and at the end the mark that says so.
    async fn sweep(&self, lease: &ReplicaLease, vault: &VaultId, head: Head) -> Result<(), Fail> {
        let mark = layout::purge_mark(&self.group, vault);
        if view::value(&*self.engine, mark.clone()).await?.is_none() {
            return Ok(());
        }
        let all = KeyRange::prefix(layout::all_data(&self.group, vault));
        let log = |number| layout::log(&self.group, vault, number);
        let after = all.clone().after(&mark);
        remove_range(&*self.engine, lease, after.start, after.end).await?;
        remove_range(&*self.engine, lease, log(0), log(head.number)).await?;
        let local = KeyRange::key(layout::local(&self.group, vault));
        remove_range(&*self.engine, lease, local.start, local.end).await?;
        let mark = KeyRange::key(mark);
        remove_range(&*self.engine, lease, mark.start, mark.end).await
    }

    /// Removes the oldest log records that are beyond the bounds.
    async fn trim(
        &self,
        lease: &ReplicaLease,
        vault: &VaultId,
        bounds: LogBounds,
        now: UnixSeconds,
    ) -> Result<(), Fail> {
        let all = KeyRange::prefix(layout::logs(&self.group, vault));
        let mut limit = 1;
        loop {
            let read = self.engine.read(&[all.clone().limit(limit), all.clone().limit(1).reversed()]).await?;
            let [oldest, newest] = &read.ranges[..] else { return Ok(()) };
            let Some(newest) = newest.first() else { return Ok(()) };
            let Ok(last) = LogRecord::decode(&newest.value) else { return Ok(()) };
            let end = last.log_bytes + newest.value.len() as u64;
            let goes = |record: &LogRecord| bounds.exceeds(record, last.number, end, now);
            let go = oldest.iter().take_while(|entry| {
                // A damaged record says nothing of its age; it goes with those after it.
                LogRecord::decode(&entry.value).is_ok_and(|record| goes(&record))
            });
            let Some(bound) = go.last() else { return Ok(()) };
            let end = KeyRange::key(bound.key.clone()).end;
            remove_range(&*self.engine, lease, all.start.clone(), end).await?;
            limit = LOG_PAGE;
        }
    }
}
