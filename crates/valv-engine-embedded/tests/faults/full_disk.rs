//! F12 and F13: a full disk and a full quota refuse what creates, keep reads answering, and heal.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use valv_engine::{CommitError, Engine, KeyRange, Op};
use valv_engine_embedded::{EmbeddedEngine, Settings};

use super::{disk::Disk, groups, key, lease, put, puts, value};

/// A small file system of its own, gone when dropped.
struct Mount(tempfile::TempDir);

impl Mount {
    fn new(bytes: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes},mode=0700"), "valv-test"])
            .arg(folder.path())
            .output()
            .expect("the test needs the program `mount`");
        assert!(
            mounted.status.success(),
            "the test mounts a small file system and must run as root with the right to mount: {}",
            String::from_utf8_lossy(&mounted.stderr)
        );
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all room but `left` bytes.
    fn fill(&self, left: u64) {
        let mut file = std::fs::File::create(self.path().join("ballast")).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
        let len = file.metadata().unwrap().len();
        file.set_len(len - left).unwrap();
    }

    fn free(&self) {
        std::fs::remove_file(self.path().join("ballast")).unwrap();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: whatever still has a file open must not leave the mount behind.
        Command::new("umount").arg("-l").arg(self.path()).status().ok();
    }
}

/// Creates records until the store refuses; returns how many it took.
async fn create_until_full(engine: &EmbeddedEngine, prefix: &str) -> usize {
    let lease = lease(engine).await;
    for n in 0..10_000 {
        match engine.commit(&lease, puts([put(&format!("{prefix}/{n:05}"), vec![7; 8000])])).await {
            Ok(_) => {}
            Err(CommitError::Full(_)) => return n,
            Err(error) => panic!("a full disk is a definite refusal, not: {error}"),
        }
    }
    panic!("the disk never got full");
}

async fn count(engine: &EmbeddedEngine, prefix: &str) -> usize {
    let read = engine.read(&[KeyRange::prefix(key(prefix))]).await.unwrap();
    assert!(read.ranges[0].iter().all(|entry| entry.value == vec![7; 8000]));
    read.ranges[0].len()
}

async fn refuses_and_heals(mount: &Mount, settings: Settings) {
    let path = mount.path().join("store");
    let engine = EmbeddedEngine::create(&path, &groups(), "root".into(), settings.clone()).unwrap();
    let lease_held = lease(&engine).await;
    mount.fill(3 * 1024 * 1024);
    let taken = create_until_full(&engine, "a").await;
    // It stays so, reads answer, and nothing refused is there.
    for n in 0..20 {
        let refused = engine.commit(&lease_held, puts([put(&format!("refused/{n}"), vec![7; 8000])])).await;
        assert!(matches!(refused, Err(CommitError::Full(_))), "{refused:?}");
        assert_eq!(count(&engine, "a/").await, taken);
    }
    // A restart on a full disk works too, after a crash or a clean end.
    drop(engine);
    let engine = EmbeddedEngine::open(&path, settings.clone()).unwrap();
    assert_eq!(count(&engine, "a/").await, taken);
    assert_eq!(count(&engine, "refused/").await, 0);
    // Room comes back, and with it service, without a person.
    mount.free();
    let lease_held = lease(&engine).await;
    for n in 0..50 {
        engine.commit(&lease_held, puts([put(&format!("b/{n}"), vec![7; 8000])])).await.unwrap();
    }
    drop(engine);
    let engine = EmbeddedEngine::open(&path, settings).unwrap();
    assert_eq!((count(&engine, "a/").await, count(&engine, "b/").await), (taken, 50));
}

/// Without a reserve the file really meets the end of the disk.
#[tokio::test]
async fn f13_a_full_file_system_refuses_and_heals() {
    refuses_and_heals(&Mount::new(24 << 20), Settings { reserve_bytes: 0, ..Settings::default() }).await;
}

/// With a reserve, creations are refused before that, and deletes go on.
#[tokio::test]
async fn f13_the_reserve_leaves_room_for_deletes() {
    let mount = Mount::new(24 << 20);
    let settings = Settings { reserve_bytes: 1 << 20, ..Settings::default() };
    refuses_and_heals(&mount, settings.clone()).await;
    let engine = EmbeddedEngine::open(&mount.path().join("store"), settings).unwrap();
    let held = lease(&engine).await;
    mount.fill(512 * 1024);
    let refused = engine.commit(&held, puts([put("c", "1")])).await;
    assert!(matches!(refused, Err(CommitError::Full(_))), "{refused:?}");
    for n in 0..50 {
        // As a purge does it: the log says what was deleted.
        let log = Op::Put(format!("g/eastus/log/v/{n:016x}").into(), "purged".into());
        engine.commit(&held, puts([Op::Delete(key(&format!("b/{n}"))), log])).await.unwrap();
    }
    assert_eq!(count(&engine, "b/").await, 0);
}

/// A disk that cannot grow: the refusal is definite, the store opens itself again, and heals.
#[tokio::test]
async fn f13_growth_that_fails_is_a_definite_refusal() {
    let disk = Disk::default();
    let engine =
        EmbeddedEngine::create_backend(disk.clone(), &groups(), "root".into(), Settings::default()).unwrap();
    disk.limit(Some(disk.image().len()));
    let taken = create_until_full(&engine, "a").await;
    assert_eq!(count(&engine, "a/").await, taken);
    let held = lease(&engine).await;
    // A delete needs a few pages as well; here no reserve was kept for them, so either answer is right.
    let deleted = match engine.commit(&held, puts([Op::Delete(key("a/00000"))])).await {
        Ok(_) => 1,
        Err(CommitError::Full(_)) => 0,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(count(&engine, "a/").await, taken - deleted);
    disk.limit(None);
    engine.commit(&held, puts([put("b", "1")])).await.unwrap();
    assert_eq!((count(&engine, "a/").await, value(&engine, "b").await), (taken - deleted, Some("1".into())));
}

/// Each growth that fails makes the store open its file again; no reader notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f13_reads_go_on_while_the_store_opens_its_file_again() {
    let disk = Disk::default();
    let engine = Arc::new(
        EmbeddedEngine::create_backend(disk.clone(), &groups(), "root".into(), Settings::default()).unwrap(),
    );
    disk.limit(Some(disk.image().len()));
    let taken = create_until_full(&engine, "a").await;
    let done = Arc::new(AtomicBool::new(false));
    let reader = {
        let (engine, done) = (Arc::clone(&engine), Arc::clone(&done));
        tokio::spawn(async move {
            let mut reads = 0;
            while !done.load(Ordering::SeqCst) {
                assert_eq!(count(&engine, "a/").await, taken);
                assert!(value(&*engine, "a/00000").await.is_some());
                reads += 1;
            }
            reads
        })
    };
    let held = lease(&*engine).await;
    for _ in 0..100 {
        let refused = engine.commit(&held, puts([put("b", vec![0; 100_000])])).await;
        assert!(matches!(refused, Err(CommitError::Full(_))), "{refused:?}");
    }
    done.store(true, Ordering::SeqCst);
    assert!(reader.await.unwrap() > 0);
}

/// F12: from 80 % of the quota on, creations are refused; deletes go on, and make room.
#[tokio::test]
async fn f12_the_quota_refuses_creations_and_deletes_make_room() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { quota_bytes: 1 << 20, ..Settings::default() };
    let path = folder.path().join("store");
    let engine = EmbeddedEngine::create(&path, &groups(), "root".into(), settings.clone()).unwrap();
    let taken = create_until_full(&engine, "a").await;
    assert!((100..=106).contains(&taken), "{taken} records of 8 KB are 80 % of 1 MiB");
    drop(engine);
    let engine = EmbeddedEngine::open(&path, settings).unwrap();
    let held = lease(&engine).await;
    let refused = engine.commit(&held, puts([put("b", "1")])).await;
    assert!(matches!(&refused, Err(CommitError::Full(why)) if why.contains("quota")), "{refused:?}");
    // A change of what is there goes on; so does a delete.
    engine.commit(&held, puts([put("a/00001", vec![8; 8100])])).await.unwrap();
    engine.commit(&held, puts([Op::Delete(key("a/00000")), Op::Delete(key("a/00001"))])).await.unwrap();
    engine.commit(&held, puts([put("b", "1")])).await.unwrap();
}
