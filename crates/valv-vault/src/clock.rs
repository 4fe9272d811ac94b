use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use valv_model::UnixSeconds;

/// Where the time comes from. Tests bring their own.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since 1970-01-01 UTC.
    fn now_ms(&self) -> i64;

    /// Whole seconds since 1970-01-01 UTC.
    fn now(&self) -> UnixSeconds {
        UnixSeconds(self.now_ms().div_euclid(1000))
    }

    /// A clock that only goes forward, evenly, from a beginning that does not matter.
    fn monotonic(&self) -> Duration;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    fn monotonic(&self) -> Duration {
        static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);
        BEGINNING.elapsed()
    }
}

/// A clock that stands until it is moved.
#[derive(Debug, Default)]
pub struct ManualClock {
    wall_ms: AtomicI64,
    monotonic_s: AtomicU64,
}

impl ManualClock {
    /// A clock that stands at `seconds`.
    #[must_use]
    pub fn at(seconds: i64) -> Self {
        Self { wall_ms: AtomicI64::new(seconds * 1000), monotonic_s: AtomicU64::new(0) }
    }

    /// Lets time pass. Backwards moves only the wall clock.
    pub fn advance(&self, seconds: i64) {
        self.monotonic_s.fetch_add(u64::try_from(seconds).unwrap_or(0), Ordering::SeqCst);
        self.jump(seconds);
    }

    /// Sets the wall clock forward or back, as no time passes.
    pub fn jump(&self, seconds: i64) {
        self.wall_ms.fetch_add(seconds * 1000, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        self.wall_ms.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_secs(self.monotonic_s.load(Ordering::SeqCst))
    }
}
