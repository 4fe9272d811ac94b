//! The inter-node side of a node: connections to all others, what it sees of them, what it copies, where it listens.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use valv_engine::GroupId;
use valv_front::HeldRootKeys;
use valv_geo::apply::{LogBounds, Replica, ReplicaSettings, ReplicaStatus};
use valv_geo::ship::Shipper;
use valv_geo::{PeerId, RegionMap};
use valv_model::RegionName;
use valv_peer::listen::{Services, serve};
use valv_peer::{
    ClientSettings, Directory, DirectorySettings, Forwarded, HomeStanding, ListenSettings, Local,
    NodeSettings, PeerSource, PeerTls, Peers, ProbedStanding, Rights, Role, StandingSettings, Watch,
    WatchSettings,
};
use valv_vault::Service;

use super::CERTIFICATE_POLL;
use super::region::Region;
use crate::config::{Config, Peer};
use crate::output::{Problem, Result};

/// Between two rounds over the logs of what is copied.
const KEEP_PAUSE: Duration = Duration::from_secs(60);

/// Reads the certificates with which peers know this node.
pub fn tls(config: &Config, peer: &Peer) -> Result<Arc<PeerTls>> {
    let role = config.region.clone().map_or(Role::Gateway, Role::Region);
    PeerTls::load(&peer.certificate, &peer.key, &peer.ca, role).map_err(|e| {
        Problem::usage(e.to_string())
            .way_out("peer.certificate, peer.key and peer.ca name PEM files; `valv cert` makes them")
    })
}

/// All that a node does with others. Dropping it ends that.
pub(super) struct Neighbours {
    pub(super) map: Arc<RegionMap>,
    pub(super) peers: Arc<Peers>,
    pub(super) watch: Arc<Watch>,
    pub(super) directory: Arc<Directory>,
    /// None: a gateway.
    pub(super) local: Option<Arc<valv_peer::Node>>,
    tls: Arc<PeerTls>,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl Neighbours {
    /// Begins to connect, to look, to copy.
    pub(super) fn start(config: &Config, peer: &Peer, tls: Arc<PeerTls>, region: Option<&Region>) -> Self {
        let map = Arc::new(config.deployment.map.clone());
        let nodes = nodes(&config.deployment.peers, region.map(|r| &r.name), peer.address.as_deref());
        let mut client =
            ClientSettings { connect: config.failover.health.probe_deadline, ..ClientSettings::default() };
        if !config.test.breaker {
            // Pings that nobody answers open a breaker of their own: they end the connection.
            client.ping_timeout = Duration::from_secs(3600);
        }
        let peers = Peers::start(&tls, client.clone(), nodes.iter().cloned());
        let mut tasks = vec![spawn(Arc::clone(&tls).watch(CERTIFICATE_POLL))];

        let own = region.map(|region| {
            let settings =
                StandingSettings { wait: config.failover.wait_for_pair, ..StandingSettings::default() };
            let standing = HomeStanding::new(Arc::clone(&region.engine), &map, &region.name, settings);
            let settings =
                ReplicaSettings { compare: config.replication.compare, ..ReplicaSettings::default() };
            let replicas = replicas(&map, &nodes, &tls, &client, region, settings);
            tasks.push(spawn(keep(replicas.clone(), Arc::clone(&region.service), region.log)));
            if config.test.replication {
                let run = |replica: &Arc<Replica>| {
                    let replica = Arc::clone(replica);
                    spawn(async move { replica.run().await })
                };
                tasks.extend(replicas.iter().map(run));
            }
            let keyring = Arc::clone(&region.keyring);
            let settings = NodeSettings {
                region: region.name.clone(),
                name: peer.address.clone().unwrap_or_default(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                // A probe must be answered in time by an engine that is not.
                engine: config.failover.health.probe_deadline.mul_f32(0.8),
                root_keys: Box::new(move || keyring.root_keys().ids().map(|id| id.0.clone()).collect()),
            };
            let local = valv_peer::Node::new(
                Arc::clone(&region.engine),
                Arc::clone(&map),
                replicas,
                Arc::clone(&standing),
                settings,
            );
            (region, Arc::new(local), standing)
        });

        let local = own.as_ref().map(|(_, local, _)| Arc::clone(local) as Arc<dyn Local>);
        let mut health = config.failover.health.clone();
        if !config.test.breaker {
            health.misses = u32::MAX;
        }
        let watch = Watch::start(
            &peers,
            local.clone(),
            map.regions().map(|region| region.name.clone()),
            nodes.clone(),
            WatchSettings { health, ..WatchSettings::default() },
        );
        let name_and_local = own.as_ref().map(|(region, ..)| region.name.clone()).zip(local);
        let directory = Directory::new(
            Arc::clone(&map),
            name_and_local,
            Arc::clone(&peers),
            nodes.clone(),
            DirectorySettings::default(),
        );
        let local = own.map(|(region, local, standing)| {
            tasks.push(spawn(standing.run(Arc::clone(&peers), nodes, Arc::clone(&watch))));
            region.service.check_names_with(Arc::clone(&directory) as Arc<dyn valv_vault::NameCheck>);
            local
        });
        Self { map, peers, watch, directory, local, tls, _tasks: tasks }
    }

    /// Its part in the front door.
    pub(super) fn far(&self, config: &Config) -> valv_front::Far {
        let mut hedge = config.failover.hedge.clone();
        hedge.on = config.test.hedge;
        let (watch, seen_by, held_by) =
            (Arc::clone(&self.watch), Arc::clone(&self.watch), Arc::clone(&self.watch));
        valv_front::Far {
            regions: Arc::clone(&self.map),
            view: self.watch.shared(),
            forwarder: Arc::clone(&self.peers) as Arc<dyn valv_peer::Forwarder>,
            homes: Arc::clone(&self.directory) as Arc<dyn valv_peer::Homes>,
            hedge,
            history: Arc::new(move || history(&watch)),
            seen: Arc::new(move |node| seen(&seen_by, node)),
            root_keys: Arc::new(move || root_keys(&held_by)),
        }
    }

    /// How far the copies in this node's store are; None: a gateway.
    pub(super) fn copies(&self) -> Option<Arc<dyn valv_front::Replicas>> {
        let local = self.local.as_ref()?;
        Some(Arc::new(Copies(Arc::clone(local))))
    }

    /// Serves peers until `shutdown` is done, and then until what is under way is finished.
    pub(super) async fn listen(
        &self,
        listener: TcpListener,
        front: Arc<dyn Forwarded>,
        region: &Region,
        drain: Duration,
        shutdown: impl Future<Output = ()>,
    ) {
        let Some(local) = &self.local else { return };
        let services = Services {
            forwarded: front,
            local: Arc::clone(local) as Arc<dyn Local>,
            source: Arc::new(Shipper::new(Arc::clone(&region.engine))),
            rights: Rights::of(&self.map, &region.name),
        };
        let settings = ListenSettings { drain, ..ListenSettings::default() };
        serve(services, Arc::clone(&self.tls), settings, listener, shutdown).await;
    }
}

/// One task for each group that the region copies.
fn replicas(
    map: &RegionMap,
    nodes: &[PeerId],
    tls: &Arc<PeerTls>,
    client: &ClientSettings,
    region: &Region,
    settings: ReplicaSettings,
) -> Vec<Arc<Replica>> {
    let copy = |(group, home): (&GroupId, &RegionName)| {
        let of_home = nodes.iter().filter(|node| node.region == *home).cloned();
        Arc::new(Replica::new(
            Arc::clone(&region.engine),
            Arc::clone(&region.keyring),
            PeerSource::start(tls, client, of_home),
            group.clone(),
            region.name.clone(),
            settings,
        ))
    };
    map.copies(&region.name).map(copy).collect()
}

/// Bounds the logs of what is copied, and removes what purged vaults leave; for ever.
async fn keep(replicas: Vec<Arc<Replica>>, service: Arc<Service>, bounds: LogBounds) {
    loop {
        tokio::time::sleep(KEEP_PAUSE).await;
        for replica in &replicas {
            if let Err(error) = replica.keep(bounds, service.clock().now()).await {
                tracing::warn!(group = %replica.group(), %error, "the log of a copy was not trimmed; it is tried again");
            }
        }
    }
}

/// All nodes but this one.
fn nodes(
    peers: &BTreeMap<RegionName, Vec<String>>,
    own: Option<&RegionName>,
    address: Option<&str>,
) -> Vec<PeerId> {
    let of_region = |(region, addresses): (&RegionName, &Vec<String>)| {
        let others = addresses.iter().filter(|other| Some(region) != own || Some(&***other) != address);
        others
            .map(|address| PeerId { region: region.clone(), address: address.as_str().into() })
            .collect::<Vec<_>>()
    };
    peers.iter().flat_map(of_region).collect()
}

struct Copies(Arc<valv_peer::Node>);

impl valv_front::Replicas for Copies {
    fn status(&self, group: &GroupId) -> Option<ReplicaStatus> {
        self.0.replica_status(group)
    }
}

/// The changes of mode, the newest first.
fn history(watch: &Watch) -> Vec<Value> {
    watch.history().iter().rev().filter_map(|change| serde_json::to_value(change).ok()).collect()
}

/// What a node last said of itself, and why it says nothing now.
fn seen(watch: &Watch, node: &PeerId) -> Map<String, Value> {
    let mut shown = Map::new();
    let Some(seen) = watch.nodes().into_iter().find(|seen| seen.peer == *node) else { return shown };
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    if let Some(probe) = seen.probe {
        let standing = match probe.standing {
            ProbedStanding::Good => "good".to_owned(),
            ProbedStanding::Checking => "checking".to_owned(),
            ProbedStanding::Masked(why) => format!("masked: {why}"),
        };
        shown.insert("version".into(), json!(probe.version));
        shown.insert("standing".into(), json!(standing));
        shown.insert("clockMs".into(), json!(probe.clock_ms));
    }
    shown.insert("answeredMsAgo".into(), json!(seen.age.map(ms)));
    shown.insert("failure".into(), json!(seen.failure));
    shown
}

/// An older answer does not say which root keys a node holds now.
const LATELY: Duration = Duration::from_secs(5);

fn root_keys(watch: &Watch) -> Vec<HeldRootKeys> {
    let held = |seen: valv_peer::Seen| HeldRootKeys {
        ids: seen.probe.filter(|_| seen.age.is_some_and(|age| age <= LATELY)).map(|probe| probe.root_keys),
        node: seen.peer,
    };
    watch.nodes().into_iter().map(held).collect()
}

fn spawn(work: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(work))
}
