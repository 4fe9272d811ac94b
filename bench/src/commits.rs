//! Durable commits of the embedded engine: one writer against 64, syncs counted, and a warm read.

use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};
use valv_engine::{Engine, Epoch, GroupId, GroupMeta, KeyRange, Op, Transaction};
use valv_engine_embedded::{EmbeddedEngine, Settings};
use valv_model::RegionName;

use crate::Outcome;
use crate::figures::percentile;

/// How long each load runs.
const SPAN: Duration = Duration::from_secs(3);

/// A file whose syncs are counted.
#[derive(Debug)]
struct Counting {
    file: FileBackend,
    syncs: Arc<AtomicU64>,
}

impl StorageBackend for Counting {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.file.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }
    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }
    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }
}

/// What a load reached.
struct Figures {
    commits_per_second: f64,
    syncs_per_second: f64,
    p50: Duration,
    p99: Duration,
}

pub(crate) fn run() -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    // In the working folder: a temporary folder in memory would measure nothing.
    let folder = tempfile::tempdir_in(".")?;
    runtime.block_on(async {
        let one = load(&folder.path().join("one"), 1).await?;
        let many = load(&folder.path().join("many"), 64).await?;
        println!("writers  commits/s    syncs/s  commits/sync     p50 ms     p99 ms");
        for (writers, figures) in [(1, &one), (64, &many)] {
            println!(
                "{writers:7} {:10.0} {:10.0} {:13.1} {:10.2} {:10.2}",
                figures.commits_per_second,
                figures.syncs_per_second,
                figures.commits_per_second / figures.syncs_per_second,
                figures.p50.as_secs_f64() * 1e3,
                figures.p99.as_secs_f64() * 1e3,
            );
        }
        println!("64 writers against one: {:.1} times", many.commits_per_second / one.commits_per_second);
        read(&folder.path().join("one")).await
    })
}

async fn load(path: &Path, writers: usize) -> Outcome<Figures> {
    let syncs = Arc::new(AtomicU64::new(0));
    let file = std::fs::OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
    let backend = Counting { file: FileBackend::new(file)?, syncs: Arc::clone(&syncs) };
    let home = RegionName::parse("eastus")?;
    let group = GroupId::of_region(&home);
    let groups = [(group.clone(), GroupMeta { home: home.clone(), epoch: Epoch(1) })];
    let engine =
        Arc::new(EmbeddedEngine::create_backend(backend, &groups, "root".into(), Settings::default())?);
    let lease = engine.lease(&group, &home).await?;
    let (begin, syncs_before) = (Instant::now(), syncs.load(Ordering::Relaxed));
    let tasks = (0..writers).map(|writer| {
        let (engine, lease) = (Arc::clone(&engine), lease.clone());
        tokio::spawn(async move {
            let mut took = Vec::new();
            while begin.elapsed() < SPAN {
                // As a secret set: the version, the secret, the head and the log record.
                let number = took.len();
                let ops =
                    [("log", 700), ("version", 300), ("secret", 200), ("head", 60)].map(|(part, size)| {
                        let key = match part {
                            "log" | "version" => format!("g/eastus/{part}/{writer:02}/{number:016x}"),
                            _ => format!("g/eastus/{part}/{writer:02}"),
                        };
                        Op::Put(key.into(), vec![number as u8; size].into())
                    });
                let before = Instant::now();
                engine.commit(&lease, Transaction { compares: Vec::new(), ops: ops.into() }).await?;
                took.push(before.elapsed());
            }
            Ok::<_, valv_engine::CommitError>(took)
        })
    });
    let mut took = Vec::new();
    for task in futures::future::join_all(tasks).await {
        took.extend(task??);
    }
    let seconds = begin.elapsed().as_secs_f64();
    took.sort_unstable();
    let at = |share| percentile(&took, share);
    Ok(Figures {
        commits_per_second: took.len() as f64 / seconds,
        syncs_per_second: (syncs.load(Ordering::Relaxed) - syncs_before) as f64 / seconds,
        p50: at(0.5),
        p99: at(0.99),
    })
}

async fn read(path: &Path) -> Outcome {
    const READS: u32 = 200_000;
    let before = Instant::now();
    let engine = EmbeddedEngine::open(path, Settings::default())?;
    println!(
        "opened {} KiB in {:.1} ms",
        path.metadata()?.len() / 1024,
        before.elapsed().as_secs_f64() * 1e3
    );
    let key = [KeyRange::key("g/eastus/head/00")];
    let before = Instant::now();
    for _ in 0..READS {
        engine.read(&key).await?;
    }
    println!("a warm read of one key: {:.2} us", before.elapsed().as_secs_f64() * 1e6 / f64::from(READS));
    Ok(())
}
