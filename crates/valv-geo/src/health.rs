//! Is a node, is a region there? A node's breaker opens after a few misses and closes only after some
//! consecutive good probes, over a time, and a minimum stay: a link that flaps does not make the mode flap.
//!
//! Traffic lights: a node is green (closed) until `misses` probes in a row failed; then red (open), and red for
//! `stay_min` at least; it is green again once `goods` probes in a row were good over at least `good_for`.
//!
//! Time is what the caller read on a monotonic clock. It is not trusted further than it must be: time that runs
//! backwards counts as none, and a leap forwards as no more than `step_max` (a stopped process that goes on, a
//! machine that was moved), so that no leap alone closes or opens anything.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Figures of health. The defaults are those the documentation promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Between two probes of a node.
    pub probe_each: Duration,
    /// For one probe: later answers are misses.
    pub probe_deadline: Duration,
    /// So many misses in a row open a node's breaker.
    pub misses: u32,
    /// So many good probes in a row, at least, close it.
    pub goods: u32,
    /// The good probes in a row cover at least this time.
    pub good_for: Duration,
    /// A breaker that opened stays open for this time at least.
    pub stay_min: Duration,
    /// What a single step of the clock counts for at most.
    pub step_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            probe_each: Duration::from_millis(500),
            probe_deadline: Duration::from_secs(1),
            misses: 2,
            goods: 3,
            good_for: Duration::from_millis(1_500),
            stay_min: Duration::from_secs(2),
            step_max: Duration::from_millis(1_500),
        }
    }
}

/// What one look at a node showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// It answered in time, and could do its work.
    Good,
    /// It did not answer in time, could not be reached, or said that it cannot work.
    Miss,
}

/// A node's breaker. Starts closed: a door that has just started tries everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeHealth {
    breaker: Breaker,
    /// The latest time seen.
    seen: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Breaker {
    Closed {
        misses: u32,
    },
    Open {
        /// Counted since it opened.
        open: Duration,
        /// Good probes in a row.
        goods: u32,
        /// Counted since the first of them.
        good: Duration,
    },
}

impl NodeHealth {
    /// A node that nobody has looked at yet.
    #[must_use]
    pub fn new(now: Duration) -> Self {
        Self { breaker: Breaker::Closed { misses: 0 }, seen: now }
    }

    /// May requests go to the node?
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.breaker, Breaker::Closed { .. })
    }

    /// The health after one more observation.
    #[must_use]
    pub fn observe(self, observation: Observation, now: Duration, settings: &Settings) -> Self {
        let step = now.saturating_sub(self.seen).min(settings.step_max);
        let seen = self.seen.max(now);
        let breaker = match (self.breaker, observation) {
            (Breaker::Closed { .. }, Observation::Good) => Breaker::Closed { misses: 0 },
            (Breaker::Closed { misses }, Observation::Miss) if misses + 1 < settings.misses => {
                Breaker::Closed { misses: misses + 1 }
            }
            (Breaker::Closed { .. }, Observation::Miss) => {
                Breaker::Open { open: Duration::ZERO, goods: 0, good: Duration::ZERO }
            }
            (Breaker::Open { open, .. }, Observation::Miss) => {
                Breaker::Open { open: open.saturating_add(step), goods: 0, good: Duration::ZERO }
            }
            (Breaker::Open { open, goods, good }, Observation::Good) => {
                let open = open.saturating_add(step);
                // The time before the first good probe was not good.
                let good = if goods == 0 { Duration::ZERO } else { good.saturating_add(step) };
                let goods = goods.saturating_add(1);
                if goods >= settings.goods && good >= settings.good_for && open >= settings.stay_min {
                    Breaker::Closed { misses: 0 }
                } else {
                    Breaker::Open { open, goods, good }
                }
            }
        };
        Self { breaker, seen }
    }
}

/// What a probe of a node brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeProbe {
    /// Nothing in time, or no connection.
    Missed,
    /// An answer.
    Answered {
        /// A linearizable read of the node's engine succeeded within the deadline. True for a gateway.
        engine: bool,
        /// Its standing is [`crate::Standing::Good`]: it may speak as home.
        standing: bool,
    },
}

/// What a door knows of one node: whether it is there, and whether it may be asked as home. Two breakers, because a
/// home that is masked still answers for the replicas it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeState {
    /// The node answers, and its engine does.
    pub alive: NodeHealth,
    /// It also has the standing to serve as home.
    pub home: NodeHealth,
}

impl NodeState {
    /// A node that nobody has looked at yet.
    #[must_use]
    pub fn new(now: Duration) -> Self {
        Self { alive: NodeHealth::new(now), home: NodeHealth::new(now) }
    }

    /// The state after one more probe.
    #[must_use]
    pub fn observe(self, probe: NodeProbe, now: Duration, settings: &Settings) -> Self {
        let seen = |good: bool| if good { Observation::Good } else { Observation::Miss };
        let (alive, home) = match probe {
            NodeProbe::Missed => (false, false),
            NodeProbe::Answered { engine, standing } => (engine, engine && standing),
        };
        Self {
            alive: self.alive.observe(seen(alive), now, settings),
            home: self.home.observe(seen(home), now, settings),
        }
    }
}

/// How a region stands, as a door sees it: what changes here is a change of mode, and an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RegionHealth {
    /// A node answers as home.
    Available,
    /// Nodes answer, but none may speak as home: the pair answers for the region's vaults.
    Masked,
    /// No node answers.
    Unavailable,
}

impl RegionHealth {
    /// The judgement over a region's nodes. The breakers carry the thresholds, so this needs none of its own.
    #[must_use]
    pub fn of<'a>(nodes: impl IntoIterator<Item = &'a NodeState>) -> Self {
        let mut health = Self::Unavailable;
        for node in nodes {
            if node.home.is_closed() {
                return Self::Available;
            }
            if node.alive.is_closed() {
                health = Self::Masked;
            }
        }
        health
    }

    /// The word in logs, metrics and status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Masked => "masked",
            Self::Unavailable => "unavailable",
        }
    }
}

#[cfg(test)]
mod tests;
