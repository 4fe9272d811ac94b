//! What a connection is doing, and whether it does it for too long: a pure decision.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a connection is doing.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    /// Requests whose heads have arrived and that are worked on.
    requests: usize,
    /// The moment of the last change.
    since: Instant,
    /// When the first byte of a head arrived, until the head is whole.
    head_since: Option<Instant>,
}

/// What to do with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It works.
    Keep,
    /// Nobody asks anything: say goodbye.
    Idle,
    /// A head takes too long: close.
    HeadLate,
}

impl State {
    fn new(now: Instant) -> Self {
        Self { requests: 0, since: now, head_since: None }
    }

    fn judge(&self, now: Instant, head_read: Duration, idle: Duration) -> Verdict {
        let longer = |since: Instant, than| now.saturating_duration_since(since) >= than;
        if self.requests > 0 {
            Verdict::Keep
        } else if self.head_since.is_some_and(|since| longer(since, head_read)) {
            Verdict::HeadLate
        } else if longer(self.since, idle) {
            Verdict::Idle
        } else {
            Verdict::Keep
        }
    }
}

/// The shared state of one connection.
#[derive(Clone)]
pub(super) struct Activity(Arc<Mutex<State>>);

/// A request that is worked on, until it is dropped.
pub(super) struct Working(Activity);

impl Activity {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State::new(Instant::now()))))
    }

    /// A request's head is whole.
    pub(super) fn begin(&self) -> Working {
        let mut state = self.state();
        state.requests += 1;
        state.head_since = None;
        Working(self.clone())
    }

    /// Nothing has been worked on for `long`, counted from `told` at the earliest.
    pub(super) fn is_quiet_since(&self, told: Instant, long: Duration) -> bool {
        let state = self.state();
        state.requests == 0 && state.since.max(told).elapsed() >= long
    }

    pub(super) fn judge(&self, head_read: Duration, idle: Duration) -> Verdict {
        self.state().judge(Instant::now(), head_read, idle)
    }

    fn bytes_arrived(&self) {
        let mut state = self.state();
        if state.requests == 0 && state.head_since.is_none() {
            state.head_since = Some(Instant::now());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.requests = state.requests.saturating_sub(1);
        state.since = Instant::now();
    }
}

/// A stream that tells when bytes arrive. For HTTP/1 only: HTTP/2 has frames that begin no request.
pub(super) struct Watched<S> {
    stream: S,
    activity: Activity,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, activity: Activity) -> Self {
        Self { stream, activity }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.activity.bytes_arrived();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f38_a_late_head_and_an_idle_connection_are_told_from_one_that_works() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let judge = |state: &State, s| state.judge(at(s), Duration::from_secs(10), Duration::from_secs(60));
        let mut state = State::new(start);
        assert_eq!(judge(&state, 59), Verdict::Keep);
        assert_eq!(judge(&state, 60), Verdict::Idle);
        state.head_since = Some(at(5));
        assert_eq!(judge(&state, 14), Verdict::Keep);
        assert_eq!(judge(&state, 15), Verdict::HeadLate);
        state.requests = 1;
        assert_eq!(judge(&state, 1000), Verdict::Keep);
    }

    #[test]
    fn the_head_ends_where_the_request_begins() {
        let activity = Activity::new();
        activity.bytes_arrived();
        assert!(activity.state().head_since.is_some());
        let working = activity.begin();
        activity.bytes_arrived();
        assert!(activity.state().head_since.is_none());
        assert!(!activity.is_quiet_since(Instant::now(), Duration::ZERO));
        drop(working);
        assert!(activity.is_quiet_since(Instant::now(), Duration::ZERO));
        assert!(!activity.is_quiet_since(Instant::now(), Duration::from_secs(60)));
    }
}
