//! Who is asked: a decision per request, never a state of a cluster. The pair only ever reads, so nobody elects
//! anybody, and two doors may decide differently without harm.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use valv_engine::GroupId;
use valv_model::{Effect, RegionName};

use crate::{RegionHealth, Standing};

/// In which part a region answers for a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// As the group's home: reads and writes.
    Home,
    /// From a copy: reads.
    Replica,
}

/// A node as doors name it: its region, and where its peer listener is reached (`host:port`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId {
    /// The region whose certificate it must show.
    pub region: RegionName,
    /// `host:port` of the peer listener.
    pub address: Arc<str>,
}

/// What a request is about.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// The group of the vault, or `$system`.
    pub group: &'a GroupId,
    /// The region that owns the group.
    pub home: &'a RegionName,
    /// The regions that hold a copy of it ([`crate::RegionMap::replicas`]).
    pub replicas: &'a [RegionName],
    /// Does the operation write?
    pub effect: Effect,
    /// Whoever holds the group may answer, home or not (tokens, discovery documents): the nearest does.
    pub anywhere: bool,
    /// The part in which another node asks us; None: the request came from a client.
    pub forwarded: Option<Role>,
}

/// What a node knows of itself.
#[derive(Clone, Debug)]
pub struct Here {
    /// Its region.
    pub region: RegionName,
    /// The standing of the region as home.
    pub standing: Standing,
    /// Its engine answered a linearizable read lately.
    pub engine: bool,
    /// The groups of other regions that its store holds a complete copy of.
    pub replicas: Vec<GroupId>,
}

/// What a door knows of another node.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// Who it is.
    pub peer: PeerId,
    /// The breaker of [`crate::NodeState::alive`] is closed.
    pub alive: bool,
    /// The breaker of [`crate::NodeState::home`] is closed.
    pub home: bool,
    /// The groups of other regions that it can answer for, by its last answer. Kept while it does not answer.
    pub replicas: Vec<GroupId>,
    /// How far its copies were, by its last answer; for people.
    pub copies: Vec<CopyView>,
}

/// How far another node's copy of a group was when it last answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyView {
    /// Of what.
    pub group: GroupId,
    /// Following, copying, stopped and why.
    pub state: String,
    /// Behind home by this much; None: not known.
    pub lag: Option<Duration>,
    /// Commits that home had and it has not.
    pub behind_commits: u64,
}

/// What a door knows of a region.
#[derive(Clone, Debug)]
pub struct RegionView {
    /// Which.
    pub region: RegionName,
    /// The judgement over its nodes.
    pub health: RegionHealth,
    /// Its nodes, in the order of the configuration. The own node is not among them.
    pub nodes: Vec<NodeView>,
}

/// All that a door decides from, published as a whole.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The node's own part; None: a gateway.
    pub here: Option<Here>,
    /// Every region of the deployment.
    pub regions: Vec<RegionView>,
}

impl View {
    fn nodes(&self, region: &RegionName) -> &[NodeView] {
        self.regions.iter().find(|r| r.region == *region).map_or(&[], |r| &r.nodes)
    }
}

/// Where one attempt goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// This node serves, in the leg's role.
    Here,
    /// Another node.
    Peer(PeerId),
}

/// One attempt to get an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leg {
    /// In which part it is asked.
    pub role: Role,
    /// Who is asked.
    pub target: Target,
}

/// In which order legs are tried; [`crate::Hedge`] says when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Asked at once, the second of them a little later as well.
    pub first: Vec<Leg>,
    /// Asked when the first do not answer. Empty for writes.
    pub then: Vec<Leg>,
}

/// What a node does with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Perform it, as home.
    Serve,
    /// Perform it from the copy, and say so in the answer.
    ServeReadOnly,
    /// Ask others.
    Forward(Forward),
    /// Refuse it.
    Refuse(Refusal),
}

/// Why a request is refused before anything was done or sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A write, and home is not there: 503, Azure's words.
    ReadOnly,
    /// Nobody who could answer is there, and no copy exists: 503.
    Unavailable,
    /// Another node asked us for a part that we cannot take: 421, and that node goes on to the next.
    Misdirected,
}

/// The decision.
///
/// A request that was forwarded is never forwarded again. A node in the home region serves if its standing is good
/// and its engine answers. Otherwise home's nodes are asked, and for reads the copies after them; the other way round
/// where home's breakers are open. A read is refused only if there is nobody to ask: a breaker that is open says whom
/// to ask last, not whom to give up.
#[must_use]
pub fn route(asked: &Asked<'_>, view: &View) -> Plan {
    let may_serve = |here: &Here| here.region == *asked.home && here.standing.is_good();
    let may_copy = |here: &Here| {
        here.engine && asked.replicas.contains(&here.region) && here.replicas.contains(asked.group)
    };
    let here = view.here.as_ref();

    match asked.forwarded {
        Some(Role::Home) if here.is_some_and(may_serve) => return Plan::Serve,
        Some(Role::Replica) if here.is_some_and(may_copy) => {
            return match asked.effect {
                Effect::Read => Plan::ServeReadOnly,
                Effect::Write => Plan::Refuse(Refusal::ReadOnly),
            };
        }
        Some(_) => return Plan::Refuse(Refusal::Misdirected),
        None => {}
    }
    if here.is_some_and(|here| may_serve(here) && (here.engine || asked.effect == Effect::Write)) {
        return Plan::Serve;
    }
    if asked.anywhere && asked.effect == Effect::Read && here.is_some_and(may_copy) {
        return Plan::ServeReadOnly;
    }
    match asked.effect {
        Effect::Write => route_write(asked, view),
        Effect::Read => route_read(asked, view, here.is_some_and(may_copy), here.is_some_and(may_serve)),
    }
}

fn route_write(asked: &Asked<'_>, view: &View) -> Plan {
    let first: Vec<Leg> =
        view.nodes(asked.home).iter().filter(|node| node.home).map(|node| leg(Role::Home, node)).collect();
    match (first.is_empty(), asked.replicas.is_empty()) {
        (false, _) => Plan::Forward(Forward { first, then: Vec::new() }),
        (true, false) => Plan::Refuse(Refusal::ReadOnly),
        (true, true) => Plan::Refuse(Refusal::Unavailable),
    }
}

fn route_read(asked: &Asked<'_>, view: &View, copy_here: bool, home_here: bool) -> Plan {
    let mut home = Vec::new();
    let mut copies = Vec::new();
    // Those whose breaker is open, or whose copy is not whole as far as we know: asked last, but asked.
    let mut last = Vec::new();
    for node in view.nodes(asked.home) {
        if node.home { &mut home } else { &mut last }.push(leg(Role::Home, node));
    }
    if copy_here {
        if home.is_empty() {
            return Plan::ServeReadOnly;
        }
        copies.push(Leg { role: Role::Replica, target: Target::Here });
    }
    for node in asked.replicas.iter().flat_map(|region| view.nodes(region)) {
        let ready = node.alive && node.replicas.contains(asked.group);
        if ready { &mut copies } else { &mut last }.push(leg(Role::Replica, node));
    }
    if home_here {
        // Home itself, with an engine that did not answer lately.
        last.push(Leg { role: Role::Home, target: Target::Here });
    }
    let waves = [home, copies, last];
    let mut waves = waves.into_iter().filter(|wave| !wave.is_empty());
    match (waves.next(), waves.next(), waves.next()) {
        (None, ..) => Plan::Refuse(Refusal::Unavailable),
        (Some(first), then, last) => {
            let then = then.into_iter().chain(last).flatten().collect();
            Plan::Forward(Forward { first, then })
        }
    }
}

fn leg(role: Role, node: &NodeView) -> Leg {
    Leg { role, target: Target::Peer(node.peer.clone()) }
}

#[cfg(test)]
mod tests;
