//! May a scheduled purge happen, seeing how the clock has behaved (F31)?
//!
//! A purge cannot be undone, and a clock that jumped ahead would bring it forward. A node therefore watches its
//! wall clock against its monotonic clock, and keeps in the system vault, at most hourly, the latest time seen:
//!
//! - the wall clock moved against the monotonic one by more than 30 s: scheduled purges are held;
//! - at start more than 24 h have passed since the recorded time, or the clock is behind it by more than
//!   30 s: scheduled purges are held;
//! - purges that are held go on once the node has run 24 h with an even clock.
//!
//! Purges that somebody asks for do not depend on the clock. All functions here are pure: readings come in.

use std::time::Duration;

use valv_model::UnixSeconds;

/// How far the wall clock may move against the monotonic clock.
pub const JUMP_MAX_S: i64 = 30;

/// How far the clock may be ahead of the recorded time at start.
pub const AWAY_MAX_S: i64 = 24 * 3600;

/// How long a clock must have been even before held purges go on.
pub const EVEN_MIN: Duration = Duration::from_secs(24 * 3600);

/// How often the time seen is recorded, at most.
pub const RECORD_EVERY_S: i64 = 3600;

/// Readings are compared with one that is at most about this old, so that slow corrections of the clock do
/// not add up to a jump.
const ANCHOR_AGE_MAX: Duration = Duration::from_secs(3600);

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The wall clock.
    pub wall: UnixSeconds,
    /// The monotonic clock, from any beginning.
    pub monotonic: Duration,
}

/// How the clock has behaved since the node started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockHistory {
    anchor: Reading,
    last: Reading,
    /// On the monotonic clock: since when purges are held.
    held_since: Option<Duration>,
}

impl ClockHistory {
    /// The first reading after a start, and the latest time that was recorded before it.
    #[must_use]
    pub fn begin(now: Reading, recorded: Option<UnixSeconds>) -> Self {
        let ahead = recorded.map_or(0, |recorded| now.wall.0.saturating_sub(recorded.0));
        let doubtful = !(-JUMP_MAX_S..=AWAY_MAX_S).contains(&ahead);
        Self { anchor: now, last: now, held_since: doubtful.then_some(now.monotonic) }
    }

    /// One more reading.
    #[must_use]
    pub fn observe(self, now: Reading) -> Self {
        let monotonic = now.monotonic.saturating_sub(self.anchor.monotonic);
        let wall = now.wall.0.saturating_sub(self.anchor.wall.0);
        let moved = wall.saturating_sub(i64::try_from(monotonic.as_secs()).unwrap_or(i64::MAX));
        let jumped = !(-JUMP_MAX_S..=JUMP_MAX_S).contains(&moved);
        Self {
            anchor: if jumped || monotonic >= ANCHOR_AGE_MAX { now } else { self.anchor },
            last: now,
            held_since: if jumped { Some(now.monotonic) } else { self.held_since },
        }
    }

    /// May what the clock says is due be purged?
    #[must_use]
    pub fn purges(self) -> bool {
        self.held_since.is_none_or(|since| self.last.monotonic.saturating_sub(since) >= EVEN_MIN)
    }

    /// The time to record now, if any: only what an even clock says, never backwards, at most hourly.
    #[must_use]
    pub fn record(self, recorded: Option<UnixSeconds>) -> Option<UnixSeconds> {
        let now = self.last.wall;
        let due = recorded.is_none_or(|recorded| {
            let ahead = now.0.saturating_sub(recorded.0);
            // After 24 h with an even clock the node believes it, also where the recorded time lies ahead.
            !(-JUMP_MAX_S..RECORD_EVERY_S).contains(&ahead)
        });
        (self.purges() && due).then_some(now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 24 * 3600;

    fn reading(wall: i64, monotonic: i64) -> Reading {
        Reading { wall: UnixSeconds(wall), monotonic: Duration::from_secs(monotonic as u64) }
    }

    #[test]
    fn f31_a_jump_holds_purges_until_the_clock_was_even_for_a_day() {
        for jump in [31, 2 * DAY, -31, -2 * DAY] {
            let clock = ClockHistory::begin(reading(1_000_000, 0), None);
            assert!(clock.observe(reading(1_000_060, 60)).purges(), "an even clock");
            let jumped = clock.observe(reading(1_000_060 + jump, 60));
            assert!(!jumped.purges(), "{jump}");
            let mut later = jumped;
            for minute in 2..24 * 60 + 1 {
                later = later.observe(reading(1_000_000 + jump + 60 * minute, 60 * minute));
                assert!(!later.purges(), "{jump}, minute {minute}");
            }
            assert!(later.observe(reading(1_000_060 + jump + DAY, 60 + DAY)).purges(), "{jump}");
            let again = later.observe(reading(1_000_060 + DAY, 60 + DAY));
            assert!(!again.purges(), "a second jump begins the day anew");
        }
    }

    #[test]
    fn f31_a_start_far_from_the_recorded_time_holds_purges() {
        let at = |ahead| ClockHistory::begin(reading(1_000_000 + ahead, 0), Some(UnixSeconds(1_000_000)));
        for (ahead, purges) in [(0, true), (DAY, true), (DAY + 1, false), (-30, true), (-31, false)] {
            assert_eq!(at(ahead).purges(), purges, "{ahead}");
        }
        assert!(ClockHistory::begin(reading(1, 0), None).purges(), "nothing recorded, nothing deleted");
        let held = at(2 * DAY);
        assert_eq!(held.record(Some(UnixSeconds(1_000_000))), None, "a doubtful time is not recorded");
    }

    #[test]
    fn the_time_is_recorded_at_most_hourly() {
        let clock = ClockHistory::begin(reading(10_000, 0), None);
        assert_eq!(clock.record(None), Some(UnixSeconds(10_000)));
        let later = clock.observe(reading(13_599, 3599));
        assert_eq!(later.record(Some(UnixSeconds(10_000))), None);
        assert_eq!(
            later.observe(reading(13_600, 3600)).record(Some(UnixSeconds(10_000))),
            Some(UnixSeconds(13_600))
        );
    }

    proptest! {
        #[test]
        fn a_clock_that_is_slewed_slowly_is_even(steps in proptest::collection::vec(-1..=1_i64, 1..500)) {
            // Up to one second in a minute and no more than 30 s in an hour: a correction, no jump.
            let mut clock = ClockHistory::begin(reading(1_000_000, 0), None);
            let mut off = 0;
            for (minute, slew) in (1..).zip(&steps) {
                if minute % 2 == 0 { off += slew; }
                clock = clock.observe(reading(1_000_000 + 60 * minute + off, 60 * minute));
                prop_assert!(clock.purges());
            }
        }

        #[test]
        fn no_history_with_a_jump_in_its_last_day_purges(before in 0..100_000_i64, jump in prop_oneof![-10_000_000..-90_i64, 91..10_000_000_i64], after in 0..DAY) {
            let clock = ClockHistory::begin(reading(1_000_000_000, 0), None)
                .observe(reading(1_000_000_000 + before, before))
                .observe(reading(1_000_000_000 + before + jump + 60, before + 60))
                .observe(reading(1_000_000_000 + before + jump + 60 + after, before + 60 + after));
            prop_assert_eq!(clock.purges(), after >= DAY);
        }
    }
}
