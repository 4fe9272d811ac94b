//! A change that waits, and what its client and the runner agree on about it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use tokio::sync::oneshot;
use valv_model::{Error, ErrorCode, Result};

use super::{Change, Committed};
use crate::WriteContext;

/// In which state the vault must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Live.
    Live,
    /// Live or soft-deleted; the change looks itself.
    Any,
}

const WAITS: u8 = 0;
const SENT: u8 = 1;
const LEFT: u8 = 2;

/// Where a change stands. Decides, without a race, whether a client that gives up may be told that nothing happened.
#[derive(Debug, Default)]
pub(crate) struct Progress(AtomicU8);

impl Progress {
    /// The runner is about to send it. False: the client has left.
    fn send(&self) -> bool {
        self.0.compare_exchange(WAITS, SENT, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// What was sent provably did not happen. False: the client has left.
    fn take_back(&self) -> bool {
        self.0.compare_exchange(SENT, WAITS, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// The client leaves. True: the change had been sent.
    pub(crate) fn leave(&self) -> bool {
        self.0.swap(LEFT, Ordering::SeqCst) == SENT
    }

    fn has_left(&self) -> bool {
        self.0.load(Ordering::SeqCst) == LEFT
    }
}

/// A change in the queue.
pub(crate) struct Job {
    pub(crate) change: Arc<Change>,
    pub(crate) context: WriteContext,
    pub(crate) scope: Scope,
    pub(crate) generation: u64,
    pub(crate) progress: Arc<Progress>,
    pub(crate) reply: oneshot::Sender<Result<Committed>>,
}

impl Job {
    /// Gives it back if it can still be done by `now`; answers and drops it otherwise.
    pub(crate) fn in_time(self, now: Instant) -> Option<Self> {
        if self.progress.has_left() {
            return None;
        }
        if self.context.deadline <= now {
            self.answer(Err(not_sent()));
            return None;
        }
        Some(self)
    }

    /// Marks it as sent; from here on its client is not told that nothing happened. None: the client has left.
    pub(crate) fn send(self) -> Option<Self> {
        self.progress.send().then_some(self)
    }

    /// Marks it as waiting again. None: the client has left.
    pub(crate) fn take_back(self) -> Option<Self> {
        self.progress.take_back().then_some(self)
    }

    /// The end of it.
    pub(crate) fn answer(self, result: Result<Committed>) {
        // A client that left does not hear it.
        self.reply.send(result).ok();
    }
}

/// 503 for a change that was never sent.
pub(crate) fn not_sent() -> Error {
    Error::unavailable(
        "The request's deadline passed before its write was sent; nothing was changed. Try again.",
    )
}

/// 504 for a change that was sent.
pub(crate) fn unknown_outcome() -> Error {
    Error::new(
        ErrorCode::UnknownOutcome,
        "The write was sent and not confirmed in time: it happened once or not at all. Repeat the request with the same x-ms-client-request-id to learn which.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_leaves_is_told_nothing_happened_only_before_the_send() {
        let progress = Progress::default();
        assert!(progress.send() && progress.leave(), "sent: unknown");
        assert!(!progress.take_back(), "nobody waits for a second try");

        let progress = Progress::default();
        assert!(!progress.leave(), "not sent");
        assert!(!progress.send(), "and never will be");

        let progress = Progress::default();
        assert!(progress.send() && progress.take_back() && !progress.leave());
    }
}
