use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use valv_model::RegionName;

use crate::planted::{self, Bug};
use crate::{CommitError, Compare, Expect, LeaseError, Transaction, layout};

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

fn read_meta(group: &GroupId, stored: Option<&Bytes>) -> Result<(Bytes, GroupMeta), LeaseError> {
    let stored = stored.ok_or_else(|| LeaseError::NoSuchGroup(group.clone()))?;
    let meta =
        serde_json::from_slice(stored).map_err(|e| LeaseError::Damaged(format!("group {group}: {e}")))?;
    Ok((stored.clone(), meta))
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
        let (stored, meta) = read_meta(group, stored)?;
        if meta.home != *region && !planted::active(Bug::ReplicaTakesWrites) {
            return Err(LeaseError::NotHome { home: meta.home });
        }
        Ok(Self { group: group.clone(), region: region.clone(), epoch: meta.epoch, stored })
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

/// Proof that a group's home was another region when the engine looked: the store holds a replica of the
/// group, which takes the home's commits and no client's. Only [`ReplicaLease::grant`] makes one.
#[derive(Clone, Debug)]
pub struct ReplicaLease {
    group: GroupId,
    home: RegionName,
    epoch: Epoch,
    stored: Bytes,
}

impl ReplicaLease {
    /// Decides from the group's stored meta record whether `region` holds a replica. For engines: they read
    /// the record linearizably and call this.
    pub fn grant(group: &GroupId, region: &RegionName, stored: Option<&Bytes>) -> Result<Self, LeaseError> {
        let (stored, meta) = read_meta(group, stored)?;
        if meta.home == *region && !planted::active(Bug::HomeTakesCopies) {
            return Err(LeaseError::IsHome(meta.home));
        }
        Ok(Self { group: group.clone(), home: meta.home, epoch: meta.epoch, stored })
    }

    /// The group whose replica may be written.
    #[must_use]
    pub fn group(&self) -> &GroupId {
        &self.group
    }

    /// The group's home.
    #[must_use]
    pub fn home(&self) -> &RegionName {
        &self.home
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

    /// Refuses a transaction that changes anything but this group's content. Engines call it with
    /// [`Transaction::check`]: what another region sent reaches nothing else of the store.
    pub fn check(&self, transaction: &Transaction) -> Result<(), CommitError> {
        let (prefix, meta) = (layout::group(&self.group), layout::group_meta(&self.group));
        match transaction
            .ops
            .iter()
            .map(crate::Op::key)
            .find(|key| !key.starts_with(&prefix) || **key == meta)
        {
            Some(_) => Err(CommitError::Malformed("a key is not one of the replica's".into())),
            None => Ok(()),
        }
    }
}
