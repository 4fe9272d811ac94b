//! A vault in memory. It serves reads and decisions like the real one, shows decisions only what they said
//! they need, and holds them to the bounds of a commit.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use valv_engine::{KeyRange, MAX_TRANSACTION_BYTES, MAX_TRANSACTION_OPS};
use valv_model::{
    Error, ErrorCode, ObjectName, RegionName, Result, RetentionDays, Tags, TenantId, UnixSeconds, VaultId,
    VaultName,
};
use valv_sealing::{Keyring, RequestKey, RootKeySource, RootKeys, VaultEnvelope};

use crate::objects::desk::{self, Desk, Done, Found, Step, View};
use crate::objects::records::{Plaintext, kind};
use crate::queue::{Committed, Need, Write};
use crate::vaults::{VaultProperties, VaultState};
use crate::{PageRequest, WriteContext};

/// 2026-01-01.
pub(crate) const START: i64 = 1_767_225_600;

/// One root key for all benches: a backup of one vault opens in the others.
pub(crate) fn keyring() -> &'static Keyring {
    static KEYRING: OnceLock<Keyring> = OnceLock::new();
    KEYRING.get_or_init(|| {
        let line = RootKeys::generate().unwrap();
        Keyring::new(RootKeys::load(&[RootKeySource::Text { variable: "TEST".into(), line }]).unwrap())
    })
}

/// What happens before the n-th read or commit of a test's operation.
type Meddle = Box<dyn Fn(usize, &Bench) + Send + Sync>;

pub(crate) struct Bench {
    pub(crate) vault: VaultState,
    pub(crate) records: Mutex<BTreeMap<String, Plaintext>>,
    requests: Mutex<BTreeMap<[u8; 32], Committed>>,
    now_ms: AtomicI64,
    /// The steps that will be taken before the rest is refused.
    pub(crate) budget: AtomicUsize,
    pub(crate) commits: AtomicUsize,
    calls: AtomicUsize,
    meddle: Mutex<Option<Meddle>>,
}

pub(crate) fn name(text: &str) -> ObjectName {
    ObjectName::parse(text).unwrap()
}

pub(crate) fn all() -> PageRequest {
    PageRequest { max: 25, after: None }
}

pub(crate) fn context(request: Option<u8>) -> WriteContext {
    let request = request.map(|byte| RequestKey([byte; 32]));
    WriteContext { caller: "test".into(), request, deadline: Instant::now() + Duration::from_secs(60) }
}

impl Bench {
    pub(crate) fn new() -> Self {
        let id = |tail: &str| format!("00000000-0000-4000-8000-{tail:0>12}");
        let properties = VaultProperties {
            tenant: TenantId::parse(&id("1")).unwrap(),
            region: RegionName::parse("eastus").unwrap(),
            retention: RetentionDays::new(7).unwrap(),
            purge_protection: false,
            rbac: true,
            replica_age_max_s: None,
            policies: Vec::new(),
            assignments: Vec::new(),
            tags: Tags::new(),
            created: UnixSeconds(START),
            deleted: None,
            extra: serde_json::Map::new(),
        };
        let envelope = VaultEnvelope {
            id: VaultId::parse(&id("2")).unwrap(),
            name: VaultName::parse("bench").unwrap(),
            generation: 1,
            data_keys: Vec::new(),
            body: String::new(),
            extra: serde_json::Map::new(),
        };
        Self {
            vault: VaultState { envelope, properties },
            records: Mutex::default(),
            requests: Mutex::default(),
            now_ms: AtomicI64::new(START * 1000),
            budget: AtomicUsize::new(usize::MAX),
            commits: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
            meddle: Mutex::default(),
        }
    }

    pub(crate) fn advance(&self, seconds: i64) {
        self.now_ms.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    /// Runs an operation, while somebody else does things before its reads and commits, counted from 0.
    pub(crate) fn meddled<T>(
        &self,
        meddle: impl Fn(usize, &Self) + Send + Sync + 'static,
        operation: impl FnOnce(&Self) -> T,
    ) -> T {
        self.calls.store(0, Ordering::SeqCst);
        *self.meddle.lock().unwrap() = Some(Box::new(meddle));
        let result = operation(self);
        *self.meddle.lock().unwrap() = None;
        result
    }

    fn meddle(&self) {
        // Somebody else is another thread, and is not meddled with.
        let Ok(mut guard) = self.meddle.try_lock() else { return };
        if let Some(meddle) = guard.as_mut() {
            let at = self.calls.fetch_add(1, Ordering::SeqCst);
            std::thread::scope(|scope| scope.spawn(|| meddle(at, self)).join().unwrap());
        }
    }

    pub(crate) fn now(&self) -> UnixSeconds {
        UnixSeconds(self.now_ms.load(Ordering::SeqCst).div_euclid(1000))
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        self.records.lock().unwrap().keys().cloned().collect()
    }
}

/// Nothing here ever waits.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

/// What a decision sees: only what it said it needs.
struct Needed<'a> {
    bench: &'a Bench,
    records: &'a BTreeMap<String, Plaintext>,
    needs: &'a [Need],
}

impl View for Needed<'_> {
    fn now(&self) -> UnixSeconds {
        self.bench.now()
    }
    fn now_ms(&self) -> i64 {
        self.bench.now_ms.load(Ordering::SeqCst)
    }
    fn vault(&self) -> &VaultState {
        &self.bench.vault
    }
    fn get(&self, path: &str) -> Result<Option<Plaintext>> {
        assert!(self.needs.iter().any(|need| matches!(need, Need::Record(p) if p == path)), "{path}");
        Ok(self.records.get(path).cloned())
    }
    fn last(&self, prefix: &str) -> Result<Option<(String, Plaintext)>> {
        assert!(self.needs.iter().any(|need| matches!(need, Need::Last(p) if p == prefix)), "{prefix}");
        let below = self.records.range(prefix.to_owned()..).take_while(|(path, _)| path.starts_with(prefix));
        Ok(below.last().map(|(path, record)| (path.clone(), record.clone())))
    }
    fn paths(&self, prefix: &str) -> Vec<String> {
        let limit = self.needs.iter().find_map(|need| match need {
            Need::Prefix { prefix: p, limit } if p == prefix => Some(*limit),
            _ => None,
        });
        let below = self.records.range(prefix.to_owned()..).take_while(|(path, _)| path.starts_with(prefix));
        below.map(|(path, _)| path.clone()).take(limit.expect("a needed prefix")).collect()
    }
}

impl Desk for Bench {
    fn vault(&self) -> &VaultState {
        &self.vault
    }

    async fn read(&self, ranges: Vec<KeyRange>) -> Result<Vec<Vec<Found>>> {
        self.meddle();
        let records = self.records.lock().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let found = |(path, record): (&String, &Plaintext)| Found {
            path: path.clone(),
            record: match record.as_slice() {
                b"damaged" => Err("damaged".into()),
                _ => Ok(record.clone()),
            },
        };
        Ok(ranges
            .iter()
            .map(|range| {
                let bounds = (Bound::Included(text(&range.start)), Bound::Excluded(text(&range.end)));
                let entries = records.range(bounds);
                if range.reverse {
                    entries.rev().take(range.limit).map(found).collect()
                } else {
                    entries.take(range.limit).map(found).collect()
                }
            })
            .collect())
    }

    async fn submit<T: Send + 'static>(&self, context: &WriteContext, step: Step<T>) -> Result<Done<T>> {
        self.meddle();
        if let Some(RequestKey(key)) = context.request
            && let Some(committed) = self.requests.lock().unwrap().get(&key)
        {
            return Ok(Done::Replayed(Committed { replayed: true, ..committed.clone() }));
        }
        let mut records = self.records.lock().unwrap();
        let view = Needed { bench: self, records: &records, needs: &step.needs };
        // Decisions run again on a conflict: the second run must not be the worse for the first.
        drop((step.decide)(&view)?);
        let (decision, told) = (step.decide)(&view)?;
        if decision.writes.is_empty() {
            return Ok(Done::Fresh(told));
        }
        if self.budget.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err() {
            return Err(Error::new(ErrorCode::UnknownOutcome, "The outcome is unknown."));
        }
        let (mut ops, mut bytes) = (0, 0);
        for write in decision.writes {
            ops += 1;
            match write {
                Write::Put { path, kind: as_kind, plaintext } => {
                    assert_eq!(as_kind, kind(&path));
                    bytes += path.len() + plaintext.len() + 150;
                    records.insert(path, plaintext);
                }
                Write::Delete { path } => {
                    bytes += path.len() + 100;
                    assert!(records.remove(&path).is_some(), "{path} was not there");
                }
                Write::Vault(_) | Write::Purge => {
                    panic!("a secret's operation does not touch the vault's record")
                }
            }
        }
        // The log record repeats everything; the head and the log record are operations too.
        assert!(
            ops + 2 <= MAX_TRANSACTION_OPS && 2 * bytes < MAX_TRANSACTION_BYTES,
            "{ops} ops, {bytes} bytes"
        );
        let number = self.commits.fetch_add(1, Ordering::SeqCst) as u64 + 1;
        if let Some(RequestKey(key)) = context.request {
            let committed = Committed { version: decision.version, number, replayed: false };
            self.requests.lock().unwrap().insert(key, committed);
        }
        Ok(Done::Fresh(told))
    }

    async fn seal_backup(&self, of: &'static str, plaintext: Plaintext) -> Result<Vec<u8>> {
        Ok(keyring().seal_backup(of, &plaintext).unwrap())
    }

    async fn open_backup(&self, of: &'static str, sealed: Vec<u8>) -> Result<Plaintext> {
        desk::open_backup(keyring(), of, &sealed)
    }
}
