//! Who may ask what: a pure decision.

use std::collections::{BTreeMap, BTreeSet};

use valv_engine::GroupId;
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
    /// The regions of the deployment, each with the groups that are replicated to it from here.
    pub fn new(regions: impl IntoIterator<Item = (RegionName, BTreeSet<GroupId>)>) -> Self {
        Self { regions: regions.into_iter().collect() }
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
    use super::*;

    #[test]
    fn a_gateway_never_replicates_and_a_region_only_what_is_its_own() {
        let region = |name: &str| RegionName::parse(name).unwrap();
        let (east, west) = (GroupId::of_region(&region("east")), GroupId::system());
        let rights =
            Rights::new([(region("west"), BTreeSet::from([east.clone()])), (region("far"), BTreeSet::new())]);
        let all =
            [Question::Forward, Question::Probe, Question::Vault, Question::Standing, Question::Pull(&east)];
        let allowed = |role: &Role| all.map(|q| rights.allows(role, q));
        assert_eq!(allowed(&Role::Gateway), [true, true, true, false, false]);
        assert_eq!(allowed(&Role::Region(region("west"))), [true; 5]);
        assert_eq!(allowed(&Role::Region(region("far"))), [true, true, true, true, false]);
        assert_eq!(allowed(&Role::Region(region("foreign"))), [false; 5]);
        assert!(!rights.allows(&Role::Region(region("west")), Question::Pull(&west)));
        assert!(!rights.admits(&Role::Region(region("foreign"))));
    }
}
