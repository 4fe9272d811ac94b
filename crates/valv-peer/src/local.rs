use async_trait::async_trait;
use valv_engine::GroupId;
use valv_model::{Result, VaultName};

use crate::{Copied, Holding, Probe};

/// What a node of a region can be asked by its peers about itself, and by its own front door.
#[async_trait]
pub trait Local: Send + Sync + 'static {
    /// Its state, found out within the probe's deadline; an engine that does not answer is a part of the
    /// answer, not an error.
    async fn probe(&self) -> Probe;

    /// What the region knows of a vault's name.
    async fn holding(&self, name: &VaultName) -> Result<Holding>;

    /// What was copied of a group of which the region holds a replica.
    async fn copied(&self, group: &GroupId) -> Result<Copied>;
}
