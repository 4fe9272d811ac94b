//! What only a node of a region has: the store, the vault logic over it, and whom it lets in.

use std::sync::Arc;
use std::time::Duration;

use valv_access::{Authenticator, AuthenticatorSettings, Issuer, IssuerSettings};
use valv_engine::Engine;
use valv_engine_embedded::{EmbeddedEngine, Settings};
use valv_geo::apply::LogBounds;
use valv_model::{Error, RegionName};
use valv_sealing::{Barrier, Keyring, RootKeys};
use valv_vault::{Clock, Service, ServiceSettings};

use crate::config::{Config, Store};
use crate::output::{Problem, Result};

/// How often scheduled purges and unfinished work are looked for.
const LIFECYCLE_PAUSE: Duration = Duration::from_secs(60);

/// How long a copy's commits are kept, as home keeps its own.
const LOG_AGE_S: i64 = 3600;

/// A region's part of a node.
pub(super) struct Region {
    pub(super) name: RegionName,
    pub(super) engine: Arc<dyn Engine>,
    pub(super) keyring: Arc<Keyring>,
    pub(super) service: Arc<Service>,
    pub(super) authenticator: Arc<Authenticator>,
    /// How much of what is copied stays in the log.
    pub(super) log: LogBounds,
}

impl Region {
    /// Opens the store and checks what can be checked.
    pub(super) async fn open(
        config: &Config,
        name: &RegionName,
        store: &Store,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self> {
        let root_keys = RootKeys::load(&config.root_key_sources()).map_err(|e| {
            Problem::usage(e.to_string())
                .way_out("root_key.sources says where root keys are; correct it, or put the key back")
        })?;
        let settings = Settings {
            cache_bytes: store.cache_bytes,
            quota_bytes: store.quota_bytes.unwrap_or(0),
            ..Settings::default()
        };
        let engine: Arc<dyn Engine> =
            Arc::new(EmbeddedEngine::open(&store.path, settings).map_err(|e| no_store(&store.path, &e))?);
        let keyring = Arc::new(Keyring::new(root_keys));
        let barrier = Barrier::open(Arc::clone(&engine), Arc::clone(&keyring))
            .await
            .map_err(|e| Problem::new(e.to_string()))?;
        let map = &config.deployment.map;
        let pairs = map.regions().map(|region| &region.name).filter(|other| map.pair(other) == Some(name));
        let settings = ServiceSettings {
            queue_len: config.limits.queue,
            log_commits_max: config.replication.log_commits_max,
            log_bytes_max: config.replication.log_bytes_max,
            replicas: pairs.cloned().collect(),
            system_home: map.system_home().clone(),
            ..ServiceSettings::defaults(name, &config.tenant)
        };
        let log = LogBounds {
            commits_max: settings.log_commits_max,
            bytes_max: settings.log_bytes_max,
            age_max_s: LOG_AGE_S,
        };
        let service = Arc::new(Service::open(barrier, Arc::clone(clock), settings).await?);
        let authenticator = Arc::new(Authenticator::new(AuthenticatorSettings {
            tenant: config.tenant.clone(),
            resource: config.resource(),
            built_in_issuer: issuer(config).map(|issuer| issuer.issuer().to_owned()),
            issuers: config.issuers.clone(),
            cache_dir: store.path.with_extension("issuers"),
            skew_s: config.clock_skew_s,
        })?);
        Ok(Self { name: name.clone(), engine, keyring, service, authenticator, log })
    }

    /// Its part in the front door.
    pub(super) fn here(
        &self,
        config: &Arc<Config>,
        replicas: Option<Arc<dyn valv_front::Replicas>>,
    ) -> valv_front::Here {
        valv_front::Here {
            service: Arc::clone(&self.service),
            authenticator: Arc::clone(&self.authenticator),
            issuer: issuer(config),
            reload_root_keys: Some(reload_root_keys(Arc::clone(config), Arc::clone(&self.keyring))),
            replicas,
        }
    }

    /// What runs by itself; for ever.
    pub(super) fn background(&self) -> impl Future<Output = ()> + use<> {
        let (service, authenticator) = (Arc::clone(&self.service), Arc::clone(&self.authenticator));
        async move {
            tokio::join!(lifecycle(service), async move { authenticator.refresh_forever().await });
        }
    }
}

fn issuer(config: &Config) -> Option<Issuer> {
    config.built_in_issuer.then(|| {
        Issuer::new(IssuerSettings {
            tenant: config.tenant.clone(),
            authority: config.authority.clone(),
            resource: config.resource(),
            lifetime_s: config.token_lifetime_s,
        })
    })
}

fn no_store(path: &std::path::Path, why: &impl std::fmt::Display) -> Problem {
    let problem = if path.exists() { Problem::new(why.to_string()) } else { Problem::usage(why.to_string()) };
    problem.way_out("store.path in the configuration names the file")
}

/// Reads the sources of the configuration again, so that `valv key rotate` finds a key that was added to the
/// same files or variables, or to the configuration file itself.
fn reload_root_keys(config: Arc<Config>, keyring: Arc<Keyring>) -> valv_front::ReloadRootKeys {
    Arc::new(move || {
        let refused = |why: String| Error::bad(format!("The root keys cannot be taken up: {why}"));
        let now = crate::config::load(&config.path).map_err(|problem| refused(problem.to_string()))?;
        let keys = RootKeys::load(&now.root_key_sources()).map_err(|e| refused(e.to_string()))?;
        keyring.replace_root_keys(keys);
        Ok(())
    })
}

async fn lifecycle(service: Arc<Service>) {
    loop {
        if let Err(error) = service.lifecycle_round().await {
            tracing::warn!(%error, "the round of scheduled work was not finished; it is tried again");
        }
        tokio::time::sleep(LIFECYCLE_PAUSE).await;
    }
}
