//! One node: its parts in the order in which they are made, and its end.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use valv_access::{Authenticator, AuthenticatorSettings, Challenge, Issuer, IssuerSettings};
use valv_engine_embedded::{EmbeddedEngine, Settings};
use valv_front::listen::{Certificates, Entrance, serve};
use valv_front::{Audit, AuditFile, Front, FrontSettings, Here, Limits, Metrics, Rates, Wiring};
use valv_model::{Error, RegionName};
use valv_sealing::{Barrier, Keyring, RootKeys};
use valv_vault::{Clock, Service, ServiceSettings, SystemClock};

use crate::config::Config;
use crate::handles;
use crate::output::{Problem, Result};

/// How often the certificate's files are looked at.
const CERTIFICATE_POLL: Duration = Duration::from_secs(2);
/// How often scheduled purges and unfinished work are looked for.
const LIFECYCLE_PAUSE: Duration = Duration::from_secs(60);

/// A node that could serve: everything is checked, no socket is open.
pub struct Node {
    config: Arc<Config>,
    service: Arc<Service>,
    authenticator: Arc<Authenticator>,
    certificates: Arc<Certificates>,
    front: Arc<Front>,
}

impl Node {
    /// Opens the store and checks everything that can be checked without a socket.
    pub async fn prepare(config: Config) -> Result<Self> {
        init_log(&config);
        let config = Arc::new(config);
        let (Some(region), Some(store)) = (&config.region, &config.store) else {
            return Err(Problem::usage("a gateway is not served yet"));
        };
        let root_keys = RootKeys::load(&config.root_key_sources()).map_err(|e| {
            Problem::usage(e.to_string())
                .way_out("root_key.sources says where root keys are; correct it, or put the key back")
        })?;
        let certificates = Certificates::load(&config.certificate, &config.key).map_err(|e| {
            Problem::usage(e.to_string()).way_out("listen.certificate and listen.key name PEM files")
        })?;
        let settings = Settings {
            cache_bytes: store.cache_bytes,
            quota_bytes: store.quota_bytes.unwrap_or(0),
            ..Settings::default()
        };
        let engine = EmbeddedEngine::open(&store.path, settings).map_err(|e| no_store(&store.path, &e))?;
        let keyring = Arc::new(Keyring::new(root_keys));
        let barrier = Barrier::open(Arc::new(engine), Arc::clone(&keyring))
            .await
            .map_err(|e| Problem::new(e.to_string()))?;

        let settings = ServiceSettings {
            queue_len: config.limits.queue,
            ..ServiceSettings::defaults(region, &config.tenant)
        };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let service = Arc::new(Service::open(barrier, Arc::clone(&clock), settings).await?);
        let issuer = config.built_in_issuer.then(|| {
            Issuer::new(IssuerSettings {
                tenant: config.tenant.clone(),
                authority: config.authority.clone(),
                resource: config.resource(),
                lifetime_s: config.token_lifetime_s,
            })
        });
        let authenticator = Arc::new(Authenticator::new(AuthenticatorSettings {
            tenant: config.tenant.clone(),
            resource: config.resource(),
            built_in_issuer: issuer.as_ref().map(|issuer| issuer.issuer().to_owned()),
            issuers: config.issuers.clone(),
            cache_dir: store.path.with_extension("issuers"),
            skew_s: config.clock_skew_s,
        })?);
        let here = Here {
            service: Arc::clone(&service),
            authenticator: Arc::clone(&authenticator),
            issuer,
            reload_root_keys: Some(reload_root_keys(Arc::clone(&config), keyring)),
            replicas: None,
        };
        let wiring = Wiring {
            here: Some(here),
            far: None,
            clock,
            challenge: Challenge {
                authorization: format!("{}/{}", config.authority, config.tenant),
                resource: config.resource(),
            },
            audit: audit(&config)?,
            metrics: Metrics::install()?,
        };
        let front = Arc::new(Front::new(
            wiring,
            front_settings(&config, region, handles::connections(config.limits.connections)),
        ));
        Ok(Self { config, service, authenticator, certificates, front })
    }

    /// Opens the sockets and serves until SIGTERM, SIGINT, or the end of standard input if that is asked for.
    pub async fn run(self, stop_with_stdin: bool) -> Result<()> {
        let listeners = self.listeners().await?;
        let until_told = until_told(stop_with_stdin)?;
        let background = [
            tokio::spawn(Arc::clone(&self.certificates).watch(CERTIFICATE_POLL)),
            tokio::spawn(lifecycle(Arc::clone(&self.service))),
            tokio::spawn({
                let authenticator = Arc::clone(&self.authenticator);
                async move { authenticator.refresh_forever().await }
            }),
        ];
        for address in &self.config.addresses {
            tracing::info!(%address, region = self.config.region.as_ref().map(tracing::field::display), resource = %self.config.resource(), "serving");
        }
        let served = serve(Arc::clone(&self.front), listeners, until_told).await;
        // No request is left; what runs by itself goes first, then the queues, then the store.
        for task in background {
            task.abort();
        }
        self.service.shut_down().await;
        tracing::info!("stopped");
        served.map_err(|e| Problem::new(format!("the listeners: {e}")))
    }

    async fn listeners(&self) -> Result<Vec<(TcpListener, Entrance)>> {
        let mut wanted: Vec<_> = self
            .config
            .addresses
            .iter()
            .map(|address| (*address, Entrance::Public(Arc::clone(&self.certificates)), "listen.addresses"))
            .collect();
        wanted.extend(self.config.health.map(|address| (address, Entrance::Health, "listen.health")));
        if let Some(identity) = &self.config.managed_identity {
            let entrance = Entrance::ManagedIdentity(identity.client.clone());
            wanted.push((identity.address, entrance, "managed_identity.address"));
        }
        let mut listeners = Vec::with_capacity(wanted.len());
        for (address, entrance, place) in wanted {
            let listener = TcpListener::bind(address).await.map_err(|e| {
                Problem::new(format!("{place}: {address} cannot be listened on: {e}"))
                    .way_out("stop what uses the address, or configure another")
            })?;
            listeners.push((listener, entrance));
        }
        Ok(listeners)
    }
}

fn no_store(path: &std::path::Path, why: &impl std::fmt::Display) -> Problem {
    let problem = if path.exists() { Problem::new(why.to_string()) } else { Problem::usage(why.to_string()) };
    problem.way_out("store.path in the configuration names the file")
}

fn front_settings(config: &Config, region: &RegionName, connections: usize) -> FrontSettings {
    let given = &config.limits;
    FrontSettings {
        domain: config.domain.clone(),
        port: config.public_port,
        default_vault: config.default_vault.clone(),
        region: region.clone(),
        tenant: config.tenant.clone(),
        limits: Limits {
            connections,
            in_flight: given.requests,
            handshake: given.handshake,
            header_read: given.head,
            body_read: given.body,
            idle: given.idle,
            write: given.write,
            request: given.body + given.write,
            drain: given.shutdown,
            ..Limits::default()
        },
        rates: given.rate.then(Rates::default),
    }
}

fn audit(config: &Config) -> Result<Audit> {
    let made = match &config.audit_file {
        Some(path) => AuditFile::open(path).and_then(|file| Audit::to(file, config.audit_required)),
        None => Audit::to(std::io::stdout(), config.audit_required),
    };
    made.map_err(|e| {
        let place =
            config.audit_file.as_ref().map_or("standard output".into(), |path| path.display().to_string());
        Problem::usage(format!("audit.file: {place} cannot be written: {e}"))
            .way_out("name a file that the node may append to")
    })
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

/// Registers the signals at once, so that none is lost before the listeners are up.
fn until_told(stop_with_stdin: bool) -> Result<impl Future<Output = ()>> {
    let failed = |e: std::io::Error| Problem::new(format!("signals cannot be received: {e}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    Ok(async move {
        let stdin_ended = async {
            if !stop_with_stdin {
                return std::future::pending().await;
            }
            let mut sink = tokio::io::sink();
            // An error is an end as well.
            let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut sink).await;
        };
        tokio::select! {
            _ = interrupt.recv() => tracing::info!("SIGINT: finishing what is in flight"),
            _ = terminate.recv() => tracing::info!("SIGTERM: finishing what is in flight"),
            () = stdin_ended => tracing::info!("standard input ended: finishing what is in flight"),
        }
    })
}

fn init_log(config: &Config) {
    let log = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_max_level(config.log_level);
    // A second call in one process (valv dev's own init) keeps the first.
    let _ = if config.log_json { log.json().try_init() } else { log.try_init() };
}
