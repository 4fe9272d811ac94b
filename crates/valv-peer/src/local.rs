use async_trait::async_trait;
use valv_engine::GroupId;
use valv_geo::Here;
use valv_geo::apply::Copied;
use valv_model::{Result, VaultName};

use crate::{Holding, Probe};

/// What a node of a region can be asked about itself, by its peers and by its own front door.
#[async_trait]
pub trait Local: Send + Sync + 'static {
    /// Its part in the decisions of its own door.
    async fn here(&self) -> Here;

    /// Its state, found out within the probe's deadline; an engine that does not answer is a part of the
    /// answer, not an error.
    async fn probe(&self) -> Probe;

    /// What the region knows of a vault's name.
    async fn holding(&self, name: &VaultName) -> Result<Holding>;

    /// What was copied of a group of which the region holds a replica; None: nothing yet.
    async fn copied(&self, group: &GroupId) -> Result<Option<Copied>>;
}
