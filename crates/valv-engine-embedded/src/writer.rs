//! The one thread that writes. It takes everything that waits, makes it one write of the file, and answers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use redb::Error;
use tokio::sync::oneshot;
use valv_engine::{CommitError, Revision};

use crate::batch::{self, Done, Request};
use crate::disk;
use crate::history::History;
use crate::space::Space;
use crate::store::Store;

/// The most transactions in one write.
const BATCH_COUNT: usize = 512;
/// The most bytes of keys and values in one write.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Between two attempts to open a faulty file again.
const RETRY: Duration = Duration::from_millis(100);
/// How long an idle writer sleeps when all is well.
const IDLE: Duration = Duration::from_secs(3600);

/// What the writer is asked to do.
pub(crate) enum Job {
    /// To commit, and to answer.
    Commit(Request, oneshot::Sender<Result<Revision, CommitError>>),
    /// To look whether the file has to be opened again.
    Look,
}

pub(crate) struct Writer {
    store: Arc<Store>,
    history: Arc<History>,
    jobs: Receiver<Job>,
    /// The newest revision that was acknowledged.
    reached: Revision,
    retry_at: Option<Instant>,
}

impl Writer {
    pub(crate) fn new(store: Arc<Store>, history: Arc<History>, jobs: Receiver<Job>) -> Self {
        let reached = history.head();
        Self { store, history, jobs, reached, retry_at: None }
    }

    /// Works until the engine is dropped and everything that waited has been answered.
    pub(crate) fn run(mut self) {
        loop {
            let patience = self.retry_at.map_or(IDLE, |at| at.saturating_duration_since(Instant::now()));
            let first = match self.jobs.recv_timeout(patience) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let (requests, waiters) = self.gather(first);
            if let Err(why) = self.ready() {
                answer(waiters, || Err(CommitError::Unavailable(why.clone())));
            } else if !requests.is_empty() {
                self.write(&requests, waiters);
            }
        }
        self.store.close();
    }

    fn gather(&self, first: Option<Job>) -> (Vec<Request>, Vec<Waiter>) {
        let (mut requests, mut waiters, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut next = first;
        while let Some(job) = next {
            if let Job::Commit(request, waiter) = job
                // Whoever asked may be gone: then nobody was promised anything, and nothing is done.
                && !waiter.is_closed()
            {
                bytes += request.transaction.size();
                requests.push(request);
                waiters.push(waiter);
            }
            let full = requests.len() >= BATCH_COUNT || bytes >= BATCH_BYTES;
            next = if full { None } else { self.jobs.try_recv().ok() };
        }
        (requests, waiters)
    }

    /// Opens the file again if it has to be; says why it cannot be used.
    fn ready(&mut self) -> Result<(), String> {
        if !self.store.needs_reopening() {
            return Ok(());
        }
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return Err("the store could not be opened again after a fault; it will be tried again".into());
        }
        self.store.close();
        match self.store.reopen(self.reached) {
            Ok(revision) => {
                self.retry_at = None;
                if revision != self.history.head() {
                    // A commit with an unknown outcome went through: no stream may miss it.
                    self.history.restart(revision);
                }
                self.reached = revision;
                tracing::warn!(?revision, "the store was opened again after a fault");
                Ok(())
            }
            Err(error) => {
                self.retry_at = Some(Instant::now() + RETRY);
                tracing::error!(%error, "the store cannot be opened again yet");
                Err(error.to_string())
            }
        }
    }

    fn write(&mut self, requests: &[Request], waiters: Vec<Waiter>) {
        let disk = &self.store.disk;
        let space = Space { free: disk.free(), lacking: disk.lacking(), len: disk.len().unwrap_or(0) };
        disk.watch_header();
        // A panic inside redb (damage it did not expect) must not end the only thread that writes; the file
        // is closed and opened again, with all its checks, as after any other fault.
        let written = catch_unwind(AssertUnwindSafe(|| {
            self.store.with_database(|database| batch::write(database, requests, &self.store.settings, space))
        }));
        let error = match written {
            Ok(Some(Ok(Done { results, changes }))) => {
                if let Some(last) = changes.last() {
                    self.reached = last.revision;
                }
                self.history.publish(changes);
                for (waiter, result) in waiters.into_iter().zip(results) {
                    waiter.send(result).ok();
                }
                return;
            }
            Ok(Some(Err(error))) => Some(error),
            Ok(None) | Err(_) => None,
        };
        let refusal = refusal(error.as_ref(), disk.header_written());
        tracing::error!(commits = requests.len(), %refusal, "a write of the store failed");
        // First the file, then the answers: whoever reads after the answer finds the store open again.
        self.store.report(self.store.generation());
        self.ready().ok();
        answer(waiters, || Err(refusal.clone()));
    }
}

type Waiter = oneshot::Sender<Result<Revision, CommitError>>;

fn answer(waiters: Vec<Waiter>, result: impl Fn() -> Result<Revision, CommitError>) {
    for waiter in waiters {
        // A waiter that is gone needs no answer.
        waiter.send(result()).ok();
    }
}

/// What a failed write means for those who wait. Pages that no header names do not exist, so before the
/// header was touched nothing happened; from then on only a good sync would tell.
fn refusal(error: Option<&Error>, header_written: bool) -> CommitError {
    let why = error.map_or_else(|| "the store's file is damaged".into(), ToString::to_string);
    match error {
        _ if header_written => CommitError::UnknownOutcome(why),
        Some(Error::Io(error)) if disk::is_full(error) => CommitError::Full(why),
        _ => CommitError::Unavailable(why),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_fault_is_a_refusal_only_before_the_header_was_touched() {
        let full = || Error::Io(io::ErrorKind::StorageFull.into());
        assert!(matches!(refusal(Some(&full()), false), CommitError::Full(_)));
        assert!(matches!(refusal(Some(&full()), true), CommitError::UnknownOutcome(_)));
        assert!(matches!(refusal(Some(&Error::PreviousIo), false), CommitError::Unavailable(_)));
        assert!(matches!(refusal(None, true), CommitError::UnknownOutcome(_)));
    }
}
