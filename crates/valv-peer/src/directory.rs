//! Which region a vault lives in: cached, and asked from the regions where it is not.

mod decide;
use decide::{Answer, Verdict, decide, strictly};

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::future::{BoxFuture, FutureExt as _, Shared};
use futures::stream::{FuturesUnordered, StreamExt as _};
use quick_cache::sync::Cache;
use valv_engine::GroupId;
use valv_geo::{PeerId, RegionMap};
use valv_model::{Error, RegionName, Result, VaultName};
use valv_vault::NameCheck;

use crate::{Holding, Homes, Local, Located, Peers};

/// How long what is known counts, and how long is asked.
#[derive(Clone, Debug)]
pub struct DirectorySettings {
    /// Names that are remembered.
    pub names: usize,
    /// For where a vault is.
    pub found: Duration,
    /// For that there is none.
    pub absent: Duration,
    /// For the answer of a region.
    pub answer: Duration,
    /// Before a second node of a region is asked as well.
    pub second: Duration,
    /// Names that are asked for at a time; for more: 503.
    pub asking: usize,
}

impl Default for DirectorySettings {
    fn default() -> Self {
        Self {
            names: 10_000,
            found: Duration::from_secs(5),
            absent: Duration::from_secs(1),
            answer: Duration::from_secs(1),
            second: Duration::from_millis(300),
            asking: 256,
        }
    }
}

type Outcome = Result<Option<Located>>;
type Asking = Shared<BoxFuture<'static, Outcome>>;

/// Where vaults live, as the regions say.
pub struct Directory(Arc<Names>);

struct Names {
    asker: Arc<Asker>,
    cache: Cache<VaultName, (Instant, Option<Located>)>,
    /// Names that are asked for now, each by one task, whoever waits for it.
    asking: Mutex<HashMap<VaultName, Asking>>,
    settings: DirectorySettings,
}

/// Asks the regions.
struct Asker {
    map: Arc<RegionMap>,
    /// This node, and its region.
    local: Option<(RegionName, Arc<dyn Local>)>,
    peers: Arc<Peers>,
    nodes: Vec<PeerId>,
    answer: Duration,
    second: Duration,
}

impl Directory {
    /// The directory of a node. `local`: its region and itself, which is asked without the network. `nodes`: those
    /// of all other regions.
    #[must_use]
    pub fn new(
        map: Arc<RegionMap>,
        local: Option<(RegionName, Arc<dyn Local>)>,
        peers: Arc<Peers>,
        nodes: Vec<PeerId>,
        settings: DirectorySettings,
    ) -> Arc<Self> {
        let (answer, second) = (settings.answer, settings.second);
        let asker = Arc::new(Asker { map, local, peers, nodes, answer, second });
        let cache = Cache::new(settings.names);
        Arc::new(Self(Arc::new(Names { asker, cache, asking: Mutex::default(), settings })))
    }
}

impl Names {
    fn cached(&self, name: &VaultName) -> Option<Option<Located>> {
        let (at, located) = self.cache.get(name)?;
        let counts = if located.is_some() { self.settings.found } else { self.settings.absent };
        (at.elapsed() < counts).then_some(located)
    }

    /// Joins who asks for the name already, or begins to ask. The asking goes on when nobody waits any more: the
    /// next one finds what it brought.
    fn ask(self: &Arc<Self>, name: &VaultName) -> Result<Asking> {
        let mut asking = self.asking();
        if let Some(asked) = asking.get(name) {
            return Ok(asked.clone());
        }
        if asking.len() >= self.settings.asking {
            return Err(Error::unavailable(
                "Too many vaults are looked for at this moment. Nothing was changed.",
            ));
        }
        let (this, wanted) = (Arc::clone(self), name.clone());
        let task = tokio::spawn(async move {
            let outcome = this.asker.locate(&wanted).await;
            if let Ok(located) = &outcome {
                this.cache.insert(wanted.clone(), (Instant::now(), located.clone()));
            }
            this.asking().remove(&wanted);
            outcome
        });
        let asked: Asking = task
            .map(|ended| ended.unwrap_or_else(|e| Err(Error::internal(format!("the directory's task: {e}")))))
            .boxed()
            .shared();
        asking.insert(name.clone(), asked.clone());
        Ok(asked)
    }

    fn asking(&self) -> MutexGuard<'_, HashMap<VaultName, Asking>> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn outcome(self: &Arc<Self>, name: &VaultName, deadline: Instant) -> Outcome {
        match tokio::time::timeout_at(deadline.into(), self.ask(name)?).await {
            Ok(outcome) => outcome,
            Err(_) => Err(not_all("The regions did not say in time where the vault is.")),
        }
    }
}

#[async_trait]
impl Homes for Directory {
    async fn locate(&self, name: &VaultName, deadline: Instant) -> Result<Option<Located>> {
        if let Some(located) = self.0.cached(name) {
            return Ok(located);
        }
        match self.0.outcome(name, deadline).await {
            // Vaults do not move by themselves: where it was is the best that is known.
            Err(error) => match self.0.cache.get(name) {
                Some((_, Some(located))) => Ok(Some(located)),
                _ => Err(error),
            },
            outcome => outcome,
        }
    }

    fn forget(&self, name: &VaultName) {
        self.0.cache.remove(name);
    }
}

#[async_trait]
impl NameCheck for Directory {
    async fn taken(&self, name: &VaultName) -> Result<Option<RegionName>> {
        let own = self.0.asker.local.as_ref().map(|(region, _)| region);
        let answers = self.0.asker.all(name, |_| false).await;
        strictly(&self.0.asker.map, own, &answers).map_err(|region| {
            not_all("Whether the name is free cannot be known now.")
                .detail(format!("region {region} does not answer"))
        })
    }
}

fn not_all(what: &str) -> Error {
    Error::unavailable(format!("{what} Nothing was changed."))
}

impl Asker {
    async fn locate(&self, name: &VaultName) -> Outcome {
        let answers = self.all(name, |answers| !matches!(decide(&self.map, answers), Verdict::Wait)).await;
        match decide(&self.map, &answers) {
            Verdict::Found(located) => Ok(Some(located)),
            Verdict::Absent => Ok(None),
            Verdict::Wait | Verdict::Unknown(_) => {
                Err(not_all("Not every region that could hold the vault can be reached now."))
            }
        }
    }

    /// Asks all regions at once, until `enough` is known or all have answered or failed.
    async fn all(
        &self,
        name: &VaultName,
        enough: impl Fn(&BTreeMap<RegionName, Answer>) -> bool,
    ) -> BTreeMap<RegionName, Answer> {
        let regions: Vec<RegionName> = self.map.regions().map(|region| region.name.clone()).collect();
        let mut answers: BTreeMap<_, _> = regions.iter().map(|r| (r.clone(), Answer::Pending)).collect();
        let deadline = Instant::now() + self.answer;
        let mut asked: FuturesUnordered<_> = regions
            .into_iter()
            .map(|region| async move {
                let answer =
                    tokio::time::timeout_at(deadline.into(), self.region(&region, name, deadline)).await;
                (region, answer.unwrap_or(Answer::Failed))
            })
            .collect();
        while let Some((region, answer)) = asked.next().await {
            answers.insert(region, answer);
            if enough(&answers) {
                break;
            }
        }
        answers
    }

    /// Asks one region: itself, or its nodes one after the other.
    async fn region(&self, region: &RegionName, name: &VaultName, deadline: Instant) -> Answer {
        let nodes: Vec<&PeerId> = self.nodes.iter().filter(|node| node.region == *region).collect();
        let mut waiting = nodes.into_iter().peekable();
        if let Some((_, local)) = self.local.as_ref().filter(|(own, _)| own == region) {
            match local.holding(name).await {
                Ok(holding) => return Answer::Says(holding),
                Err(error) => tracing::debug!(%error, "the own store does not say which vaults it holds"),
            }
        }
        let mut asked = FuturesUnordered::new();
        let mut more = true;
        loop {
            if more && let Some(node) = waiting.next() {
                asked.push(self.peers.holding(node, name, deadline));
            }
            more = tokio::select! {
                Some(answer) = asked.next() => match answer {
                    Ok(holding) => return Answer::Says(holding),
                    Err(error) => {
                        tracing::debug!(%region, %error, "a node does not say which vaults its region holds");
                        true
                    }
                },
                () = tokio::time::sleep(self.second), if waiting.peek().is_some() => true,
                else => return Answer::Failed,
            };
        }
    }
}
