//! What was measured, and what follows from it: pure, so that the verdict can be tested without a deployment.

use std::collections::BTreeMap;

use serde::Serialize;

/// A read must be answered within this time (DESIGN of the failover: deadlines count from the request's arrival).
pub const READ_MAX_MS: u64 = 2_000;
/// Once the home region is back, it must serve reads and writes again within this time.
pub const RETURN_MAX_MS: u64 = 10_000;

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Changes nothing.
    Read,
    /// Changes the vault.
    Write,
}

/// Over which connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Connection {
    /// One that was used before.
    Old,
    /// One made for this request.
    New,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "is", content = "why")]
pub enum Outcome {
    /// A read, answered by the home region.
    Home,
    /// A read, answered by the paired region from its replica.
    Replica,
    /// A write, done.
    Acknowledged,
    /// A write, refused; it must never take effect.
    Refused(String),
    /// A write that may have happened or not.
    Unknown(String),
    /// A read without a right answer.
    Failed(String),
}

/// One request.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    /// When it was sent, milliseconds after the begin.
    pub at_ms: u64,
    /// How long it took.
    pub took_ms: u64,
    /// What was asked.
    pub kind: Kind,
    /// Over which connection.
    pub connection: Connection,
    /// How it ended.
    pub outcome: Outcome,
}

/// When what happened, milliseconds after the begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Moments {
    /// The home region was taken away.
    pub lost_ms: u64,
    /// It was given back.
    pub returned_ms: u64,
    /// The load ended.
    pub end_ms: u64,
}

/// One second of the timeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Second {
    /// Reads answered by the home region.
    pub home: u32,
    /// Reads answered by the paired region.
    pub pair: u32,
    /// Writes done.
    pub written: u32,
    /// Writes refused.
    pub refused: u32,
    /// Writes of unknown outcome.
    pub unknown: u32,
    /// Reads that failed.
    pub failed: u32,
}

/// What the comparison after the return found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Compared {
    /// Acknowledged writes looked for.
    pub acknowledged: usize,
    /// Acknowledged writes that are not there, or are something else.
    pub missing: Vec<String>,
    /// Refused writes that are there.
    pub took_effect: Vec<String>,
    /// Objects that could not be compared.
    pub unreadable: Vec<String>,
}

/// One operation as it was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tried {
    /// The operation's name.
    pub operation: &'static str,
    /// Does it change state?
    pub writes: bool,
    /// What must come while the region is lost.
    pub expected: String,
    /// What came before the loss.
    pub before: String,
    /// What came while the region was lost.
    pub lost: String,
    /// What came after its return.
    pub after: String,
    /// Whether all three are right.
    pub right: bool,
}

/// Everything that was measured.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// What was done to the home region.
    pub fault: String,
    /// The home region.
    pub home: String,
    /// Its pair.
    pub pair: String,
    /// Requests sent per second.
    pub rate: u32,
    /// When what happened.
    pub moments: Moments,
    /// From the loss to the end of the first read that the replica answered.
    pub first_replica_answer_ms: Option<u64>,
    /// The slowest read that was sent after the loss and before the return.
    pub slowest_read_ms: u64,
    /// The median of those.
    pub read_p50_ms: u64,
    /// Their 99th percentile.
    pub read_p99_ms: u64,
    /// From the return to the end of the first write that was done again.
    pub writes_again_ms: Option<u64>,
    /// From the return to the end of the last read that the replica answered.
    pub reads_home_again_ms: Option<u64>,
    /// The replica's lag as last reported before the loss.
    pub lag_at_loss_ms: Option<u64>,
    /// Counts over the whole rehearsal.
    pub total: Second,
    /// Why reads failed, and how often.
    pub failures: BTreeMap<String, u32>,
    /// The timeline.
    pub seconds: Vec<Second>,
    /// The comparison.
    pub compared: Compared,
    /// Every operation.
    pub operations: Vec<Tried>,
    /// The promise, point by point.
    pub promise: Vec<Point>,
}

/// One point of the promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Point {
    /// What was promised.
    pub promise: &'static str,
    /// What was measured.
    pub measured: String,
    /// Whether it held.
    pub held: bool,
}

impl Figures {
    /// Did all points hold?
    pub fn held(&self) -> bool {
        self.promise.iter().all(|point| point.held)
    }
}

/// What is known besides the samples.
pub struct Known {
    pub fault: String,
    pub home: String,
    pub pair: String,
    pub rate: u32,
    pub moments: Moments,
    /// Had the replica caught up before the load began?
    pub caught_up: bool,
    pub lag_at_loss_ms: Option<u64>,
    pub compared: Compared,
    pub operations: Vec<Tried>,
}

/// Judges a read that the replica answered by when it was sent: while home is healthy, it is a failure. Reads
/// sent just before the loss meet it.
fn judged(sample: &Sample, moments: Moments) -> Outcome {
    let healthy =
        sample.at_ms + sample.took_ms < moments.lost_ms || sample.at_ms > moments.returned_ms + RETURN_MAX_MS;
    match &sample.outcome {
        Outcome::Replica if healthy => {
            Outcome::Failed("answered by the replica while home was healthy".into())
        }
        Outcome::Home | Outcome::Replica if sample.took_ms > READ_MAX_MS => {
            Outcome::Failed(format!("took longer than {READ_MAX_MS} ms"))
        }
        other => other.clone(),
    }
}

/// Counts one outcome.
pub fn count(second: &mut Second, outcome: &Outcome) {
    match outcome {
        Outcome::Home => second.home += 1,
        Outcome::Replica => second.pair += 1,
        Outcome::Acknowledged => second.written += 1,
        Outcome::Refused(_) => second.refused += 1,
        Outcome::Unknown(_) => second.unknown += 1,
        Outcome::Failed(_) => second.failed += 1,
    }
}

/// The nearest-rank percentile of a sorted list; 0 for an empty one.
fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0)
}

/// Makes the figures and the verdict.
pub fn figures(known: Known, samples: &[Sample]) -> Figures {
    let Known { fault, home, pair, rate, moments, caught_up, lag_at_loss_ms, compared, operations } = known;
    let judged: Vec<(&Sample, Outcome)> = samples.iter().map(|s| (s, judged(s, moments))).collect();
    let mut seconds = vec![Second::default(); usize::try_from(moments.end_ms / 1000 + 1).unwrap_or(1)];
    let (mut total, mut failures) = (Second::default(), BTreeMap::new());
    for (sample, outcome) in &judged {
        let at = usize::try_from(sample.at_ms / 1000).unwrap_or(usize::MAX);
        if let Some(second) = seconds.get_mut(at) {
            count(second, outcome);
        }
        count(&mut total, outcome);
        if let Outcome::Failed(why) = outcome {
            *failures.entry(why.clone()).or_insert(0) += 1;
        }
    }
    let end = |sample: &Sample| sample.at_ms + sample.took_ms;
    let replica = || judged.iter().filter(|(s, o)| *o == Outcome::Replica && end(s) >= moments.lost_ms);
    let first_replica_answer_ms = replica().map(|(s, _)| end(s) - moments.lost_ms).min();
    let reads_home_again_ms =
        replica().map(|(s, _)| end(s).saturating_sub(moments.returned_ms)).filter(|ms| *ms > 0).max();
    let writes_again_ms = judged
        .iter()
        .filter(|(s, o)| *o == Outcome::Acknowledged && s.at_ms >= moments.returned_ms)
        .map(|(s, _)| end(s) - moments.returned_ms)
        .min();
    let mut lost_reads: Vec<u64> = judged
        .iter()
        .filter(|(s, _)| s.kind == Kind::Read && s.at_ms < moments.returned_ms && end(s) >= moments.lost_ms)
        .map(|(s, _)| s.took_ms)
        .collect();
    lost_reads.sort_unstable();
    let mut figures = Figures {
        fault,
        home,
        pair,
        rate,
        moments,
        first_replica_answer_ms,
        slowest_read_ms: lost_reads.last().copied().unwrap_or(0),
        read_p50_ms: percentile(&lost_reads, 50),
        read_p99_ms: percentile(&lost_reads, 99),
        writes_again_ms,
        reads_home_again_ms,
        lag_at_loss_ms,
        total,
        failures,
        seconds,
        compared,
        operations,
        promise: Vec::new(),
    };
    figures.promise = promise(&figures, caught_up, &judged);
    figures
}

fn promise(figures: &Figures, caught_up: bool, judged: &[(&Sample, Outcome)]) -> Vec<Point> {
    let Figures { moments, total, compared, operations, .. } = figures;
    let ms = |value: Option<u64>| value.map_or("never".to_owned(), |ms| format!("{ms} ms"));
    let within = |value: Option<u64>, max| value.is_some_and(|ms| ms <= max);
    // A write that the home region took before it died may be answered a little later.
    let late = |sample: &Sample| {
        sample.at_ms > moments.lost_ms + READ_MAX_MS && sample.at_ms + sample.took_ms < moments.returned_ms
    };
    let accepted = judged.iter().filter(|(s, o)| *o == Outcome::Acknowledged && late(s)).count();
    let slow_writes =
        judged.iter().filter(|(s, _)| s.kind == Kind::Write && s.took_ms > READ_MAX_MS + 500).count();
    let wrong: Vec<_> = operations.iter().filter(|o| !o.right).map(|o| o.operation).collect();
    let list = |names: &[String]| {
        let shown: Vec<_> = names.iter().take(3).map(String::as_str).collect();
        let more = if names.len() > 3 { ", .." } else { "" };
        if names.is_empty() {
            "0".to_owned()
        } else {
            format!("{} ({}{more})", names.len(), shown.join(", "))
        }
    };
    vec![
        Point {
            promise: "the replica follows home",
            measured: match figures.lag_at_loss_ms {
                Some(lag) if caught_up => format!("{lag} ms behind at the loss"),
                _ => "it had not caught up".to_owned(),
            },
            held: caught_up && figures.lag_at_loss_ms.is_some(),
        },
        Point {
            promise: "no read fails",
            measured: format!("{} failed of {}", total.failed, total.failed + total.home + total.pair),
            held: total.failed == 0 && total.home > 0,
        },
        Point {
            promise: "the paired region answers reads within 2 s of the loss",
            measured: ms(figures.first_replica_answer_ms),
            held: within(figures.first_replica_answer_ms, READ_MAX_MS),
        },
        Point {
            promise: "writes are refused or of unknown outcome while the region is lost, each within 2.5 s",
            measured: format!(
                "{} refused, {} unknown, {accepted} accepted, {slow_writes} slow",
                total.refused, total.unknown
            ),
            held: accepted == 0 && slow_writes == 0 && total.refused > 0,
        },
        Point {
            promise: "writes work again within 10 s of the return",
            measured: ms(figures.writes_again_ms),
            held: within(figures.writes_again_ms, RETURN_MAX_MS),
        },
        Point {
            promise: "no acknowledged write is missing",
            measured: format!("{} missing of {}", list(&compared.missing), compared.acknowledged),
            held: compared.missing.is_empty() && compared.unreadable.is_empty() && compared.acknowledged > 0,
        },
        Point {
            promise: "no refused write took effect",
            measured: list(&compared.took_effect),
            held: compared.took_effect.is_empty(),
        },
        Point {
            promise: "while the region is lost exactly the operations that change nothing are answered",
            measured: if wrong.is_empty() {
                format!("{} operations as expected", operations.len())
            } else {
                format!("not as expected: {}", wrong.join(", "))
            },
            held: wrong.is_empty() && !operations.is_empty(),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENTS: Moments = Moments { lost_ms: 5_000, returned_ms: 15_000, end_ms: 30_000 };

    fn sample(at_ms: u64, took_ms: u64, kind: Kind, outcome: Outcome) -> Sample {
        Sample { at_ms, took_ms, kind, connection: Connection::Old, outcome }
    }

    fn known() -> Known {
        Known {
            fault: "kill".into(),
            home: "eastus".into(),
            pair: "westus".into(),
            rate: 10,
            moments: MOMENTS,
            caught_up: true,
            lag_at_loss_ms: Some(40),
            compared: Compared { acknowledged: 2, ..Compared::default() },
            operations: vec![Tried {
                operation: "SecretGet",
                writes: false,
                expected: "200".into(),
                before: "200".into(),
                lost: "200".into(),
                after: "200".into(),
                right: true,
            }],
        }
    }

    fn good() -> Vec<Sample> {
        vec![
            sample(1_000, 3, Kind::Read, Outcome::Home),
            sample(1_000, 5, Kind::Write, Outcome::Acknowledged),
            sample(4_999, 905, Kind::Read, Outcome::Replica),
            sample(4_999, 1_900, Kind::Write, Outcome::Unknown("504".into())),
            sample(8_000, 4, Kind::Read, Outcome::Replica),
            sample(8_000, 2, Kind::Write, Outcome::Refused("503".into())),
            sample(17_000, 4, Kind::Read, Outcome::Replica),
            sample(18_000, 4, Kind::Write, Outcome::Acknowledged),
            sample(26_000, 4, Kind::Read, Outcome::Home),
        ]
    }

    #[test]
    fn a_good_run_holds_and_its_figures_are_right() {
        let figures = figures(known(), &good());
        assert!(figures.held(), "{:?}", figures.promise);
        assert_eq!(figures.first_replica_answer_ms, Some(904));
        assert_eq!(figures.writes_again_ms, Some(3_004));
        assert_eq!(figures.reads_home_again_ms, Some(2_004));
        assert_eq!(figures.slowest_read_ms, 905);
        assert_eq!(figures.seconds[8], Second { pair: 1, refused: 1, ..Second::default() });
        assert_eq!(figures.seconds.len(), 31);
    }

    #[test]
    fn every_way_to_break_the_promise_is_seen() {
        type Break = Box<dyn Fn(&mut Known, &mut Vec<Sample>)>;
        let broken: Vec<(&str, Break)> = vec![
            (
                "a failed read",
                Box::new(|_, s| s.push(sample(6_000, 9, Kind::Read, Outcome::Failed("404".into())))),
            ),
            ("a slow read", Box::new(|_, s| s.push(sample(6_000, 2_001, Kind::Read, Outcome::Replica)))),
            (
                "the replica before the loss",
                Box::new(|_, s| s.push(sample(2_000, 9, Kind::Read, Outcome::Replica))),
            ),
            (
                "the replica long after the return",
                Box::new(|_, s| s.push(sample(25_001, 9, Kind::Read, Outcome::Replica))),
            ),
            (
                "a write accepted",
                Box::new(|_, s| s.push(sample(9_000, 9, Kind::Write, Outcome::Acknowledged))),
            ),
            (
                "a slow write",
                Box::new(|_, s| s.push(sample(9_000, 2_600, Kind::Write, Outcome::Unknown("504".into())))),
            ),
            ("nothing refused", Box::new(|_, s| s.retain(|s| !matches!(s.outcome, Outcome::Refused(_))))),
            ("no write after the return", Box::new(|_, s| s.retain(|s| s.at_ms != 18_000))),
            ("no answer of the replica", Box::new(|_, s| s.retain(|s| s.outcome != Outcome::Replica))),
            ("no answer of home", Box::new(|_, s| s.retain(|s| s.outcome != Outcome::Home))),
            ("a missing write", Box::new(|k, _| k.compared.missing.push("a/1".into()))),
            ("nothing compared", Box::new(|k, _| k.compared.acknowledged = 0)),
            ("an object not compared", Box::new(|k, _| k.compared.unreadable.push("a".into()))),
            ("a refused write that is there", Box::new(|k, _| k.compared.took_effect.push("a".into()))),
            ("a wrong operation", Box::new(|k, _| k.operations[0].right = false)),
            ("no operation tried", Box::new(|k, _| k.operations.clear())),
        ];
        for (why, breaks) in broken {
            let (mut known, mut samples) = (known(), good());
            breaks(&mut known, &mut samples);
            assert!(!figures(known, &samples).held(), "{why} was not seen");
        }
    }

    #[test]
    fn percentiles_are_the_nearest_rank() {
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!((percentile(&hundred, 50), percentile(&hundred, 99)), (50, 99));
        assert_eq!((percentile(&[7], 99), percentile(&[], 99)), (7, 0));
    }
}
