//! Looks at every node and publishes what doors decide from.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures::stream::{FuturesUnordered, StreamExt as _};
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use valv_engine::GroupId;
use valv_geo::health::Settings;
use valv_geo::{CopyView, Here, NodeProbe, NodeState, NodeView, PeerId, RegionHealth, RegionView, View};
use valv_model::RegionName;

use crate::node::clock_ms;
use crate::{Local, Peers, Probe, ProbedReplica, ProbedStanding, SendError};

/// Probes of one node under way at a time: those within one deadline.
const FLYING: usize = 4;

/// How it is looked, and how much is remembered.
#[derive(Clone, Debug)]
pub struct WatchSettings {
    /// Probes and breakers.
    pub health: Settings,
    /// Changes of mode that are remembered.
    pub history: usize,
}

impl Default for WatchSettings {
    fn default() -> Self {
        Self { health: Settings::default(), history: 200 }
    }
}

/// A change of mode: what a region was for this door, and what it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// When, milliseconds since 1970, by this node's clock.
    pub at_ms: i64,
    /// The region.
    pub region: RegionName,
    /// What it was.
    pub from: RegionHealth,
    /// What it is.
    pub to: RegionHealth,
    /// What the last probe of a node of it brought, for people.
    pub why: String,
}

/// What is known of a node, for status.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The node.
    pub peer: PeerId,
    /// Requests may go to it.
    pub alive: bool,
    /// As home, too.
    pub home: bool,
    /// Its last answer.
    pub probe: Option<Probe>,
    /// The age of that answer.
    pub age: Option<Duration>,
    /// Why the last probe had no answer.
    pub failure: Option<String>,
}

/// What this node sees of all others. Dropping it ends the looking.
pub struct Watch {
    inner: Arc<Inner>,
    tasks: Vec<AbortHandle>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

struct Inner {
    settings: WatchSettings,
    begun: Instant,
    view: Arc<ArcSwap<View>>,
    state: Mutex<State>,
    /// How many nodes were not looked at yet.
    unseen: watch::Sender<usize>,
}

struct State {
    here: Option<(Here, NodeState)>,
    /// This process, as it names itself.
    instance: Option<uuid::Uuid>,
    /// In the order of the configuration.
    regions: Vec<Region>,
    history: VecDeque<Change>,
}

struct Region {
    name: RegionName,
    health: RegionHealth,
    nodes: Vec<Neighbour>,
}

struct Neighbour {
    peer: PeerId,
    state: NodeState,
    looked: bool,
    probe: Option<(Probe, Instant)>,
    failure: Option<String>,
    /// It is this very node, reached over the network.
    is_self: bool,
}

impl Watch {
    /// Begins to look at `nodes`, and at this node itself, if it is one of a region; needs a tokio runtime.
    #[must_use]
    pub fn start(
        peers: &Arc<Peers>,
        local: Option<Arc<dyn Local>>,
        regions: impl IntoIterator<Item = RegionName>,
        nodes: Vec<PeerId>,
        settings: WatchSettings,
    ) -> Arc<Self> {
        let region = |name: RegionName| Region {
            nodes: nodes.iter().filter(|node| node.region == name).map(Neighbour::new).collect(),
            health: RegionHealth::Available,
            name,
        };
        let regions: Vec<Region> = regions.into_iter().map(region).collect();
        for region in &regions {
            measure(region);
        }
        let state = State { here: None, instance: None, regions, history: VecDeque::new() };
        let inner = Arc::new(Inner {
            view: Arc::new(ArcSwap::from_pointee(state.view())),
            state: Mutex::new(state),
            begun: Instant::now(),
            settings,
            unseen: watch::Sender::new(nodes.len() + usize::from(local.is_some())),
        });
        let mut tasks: Vec<AbortHandle> = nodes
            .into_iter()
            .map(|node| {
                tokio::spawn(probe_forever(Arc::clone(&inner), Arc::clone(peers), node)).abort_handle()
            })
            .collect();
        if let Some(local) = local {
            tasks.push(tokio::spawn(look_forever(Arc::clone(&inner), local)).abort_handle());
        }
        Arc::new(Self { inner, tasks })
    }

    /// What doors decide from, as it is now.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.inner.view.load_full()
    }

    /// The same, always as it is at the moment.
    #[must_use]
    pub fn shared(&self) -> Arc<ArcSwap<View>> {
        Arc::clone(&self.inner.view)
    }

    /// The latest changes of mode, oldest first.
    #[must_use]
    pub fn history(&self) -> Vec<Change> {
        self.inner.state().history.iter().cloned().collect()
    }

    /// All other nodes.
    #[must_use]
    pub fn nodes(&self) -> Vec<Seen> {
        let state = self.inner.state();
        let nodes = state.regions.iter().flat_map(|region| &region.nodes).filter(|node| !node.is_self);
        nodes.map(Neighbour::seen).collect()
    }

    /// Waits until every node was looked at once: one probe's deadline at most, whoever is away.
    pub async fn first_round(&self) {
        let mut unseen = self.inner.unseen.subscribe();
        let deadline = self.inner.settings.health.probe_deadline;
        let _ = tokio::time::timeout(deadline, unseen.wait_for(|unseen| *unseen == 0)).await;
    }
}

impl Neighbour {
    fn new(peer: &PeerId) -> Self {
        Self {
            peer: peer.clone(),
            state: NodeState::new(Duration::ZERO),
            looked: false,
            probe: None,
            failure: None,
            is_self: false,
        }
    }

    fn seen(&self) -> Seen {
        Seen {
            peer: self.peer.clone(),
            alive: self.state.alive.is_closed(),
            home: self.state.home.is_closed(),
            probe: self.probe.as_ref().map(|(probe, _)| probe.clone()),
            age: self.probe.as_ref().map(|(_, at)| at.elapsed()),
            failure: self.failure.clone(),
        }
    }

    fn view(&self) -> NodeView {
        let complete = |probe: &Probe| {
            let complete = probe.replicas.iter().filter(|(_, replica)| replica.complete);
            complete.filter_map(|(group, _)| GroupId::parse(group).ok()).collect()
        };
        NodeView {
            peer: self.peer.clone(),
            alive: self.state.alive.is_closed(),
            home: self.state.home.is_closed(),
            replicas: self.probe.as_ref().map(|(probe, _)| complete(probe)).unwrap_or_default(),
            copies: self.probe.as_ref().map(|(probe, _)| copies(probe)).unwrap_or_default(),
        }
    }
}

fn copies(probe: &Probe) -> Vec<CopyView> {
    let copy = |(group, replica): (&String, &ProbedReplica)| {
        Some(CopyView {
            group: GroupId::parse(group).ok()?,
            state: replica.state.clone(),
            lag: replica.lag_ms.map(Duration::from_millis),
            behind_commits: replica.behind_commits,
        })
    };
    probe.replicas.iter().filter_map(copy).collect()
}

impl State {
    fn view(&self) -> View {
        let region = |region: &Region| RegionView {
            region: region.name.clone(),
            health: region.health,
            nodes: region.nodes.iter().filter(|node| !node.is_self).map(Neighbour::view).collect(),
        };
        View {
            here: self.here.as_ref().map(|(here, _)| here.clone()),
            regions: self.regions.iter().map(region).collect(),
        }
    }

    /// Judges a region anew after one of its nodes was looked at.
    fn judge(&mut self, name: &RegionName, why: &str, keep: usize) {
        let here = self.here.as_ref().filter(|(here, _)| here.region == *name).map(|(_, state)| state);
        let Some(region) = self.regions.iter_mut().find(|region| region.name == *name) else { return };
        let others = region.nodes.iter().filter(|node| !node.is_self).map(|node| &node.state);
        let health = RegionHealth::of(others.chain(here));
        let before = std::mem::replace(&mut region.health, health);
        if before == health {
            return;
        }
        let (from, to) = (before.as_str(), health.as_str());
        if health == RegionHealth::Available {
            tracing::info!(region = %name, from, to, why, "change of mode");
        } else {
            tracing::warn!(region = %name, from, to, why, "change of mode");
        }
        metrics::counter!("valv_mode_changes_total", "region" => name.to_string(), "to" => to).increment(1);
        measure(region);
        if self.history.len() >= keep {
            self.history.pop_front();
        }
        let change =
            Change { at_ms: clock_ms(), region: name.clone(), from: before, to: health, why: why.to_owned() };
        self.history.push_back(change);
    }
}

fn measure(region: &Region) {
    let available = if region.health == RegionHealth::Available { 1.0 } else { 0.0 };
    metrics::gauge!("valv_region_available", "region" => region.name.to_string()).set(available);
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A probe of another node is over.
    fn saw(&self, peer: &PeerId, outcome: Result<Probe, SendError>) {
        let now = self.begun.elapsed();
        let mut state = self.state();
        let instance = state.instance;
        let mut nodes = state.regions.iter_mut().flat_map(|region| &mut region.nodes);
        let Some(node) = nodes.find(|node| node.peer == *peer) else { return };
        let (observed, why) = match outcome {
            Ok(probe) => {
                let observed = NodeProbe::Answered {
                    engine: probe.engine_ok,
                    standing: probe.standing == ProbedStanding::Good,
                };
                let why = reason(&probe);
                node.is_self = instance == Some(probe.instance);
                node.failure = None;
                node.probe = Some((probe, Instant::now()));
                (observed, why)
            }
            Err(error) => {
                let why = error.to_string();
                node.failure = Some(why.clone());
                (NodeProbe::Missed, why)
            }
        };
        node.state = node.state.clone().observe(observed, now, &self.settings.health);
        let first = !std::mem::replace(&mut node.looked, true);
        state.judge(&peer.region, &format!("{}: {why}", peer.address), self.settings.history);
        self.view.store(Arc::new(state.view()));
        drop(state);
        if first {
            self.unseen.send_modify(|unseen| *unseen = unseen.saturating_sub(1));
        }
    }

    /// This node has looked at itself. `counts`: as a probe of it does.
    fn looked(&self, here: Here, counts: bool) {
        let now = self.begun.elapsed();
        let mut state = self.state();
        let observed = NodeProbe::Answered { engine: here.engine, standing: here.standing.is_good() };
        let (node, first) = match state.here.take() {
            Some((_, node)) => (node, false),
            None => (NodeState::new(now), true),
        };
        let node = if counts || first { node.observe(observed, now, &self.settings.health) } else { node };
        let region = here.region.clone();
        let why = format!("this node: engine {}, standing {:?}", here.engine, here.standing);
        state.here = Some((here, node));
        state.judge(&region, &why, self.settings.history);
        self.view.store(Arc::new(state.view()));
        drop(state);
        if first {
            self.unseen.send_modify(|unseen| *unseen = unseen.saturating_sub(1));
        }
    }
}

/// What an answer says against the node, for people.
fn reason(probe: &Probe) -> String {
    match (&probe.standing, probe.engine_ok) {
        (_, false) => "its engine does not answer".into(),
        (ProbedStanding::Good, true) => "it answers".into(),
        (ProbedStanding::Checking, true) => "it asks its pair before it serves".into(),
        (ProbedStanding::Masked(why), true) => why.clone(),
    }
}

/// A probe each so often, whether the last one is over or not: a node that answers late is missed late, too.
async fn probe_forever(inner: Arc<Inner>, peers: Arc<Peers>, peer: PeerId) {
    let (each, within) = (inner.settings.health.probe_each, inner.settings.health.probe_deadline);
    let mut ticks = tokio::time::interval(each);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut flying = FuturesUnordered::new();
    loop {
        tokio::select! {
            _ = ticks.tick(), if flying.len() < FLYING => {
                let (peers, peer) = (&peers, &peer);
                flying.push(async move { peers.probe(peer, Instant::now() + within).await });
            }
            Some(outcome) = flying.next() => inner.saw(&peer, outcome),
        }
    }
}

/// This node looks at itself more often than at others, because it costs little: what changes here counts at once.
const OFTENER: u32 = 5;

async fn look_forever(inner: Arc<Inner>, local: Arc<dyn Local>) {
    let instance = local.probe().await.instance;
    inner.state().instance = Some(instance);
    let mut ticks = tokio::time::interval(inner.settings.health.probe_each / OFTENER);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for count in (0..OFTENER).cycle() {
        ticks.tick().await;
        inner.looked(local.here().await, count == 0);
    }
}
