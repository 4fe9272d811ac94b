//! The bounded pool for computation: what takes too long for the threads that answer requests.
//!
//! Two lanes, each with its own threads and its own bounded line of those who wait, so that seconds of RSA
//! generation never stand before a signature: short jobs (up to some milliseconds) may take every core, long
//! ones (generation, import) half of the cores; where both want a core the operating system shares it.
//!
//! The threads are tokio's for blocking work; what bounds them is here. Who waits for a place waits in its own
//! request: when the request ends, or its deadline passes, nothing is left in a queue, and no work is begun.

use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Semaphore;
use valv_model::{Error, ErrorCode, Result};

/// How much the pool does at once, and how much may wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSettings {
    /// Short jobs computed at a time; long ones: half of it, at least one.
    pub threads: usize,
    /// Short jobs that may wait; beyond, 429.
    pub short_waiting: usize,
    /// Long jobs that may wait; beyond, 429.
    pub long_waiting: usize,
}

impl Default for PoolSettings {
    /// One thread a core. 256 short jobs may wait (a fifth of a second of RSA-2048 signatures on one core), fewer than
    /// a node works on requests, so that others find room; and eight long jobs for each that runs (some seconds).
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self { threads, short_waiting: 256, long_waiting: 8 * long_threads(threads) }
    }
}

/// How many of the threads may do long jobs.
fn long_threads(threads: usize) -> usize {
    (threads / 2).max(1)
}

/// How long a job takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// Microseconds to some milliseconds: one operation with a private key.
    Short,
    /// Up to seconds: making or importing a key.
    Long,
}

/// The pool.
pub(crate) struct Pool {
    short: Lane,
    long: Lane,
}

struct Lane {
    name: &'static str,
    /// One for each job that waits or runs.
    places: Arc<Semaphore>,
    /// One for each job that runs.
    threads: Arc<Semaphore>,
}

impl Lane {
    fn new(name: &'static str, threads: usize, waiting: usize) -> Self {
        let semaphore = |permits: usize| Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        let threads = threads.max(1);
        Self { name, places: semaphore(threads.saturating_add(waiting)), threads: semaphore(threads) }
    }
}

impl Pool {
    /// A pool without threads: they come with the first jobs and go when there are none.
    pub(crate) fn new(settings: PoolSettings) -> Self {
        Self {
            short: Lane::new("short", settings.threads, settings.short_waiting),
            long: Lane::new("long", long_threads(settings.threads), settings.long_waiting),
        }
    }

    /// Would one more job be refused now?
    #[cfg(test)]
    pub(crate) fn is_full(&self, length: Length) -> bool {
        self.lane(length).places.available_permits() == 0
    }

    fn lane(&self, length: Length) -> &Lane {
        match length {
            Length::Short => &self.short,
            Length::Long => &self.long,
        }
    }

    /// Computes `work` on the pool. Dropping the future takes back what was not begun; what was begun runs to
    /// its end, and its place is taken until then.
    ///
    /// Errors: what `work` returned; `Throttled` when too many wait, or when the deadline passed first; an
    /// internal error when `work` panicked.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        length: Length,
        deadline: Instant,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let lane = self.lane(length);
        let Ok(place) = Arc::clone(&lane.places).try_acquire_owned() else {
            return Err(lane.throttled("too many computations wait"));
        };
        let done = async {
            let thread = Arc::clone(&lane.threads).acquire_owned().await.map_err(|_| stopped())?;
            if deadline <= Instant::now() {
                return Err(lane.throttled(LATE));
            }
            let job = tokio::task::spawn_blocking(move || {
                let _held = (place, thread);
                // Nothing that `work` owns is seen again after a panic.
                catch_unwind(AssertUnwindSafe(work))
                    .unwrap_or_else(|_| Err(Error::internal("a computation panicked")))
            });
            job.await.map_err(|_| stopped())?
        };
        tokio::time::timeout_at(deadline.into(), done).await.unwrap_or_else(|_| Err(lane.throttled(LATE)))
    }
}

const LATE: &str = "the computation was not finished before the request's deadline";

impl Lane {
    /// 429: overload is an answer, also where it shows as a deadline.
    fn throttled(&self, reason: &str) -> Error {
        metrics::counter!("valv_computations_refused_total", "lane" => self.name).increment(1);
        Error::new(
            ErrorCode::Throttled,
            format!("Request was not processed because too many requests were received. Reason: {reason}."),
        )
        .retry_after(1)
    }
}

/// The process ends.
fn stopped() -> Error {
    Error::unavailable("The service is shutting down; nothing was changed. Try again.")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    fn pool(threads: usize, waiting: usize) -> Arc<Pool> {
        Arc::new(Pool::new(PoolSettings { threads, short_waiting: waiting, long_waiting: waiting }))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    /// A job that ends when told, and says when it has begun.
    fn hold(
        pool: &Arc<Pool>,
        length: Length,
    ) -> (tokio::task::JoinHandle<Result<()>>, mpsc::Sender<()>, tokio::sync::oneshot::Receiver<()>) {
        let (end, ended) = mpsc::channel::<()>();
        let (begin, begun) = tokio::sync::oneshot::channel();
        let pool = Arc::clone(pool);
        let task = tokio::spawn(async move {
            pool.run(length, soon(), move || {
                begin.send(()).ok();
                ended.recv().ok();
                Ok(())
            })
            .await
        });
        (task, end, begun)
    }

    #[tokio::test]
    async fn a_full_lane_answers_429_and_the_other_goes_on() {
        let pool = pool(2, 1);
        let (running, end, begun) = hold(&pool, Length::Long);
        begun.await.unwrap();
        let (waiting, end_waiting, mut not_begun) = hold(&pool, Length::Long);
        crate::testing::until(|| pool.is_full(Length::Long)).await;
        let refused = pool.run(Length::Long, soon(), || Ok(())).await.unwrap_err();
        assert_eq!((refused.code, refused.retry_after_s), (ErrorCode::Throttled, Some(1)));
        assert_eq!(pool.run(Length::Short, soon(), || Ok(7)).await.unwrap(), 7);
        assert!(not_begun.try_recv().is_err(), "half of two threads");
        drop((end, end_waiting));
        running.await.unwrap().unwrap();
        waiting.await.unwrap().unwrap();
        pool.run(Length::Long, soon(), || Ok(())).await.unwrap();
    }

    #[tokio::test]
    async fn work_whose_requester_left_or_whose_deadline_passed_is_not_begun() {
        let pool = pool(1, 8);
        let (running, end, begun) = hold(&pool, Length::Short);
        begun.await.unwrap();
        let (left, _end, mut never_begun) = hold(&pool, Length::Short);
        crate::testing::until(|| pool.short.places.available_permits() == 7).await;
        left.abort();
        assert!(left.await.unwrap_err().is_cancelled());
        assert_eq!(pool.short.places.available_permits(), 8, "its place is free at once");

        let worked = Arc::new(AtomicUsize::new(0));
        let work = |worked: &Arc<AtomicUsize>| {
            let worked = Arc::clone(worked);
            move || Ok(worked.fetch_add(1, Ordering::SeqCst))
        };
        let late = pool.run(Length::Short, Instant::now() + Duration::from_millis(5), work(&worked)).await;
        assert_eq!(late.unwrap_err().code, ErrorCode::Throttled);
        drop(end);
        running.await.unwrap().unwrap();
        let past = pool.run(Length::Short, Instant::now(), work(&worked)).await;
        assert_eq!(past.unwrap_err().code, ErrorCode::Throttled, "although a thread is free");
        assert!(never_begun.try_recv().is_err());
        assert_eq!(worked.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn a_panic_is_an_internal_error_and_costs_no_thread() {
        let pool = pool(1, 0);
        for _ in 0..3 {
            let error =
                pool.run(Length::Short, soon(), || -> Result<()> { panic!("planned") }).await.unwrap_err();
            assert_eq!(error.code, ErrorCode::InternalError);
            assert!(!error.message.contains("planned"));
        }
        assert_eq!(pool.run(Length::Short, soon(), || Ok(1)).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn no_more_runs_at_once_than_was_said() {
        let pool = pool(4, 100);
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let jobs = (0..50).map(|_| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            pool.run(Length::Long, soon(), move || {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::yield_now();
                now.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            })
        });
        for done in futures::future::join_all(jobs).await {
            done.unwrap();
        }
        assert!((1..=2).contains(&most.load(Ordering::SeqCst)));
    }
}
