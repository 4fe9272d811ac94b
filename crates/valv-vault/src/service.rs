use std::sync::Arc;
use std::time::{Duration, Instant};

use valv_access::Registry;
use valv_model::{RegionName, Result, TenantId, VaultName};
use valv_sealing::{Barrier, RequestKey};

use crate::Clock;
use crate::vaults::Vault;

/// What a service must know.
#[derive(Clone, Debug)]
pub struct ServiceSettings {
    /// This node's region.
    pub region: RegionName,
    /// The deployment's tenant, for new vaults.
    pub tenant: TenantId,
    /// Writes that may wait in one vault's queue; beyond, 429.
    pub queue_len: usize,
    /// How long a retry gets the first result (10 minutes).
    pub request_memory: Duration,
    /// How many commits of a vault the log keeps at most.
    pub log_commits_max: u64,
    /// How many bytes of log records of a vault are kept at most.
    pub log_bytes_max: u64,
}

/// What a write carries from the request.
#[derive(Clone, Debug)]
pub struct WriteContext {
    /// The caller's object id for the log, or `valv`.
    pub caller: String,
    /// What makes a retry a retry; None: the client sent no request id.
    pub request: Option<RequestKey>,
    /// Checked again just before the commit.
    pub deadline: Instant,
}

/// The vault logic of one node.
pub struct Service {
    #[allow(dead_code)]
    pub(crate) barrier: Barrier,
    #[allow(dead_code)]
    pub(crate) clock: Arc<dyn Clock>,
    #[allow(dead_code)]
    pub(crate) settings: ServiceSettings,
}

/// What one request sees before it is authorized: the system group's and the vault's rules, of one revision.
#[derive(Clone)]
pub struct Sight {
    /// Clients, signing keys, deployment-wide roles.
    pub registry: Arc<Registry>,
    /// The live vault, if there is one of that name.
    pub vault: Option<Arc<Vault>>,
}

impl Service {
    /// A service over an initialised store: reads the system vault, starts nothing.
    pub async fn open(barrier: Barrier, clock: Arc<dyn Clock>, settings: ServiceSettings) -> Result<Self> {
        Ok(Self { barrier, clock, settings })
    }

    /// One linearizable read: registry (cached by the system vault's head) and vault (decoded copy cached by its record's bytes).
    pub async fn look(&self, vault: Option<&VaultName>) -> Result<Sight> {
        let _ = vault;
        todo!()
    }

    /// A real engine read, for `/readyz`.
    pub async fn ready(&self) -> Result<()> {
        todo!()
    }

    /// The time.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Refuses new writes and waits until the queues are empty.
    pub async fn shut_down(&self) {
        todo!()
    }
}
