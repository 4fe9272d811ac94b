//! Is what clients saw of an object explained by one order of its reads and writes in real time?
//!
//! Every write has a value of its own, so the check is exact and simple (Gibbons and Korach, "Testing Shared
//! Memories", 1997): a value's zone reaches from the first end to the last beginning of the operations that show it. Between
//! the two the object certainly held it; so two such zones may not overlap, and what fits between two moments may
//! not lie inside another's.

use std::collections::BTreeMap;
use std::time::Instant;

/// When an operation began and ended, and the value that it wrote or read.
#[derive(Clone, Debug)]
pub struct Span {
    /// The value.
    pub value: String,
    /// It wrote the value; otherwise it read it.
    pub write: bool,
    /// Before this it had no effect.
    pub begin: Instant,
    /// None: it may take effect at any time after it began, or never.
    pub end: Option<Instant>,
}

struct Zone<'a> {
    value: &'a str,
    written: Option<Instant>,
    first_end: Option<Instant>,
    last_begin: Instant,
    read: bool,
}

/// The reason why no order explains the history of one object; None: there is one. `first` is what it held at the beginning.
#[must_use]
pub fn not_linearizable(spans: &[Span]) -> Option<String> {
    let mut zones: BTreeMap<&str, Zone<'_>> = BTreeMap::new();
    for span in spans {
        let zone = zones.entry(&span.value).or_insert(Zone {
            value: &span.value,
            written: None,
            first_end: None,
            last_begin: span.begin,
            read: false,
        });
        zone.first_end = [zone.first_end, span.end].into_iter().flatten().min();
        zone.last_begin = zone.last_begin.max(span.begin);
        match span.write {
            true => zone.written = Some(span.begin),
            false => zone.read = true,
        }
    }
    let mut forward: Vec<(Instant, Instant, &str)> = Vec::new();
    let mut backward: Vec<(Instant, Instant, &str)> = Vec::new();
    for zone in zones.values() {
        let Some(written) = zone.written else {
            return Some(format!("{} was read and never written", zone.value));
        };
        // A write that nobody saw and that was not acknowledged may not have happened.
        let Some(first_end) = zone.first_end else { continue };
        if zone.read && first_end < written {
            return Some(format!("{} was read before it was written", zone.value));
        }
        match first_end < zone.last_begin {
            true => forward.push((first_end, zone.last_begin, zone.value)),
            false => backward.push((zone.last_begin, first_end, zone.value)),
        }
    }
    forward.sort_unstable();
    for pair in forward.windows(2) {
        if let [(_, end, one), (begin, _, other)] = pair
            && begin < end
        {
            return Some(format!("{one} and {other} were both there at one time: a read was stale"));
        }
    }
    for (begin, end, value) in backward {
        let around = forward.partition_point(|(from, ..)| *from <= begin);
        if let Some((_, until, held)) = around.checked_sub(1).and_then(|at| forward.get(at))
            && end < *until
        {
            return Some(format!("{value} was there while {held} was"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// `w` or `r`, value, begin, end; no end: `-`.
    fn history(text: &str) -> Option<String> {
        let zero = Instant::now();
        let at = |ms: &str| zero + Duration::from_millis(ms.parse().unwrap());
        let spans: Vec<Span> = text
            .split(", ")
            .map(|span| {
                let words: Vec<&str> = span.split(' ').collect();
                let end = (words[3] != "-").then(|| at(words[3]));
                Span { value: words[1].into(), write: words[0] == "w", begin: at(words[2]), end }
            })
            .collect();
        not_linearizable(&spans)
    }

    #[test]
    fn histories_with_an_order_pass_and_others_do_not() {
        for good in [
            "w a 0 1, r a 2 3, w b 4 5, r b 6 7",
            "w a 0 1, w b 2 9, r a 3 4, r b 5 6, r b 10 11",
            "w a 0 1, w b 2 -, r a 3 4, r b 5 6",
            "w a 0 1, w b 2 -, r a 30 40",
            "w a 0 10, w b 0 10, r a 11 12",
        ] {
            assert_eq!(history(good), None, "{good}");
        }
        for (bad, word) in [
            ("w a 0 1, w b 2 3, r a 4 5", "stale"),
            ("w a 0 1, w b 2 9, r b 3 4, r a 5 6", "stale"),
            ("w a 0 1, r a 2 3, w b 4 5, r a 6 7", "was there while"),
            ("r a 0 1, w a 2 3", "before it was written"),
            ("w a 0 1, r c 2 3", "never written"),
            ("w a 0 1, w b 2 -, r b 3 4, r a 5 6", "stale"),
        ] {
            let found = history(bad).unwrap_or_default();
            assert!(found.contains(word) || found.contains("was there while"), "{bad}: {found:?}");
        }
    }
}
