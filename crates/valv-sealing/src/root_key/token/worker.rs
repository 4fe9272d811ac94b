//! Work that may block for ever, on a thread of its own.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

/// The most calls that wait for the thread.
const WAITING_MAX: usize = 64;

/// A call that was not answered in time. Whether its work is done is not known.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Late;

type Job<S> = Box<dyn FnOnce(&mut S) + Send>;

/// A thread that owns `S` and does one piece of work on it after the other.
pub(super) struct Worker<S> {
    jobs: SyncSender<(Instant, Job<S>)>,
    /// The deadline of the work in hand.
    busy_until: Arc<Mutex<Option<Instant>>>,
    deadline: Duration,
}

impl<S: Send + 'static> Worker<S> {
    /// Starts the thread; it ends when the worker is dropped and its work, if it ever is, done.
    pub(super) fn start(mut state: S, deadline: Duration) -> io::Result<Self> {
        let (jobs, queue) = sync_channel::<(Instant, Job<S>)>(WAITING_MAX);
        let busy_until = Arc::new(Mutex::new(None));
        let busy = Arc::clone(&busy_until);
        thread::Builder::new().name("root-key-token".into()).spawn(move || {
            for (until, job) in queue {
                // Nobody waits for the others any more.
                if Instant::now() < until {
                    set(&busy, Some(until));
                    job(&mut state);
                    set(&busy, None);
                }
            }
        })?;
        Ok(Self { jobs, busy_until, deadline })
    }

    /// Does `work` on the thread and waits for its answer, until the deadline. While an earlier piece of
    /// work is beyond it, the answer is [`Late`] at once.
    pub(super) fn call<A: Send + 'static>(
        &self,
        work: impl FnOnce(&mut S) -> A + Send + 'static,
    ) -> Result<A, Late> {
        let now = Instant::now();
        let busy_until = *self.busy_until.lock().unwrap_or_else(PoisonError::into_inner);
        if busy_until.is_some_and(|until| now >= until) {
            return Err(Late);
        }
        let (answer, answered) = sync_channel(1);
        // The answer of a call that nobody waits for any more is dropped, and wiped.
        let job: Job<S> = Box::new(move |state| drop(answer.send(work(state))));
        self.jobs.try_send((now + self.deadline, job)).map_err(|_| Late)?;
        answered.recv_timeout(self.deadline).map_err(|_| Late)
    }
}

fn set(busy_until: &Mutex<Option<Instant>>, to: Option<Instant>) {
    *busy_until.lock().unwrap_or_else(PoisonError::into_inner) = to;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_done_in_order_on_what_the_thread_owns() {
        let worker = Worker::start(Vec::new(), Duration::from_secs(60)).unwrap();
        for n in 0..3 {
            worker.call(move |all: &mut Vec<i32>| all.push(n)).unwrap();
        }
        assert_eq!(worker.call(|all| all.clone()).unwrap(), [0, 1, 2]);
    }

    #[test]
    fn a_call_that_hangs_is_late_refuses_the_next_at_once_and_recovers() {
        let worker = Worker::start((), Duration::from_millis(50)).unwrap();
        let (release, held) = sync_channel::<()>(0);
        assert_eq!(worker.call(move |()| held.recv().is_ok()), Err(Late));
        // Refused without being queued: its work is dropped at once, while the first still hangs.
        let (kept, dropped) = sync_channel::<()>(0);
        assert_eq!(worker.call(move |()| drop(kept)), Err(Late));
        assert!(matches!(dropped.try_recv(), Err(std::sync::mpsc::TryRecvError::Disconnected)));
        release.send(()).unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        while worker.call(|()| ()).is_err() {
            assert!(Instant::now() < until, "it never came back");
            thread::yield_now();
        }
    }
}
