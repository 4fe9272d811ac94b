use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use valv_model::RegionName;

use crate::{Compare, Expect, LeaseError, layout};

/// All vaults of one home region in one pair; the unit that has a home and an epoch.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(Box<str>);

impl GroupId {
    /// The group that holds issuer keys, clients and deployment-wide roles.
    #[must_use]
    pub fn system() -> Self {
        // A region name has no `$`, so no region's group can be mistaken for it.
        Self("$system".into())
    }

    /// The group of the vaults whose home is `region`.
    #[must_use]
    pub fn of_region(region: &RegionName) -> Self {
        Self(region.as_str().into())
    }

    /// Reads the word that stands in keys.
    pub fn parse(word: &str) -> valv_model::Result<Self> {
        if word == "$system" {
            Ok(Self::system())
        } else {
            RegionName::parse(word).map(|region| Self::of_region(&region))
        }
    }

    /// The word in keys.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// A number of a group that only promotion or restore raises; every commit compares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// The record at `g/{group}/meta`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupMeta {
    /// The only region that may write to the group.
    pub home: RegionName,
    /// See [`Epoch`].
    pub epoch: Epoch,
}

impl GroupMeta {
    /// The stored form.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        // Two strings and a number always serialise.
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

/// Proof that a region was the home of a group when the engine looked, and the comparison that makes
/// every commit under it fail once that is no longer so. Only [`WriteLease::grant`] makes one.
#[derive(Clone, Debug)]
pub struct WriteLease {
    group: GroupId,
    region: RegionName,
    epoch: Epoch,
    stored: Bytes,
}

impl WriteLease {
    /// Decides from the group's stored meta record whether `region` may write. For engines: they read
    /// the record linearizably and call this.
    pub fn grant(group: &GroupId, region: &RegionName, stored: Option<&Bytes>) -> Result<Self, LeaseError> {
        let stored = stored.ok_or_else(|| LeaseError::NoSuchGroup(group.clone()))?;
        let meta: GroupMeta =
            serde_json::from_slice(stored).map_err(|e| LeaseError::Damaged(format!("group {group}: {e}")))?;
        if meta.home != *region {
            return Err(LeaseError::NotHome { home: meta.home });
        }
        Ok(Self { group: group.clone(), region: region.clone(), epoch: meta.epoch, stored: stored.clone() })
    }

    /// The group that may be written.
    #[must_use]
    pub fn group(&self) -> &GroupId {
        &self.group
    }

    /// The region that holds the lease.
    #[must_use]
    pub fn region(&self) -> &RegionName {
        &self.region
    }

    /// The group's epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// What an engine adds to every transaction: the meta record is still the one the lease was granted on.
    #[must_use]
    pub fn compare(&self) -> Compare {
        Compare { key: layout::group_meta(&self.group), expect: Expect::Value(self.stored.clone()) }
    }
}
