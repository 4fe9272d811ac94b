use std::fmt;
use std::sync::Arc;

use valv_model::RegionName;

/// A node's peer listener: where it is and which region it must prove to be of. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node(Arc<Inner>);

#[derive(PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Inner {
    region: RegionName,
    address: Box<str>,
}

impl Node {
    /// The node of `region` whose peer listener is at `address` (`host:port`).
    #[must_use]
    pub fn new(region: RegionName, address: impl Into<Box<str>>) -> Self {
        Self(Arc::new(Inner { region, address: address.into() }))
    }

    /// The region.
    #[must_use]
    pub fn region(&self) -> &RegionName {
        &self.0.region
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.0.address
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0.address, self.0.region)
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
