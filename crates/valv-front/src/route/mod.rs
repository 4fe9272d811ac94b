//! Who answers a request: this node, as home or from its copy, or others. The decision itself is `valv_geo`'s pure
//! [`valv_geo::mode::route`]; here is found what it decides from.

use std::time::{Duration, Instant};

use valv_engine::GroupId;
use valv_geo::{Asked as AskedOfGeo, Plan, Refusal, Role};
use valv_model::{Effect, Error, ErrorCode, Operation, RegionName, Result, VaultName};

use crate::Far;

mod subject;
pub(crate) use subject::{Subject, needs_body, subject};

/// How a request to a vault is treated here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// This is the vault's home.
    Serve,
    /// The home is away and this is its pair: reads only.
    ServeReadOnly,
}

impl Mode {
    /// Refuses what this mode does not do.
    pub(crate) fn allow(self, operation: Operation) -> Result<()> {
        match (self, operation.spec().effect) {
            (Self::ServeReadOnly, Effect::Write) => Err(Error::read_only(operation.name())),
            _ => Ok(()),
        }
    }
}

impl From<Role> for Mode {
    fn from(role: Role) -> Self {
        match role {
            Role::Home => Self::Serve,
            Role::Replica => Self::ServeReadOnly,
        }
    }
}

/// A region that may answer, and in which group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) group: GroupId,
    pub(crate) home: RegionName,
    /// Whoever holds the group may answer.
    pub(crate) anywhere: bool,
}

impl Place {
    fn of_region(home: &RegionName) -> Self {
        Self { group: GroupId::of_region(home), home: home.clone(), anywhere: false }
    }

    fn of_system(far: &Far, anywhere: bool) -> Self {
        Self { group: GroupId::system(), home: far.regions.system_home().clone(), anywhere }
    }
}

impl Far {
    /// Where the subject lives; more than one place: they are asked one after the other until one knows it. None: the
    /// regions have answered that there is no such vault.
    pub(crate) async fn places(&self, subject: &Subject, until: Instant) -> Result<Option<Vec<Place>>> {
        let own = || self.own_region().unwrap_or_else(|| self.regions.system_home().clone());
        Ok(Some(match subject {
            Subject::Vault(name) => match self.homes.locate(name, until).await? {
                Some(located) => vec![Place::of_region(&located.home)],
                None => return Ok(None),
            },
            Subject::VaultToPut(name, wanted) => {
                // Whether the location fits is told to those who may know, by the region that performs it.
                let wanted = wanted.as_ref().and_then(|wanted| self.region(wanted));
                let located = self.homes.locate(name, until).await?.map(|located| located.home);
                vec![Place::of_region(&located.or(wanted).unwrap_or_else(own))]
            }
            Subject::Region => vec![Place::of_region(&own())],
            Subject::System => vec![Place::of_system(self, false)],
            Subject::Anywhere => vec![Place::of_system(self, true)],
            Subject::EachRegion => {
                let system = self.regions.system_home();
                let others = self.regions.regions().map(|region| &region.name).filter(|name| *name != system);
                std::iter::once(Place::of_system(self, false)).chain(others.map(Place::of_region)).collect()
            }
        }))
    }

    /// The decision. `engine_fails`: this node's own engine has just not answered, whatever the view says.
    pub(crate) fn plan(&self, place: &Place, effect: Effect, engine_fails: bool) -> Plan {
        let view = self.view.load();
        let asked = AskedOfGeo {
            group: &place.group,
            home: &place.home,
            replicas: self.regions.replicas(&place.group),
            effect,
            anywhere: place.anywhere,
            forwarded: None,
        };
        if !engine_fails {
            return valv_geo::mode::route(&asked, &view);
        }
        let mut view = (**view).clone();
        if let Some(here) = &mut view.here {
            here.engine = false;
        }
        valv_geo::mode::route(&asked, &view)
    }

    /// The schedule's figures for one operation: what computes or moves much may take as long as here.
    pub(crate) fn schedule(&self, operation: Operation, long: Duration) -> valv_geo::hedge::Settings {
        let mut schedule = self.hedge.clone();
        let takes_long = matches!(
            operation,
            Operation::KeyCreate
                | Operation::KeyRotate
                | Operation::KeyRestore
                | Operation::SecretRestore
                | Operation::RootKeyRotate
        );
        if takes_long {
            schedule.deadline = schedule.deadline.max(long);
        }
        schedule
    }

    pub(crate) fn own_region(&self) -> Option<RegionName> {
        self.view.load().here.as_ref().map(|here| here.region.clone())
    }

    fn region(&self, name: &str) -> Option<RegionName> {
        self.regions.regions().map(|region| &region.name).find(|known| known.as_str() == name).cloned()
    }

    /// Refuses to create or change a vault in the region `here` under another location.
    pub(crate) fn check_location(&self, name: &VaultName, wanted: &str, here: &RegionName) -> Result<()> {
        match self.region(&wanted.to_ascii_lowercase()) {
            Some(wanted) if wanted == *here => Ok(()),
            Some(wanted) => Err(Error::new(
                ErrorCode::Conflict,
                format!(
                    "The vault '{name}' already exists in location '{here}'. A vault with the same name cannot be created in location '{wanted}'."
                ),
            )),
            None => {
                let all: Vec<_> = self.regions.regions().map(|region| region.name.as_str()).collect();
                Err(Error::bad(format!(
                    "The location '{}' is no region of this deployment. Regions: {}.",
                    crate::perform::shown(wanted),
                    all.join(", ")
                )))
            }
        }
    }
}

/// What a refused plan is for the client.
pub(crate) fn refused(refusal: Refusal, operation: Operation) -> Error {
    match refusal {
        Refusal::ReadOnly => Error::read_only(operation.name()),
        Refusal::Unavailable => nobody(operation),
        Refusal::Misdirected => misdirected("this node cannot take that part"),
    }
}

/// 503: nobody who could answer is there.
pub(crate) fn nobody(operation: Operation) -> Error {
    Error::unavailable(format!(
        "Operation \"{operation}\" is unavailable: no node that could answer is there. Nothing was changed. Try again."
    ))
}

/// 421, for another node; that node then asks the next.
pub(crate) fn misdirected(why: &str) -> Error {
    Error::new(ErrorCode::Misdirected, "This node cannot answer for that.").detail(why)
}

#[cfg(test)]
mod tests {
    use valv_model::OPERATIONS;

    use super::*;

    #[test]
    fn read_only_refuses_exactly_what_writes() {
        for spec in OPERATIONS {
            assert!(Mode::Serve.allow(spec.operation).is_ok());
            let refused = Mode::ServeReadOnly.allow(spec.operation).is_err();
            assert_eq!(refused, spec.effect == Effect::Write, "{}", spec.name);
        }
        assert_eq!(
            Mode::ServeReadOnly.allow(Operation::SecretSet).unwrap_err().message,
            "Operation \"SecretSet\" is unavailable: the service is currently in a read-only state."
        );
    }
}
