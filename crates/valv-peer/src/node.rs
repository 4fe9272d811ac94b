//! What a node of a region says of itself and of its store.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use uuid::Uuid;
use valv_engine::{Engine, GroupId, GroupMeta, KeyRange, layout};
use valv_geo::apply::{Copied, Replica, ReplicaState, ReplicaStatus, copied, is_complete};
use valv_geo::source::SourceError;
use valv_geo::{Here, RegionMap, Standing};
use valv_model::{Error, RegionName, Result, VaultName};

use crate::{Held, HeldGroup, Holding, HomeStanding, Local, Probe, ProbedReplica, ProbedStanding};

/// What a node knows of itself before it starts.
pub struct NodeSettings {
    /// Its region.
    pub region: RegionName,
    /// Its name, for people.
    pub name: String,
    /// The program's version.
    pub version: String,
    /// For a read of the engine. Less than a probe's deadline, so that a probe tells of an engine that does not
    /// answer.
    pub engine: Duration,
    /// The ids of the root keys that it holds now.
    pub root_keys: Box<dyn Fn() -> Vec<String> + Send + Sync>,
}

/// A node of a region.
pub struct Node {
    engine: Arc<dyn Engine>,
    map: Arc<RegionMap>,
    replicas: Vec<Arc<Replica>>,
    standing: Arc<HomeStanding>,
    settings: NodeSettings,
    instance: Uuid,
    /// The groups that were complete copies when the engine last answered.
    complete: Mutex<Vec<GroupId>>,
}

/// What the store has of a group.
struct Part {
    group: GroupId,
    meta: GroupMeta,
    /// It can speak for the group: as its home, or as a replica that was complete once.
    complete: bool,
}

impl Node {
    /// A node over its region's store. `replicas`: the tasks that copy other regions' groups into it.
    #[must_use]
    pub fn new(
        engine: Arc<dyn Engine>,
        map: Arc<RegionMap>,
        replicas: Vec<Arc<Replica>>,
        standing: Arc<HomeStanding>,
        settings: NodeSettings,
    ) -> Self {
        let instance = Uuid::new_v4();
        Self { engine, map, replicas, standing, settings, instance, complete: Mutex::default() }
    }

    /// How the replicas in this store are; for answers that come from them.
    pub fn replica_status(&self, group: &GroupId) -> Option<ReplicaStatus> {
        self.replicas.iter().find(|replica| replica.group() == group).map(|replica| replica.status())
    }

    /// Reads what the store has of its groups, and more keys at the same revision.
    async fn read(&self, groups: &[GroupId], more: Vec<Bytes>) -> Result<(Vec<Part>, Vec<Option<Bytes>>)> {
        let own = groups.iter().flat_map(|group| [layout::group_meta(group), layout::copied(group)]);
        let ranges: Vec<KeyRange> = own.chain(more).map(KeyRange::key).collect();
        let read = tokio::time::timeout(self.settings.engine, self.engine.read(&ranges)).await;
        let late = || Error::unavailable("The store does not answer in time.");
        let read = read.map_err(|_| late())?.map_err(|e| late().detail(e.to_string()))?;
        let mut values =
            read.ranges.into_iter().map(|range| range.into_iter().next().map(|entry| entry.value));
        let mut parts = Vec::new();
        for group in groups {
            let (meta, copied) = (values.next().flatten(), values.next().flatten());
            let damaged = |e: String| Error::internal(format!("group {group}: {e}"));
            let Some(meta) = meta else { continue };
            let meta: GroupMeta = serde_json::from_slice(&meta).map_err(|e| damaged(e.to_string()))?;
            let complete = meta.home == self.settings.region
                || is_complete(copied.as_ref()).map_err(|e| damaged(e.to_string()))?;
            parts.push(Part { group: group.clone(), meta, complete });
        }
        Ok((parts, values.collect()))
    }

    /// The groups that the store holds: the region's own, those of which it is a replica, perhaps `$system`.
    fn groups(&self) -> Vec<GroupId> {
        let region = &self.settings.region;
        let held = |group: &&GroupId| {
            self.map.home(group) == Some(region) || self.map.replicas(group).contains(region)
        };
        self.map.groups().filter(held).cloned().collect()
    }

    /// Does the engine answer, and which replicas are complete?
    async fn look(&self) -> (bool, Vec<GroupId>) {
        let parts = match self.read(&self.groups(), Vec::new()).await {
            Ok((parts, _)) => parts,
            Err(error) => {
                tracing::debug!(%error, "the engine does not answer a probe");
                return (false, self.complete.lock().unwrap_or_else(PoisonError::into_inner).clone());
            }
        };
        let replica = |part: &Part| part.complete && part.meta.home != self.settings.region;
        let complete: Vec<GroupId> = parts.into_iter().filter(replica).map(|part| part.group).collect();
        self.complete.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&complete);
        (true, complete)
    }
}

#[async_trait]
impl Local for Node {
    async fn here(&self) -> Here {
        let (engine, replicas) = self.look().await;
        let standing = self.standing.now();
        Here { region: self.settings.region.clone(), standing, engine, replicas }
    }

    async fn probe(&self) -> Probe {
        let (engine_ok, complete) = self.look().await;
        let replica = |replica: &Arc<Replica>| {
            let group = replica.group();
            (group.to_string(), probed(replica.status(), complete.contains(group)))
        };
        Probe {
            region: self.settings.region.clone(),
            node: self.settings.name.clone(),
            instance: self.instance,
            version: self.settings.version.clone(),
            lineage: self.engine.lineage().0,
            engine_ok,
            standing: match self.standing.now() {
                Standing::Good => ProbedStanding::Good,
                Standing::Checking => ProbedStanding::Checking,
                Standing::Masked(reason) => ProbedStanding::Masked(reason.to_string()),
            },
            replicas: self.replicas.iter().map(replica).collect::<BTreeMap<_, _>>(),
            root_keys: (self.settings.root_keys)(),
            clock_ms: clock_ms(),
        }
    }

    async fn holding(&self, name: &VaultName) -> Result<Holding> {
        // The system group holds no vault of a client.
        let mut groups = self.groups();
        groups.retain(|group| *group != GroupId::system());
        let places = groups.iter().flat_map(|g| [layout::vault(g, name), layout::deleted_vault(g, name)]);
        let (parts, found) = self.read(&groups, places.collect()).await?;
        let mut held: Option<Held> = None;
        for (group, places) in groups.iter().zip(found.chunks(2)) {
            let live = matches!(places.first(), Some(Some(_)));
            let deleted = matches!(places.get(1), Some(Some(_)));
            if live || (deleted && held.is_none()) {
                held = Some(Held { group: group.to_string(), deleted: !live });
            }
            if live {
                break;
            }
        }
        let groups = parts
            .into_iter()
            .map(|Part { group, meta, complete }| HeldGroup {
                group: group.to_string(),
                home: meta.home,
                epoch: meta.epoch.0,
                complete,
            })
            .collect();
        Ok(Holding { region: self.settings.region.clone(), held, groups })
    }

    async fn copied(&self, group: &GroupId) -> Result<Option<Copied>> {
        if !self.map.replicas(group).contains(&self.settings.region) {
            return Err(Error::bad(format!("This region holds no replica of group {group}.")));
        }
        copied(&*self.engine, group).await.map_err(|e| match e {
            SourceError::Damaged(why) => Error::internal(why),
            other => Error::unavailable(other.to_string()),
        })
    }
}

fn probed(status: ReplicaStatus, complete: bool) -> ProbedReplica {
    let state = match status.state {
        ReplicaState::CopyingFirst => "copying for the first time".to_owned(),
        ReplicaState::Following => "following".to_owned(),
        ReplicaState::Stopped(reason) => format!("stopped: {reason}"),
        ReplicaState::Unreachable(why) => format!("home is not reached: {why}"),
        ReplicaState::StoreFails(why) => format!("this store does not take commits: {why}"),
    };
    ProbedReplica {
        lineage: status.lineage.map(|lineage| lineage.0),
        lag_ms: status.lag.map(|lag| u64::try_from(lag.as_millis()).unwrap_or(u64::MAX)),
        behind_commits: status.behind_commits,
        complete,
        state,
    }
}

/// Now, milliseconds since 1970.
pub(crate) fn clock_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
