//! Client traffic at a fixed rate: reads and writes over old and new connections, nothing retried.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::figures::{Connection, Kind, Outcome, READ_MAX_MS, Sample};
use super::operations::{self, Asker};
use super::wire::{Answer, NoAnswer, Wire};
use crate::output::{Problem, Result};

/// Secrets that are read and written.
const OBJECTS: usize = 20;
/// Requests in flight at most; what would be beyond is a failed read of ours, and is counted as one.
const IN_FLIGHT_MAX: usize = 4_000;
/// SHA-256 of nothing in particular.
const DIGEST: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

/// A write whose fate is known or not.
#[derive(Clone, Debug)]
pub struct Written {
    /// The secret.
    pub object: String,
    /// What was written; no other write has it.
    pub value: String,
    /// What came of it.
    pub fate: Fate,
}

/// What came of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Acknowledged as this version.
    Acknowledged(String),
    /// Refused.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// The load and what it has seen.
pub struct Load {
    wire: Arc<Wire>,
    asker: Arc<Asker>,
    home: String,
    begun: Instant,
    samples: Mutex<Vec<Sample>>,
    written: Mutex<Vec<Written>>,
    numbers: AtomicU64,
    places: Arc<Semaphore>,
}

fn object(number: usize) -> String {
    format!("load-{number}")
}

impl Load {
    /// Seeds what is read, and is ready to begin.
    pub async fn seed(wire: Arc<Wire>, asker: Arc<Asker>, home: &str) -> Result<Arc<Self>> {
        let this = Arc::new(Self {
            wire,
            asker,
            home: home.to_owned(),
            begun: Instant::now(),
            samples: Mutex::default(),
            written: Mutex::default(),
            numbers: AtomicU64::new(0),
            places: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
        });
        for number in 0..OBJECTS {
            this.write(number, Connection::Old).await;
        }
        let seeded = this.written().iter().all(|written| matches!(written.fate, Fate::Acknowledged(_)));
        if !seeded {
            return Err(Problem::new("the deployment does not take writes before the rehearsal began"));
        }
        for (name, body) in [("load-ec", json!({ "kty": "EC" })), ("load-rsa", json!({ "kty": "RSA" }))] {
            let path = format!("/keys/{name}/create");
            let made = operations::send(&this.wire, Some(&this.asker.token), "POST", &path, &body).await?;
            if !made.status.is_success() {
                return Err(Problem::new(format!("the key {name} cannot be made: {}", made.status)));
            }
        }
        this.samples.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(this)
    }

    /// When the clock of all samples began.
    pub fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// What was seen so far.
    pub fn samples(&self) -> Vec<Sample> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was written so far.
    pub fn written(&self) -> Vec<Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends `rate` requests a second until told to stop, every fifth of them a write, then waits for the last ones.
    pub async fn run(self: Arc<Self>, rate: u32, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
        let mut tasks = JoinSet::new();
        let mut number = 0_usize;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = ticks.tick() => {}
            }
            while tasks.try_join_next().is_some() {}
            number += 1;
            let connection = if number.is_multiple_of(2) { Connection::Old } else { Connection::New };
            let this = Arc::clone(&self);
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
                self.note(
                    self.elapsed_ms(),
                    Kind::Read,
                    connection,
                    Outcome::Failed("too many requests wait".into()),
                );
                continue;
            };
            tasks.spawn(async move {
                let _place = place;
                let random = fastrand::usize(..OBJECTS);
                match number % 10 {
                    0 | 5 => this.write(random, connection).await,
                    1 | 7 => this.sign(number, connection).await,
                    _ => this.read(random, connection).await,
                }
            });
        }
        while tasks.join_next().await.is_some() {}
    }

    async fn read(&self, number: usize, connection: Connection) {
        let (at, object) = (self.elapsed_ms(), object(number));
        let path = format!("/secrets/{object}?api-version=2025-07-01");
        let answer = self.wire.send(connection, "GET", &path, Some(&self.asker.token), Bytes::new()).await;
        let right = |answer: &Answer| {
            let value = answer.json()["value"].as_str().map(str::to_owned).unwrap_or_default();
            value.starts_with(&format!("{object}/"))
        };
        self.note(at, Kind::Read, connection, self.judge(answer, right));
    }

    async fn sign(&self, number: usize, connection: Connection) {
        let at = self.elapsed_ms();
        let (key, algorithm) =
            if number.is_multiple_of(3) { ("load-rsa", "RS256") } else { ("load-ec", "ES256") };
        let body = Bytes::from(json!({ "alg": algorithm, "value": DIGEST }).to_string());
        let path = format!("/keys/{key}/sign?api-version=2025-07-01");
        let answer = self.wire.send(connection, "POST", &path, Some(&self.asker.token), body).await;
        let right = |answer: &Answer| answer.json()["value"].as_str().is_some_and(|value| value.len() > 80);
        self.note(at, Kind::Read, connection, self.judge(answer, right));
    }

    async fn write(&self, number: usize, connection: Connection) {
        let (at, object) = (self.elapsed_ms(), object(number));
        let value = format!("{object}/{}", self.numbers.fetch_add(1, Ordering::Relaxed));
        let body = Bytes::from(json!({ "value": value }).to_string());
        let path = format!("/secrets/{object}?api-version=2025-07-01");
        let answer = self.wire.send(connection, "PUT", &path, Some(&self.asker.token), body).await;
        let (fate, outcome) = fate(answer);
        self.written.lock().unwrap_or_else(PoisonError::into_inner).push(Written { object, value, fate });
        self.note(at, Kind::Write, connection, outcome);
    }

    fn judge(
        &self,
        answer: std::result::Result<Answer, NoAnswer>,
        right: impl Fn(&Answer) -> bool,
    ) -> Outcome {
        let answer = match answer {
            Ok(answer) => answer,
            Err(none) => return Outcome::Failed(none.why),
        };
        if answer.status != 200 {
            let code = answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned();
            return Outcome::Failed(format!("{} {code}", answer.status.as_u16()));
        }
        if !right(&answer) {
            return Outcome::Failed("a wrong answer".into());
        }
        match (answer.header("x-valv-mode"), answer.header("x-ms-keyvault-region")) {
            (Some("read-only"), Some(region)) if region != self.home => Outcome::Replica,
            (None, Some(region)) if region == self.home => Outcome::Home,
            (mode, region) => Outcome::Failed(format!("answered by {region:?} in mode {mode:?}")),
        }
    }

    fn note(&self, at_ms: u64, kind: Kind, connection: Connection, outcome: Outcome) {
        let took_ms = self.elapsed_ms().saturating_sub(at_ms);
        let sample = Sample { at_ms, took_ms, kind, connection, outcome };
        self.samples.lock().unwrap_or_else(PoisonError::into_inner).push(sample);
    }
}

/// 2xx: done. 4xx, 503 and 507: the answer promises that nothing was changed. Everything else: nobody knows.
fn fate(answer: std::result::Result<Answer, NoAnswer>) -> (Fate, Outcome) {
    match answer {
        Ok(answer) if answer.status.is_success() => {
            let body = answer.json();
            let version = body["id"].as_str().and_then(|id| id.rsplit('/').next()).unwrap_or_default();
            (Fate::Acknowledged(version.to_owned()), Outcome::Acknowledged)
        }
        Ok(answer) => {
            let why = answer.status.as_u16().to_string();
            match answer.status.as_u16() {
                400..=499 | 503 | 507 => (Fate::Refused, Outcome::Refused(why)),
                _ => (Fate::Unknown, Outcome::Unknown(why)),
            }
        }
        Err(none) => (Fate::Unknown, Outcome::Unknown(none.why)),
    }
}

/// How long reads may be on their way when the load stops.
pub const LAST_READS: Duration = Duration::from_millis(READ_MAX_MS + 500);

/// Secrets by name, for the comparison: every version's value.
pub type Found = HashMap<String, HashMap<String, String>>;

/// Reads every version of every secret of the load.
pub async fn versions(wire: &Wire, asker: &Asker) -> Result<Found> {
    let mut found = Found::new();
    for number in 0..OBJECTS {
        let object = object(number);
        let mut next = Some(format!("/secrets/{object}/versions?api-version=2025-07-01&maxresults=25"));
        let mut versions = HashMap::new();
        while let Some(path) = next {
            let page = get(wire, asker, &path).await?;
            for item in page["value"].as_array().into_iter().flatten() {
                let id = item["id"].as_str().unwrap_or_default();
                let version = id.rsplit('/').next().unwrap_or_default().to_owned();
                let path = format!("/secrets/{object}/{version}?api-version=2025-07-01");
                let bundle = get(wire, asker, &path).await?;
                versions.insert(version, bundle["value"].as_str().unwrap_or_default().to_owned());
            }
            next = page["nextLink"]
                .as_str()
                .and_then(|link| link.find("/secrets").and_then(|at| link.get(at..)).map(str::to_owned));
        }
        found.insert(object, versions);
    }
    Ok(found)
}

async fn get(wire: &Wire, asker: &Asker, path: &str) -> Result<serde_json::Value> {
    let answer = wire.send(Connection::Old, "GET", path, Some(&asker.token), Bytes::new()).await;
    let answer = answer.map_err(|e| Problem::new(format!("the comparison: {path}: {}", e.why)))?;
    if answer.status == 200 {
        Ok(answer.json())
    } else {
        Err(Problem::new(format!("the comparison: {path} was answered with {}", answer.status)))
    }
}
