//! The regions of the cloud service, with their places and pairs, as published (Azure: `az account list-locations`,
//! "Cross-region replication in Azure", "Azure Key Vault availability and redundancy"). Facts, embedded as data; a
//! deployment may use them by name, or declare regions of its own.

use std::sync::LazyLock;

use serde::Deserialize;
use valv_model::RegionName;

use crate::{Coordinates, Region};

/// A region of the catalogue.
#[derive(Clone, Debug)]
pub struct Known {
    /// Name, geography, place.
    pub region: Region,
    /// The name that people read, such as `East US`.
    pub display_name: Box<str>,
    /// Its paired region.
    pub pair: Option<RegionName>,
    /// Whether the cloud service copies vaults to that pair; None: not published.
    pub vaults_replicate: Option<bool>,
    /// Where the published facts break a rule of pairs or are missing, in the catalogue's words.
    pub exceptions: Vec<Box<str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Row {
    name: RegionName,
    display_name: Box<str>,
    geography: Box<str>,
    latitude: Option<f64>,
    longitude: Option<f64>,
    pair: Option<RegionName>,
    vaults_replicate: Option<bool>,
    exceptions: Vec<Box<str>>,
}

static ALL: LazyLock<Vec<Known>> = LazyLock::new(|| {
    // The file is part of the program; a test reads it whole.
    let rows: Vec<Row> = serde_json::from_str(include_str!("catalogue.json")).unwrap_or_default();
    rows.into_iter()
        .map(|row| Known {
            region: Region {
                name: row.name,
                geography: row.geography,
                coordinates: row
                    .latitude
                    .zip(row.longitude)
                    .and_then(|(lat, lon)| Coordinates::new(lat, lon)),
            },
            display_name: row.display_name,
            pair: row.pair,
            vaults_replicate: row.vaults_replicate,
            exceptions: row.exceptions,
        })
        .collect()
});

/// All regions of the catalogue, by name.
#[must_use]
pub fn all() -> &'static [Known] {
    &ALL
}

/// The region of that name.
#[must_use]
pub fn find(name: &RegionName) -> Option<&'static Known> {
    ALL.iter().find(|known| known.region.name == *name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::pair::DISTANCE_MIN;

    fn known(name: &str) -> &'static Known {
        find(&RegionName::parse(name).unwrap()).unwrap()
    }

    #[test]
    fn the_catalogue_reads_whole() {
        assert_eq!(all().len(), 71);
        let names: BTreeSet<_> = all().iter().map(|k| &k.region.name).collect();
        assert_eq!(names.len(), all().len(), "a name stands twice");
        for known in all() {
            assert!(!known.region.geography.is_empty() && !known.display_name.is_empty());
            if let Some(pair) = &known.pair {
                assert!(find(pair).is_some(), "{}: pair {pair} is not in the catalogue", known.region.name);
            }
        }
        assert_eq!(known("eastus").pair.as_ref().unwrap().as_str(), "westus");
    }

    /// Every published pair that breaks a rule is named as an exception, and no exception is named in vain.
    #[test]
    fn exceptions_are_exactly_the_pairs_that_break_a_rule() {
        for known in all() {
            let says = |exception: &str| known.exceptions.iter().any(|e| **e == *exception);
            let name = &known.region.name;
            assert_eq!(known.pair.is_none(), says("noPair"), "{name}");
            assert_eq!(known.region.coordinates.is_none(), says("coordinatesUnknown"), "{name}");
            let Some(pair) = known.pair.as_ref().and_then(find) else { continue };
            assert_eq!(
                pair.region.geography != known.region.geography,
                says("pairOutsideGeography"),
                "{name}"
            );
            assert_eq!(pair.pair.as_ref() != Some(name), says("oneWayPair"), "{name}");
            if let (Some(a), Some(b)) = (known.region.coordinates, pair.region.coordinates) {
                assert_eq!(
                    a.distance(b) < DISTANCE_MIN,
                    says("pairUnder150Miles"),
                    "{name}: {}",
                    a.distance(b)
                );
            }
        }
    }
}
