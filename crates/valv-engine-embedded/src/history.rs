//! The last commits, in memory, for change streams. A reader keeps only its place: one that is too slow
//! finds its place gone and is told so, and nothing piles up for it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use futures::stream;
use tokio::sync::watch;
use valv_engine::{Change, ChangeStream, ChangesError, Op, Revision};

/// How many commits a reader takes at once.
const CHUNK: usize = 64;

pub(crate) struct History {
    kept: Mutex<Kept>,
    count_max: usize,
    bytes_max: usize,
    /// The last revision that was published; dropped when the engine is.
    head: watch::Sender<Revision>,
}

struct Kept {
    /// Consecutive revisions; the first is the one after `base`.
    changes: VecDeque<Arc<Change>>,
    bytes: usize,
    /// A stream can begin here or later.
    base: Revision,
}

impl History {
    /// An empty history: streams can begin at `now`.
    pub(crate) fn new(now: Revision, count_max: usize, bytes_max: usize) -> Self {
        let kept = Kept { changes: VecDeque::new(), bytes: 0, base: now };
        Self { kept: Mutex::new(kept), count_max, bytes_max, head: watch::Sender::new(now) }
    }

    pub(crate) fn head(&self) -> Revision {
        *self.head.borrow()
    }

    /// Appends commits that are durable, and drops the oldest beyond the bounds.
    pub(crate) fn publish(&self, changes: Vec<Change>) {
        let Some(head) = changes.last().map(|change| change.revision) else { return };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            kept.bytes += size(&change);
            kept.changes.push_back(Arc::new(change));
        }
        while kept.changes.len() > self.count_max || kept.bytes > self.bytes_max {
            let Some(dropped) = kept.changes.pop_front() else { break };
            kept.bytes -= size(&dropped);
            kept.base = dropped.revision;
        }
        drop(kept);
        self.head.send_replace(head);
    }

    /// Forgets everything up to `now`: commits may have happened that were never published.
    pub(crate) fn restart(&self, now: Revision) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Kept { changes: VecDeque::new(), bytes: 0, base: now };
        drop(kept);
        self.head.send_replace(now);
    }

    /// Forgets all commits that were published.
    pub(crate) fn forget(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let base = kept.changes.back().map_or(kept.base, |change| change.revision);
        *kept = Kept { changes: VecDeque::new(), bytes: 0, base };
    }

    /// The commits after `from`; none if it has the newest.
    fn after(&self, from: Revision) -> Result<Vec<Arc<Change>>, ChangesError> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if from < kept.base {
            return Err(ChangesError::Compacted { oldest: kept.base });
        }
        let skip = usize::try_from(from.0 - kept.base.0).unwrap_or(usize::MAX);
        Ok(kept.changes.iter().skip(skip).take(CHUNK).cloned().collect())
    }

    /// A stream of everything after `from`, which the store has reached.
    pub(crate) fn stream(self: &Arc<Self>, from: Revision) -> Result<ChangeStream, ChangesError> {
        self.after(from)?;
        // Holds no strong reference: an engine that is dropped ends its streams.
        let place = Place { history: Arc::downgrade(self), head: self.head.subscribe(), from };
        let chunks = stream::unfold(Some(place), |place| async {
            let mut place = place?;
            Some(match place.next().await {
                Ok(changes) => (changes.into_iter().map(Ok).collect(), Some(place)),
                Err(error) => (vec![Err(error)], None),
            })
        });
        Ok(chunks.flat_map(stream::iter).boxed())
    }
}

struct Place {
    history: std::sync::Weak<History>,
    head: watch::Receiver<Revision>,
    from: Revision,
}

impl Place {
    /// Waits for at least one commit after this place, and moves behind what it returns.
    async fn next(&mut self) -> Result<Vec<Change>, ChangesError> {
        let closed = || ChangesError::Unavailable("the engine was closed".into());
        let from = self.from;
        self.head.wait_for(|head| *head > from).await.map_err(|_| closed())?;
        let changes = self.history.upgrade().ok_or_else(closed)?.after(from)?;
        self.from = changes.last().map_or(from, |change| change.revision);
        Ok(changes.iter().map(|change| Change::clone(change)).collect())
    }
}

fn size(change: &Change) -> usize {
    change.ops.iter().map(Op::size).sum()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn change(revision: u64) -> Change {
        let op = Op::Put(Bytes::from_static(b"key"), Bytes::from(vec![0; 97]));
        Change { revision: Revision(revision), ops: vec![op] }
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_and_the_history_stays_within_its_bounds() {
        for (count_max, bytes_max) in [(10, usize::MAX), (usize::MAX, 1000)] {
            let history = Arc::new(History::new(Revision(0), count_max, bytes_max));
            let mut slow = history.stream(Revision(0)).unwrap();
            for revision in 1..=25 {
                history.publish(vec![change(revision)]);
            }
            assert_eq!(history.kept.lock().unwrap().changes.len(), 10);
            let oldest = Revision(15);
            assert_eq!(slow.next().await, Some(Err(ChangesError::Compacted { oldest })));
            assert_eq!(slow.next().await, None);
            let rest: Vec<_> = history.stream(oldest).unwrap().take(10).collect().await;
            assert_eq!(rest, (16..=25).map(|revision| Ok(change(revision))).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn streams_end_with_the_engine() {
        let history = Arc::new(History::new(Revision(0), 10, 1000));
        let mut stream = history.stream(Revision(0)).unwrap();
        drop(history);
        assert!(matches!(stream.next().await, Some(Err(ChangesError::Unavailable(_)))));
    }
}
