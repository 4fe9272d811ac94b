use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use valv_access::Registry;
use valv_engine::{GroupId, KeyRange, layout};
use valv_model::{RegionName, Result, TenantId, VaultName};
use valv_sealing::{Barrier, RequestKey};

use crate::Clock;
use crate::keys::{Pool, PoolSettings};
use crate::lifecycle::Rounds;
use crate::node::Node;
use crate::queue::Queues;
use crate::system::registry;
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
    /// What is computed with keys at once, and how much may wait; beyond, 429.
    pub pool: PoolSettings,
}

impl ServiceSettings {
    /// Settings with the defaults of a small deployment: 256 waiting writes, requests remembered for 10 minutes,
    /// a log of at most 100,000 commits and 256 MiB.
    #[must_use]
    pub fn defaults(region: &RegionName, tenant: &TenantId) -> Self {
        Self {
            region: region.clone(),
            tenant: tenant.clone(),
            queue_len: 256,
            request_memory: Duration::from_secs(600),
            log_commits_max: 100_000,
            log_bytes_max: 256 * 1024 * 1024,
            pool: PoolSettings::default(),
        }
    }
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
    pub(crate) barrier: Barrier,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: ServiceSettings,
    pub(crate) node: Arc<Node>,
    pub(crate) queues: Arc<Queues>,
    /// The system vault's head as stored, and what was read at it.
    registry: ArcSwap<(Bytes, Arc<Registry>)>,
    system_head: Bytes,
    pub(crate) rounds: Rounds,
    /// Computations with keys.
    pub(crate) pool: Pool,
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
    ///
    /// Errors: `ServiceUnavailable` when the engine does not answer; an internal error, whose detail says what
    /// to do, for a store without a system vault.
    pub async fn open(barrier: Barrier, clock: Arc<dyn Clock>, settings: ServiceSettings) -> Result<Self> {
        let node = Arc::new(Node::new(barrier.clone(), Arc::clone(&clock), settings.clone()));
        let system = registry::system_vault(&node).await?;
        let loaded = registry::load(&node, &system, None).await?;
        let pool = Pool::new(settings.pool);
        Ok(Self {
            barrier,
            clock,
            settings,
            pool,
            node,
            queues: Queues::new(),
            registry: ArcSwap::from_pointee((loaded.head, loaded.registry)),
            rounds: Rounds::default(),
            system_head: layout::head(&GroupId::system(), &system.state.envelope.id),
        })
    }

    /// One linearizable read: registry (cached by the system vault's head) and vault (decoded copy cached by its record's bytes).
    ///
    /// Errors: `ServiceUnavailable` when the engine does not answer; an internal error for a vault whose record
    /// does not open, which concerns that vault only.
    pub async fn look(&self, vault: Option<&VaultName>) -> Result<Sight> {
        let group = self.node.group();
        let mut ranges = Vec::with_capacity(2);
        ranges.push(KeyRange::key(self.system_head.clone()));
        ranges.extend(vault.map(|name| KeyRange::key(layout::vault(&group, name))));
        let read = self.node.read(&ranges).await?;
        let head = read.first().and_then(|range| range.first()).map(|entry| &entry.value);
        let known = self.registry.load();
        if head.is_none_or(|head| *head != known.0) {
            return self.look_again(vault).await;
        }
        let vault = match (vault, read.get(1).and_then(|range| range.first())) {
            (Some(name), Some(entry)) => Some(self.node.live_vault(&group, name, &entry.value)?),
            _ => None,
        };
        Ok(Sight { registry: Arc::clone(&known.1), vault })
    }

    /// The same when the system vault has changed: everything anew, of one revision.
    async fn look_again(&self, name: Option<&VaultName>) -> Result<Sight> {
        let system = registry::system_vault(&self.node).await?;
        let loaded = registry::load(&self.node, &system, name).await?;
        self.registry.store(Arc::new((loaded.head, Arc::clone(&loaded.registry))));
        let vault = match (name, &loaded.vault) {
            (Some(name), Some(stored)) => Some(self.node.live_vault(&self.node.group(), name, stored)?),
            _ => None,
        };
        Ok(Sight { registry: loaded.registry, vault })
    }

    /// A real engine read, for `/readyz`.
    pub async fn ready(&self) -> Result<()> {
        self.node.read(&[KeyRange::key(self.system_head.clone())]).await.map(drop)
    }

    /// The time.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Refuses new writes and waits until the queues are empty, at most ten seconds.
    pub async fn shut_down(&self) {
        self.queues.shut_down().await;
    }
}
