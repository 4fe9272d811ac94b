//! What a change sees: what was read, with what earlier changes of the same batch wrote laid over it.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use valv_engine::{Entry, KeyRange, layout};
use valv_model::{Error, Result, UnixSeconds};
use valv_sealing::{DataKeys, RecordKind};
use zeroize::Zeroizing;

use super::{Need, Target};
use crate::vaults::VaultState;

/// The sealed records of one need: path below the generation, value.
type Records = Vec<(String, Bytes)>;

/// Every need's records, all of one revision.
#[derive(Default)]
pub(super) struct Reading(HashMap<Need, Records>);

impl Reading {
    /// The range of a need in the vault's data of one generation.
    pub(super) fn range(need: &Need, target: &Target, generation: u64) -> KeyRange {
        let key = |path: &str| {
            let mut key = layout::data(&target.group, &target.id, generation).to_vec();
            key.extend_from_slice(path.as_bytes());
            key
        };
        match need {
            Need::Record(path) => KeyRange::key(key(path)),
            Need::Prefix { prefix, limit } => KeyRange::prefix(key(prefix)).limit(*limit),
            Need::Last(prefix) => KeyRange::prefix(key(prefix)).limit(1).reversed(),
        }
    }

    /// Takes up what was read for a need.
    pub(super) fn insert(&mut self, need: Need, target: &Target, generation: u64, entries: Vec<Entry>) {
        let skip = layout::data(&target.group, &target.id, generation).len();
        let records = entries
            .into_iter()
            .filter_map(|entry| {
                Some((std::str::from_utf8(entry.key.get(skip..)?).ok()?.to_owned(), entry.value))
            })
            .collect();
        self.0.insert(need, records);
    }

    fn records(&self, need: &Need) -> &[(String, Bytes)] {
        self.0.get(need).map_or(&[], Vec::as_slice)
    }
}

/// What earlier changes of the batch did to a record.
pub(super) enum Overlaid {
    Put { kind: RecordKind, plaintext: Zeroizing<Vec<u8>> },
    Deleted,
}

/// By path.
pub(super) type Overlay = BTreeMap<String, Overlaid>;

/// Can the needs be answered from the reading although the overlay deleted what was read? A prefix of which
/// only the first records were read lacks the next one then, and so does the last record.
pub(super) fn can_answer(needs: &[Need], reading: &Reading, overlay: &Overlay) -> bool {
    let deleted = |path: &str| matches!(overlay.get(path), Some(Overlaid::Deleted));
    needs.iter().all(|need| {
        let records = reading.records(need);
        let partly_read = match need {
            Need::Record(_) => false,
            Need::Prefix { limit, .. } => records.len() >= *limit,
            Need::Last(_) => true,
        };
        !(partly_read && records.iter().any(|(path, _)| deleted(path)))
    })
}

/// The vault at head *n*, as far as the change said that it needs it.
pub struct State<'a> {
    pub(super) vault: &'a VaultState,
    pub(super) keys: &'a DataKeys,
    pub(super) now_ms: i64,
    pub(super) needs: &'a [Need],
    pub(super) reading: &'a Reading,
    pub(super) overlay: &'a Overlay,
}

/// A record as it is found: sealed as read, or as an earlier change wrote it.
enum Found<'a> {
    Sealed(&'a Bytes),
    Written(RecordKind, &'a Zeroizing<Vec<u8>>),
}

impl State<'_> {
    /// The time the change is judged by.
    #[must_use]
    pub fn now(&self) -> UnixSeconds {
        UnixSeconds(self.now_ms.div_euclid(1000))
    }

    /// The same in milliseconds, for version ids.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// The vault's own record.
    #[must_use]
    pub fn vault(&self) -> &VaultState {
        self.vault
    }

    /// A record the change needs. A record that does not open is an internal error for this change only.
    pub fn get(&self, path: &str, kind: RecordKind) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let need = self.needs.iter().find(|need| match need {
            Need::Record(needed) => needed == path,
            Need::Prefix { prefix, .. } | Need::Last(prefix) => path.starts_with(prefix.as_str()),
        });
        let Some(need) = need else {
            return Err(Error::internal(format!(
                "a change looks at {path} and did not say that it needs it"
            )));
        };
        self.merged(need).remove(path).map(|found| self.open(path, kind, &found)).transpose()
    }

    /// The records of a needed prefix, in path order: (path, record).
    pub fn list(&self, prefix: &str, kind: RecordKind) -> Result<Vec<(String, Zeroizing<Vec<u8>>)>> {
        self.below(prefix)
            .into_iter()
            .map(|(path, found)| Ok((path.to_owned(), self.open(path, kind, &found)?)))
            .collect()
    }

    /// The last record of a prefix needed with [`Need::Last`] (or of a needed prefix).
    pub fn last(&self, prefix: &str, kind: RecordKind) -> Result<Option<(String, Zeroizing<Vec<u8>>)>> {
        let last = Need::Last(prefix.to_owned());
        let mut records = if self.needs.contains(&last) { self.merged(&last) } else { self.below(prefix) };
        let Some((path, found)) = records.pop_last() else { return Ok(None) };
        Ok(Some((path.to_owned(), self.open(path, kind, &found)?)))
    }

    /// The paths of a needed prefix, without opening the records.
    #[must_use]
    pub fn paths(&self, prefix: &str) -> Vec<String> {
        self.below(prefix).into_keys().map(str::to_owned).collect()
    }

    /// The records of a needed prefix, or of the part of a needed prefix.
    fn below(&self, prefix: &str) -> BTreeMap<&str, Found<'_>> {
        let exact = |need: &&Need| matches!(need, Need::Prefix { prefix: needed, .. } if needed == prefix);
        let wider = |need: &&Need| matches!(need, Need::Prefix { prefix: needed, .. } if prefix.starts_with(needed.as_str()));
        let need = self.needs.iter().find(exact).or_else(|| self.needs.iter().find(wider));
        let mut records = need.map(|need| self.merged(need)).unwrap_or_default();
        records.retain(|path, _| path.starts_with(prefix));
        records
    }

    /// A need's records with the overlay.
    fn merged(&self, need: &Need) -> BTreeMap<&str, Found<'_>> {
        let mut records: BTreeMap<&str, Found<'_>> = self
            .reading
            .records(need)
            .iter()
            .map(|(path, sealed)| (path.as_str(), Found::Sealed(sealed)))
            .collect();
        let (begin, exact) = match need {
            Need::Record(path) => (path, true),
            Need::Prefix { prefix, .. } | Need::Last(prefix) => (prefix, false),
        };
        let of_need = |path: &str| if exact { path == begin } else { path.starts_with(begin.as_str()) };
        for (path, overlaid) in self.overlay.range(begin.clone()..).take_while(|(path, _)| of_need(path)) {
            match overlaid {
                Overlaid::Put { kind, plaintext } => records.insert(path, Found::Written(*kind, plaintext)),
                Overlaid::Deleted => records.remove(path.as_str()),
            };
        }
        if let Need::Prefix { limit, .. } = need {
            while records.len() > *limit {
                records.pop_last();
            }
        }
        records
    }

    fn open(&self, path: &str, kind: RecordKind, found: &Found<'_>) -> Result<Zeroizing<Vec<u8>>> {
        let failed = |why: String| {
            Error::internal(format!("vault '{}', record {path}: {why}", self.vault.envelope.name))
        };
        match found {
            Found::Written(written, plaintext) if *written == kind => Ok((*plaintext).clone()),
            Found::Written(..) => Err(failed("it is of another kind".into())),
            Found::Sealed(sealed) => self.keys.open(path, kind, sealed).map_err(|e| failed(e.to_string())),
        }
    }
}
