//! Clients that read and write all the time, at a fixed rate, over old and new connections, and retry nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::{JoinHandle, JoinSet};

use crate::registers::{Span, not_linearizable};
use crate::{Answer, Api, Broken, Ledger, until_async};

/// Within this a read is answered, whatever happens.
pub const PROMISE: Duration = Duration::from_secs(2);
/// What a busy machine may add, so that no test depends on its speed.
pub const SLACK: Duration = Duration::from_millis(1_500);

/// Secrets that are read and written.
const OBJECTS: u64 = 6;
const READ_EACH: Duration = Duration::from_millis(25);
const WRITE_EACH: Duration = Duration::from_millis(80);

/// What came of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Home showed this value.
    Home(String),
    /// The replica showed this value.
    Replica(String),
    /// The write was acknowledged.
    Acknowledged,
    /// The write was refused because the service is read-only, in Azure's words.
    ReadOnly,
    /// The write was refused otherwise.
    Refused(String),
    /// Nobody knows what became of the write.
    Unknown(String),
    /// The read was not answered as it must be.
    Failed(String),
}

/// One request.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Where it was sent to.
    pub door: &'static str,
    /// The secret.
    pub object: String,
    /// When it was sent.
    pub at: Instant,
    /// When its outcome was known.
    pub end: Instant,
    /// What came of it.
    pub outcome: Outcome,
    /// What it wrote; None: it read.
    pub wrote: Option<String>,
}

impl Sample {
    /// How long it took.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.end - self.at
    }
}

#[derive(Default)]
struct Book {
    samples: Vec<Sample>,
    ledger: Ledger,
}

/// Running clients. Stop them with [`Traffic::stop`].
pub struct Traffic {
    book: Arc<Mutex<Book>>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

/// What the clients have seen.
pub struct Seen {
    /// Every request, in the order of outcomes.
    pub samples: Vec<Sample>,
    /// Account of all writes.
    pub ledger: Ledger,
}

/// What an answer to a read of a secret is worth.
#[must_use]
pub fn judge(answer: Result<Answer, Broken>) -> Outcome {
    let answer = match answer {
        Ok(answer) => answer,
        Err(Broken(why)) => return Outcome::Failed(why),
    };
    if answer.status != 200 {
        return Outcome::Failed(format!("{} {:?}", answer.status, answer.code()));
    }
    let Some(value) = answer.json()["value"].as_str().map(str::to_owned) else {
        return Outcome::Failed("no value".to_owned());
    };
    let lag = answer.header("x-valv-replica-lag-ms").and_then(|lag| lag.parse::<u64>().ok());
    match (answer.header("x-valv-mode"), lag) {
        (None, None) => Outcome::Home(value),
        (Some("read-only"), Some(_)) => Outcome::Replica(value),
        other => Outcome::Failed(format!("mode and lag do not go together: {other:?}")),
    }
}

fn judge_write(answer: &Result<Answer, Broken>) -> Outcome {
    const WORDS: &str =
        "Operation \"SecretSet\" is unavailable: the service is currently in a read-only state.";
    let answer = match answer {
        Ok(answer) => answer,
        Err(Broken(why)) => return Outcome::Unknown(why.clone()),
    };
    match answer.status.as_u16() {
        200 => Outcome::Acknowledged,
        504 => Outcome::Unknown("504".to_owned()),
        503 if answer.json()["error"]["message"] == WORDS
            && answer.code().as_deref() == Some("ServiceUnavailable") =>
        {
            Outcome::ReadOnly
        }
        status => Outcome::Refused(format!("{status} {:?}", answer.code())),
    }
}

impl Traffic {
    /// Seeds what is read, through the first door, and begins. All values begin with `plant`.
    pub async fn start(doors: &[(&'static str, Api)], plant: &str) -> Self {
        let book: Arc<Mutex<Book>> = Arc::default();
        let number = Arc::new(AtomicU64::new(0));
        let clients: Vec<Client> = doors
            .iter()
            .map(|(door, api)| Client {
                door,
                api: Arc::new(api.clone()),
                plant: plant.to_owned(),
                number: Arc::clone(&number),
                book: Arc::clone(&book),
            })
            .collect();
        for object in 0..OBJECTS {
            clients[0].write(object).await;
        }
        let seeded = book.lock().unwrap_or_else(PoisonError::into_inner).ledger.acknowledged();
        assert_eq!(seeded as u64, OBJECTS, "the service does not take writes before the test began");
        let stop = Arc::new(AtomicBool::new(false));
        let clients = clients.into_iter().map(|client| tokio::spawn(client.run(Arc::clone(&stop)))).collect();
        Self { book, stop, clients }
    }

    /// Calls `look` on all requests so far, and waits until it has something to say.
    pub async fn until<T>(&self, what: &str, look: impl Fn(&[Sample]) -> Option<T>) -> T {
        until_async(what, async || look(&self.book.lock().unwrap_or_else(PoisonError::into_inner).samples))
            .await
    }

    /// Waits until a request sent to `door` after this moment has such an outcome, and returns it.
    pub async fn until_seen(&self, what: &str, door: &str, hit: impl Fn(&Outcome) -> bool) -> Sample {
        let now = Instant::now();
        let look = |samples: &[Sample]| {
            let mut later = samples.iter().rev().take_while(|s| s.end >= now);
            later.find(|s| s.door == door && s.at >= now && hit(&s.outcome)).cloned()
        };
        self.until(&format!("{what} through {door}"), look).await
    }

    /// Waits until home answers reads and takes writes again at this door; when that was.
    pub async fn until_home(&self, door: &str) -> Instant {
        self.until_seen("a write", door, |o| *o == Outcome::Acknowledged).await;
        self.until_seen("home's answer", door, |o| matches!(o, Outcome::Home(_))).await.end
    }

    /// Goes on for so long: what is awaited is that nothing happens.
    pub async fn go_on(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Stops the clients, and waits for their last requests.
    pub async fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.expect("a client");
        }
        let book = std::mem::take(&mut *self.book.lock().unwrap_or_else(PoisonError::into_inner));
        Seen { samples: book.samples, ledger: book.ledger }
    }
}

struct Client {
    door: &'static str,
    api: Arc<Api>,
    plant: String,
    number: Arc<AtomicU64>,
    book: Arc<Mutex<Book>>,
}

impl Client {
    async fn run(self, stop: Arc<AtomicBool>) {
        let this = Arc::new(self);
        let mut requests = JoinSet::new();
        let (mut reads, mut writes) = (tokio::time::interval(READ_EACH), tokio::time::interval(WRITE_EACH));
        let mut turn = 0;
        while !stop.load(Ordering::Relaxed) {
            let this = Arc::clone(&this);
            turn += 1;
            tokio::select! {
                _ = reads.tick() => requests.spawn(async move { this.read(turn % OBJECTS, turn.is_multiple_of(3)).await }),
                _ = writes.tick() => requests.spawn(async move { this.write(turn % OBJECTS).await }),
            };
            while requests.try_join_next().is_some() {}
        }
        while requests.join_next().await.is_some() {}
    }

    async fn read(&self, object: u64, new_connection: bool) {
        let (object, at) = (format!("traffic-{object}"), Instant::now());
        let path = format!("/secrets/{object}");
        let answer = match new_connection {
            true => self.api.as_ref().clone().try_send("GET", &path, None).await,
            false => self.api.try_send("GET", &path, None).await,
        };
        let end = Instant::now();
        let outcome = match judge(answer) {
            Outcome::Home(value) | Outcome::Replica(value) if !value.starts_with(&self.plant) => {
                Outcome::Failed("a value that nobody wrote".to_owned())
            }
            outcome => outcome,
        };
        self.note(Sample { door: self.door, object, at, end, outcome, wrote: None });
    }

    async fn write(&self, object: u64) {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let (object, value) = (format!("traffic-{object}"), format!("{}-{number}", self.plant));
        let at = Instant::now();
        let body = Some(json!({ "value": value }));
        let answer = self.api.try_send("PUT", &format!("/secrets/{object}"), body).await;
        let (end, outcome) = (Instant::now(), judge_write(&answer));
        self.book.lock().unwrap_or_else(PoisonError::into_inner).ledger.note(&object, &value, answer);
        self.note(Sample { door: self.door, object, at, end, outcome, wrote: Some(value) });
    }

    fn note(&self, sample: Sample) {
        self.book.lock().unwrap_or_else(PoisonError::into_inner).samples.push(sample);
    }
}

impl Seen {
    /// Reads at one door, or at all.
    pub fn reads(&self) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(|sample| sample.wrote.is_none())
    }

    /// Writes.
    pub fn writes(&self) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(|sample| sample.wrote.is_some())
    }

    /// Panics if a read failed or came late.
    pub fn no_read_failed(&self) {
        let late = PROMISE + SLACK;
        let bad: Vec<&Sample> =
            self.reads().filter(|s| matches!(s.outcome, Outcome::Failed(_)) || s.took() > late).collect();
        let begun = self.samples.first().map(|first| first.at);
        let shown: Vec<String> = bad
            .iter()
            .take(10)
            .map(|s| {
                format!(
                    "{} at {:?}, {:?}: {:?}",
                    s.door,
                    begun.map(|b| s.at.saturating_duration_since(b)),
                    s.took(),
                    s.outcome
                )
            })
            .collect();
        assert!(bad.is_empty(), "{} of {} reads failed: {shown:#?}", bad.len(), self.reads().count());
    }

    /// Panics if a write took longer than its deadline, or was refused in other words than Azure's.
    pub fn writes_are_refused_in_azures_words(&self) {
        for write in self.writes() {
            assert!(!matches!(write.outcome, Outcome::Refused(_)), "{write:?}");
            assert!(write.took() <= PROMISE + SLACK, "a write came to no end in time: {write:?}");
        }
    }

    /// When the replica first answered a read that was sent to `door` after this moment.
    #[must_use]
    pub fn first_replica(&self, door: &str, after: Instant) -> Option<Instant> {
        let answers = self.reads().filter(|s| s.door == door && s.at >= after);
        answers.filter(|s| matches!(s.outcome, Outcome::Replica(_))).map(|s| s.end).min()
    }

    /// Panics if a write that was sent through `door` and answered between these moments was acknowledged.
    pub fn none_acknowledged(&self, door: Option<&str>, from: Instant, to: Instant) {
        let broken = self.writes().find(|s| {
            door.is_none_or(|door| s.door == door)
                && s.at >= from
                && s.end <= to
                && s.outcome == Outcome::Acknowledged
        });
        assert!(broken.is_none(), "a write was acknowledged while home was away: {broken:?}");
    }

    /// Panics if what home showed has no order in real time, or the replica showed what no client wrote before.
    pub fn check_order(&self) {
        let mut objects: BTreeMap<&str, Vec<Span>> = BTreeMap::new();
        let mut refused = BTreeSet::new();
        let mut begun: BTreeMap<&str, Instant> = BTreeMap::new();
        for sample in &self.samples {
            let span =
                |value: &str, write, end| Span { value: value.to_owned(), write, begin: sample.at, end };
            let spans = objects.entry(&sample.object).or_default();
            match (&sample.wrote, &sample.outcome) {
                (Some(value), outcome) => {
                    begun.insert(value, sample.at);
                    match outcome {
                        Outcome::Acknowledged => spans.push(span(value, true, Some(sample.end))),
                        Outcome::Unknown(_) => spans.push(span(value, true, None)),
                        _ => {
                            refused.insert(value.as_str());
                        }
                    }
                }
                (None, Outcome::Home(value)) => spans.push(span(value, false, Some(sample.end))),
                _ => {}
            }
        }
        for (object, spans) in &objects {
            if let Some(why) = not_linearizable(spans) {
                panic!("{object}: {why}");
            }
        }
        for sample in self.reads() {
            if let Outcome::Replica(value) | Outcome::Home(value) = &sample.outcome {
                assert!(!refused.contains(value.as_str()), "a refused write took effect: {sample:?}");
                let written = begun.get(value.as_str());
                assert!(written.is_some_and(|at| *at <= sample.end), "nobody had written it: {sample:?}");
            }
        }
    }
}
