//! For this crate's tests: an engine in memory that fails on demand, and a service over it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Semaphore;
use valv_engine::{
    ChangeStream, ChangesError, CommitError, Compare, Engine, Entry, Epoch, Expect, GroupId, GroupMeta,
    KeyRange, LeaseError, Lineage, Op, Read, ReadError, ReplicaLease, Revision, Snapshot, Transaction,
    WriteLease, layout,
};
use valv_model::{RegionName, RetentionDays, Tags, TenantId, VaultName};
use valv_sealing::{Barrier, Keyring, RequestKey, RootKey, RootKeyError, RootKeyId, RootKeySource, RootKeys};
use zeroize::Zeroizing;

use crate::queue::settle;
use crate::vaults::{Birth, Maker, Vault, VaultProperties, VaultPut};
use crate::{Clock, ManualClock, Service, ServiceSettings, WriteContext};

/// What happens to one commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// It happens, and the answer is lost.
    Lost,
    /// It does not happen, and the answer is lost.
    Dropped,
    /// It happens after so many more calls, if it still can, and the answer is lost.
    Late(u32),
    /// The engine is busy.
    Busy,
    /// The process dies before it.
    CrashBefore,
    /// The process dies after it.
    CrashAfter,
}

#[derive(Default)]
pub(crate) struct Memory {
    records: BTreeMap<Bytes, Bytes>,
    revision: u64,
    late: Vec<(u32, Transaction)>,
}

impl Memory {
    fn holds(&self, compare: &Compare) -> bool {
        match (&compare.expect, self.records.get(&compare.key)) {
            (Expect::Absent, None) => true,
            (Expect::Value(value), Some(found)) => value == found,
            _ => false,
        }
    }

    fn apply(&mut self, transaction: &Transaction) -> bool {
        if !transaction.compares.iter().all(|compare| self.holds(compare)) {
            return false;
        }
        for op in &transaction.ops {
            match op {
                Op::Put(key, value) => self.records.insert(key.clone(), value.clone()),
                Op::Delete(key) => self.records.remove(key),
            };
        }
        self.revision += 1;
        true
    }

    fn tick(&mut self) {
        let mut due = Vec::new();
        self.late.retain_mut(|(left, transaction)| {
            *left = left.saturating_sub(1);
            if *left == 0 {
                due.push(std::mem::take(transaction));
            }
            *left > 0
        });
        for transaction in due {
            self.apply(&transaction);
        }
    }
}

type Refuse = Box<dyn Fn(&Transaction) -> Option<CommitError> + Send + Sync>;

/// The engine. One store can have several, one after the other, as restarts do.
pub(crate) struct TestEngine {
    store: Arc<Mutex<Memory>>,
    /// The next commits' faults; none left: no fault.
    pub(crate) faults: Mutex<VecDeque<Fault>>,
    pub(crate) refuse: Mutex<Option<Refuse>>,
    /// Commits pass one by one as permits come; None: freely.
    gate: Mutex<Option<Arc<Semaphore>>>,
    /// Commits that arrived.
    pub(crate) arrived: AtomicUsize,
    /// Commits that happened.
    pub(crate) commits: AtomicUsize,
    dead: AtomicBool,
}

impl TestEngine {
    pub(crate) fn over(store: Arc<Mutex<Memory>>) -> Arc<Self> {
        Arc::new(Self {
            store,
            faults: Mutex::default(),
            refuse: Mutex::default(),
            gate: Mutex::default(),
            arrived: AtomicUsize::new(0),
            commits: AtomicUsize::new(0),
            dead: AtomicBool::new(false),
        })
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.store.lock().unwrap()
    }

    /// Commits wait from now on until the gate gets permits.
    pub(crate) fn close_gate(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.gate.lock().unwrap() = Some(Arc::clone(&gate));
        gate
    }

    pub(crate) fn records(&self) -> BTreeMap<Bytes, Bytes> {
        self.memory().records.clone()
    }

    /// Changes a record behind the service's back.
    pub(crate) fn put(&self, key: Bytes, value: Bytes) {
        self.memory().records.insert(key, value);
    }

    async fn alive(&self) {
        if self.dead.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }

    /// A commit: the lease's comparison, the next fault, what it leaves.
    async fn submit(&self, lease: &Compare, transaction: Transaction) -> Result<Revision, CommitError> {
        self.alive().await;
        self.arrived.fetch_add(1, Ordering::SeqCst);
        let gate = self.gate.lock().unwrap().clone();
        if let Some(gate) = gate {
            gate.acquire().await.unwrap().forget();
        }
        let fault = self.faults.lock().unwrap().pop_front().unwrap_or(Fault::None);
        let outcome = {
            let mut memory = self.memory();
            memory.tick();
            if let Some(error) = self.refuse.lock().unwrap().as_ref().and_then(|refuse| refuse(&transaction))
            {
                return Err(error);
            }
            if !memory.holds(lease) {
                return Err(CommitError::StaleLease);
            }
            match fault {
                Fault::Dropped => Err(CommitError::UnknownOutcome("dropped".into())),
                Fault::Late(calls) => {
                    memory.late.push((calls.max(1), transaction));
                    Err(CommitError::UnknownOutcome("late".into()))
                }
                Fault::Busy => Err(CommitError::Unavailable("busy".into())),
                Fault::CrashBefore => {
                    self.die();
                    Ok(Revision(0))
                }
                Fault::None | Fault::Lost | Fault::CrashAfter => {
                    if memory.apply(&transaction) {
                        self.commits.fetch_add(1, Ordering::SeqCst);
                        match fault {
                            Fault::Lost => Err(CommitError::UnknownOutcome("lost".into())),
                            Fault::CrashAfter => {
                                self.die();
                                Ok(Revision(0))
                            }
                            _ => Ok(Revision(memory.revision)),
                        }
                    } else {
                        Err(CommitError::Conflict)
                    }
                }
            }
        };
        self.alive().await;
        outcome
    }

    /// Has a fault killed the process?
    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    fn die(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }
}

#[async_trait]
impl Engine for TestEngine {
    fn lineage(&self) -> Lineage {
        Lineage(uuid::Uuid::nil())
    }

    async fn lease(&self, group: &GroupId, region: &RegionName) -> Result<WriteLease, LeaseError> {
        let memory = self.memory();
        WriteLease::grant(group, region, memory.records.get(&layout::group_meta(group)))
    }

    async fn read(&self, ranges: &[KeyRange]) -> Result<Read, ReadError> {
        self.alive().await;
        let mut memory = self.memory();
        memory.tick();
        let ranges = ranges
            .iter()
            .map(|range| {
                let entry = |(key, value): (&Bytes, &Bytes)| Entry { key: key.clone(), value: value.clone() };
                if range.start >= range.end {
                    return Vec::new();
                }
                let found = memory.records.range(range.start.clone()..range.end.clone());
                if range.reverse {
                    found.rev().take(range.limit).map(entry).collect()
                } else {
                    found.take(range.limit).map(entry).collect()
                }
            })
            .collect();
        Ok(Read { ranges, revision: Revision(memory.revision) })
    }

    async fn commit(&self, lease: &WriteLease, transaction: Transaction) -> Result<Revision, CommitError> {
        transaction.check()?;
        self.submit(&lease.compare(), transaction).await
    }

    async fn replica_lease(&self, group: &GroupId, region: &RegionName) -> Result<ReplicaLease, LeaseError> {
        ReplicaLease::grant(group, region, self.memory().records.get(&layout::group_meta(group)))
    }

    async fn apply(&self, lease: &ReplicaLease, transaction: Transaction) -> Result<Revision, CommitError> {
        transaction.check()?;
        lease.check(&transaction)?;
        self.submit(&lease.compare(), transaction).await
    }

    async fn changes(&self, _: Lineage, _: Revision) -> Result<ChangeStream, ChangesError> {
        Err(ChangesError::Unavailable("not needed here".into()))
    }

    async fn snapshot(&self, _: Bytes) -> Result<Snapshot, ReadError> {
        Err(ReadError::Unavailable("not needed here".into()))
    }
}

/// A service with its engine and clock.
pub(crate) struct World {
    pub(crate) engine: Arc<TestEngine>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) service: Arc<Service>,
}

pub(crate) const START: i64 = 1_800_000_000;

pub(crate) fn region() -> RegionName {
    RegionName::parse("eastus").unwrap()
}

pub(crate) fn tenant() -> TenantId {
    TenantId::parse("00482a5a-887f-4fb3-b363-3b7fe8e74483").unwrap()
}

pub(crate) fn name(text: &str) -> VaultName {
    VaultName::parse(text).unwrap()
}

pub(crate) fn root_key() -> RootKeySource {
    RootKeySource::Text { variable: "TEST".into(), line: RootKeys::generate().unwrap() }
}

pub(crate) fn settings() -> ServiceSettings {
    ServiceSettings::defaults(&region(), &tenant())
}

/// A root key taken out of a set.
struct OneKey(RootKeys);

impl RootKey for OneKey {
    fn id(&self) -> &RootKeyId {
        self.0.current().id()
    }
    fn wrap(&self, context: &[u8], data_key: &[u8; 32]) -> Result<Vec<u8>, RootKeyError> {
        self.0.current().wrap(context, data_key)
    }
    fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>, RootKeyError> {
        self.0.current().unwrap(context, wrapped)
    }
}

/// A new root key and the one in use, the new one first.
pub(crate) fn both_root_keys(new: &RootKeySource, keyring: &Keyring) -> RootKeys {
    let new = RootKeys::load(std::slice::from_ref(new)).unwrap();
    RootKeys::new(vec![Arc::new(OneKey(new)), Arc::new(OneKey((*keyring.root_keys()).clone()))]).unwrap()
}

/// An empty store with its groups.
pub(crate) fn empty_store() -> (Arc<TestEngine>, Arc<Keyring>) {
    let engine = TestEngine::over(Arc::default());
    for group in [GroupId::system(), GroupId::of_region(&region())] {
        engine.put(layout::group_meta(&group), GroupMeta { home: region(), epoch: Epoch(1) }.encode());
    }
    (engine, Arc::new(Keyring::new(RootKeys::load(&[root_key()]).unwrap())))
}

pub(crate) async fn barrier(engine: &Arc<TestEngine>, keyring: &Arc<Keyring>) -> Barrier {
    let lease = engine.lease(&GroupId::system(), &region()).await.unwrap();
    Barrier::create(Arc::clone(engine) as Arc<dyn Engine>, Arc::clone(keyring), &lease).await.unwrap()
}

/// A service over a store that has its groups and no vault yet: makes the system vault.
pub(crate) async fn furnish(
    barrier: Barrier,
    clock: Arc<ManualClock>,
    settings: ServiceSettings,
) -> Arc<Service> {
    let properties = VaultProperties {
        tenant: tenant(),
        region: region(),
        retention: RetentionDays::DEFAULT,
        purge_protection: true,
        rbac: true,
        replica_age_max_s: None,
        policies: Vec::new(),
        assignments: Vec::new(),
        tags: Tags::new(),
        created: clock.now(),
        deleted: None,
        extra: serde_json::Map::new(),
    };
    let maker = Maker { operation: "Init", caller: "valv", request: None };
    let group = GroupId::system();
    let birth =
        Birth::new(barrier.keyring(), &group, &name("system"), properties, Vec::new(), &maker).unwrap();
    let node = crate::node::Node::new(barrier.clone(), clock.clone(), settings.clone());
    settle(&node, &group, birth.compares, birth.ops, &birth.witness).await;
    Arc::new(Service::open(barrier, clock, settings).await.unwrap())
}

impl World {
    /// A service over a store with a system vault that holds nothing.
    pub(crate) async fn new() -> Self {
        Self::with(settings()).await
    }

    pub(crate) async fn with(settings: ServiceSettings) -> Self {
        let (engine, keyring) = empty_store();
        let barrier = barrier(&engine, &keyring).await;
        let clock = Arc::new(ManualClock::at(START));
        let service = furnish(barrier, clock.clone(), settings).await;
        Self { engine, clock, keyring, service }
    }

    /// The process is gone; another one opens the store.
    pub(crate) async fn restart(&mut self) {
        self.engine.die();
        self.engine = TestEngine::over(Arc::clone(&self.engine.store));
        self.service = self.node(Arc::clone(&self.engine)).await;
    }

    /// One more node over the same store.
    pub(crate) async fn another_node(&self) -> Arc<Service> {
        self.node(TestEngine::over(Arc::clone(&self.engine.store))).await
    }

    async fn node(&self, engine: Arc<TestEngine>) -> Arc<Service> {
        let barrier = Barrier::open(engine, Arc::clone(&self.keyring)).await.unwrap();
        let settings = self.service.settings.clone();
        Arc::new(Service::open(barrier, self.clock.clone(), settings).await.unwrap())
    }

    /// A new vault.
    pub(crate) async fn vault(&self, vault: &str) -> Arc<Vault> {
        self.service.put_vault(&context(), &name(vault), VaultPut::default(), Ok(())).await.unwrap();
        self.service.look(Some(&name(vault))).await.unwrap().vault.unwrap()
    }
}

/// A write by nobody in particular, with time enough.
pub(crate) fn context() -> WriteContext {
    WriteContext {
        caller: "tester".into(),
        request: None,
        deadline: Instant::now() + Duration::from_secs(60),
    }
}

pub(crate) fn request(number: u8) -> WriteContext {
    WriteContext { request: Some(RequestKey([number; 32])), ..context() }
}

pub(crate) fn plaintext(text: &str) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(text.as_bytes().to_vec())
}

/// Lets all tasks run until `reached`, at most ten seconds.
pub(crate) async fn until(mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !reached() {
        assert!(Instant::now() < deadline, "it was not reached in ten seconds");
        tokio::task::yield_now().await;
    }
}
