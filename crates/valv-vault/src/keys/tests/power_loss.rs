//! F03 for keys: whatever the disk loses, tears or reorders of what was not synced, an acknowledged key is there,
//! is the key that was answered, and verifies what it signed; a refused write is not there; and what got no answer
//! is there whole or not at all.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use valv_crypto::PrivateKey;
use valv_engine::{Engine, Epoch, GroupId, GroupMeta};
use valv_engine_embedded::{EmbeddedEngine, Settings};
use valv_model::ErrorCode;
use valv_sealing::{Barrier, Keyring, RootKeys};

use super::super::{records, *};
use super::bench::{all, ec, name, symmetric};
use crate::objects::desk::Live;
use crate::objects::records::Version;
use crate::objects::{delete, list, read};
use crate::testing::{self, START, region, root_key};
use crate::{ManualClock, Service};

#[allow(dead_code, reason = "the engine's own tests use all of it")]
#[path = "../../../../valv-engine-embedded/tests/faults/disk.rs"]
mod disk;
use disk::Disk;

/// Power losses of one seed, one after the other on the same store.
const LOSSES: u64 = 5;
const NAMES: usize = 6;
const DIGEST: [u8; 32] = [7; 32];

#[derive(Clone, Debug)]
enum Write {
    Create,
    Import([u8; 32]),
    Tag(u64),
    Delete,
    Recover,
}

/// What is known of one key.
#[derive(Default)]
struct Account {
    /// Each version with what it signed.
    versions: BTreeMap<String, (PublicJwk, Vec<u8>)>,
    tag: Option<u64>,
    is_deleted: bool,
    /// The write that got no answer.
    unknown: Option<Write>,
}

impl Account {
    /// A write that is valid now.
    fn draw(&self, rng: &mut fastrand::Rng) -> Write {
        let mut k = [0; 32];
        rng.fill(&mut k);
        match rng.u8(..10) {
            _ if self.is_deleted => Write::Recover,
            _ if self.versions.is_empty() => Write::Create,
            0..4 => Write::Create,
            4..6 => Write::Import(k),
            6..9 => Write::Tag(rng.u64(..)),
            _ => Write::Delete,
        }
    }
}

/// A running service over a disk.
struct Life {
    service: Arc<Service>,
    vault: Arc<Vault>,
}

async fn start(disk: &Disk, keyring: &Arc<Keyring>, rng: &mut fastrand::Rng) -> Life {
    // With the small cache redb writes pages before the commit.
    let cache_bytes = if rng.bool() { 64 * 1024 } else { 4 * 1024 * 1024 };
    let settings = Settings { cache_bytes, ..Settings::default() };
    let engine: Arc<dyn Engine> =
        Arc::new(EmbeddedEngine::open_backend(disk.clone(), settings).expect("the file opens"));
    let barrier = Barrier::open(engine, Arc::clone(keyring)).await.unwrap();
    let clock = Arc::new(ManualClock::at(START));
    let service = Arc::new(Service::open(barrier, clock, testing::settings()).await.unwrap());
    let vault = service.look(Some(&testing::name("dev"))).await.unwrap().vault.unwrap();
    Life { service, vault }
}

impl Life {
    fn desk(&self) -> Live<'_> {
        Live { service: &self.service, vault: &self.vault }
    }

    async fn open(&self, n: &ObjectName, version: &VersionId) -> Result<PrivateKey> {
        let (_, stored): (_, Version<Key>) = read::version(&self.desk(), n, Some(version)).await?;
        PrivateKey::from_stored(&stored.value.0)
    }

    /// Does a write and writes down what came of it. Returns whether it was acknowledged.
    async fn write(&self, n: &ObjectName, account: &mut Account, write: Write) -> bool {
        // Short, because the power does not come back before the disk is opened again.
        let context =
            WriteContext { deadline: Instant::now() + Duration::from_millis(300), ..testing::context() };
        let desk = self.desk();
        let done = match &write {
            Write::Create => records::create(&self.service.pool, &desk, &context, n, ec()).await.map(Some),
            Write::Import(k) => {
                records::import(&self.service.pool, &desk, &context, n, symmetric(k)).await.map(Some)
            }
            Write::Tag(tag) => {
                let tags = Some([("tag".to_owned(), tag.to_string())].into());
                let update = KeyUpdate { tags, ..KeyUpdate::default() };
                records::update(&desk, &context, n, None, update).await.map(|_| None)
            }
            Write::Delete => delete::delete::<Key>(&desk, &context, n).await.map(|_| None),
            Write::Recover => delete::recover::<Key>(&desk, &context, n).await.map(|_| None),
        };
        match done {
            Ok(made) => {
                match write {
                    Write::Create | Write::Import(_) => {
                        let made = made.expect("a new version");
                        let version = made.item.version;
                        // The power may have gone since; then the key is known by its public half alone.
                        let signature = match self.open(n, &version).await {
                            Ok(key) => key.sign(algorithm(&key), &DIGEST).unwrap(),
                            Err(_) => Vec::new(),
                        };
                        account.versions.insert(version.as_str().to_owned(), (made.public, signature));
                        account.tag = None;
                    }
                    Write::Tag(tag) => account.tag = Some(tag),
                    Write::Delete => account.is_deleted = true,
                    Write::Recover => account.is_deleted = false,
                }
                true
            }
            Err(error) => {
                if error.code == ErrorCode::UnknownOutcome {
                    account.unknown = Some(write);
                }
                false
            }
        }
    }

    /// Compares what is stored with what is known, and settles what was unknown.
    async fn check(&self, n: &ObjectName, account: &mut Account) {
        let desk = self.desk();
        let unknown = account.unknown.take();
        let is_deleted = delete::get_deleted::<Key>(&desk, n).await.is_ok();
        if matches!(unknown, Some(Write::Delete | Write::Recover)) {
            account.is_deleted = is_deleted;
        }
        assert_eq!(is_deleted, account.is_deleted, "is {n} deleted");
        if is_deleted {
            return;
        }
        let current = records::get(&desk, n, None).await;
        let found = list::versions::<Key>(&desk, n, &all()).await.unwrap();
        assert!(found.next.is_none(), "a few versions");
        let mut left = account.versions.clone();
        let mut may_be_new = matches!(unknown, Some(Write::Create | Write::Import(_)));
        for item in found.items {
            let version = &item.version;
            let key = self.open(n, version).await.expect("a whole key");
            let Some((public, signature)) = left.remove(version.as_str()) else {
                assert!(std::mem::take(&mut may_be_new), "{n}/{version} is there, and nobody made it");
                let signature = key.sign(algorithm(&key), &DIGEST).unwrap();
                account.versions.insert(version.as_str().to_owned(), (key.public(), signature));
                account.tag = None;
                continue;
            };
            assert_eq!(key.public(), public, "{n}/{version} is another key");
            assert!(
                signature.is_empty() || key.verify(algorithm(&key), &DIGEST, &signature).unwrap(),
                "{n}/{version} does not verify what it signed"
            );
        }
        assert!(left.is_empty(), "{n} lost versions that were acknowledged: {:?}", left.keys());
        assert_eq!(current.is_ok(), !account.versions.is_empty());
        if let Ok(current) = current {
            let tag = current.item.tags.get("tag").map(|tag| tag.parse().unwrap());
            if let Some(Write::Tag(wanted)) = unknown
                && tag == Some(wanted)
            {
                account.tag = tag;
            }
            assert_eq!(tag, account.tag, "{n} has other tags");
        }
    }
}

fn algorithm(key: &PrivateKey) -> Algorithm {
    if key.kty() == KeyType::Ec { Algorithm::Es256 } else { Algorithm::Hs256 }
}

fn keyring() -> Arc<Keyring> {
    Arc::new(Keyring::new(RootKeys::load(&[root_key()]).unwrap()))
}

/// A store with the vault `dev`, as bytes.
fn furnished(keyring: &Arc<Keyring>) -> Vec<u8> {
    let disk = Disk::default();
    runtime().block_on(async {
        let meta = || GroupMeta { home: region(), epoch: Epoch(1) };
        let groups = [(GroupId::system(), meta()), (GroupId::of_region(&region()), meta())];
        let record = keyring.root_keys().current().id().0.clone().into();
        let engine: Arc<dyn Engine> = Arc::new(
            EmbeddedEngine::create_backend(disk.clone(), &groups, record, Settings::default()).unwrap(),
        );
        let barrier = Barrier::open(engine, Arc::clone(keyring)).await.unwrap();
        let clock = Arc::new(ManualClock::at(START));
        let service = testing::furnish(barrier, clock, testing::settings()).await;
        let vault = crate::vaults::VaultPut::default();
        service.put_vault(&testing::context(), &testing::name("dev"), vault, Ok(())).await.unwrap();
    });
    disk.image()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn run(image: &[u8], keyring: &Arc<Keyring>, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let disk = Disk::with(image);
    let names: Vec<ObjectName> = (0..NAMES).map(|n| name(&format!("k{n}"))).collect();
    let mut accounts: Vec<Account> = names.iter().map(|_| Account::default()).collect();
    for _ in 0..LOSSES {
        // A runtime for each life: with it end all tasks of the service, as with a process.
        runtime().block_on(async {
            let life = start(&disk, keyring, &mut rng).await;
            for (n, account) in names.iter().zip(&mut accounts) {
                life.check(n, account).await;
            }
            disk.lose_power_at(Some(rng.u64(1..60)));
            for _ in 0..4 {
                let writes: Vec<Write> = accounts.iter().map(|account| account.draw(&mut rng)).collect();
                let done = names.iter().zip(&mut accounts).zip(writes);
                let done = join_all(done.map(|((n, account), write)| life.write(n, account, write))).await;
                if disk.is_off() || !done.iter().all(|done| *done) {
                    break;
                }
            }
        });
        let arrived = *rng.choice(&[0.0, 0.1, 0.5, 0.9, 1.0]).unwrap();
        disk.restore_power(&mut rng, arrived);
    }
    runtime().block_on(async {
        let life = start(&disk, keyring, &mut rng).await;
        for (n, account) in names.iter().zip(&mut accounts) {
            life.check(n, account).await;
        }
    });
    assert!(accounts.iter().any(|account| !account.versions.is_empty()), "nothing was written");
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().map_or(default, |text| text.parse().expect("a number"))
}

/// A fiftieth of `VALV_POWER_LOSSES`: what the records hold is the same to the engine, whose own test does them all.
/// `VALV_SEED` is the first seed. A failure names its seed; how commits are gathered also depends on the moment, so
/// a failing seed may need a few runs.
#[test]
fn f03_power_loss_while_keys_are_written() {
    let losses = number("VALV_POWER_LOSSES", 10_000) / 50;
    let first = number("VALV_SEED", 1);
    let keyring = keyring();
    let (image, next) = (furnished(&keyring), AtomicU64::new(first));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + losses.div_ceil(LOSSES) {
                        return;
                    }
                    let outcome = catch_unwind(AssertUnwindSafe(|| run(&image, &keyring, seed)));
                    assert!(
                        outcome.is_ok(),
                        "failed with VALV_SEED={seed} VALV_POWER_LOSSES={}",
                        LOSSES * 50
                    );
                }
            });
        }
    });
}
