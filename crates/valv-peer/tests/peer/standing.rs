//! A home asks those who copied from it before it serves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use valv_engine::{Engine as _, Epoch, GroupId, GroupMeta, Lineage, Op, Transaction, layout};
use valv_engine_embedded::{EmbeddedEngine, Settings};
use valv_geo::apply::Copied;
use valv_geo::source::VaultHead;
use valv_geo::standing::Reason;
use valv_geo::{Declared, Pairing, PeerId, RegionMap, Standing, catalogue};
use valv_model::VaultId;
use valv_peer::{HomeStanding, StandingSettings, Watch, WatchSettings};
use valv_sealing::{Chain, Head};

use crate::world::{Ca, DEADLINE, Fake, Server, nobody, peer, peers, region, until};

/// For a pair that is away.
const SHORT: Duration = Duration::from_millis(600);

/// The pair eastus and westus; the system group's home is eastus.
pub fn pair() -> RegionMap {
    let declared = |name: &str| Declared {
        region: catalogue::find(&region(name)).unwrap().region.clone(),
        pairing: Pairing::Default,
        allow_near: false,
        allow_foreign: false,
    };
    RegionMap::new(&["eastus", "westus"].map(declared), None).unwrap()
}

pub fn vault() -> VaultId {
    VaultId::parse("00482a5a-887f-4fb3-b363-3b7fe8e74483").unwrap()
}

/// The store of eastus.
pub fn store(dir: &tempfile::TempDir, groups: &[(&str, &str)]) -> Arc<EmbeddedEngine> {
    let groups: Vec<_> = groups
        .iter()
        .map(|(group, home)| {
            (GroupId::parse(group).unwrap(), GroupMeta { home: region(home), epoch: Epoch(1) })
        })
        .collect();
    let path = dir.path().join("store.redb");
    Arc::new(EmbeddedEngine::create(&path, &groups, bytes::Bytes::new(), Settings::default()).unwrap())
}

async fn advance(engine: &EmbeddedEngine, group: &str, number: u64) {
    let group = GroupId::parse(group).unwrap();
    let lease = engine.lease(&group, &region("eastus")).await.unwrap();
    let head = Head { number, chain: Chain([1; 32]) };
    let ops = vec![Op::Put(layout::head(&group, &vault()), head.encode())];
    engine.commit(&lease, Transaction { compares: Vec::new(), ops }).await.unwrap();
}

struct World {
    ca: Ca,
    west: Arc<Fake>,
    engine: Arc<EmbeddedEngine>,
    _dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = store(&dir, &[("$system", "eastus"), ("eastus", "eastus"), ("westus", "westus")]);
        Self { ca: Ca::new(), west: Fake::new("westus", &["eastus", "westus"]), engine, _dir: dir }
    }

    fn copied(&self, lineage: Lineage, number: u64) {
        let head = Head { number, chain: Chain([1; 32]) };
        let heads = vec![VaultHead { vault: vault(), head }];
        *self.west.copied.lock().unwrap() = Some(Copied { lineage, complete: true, heads });
    }

    /// The task of eastus, with westus at `node`, for which it waits so long.
    fn start(&self, node: &PeerId, wait: Duration) -> Arc<HomeStanding> {
        self.start_watched(node, wait).0
    }

    fn start_watched(&self, node: &PeerId, wait: Duration) -> (Arc<HomeStanding>, Arc<Watch>) {
        let settings = StandingSettings {
            wait,
            answer: DEADLINE,
            look: Duration::from_millis(20),
            again: Duration::from_millis(50),
            refresh: Duration::from_secs(3_600),
        };
        let peers = peers(&self.ca.region("eastus"), &[node]);
        let mut looking = WatchSettings::default();
        looking.health.probe_each = Duration::from_millis(50);
        let watch = Watch::start(&peers, None, ["eastus", "westus"].map(region), vec![node.clone()], looking);
        let standing = HomeStanding::new(self.engine.clone(), &pair(), &region("eastus"), settings);
        tokio::spawn(Arc::clone(&standing).run(peers, vec![node.clone()], Arc::clone(&watch)));
        (standing, watch)
    }
}

async fn becomes(standing: &HomeStanding, wanted: impl Fn(&Standing) -> bool) -> Standing {
    until(async || Some(standing.now()).filter(&wanted)).await
}

#[tokio::test]
async fn f27_a_home_whose_pair_copied_another_store_or_more_of_it_does_not_serve() {
    let world = World::new();
    for group in ["$system", "eastus"] {
        advance(&world.engine, group, 5).await;
    }
    world.copied(Lineage(uuid::Uuid::from_u128(1)), 5);
    let server = Server::fake(&world.west, &world.ca, None).await;
    let standing = world.start(&server.peer, DEADLINE);
    assert_eq!(standing.now(), Standing::Checking);
    let masked = becomes(&standing, |s| *s != Standing::Checking).await;
    assert!(matches!(masked, Standing::Masked(Reason::OtherLineage { .. })), "{masked:?}");
    // The operator chose this store: the pair copies it now.
    world.copied(world.engine.lineage(), 5);
    becomes(&standing, Standing::is_good).await;

    world.copied(world.engine.lineage(), 6);
    let again = world.start(&server.peer, DEADLINE);
    let masked = becomes(&again, |s| *s != Standing::Checking).await;
    assert!(matches!(masked, Standing::Masked(Reason::Behind { own: 5, copied: 6, .. })), "{masked:?}");
}

#[tokio::test]
async fn a_home_whose_pair_has_copied_nothing_yet_serves() {
    let world = World::new();
    *world.west.copied.lock().unwrap() = None;
    let server = Server::fake(&world.west, &world.ca, None).await;
    becomes(&world.start(&server.peer, DEADLINE), Standing::is_good).await;
}

#[tokio::test]
async fn a_home_that_cannot_reach_its_pair_serves_after_a_while_if_it_holds_anything() {
    let world = World::new();
    let node = peer("westus", nobody().await);
    let alone = becomes(&world.start(&node, SHORT), |s| *s != Standing::Checking).await;
    assert!(matches!(alone, Standing::Masked(Reason::EmptyAlone { .. })), "{alone:?}");

    for group in ["$system", "eastus"] {
        advance(&world.engine, group, 5).await;
    }
    let begun = Instant::now();
    let standing = world.start(&node, SHORT);
    assert!(becomes(&standing, |s| *s != Standing::Checking).await.is_good());
    assert!(begun.elapsed() >= Duration::from_millis(500), "{:?}", begun.elapsed());

    // The pair returns, and knows better.
    world.copied(world.engine.lineage(), 9);
    let server = Server::fake(&world.west, &world.ca, Some(node.address.parse().unwrap())).await;
    let masked = becomes(&standing, |s| !s.is_good()).await;
    assert!(matches!(masked, Standing::Masked(Reason::Behind { .. })), "{masked:?}");
    drop(server);
}

#[tokio::test]
async fn a_region_without_a_pair_serves_at_once() {
    let world = World::new();
    let alone = RegionMap::single(&region("eastus"));
    let standing =
        HomeStanding::new(world.engine.clone(), &alone, &region("eastus"), StandingSettings::default());
    assert!(standing.now().is_good());
}

#[tokio::test]
async fn a_pair_that_returns_is_asked_again() {
    let world = World::new();
    for group in ["$system", "eastus"] {
        advance(&world.engine, group, 5).await;
    }
    world.copied(world.engine.lineage(), 5);
    let server = Server::fake(&world.west, &world.ca, None).await;
    let node = server.peer.clone();
    let (standing, watch) = world.start_watched(&node, DEADLINE);
    becomes(&standing, Standing::is_good).await;
    let is_there = |there| {
        let watch = Arc::clone(&watch);
        async move { until(async || (watch.nodes()[0].alive == there).then_some(())).await }
    };
    server.stop().await;
    is_there(false).await;
    // Who is away is believed by what it said last.
    assert!(standing.now().is_good());
    world.copied(world.engine.lineage(), 6);
    let server = Server::fake(&world.west, &world.ca, Some(node.address.parse().unwrap())).await;
    let masked = becomes(&standing, |s| !s.is_good()).await;
    assert!(matches!(masked, Standing::Masked(Reason::Behind { .. })), "{masked:?}");
    drop(server);
}
