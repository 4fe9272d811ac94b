//! The log's bounds: count, bytes and age.
//!
//! Removing log records is no change of the vault: each region bounds its own log, and the removed numbers
//! are never used again. So it needs no place in the queue.

use valv_engine::{CommitError, GroupId, KeyRange, layout};
use valv_model::{Result, UnixSeconds, VaultId};
use valv_sealing::{LogRecord, SealedOp};

use super::refusal;
use crate::ServiceSettings;
use crate::node::{Node, lease_error};

/// So many commits may come before the log's bounds are looked at.
pub(super) const TRIM_AFTER_COMMITS: u64 = 100;

/// Log records looked at, and removed, at once. Each may have 700 KiB.
const PAGE: usize = 32;

/// How long commits are kept at least that count and bytes let live: a pair that was away shorter than that
/// catches up from the log.
const LOG_AGE_S: i64 = 3600;

/// What the bounds are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kept {
    number: u64,
    time: UnixSeconds,
    /// Bytes of the log before it.
    before: u64,
}

/// How many of the oldest records must go, when the newest one is `newest` and ends at `end` bytes.
fn excess(oldest: &[Kept], newest: u64, end: u64, now: UnixSeconds, settings: &ServiceSettings) -> usize {
    let memory = i64::try_from(settings.request_memory.as_secs()).unwrap_or(i64::MAX);
    let age_max = memory.max(LOG_AGE_S);
    let must_go = |kept: &&Kept| {
        newest.saturating_sub(kept.number) >= settings.log_commits_max
            || end.saturating_sub(kept.before) > settings.log_bytes_max
            || now.0.saturating_sub(kept.time.0) > age_max
    };
    oldest.iter().take_while(must_go).count()
}

/// Removes what the log may no longer keep, and answers whether a record is left.
pub(crate) async fn trim_log(node: &Node, group: &GroupId, id: &VaultId) -> Result<bool> {
    let all = KeyRange::prefix(layout::logs(group, id));
    loop {
        let read = node.read(&[all.clone().limit(PAGE), all.clone().limit(1).reversed()]).await?;
        let [oldest, newest] = &read[..] else { return Ok(true) };
        let Some(newest) = newest.first() else { return Ok(false) };
        let Ok(last) = LogRecord::decode(&newest.value) else { return Ok(true) };
        let end = last.log_bytes + newest.value.len() as u64;
        // A damaged record says nothing of its age; it goes with the ones after it.
        let kept: Vec<Kept> = oldest
            .iter()
            .filter_map(|entry| LogRecord::decode(&entry.value).ok())
            .map(|record| Kept { number: record.number, time: record.time, before: record.log_bytes })
            .collect();
        let go = excess(&kept, last.number, end, node.clock.now(), &node.settings);
        let Some(bound) =
            go.checked_sub(1).and_then(|at| kept.get(at)).map(|kept| layout::log(group, id, kept.number))
        else {
            return Ok(true);
        };
        let gone: Vec<SealedOp> = oldest
            .iter()
            .take_while(|entry| entry.key <= bound)
            .map(|entry| SealedOp::delete(entry.key.clone()))
            .collect();
        let full = gone.len() == PAGE;
        remove(node, group, gone).await?;
        if !full {
            return Ok(bound != newest.key);
        }
    }
}

/// Removes keys whose absence nobody compares: it may be done again, and later than asked.
pub(crate) async fn remove(node: &Node, group: &GroupId, gone: Vec<SealedOp>) -> Result<()> {
    let lease = node.lease(group).await.map_err(|error| lease_error(error, "removal"))?;
    match node.barrier.commit(&lease, Vec::new(), gone).await {
        Ok(_) => Ok(()),
        Err(error) => {
            if error == CommitError::StaleLease {
                node.forget_lease(group);
            }
            Err(refusal(&error, "removal"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use valv_model::{RegionName, TenantId};

    use super::*;

    fn settings(log_commits_max: u64, log_bytes_max: u64) -> ServiceSettings {
        let region = RegionName::parse("eastus").unwrap();
        let tenant = TenantId::parse("00482a5a-887f-4fb3-b363-3b7fe8e74483").unwrap();
        ServiceSettings {
            log_commits_max,
            log_bytes_max,
            request_memory: Duration::from_secs(600),
            ..ServiceSettings::defaults(&region, &tenant)
        }
    }

    fn log(len: u64, bytes: u64) -> Vec<Kept> {
        (0..len).map(|n| Kept { number: n + 1, time: UnixSeconds(n as i64), before: n * bytes }).collect()
    }

    #[test]
    fn the_log_is_bounded_by_count_bytes_and_age() {
        let log = log(10, 100);
        let now = UnixSeconds(10);
        assert_eq!(excess(&log, 10, 1000, now, &settings(100, 10_000)), 0);
        assert_eq!(excess(&log, 10, 1000, now, &settings(4, 10_000)), 6);
        assert_eq!(excess(&log, 10, 1000, now, &settings(100, 250)), 8);
        assert_eq!(excess(&log, 10, 1000, UnixSeconds(LOG_AGE_S + 3), &settings(100, 10_000)), 3);
        assert_eq!(
            excess(&log, 10, 1000, UnixSeconds(-LOG_AGE_S), &settings(100, 10_000)),
            0,
            "a clock set back"
        );
    }

    proptest! {
        #[test]
        fn what_is_left_keeps_the_bounds_and_nothing_else_goes(len in 1..200_u64, bytes in 1..1000_u64, most in 1..100_u64, most_bytes in 1000..50_000_u64) {
            let log = log(len, bytes);
            let go = excess(&log, len, len * bytes, UnixSeconds(0), &settings(most, most_bytes)) as u64;
            prop_assert!(len - go <= most && (len - go) * bytes <= most_bytes.max(bytes));
            if go > 0 {
                let one_more = len - go + 1;
                prop_assert!(one_more > most || one_more * bytes > most_bytes);
            }
        }
    }
}
