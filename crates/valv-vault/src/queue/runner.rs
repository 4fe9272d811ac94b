//! The task of one vault's queue.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;
use valv_engine::{CommitError, Compare, Expect, KeyRange, MAX_TRANSACTION_OPS, layout};
use valv_model::{Error, ErrorCode, Result};
use valv_sealing::{Head, LogRecord};

use super::batch::{Added, Batch};
use super::job::{Job, not_sent, unknown_outcome};
use super::log::{TRIM_AFTER_COMMITS, trim_log};
use super::memory::{REQUESTS_MAX, RequestMemory};
use super::state::Reading;
use super::{Committed, Queues, Settled, Target, Witness, settle};
use crate::node::{Node, lease_error, read_error};
use crate::vaults::Vault;

/// The most changes of one batch: each has at least a write and a log record, and there is the head.
const GATHER_MAX: usize = (MAX_TRANSACTION_OPS - 1) / 2;

/// How often, while a commit is under way, those who left are cleared from the queue.
const CLEAR_EVERY: Duration = Duration::from_millis(50);

/// Log records read at once when the request memory is rebuilt.
const LOG_PAGE: usize = 64;

pub(super) struct Runner {
    node: Arc<Node>,
    queues: Arc<Queues>,
    target: Target,
    jobs: mpsc::Receiver<Job>,
    /// Taken from the queue and not begun.
    pending: VecDeque<Job>,
    memory: RequestMemory,
    generation: u64,
    /// So many of the next changes are committed one by one, because together they were refused.
    alone: usize,
    /// Commits since the log was trimmed.
    untrimmed: u64,
}

/// What one revision says of the vault.
struct Sight {
    /// As stored; for the comparison.
    stored_head: Option<Bytes>,
    head: Head,
    vault: Option<Arc<Vault>>,
    reading: Reading,
}

/// What is answered once the commit is durable.
enum Answer {
    Staged(Committed),
    /// Decided on top of the batch's writes.
    After(Result<Committed>),
}

impl Runner {
    pub(super) fn new(
        node: Arc<Node>,
        queues: Arc<Queues>,
        target: Target,
        jobs: mpsc::Receiver<Job>,
    ) -> Self {
        let memory = RequestMemory::new(node.settings.request_memory);
        Self {
            node,
            queues,
            target,
            jobs,
            pending: VecDeque::new(),
            memory,
            generation: 0,
            alone: 0,
            // The first commit after a start looks at the log.
            untrimmed: TRIM_AFTER_COMMITS,
        }
    }

    /// Until nothing came for as long as requests are remembered, or the service shuts down.
    pub(super) async fn run(mut self) {
        let idle_max = self.node.settings.request_memory.max(Duration::from_secs(1));
        loop {
            if self.pending.is_empty() {
                match tokio::time::timeout(idle_max, self.jobs.recv()).await {
                    Ok(Some(job)) => self.pending.push_back(job),
                    Ok(None) => return,
                    Err(_) if self.queues.retire(&self.target.id, &self.jobs) => return,
                    Err(_) => continue,
                }
            }
            while self.pending.len() < GATHER_MAX
                && let Ok(job) = self.jobs.try_recv()
            {
                self.pending.push_back(job);
            }
            self.round().await;
        }
    }

    /// One batch: gather, read, decide, commit, answer.
    async fn round(&mut self) {
        let jobs = self.gather();
        let Some(deadline) = jobs.iter().map(|job| job.context.deadline).max() else { return };
        let sight = match tokio::time::timeout_at(deadline.into(), self.look(&jobs)).await {
            Ok(Ok(sight)) => sight,
            Ok(Err(error)) => return jobs.into_iter().for_each(|job| job.answer(Err(error.clone()))),
            Err(_) => return jobs.into_iter().for_each(|job| job.answer(Err(not_sent()))),
        };
        // From here to the commit nothing waits: who is marked as sent is sent within microseconds.
        let now = Instant::now();
        let jobs: Vec<Job> = jobs.into_iter().filter_map(|job| job.in_time(now)?.send()).collect();
        self.memory.forget_old(now);
        let mut batch = Batch::new(
            self.node.keyring(),
            &self.target,
            &self.memory,
            &sight.reading,
            sight.vault,
            sight.head,
            self.node.clock.now_ms(),
        );
        let mut answers: Vec<(Job, Answer)> = Vec::with_capacity(jobs.len());
        let mut later = Vec::new();
        for job in jobs {
            if !later.is_empty() {
                later.push(job);
                continue;
            }
            match batch.add(&job.change, &job.context, job.scope) {
                Added::Staged(committed) => answers.push((job, Answer::Staged(committed))),
                Added::Answered(result) if batch.is_empty() => job.answer(result),
                Added::Answered(result) => answers.push((job, Answer::After(result))),
                Added::NotNow => later.push(job),
            }
        }
        let (ops, logs) = batch.finish();
        self.put_back(later);
        let Some((first, encoded)) = logs.first() else { return };
        // A process that stood still since the last look at the clock sends nothing.
        let now = Instant::now();
        if answers.iter().any(|(job, _)| job.context.deadline <= now) {
            return self.put_back(answers.into_iter().map(|(job, _)| job).collect());
        }
        let head_key = layout::head(&self.target.group, &self.target.id);
        let expect = sight.stored_head.map_or(Expect::Absent, Expect::Value);
        let witness =
            Witness { vault: self.target.id.clone(), number: first.number, record: encoded.clone() };
        let (node, group) = (Arc::clone(&self.node), self.target.group.clone());
        let compares = vec![Compare { key: head_key, expect }];
        let settled = self.while_clearing(settle(&node, &group, compares, ops, &witness)).await;
        self.conclude(settled, answers, &logs);
    }

    /// The changes of the next batch.
    fn gather(&mut self) -> Vec<Job> {
        let most = if self.alone > 0 { 1 } else { GATHER_MAX };
        self.alone = self.alone.saturating_sub(1);
        let now = Instant::now();
        let mut jobs = Vec::with_capacity(self.pending.len().min(most));
        while jobs.len() < most
            && let Some(job) = self.pending.pop_front()
        {
            jobs.extend(job.in_time(now));
        }
        jobs
    }

    /// Reads head, vault record and all needs at one revision, and the log as far as it is news.
    async fn look(&mut self, jobs: &[Job]) -> Result<Sight> {
        let Target { group, id, name } = self.target.clone();
        let mut seen = HashSet::new();
        let needs: Vec<_> = jobs
            .iter()
            .flat_map(|job| &job.change.needs)
            .filter(|need| seen.insert(*need))
            .cloned()
            .collect();
        let mut generation = jobs.iter().map(|job| job.generation).fold(self.generation, u64::max);
        let sight = loop {
            let mut ranges = vec![
                KeyRange::key(layout::head(&group, &id)),
                KeyRange::key(layout::vault(&group, &name)),
                KeyRange::key(layout::deleted_vault(&group, &name)),
            ];
            ranges.extend(needs.iter().map(|need| Reading::range(need, &self.target, generation)));
            let mut read = self.node.read(&ranges).await?;
            let data = read.split_off(3);
            let [head, live, deleted] = &read[..] else { return Err(Error::internal("a read lacks ranges")) };
            // Another vault may have taken the name of one that was purged.
            let vault = self.node.vault_of(&group, &name, live, deleted)?;
            let vault = vault.filter(|vault| vault.state.envelope.id == id);
            if let Some(vault) = &vault
                && vault.state.envelope.generation != generation
            {
                generation = vault.state.envelope.generation;
                continue;
            }
            let stored_head = head.first().map(|entry| entry.value.clone());
            let decoded = stored_head.as_ref().map(|head| Head::decode(head)).transpose();
            let head =
                decoded.map_err(|e| Error::internal(format!("vault '{name}': {e}")))?.unwrap_or(Head::START);
            let mut reading = Reading::default();
            for (need, entries) in needs.iter().zip(data) {
                reading.insert(need.clone(), &self.target, generation, entries);
            }
            break Sight { stored_head, head, vault, reading };
        };
        self.generation = generation;
        if self.memory.number != Some(sight.head.number) {
            self.remember_log(sight.head.number).await?;
        }
        Ok(sight)
    }

    /// Takes up the log's records up to `head`: those after the last one known, or the newest ones.
    async fn remember_log(&mut self, head: u64) -> Result<()> {
        let Target { group, id, .. } = &self.target;
        let first = match self.memory.number {
            Some(known) if known < head => known + 1,
            // Nothing known, or numbers that went back with a restored store.
            _ => {
                self.memory = RequestMemory::new(self.node.settings.request_memory);
                head.saturating_sub(REQUESTS_MAX as u64) + 1
            }
        };
        let life = i64::try_from(self.node.settings.request_memory.as_secs()).unwrap_or(i64::MAX);
        let now = self.node.clock.now();
        let mut end = head.saturating_add(1);
        let mut records: Vec<(LogRecord, usize)> = Vec::new();
        while end > first {
            let range = KeyRange {
                start: layout::log(group, id, first),
                end: layout::log(group, id, end),
                limit: LOG_PAGE,
                reverse: true,
            };
            let page = self.node.barrier.read(&[range]).await.map_err(read_error)?;
            let page = page.ranges.into_iter().next().unwrap_or_default();
            let (full, before) = (page.len() == LOG_PAGE, records.len());
            for entry in page {
                match LogRecord::decode(&entry.value) {
                    Ok(record) => records.push((LogRecord { ops: Vec::new(), ..record }, entry.value.len())),
                    Err(error) => {
                        tracing::error!(vault = %id, %error, "a log record is damaged; a retry of its request would be done again")
                    }
                }
            }
            let oldest = records.get(before..).and_then(<[_]>::last);
            match oldest {
                Some((record, _)) if full && now.0.saturating_sub(record.time.0) < life => {
                    end = record.number
                }
                _ => break,
            }
        }
        let instant = Instant::now();
        for (record, bytes) in records.iter().rev() {
            let age = u64::try_from(now.0.saturating_sub(record.time.0)).unwrap_or(0);
            self.memory.remember(record, *bytes, Duration::from_secs(age), instant);
        }
        self.memory.number = Some(head);
        Ok(())
    }

    /// Awaits a commit; clears meanwhile those who left, so that they keep no place from others.
    async fn while_clearing(&mut self, commit: impl Future<Output = Settled>) -> Settled {
        let mut commit = std::pin::pin!(commit);
        loop {
            tokio::select! {
                settled = &mut commit => return settled,
                () = tokio::time::sleep(CLEAR_EVERY) => self.clear(),
            }
        }
    }

    fn clear(&mut self) {
        let now = Instant::now();
        self.pending =
            std::mem::take(&mut self.pending).into_iter().filter_map(|job| job.in_time(now)).collect();
        while self.pending.len() < self.node.settings.queue_len
            && let Ok(job) = self.jobs.try_recv()
        {
            self.pending.extend(job.in_time(now));
        }
    }

    /// Puts changes that did not happen back to the front of the queue, in their order.
    fn put_back(&mut self, jobs: Vec<Job>) {
        for job in jobs.into_iter().rev().filter_map(Job::take_back) {
            self.pending.push_front(job);
        }
    }

    fn conclude(&mut self, settled: Settled, answers: Vec<(Job, Answer)>, logs: &[(LogRecord, Bytes)]) {
        let refuse = |runner: &mut Self, answers: Vec<(Job, Answer)>, error: &dyn Fn(&Job) -> Error| {
            // What was decided on top of what did not happen is decided again.
            let mut again = Vec::new();
            for (job, answer) in answers {
                match answer {
                    Answer::Staged(_) => {
                        let error = error(&job);
                        job.answer(Err(error));
                    }
                    Answer::After(_) => again.push(job),
                }
            }
            runner.put_back(again);
        };
        match settled {
            Settled::Done => {
                metrics::histogram!("valv_commit_changes").record(logs.len() as f64);
                let now = Instant::now();
                for (record, encoded) in logs {
                    self.memory.remember(record, encoded.len(), Duration::ZERO, now);
                }
                for (job, answer) in answers {
                    match answer {
                        Answer::Staged(committed) => job.answer(Ok(committed)),
                        Answer::After(result) => job.answer(result),
                    }
                }
                self.untrimmed += logs.len() as u64;
                if self.untrimmed >= TRIM_AFTER_COMMITS {
                    self.untrimmed = 0;
                    let (node, target) = (Arc::clone(&self.node), self.target.clone());
                    self.queues.spawn(async move {
                        if let Err(error) = trim_log(&node, &target.group, &target.id).await {
                            tracing::warn!(vault = %target.id, %error, "the log is not trimmed yet");
                        }
                    });
                }
            }
            Settled::Conflict => self.put_back(answers.into_iter().map(|(job, _)| job).collect()),
            Settled::Refused(CommitError::Full(_)) if logs.len() > 1 => {
                // One of them may be refused for what only the others add; a purge must not be.
                self.alone = answers.len();
                self.put_back(answers.into_iter().map(|(job, _)| job).collect());
            }
            Settled::Refused(error) => {
                refuse(self, answers, &|job| refusal(&error, job.change.operation.name()))
            }
            Settled::NoLease(error) => {
                refuse(self, answers, &|job| lease_error(error.clone(), job.change.operation.name()));
            }
            Settled::Unknown => {
                for (job, _) in answers {
                    job.answer(Err(unknown_outcome()));
                }
            }
        }
    }
}

/// What a caller is told about a commit that did not happen.
pub(crate) fn refusal(error: &CommitError, operation: &str) -> Error {
    match error {
        CommitError::Full(why) => Error::new(
            ErrorCode::InsufficientStorage,
            format!("{operation} was refused and nothing was changed, because the store has no room: {why}."),
        ),
        CommitError::StaleLease => Error::read_only(operation).detail("the lease is stale again and again"),
        CommitError::Unavailable(why) => {
            Error::unavailable("The store does not take writes now; nothing was changed. Try again.")
                .detail(why)
        }
        other => Error::internal(format!("{operation}: {other}")),
    }
}
