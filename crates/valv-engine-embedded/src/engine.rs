use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use async_trait::async_trait;
use bytes::Bytes;
use redb::StorageBackend;
use tokio::sync::oneshot;
use valv_engine::{
    ChangeStream, ChangesError, CommitError, Compare, Engine, GroupId, GroupMeta, KeyRange, LeaseError,
    Lineage, Read, ReadError, ReplicaLease, Revision, Snapshot, Transaction, WriteLease, layout,
};
use valv_model::RegionName;

use crate::batch::Request;
use crate::history::History;
use crate::read;
use crate::settings::Settings;
use crate::store::{OpenError, Store};
use crate::writer::{Job, Writer};

/// A store in one file. Dropping it answers what waits, closes the file and ends all streams.
pub struct EmbeddedEngine {
    store: Arc<Store>,
    history: Arc<History>,
    /// `None` only while the engine is dropped.
    jobs: Option<SyncSender<Job>>,
    writer: Option<JoinHandle<()>>,
}

impl EmbeddedEngine {
    /// Makes a store and opens it: a new lineage, the groups, and the record that names the root key.
    /// Refuses a path that exists. The file appears whole or not at all, and only its owner may read it.
    pub fn create(
        path: &Path,
        groups: &[(GroupId, GroupMeta)],
        root_key_record: Bytes,
        settings: Settings,
    ) -> Result<Self, OpenError> {
        Store::create(path, groups, &root_key_record, &settings)?;
        Self::open(path, settings)
    }

    /// Opens a store; never makes one.
    pub fn open(path: &Path, settings: Settings) -> Result<Self, OpenError> {
        let (store, revision) = Store::open(path, settings)?;
        Self::start(store, revision)
    }

    /// As [`Self::create`], on any storage that is empty; for tests.
    pub fn create_backend(
        backend: impl StorageBackend,
        groups: &[(GroupId, GroupMeta)],
        root_key_record: Bytes,
        settings: Settings,
    ) -> Result<Self, OpenError> {
        let (store, revision) = Store::create_backend(Box::new(backend), groups, &root_key_record, settings)?;
        Self::start(store, revision)
    }

    /// As [`Self::open`], on any storage; for tests.
    pub fn open_backend(backend: impl StorageBackend, settings: Settings) -> Result<Self, OpenError> {
        let (store, revision) = Store::open_backend(Box::new(backend), settings)?;
        Self::start(store, revision)
    }

    fn start(store: Store, revision: Revision) -> Result<Self, OpenError> {
        let Settings { history_count, history_bytes, queue, .. } = store.settings;
        let store = Arc::new(store);
        let history = Arc::new(History::new(revision, history_count, history_bytes));
        let (jobs, waiting) = sync_channel(queue);
        let writer = Writer::new(Arc::clone(&store), Arc::clone(&history), waiting);
        let thread = std::thread::Builder::new().name("valv-writer".into());
        let writer = thread
            .spawn(move || writer.run())
            .map_err(|e| OpenError::Io { path: "(writer thread)".into(), why: e.to_string() })?;
        Ok(Self { store, history, jobs: Some(jobs), writer: Some(writer) })
    }

    /// Forgets the history that change streams are served from, as a restart does.
    pub fn forget_history(&self) {
        self.history.forget();
    }

    async fn group_meta(&self, group: &GroupId) -> Result<Option<Bytes>, ReadError> {
        let read = self.read(&[KeyRange::key(layout::group_meta(group))]).await?;
        Ok(read.ranges.into_iter().flatten().next().map(|entry| entry.value))
    }

    async fn submit(&self, lease: Compare, transaction: Transaction) -> Result<Revision, CommitError> {
        let (done, outcome) = oneshot::channel();
        let job = Job::Commit(Request { lease, transaction }, done);
        let closed = || CommitError::Unavailable("the engine was closed".into());
        self.jobs.as_ref().ok_or_else(closed)?.try_send(job).map_err(|refused| match refused {
            TrySendError::Full(_) => CommitError::Unavailable("too many commits wait for the disk".into()),
            TrySendError::Disconnected(_) => closed(),
        })?;
        match tokio::time::timeout(self.store.settings.commit_deadline, outcome).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(CommitError::UnknownOutcome("the engine was closed".into())),
            Err(_) => Err(CommitError::UnknownOutcome("the disk did not answer in time".into())),
        }
    }

    /// Makes the writer look at a store that a reader found broken.
    fn look(&self) {
        if let Some(jobs) = &self.jobs {
            // A full queue wakes the writer as well.
            jobs.try_send(Job::Look).ok();
        }
    }
}

impl Drop for EmbeddedEngine {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the writer ended in a panic");
        }
    }
}

#[async_trait]
impl Engine for EmbeddedEngine {
    fn lineage(&self) -> Lineage {
        self.store.lineage
    }

    async fn lease(&self, group: &GroupId, region: &RegionName) -> Result<WriteLease, LeaseError> {
        WriteLease::grant(group, region, self.group_meta(group).await?.as_ref())
    }

    async fn read(&self, ranges: &[KeyRange]) -> Result<Read, ReadError> {
        read::read(&self.store, ranges, || self.look()).await
    }

    async fn commit(&self, lease: &WriteLease, transaction: Transaction) -> Result<Revision, CommitError> {
        transaction.check()?;
        self.submit(lease.compare(), transaction).await
    }

    async fn replica_lease(&self, group: &GroupId, region: &RegionName) -> Result<ReplicaLease, LeaseError> {
        ReplicaLease::grant(group, region, self.group_meta(group).await?.as_ref())
    }

    async fn apply(&self, lease: &ReplicaLease, transaction: Transaction) -> Result<Revision, CommitError> {
        transaction.check()?;
        lease.check(&transaction)?;
        self.submit(lease.compare(), transaction).await
    }

    async fn changes(&self, lineage: Lineage, from: Revision) -> Result<ChangeStream, ChangesError> {
        if lineage != self.lineage() {
            return Err(ChangesError::LineageChanged { now: self.lineage() });
        }
        if from > self.history.head() {
            // A read can be a moment ahead of the history: the file decides what has been reached.
            let read = self.read(&[]).await.map_err(|e| ChangesError::Unavailable(e.to_string()))?;
            if from > read.revision {
                return Err(ChangesError::NotReached { asked: from, now: read.revision });
            }
        }
        self.history.stream(from)
    }

    async fn snapshot(&self, prefix: Bytes) -> Result<Snapshot, ReadError> {
        read::snapshot(&self.store, prefix, || self.look()).await
    }
}
