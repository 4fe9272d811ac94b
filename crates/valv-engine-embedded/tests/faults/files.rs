//! What a file may be: missing, there already, in use, something else, damaged.

use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use valv_engine::{Engine, KeyRange, LeaseError, ReadError, layout};
use valv_engine_embedded::{EmbeddedEngine, OpenError, Settings};

use super::{disk::Disk, groups, key, lease, put, puts, value};

fn open(path: &std::path::Path) -> Result<EmbeddedEngine, OpenError> {
    EmbeddedEngine::open(path, Settings::default())
}

fn create(path: &std::path::Path) -> Result<EmbeddedEngine, OpenError> {
    EmbeddedEngine::create(path, &groups(), "root 1".into(), Settings::default())
}

#[tokio::test]
async fn a_new_store_has_what_init_wrote_and_belongs_to_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let engine = create(&path).unwrap();
    let read = engine.read(&[KeyRange::key(layout::root_key())]).await.unwrap();
    assert_eq!(read.ranges[0][0].value, "root 1");
    lease(&engine).await;
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(folder.path().read_dir().unwrap().count(), 1, "nothing is left beside the store");
    let other = create(&folder.path().join("other")).unwrap();
    assert_ne!(engine.lineage(), other.lineage());
}

#[test]
fn a_store_is_never_made_over_a_file_nor_by_opening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let missing = open(&path).err().unwrap();
    assert!(
        matches!(missing, OpenError::Missing(_)) && missing.to_string().contains("valv init"),
        "{missing}"
    );
    assert!(!path.exists());
    for content in [&b""[..], b"something else, longer than a header"] {
        std::fs::write(&path, content).unwrap();
        assert!(matches!(create(&path), Err(OpenError::Exists(_))));
        assert!(matches!(open(&path), Err(OpenError::NotAStore { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
    std::fs::remove_file(&path).unwrap();
    drop(redb::Database::create(&path).unwrap());
    assert!(matches!(open(&path), Err(OpenError::NotAStore { .. })), "a redb file of another program");
    assert!(matches!(create(&folder.path().join("none/store")), Err(OpenError::Io { .. })));
}

#[test]
fn a_store_in_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let engine = create(&path).unwrap();
    assert!(matches!(open(&path), Err(OpenError::Locked(_))));
    drop(engine);
    open(&path).unwrap();
}

/// F36: whatever bit of the file was changed while it was closed, it is found when the file is opened, unless
/// it means nothing; never a panic that ends the process.
#[tokio::test]
async fn f36_a_damaged_file_is_an_error_and_no_panic() {
    let disk = Disk::default();
    let engine =
        EmbeddedEngine::create_backend(disk.clone(), &groups(), "root".into(), Settings::default()).unwrap();
    let held = lease(&engine).await;
    for n in 0..100 {
        engine.commit(&held, puts([put(&format!("{n:03}"), vec![9; 1000])])).await.unwrap();
    }
    drop(engine);
    let image = disk.image();
    let mut rng = fastrand::Rng::with_seed(7);
    let (mut refused, mut opened) = (0, 0);
    for _ in 0..300 {
        let mut damaged = image.clone();
        let at = rng.usize(..image.len());
        damaged[at] ^= 1 << rng.u8(..8);
        match EmbeddedEngine::open_backend(Disk::with(&damaged), Settings::default()) {
            Err(_) => refused += 1,
            Ok(engine) => {
                opened += 1;
                let read = engine.read(&[KeyRange::prefix(key(""))]).await;
                assert!(
                    read.is_ok_and(|read| read.ranges[0].len() == 100),
                    "it was checked when it was opened"
                );
            }
        }
    }
    assert!(refused > 20 && opened > 20, "{refused} refused, {opened} opened");
}

/// F36: damage that comes after the file was opened.
#[tokio::test]
async fn f36_damage_under_an_open_store_is_reported() {
    let disk = Disk::default();
    let settings = Settings { cache_bytes: 0, ..Settings::default() };
    let engine = EmbeddedEngine::create_backend(disk.clone(), &groups(), "root".into(), settings).unwrap();
    let held = lease(&engine).await;
    for n in 0..100 {
        engine.commit(&held, puts([put(&format!("{n:03}"), vec![9; 1000])])).await.unwrap();
    }
    let image = disk.image();
    let mut ruined = image.clone();
    // All pages but the header.
    ruined[4096..].fill(0xa5);
    disk.replace(ruined);
    let read = engine.read(&[KeyRange::prefix(key(""))]).await;
    assert!(matches!(read, Err(ReadError::Damaged(_) | ReadError::Unavailable(_))), "{read:?}");
    assert!(matches!(
        engine.lease(held.group(), held.region()).await,
        Err(LeaseError::Read(_) | LeaseError::Damaged(_))
    ));
    assert!(engine.commit(&held, puts([put("x", "1")])).await.is_err());
    disk.replace(image);
    super::until("the engine answers again", async || {
        engine.read(&[KeyRange::key(key("000"))]).await.is_ok_and(|read| read.ranges[0].len() == 1)
    })
    .await;
    super::until("commits work again", async || engine.commit(&held, puts([put("x", "1")])).await.is_ok())
        .await;
    assert_eq!(value(&engine, "x").await, Some("1".into()));
}

/// What is deleted makes room for what comes: the file does not grow for ever, and opening stays quick.
#[tokio::test]
async fn the_file_does_not_grow_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let engine = create(&path).unwrap();
    let held = lease(&engine).await;
    let mut lens = Vec::new();
    for round in 0..40 {
        for n in 0..20 {
            engine.commit(&held, puts([put(&format!("{n}"), vec![round; 20_000])])).await.unwrap();
        }
        lens.push(path.metadata().unwrap().len());
    }
    assert_eq!(lens[10], lens[39], "{lens:?}");
    drop(engine);
    let before = Instant::now();
    let engine = open(&path).unwrap();
    println!("opened {} bytes in {:?}", path.metadata().unwrap().len(), before.elapsed());
    assert_eq!(value(&engine, "7").await, Some(vec![39; 20_000].into()));
}
