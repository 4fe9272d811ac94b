//! What nodes tell each other in JSON. Unknown fields are left out, so that versions can be mixed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use valv_engine::GroupId;
use valv_model::{RegionName, VaultId};

/// What a node says about itself and its store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Its region.
    pub region: RegionName,
    /// Its own name, for people.
    pub node: String,
    /// The program's version.
    pub version: String,
    /// The store's lineage.
    pub lineage: Uuid,
    /// A linearizable read of the engine was answered within its deadline.
    pub engine_ok: bool,
    /// May the region's own group be served?
    pub standing: ProbedStanding,
    /// The groups of which the store holds a replica, by their word in keys.
    #[serde(default)]
    pub replicas: BTreeMap<String, ProbedReplica>,
    /// Ids of the root keys that the node holds.
    #[serde(default)]
    pub root_keys: Vec<String>,
    /// Its clock, milliseconds since 1970, to find clocks that are off; decides nothing about data.
    #[serde(default)]
    pub clock_ms: i64,
}

/// May a home region serve its group? See `valv_geo::standing`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbedStanding {
    /// Yes.
    Good,
    /// Not known yet.
    Checking,
    /// No: the pair copied another history, or a longer one. The reason is for people.
    Masked(String),
}

/// How far a replica is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbedReplica {
    /// The lineage that it copies; none before the first copy.
    pub lineage: Option<Uuid>,
    /// Behind home by this much; none: not known.
    pub lag_ms: Option<u64>,
    /// Commits that home had and it has not.
    #[serde(default)]
    pub behind_commits: u64,
    /// All of the group was copied once: it can answer.
    pub complete: bool,
    /// For people: copying first, following, stopped and why, unreachable.
    pub state: String,
}

/// What a region knows of a vault's name. It speaks for the groups that it holds, and for no others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// The region that answers.
    pub region: RegionName,
    /// Where the name is; none: in none of `groups`.
    pub held: Option<Held>,
    /// All groups that it looked in.
    pub groups: Vec<HeldGroup>,
}

/// A vault's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The group that holds the name.
    pub group: String,
    /// The vault is soft-deleted; a live one goes before.
    pub deleted: bool,
}

/// A group that a region can speak for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldGroup {
    /// The group's word in keys.
    pub group: String,
    /// The region that takes its writes.
    pub home: RegionName,
    /// The group's epoch.
    pub epoch: u64,
    /// The whole group is there, so that absence says something: always so at home, at a replica after its
    /// first copy.
    pub complete: bool,
}

/// What a region copied of a group: what the group's home compares its own store with before it serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// The lineage of the store that it was copied from; none: nothing was copied yet.
    pub lineage: Option<Uuid>,
    /// The head of every vault.
    pub heads: Vec<CopiedHead>,
}

/// How far one vault was copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopiedHead {
    /// The vault.
    pub vault: VaultId,
    /// The last commit's number.
    pub number: u64,
    /// The chain value after it, 64 hexadecimal digits.
    pub chain: String,
}

/// The group whose word in keys is `text`.
pub(crate) fn group_of(text: &str) -> Option<GroupId> {
    let system = GroupId::system();
    if text == system.as_str() {
        return Some(system);
    }
    RegionName::parse(text).ok().map(|region| GroupId::of_region(&region))
}
