use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use valv_engine::GroupId;
use valv_model::{Error, ErrorCode, RegionName, Result, TenantId, VaultName};
use valv_sealing::{Barrier, RequestKey};

use crate::Clock;
use crate::keys::{Events, KeyCache, Pool, PoolSettings};
use crate::lifecycle::Rounds;
use crate::node::Node;
use crate::queue::Queues;
use crate::system::registry;

/// What a service must know.
#[derive(Clone, Debug)]
pub struct ServiceSettings {
    /// This node's region.
    pub region: RegionName,
    /// The regions whose vaults this region holds copies of: those that have it as their pair.
    pub replicas: Vec<RegionName>,
    /// The home of the system group; every other region holds a copy of it.
    pub system_home: RegionName,
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
    /// The most private keys that are kept opened (10,000; an RSA key takes 5 to 12 KiB).
    pub opened_keys: usize,
}

impl ServiceSettings {
    /// Settings with the defaults of a small deployment of one region: 256 waiting writes, requests remembered for 10 minutes,
    /// a log of at most 100,000 commits and 256 MiB.
    #[must_use]
    pub fn defaults(region: &RegionName, tenant: &TenantId) -> Self {
        Self {
            region: region.clone(),
            replicas: Vec::new(),
            system_home: region.clone(),
            tenant: tenant.clone(),
            queue_len: 256,
            request_memory: Duration::from_secs(600),
            log_commits_max: 100_000,
            log_bytes_max: 256 * 1024 * 1024,
            pool: PoolSettings::default(),
            opened_keys: 10_000,
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

/// The caller of what the service does by itself. No caller's object id reads so.
pub(crate) const OURSELVES: &str = "valv";

impl WriteContext {
    /// For a write of the service's own that may take so long.
    pub(crate) fn own(timeout: Duration) -> Self {
        Self { caller: OURSELVES.into(), request: None, deadline: Instant::now() + timeout }
    }
}

/// The vault logic of one node.
pub struct Service {
    pub(crate) barrier: Barrier,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: ServiceSettings,
    pub(crate) node: Arc<Node>,
    pub(crate) queues: Arc<Queues>,
    /// None: a replica that has not copied the system vault yet.
    pub(crate) registry: ArcSwapOption<registry::Loaded>,
    names: OnceLock<Arc<dyn NameCheck>>,
    pub(crate) rounds: Rounds,
    /// Computations with keys.
    pub(crate) pool: Pool,
    /// Opened private keys.
    pub(crate) keys: Arc<KeyCache>,
    pub(crate) events: Events,
}

/// Says whether another region holds a vault of a name, before one is created under it.
#[async_trait]
pub trait NameCheck: Send + Sync {
    /// The region that holds a vault of that name, live or soft-deleted, other than this one. None: all other regions
    /// say that they hold none.
    ///
    /// Errors: `ServiceUnavailable` when a region that could hold it did not answer; nothing is created then.
    async fn taken(&self, name: &VaultName) -> Result<Option<RegionName>>;
}

impl Service {
    /// A service over an initialised store: reads the system vault, starts nothing. In a region that is a replica of
    /// the system group the system vault may come later.
    ///
    /// Errors: `ServiceUnavailable` when the engine does not answer; an internal error, whose detail says what
    /// to do, for the system home's store without a system vault.
    pub async fn open(barrier: Barrier, clock: Arc<dyn Clock>, settings: ServiceSettings) -> Result<Self> {
        let node = Arc::new(Node::new(barrier.clone(), Arc::clone(&clock), settings.clone()));
        let loaded = match registry::load(&node).await {
            Err(error) if !node.is_home(&GroupId::system()) => {
                tracing::info!(%error, "the system vault is not here yet");
                None
            }
            loaded => Some(Arc::new(loaded?)),
        };
        let pool = Pool::new(settings.pool);
        let keys = Arc::new(KeyCache::new(settings.opened_keys));
        Ok(Self {
            barrier,
            clock,
            settings,
            pool,
            keys,
            events: Events::default(),
            node,
            queues: Queues::new(),
            registry: ArcSwapOption::new(loaded),
            names: OnceLock::new(),
            rounds: Rounds::default(),
        })
    }

    /// Asks `names` before a vault is created; the first call counts. Without one every name that is free here is free.
    pub fn check_names_with(&self, names: Arc<dyn NameCheck>) {
        // A second one is a fault of the caller's that changes nothing.
        let _ = self.names.set(names);
    }

    /// 409 when another region has a vault of that name.
    pub(crate) async fn check_name(&self, name: &VaultName) -> Result<()> {
        let Some(names) = self.names.get() else { return Ok(()) };
        match names.taken(name).await? {
            None => Ok(()),
            Some(region) => Err(Error::new(
                ErrorCode::Conflict,
                format!(
                    "The vault name '{name}' is already in use, in the region {region}. Choose another name."
                ),
            )),
        }
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
