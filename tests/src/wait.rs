//! Waiting on conditions, never on the clock alone.

use std::{
    thread,
    time::{Duration, Instant},
};

/// The longest that anything in these tests may take. Generous, so that a slow machine passes; reached
/// only by what hangs.
pub const DEADLINE: Duration = Duration::from_secs(60);

const STEP: Duration = Duration::from_millis(10);

/// Asks until the answer is `Some`; panics with `what` at the deadline.
pub fn until<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    within(DEADLINE, what, ask)
}

/// The same with a deadline of its own.
pub fn within<T>(deadline: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + deadline;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "waited {} s in vain: {what}", deadline.as_secs());
        thread::sleep(STEP);
    }
}

/// Like [`until`], for questions that are futures.
pub async fn until_async<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < end, "waited {} s in vain: {what}", DEADLINE.as_secs());
        tokio::time::sleep(STEP).await;
    }
}
