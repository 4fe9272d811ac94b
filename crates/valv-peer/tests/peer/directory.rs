//! Where vaults are, as the regions say.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use valv_geo::PeerId;
use valv_model::{ErrorCode, VaultName};
use valv_peer::{Directory, DirectorySettings, Homes as _, Located};
use valv_vault::NameCheck as _;

use crate::world::{Ca, Fake, Server, map, nobody, peer, peers, region, soon, until};

fn settings() -> DirectorySettings {
    DirectorySettings { answer: Duration::from_secs(3), ..DirectorySettings::default() }
}

fn name(text: &str) -> VaultName {
    VaultName::parse(text).unwrap()
}

/// The regions eastus and westus, a pair, and northeurope, with a gateway before them.
struct World {
    ca: Ca,
    fakes: [Arc<Fake>; 3],
    servers: [Option<Server>; 3],
    nodes: [PeerId; 3],
    directory: Arc<Directory>,
}

impl World {
    async fn new(settings: DirectorySettings) -> Self {
        let ca = Ca::new();
        let both = ["eastus", "westus"];
        let fakes = [
            Fake::new("eastus", &both),
            Fake::new("westus", &both),
            Fake::new("northeurope", &["northeurope"]),
        ];
        let [a, b, c] = &fakes;
        let servers = [
            Server::fake(a, &ca, None).await,
            Server::fake(b, &ca, None).await,
            Server::fake(c, &ca, None).await,
        ];
        let nodes = servers.each_ref().map(|server| server.peer.clone());
        let peers = peers(&ca.gateway(), &nodes.each_ref());
        let directory = Directory::new(Arc::new(map()), None, peers, nodes.to_vec(), settings);
        Self { ca, fakes, servers: servers.map(Some), nodes, directory }
    }

    async fn stop(&mut self, at: usize) {
        self.servers[at].take().unwrap().stop().await;
    }

    fn asked(&self) -> [u64; 3] {
        self.fakes.each_ref().map(|fake| fake.asked())
    }
}

#[tokio::test]
async fn however_many_ask_for_a_name_each_region_is_asked_once() {
    let world = World::new(settings()).await;
    world.fakes[2].holds(Some("northeurope"));
    for fake in &world.fakes {
        fake.gate.forget_permits(usize::MAX);
    }
    let dev = name("dev");
    let asking = join_all((0..100).map(|_| world.directory.locate(&dev, soon())));
    let asking = async {
        let opening = async {
            until(async || (world.asked() == [1; 3]).then_some(())).await;
            for fake in &world.fakes {
                fake.gate.add_permits(1_000);
            }
        };
        futures::future::join(asking, opening).await.0
    };
    let located = Located { home: region("northeurope"), deleted: false };
    assert!(asking.await.into_iter().all(|outcome| outcome.unwrap() == Some(located.clone())));
    world.directory.locate(&dev, soon()).await.unwrap();
    assert_eq!(world.asked(), [1; 3]);
    world.directory.forget(&dev);
    world.directory.locate(&dev, soon()).await.unwrap();
    assert_eq!(world.asked()[2], 2);
}

#[tokio::test]
async fn that_there_is_no_vault_is_soon_forgotten() {
    let (absent, found) = (Duration::from_millis(100), Duration::from_secs(3_600));
    let world = World::new(DirectorySettings { absent, found, ..settings() }).await;
    let dev = name("dev");
    assert_eq!(world.directory.locate(&dev, soon()).await.unwrap(), None);
    world.fakes[0].holds(Some("eastus"));
    let located = until(async || world.directory.locate(&dev, soon()).await.unwrap()).await;
    assert_eq!(located.home, region("eastus"));
    assert!(DirectorySettings::default().absent <= Duration::from_secs(1));
}

#[tokio::test]
async fn f28_a_silent_home_is_spoken_for_by_its_replica_and_by_nobody_else() {
    let mut world = World::new(settings()).await;
    world.stop(0).await;
    assert_eq!(world.directory.locate(&name("none"), soon()).await.unwrap(), None);
    world.fakes[1].holds(Some("eastus"));
    let located = world.directory.locate(&name("dev"), soon()).await.unwrap().unwrap();
    assert_eq!(located.home, region("eastus"));
    // A copy that never was whole says nothing by what it lacks.
    world.fakes[1].holds(None);
    world.fakes[1].holding.lock().unwrap().groups[0].complete = false;
    let error = world.directory.locate(&name("other"), soon()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::ServiceUnavailable);
    world.fakes[1].holding.lock().unwrap().groups[0].complete = true;
    // The region without a pair.
    world.stop(2).await;
    let error = world.directory.locate(&name("another"), soon()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::ServiceUnavailable);
}

#[tokio::test]
async fn f28_where_a_vault_was_is_remembered_while_nobody_can_say() {
    let mut world = World::new(DirectorySettings { found: Duration::ZERO, ..settings() }).await;
    world.fakes[2].holds(Some("northeurope"));
    let dev = name("dev");
    assert!(world.directory.locate(&dev, soon()).await.unwrap().is_some());
    world.stop(2).await;
    assert!(world.directory.locate(&dev, soon()).await.unwrap().is_some());
    world.directory.forget(&dev);
    assert!(world.directory.locate(&dev, soon()).await.is_err());
}

#[tokio::test]
async fn a_region_that_takes_too_long_is_not_waited_for_beyond_the_deadline() {
    let world = World::new(DirectorySettings { answer: Duration::from_millis(300), ..settings() }).await;
    world.fakes[2].gate.forget_permits(usize::MAX);
    let begun = Instant::now();
    let deadline = begun + Duration::from_millis(100);
    let error = world.directory.locate(&name("dev"), deadline).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::ServiceUnavailable);
    let error = world.directory.locate(&name("dev"), soon()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::ServiceUnavailable);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn names_that_are_asked_for_at_a_time_are_bounded() {
    let world = World::new(DirectorySettings { asking: 1, ..settings() }).await;
    world.fakes[2].gate.forget_permits(usize::MAX);
    let (one, two) = (name("one"), name("two"));
    let first = world.directory.locate(&one, soon());
    let second = async {
        until(async || (world.asked()[2] == 1).then_some(())).await;
        let refused = world.directory.locate(&two, soon()).await.unwrap_err();
        world.fakes[2].gate.add_permits(1_000);
        refused
    };
    let (first, second) = futures::future::join(first, second).await;
    assert_eq!(first.unwrap(), None);
    assert_eq!(second.code, ErrorCode::ServiceUnavailable);
    assert_eq!(world.directory.locate(&two, soon()).await.unwrap(), None);
}

#[tokio::test]
async fn the_own_store_is_asked_without_the_network_and_a_second_node_where_the_first_is_away() {
    let ca = Ca::new();
    let both = ["eastus", "westus"];
    let (east, west) = (Fake::new("eastus", &both), Fake::new("westus", &both));
    let europe = Fake::new("northeurope", &["northeurope"]);
    let (west_server, europe_server) =
        (Server::fake(&west, &ca, None).await, Server::fake(&europe, &ca, None).await);
    let away = peer("westus", nobody().await);
    let nodes = [away, west_server.peer.clone(), europe_server.peer.clone()];
    let peers = peers(&ca.region("eastus"), &nodes.each_ref());
    let local: Option<(_, Arc<dyn valv_peer::Local>)> = Some((region("eastus"), east.clone()));
    let directory = Directory::new(Arc::new(map()), local, peers, nodes.to_vec(), settings());
    assert_eq!(directory.locate(&name("dev"), soon()).await.unwrap(), None);
    assert_eq!((east.asked(), west.asked(), europe.asked()), (1, 1, 1));

    // Is a name free? Every other home has to say so.
    assert_eq!(directory.taken(&name("dev")).await.unwrap(), None);
    europe.holds(Some("northeurope"));
    assert_eq!(directory.taken(&name("dev")).await.unwrap(), Some(region("northeurope")));
    europe_server.stop().await;
    let error = directory.taken(&name("dev")).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::ServiceUnavailable);
}

#[tokio::test]
async fn a_region_that_returns_is_heard_again() {
    let mut world = World::new(DirectorySettings { absent: Duration::ZERO, ..settings() }).await;
    world.stop(2).await;
    assert!(world.directory.locate(&name("dev"), soon()).await.is_err());
    let address = world.nodes[2].address.parse().unwrap();
    world.servers[2] = Some(Server::fake(&world.fakes[2], &world.ca, Some(address)).await);
    until(async || world.directory.locate(&name("dev"), soon()).await.ok()).await;
}
