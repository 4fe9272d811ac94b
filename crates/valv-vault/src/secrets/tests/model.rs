//! Any sequence of operations against a model that is a few maps.

use std::collections::BTreeMap;

use proptest::prelude::*;
use valv_model::ErrorCode;

use super::super::*;
use super::bench::{Bench, name, value};

#[derive(Clone, Debug)]
enum Op {
    Set(usize, u16),
    Update { at: usize, version: Option<usize>, enabled: bool },
    Get { at: usize, version: Option<usize> },
    Delete(usize),
    GetDeleted(usize),
    Recover(usize),
    Purge(usize),
    Backup(usize),
    Restore(usize),
    Wait(i64),
    Round,
}

const NAMES: [&str; 3] = ["a", "A-b", "a-c"];

fn op() -> impl Strategy<Value = Op> {
    let at = 0..NAMES.len();
    let version = prop::option::of(0usize..4);
    prop_oneof![
        4 => (at.clone(), any::<u16>()).prop_map(|(at, value)| Op::Set(at, value)),
        2 => (at.clone(), version.clone(), any::<bool>())
            .prop_map(|(at, version, enabled)| Op::Update { at, version, enabled }),
        3 => (at.clone(), version).prop_map(|(at, version)| Op::Get { at, version }),
        2 => at.clone().prop_map(Op::Delete),
        1 => at.clone().prop_map(Op::GetDeleted),
        2 => at.clone().prop_map(Op::Recover),
        1 => at.clone().prop_map(Op::Purge),
        1 => at.clone().prop_map(Op::Backup),
        2 => (0usize..6).prop_map(Op::Restore),
        1 => (-100_000i64..400_000).prop_map(Op::Wait),
        1 => Just(Op::Round),
    ]
}

/// A version: id, value, enabled.
#[derive(Clone, Debug, PartialEq)]
struct Version(VersionId, String, bool);

#[derive(Default)]
struct Model {
    live: BTreeMap<usize, Vec<Version>>,
    deleted: BTreeMap<usize, (Vec<Version>, i64)>,
    backups: Vec<(usize, Vec<Version>, String)>,
}

type Told<T> = std::result::Result<T, ErrorCode>;

fn told<T>(result: Result<T>) -> Told<T> {
    result.map_err(|error| error.code)
}

impl Model {
    /// What the version asked for is: its place, or an id that nobody has.
    fn pick(&self, at: usize, version: Option<usize>) -> (Option<VersionId>, Option<usize>) {
        let versions = self.live.get(&at).map_or(&[][..], Vec::as_slice);
        match version {
            None => (None, versions.len().checked_sub(1)),
            Some(which) => match versions.get(which) {
                Some(version) => (Some(version.0.clone()), Some(which)),
                None => (Some(VersionId::from_bytes([0; 16])), None),
            },
        }
    }

    fn step(&mut self, bench: &Bench, op: &Op) -> std::result::Result<(), TestCaseError> {
        match op {
            Op::Set(at, number) => {
                let text = number.to_string();
                let got = told(bench.set(&name(NAMES[*at]), value(&text)));
                if self.deleted.contains_key(at) {
                    prop_assert_eq!(got.err(), Some(ErrorCode::Conflict));
                } else {
                    let versions = self.live.entry(*at).or_default();
                    let item = got.map_err(|code| TestCaseError::fail(format!("{code:?}")))?.item;
                    let last = versions.last().map(|version| version.0.clone());
                    prop_assert_eq!(&item.previous_version, &last);
                    prop_assert!(last.is_none_or(|last| item.version > last));
                    versions.push(Version(item.version, text, true));
                }
            }
            Op::Update { at, version, enabled } => {
                let (id, which) = self.pick(*at, *version);
                let attributes = AttributesPatch { enabled: Some(*enabled), ..AttributesPatch::default() };
                let update = SecretUpdate { attributes, ..SecretUpdate::default() };
                let got = told(bench.update(&name(NAMES[*at]), id.as_ref(), update));
                match which.and_then(|which| self.live.get_mut(at)?.get_mut(which)) {
                    Some(version) => {
                        version.2 = *enabled;
                        prop_assert_eq!(got.map(|item| item.version), Ok(version.0.clone()));
                    }
                    None => prop_assert_eq!(got.err(), Some(ErrorCode::SecretNotFound)),
                }
            }
            Op::Get { at, version } => {
                let (id, which) = self.pick(*at, *version);
                let got = told(bench.get(&name(NAMES[*at]), id.as_ref()))
                    .map(|bundle| (bundle.item.version, bundle.value.to_string()));
                let expected = match which.and_then(|which| self.live.get(at)?.get(which)) {
                    Some(Version(id, value, true)) => Ok((id.clone(), value.clone())),
                    Some(Version(_, _, false)) => Err(ErrorCode::Forbidden),
                    None => Err(ErrorCode::SecretNotFound),
                };
                prop_assert_eq!(got, expected);
            }
            Op::Delete(at) => {
                let got = told(bench.delete(&name(NAMES[*at])));
                match self.live.remove(at) {
                    Some(versions) => {
                        let due = bench.now().plus_days(7);
                        prop_assert_eq!(got.map(|deleted| deleted.scheduled_purge), Ok(due));
                        self.deleted.insert(*at, (versions, due.0));
                    }
                    None => prop_assert_eq!(got.err(), Some(ErrorCode::SecretNotFound)),
                }
            }
            Op::GetDeleted(at) => {
                let got = told(bench.get_deleted(&name(NAMES[*at]))).map(|deleted| deleted.item.version);
                let expected = match self.deleted.get(at).and_then(|(versions, _)| versions.last()) {
                    Some(Version(id, _, true)) => Ok(id.clone()),
                    Some(_) => Err(ErrorCode::Forbidden),
                    None => Err(ErrorCode::SecretNotFound),
                };
                prop_assert_eq!(got, expected);
            }
            Op::Recover(at) => {
                let got = told(bench.recover(&name(NAMES[*at]))).map(drop);
                match self.deleted.remove(at) {
                    Some((versions, _)) => {
                        prop_assert_eq!(got, Ok(()));
                        self.live.insert(*at, versions);
                    }
                    None => prop_assert_eq!(got, Err(ErrorCode::SecretNotFound)),
                }
            }
            Op::Purge(at) => {
                let got = told(bench.purge(&name(NAMES[*at])));
                let expected = self.deleted.remove(at).map(drop).ok_or(ErrorCode::SecretNotFound);
                prop_assert_eq!(got, expected);
            }
            Op::Backup(at) => {
                let got = told(bench.backup(&name(NAMES[*at])));
                match self.live.get(at) {
                    Some(versions) => {
                        let blob = got.map_err(|code| TestCaseError::fail(format!("{code:?}")))?;
                        self.backups.push((*at, versions.clone(), blob));
                    }
                    None => prop_assert_eq!(got.err(), Some(ErrorCode::SecretNotFound)),
                }
            }
            Op::Restore(which) => {
                let Some((at, versions, blob)) = self.backups.get(*which) else { return Ok(()) };
                let got = told(bench.restore(blob)).map(|item| item.version);
                if self.live.contains_key(at) || self.deleted.contains_key(at) {
                    prop_assert_eq!(got, Err(ErrorCode::Conflict));
                } else {
                    prop_assert_eq!(got.ok(), versions.last().map(|version| version.0.clone()));
                    self.live.insert(*at, versions.clone());
                }
            }
            Op::Wait(seconds) => bench.advance(*seconds),
            Op::Round => {
                let now = bench.now().0;
                let before = self.deleted.len();
                self.deleted.retain(|_, (_, due)| *due > now);
                let purged = (before - self.deleted.len()) as u64;
                prop_assert_eq!(bench.round(), Tidied { purged, failed: 0 });
            }
        }
        self.compare(bench)
    }

    /// The whole vault against the whole model.
    fn compare(&self, bench: &Bench) -> std::result::Result<(), TestCaseError> {
        let all = PageRequest { max: 25, after: None };
        let spelled = |at: &usize| NAMES[*at].to_owned();
        let live: Vec<String> =
            bench.list(&all).unwrap().items.iter().map(|item| item.name.to_string()).collect();
        prop_assert_eq!(live, self.live.keys().map(spelled).collect::<Vec<_>>());
        let deleted: Vec<String> =
            bench.list_deleted(&all).unwrap().items.iter().map(|d| d.item.name.to_string()).collect();
        prop_assert_eq!(deleted, self.deleted.keys().map(spelled).collect::<Vec<_>>());
        for (at, versions) in &self.live {
            for part in 0..versions.len().div_ceil(25) {
                let after = part.checked_sub(1).map(|_| versions[part * 25 - 1].0.to_string());
                let page = bench.list_versions(&name(NAMES[*at]), &PageRequest { max: 25, after }).unwrap();
                let got: Vec<_> =
                    page.items.iter().map(|item| (&item.version, item.attributes.enabled)).collect();
                let expected: Vec<_> =
                    versions.iter().skip(part * 25).take(25).map(|version| (&version.0, version.2)).collect();
                prop_assert_eq!(got, expected);
            }
        }
        let versions = self.live.values().map(Vec::len).sum::<usize>()
            + self.deleted.values().map(|(versions, _)| versions.len()).sum::<usize>();
        prop_assert_eq!(
            bench.paths().len(),
            versions + self.live.len() + self.deleted.len(),
            "nothing is left over"
        );
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_sequence_of_operations_follows_the_model(ops in prop::collection::vec(op(), 1..120)) {
        let bench = Bench::new();
        let mut model = Model::default();
        for op in &ops {
            model.step(&bench, op)?;
        }
    }
}
