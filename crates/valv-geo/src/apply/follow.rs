//! One connection to home: its heads are heard, and the vaults that lack something are worked on, several at once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;
use valv_engine::planted::{self, Bug};
use valv_engine::{LeaseError, Lineage, Op, ReplicaLease, Transaction, layout};
use valv_model::VaultId;
use valv_sealing::Head;

use super::advance::{Reached, advance};
use super::compare::{Outcome, compare};
use super::context::Context;
use super::copy::{Clean, clean, give_up};
use super::lag::Lag;
use super::local::{CopiedRecord, Fail, LocalRecord, is, settle};
use super::{Replica, ReplicaState, StopReason};
use crate::ship::digest;
use crate::source::{HeadsDigest, HeadsEvent, HeadsStream, SourceError, VaultHead};
use crate::view;

/// Before a vault whose name another vault still has is tried again.
const NAME_RETRY: std::time::Duration = std::time::Duration::from_millis(50);

/// Follows home until something fails.
pub(super) async fn follow(replica: &Replica) -> Result<Infallible, Fail> {
    let Replica { engine, source, group, settings, .. } = replica;
    let lease = engine.replica_lease(group, &replica.region).await.map_err(|error| match error {
        LeaseError::Read(error) => Fail::Store(error.to_string()),
        other => Fail::Stop(StopReason::NotReplica(other.to_string())),
    })?;
    let connect = tokio::time::timeout(settings.answer, source.heads(group));
    let silent = |_| SourceError::Unreachable("no answer in time".into());
    let mut stream = connect.await.map_err(silent)??;
    let first = next(&mut stream, settings.silence).await?;
    let HeadsEvent::Heads { lineage, continues, epoch, .. } = &first else {
        return Err(SourceError::Refused("a stream of heads begins with something else".into()).into());
    };
    let lineage = *lineage;
    if *epoch != lease.epoch() {
        return Err(Fail::Stop(StopReason::EpochChanged { home: *epoch, here: lease.epoch() }));
    }
    let copied = establish(replica, &lease, lineage, *continues).await?;
    let context = Context {
        engine: Arc::clone(engine),
        keyring: Arc::clone(&replica.keyring),
        source: Arc::clone(source),
        group: group.clone(),
        settings: *settings,
        names: Arc::clone(&replica.names),
        counters: Arc::clone(&replica.counters),
        by: replica.by,
        lease,
        lineage,
    };
    let mut follow = Follow::new(replica, context, copied.complete).await?;
    let mut event = Some(first);
    loop {
        if let Some(event) = event.take() {
            follow.hear(event).await?;
        }
        follow.start();
        follow.tell();
        let silent_at = follow.heard_at + settings.silence;
        let wake = follow.timers.keys().next().map_or(silent_at, |(at, _)| silent_at.min(*at));
        tokio::select! {
            biased;
            Some((vault, done)) = follow.running.next(), if !follow.running.is_empty() => follow.done(vault, done).await?,
            next = stream.next() => event = Some(next.ok_or_else(ended)??),
            () = tokio::time::sleep_until(wake) => follow.wake()?,
        }
    }
}

async fn next(stream: &mut HeadsStream, silence: std::time::Duration) -> Result<HeadsEvent, SourceError> {
    match tokio::time::timeout(silence, stream.next()).await {
        Ok(event) => event.ok_or_else(ended)?,
        Err(_) => Err(silence_error()),
    }
}

fn ended() -> SourceError {
    SourceError::Unreachable("the stream of heads ended".into())
}

fn silence_error() -> SourceError {
    SourceError::Unreachable("the stream of heads is silent".into())
}

/// Which home's store is copied: on first contact the one that is there, then that one for ever, or the one that
/// was rebuilt as its continuation.
async fn establish(
    replica: &Replica,
    lease: &ReplicaLease,
    lineage: Lineage,
    continues: Option<Lineage>,
) -> Result<CopiedRecord, Fail> {
    let Replica { engine, group, .. } = replica;
    let key = layout::copied(group);
    let stored = view::value(&**engine, key.clone()).await?;
    let record = match &stored {
        None if view::heads(&**engine, group).await?.1.is_empty() => CopiedRecord::new(lineage),
        None => {
            let why = "its vaults are here and the record of what they were copied from is not";
            return Err(Fail::Stop(StopReason::NotReplica(why.into())));
        }
        Some(stored) => {
            let record: CopiedRecord = serde_json::from_slice(stored).map_err(|e| {
                Fail::Stop(StopReason::NotReplica(format!("damaged record of what is copied: {e}")))
            })?;
            if record.lineage == lineage {
                replica.note(|seen| seen.lineage = Some(lineage));
                return Ok(record);
            }
            if continues != Some(record.lineage) && !planted::active(Bug::LineageIgnored) {
                replica.note(|seen| seen.lineage = Some(record.lineage));
                return Err(Fail::Stop(StopReason::LineageChanged { copied: record.lineage, now: lineage }));
            }
            tracing::warn!(%group, from = %record.lineage, to = %lineage, "home's store was rebuilt as a continuation of the one that was copied; it is followed");
            CopiedRecord { lineage, ..record }
        }
    };
    put_copied(replica, lease, stored, &record).await?;
    replica.note(|seen| seen.lineage = Some(lineage));
    Ok(record)
}

async fn put_copied(
    replica: &Replica,
    lease: &ReplicaLease,
    stored: Option<Bytes>,
    record: &CopiedRecord,
) -> Result<(), Fail> {
    let (key, encoded) = (layout::copied(&replica.group), record.encode());
    let transaction = Transaction {
        compares: vec![is(key.clone(), stored)],
        ops: vec![Op::Put(key.clone(), encoded.clone())],
    };
    if settle(&*replica.engine, lease, transaction, Some((key, Some(encoded)))).await? {
        Ok(())
    } else {
        Err(Fail::Again)
    }
}

/// What is done for a vault.
#[derive(Clone, Debug)]
enum Task {
    Advance,
    Clean(Clean),
    /// Gives up a copy that stands still since this was its record.
    GiveUp(Bytes),
    Compare,
}

/// What came of it.
enum Done {
    Reached(Reached),
    Cleaned,
    Compared(Outcome),
}

#[derive(Default)]
struct Vault {
    wanted: Option<Head>,
    applied: Option<Head>,
    /// In the order in which they were asked for.
    tasks: VecDeque<Task>,
    queued: bool,
    busy: bool,
}

impl Vault {
    fn lacks(&self) -> Option<u64> {
        let number = |head: Option<Head>| head.map_or(0, |head| head.number);
        number(self.wanted).checked_sub(number(self.applied)).filter(|lack| *lack > 0)
    }
}

struct Follow<'a> {
    replica: &'a Replica,
    context: Arc<Context>,
    vaults: BTreeMap<VaultId, Vault>,
    /// Vaults that lack commits.
    behind: BTreeSet<VaultId>,
    /// Home's heads, as they were heard.
    known: BTreeMap<VaultId, Head>,
    queue: VecDeque<VaultId>,
    running: FuturesUnordered<BoxFuture<'static, (VaultId, Result<Done, Fail>)>>,
    timers: BTreeMap<(Instant, u64), (VaultId, Task)>,
    timers_made: u64,
    /// Vaults that take nothing more, and those that this store does not take.
    stopped: BTreeMap<VaultId, StopReason>,
    failing: BTreeMap<VaultId, String>,
    lag: Lag,
    heard_at: Instant,
    /// All heads were heard once.
    heard_all: bool,
    complete: bool,
    compare_at: Instant,
    to_compare: VecDeque<VaultId>,
    comparing: Option<VaultId>,
}

impl<'a> Follow<'a> {
    async fn new(replica: &'a Replica, context: Context, complete: bool) -> Result<Self, Fail> {
        let (_, heads) = view::heads(&*context.engine, &context.group).await?;
        let vault = |head: Result<Head, String>| Vault { applied: head.ok(), ..Vault::default() };
        let vaults = heads.into_iter().map(|(id, head)| (id, vault(head))).collect();
        let now = Instant::now();
        let whole_at = {
            let seen = replica.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            seen.whole_at
        };
        let mut follow = Self {
            replica,
            context: Arc::new(context),
            vaults,
            behind: BTreeSet::new(),
            known: BTreeMap::new(),
            queue: VecDeque::new(),
            running: FuturesUnordered::new(),
            timers: BTreeMap::new(),
            timers_made: 0,
            stopped: BTreeMap::new(),
            failing: BTreeMap::new(),
            lag: Lag::since(whole_at),
            heard_at: now,
            heard_all: false,
            complete,
            compare_at: now + replica.settings.compare,
            to_compare: VecDeque::new(),
            comparing: None,
        };
        follow.clean_leftovers().await?;
        Ok(follow)
    }

    /// An earlier task may have ended between a copy and the removal of what it replaced.
    async fn clean_leftovers(&mut self) -> Result<(), Fail> {
        let prefix = layout::locals(&self.context.group);
        let mut locals = self.context.engine.snapshot(prefix.clone()).await?;
        let due = Instant::now() + self.context.settings.grace;
        while let Some(entry) = locals.entries.next().await {
            let entry = entry?;
            let Some(vault) = view::id_at(&entry.key, prefix.len()) else { continue };
            let record: LocalRecord = serde_json::from_slice(&entry.value).unwrap_or_default();
            if record.generation.is_some_and(|generation| generation > 1) {
                self.at(due, vault.clone(), Task::Clean(Clean::default()));
            }
            if record.anew {
                self.ask(&vault, Task::Advance);
            }
            if record.copying.is_some() {
                self.at(due, vault, Task::GiveUp(entry.value));
            }
        }
        Ok(())
    }

    fn at(&mut self, at: Instant, vault: VaultId, task: Task) {
        self.timers_made += 1;
        self.timers.insert((at, self.timers_made), (vault, task));
    }

    /// Asks for a task of a vault.
    fn ask(&mut self, id: &VaultId, task: Task) {
        let vault = self.vaults.entry(id.clone()).or_default();
        let known = |known: &Task| {
            matches!((known, &task), (Task::Advance, Task::Advance) | (Task::Compare, Task::Compare))
        };
        if !vault.tasks.iter().any(known) {
            vault.tasks.push_back(task);
        }
        self.queue_up(id);
    }

    fn queue_up(&mut self, id: &VaultId) {
        let Some(vault) = self.vaults.get_mut(id) else { return };
        if !vault.queued && !vault.busy && !vault.tasks.is_empty() {
            vault.queued = true;
            self.queue.push_back(id.clone());
        }
    }

    /// Starts as many tasks as may run at once.
    fn start(&mut self) {
        while self.running.len() < self.context.settings.parallel.max(1)
            && let Some(id) = self.queue.pop_front()
        {
            let Some(vault) = self.vaults.get_mut(&id) else { continue };
            vault.queued = false;
            let Some(task) = vault.tasks.pop_front() else { continue };
            vault.busy = true;
            let context = Arc::clone(&self.context);
            self.running.push(Box::pin(async move {
                let done = match task {
                    Task::Advance => Box::pin(advance(&context, &id, None)).await.map(Done::Reached),
                    Task::Clean(what) => clean(&context, &id, what).await.map(|()| Done::Cleaned),
                    Task::GiveUp(seen) => give_up(&context, &id, Some(seen)).await.map(|()| Done::Cleaned),
                    Task::Compare => Box::pin(compare(&context, &id)).await.map(Done::Compared),
                };
                (id, done)
            }));
        }
    }

    /// Takes up an event of home's.
    async fn hear(&mut self, event: HeadsEvent) -> Result<(), Fail> {
        let now = Instant::now();
        self.heard_at = now;
        match event {
            HeadsEvent::Heads { lineage, epoch, heads, .. } => {
                if lineage != self.context.lineage || epoch != self.context.lease.epoch() {
                    return Err(Fail::Again);
                }
                let mut lacking = Vec::new();
                for VaultHead { vault: id, head } in heads {
                    self.known.insert(id.clone(), head);
                    let vault = self.vaults.entry(id.clone()).or_default();
                    vault.wanted = Some(head);
                    let same = vault.applied == Some(head);
                    if vault.lacks().is_some() {
                        self.behind.insert(id.clone());
                        lacking.push((id.clone(), head.number));
                    }
                    if !same && !self.stopped.contains_key(&id) {
                        self.ask(&id, Task::Advance);
                    }
                }
                self.lag.heard(now, lacking);
            }
            HeadsEvent::CaughtUp { lineage, digest: theirs } => {
                let ours: HeadsDigest = digest(&self.known);
                if lineage != self.context.lineage || ours != theirs {
                    return Err(SourceError::Refused("heads were lost on the way".into()).into());
                }
                if !self.heard_all {
                    self.heard_all = true;
                    // What is here and not at home: home is asked, and it will say that it is behind.
                    let lost: Vec<VaultId> =
                        self.vaults.keys().filter(|id| !self.known.contains_key(*id)).cloned().collect();
                    lost.iter().for_each(|id| self.ask(id, Task::Advance));
                }
                self.lag.heard(now, []);
                self.check().await?;
            }
        }
        Ok(())
    }

    /// Whether this store still is the replica that it was, and whether it is complete now.
    async fn check(&mut self) -> Result<(), Fail> {
        let (copied, meta) = (layout::copied(&self.context.group), self.context.lease.compare());
        let values = self.context.values([copied.clone(), meta.key.clone()]).await?;
        let stored = values.get(&copied).cloned().flatten();
        let record = stored.as_ref().and_then(|stored| serde_json::from_slice::<CopiedRecord>(stored).ok());
        let Some(record) = record.filter(|record| record.lineage == self.context.lineage) else {
            return Err(Fail::Again);
        };
        if is(meta.key.clone(), values.get(&meta.key).cloned().flatten()) != meta {
            return Err(Fail::Again);
        }
        let whole = self.heard_all && self.behind.is_empty() && self.stopped.is_empty();
        if whole && !record.complete {
            put_copied(self.replica, &self.context.lease, stored, &CopiedRecord { complete: true, ..record })
                .await?;
            self.complete = true;
        } else {
            self.complete = record.complete;
        }
        Ok(())
    }

    /// A task has ended.
    async fn done(&mut self, id: VaultId, done: Result<Done, Fail>) -> Result<(), Fail> {
        let now = Instant::now();
        let settings = self.context.settings;
        if let Some(vault) = self.vaults.get_mut(&id) {
            vault.busy = false;
        }
        if self.comparing.as_ref() == Some(&id) && !matches!(done, Ok(Done::Reached(_) | Done::Cleaned)) {
            self.comparing = None;
        }
        if done.is_ok() {
            self.failing.remove(&id);
            self.stopped.remove(&id);
        }
        match done {
            Ok(Done::Reached(reached)) => self.take_up(&id, reached),
            Ok(Done::Cleaned) => {}
            Ok(Done::Compared(outcome)) => {
                match outcome {
                    Outcome::Compared(compared) => self.replica.note(|seen| {
                        if compared.damaged_at_home > 0 {
                            seen.damaged_at_home.insert(id.clone(), compared.damaged_at_home);
                        } else {
                            seen.damaged_at_home.remove(&id);
                        }
                    }),
                    Outcome::NotNow => self.at(now + settings.retry * 4, id.clone(), Task::Compare),
                    Outcome::Copied(reached) => self.take_up(&id, reached),
                }
                // It may have applied commits on its way.
                self.ask(&id, Task::Advance);
            }
            Err(fail) => {
                let pause = match fail {
                    Fail::Stop(reason) => {
                        self.stopped.insert(id.clone(), reason);
                        settings.stopped
                    }
                    Fail::Store(why) => {
                        self.failing.insert(id.clone(), why);
                        settings.stopped
                    }
                    Fail::Source(error) => {
                        tracing::debug!(group = %self.context.group, vault = %id, %error, "a vault's turn came to nothing");
                        settings.retry
                    }
                    Fail::Again => settings.retry,
                };
                self.at(now + pause, id.clone(), Task::Advance);
            }
        }
        self.queue_up(&id);
        Ok(())
    }

    fn take_up(&mut self, id: &VaultId, reached: Reached) {
        let now = Instant::now();
        match reached {
            Reached::Head(head) => self.reached(id, head),
            Reached::Copied { head, purged } => {
                self.reached(id, head.unwrap_or(Head::START));
                let clean = Task::Clean(Clean { head, purged });
                self.at(now + self.context.settings.grace, id.clone(), clean);
            }
            Reached::NameTaken => self.at(now + NAME_RETRY, id.clone(), Task::Advance),
        }
    }

    fn reached(&mut self, id: &VaultId, head: Head) {
        let Some(vault) = self.vaults.get_mut(id) else { return };
        vault.applied = Some(head);
        if vault.lacks().is_none() {
            self.behind.remove(id);
        } else {
            self.ask(id, Task::Advance);
        }
        self.lag.applied(id, head.number);
    }

    /// Some timer has run out, or home has been silent.
    fn wake(&mut self) -> Result<(), Fail> {
        let now = Instant::now();
        if now >= self.heard_at + self.context.settings.silence {
            return Err(silence_error().into());
        }
        while let Some(entry) = self.timers.first_entry()
            && entry.key().0 <= now
        {
            let (vault, task) = entry.remove();
            self.ask(&vault, task);
        }
        Ok(())
    }

    /// Begins comparisons that are due, one vault at a time.
    fn compare_when_due(&mut self) {
        let now = Instant::now();
        if now >= self.compare_at && self.heard_all {
            self.compare_at = now + self.context.settings.compare;
            let waiting: BTreeSet<VaultId> = self.to_compare.iter().cloned().collect();
            let all =
                self.known.keys().filter(|id| !waiting.contains(*id) && !self.stopped.contains_key(*id));
            self.to_compare.extend(all.cloned().collect::<Vec<_>>());
        }
        if self.comparing.is_none()
            && let Some(id) = self.to_compare.pop_front()
        {
            self.comparing = Some(id.clone());
            self.ask(&id, Task::Compare);
        }
    }

    /// Says how it stands.
    fn tell(&mut self) {
        self.compare_when_due();
        let state = if let Some(reason) = self.stopped.values().next() {
            ReplicaState::Stopped(reason.clone())
        } else if let Some(why) = self.failing.values().next() {
            ReplicaState::StoreFails(why.clone())
        } else if self.complete {
            ReplicaState::Following
        } else {
            ReplicaState::CopyingFirst
        };
        let lacks = self.behind.iter().filter_map(|id| self.vaults.get(id)?.lacks()).sum();
        let (whole_at, vaults) = (self.lag.whole_at(), self.behind.len() as u64);
        self.replica.note(|seen| {
            seen.state = state;
            seen.whole_at = whole_at;
            seen.behind_commits = lacks;
            seen.behind_vaults = vaults;
        });
    }
}
