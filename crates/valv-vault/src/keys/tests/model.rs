//! Any sequence of operations against a model that is a few maps.

use std::collections::BTreeMap;

use proptest::prelude::*;
use valv_model::ErrorCode;

use super::super::*;
use super::bench::{Keys, ec, enabled, name, of, symmetric};
use crate::objects::Tidied;

#[derive(Clone, Debug)]
enum Op {
    Create { at: usize, symmetric: bool },
    Import(usize, u8),
    Update { at: usize, version: Option<usize>, enabled: bool },
    Expire { at: usize, version: Option<usize>, exp: i64 },
    Restrict { at: usize, version: Option<usize> },
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
        3 => (at.clone(), any::<bool>()).prop_map(|(at, symmetric)| Op::Create { at, symmetric }),
        1 => (at.clone(), any::<u8>()).prop_map(|(at, k)| Op::Import(at, k)),
        2 => (at.clone(), version.clone(), any::<bool>())
            .prop_map(|(at, version, enabled)| Op::Update { at, version, enabled }),
        1 => (at.clone(), version.clone(), 0i64..4_000_000_000)
            .prop_map(|(at, version, exp)| Op::Expire { at, version, exp }),
        1 => (at.clone(), version.clone()).prop_map(|(at, version)| Op::Restrict { at, version }),
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

/// A version as it must be seen.
#[derive(Clone, Debug, PartialEq)]
struct Version {
    id: VersionId,
    kty: KeyType,
    public: PublicJwk,
    /// The bytes of an imported symmetric key.
    secret: Option<u8>,
    enabled: bool,
    exp: Option<i64>,
    key_ops: Vec<KeyOperation>,
}

impl Version {
    /// Is this what an answer shows?
    fn shown(&self, bundle: &KeyBundle) -> bool {
        let attributes = &bundle.item.attributes;
        self.id == bundle.item.version
            && self.kty == bundle.kty
            && self.public == bundle.public
            && self.key_ops == bundle.key_ops
            && self.enabled == attributes.enabled
            && self.exp == attributes.exp.map(|exp| exp.0)
    }
}

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
                Some(version) => (Some(version.id.clone()), Some(which)),
                None => (Some(VersionId::from_bytes([0; 16])), None),
            },
        }
    }

    fn made(
        &mut self,
        at: usize,
        got: Told<KeyBundle>,
        secret: Option<u8>,
    ) -> std::result::Result<(), TestCaseError> {
        if self.deleted.contains_key(&at) {
            prop_assert_eq!(got.err(), Some(ErrorCode::Conflict));
            return Ok(());
        }
        let bundle = got.map_err(|code| TestCaseError::fail(format!("{code:?}")))?;
        let versions = self.live.entry(at).or_default();
        prop_assert!(versions.last().is_none_or(|last| bundle.item.version > last.id));
        prop_assert!(
            versions.iter().all(|before| secret.is_some()
                || before.public != bundle.public
                || bundle.kty == KeyType::Oct)
        );
        versions.push(Version {
            id: bundle.item.version,
            kty: bundle.kty,
            public: bundle.public,
            secret,
            enabled: true,
            exp: None,
            key_ops: bundle.key_ops,
        });
        Ok(())
    }

    fn updated(
        &mut self,
        keys: &Keys,
        (at, version): (usize, Option<usize>),
        update: KeyUpdate,
        change: impl FnOnce(&mut Version),
    ) -> std::result::Result<(), TestCaseError> {
        let (id, which) = self.pick(at, version);
        let got = told(keys.update(&name(NAMES[at]), id.as_ref(), update));
        match which.and_then(|which| self.live.get_mut(&at)?.get_mut(which)) {
            Some(version) => {
                change(version);
                let bundle = got.map_err(|code| TestCaseError::fail(format!("{code:?}")))?;
                prop_assert!(version.shown(&bundle), "{version:?} {bundle:?}");
            }
            None => prop_assert_eq!(got.err(), Some(ErrorCode::KeyNotFound)),
        }
        Ok(())
    }

    fn step(&mut self, keys: &Keys, op: &Op) -> std::result::Result<(), TestCaseError> {
        match op {
            Op::Create { at, symmetric } => {
                let create = if *symmetric { of(KeyType::Oct) } else { ec() };
                self.made(*at, told(keys.create(&name(NAMES[*at]), create)), None)?;
            }
            Op::Import(at, k) => {
                self.made(*at, told(keys.import(&name(NAMES[*at]), symmetric(&[*k; 32]))), Some(*k))?;
            }
            Op::Update { at, version, enabled: on } => {
                self.updated(keys, (*at, *version), enabled(*on), |version| version.enabled = *on)?;
            }
            Op::Expire { at, version, exp } => {
                let mut update = KeyUpdate::default();
                update.attributes.common.exp = Some(UnixSeconds(*exp));
                self.updated(keys, (*at, *version), update, |version| version.exp = Some(*exp))?;
            }
            Op::Restrict { at, version } => {
                let key_ops = vec![KeyOperation::Verify];
                let update = KeyUpdate { key_ops: Some(key_ops.clone()), ..KeyUpdate::default() };
                self.updated(keys, (*at, *version), update, |version| version.key_ops = key_ops)?;
            }
            Op::Get { at, version } => {
                let (id, which) = self.pick(*at, *version);
                let got = told(keys.get(&name(NAMES[*at]), id.as_ref()));
                match which.and_then(|which| self.live.get(at)?.get(which)) {
                    // Disabled and expired keys are shown.
                    Some(version) => {
                        let bundle = got.map_err(|code| TestCaseError::fail(format!("{code:?}")))?;
                        prop_assert!(version.shown(&bundle), "{version:?} {bundle:?}");
                    }
                    None => prop_assert_eq!(got.err(), Some(ErrorCode::KeyNotFound)),
                }
            }
            Op::Delete(at) => {
                let got = told(keys.delete(&name(NAMES[*at])));
                match self.live.remove(at) {
                    Some(versions) => {
                        let due = keys.now().plus_days(7);
                        prop_assert_eq!(got.map(|deleted| deleted.scheduled_purge), Ok(due));
                        self.deleted.insert(*at, (versions, due.0));
                    }
                    None => prop_assert_eq!(got.err(), Some(ErrorCode::KeyNotFound)),
                }
            }
            Op::GetDeleted(at) => {
                let got = told(keys.get_deleted(&name(NAMES[*at])));
                match self.deleted.get(at).and_then(|(versions, _)| versions.last()) {
                    Some(version) => {
                        let deleted = got.map_err(|code| TestCaseError::fail(format!("{code:?}")))?;
                        prop_assert!(version.shown(&deleted.bundle));
                    }
                    None => prop_assert_eq!(got.err(), Some(ErrorCode::KeyNotFound)),
                }
            }
            Op::Recover(at) => {
                let got = told(keys.recover(&name(NAMES[*at]))).map(drop);
                match self.deleted.remove(at) {
                    Some((versions, _)) => {
                        prop_assert_eq!(got, Ok(()));
                        self.live.insert(*at, versions);
                    }
                    None => prop_assert_eq!(got, Err(ErrorCode::KeyNotFound)),
                }
            }
            Op::Purge(at) => {
                let got = told(keys.purge(&name(NAMES[*at])));
                let expected = self.deleted.remove(at).map(drop).ok_or(ErrorCode::KeyNotFound);
                prop_assert_eq!(got, expected);
            }
            Op::Backup(at) => {
                let got = told(keys.backup(&name(NAMES[*at])));
                match self.live.get(at) {
                    Some(versions) => {
                        let blob = got.map_err(|code| TestCaseError::fail(format!("{code:?}")))?;
                        self.backups.push((*at, versions.clone(), blob));
                    }
                    None => prop_assert_eq!(got.err(), Some(ErrorCode::KeyNotFound)),
                }
            }
            Op::Restore(which) => {
                let Some((at, versions, blob)) = self.backups.get(*which) else { return Ok(()) };
                let got = told(keys.restore(blob)).map(|bundle| bundle.item.version);
                if self.live.contains_key(at) || self.deleted.contains_key(at) {
                    prop_assert_eq!(got, Err(ErrorCode::Conflict));
                } else {
                    prop_assert_eq!(got.ok(), versions.last().map(|version| version.id.clone()));
                    self.live.insert(*at, versions.clone());
                }
            }
            Op::Wait(seconds) => keys.advance(*seconds),
            Op::Round => {
                let now = keys.now().0;
                let before = self.deleted.len();
                self.deleted.retain(|_, (_, due)| *due > now);
                let purged = (before - self.deleted.len()) as u64;
                prop_assert_eq!(keys.round(), Tidied { purged, failed: 0 });
            }
        }
        self.compare(keys)
    }

    /// The whole vault against the whole model.
    fn compare(&self, keys: &Keys) -> std::result::Result<(), TestCaseError> {
        let all = PageRequest { max: 25, after: None };
        let spelled = |at: &usize| NAMES[*at].to_owned();
        let live: Vec<String> =
            keys.list(&all).unwrap().items.iter().map(|item| item.name.to_string()).collect();
        prop_assert_eq!(live, self.live.keys().map(spelled).collect::<Vec<_>>());
        let deleted: Vec<String> = keys
            .list_deleted(&all)
            .unwrap()
            .items
            .iter()
            .map(|deleted| deleted.bundle.item.name.to_string())
            .collect();
        prop_assert_eq!(deleted, self.deleted.keys().map(spelled).collect::<Vec<_>>());
        for (at, versions) in &self.live {
            for part in 0..versions.len().div_ceil(25) {
                let after = part.checked_sub(1).map(|_| versions[part * 25 - 1].id.to_string());
                let page = keys.list_versions(&name(NAMES[*at]), &PageRequest { max: 25, after }).unwrap();
                let got: Vec<_> = page
                    .items
                    .iter()
                    .map(|item| {
                        (&item.version, item.attributes.enabled, item.attributes.exp.map(|exp| exp.0))
                    })
                    .collect();
                let expected: Vec<_> = versions
                    .iter()
                    .skip(part * 25)
                    .take(25)
                    .map(|version| (&version.id, version.enabled, version.exp))
                    .collect();
                prop_assert_eq!(got, expected);
            }
            // The private key of the last version is the one that belongs to its public half.
            if let Some(last) = versions.last() {
                let key = keys.open(&name(NAMES[*at]), None).unwrap();
                prop_assert_eq!((key.kty(), key.public()), (last.kty, last.public.clone()));
                if let Some(k) = last.secret {
                    prop_assert_eq!(&key.to_stored().unwrap()[3..], &[k; 32]);
                }
            }
        }
        let versions = self.live.values().map(Vec::len).sum::<usize>()
            + self.deleted.values().map(|(versions, _)| versions.len()).sum::<usize>();
        prop_assert_eq!(
            keys.paths().len(),
            versions + self.live.len() + self.deleted.len(),
            "nothing is left over"
        );
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_sequence_of_operations_follows_the_model(ops in prop::collection::vec(op(), 1..100)) {
        let keys = Keys::new();
        let mut model = Model::default();
        for op in &ops {
            model.step(&keys, op)?;
        }
    }
}
