//! Pairs and their rules: one geography, and at least 150 miles apart, so that one storm, flood or power grid does not
//! take both. A declared pair that breaks a rule is refused; an override turns the refusal into a warning; pairs of the
//! catalogue only warn, because they are what people have.

use std::fmt;

use valv_engine::GroupId;
use valv_model::RegionName;

use crate::catalogue::{self, Known};
use crate::{Distance, Region};

/// The shortest distance of a pair: 150 statute miles.
pub const DISTANCE_MIN: Distance = Distance::miles(150.0);

/// Which pair a region asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// The catalogue's, if that region belongs to the deployment; or the region that declares this one as its pair.
    Default,
    /// None: its vaults are not replicated.
    Alone,
    /// This one.
    With(RegionName),
}

/// A region as the configuration declares it.
#[derive(Clone, Debug)]
pub struct Declared {
    /// Name, geography, place.
    pub region: Region,
    /// Its pair.
    pub pairing: Pairing,
    /// `allow-near-pair`: a pair that is too near, or whose distance is unknown, is taken with a warning.
    pub allow_near: bool,
    /// `allow-foreign-pair`: a pair of another geography is taken with a warning.
    pub allow_foreign: bool,
}

/// A deployment's regions, their pairs, and so who holds what.
#[derive(Clone, Debug)]
pub struct RegionMap {
    places: Vec<Place>,
    system: Place,
    warnings: Vec<Warning>,
}

#[derive(Clone, Debug)]
struct Place {
    group: GroupId,
    region: Region,
    /// Where the group is copied to.
    replicas: Vec<RegionName>,
}

/// A rule that a pair breaks.
#[derive(Clone, Debug, PartialEq)]
pub enum Broken {
    /// Nearer than [`DISTANCE_MIN`].
    Near(Distance),
    /// The distance cannot be told: coordinates are missing.
    DistanceUnknown,
    /// Two geographies: of the region, and of the pair.
    Foreign(Box<str>, Box<str>),
    /// The pair's own pair is another region (named), or none.
    OneWay(Option<RegionName>),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Near(distance) => {
                write!(f, "they are {distance} apart; the rule is at least {DISTANCE_MIN}, great circle")
            }
            Self::DistanceUnknown => {
                write!(f, "their distance is unknown; the rule is at least {DISTANCE_MIN}, great circle")
            }
            Self::Foreign(own, other) => {
                write!(f, "they lie in two geographies ('{own}' and '{other}'); the rule is one geography")
            }
            Self::OneWay(Some(other)) => {
                write!(f, "the pair's own pair is '{other}'; the rule is that each is the other's pair")
            }
            Self::OneWay(None) => {
                f.write_str("the pair has no pair itself; the rule is that each is the other's pair")
            }
        }
    }
}

impl Broken {
    fn way_out(&self) -> &'static str {
        match self {
            Self::Near(_) => {
                "Choose a pair farther away, or set allow-near-pair = true for the region; status then shows a warning."
            }
            Self::DistanceUnknown => {
                "Declare latitude and longitude of both regions, or set allow-near-pair = true for the region; status then shows a warning."
            }
            Self::Foreign(..) => {
                "Choose a pair in the same geography, or set allow-foreign-pair = true for the region; status then shows a warning."
            }
            Self::OneWay(_) => "Declare the pair in both regions, or in neither.",
        }
    }
}

/// Why a deployment's regions are refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PairError {
    /// No region at all.
    #[error("no region is declared")]
    NoRegion,
    /// A name stands twice.
    #[error("region '{0}' is declared twice. Remove one of the two.")]
    Twice(RegionName),
    /// A region that pairs with itself.
    #[error("region '{0}' is its own pair. Name another region, or pair = \"none\".")]
    Itself(RegionName),
    /// The pair is no region of the deployment.
    #[error(
        "region '{region}' has the pair '{pair}', which is not declared. Declare it as [[regions]] too, or set pair = \"none\"."
    )]
    PairMissing {
        /// The region.
        region: RegionName,
        /// Its pair.
        pair: RegionName,
    },
    /// A rule is broken.
    #[error("region '{region}' cannot have the pair '{pair}': {broken}. {}", .broken.way_out())]
    Rule {
        /// The region.
        region: RegionName,
        /// Its pair.
        pair: RegionName,
        /// The rule.
        broken: Broken,
    },
    /// The system home is no region of the deployment.
    #[error("system_home is '{0}', which is not declared. Name one of the [[regions]].")]
    SystemHome(RegionName),
}

/// What a deployment's operator should know; shown at start and in status.
#[derive(Clone, Debug, PartialEq)]
pub enum Warning {
    /// A pair that breaks a rule, by the catalogue or by an override.
    Pair {
        /// The region.
        region: RegionName,
        /// Its pair.
        pair: RegionName,
        /// The rule.
        broken: Broken,
    },
    /// The region has no pair.
    NotReplicated {
        /// The region.
        region: RegionName,
        /// The pair that the catalogue names for it, which is not used.
        published: Option<RegionName>,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pair { region, pair, broken } => {
                write!(f, "region '{region}' has the pair '{pair}', but {broken}")
            }
            Self::NotReplicated { region, published } => {
                write!(
                    f,
                    "region '{region}' has no pair: its vaults are not replicated, and are away when it is lost"
                )?;
                match published {
                    Some(pair) => write!(f, " (its published pair '{pair}' is not used)"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl RegionMap {
    /// Applies the rules of pairs. `system_home`: where group `$system` lives; None: the first region.
    pub fn new(declared: &[Declared], system_home: Option<&RegionName>) -> Result<Self, PairError> {
        let first = declared.first().ok_or(PairError::NoRegion)?;
        for (at, one) in declared.iter().enumerate() {
            if declared[..at].iter().any(|other| other.region.name == one.region.name) {
                return Err(PairError::Twice(one.region.name.clone()));
            }
        }
        let system_home = system_home.unwrap_or(&first.region.name);
        let home = find(declared, system_home).ok_or_else(|| PairError::SystemHome(system_home.clone()))?;

        let mut places = Vec::new();
        let mut warnings = Vec::new();
        for one in declared {
            let name = &one.region.name;
            let pair = pair_of(one, declared);
            let Some(pair) = pair else {
                let published = catalogue::find(name).and_then(|known| known.pair.clone());
                warnings.push(Warning::NotReplicated { region: name.clone(), published });
                places.push(Place::new(&one.region, Vec::new()));
                continue;
            };
            if pair == *name {
                return Err(PairError::Itself(pair));
            }
            let Some(other) = find(declared, &pair) else {
                return Err(PairError::PairMissing { region: name.clone(), pair });
            };
            let published = is_published(one, other);
            for broken in broken(one, other, pair_of(other, declared)) {
                let allowed = match broken {
                    Broken::Near(_) | Broken::DistanceUnknown => one.allow_near || other.allow_near,
                    Broken::Foreign(..) => one.allow_foreign || other.allow_foreign,
                    Broken::OneWay(_) => false,
                };
                if !allowed && !published {
                    return Err(PairError::Rule { region: name.clone(), pair, broken });
                }
                warnings.push(Warning::Pair { region: name.clone(), pair: pair.clone(), broken });
            }
            places.push(Place::new(&one.region, vec![pair]));
        }
        let elsewhere = declared.iter().map(|one| &one.region.name).filter(|name| *name != system_home);
        let system = Place {
            group: GroupId::system(),
            region: home.region.clone(),
            replicas: elsewhere.cloned().collect(),
        };
        Ok(Self { places, system, warnings })
    }

    /// A deployment of one region, which need not say where it is.
    #[must_use]
    pub fn single(name: &RegionName) -> Self {
        let known = catalogue::find(name).map(|known| known.region.clone());
        let region = known.unwrap_or(Region { name: name.clone(), geography: "".into(), coordinates: None });
        let system = Place { group: GroupId::system(), region: region.clone(), replicas: Vec::new() };
        let warnings = vec![Warning::NotReplicated { region: name.clone(), published: None }];
        Self { places: vec![Place::new(&region, Vec::new())], system, warnings }
    }

    /// All regions, in the order of the configuration.
    pub fn regions(&self) -> impl Iterator<Item = &Region> {
        self.places.iter().map(|place| &place.region)
    }

    /// Does the region belong to the deployment?
    #[must_use]
    pub fn contains(&self, region: &RegionName) -> bool {
        self.regions().any(|one| one.name == *region)
    }

    /// The region's pair: where its vaults are copied to.
    #[must_use]
    pub fn pair(&self, region: &RegionName) -> Option<&RegionName> {
        self.places.iter().find(|place| place.region.name == *region)?.replicas.first()
    }

    /// The home of group `$system`.
    #[must_use]
    pub fn system_home(&self) -> &RegionName {
        &self.system.region.name
    }

    /// All groups: `$system` first, then one for each region.
    pub fn groups(&self) -> impl Iterator<Item = &GroupId> {
        self.all().map(|place| &place.group)
    }

    /// The home of a group; None: no group of this deployment.
    #[must_use]
    pub fn home(&self, group: &GroupId) -> Option<&RegionName> {
        self.place(group).map(|place| &place.region.name)
    }

    /// The regions that hold a copy of a group.
    #[must_use]
    pub fn replicas(&self, group: &GroupId) -> &[RegionName] {
        self.place(group).map_or(&[], |place| &place.replicas)
    }

    /// The groups that a region holds a copy of, each with its home: what its nodes pull.
    pub fn copies<'a>(
        &'a self,
        region: &'a RegionName,
    ) -> impl Iterator<Item = (&'a GroupId, &'a RegionName)> {
        self.all()
            .filter(|place| place.replicas.contains(region))
            .map(|place| (&place.group, &place.region.name))
    }

    /// What the operator should know.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    fn all(&self) -> impl Iterator<Item = &Place> {
        std::iter::once(&self.system).chain(&self.places)
    }

    fn place(&self, group: &GroupId) -> Option<&Place> {
        self.all().find(|place| place.group == *group)
    }
}

impl Place {
    fn new(region: &Region, replicas: Vec<RegionName>) -> Self {
        Self { group: GroupId::of_region(&region.name), region: region.clone(), replicas }
    }
}

fn find<'a>(declared: &'a [Declared], name: &RegionName) -> Option<&'a Declared> {
    declared.iter().find(|one| one.region.name == *name)
}

/// The pair that the catalogue gives a region, unless the cloud service leaves vaults out there.
fn published(known: &'static Known) -> Option<&'static RegionName> {
    known.pair.as_ref().filter(|_| known.vaults_replicate != Some(false))
}

/// Is this pair the catalogue's own, seen from either side?
fn is_published(one: &Declared, other: &Declared) -> bool {
    // A region that the configuration moves elsewhere is no longer the catalogue's.
    let facts = |declared: &Declared| {
        catalogue::find(&declared.region.name).filter(|known| known.region == declared.region)
    };
    let (Some(own), Some(_)) = (facts(one), facts(other)) else { return false };
    own.pair.as_ref() == Some(&other.region.name)
}

/// The pair of a region: the declared one; else the published one, if it is there; else the one that declared this.
fn pair_of(one: &Declared, all: &[Declared]) -> Option<RegionName> {
    match &one.pairing {
        Pairing::Alone => None,
        Pairing::With(pair) => Some(pair.clone()),
        Pairing::Default => {
            let known = catalogue::find(&one.region.name).and_then(published);
            let there =
                known.filter(|pair| find(all, pair).is_some_and(|other| other.pairing != Pairing::Alone));
            let asking = || {
                let asks = |other: &&Declared| other.pairing == Pairing::With(one.region.name.clone());
                all.iter().find(asks).map(|other| &other.region.name)
            };
            there.or_else(asking).cloned()
        }
    }
}

fn broken(one: &Declared, other: &Declared, back: Option<RegionName>) -> Vec<Broken> {
    let (region, pair) = (&one.region, &other.region);
    let mut broken = Vec::new();
    if region.geography != pair.geography {
        broken.push(Broken::Foreign(region.geography.clone(), pair.geography.clone()));
    }
    match region.coordinates.zip(pair.coordinates).map(|(a, b)| a.distance(b)) {
        None => broken.push(Broken::DistanceUnknown),
        Some(distance) if distance < DISTANCE_MIN => broken.push(Broken::Near(distance)),
        Some(_) => {}
    }
    if back.as_ref() != Some(&region.name) {
        broken.push(Broken::OneWay(back));
    }
    broken
}

#[cfg(test)]
mod tests;
