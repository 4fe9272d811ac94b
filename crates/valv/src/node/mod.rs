//! One node: its parts in the order in which they are made, and its end.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use valv_access::Challenge;
use valv_front::listen::{Certificates, Entrance, serve};
use valv_front::{Audit, AuditFile, Front, FrontSettings, Limits, Metrics, Rates, Wiring};
use valv_geo::Warning;
use valv_model::RegionName;
use valv_peer::PeerTls;
use valv_vault::{Clock, SystemClock};

use crate::config::Config;
use crate::handles;
use crate::output::{Problem, Result};

mod peers;
use peers::Neighbours;
pub use peers::tls as peer_tls;

mod region;
use region::Region;

/// How often the certificates' files are looked at.
const CERTIFICATE_POLL: Duration = Duration::from_secs(2);

/// A node that could serve: everything is checked, no socket is open.
pub struct Node {
    config: Arc<Config>,
    clock: Arc<dyn Clock>,
    /// None: a gateway.
    region: Option<Region>,
    /// None: there is nobody else.
    peer_tls: Option<Arc<PeerTls>>,
    certificates: Arc<Certificates>,
    audit: Audit,
    metrics: Metrics,
}

impl Node {
    /// Opens the store and checks everything that can be checked without a socket.
    pub async fn prepare(config: Config) -> Result<Self> {
        init_log(&config);
        for warning in config.deployment.map.warnings() {
            match warning {
                Warning::Pair { .. } => tracing::warn!("{warning}"),
                Warning::NotReplicated { .. } => tracing::info!("{warning}"),
            }
        }
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let certificates = Certificates::load(&config.certificate, &config.key).map_err(|e| {
            Problem::usage(e.to_string()).way_out("listen.certificate and listen.key name PEM files")
        })?;
        let peer_tls = config.peer.as_ref().map(|peer| peer_tls(&config, peer)).transpose()?;
        let region = match (&config.region, &config.store) {
            (Some(name), Some(store)) => Some(Region::open(&config, name, store, &clock).await?),
            _ => None,
        };
        let (audit, metrics) = (audit(&config)?, Metrics::install()?);
        Ok(Self { config: Arc::new(config), clock, region, peer_tls, certificates, audit, metrics })
    }

    /// Opens the sockets and serves until SIGTERM, SIGINT, or the end of standard input if that is asked for.
    pub async fn run(self, stop_with_stdin: bool) -> Result<()> {
        let config = &self.config;
        let listeners = listeners(config, &self.certificates).await?;
        let peer_listen = config.peer.as_ref().and_then(|peer| peer.listen);
        let peer_listener = match peer_listen {
            Some(address) => Some(bind(address, "peer.listen").await?),
            None => None,
        };
        let until_told = until_told(stop_with_stdin)?;
        let mut background = vec![tokio::spawn(Arc::clone(&self.certificates).watch(CERTIFICATE_POLL))];
        background.extend(self.region.as_ref().map(|region| tokio::spawn(region.background())));
        let neighbours = match (&config.peer, self.peer_tls) {
            (Some(peer), Some(tls)) => Some(Neighbours::start(config, peer, tls, self.region.as_ref())),
            _ => None,
        };
        let wiring = Wiring {
            here: self
                .region
                .as_ref()
                .map(|region| region.here(config, neighbours.as_ref().and_then(Neighbours::copies))),
            far: neighbours.as_ref().map(|neighbours| neighbours.far(config)),
            clock: self.clock,
            challenge: Challenge {
                authorization: format!("{}/{}", config.authority, config.tenant),
                resource: config.resource(),
            },
            audit: self.audit,
            metrics: self.metrics,
        };
        let front = Arc::new(Front::new(wiring, front_settings(config)?));

        // Peers first: the others must see this node before clients do, and it must have seen them.
        let stop = CancellationToken::new();
        let for_peers = async {
            if let (Some(listener), Some(neighbours), Some(region)) =
                (peer_listener, &neighbours, &self.region)
            {
                let drain = config.limits.shutdown;
                neighbours.listen(listener, Arc::clone(&front) as _, region, drain, stop.cancelled()).await;
            }
        };
        let for_clients = async {
            if let Some(neighbours) = &neighbours {
                neighbours.watch.first_round().await;
            }
            for address in &config.addresses {
                let region = config.region.as_ref().map_or("gateway", |region| region.as_str());
                tracing::info!(%address, region, resource = %config.resource(), "serving");
            }
            let served = serve(Arc::clone(&front), listeners, until_told).await;
            stop.cancel();
            served
        };
        let (served, ()) = tokio::join!(for_clients, for_peers);
        // No request is left; what runs by itself goes first, then the queues, then the store.
        drop(neighbours);
        for task in background {
            task.abort();
        }
        if let Some(region) = &self.region {
            region.service.shut_down().await;
        }
        tracing::info!("stopped");
        served.map_err(|e| Problem::new(format!("the listeners: {e}")))
    }
}

async fn listeners(
    config: &Config,
    certificates: &Arc<Certificates>,
) -> Result<Vec<(TcpListener, Entrance)>> {
    let public =
        |address: &SocketAddr| (*address, Entrance::Public(Arc::clone(certificates)), "listen.addresses");
    let mut wanted: Vec<_> = config.addresses.iter().map(public).collect();
    if let Some(identity) = &config.managed_identity {
        let entrance = Entrance::ManagedIdentity(identity.client.clone());
        wanted.push((identity.address, entrance, "managed_identity.address"));
    }
    wanted.extend(config.health.map(|address| (address, Entrance::Health, "listen.health")));
    let mut listeners = Vec::with_capacity(wanted.len());
    for (address, entrance, place) in wanted {
        listeners.push((bind(address, place).await?, entrance));
    }
    Ok(listeners)
}

async fn bind(address: SocketAddr, place: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|e| {
        Problem::new(format!("{place}: {address} cannot be listened on: {e}"))
            .way_out("stop what uses the address, or configure another")
    })
}

fn front_settings(config: &Config) -> Result<FrontSettings> {
    let given = &config.limits;
    // Answers say who answered; a gateway answers for itself only where nobody else is asked.
    let region = config.region.clone().map_or_else(|| RegionName::parse("gateway"), Ok)?;
    Ok(FrontSettings {
        domain: config.domain.clone(),
        port: config.public_port,
        default_vault: config.default_vault.clone(),
        region,
        tenant: config.tenant.clone(),
        limits: Limits {
            connections: handles::connections(given.connections),
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
    })
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
