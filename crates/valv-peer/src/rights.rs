//! Who may ask what: a pure decision.

use std::collections::{BTreeMap, BTreeSet};

use valv_engine::GroupId;
use valv_geo::RegionMap;
use valv_model::RegionName;

use crate::Role;

/// What each peer may ask.
#[derive(Clone, Debug, Default)]
pub struct Rights {
    regions: BTreeMap<RegionName, BTreeSet<GroupId>>,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question<'a> {
    /// To perform a client's request.
    Forward,
    /// How the node is.
    Probe,
    /// Where a vault is.
    Vault,
    /// What was copied of a group.
    Standing,
    /// Heads, log records and copies of a group.
    Pull(&'a GroupId),
}

impl Rights {
    /// What the regions of a deployment may ask of a node of `own`: each may pull the groups that both hold,
    /// as home or as replica; a home that lost its store pulls from the replica.
    #[must_use]
    pub fn of(map: &RegionMap, own: &RegionName) -> Self {
        let holds = |region: &RegionName, group: &GroupId| {
            map.home(group) == Some(region) || map.replicas(group).contains(region)
        };
        let shared = |region: &RegionName| {
            map.groups().filter(|group| holds(own, group) && holds(region, group)).cloned().collect()
        };
        Self { regions: map.regions().map(|r| (r.name.clone(), shared(&r.name))).collect() }
    }

    /// May a peer of that role speak to this node at all?
    pub(crate) fn admits(&self, role: &Role) -> bool {
        match role {
            Role::Gateway => true,
            Role::Region(region) => self.regions.contains_key(region),
        }
    }

    /// May it ask this?
    pub(crate) fn allows(&self, role: &Role, question: Question<'_>) -> bool {
        match (role, question) {
            (_, Question::Forward | Question::Probe | Question::Vault) => self.admits(role),
            (Role::Gateway, Question::Standing | Question::Pull(_)) => false,
            (Role::Region(_), Question::Standing) => self.admits(role),
            (Role::Region(region), Question::Pull(group)) => {
                self.regions.get(region).is_some_and(|groups| groups.contains(group))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use valv_geo::{Declared, Pairing, catalogue};

    use super::*;

    fn region(name: &str) -> RegionName {
        RegionName::parse(name).unwrap()
    }

    #[test]
    fn a_gateway_never_replicates_and_a_region_only_what_both_hold() {
        let declared = |name: &str, pairing: Pairing| Declared {
            region: catalogue::find(&region(name)).unwrap().region.clone(),
            pairing,
            allow_near: false,
            allow_foreign: false,
        };
        let declared = [
            declared("eastus", Pairing::Default),
            declared("westus", Pairing::Default),
            declared("northeurope", Pairing::Alone),
        ];
        let rights = Rights::of(&RegionMap::new(&declared, None).unwrap(), &region("eastus"));
        let groups = ["eastus", "westus", "northeurope", "$system"].map(|g| GroupId::parse(g).unwrap());
        let allowed = |role: &Role| {
            let plain = [Question::Forward, Question::Probe, Question::Vault, Question::Standing];
            let plain = plain.map(|q| rights.allows(role, q));
            (plain, groups.each_ref().map(|g| rights.allows(role, Question::Pull(g))))
        };
        assert_eq!(allowed(&Role::Gateway), ([true, true, true, false], [false; 4]));
        assert_eq!(allowed(&Role::Region(region("westus"))), ([true; 4], [true, true, false, true]));
        assert_eq!(allowed(&Role::Region(region("northeurope"))), ([true; 4], [false, false, false, true]));
        assert_eq!(allowed(&Role::Region(region("westus2"))), ([false; 4], [false; 4]));
        assert!(rights.admits(&Role::Gateway) && !rights.admits(&Role::Region(region("westus2"))));
    }
}
