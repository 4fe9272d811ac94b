//! How old the newest whole state is. Pure: time comes in.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;
use valv_model::VaultId;

/// Events that come closer together than this share a mark.
const GRAIN: Duration = Duration::from_millis(50);

/// The most marks that one vault is waited for at; beyond, the newest ones are taken together.
const WAITS_MAX: usize = 64;

/// A moment at which all that home had was known here, and what of it is not applied yet.
#[derive(Default)]
pub(crate) struct Lag {
    /// The moments of marks that are not whole, the oldest first; the number of the first one.
    marks: VecDeque<Instant>,
    first: u64,
    /// For each vault: marks that wait for it, with the number that it must reach.
    waits: BTreeMap<VaultId, VecDeque<(u64, u64)>>,
    /// How many vaults each mark waits for.
    open: BTreeMap<u64, usize>,
    whole_at: Option<Instant>,
}

impl Lag {
    /// With the newest whole state that an earlier connection knew.
    pub(crate) fn since(whole_at: Option<Instant>) -> Self {
        Self { whole_at, ..Self::default() }
    }

    /// Everything that home had at `now` is known: these vaults have these numbers, and lack them here.
    pub(crate) fn heard(&mut self, now: Instant, lacking: impl IntoIterator<Item = (VaultId, u64)>) {
        let lacking: Vec<_> = lacking.into_iter().collect();
        let shared = self.marks.back().is_some_and(|last| now < *last + GRAIN) && !lacking.is_empty();
        if !shared {
            self.marks.push_back(now);
        }
        let mark = self.first + self.marks.len() as u64 - 1;
        for (vault, number) in lacking {
            let waits = self.waits.entry(vault).or_default();
            let full = waits.len() >= WAITS_MAX;
            match waits.back_mut() {
                Some((last, known)) if *last == mark || full => *known = number.max(*known),
                _ => {
                    waits.push_back((mark, number));
                    *self.open.entry(mark).or_default() += 1;
                }
            }
        }
        self.settle();
    }

    /// A vault has reached a number.
    pub(crate) fn applied(&mut self, vault: &VaultId, number: u64) {
        let Some(waits) = self.waits.get_mut(vault) else { return };
        while let Some((mark, needed)) = waits.front().copied()
            && needed <= number
        {
            waits.pop_front();
            if let Some(open) = self.open.get_mut(&mark) {
                *open -= 1;
                if *open == 0 {
                    self.open.remove(&mark);
                }
            }
        }
        if waits.is_empty() {
            self.waits.remove(vault);
        }
        self.settle();
    }

    /// Passes over the marks that nothing before them or at them is waited for.
    fn settle(&mut self) {
        let oldest = self.open.keys().next().copied().unwrap_or(u64::MAX);
        while self.first < oldest
            && let Some(at) = self.marks.pop_front()
        {
            self.first += 1;
            self.whole_at = Some(at);
        }
    }

    /// The moment of the newest whole state.
    pub(crate) fn whole_at(&self) -> Option<Instant> {
        self.whole_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(n: u8) -> VaultId {
        VaultId::parse(&format!("00000000-0000-4000-8000-0000000000{n:02x}")).unwrap()
    }

    #[test]
    fn a_state_is_whole_once_all_that_was_known_then_is_applied() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut lag = Lag::default();
        assert_eq!(lag.whole_at(), None);
        lag.heard(at(0), [(vault(1), 5), (vault(2), 3)]);
        lag.heard(at(100), [(vault(1), 6)]);
        lag.heard(at(200), []);
        lag.applied(&vault(1), 6);
        assert_eq!(lag.whole_at(), None, "the second vault lacks a commit");
        lag.heard(at(300), [(vault(1), 7)]);
        lag.applied(&vault(2), 2);
        assert_eq!(lag.whole_at(), None);
        lag.applied(&vault(2), 3);
        assert_eq!(lag.whole_at(), Some(at(200)));
        lag.applied(&vault(1), 9);
        assert_eq!(lag.whole_at(), Some(at(300)));
        lag.heard(at(400), []);
        assert_eq!(lag.whole_at(), Some(at(400)));
        assert!(lag.waits.is_empty() && lag.open.is_empty() && lag.marks.is_empty());
    }

    #[test]
    fn what_is_kept_is_bounded_and_never_too_young() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut lag = Lag::default();
        for n in 1..=1000 {
            lag.heard(at(n * 1000), [(vault(1), n)]);
        }
        assert!(lag.waits[&vault(1)].len() <= WAITS_MAX);
        lag.applied(&vault(1), 10);
        assert_eq!(lag.whole_at(), Some(at(10_000)));
        lag.applied(&vault(1), 500);
        assert!(lag.whole_at() <= Some(at(500_000)));
        lag.applied(&vault(1), 1000);
        assert_eq!(lag.whole_at(), Some(at(1_000_000)));
    }

    #[test]
    fn events_in_quick_succession_share_a_mark_and_count_from_the_first() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut lag = Lag::default();
        lag.heard(at(0), [(vault(1), 1)]);
        lag.heard(at(10), [(vault(1), 2)]);
        lag.applied(&vault(1), 1);
        assert_eq!(lag.whole_at(), None);
        lag.applied(&vault(1), 2);
        assert_eq!(lag.whole_at(), Some(at(0)));
    }
}
