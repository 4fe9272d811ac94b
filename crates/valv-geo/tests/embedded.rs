//! Replication between two stores in files, in real time: large histories, many records, restarts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use valv_engine::{Engine, Epoch, GroupId, GroupMeta, KeyRange, Op, Transaction, WriteLease, layout};
use valv_engine_embedded::{EmbeddedEngine, Settings};
use valv_geo::apply::{Replica, ReplicaSettings, ReplicaState};
use valv_geo::ship::Shipper;
use valv_geo::verify::{History, Report};
use valv_model::{RegionName, UnixSeconds, VaultId, VaultName};
use valv_sealing::{
    DataKeys, Head, Keyring, LogRecord, Outcome, RecordKind, RootKeySource, RootKeys, VaultEnvelope,
};

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

fn region(name: &str) -> RegionName {
    RegionName::parse(name).unwrap()
}

fn group() -> GroupId {
    GroupId::of_region(&region("eastus"))
}

/// A vault in a store of its home.
struct Home {
    engine: Arc<EmbeddedEngine>,
    lease: WriteLease,
    id: VaultId,
    keys: Arc<DataKeys>,
    head: Head,
    log_bytes: u64,
}

impl Home {
    async fn create(engine: &Arc<EmbeddedEngine>, keyring: &Keyring) -> Self {
        let id = VaultId::parse("00000000-0000-4000-8000-000000000001").unwrap();
        let name = VaultName::parse("alpha").unwrap();
        let data_keys = vec![keyring.generate(&id, 1, NOW).unwrap()];
        let keys = keyring.unwrap(&id, &data_keys).unwrap();
        let envelope = VaultEnvelope {
            id: id.clone(),
            name: name.clone(),
            generation: 1,
            data_keys,
            body: String::new(),
            extra: serde_json::Map::new(),
        };
        let lease = engine.lease(&group(), &region("eastus")).await.unwrap();
        let mut home = Self { engine: Arc::clone(engine), lease, id, keys, head: Head::START, log_bytes: 0 };
        home.commit(vec![Op::Put(layout::vault(&group(), &name), envelope.encode())]).await;
        home
    }

    async fn commit(&mut self, ops: Vec<Op>) {
        let record = LogRecord {
            number: self.head.number + 1,
            time: NOW,
            operation: "SecretSet".into(),
            caller: "tester".into(),
            request: None,
            outcome: Outcome::default(),
            log_bytes: self.log_bytes,
            ops: ops.clone(),
        };
        let encoded = record.encode();
        self.log_bytes += encoded.len() as u64;
        self.head = Head { number: record.number, chain: self.head.chain.next(&encoded) };
        let mut ops = ops;
        ops.push(Op::Put(layout::log(&group(), &self.id, record.number), encoded));
        ops.push(Op::Put(layout::head(&group(), &self.id), self.head.encode()));
        self.engine.commit(&self.lease, Transaction { compares: Vec::new(), ops }).await.unwrap();
    }

    async fn put(&mut self, paths: impl IntoIterator<Item = String>, value: &[u8]) {
        let prefix = layout::data(&group(), &self.id, 1);
        let seal = |path: String| {
            let sealed = self.keys.seal(&path, RecordKind::Secret, value);
            Op::Put([&*prefix, path.as_bytes()].concat().into(), sealed)
        };
        let ops = paths.into_iter().map(seal).collect();
        self.commit(ops).await;
    }

    /// Removes all of the log.
    async fn trim(&self) {
        let all = KeyRange::prefix(layout::logs(&group(), &self.id)).limit(100);
        loop {
            let gone = self.engine.read(std::slice::from_ref(&all)).await.unwrap().ranges.remove(0);
            if gone.is_empty() {
                return;
            }
            let ops = gone.into_iter().map(|entry| Op::Delete(entry.key)).collect();
            self.engine.commit(&self.lease, Transaction { compares: Vec::new(), ops }).await.unwrap();
        }
    }
}

struct Pair {
    home: Home,
    replica: Option<Arc<EmbeddedEngine>>,
    path: PathBuf,
    keyring: Arc<Keyring>,
    task: Option<(Arc<Replica>, JoinHandle<()>)>,
    _folder: tempfile::TempDir,
}

impl Pair {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let groups = [(group(), GroupMeta { home: region("eastus"), epoch: Epoch(1) })];
        let create = |name: &str| {
            let path = folder.path().join(name);
            Arc::new(EmbeddedEngine::create(&path, &groups, "root".into(), Settings::default()).unwrap())
        };
        let (east, west) = (create("east"), create("west"));
        let line = RootKeys::generate().unwrap();
        let source = RootKeySource::Text { variable: "TEST".into(), line };
        let keyring = Arc::new(Keyring::new(RootKeys::load(&[source]).unwrap()));
        let home = Home::create(&east, &keyring).await;
        Self {
            home,
            replica: Some(west),
            path: folder.path().join("west"),
            keyring,
            task: None,
            _folder: folder,
        }
    }

    fn engine(&self) -> Arc<EmbeddedEngine> {
        Arc::clone(self.replica.as_ref().unwrap())
    }

    fn follow(&mut self) -> Arc<Replica> {
        let source = Arc::new(Shipper::new(Arc::clone(&self.home.engine) as Arc<dyn Engine>));
        let settings = ReplicaSettings { grace: Duration::from_millis(200), ..ReplicaSettings::default() };
        let keyring = Arc::clone(&self.keyring);
        let replica = Replica::new(self.engine(), keyring, source, group(), region("westus"), settings);
        let replica = Arc::new(replica);
        let task = {
            let replica = Arc::clone(&replica);
            tokio::spawn(async move { replica.run().await })
        };
        self.task = Some((Arc::clone(&replica), task));
        replica
    }

    /// The replica's process is gone; the file is opened again.
    async fn crash(&mut self) {
        if let Some((replica, task)) = self.task.take() {
            task.abort();
            task.await.ok();
            drop(replica);
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut engine = self.replica.take().unwrap();
        loop {
            match Arc::try_unwrap(engine) {
                Ok(engine) => break drop(engine),
                Err(shared) => engine = shared,
            }
            assert!(Instant::now() < deadline, "somebody holds on to the engine");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.replica = Some(Arc::new(EmbeddedEngine::open(&self.path, Settings::default()).unwrap()));
    }

    async fn check(&self) -> Report {
        let history = History::new(group());
        history.check(&*self.engine(), Some(&*self.home.engine)).await.unwrap()
    }

    async fn caught_up(&self) {
        let deadline = Instant::now() + Duration::from_secs(120);
        let replica = &self.task.as_ref().unwrap().0;
        loop {
            let head = layout::head(&group(), &self.home.id);
            let read = self.engine().read(&[KeyRange::key(head)]).await.unwrap();
            let there = read.ranges[0].first().is_some_and(|entry| entry.value == self.home.head.encode());
            if there && replica.status().state == ReplicaState::Following {
                return;
            }
            assert!(Instant::now() < deadline, "the replica does not catch up: {:?}", replica.status());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// F37: the pair catches up over a history of 50 MiB, with restarts at any point.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f37_the_pair_catches_up_over_50_mib_of_history() {
    let mut pair = Pair::new().await;
    for n in 0..80 {
        pair.home.put([format!("secrets/{n}")], &vec![n; 340 * 1024]).await;
        pair.home.put((0..100).map(|m| format!("secrets/{n}/{m}")), b"small").await;
    }
    assert!(pair.home.log_bytes > 25 * 1024 * 1024);
    let mut restarts = 0;
    pair.follow();
    for _ in 0..20 {
        let before = pair.check().await.behind;
        if before == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
        pair.crash().await;
        restarts += 1;
        pair.follow();
    }
    let begun = Instant::now();
    pair.caught_up().await;
    eprintln!("{restarts} restarts; the rest in {:?}", begun.elapsed());
    let report = pair.check().await;
    assert_eq!((report.violations.len(), report.vaults, report.records), (0, 1, 80 * 101 + 1));
}

/// F25: many objects are copied whole while writes go on, with restarts in the middle of the copy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f25_many_objects_are_copied_under_writes() {
    let objects: usize =
        std::env::var("VALV_COPY_OBJECTS").ok().and_then(|count| count.parse().ok()).unwrap_or(10_000);
    let mut pair = Pair::new().await;
    for n in 0..objects / 100 {
        pair.home.put((0..100).map(|m| format!("secrets/{:08}", n * 100 + m)), &[7; 200]).await;
    }
    pair.home.trim().await;
    let begun = Instant::now();
    let mut replica = pair.follow();
    let mut restarts = 0;
    for n in 0..40 {
        pair.home.put([format!("secrets/new{n}")], b"new").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        if n % 8 == 7 && replica.status().copied_vaults == 0 {
            drop(replica);
            pair.crash().await;
            restarts += 1;
            replica = pair.follow();
        }
    }
    pair.caught_up().await;
    eprintln!("{objects} objects, {restarts} restarts: {:?}", begun.elapsed());
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let report = pair.check().await;
        assert_eq!(
            (report.violations.len(), report.vaults, report.records),
            (0, 1, objects / 100 * 100 + 41)
        );
        if report.leftover == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "{} records are left of copies that broke off", report.leftover);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Commits reach the pair as they are made: at 200 a second the replica is never far behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_replica_follows_steady_writes() {
    let mut pair = Pair::new().await;
    let replica = pair.follow();
    pair.caught_up().await;
    let mut lags = Vec::new();
    for n in 0..600 {
        pair.home.put([format!("secrets/{}", n % 50)], b"value").await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        lags.push(replica.status().lag.unwrap());
    }
    pair.caught_up().await;
    lags.sort();
    eprintln!("lag p50 {:?}, p99 {:?}, commits {}", lags[300], lags[594], replica.status().applied_commits);
    assert_eq!(pair.check().await.violations, Vec::<String>::new());
    assert_eq!(replica.status().applied_commits, 601);
}
