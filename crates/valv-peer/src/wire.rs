//! What nodes tell each other in JSON. Unknown fields are left out, so that versions can be mixed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use valv_model::RegionName;

/// What a node says about itself and its store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Its region.
    pub region: RegionName,
    /// Its own name, for people.
    pub node: String,
    /// Random, for each start of the process: a node knows itself by it.
    #[serde(default)]
    pub instance: Uuid,
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

/// CBOR (RFC 8949), for answers that hold hashes.
pub(crate) mod cbor {
    use bytes::Bytes;
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    pub(crate) fn write<T: Serialize>(value: &T) -> Result<Bytes, String> {
        let mut bytes = Vec::new();
        ciborium::into_writer(value, &mut bytes).map_err(|e| e.to_string())?;
        Ok(bytes.into())
    }

    /// Reads what is exactly one value.
    pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
        let mut rest = bytes;
        let value = ciborium::from_reader(&mut rest).map_err(|e| e.to_string())?;
        if rest.is_empty() { Ok(value) } else { Err(format!("{} bytes too many", rest.len())) }
    }
}
