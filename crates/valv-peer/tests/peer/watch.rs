//! What a door sees of all nodes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use valv_geo::health::Settings;
use valv_geo::{PeerId, RegionHealth};
use valv_model::RegionName;
use valv_peer::{Local, Peers, ProbedReplica, ProbedStanding, Watch, WatchSettings};

use crate::world::{Ca, DEADLINE, Fake, Server, hasty, nobody, peer, peers, region, until};

fn quick() -> WatchSettings {
    let health = Settings {
        probe_each: Duration::from_millis(50),
        probe_deadline: DEADLINE,
        good_for: Duration::from_millis(100),
        stay_min: Duration::from_millis(200),
        ..Settings::default()
    };
    WatchSettings { health, history: 3 }
}

fn watch(peers: &Arc<Peers>, local: Option<Arc<dyn Local>>, nodes: &[&PeerId]) -> Arc<Watch> {
    watch_with(quick(), peers, local, nodes)
}

fn watch_with(
    settings: WatchSettings,
    peers: &Arc<Peers>,
    local: Option<Arc<dyn Local>>,
    nodes: &[&PeerId],
) -> Arc<Watch> {
    let regions: Vec<RegionName> = ["eastus", "westus"].map(region).into();
    Watch::start(peers, local, regions, nodes.iter().map(|node| (*node).clone()).collect(), settings)
}

async fn becomes(watch: &Watch, name: &str, health: RegionHealth) {
    until(async || {
        let view = watch.view();
        view.regions.iter().any(|r| r.region.as_str() == name && r.health == health).then_some(())
    })
    .await;
}

#[tokio::test]
async fn f28_f29_a_region_that_goes_and_returns_is_seen_and_remembered() {
    let ca = Ca::new();
    let (east, west) = (Fake::new("eastus", &["eastus"]), Fake::new("westus", &["westus"]));
    let replica = ProbedReplica {
        lineage: None,
        lag_ms: None,
        behind_commits: 0,
        complete: true,
        state: String::new(),
    };
    west.probe.lock().unwrap().replicas.insert("eastus".into(), replica.clone());
    west.probe
        .lock()
        .unwrap()
        .replicas
        .insert("$system".into(), ProbedReplica { complete: false, ..replica });
    let (server, other) = (Server::fake(&east, &ca, None).await, Server::fake(&west, &ca, None).await);
    let node = server.peer.clone();
    let peers = peers(&ca.gateway(), &[&node, &other.peer]);
    let watch = watch(&peers, None, &[&node, &other.peer]);
    watch.first_round().await;
    let view = watch.view();
    assert!(view.here.is_none());
    assert!(view.regions.iter().all(|r| r.health == RegionHealth::Available && r.nodes[0].alive));
    // Only what is complete can be answered from.
    assert_eq!(view.regions[1].nodes[0].replicas, [valv_engine::GroupId::parse("eastus").unwrap()]);
    assert!(watch.history().is_empty());

    server.stop().await;
    becomes(&watch, "eastus", RegionHealth::Unavailable).await;
    let view = watch.view();
    assert!(!view.regions[0].nodes[0].alive && !view.regions[0].nodes[0].home);
    assert_eq!(view.regions[1].health, RegionHealth::Available);
    let address = node.address.parse().unwrap();
    let server = Server::fake(&east, &ca, Some(address)).await;
    becomes(&watch, "eastus", RegionHealth::Available).await;
    let changes: Vec<_> = watch.history().into_iter().map(|c| (c.region.to_string(), c.from, c.to)).collect();
    let (there, gone) = (RegionHealth::Available, RegionHealth::Unavailable);
    assert_eq!(changes, [("eastus".into(), there, gone), ("eastus".into(), gone, there)]);
    assert!(watch.history()[0].why.contains(&*node.address));

    // The history is bounded.
    for _ in 0..2 {
        east.probe.lock().unwrap().engine_ok = false;
        becomes(&watch, "eastus", RegionHealth::Unavailable).await;
        east.probe.lock().unwrap().engine_ok = true;
        becomes(&watch, "eastus", RegionHealth::Available).await;
    }
    assert_eq!(watch.history().len(), 3);
    drop(server);
}

#[tokio::test]
async fn f23_a_node_whose_engine_does_not_answer_is_away_and_one_without_standing_is_masked() {
    let ca = Ca::new();
    let east = Fake::new("eastus", &["eastus"]);
    let server = Server::fake(&east, &ca, None).await;
    let peers = peers(&ca.gateway(), &[&server.peer]);
    let watch = watch(&peers, None, &[&server.peer]);
    becomes(&watch, "eastus", RegionHealth::Available).await;
    east.probe.lock().unwrap().standing = ProbedStanding::Masked("it came back empty".into());
    becomes(&watch, "eastus", RegionHealth::Masked).await;
    assert!(watch.view().regions[0].nodes[0].alive);
    assert!(watch.history().last().unwrap().why.contains("it came back empty"));
    east.probe.lock().unwrap().engine_ok = false;
    becomes(&watch, "eastus", RegionHealth::Unavailable).await;
    let seen = &watch.nodes()[0];
    assert!(!seen.alive && seen.probe.as_ref().is_some_and(|probe| !probe.engine_ok));
}

#[tokio::test]
async fn a_door_that_starts_in_an_outage_waits_for_nobody_longer_than_a_probe() {
    let ca = Ca::new();
    let frozen = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (gone, frozen_node) = (peer("eastus", nobody().await), peer("westus", frozen.local_addr().unwrap()));
    let peers = hasty(&ca.gateway(), &[&gone, &frozen_node]);
    let mut settings = quick();
    settings.health.probe_deadline = Duration::from_millis(400);
    let watch = watch_with(settings, &peers, None, &[&gone, &frozen_node]);
    let begun = Instant::now();
    watch.first_round().await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    becomes(&watch, "eastus", RegionHealth::Unavailable).await;
    becomes(&watch, "westus", RegionHealth::Unavailable).await;
    assert!(watch.nodes().iter().all(|seen| seen.probe.is_none() && seen.failure.is_some()));
}

#[tokio::test]
async fn a_node_counts_itself_without_the_network_and_does_not_stand_among_the_others() {
    let ca = Ca::new();
    let east = Fake::new("eastus", &["eastus"]);
    let server = Server::fake(&east, &ca, None).await;
    // The configuration names all nodes of a region, this one too.
    let peers = peers(&ca.region("eastus"), &[&server.peer]);
    let watch = watch(&peers, Some(east.clone()), &[&server.peer]);
    watch.first_round().await;
    until(async || watch.view().regions[0].nodes.is_empty().then_some(())).await;
    let view = watch.view();
    assert!(view.here.as_ref().is_some_and(|here| here.engine && here.region == region("eastus")));
    assert!(watch.nodes().is_empty());
    assert_eq!(view.regions[0].health, RegionHealth::Available);
    east.probe.lock().unwrap().engine_ok = false;
    becomes(&watch, "eastus", RegionHealth::Unavailable).await;
    assert!(!watch.view().here.as_ref().unwrap().engine);
}
