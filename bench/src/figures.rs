//! The arithmetic: percentiles, and what Linux tells of a process.

use std::time::Duration;

/// The value that `share` (0 to 1) of the sorted values do not exceed (the nearest rank); zero without values.
pub(crate) fn percentile(sorted: &[Duration], share: f64) -> Duration {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or_default()
}

/// The middle one; zero without values.
pub(crate) fn median(mut values: Vec<Duration>) -> Duration {
    values.sort_unstable();
    percentile(&values, 0.5)
}

/// User and system time in clock ticks, from the text of `/proc/PID/stat` (man 5 proc_pid_stat: fields 14
/// and 15). The program's name, field 2, may hold blanks and brackets itself.
pub(crate) fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

/// A line of `/proc/PID/status` in KiB, such as `VmRSS`.
pub(crate) fn kibibytes(status: &str, line: &str) -> Option<u64> {
    let value = status.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(':'))?;
    value.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// The sum of all samples of a metric in Prometheus's text format; zero when there is none.
pub(crate) fn metric(text: &str, name: &str) -> f64 {
    let samples = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        if !rest.starts_with([' ', '{']) {
            return None;
        }
        rest.rsplit_once(' ')?.1.parse::<f64>().ok()
    });
    samples.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(values: impl IntoIterator<Item = u64>) -> Vec<Duration> {
        values.into_iter().map(Duration::from_millis).collect()
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let hundred = millis(1..=100);
        for (share, expected) in [(0.0, 1), (0.01, 1), (0.5, 50), (0.501, 51), (0.99, 99), (1.0, 100)] {
            assert_eq!(percentile(&hundred, share), Duration::from_millis(expected), "{share}");
        }
        assert_eq!(percentile(&millis([7]), 0.99), Duration::from_millis(7));
        assert_eq!(percentile(&[], 0.5), Duration::ZERO);
        assert_eq!(median(millis([9, 1, 5])), Duration::from_millis(5));
    }

    #[test]
    fn cpu_time_is_read_behind_a_name_with_blanks_and_brackets() {
        let stat = "4242 (a (b) c) S 1 4242 4242 0 -1 4194560 901 11 2 3 1250 350 7 9 20 0 8 0 123456 1 2 3";
        assert_eq!(ticks(stat), Some(1600));
        assert_eq!(ticks("4242 (short) S 1"), None);
        assert_eq!(ticks(""), None);
    }

    #[test]
    fn memory_is_read_from_its_own_line() {
        let status = "Name:\tvalv\nVmHWM:\t   31000 kB\nVmRSS:\t   12345 kB\n";
        assert_eq!(kibibytes(status, "VmRSS"), Some(12_345));
        assert_eq!(kibibytes(status, "VmSwap"), None);
        assert_eq!(kibibytes("VmRSS: many kB", "VmRSS"), None);
    }

    #[test]
    fn samples_of_one_metric_are_added_and_no_others() {
        let text = "# TYPE a_sum x\na_sum 3\na_sum{b=\"c d\"} 4.5\na_summary 100\nb_sum 7\n";
        assert!((metric(text, "a_sum") - 7.5).abs() < 1e-9);
        assert!(metric(text, "c") == 0.0);
    }
}
