//! A home asks those who copied from it before it speaks for its vaults. The decision is
//! [`valv_geo::standing::decide`]; here is the asking.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::future::join_all;
use tokio::time::Instant;
use valv_engine::{Engine, GroupId};
use valv_geo::apply::{Copied, rebuilding};
use valv_geo::ship::{continues, own_heads};
use valv_geo::standing::{Copy, Own, decide};
use valv_geo::{PeerId, RegionMap, Standing, standing};
use valv_model::{RegionName, VaultId};
use valv_sealing::Head;

use crate::{Peers, SendError, Watch};

/// When the replicas are asked.
#[derive(Clone, Debug)]
pub struct StandingSettings {
    /// A replica that does not answer is waited for so long; then a store that is not empty serves.
    pub wait: Duration,
    /// For one answer.
    pub answer: Duration,
    /// How often it is looked whether there is somebody to ask.
    pub look: Duration,
    /// An answer that stands against serving is asked for again after this.
    pub again: Duration,
    /// And any answer after this.
    pub refresh: Duration,
}

impl Default for StandingSettings {
    fn default() -> Self {
        Self {
            wait: standing::WAIT_FOR_PAIR,
            answer: Duration::from_secs(1),
            look: Duration::from_millis(100),
            again: Duration::from_secs(2),
            refresh: Duration::from_secs(60),
        }
    }
}

/// The standing of a region as the home of its groups.
pub struct HomeStanding {
    engine: Arc<dyn Engine>,
    /// Each group whose home this region is, with each region that copies it.
    questions: Vec<(GroupId, RegionName)>,
    settings: StandingSettings,
    current: ArcSwap<Standing>,
}

/// What is known about one question.
struct Known {
    standing: Standing,
    /// The replica has answered.
    answered: bool,
    /// When it was last asked.
    asked: Option<Instant>,
    /// It could be reached when it was last looked.
    alive: bool,
}

impl HomeStanding {
    /// Nothing is known yet, unless nobody copies from this region.
    #[must_use]
    pub fn new(
        engine: Arc<dyn Engine>,
        map: &RegionMap,
        region: &RegionName,
        settings: StandingSettings,
    ) -> Arc<Self> {
        let own = map.groups().filter(|group| map.home(group) == Some(region));
        let questions: Vec<_> =
            own.flat_map(|g| map.replicas(g).iter().map(|r| (g.clone(), r.clone()))).collect();
        let first = if questions.is_empty() { Standing::Good } else { Standing::Checking };
        Arc::new(Self { engine, questions, settings, current: ArcSwap::from_pointee(first) })
    }

    /// The standing now.
    #[must_use]
    pub fn now(&self) -> Standing {
        Standing::clone(&self.current.load())
    }

    /// Asks for ever: at the start until everybody has answered, whenever a replica becomes reachable, and from
    /// time to time. `watch` says who can be reached. Run it as a task.
    pub async fn run(self: Arc<Self>, peers: Arc<Peers>, nodes: Vec<PeerId>, watch: Arc<Watch>) {
        let begun = Instant::now();
        let nothing = || Known { standing: Standing::Checking, answered: false, asked: None, alive: false };
        let mut known: Vec<Known> = self.questions.iter().map(|_| nothing()).collect();
        while !known.is_empty() {
            let mut due = Vec::new();
            let view = watch.view();
            for (at, ((_, region), known)) in self.questions.iter().zip(&mut known).enumerate() {
                let alive =
                    view.regions.iter().any(|r| r.region == *region && r.nodes.iter().any(|n| n.alive));
                let was_alive = std::mem::replace(&mut known.alive, alive);
                let returned = alive && !was_alive;
                if returned || self.is_due(known) {
                    due.push(at);
                }
            }
            let (this, peers, nodes) = (&*self, &*peers, &*nodes);
            let asked = due.into_iter().filter_map(|at| Some((at, this.questions.get(at)?)));
            let asked = asked.map(|(at, (group, region))| async move {
                (at, group, this.ask(peers, nodes, group, region).await)
            });
            for (at, group, answer) in join_all(asked).await {
                let Some(known) = known.get_mut(at) else { continue };
                known.asked = Some(Instant::now());
                self.learn(known, group, answer, begun.elapsed()).await;
            }
            self.publish(
                known.iter().map(|known| known.standing.clone()).fold(Standing::Good, Standing::and),
            );
            tokio::time::sleep(self.settings.look).await;
        }
    }

    fn is_due(&self, known: &Known) -> bool {
        let Some(asked) = known.asked else { return true };
        let after = match (known.answered, &known.standing) {
            (false, Standing::Checking) => self.settings.look,
            (true, Standing::Good) => self.settings.refresh,
            _ => self.settings.again,
        };
        asked.elapsed() >= after
    }

    /// Asks the nodes of a region at once; the first answer counts.
    async fn ask(
        &self,
        peers: &Peers,
        nodes: &[PeerId],
        group: &GroupId,
        region: &RegionName,
    ) -> Result<Option<Copied>, SendError> {
        let deadline = std::time::Instant::now() + self.settings.answer;
        let nodes = nodes.iter().filter(|node| node.region == *region);
        let asked: Vec<_> = nodes.map(|node| Box::pin(peers.copied(node, group, deadline))).collect();
        if asked.is_empty() {
            return Err(SendError::NotSent("the region has no node".into()));
        }
        futures::future::select_ok(asked).await.map(|(answer, _)| answer)
    }

    /// Own heads are read after the answer came: see [`Own::heads`].
    async fn learn(
        &self,
        known: &mut Known,
        group: &GroupId,
        answer: Result<Option<Copied>, SendError>,
        since: Duration,
    ) {
        // Who has answered once is believed until it says something else.
        if answer.is_err() && known.answered {
            return;
        }
        let heads = match own_heads(&*self.engine, group).await {
            Ok(heads) => heads,
            Err(error) => return tracing::warn!(%group, %error, "the standing cannot be found out"),
        };
        // Half a store, however new, is not the home's: whoever fills it goes on, or empties it.
        if rebuilding(&*self.engine, group).await.unwrap_or(true) {
            tracing::warn!(%group, "this store is being rebuilt from the replica, and is not served before that is done");
            known.standing = Standing::Checking;
            return;
        }
        let own = Own { group, lineage: self.engine.lineage(), heads: &heads };
        let theirs: BTreeMap<VaultId, Head>;
        let copy = match &answer {
            Err(error) => {
                tracing::debug!(%group, %error, "a replica does not say what it copied");
                Copy::Unanswered(since)
            }
            Ok(None) => Copy::Nothing,
            Ok(Some(copied)) => {
                theirs = copied.heads.iter().map(|one| (one.vault.clone(), one.head)).collect();
                // A store that was rebuilt from its replica goes on with the history that was copied.
                let lineage = match continues(&*self.engine, group).await {
                    Ok(Some(continued)) if continued == copied.lineage => own.lineage,
                    _ => copied.lineage,
                };
                Copy::Has { lineage, heads: &theirs }
            }
        };
        known.standing = decide(&own, &copy, self.settings.wait);
        known.answered |= answer.is_ok();
    }

    fn publish(&self, now: Standing) {
        let before = self.current.swap(Arc::new(now.clone()));
        if *before == now {
            return;
        }
        match &now {
            Standing::Good => tracing::info!("this region serves as home"),
            Standing::Checking => tracing::info!("this region asks its pair before it serves as home"),
            Standing::Masked(reason) => {
                tracing::error!(%reason, "this region does not serve as home; the pair goes on answering reads");
            }
        }
    }
}
