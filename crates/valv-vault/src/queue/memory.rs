//! What was answered to recent requests, so that a retry gets the first result.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use valv_engine::planted::{self, Bug};
use valv_model::VersionId;
use valv_sealing::{LogRecord, RequestKey};

use super::Committed;

/// The most requests of one vault that are remembered; the oldest goes first.
pub(super) const REQUESTS_MAX: usize = 65_536;

/// The requests of one vault. Ages are measured on the monotonic clock.
pub(super) struct RequestMemory {
    /// The number of the last commit taken up; None: nothing was read yet.
    pub(super) number: Option<u64>,
    /// Bytes of all log records up to that commit.
    pub(super) log_bytes: u64,
    life: Duration,
    known: HashMap<[u8; 32], (u64, Option<VersionId>)>,
    /// Oldest first.
    order: VecDeque<(Instant, [u8; 32], u64)>,
}

impl RequestMemory {
    pub(super) fn new(life: Duration) -> Self {
        Self { number: None, log_bytes: 0, life, known: HashMap::new(), order: VecDeque::new() }
    }

    /// The first result of this request.
    pub(super) fn find(&self, request: &RequestKey) -> Option<Committed> {
        if planted::active(Bug::RequestKeyIgnored) {
            return None;
        }
        let (number, version) = self.known.get(&request.0)?;
        Some(Committed { version: version.clone(), number: *number, replayed: true })
    }

    /// Takes up a commit that is durable. `bytes`: the size of its log record; `age`: how long ago it was made.
    pub(super) fn remember(&mut self, record: &LogRecord, bytes: usize, age: Duration, now: Instant) {
        self.number = self.number.max(Some(record.number));
        self.log_bytes = record.log_bytes + bytes as u64;
        let Some(request) = record.request else { return };
        let Some(left) = self.life.checked_sub(age) else { return };
        self.known.insert(request.0, (record.number, record.outcome.version.clone()));
        self.order.push_back((now + left, request.0, record.number));
        if self.order.len() > REQUESTS_MAX {
            self.forget_first();
        }
    }

    /// Drops what has been remembered long enough.
    pub(super) fn forget_old(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(until, ..)| *until <= now) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, key, number)) = self.order.pop_front()
            // A request that came again after its time stands twice in the order.
            && self.known.get(&key).is_some_and(|(known, _)| *known == number)
        {
            self.known.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use valv_model::UnixSeconds;
    use valv_sealing::Outcome;

    use super::*;

    fn record(number: u64, key: u8) -> LogRecord {
        LogRecord {
            number,
            time: UnixSeconds(0),
            operation: "SecretSet".into(),
            caller: "valv".into(),
            request: Some(RequestKey([key; 32])),
            outcome: Outcome { version: Some(VersionId::from_bytes([key; 16])) },
            log_bytes: 0,
            ops: Vec::new(),
        }
    }

    #[test]
    fn a_request_is_remembered_for_its_time_and_no_longer() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut memory = RequestMemory::new(10 * second);
        memory.remember(&record(1, 1), 0, 4 * second, start);
        memory.remember(&record(2, 2), 0, Duration::ZERO, start);
        memory.remember(&record(3, 3), 0, 11 * second, start);
        let knows = |memory: &RequestMemory| [1, 2, 3].map(|k| memory.find(&RequestKey([k; 32])).is_some());
        assert_eq!(knows(&memory), [true, true, false]);
        assert_eq!(memory.number, Some(3));
        memory.forget_old(start + 6 * second);
        assert_eq!(knows(&memory), [false, true, false]);
        memory.remember(&record(4, 1), 0, Duration::ZERO, start + 6 * second);
        memory.forget_old(start + 10 * second);
        assert_eq!(knows(&memory), [true, false, false]);
    }

    #[test]
    fn memory_is_bounded() {
        let now = Instant::now();
        let mut memory = RequestMemory::new(Duration::from_secs(600));
        for number in 0..REQUESTS_MAX as u64 + 10 {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&number.to_be_bytes());
            memory.remember(
                &LogRecord { request: Some(RequestKey(key)), ..record(number, 0) },
                0,
                Duration::ZERO,
                now,
            );
        }
        assert_eq!((memory.known.len(), memory.order.len()), (REQUESTS_MAX, REQUESTS_MAX));
        assert!(memory.find(&RequestKey([0; 32])).is_none());
    }
}
