//! What a peer is, as its certificate says.

use std::fmt;

use valv_model::RegionName;

const REGION_SUFFIX: &str = ".region.valv.internal";
const GATEWAY: &str = "gateway.valv.internal";

/// What a peer is, proved by the DNS name in its certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// A node of a region (`{region}.region.valv.internal`).
    Region(RegionName),
    /// A front door without a region (`gateway.valv.internal`). It may forward, probe and ask for the
    /// directory, and nothing else.
    Gateway,
}

/// The DNS name in the certificate of a region's nodes.
#[must_use]
pub fn region_name(region: &RegionName) -> String {
    format!("{region}{REGION_SUFFIX}")
}

/// The DNS name in the certificate of gateways.
#[must_use]
pub fn gateway_name() -> &'static str {
    GATEWAY
}

impl Role {
    /// The role that a certificate's DNS names give: exactly one of them may be a peer's.
    #[must_use]
    pub fn of_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut roles = names.into_iter().filter_map(Self::of_name);
        let role = roles.next()?;
        roles.all(|other| other == role).then_some(role)
    }

    fn of_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        if name == GATEWAY {
            return Some(Self::Gateway);
        }
        RegionName::parse(name.strip_suffix(REGION_SUFFIX)?).ok().map(Self::Region)
    }

    /// The region, if it is a node of one.
    #[must_use]
    pub fn region(&self) -> Option<&RegionName> {
        match self {
            Self::Region(region) => Some(region),
            Self::Gateway => None,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Region(region) => write!(f, "region {region}"),
            Self::Gateway => f.write_str("gateway"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_role_stands_in_a_certificate() {
        let east = RegionName::parse("eastus").unwrap();
        assert_eq!(region_name(&east), "eastus.region.valv.internal");
        let role = |names: &[&str]| Role::of_names(names.iter().copied());
        assert_eq!(role(&["localhost", "eastus.region.valv.internal"]), Some(Role::Region(east)));
        assert_eq!(role(&["GATEWAY.valv.internal"]), Some(Role::Gateway));
        for names in [
            &[][..],
            &["localhost"],
            &["region.valv.internal"],
            &[".region.valv.internal"],
            &["*.region.valv.internal"],
            &["a.b.region.valv.internal"],
            &["eastus.region.valv.internal.example"],
            &["eastus.region.valv.internal", "westus.region.valv.internal"],
            &["eastus.region.valv.internal", "gateway.valv.internal"],
        ] {
            assert_eq!(role(names), None, "{names:?}");
        }
    }
}
