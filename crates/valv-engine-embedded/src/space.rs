//! Which commits a store that runs out of room still takes. Pure decisions.

use crate::Settings;

/// What is known about room before a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Space {
    /// Free bytes of the file system, where known.
    pub(crate) free: Option<u64>,
    /// Bytes that the last growth lacked; 0 if it did not.
    pub(crate) lacking: u64,
    /// Bytes of the file. redb doubles it when it has no free page left.
    pub(crate) len: u64,
}

/// The reserve follows the file's next growth up to here; beyond, a nearly full disk would stay half unused.
const GROWTH_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How a transaction changes the store, its log records and heads left out: without those no commit could
/// be made at all, and the log is bounded elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Growth {
    /// Records added less records removed.
    pub(crate) records: i64,
    /// Bytes added less bytes removed.
    pub(crate) bytes: i64,
}

/// A replaced record may grow by this much (dates, a deletion state, tags) without counting as creation.
const SLACK_BYTES: i64 = 8 * 1024;

impl Growth {
    /// Adds the change of one key from `before` bytes to `after` bytes, key included.
    pub(crate) fn count(&mut self, key: &[u8], before: Option<usize>, after: Option<usize>) {
        if is_bookkeeping(key) {
            return;
        }
        let signed = |bytes: Option<usize>| i64::try_from(bytes.unwrap_or(0)).unwrap_or(i64::MAX);
        self.records += i64::from(after.is_some()) - i64::from(before.is_some());
        self.bytes += signed(after) - signed(before);
    }

    fn creates(self) -> bool {
        self.records > 0 || self.bytes > SLACK_BYTES
    }
}

/// `g/{group}/log/...` and `g/{group}/heads/...`.
fn is_bookkeeping(key: &[u8]) -> bool {
    let mut parts = key.split(|b| *b == b'/').skip(2);
    key.starts_with(b"g/") && matches!(parts.next(), Some(b"log" | b"heads")) && parts.next().is_some()
}

/// Says why a transaction that grows the store so is refused, if it is.
pub(crate) fn refusal(settings: &Settings, space: Space, stored: u64, growth: Growth) -> Option<String> {
    if !growth.creates() {
        return None;
    }
    if settings.quota_bytes > 0 && stored >= settings.quota_bytes / 5 * 4 {
        return Some(format!(
            "the store holds {stored} bytes, more than 80 % of its quota of {} bytes; delete or purge something, or raise the quota",
            settings.quota_bytes
        ));
    }
    // Creations stop while the file can still grow once: the pages that are free in it are for deletes.
    let growth = space.len.min(GROWTH_BYTES_MAX);
    let reserve = if settings.reserve_bytes == 0 { 0 } else { settings.reserve_bytes.max(growth) };
    let needed = reserve.max(space.lacking);
    match space.free {
        Some(free) if free < needed => Some(format!(
            "the file system has {free} bytes free and the store needs {needed}; make room on it"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"g/eastus/data/v/00000000/secrets/A";

    fn growth(changes: &[(&[u8], Option<usize>, Option<usize>)]) -> Growth {
        let mut growth = Growth::default();
        for (key, before, after) in changes {
            growth.count(key, *before, *after);
        }
        growth
    }

    #[test]
    fn f12_from_eighty_percent_creations_are_refused_and_all_else_goes_on() {
        let settings = Settings { quota_bytes: 1000, ..Settings::default() };
        let space = Space { free: None, lacking: 0, len: 0 };
        let log: &[u8] = b"g/eastus/log/v/0000000000000001";
        let cases = [
            ("creation", growth(&[(KEY, None, Some(100)), (log, None, Some(50))]), true),
            ("much larger value", growth(&[(KEY, Some(10), Some(20_000))]), true),
            ("soft delete", growth(&[(KEY, Some(100), Some(150)), (log, None, Some(500))]), false),
            ("moved", growth(&[(KEY, Some(100), None), (b"g/eastus/data/x", None, Some(120))]), false),
            ("purge", growth(&[(KEY, Some(100), None), (log, None, Some(500))]), false),
        ];
        for (what, growth, refused) in cases {
            assert_eq!(refusal(&settings, space, 800, growth).is_some(), refused, "{what}");
            assert_eq!(refusal(&settings, space, 799, growth), None, "{what}");
        }
    }

    #[test]
    fn f13_creations_leave_a_reserve_on_the_disk() {
        let settings = Settings { reserve_bytes: 100, ..Settings::default() };
        let create = growth(&[(KEY, None, Some(10))]);
        let at = |free, lacking, len| {
            refusal(&settings, Space { free: Some(free), lacking, len }, 0, create).is_some()
        };
        assert!(at(99, 0, 0) && !at(100, 0, 0));
        assert!(at(4095, 4096, 0) && !at(4096, 4096, 0));
        assert!(at(999, 0, 1000) && !at(1000, 0, 1000));
        assert!(!at(GROWTH_BYTES_MAX, 0, u64::MAX));
    }
}
