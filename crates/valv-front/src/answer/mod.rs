//! What leaves: JSON bodies, headers, the one place where an error becomes a status, audit, metrics.

mod audit;
pub use audit::{Audit, AuditFile};

mod event;
pub(crate) use event::line as event_line;

mod headers;
pub(crate) use headers::finish;

mod meters;
pub use meters::Metrics;
pub(crate) use meters::{count, count_panic};

mod record;
pub(crate) use record::{Record, Seen};

mod reply;
pub(crate) use reply::{Refusal, Reply};

use valv_model::UnixSeconds;

/// A moment as Azure writes it: ISO 8601 in UTC.
pub(crate) fn iso(at: UnixSeconds) -> String {
    iso_ms(at.0.saturating_mul(1000), false)
}

fn iso_ms(ms: i64, fraction: bool) -> String {
    let time = time::OffsetDateTime::from_unix_timestamp(ms.div_euclid(1000))
        .unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    let (date, clock) = (time.date(), time.time());
    let mut text = format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        date.year(),
        u8::from(date.month()),
        date.day(),
        clock.hour(),
        clock.minute(),
        clock.second()
    );
    if fraction {
        text += &format!(".{:03}", ms.rem_euclid(1000));
    }
    text + "Z"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_iso_8601_in_utc() {
        assert_eq!(iso(UnixSeconds(0)), "1970-01-01T00:00:00Z");
        assert_eq!(iso(UnixSeconds(1_790_000_000)), "2026-09-21T14:13:20Z");
        assert_eq!(iso_ms(1_790_000_000_007, true), "2026-09-21T14:13:20.007Z");
        assert_eq!(iso(UnixSeconds(i64::MAX)), "1970-01-01T00:00:00Z");
    }
}
