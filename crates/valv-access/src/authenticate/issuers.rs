//! The signing keys of issuers other than our own: fetched in the background, kept on disk, and asked for
//! once a minute at most when a token names a key that is not known (F32).

use std::{collections::HashMap, path::Path, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use futures::FutureExt;
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};
use valv_model::UnixSeconds;

use super::keys::VerifyKey;
use super::{ExternalIssuer, disk};

mod fetch;
pub(super) use fetch::{FetchError, FetchKeys, HttpsFetch};

/// How long fetched keys are used, seconds.
const KEPT_S: i64 = 24 * 3600;
/// How often they are fetched anew.
const REFRESH: Duration = Duration::from_secs(3600);
/// How long a fetch may take.
const FETCH_TIME: Duration = Duration::from_secs(5);
/// How long a request waits for a fetch that its token caused or met.
const WAIT: Duration = Duration::from_millis(1500);
/// What unknown keys may cause: one fetch in this time.
const DEMAND_EACH: Duration = Duration::from_secs(60);

/// Reads the wall clock.
pub(super) type Clock = Arc<dyn Fn() -> UnixSeconds + Send + Sync>;

/// The keys that an issuer published at one moment.
pub(super) struct KeySet {
    /// Goes up when the keys change.
    pub(super) generation: u64,
    fetched: UnixSeconds,
    published: Vec<Value>,
    keys: HashMap<String, VerifyKey>,
}

impl KeySet {
    /// The usable ones of published keys; None if there is none.
    fn new(published: Vec<Value>, fetched: UnixSeconds, generation: u64) -> Option<Self> {
        // Unknown kinds of keys are no fault of an issuer: each is read on its own.
        let usable = published.iter().filter_map(|key| {
            let jwk = serde_json::from_value(key.clone()).ok()?;
            Some((key.get("kid")?.as_str()?.to_owned(), VerifyKey::published(&jwk)?))
        });
        let keys: HashMap<_, _> = usable.collect();
        (!keys.is_empty()).then_some(Self { generation, fetched, published, keys })
    }

    pub(super) fn key(&self, kid: &str) -> Option<&VerifyKey> {
        self.keys.get(kid)
    }

    /// May it still be used? A clock that was set back makes keys of the future, which count no longer either.
    fn is_fresh(&self, now: UnixSeconds) -> bool {
        now.0.abs_diff(self.fetched.0) < KEPT_S.unsigned_abs()
    }
}

/// One issuer and its keys.
pub(super) struct Source {
    pub(super) issuer: ExternalIssuer,
    keys: ArcSwapOption<KeySet>,
    file: PathBuf,
    demand: std::sync::Mutex<Demand>,
    wanted: Notify,
    rounds: watch::Sender<u64>,
}

/// When a fetch was last begun or asked for, and whether it has ended.
#[derive(Clone, Copy, Debug, Default)]
struct Demand {
    since: Option<Instant>,
    pending: bool,
}

/// What a request with an unknown key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Ask for a fetch and wait for it.
    Ask,
    /// Wait for the fetch that is under way.
    Wait,
    /// Take no for an answer.
    GiveUp,
}

impl Demand {
    fn turn(self, now: Instant) -> Turn {
        match self.since.map(|since| now.saturating_duration_since(since)) {
            Some(age) if self.pending && age < FETCH_TIME => Turn::Wait,
            Some(age) if age < DEMAND_EACH => Turn::GiveUp,
            _ => Turn::Ask,
        }
    }
}

/// The wait before the next try after so many failures in a row: 5 s doubling up to a minute.
fn backoff(failures: u32) -> Duration {
    Duration::from_secs(5 << failures.saturating_sub(1).min(4)).min(DEMAND_EACH)
}

impl Source {
    /// The issuer with the keys that are kept on disk, if any.
    pub(super) fn new(issuer: ExternalIssuer, dir: &Path) -> Self {
        let file = disk::file(dir, &issuer.issuer);
        let kept = match disk::load(&file, &issuer.issuer) {
            Ok(kept) => kept.and_then(|(keys, fetched)| KeySet::new(keys, fetched, 0)),
            Err(error) => {
                tracing::warn!(issuer = issuer.issuer, file = %file.display(), %error, "kept signing keys cannot be read; they will be fetched");
                None
            }
        };
        Self {
            issuer,
            keys: ArcSwapOption::new(kept.map(Arc::new)),
            file,
            demand: std::sync::Mutex::default(),
            wanted: Notify::new(),
            rounds: watch::Sender::new(0),
        }
    }

    /// Its keys, unless they are too old.
    pub(super) fn keys(&self, now: UnixSeconds) -> Option<Arc<KeySet>> {
        self.keys.load_full().filter(|keys| keys.is_fresh(now))
    }

    /// The key set that has this key; waits for one fetch if it is unknown and a fetch is due or under way.
    pub(super) async fn keys_with(&self, kid: &str, now: UnixSeconds) -> Option<Arc<KeySet>> {
        let known = || self.keys(now).filter(|keys| keys.key(kid).is_some());
        if let Some(keys) = known() {
            return Some(keys);
        }
        let mut rounds = self.rounds.subscribe();
        let turn = self.with_demand(|demand, now| {
            let turn = demand.turn(now);
            if turn == Turn::Ask {
                *demand = Demand { since: Some(now), pending: true };
                self.wanted.notify_one();
            }
            turn
        });
        if turn == Turn::GiveUp {
            return None;
        }
        let _ = timeout(WAIT, rounds.changed()).await;
        known()
    }

    /// Fetches, again and again, until dropped.
    pub(super) async fn refresh_forever(&self, fetch: &dyn FetchKeys, clock: &Clock) {
        let mut failures = 0;
        loop {
            self.with_demand(|demand, now| {
                *demand = Demand { since: Some(now), pending: true };
                // Who asked just before this round began is served by it.
                let _ = self.wanted.notified().now_or_never();
            });
            let fetched =
                timeout(FETCH_TIME, fetch.fetch(&self.issuer)).await.unwrap_or(Err(FetchError::Time));
            let delay = match fetched.and_then(|keys| self.install(keys, clock())) {
                Ok(keys) => {
                    failures = 0;
                    self.keep(keys).await;
                    REFRESH
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(issuer = self.issuer.issuer, %error, failures, "signing keys cannot be fetched");
                    backoff(failures)
                }
            };
            self.with_demand(|demand, _| demand.pending = false);
            self.rounds.send_modify(|round| *round += 1);
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = self.wanted.notified() => {}
            }
        }
    }

    /// Puts published keys in force.
    fn install(&self, published: Vec<Value>, now: UnixSeconds) -> Result<Arc<KeySet>, FetchError> {
        let old = self.keys.load_full();
        let generation = old.map_or(1, |old| old.generation + u64::from(old.published != published));
        let keys = Arc::new(KeySet::new(published, now, generation).ok_or(FetchError::NoKey)?);
        self.keys.store(Some(Arc::clone(&keys)));
        Ok(keys)
    }

    /// Keeps them on disk. That it fails takes nothing down today.
    async fn keep(&self, keys: Arc<KeySet>) {
        let (file, issuer) = (self.file.clone(), self.issuer.issuer.clone());
        let saved =
            tokio::task::spawn_blocking(move || disk::save(&file, &issuer, &keys.published, keys.fetched));
        let error = match saved.await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::warn!(issuer = self.issuer.issuer, file = %self.file.display(), error, "signing keys cannot be kept on disk");
    }

    fn with_demand<T>(&self, decide: impl FnOnce(&mut Demand, Instant) -> T) -> T {
        let mut demand = self.demand.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        decide(&mut demand, Instant::now())
    }
}

#[cfg(test)]
mod tests;
