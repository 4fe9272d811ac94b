//! One bounded queue per vault, made on demand.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;
use valv_engine::GroupId;
use valv_model::{Error, ErrorCode, Result, VaultId, VaultName};

use super::job::{Job, Progress, not_sent, unknown_outcome};
use super::runner::Runner;
use super::{Change, Committed, Scope};
use crate::WriteContext;
use crate::node::Node;

/// How long a shutdown waits for the queues.
const SHUT_DOWN_DEADLINE: Duration = Duration::from_secs(10);

/// The vault a queue is for.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) group: GroupId,
    pub(crate) id: VaultId,
    pub(crate) name: VaultName,
}

/// All queues of a node.
#[derive(Default)]
pub(crate) struct Queues {
    /// None: shut down.
    open: RwLock<Option<HashMap<VaultId, mpsc::Sender<Job>>>>,
    tasks: TaskTracker,
}

impl Queues {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { open: RwLock::new(Some(HashMap::new())), tasks: TaskTracker::new() })
    }

    /// Puts a change into its vault's queue and waits for its outcome, at most until its deadline.
    pub(crate) async fn submit(
        self: &Arc<Self>,
        node: &Arc<Node>,
        target: Target,
        generation: u64,
        context: &WriteContext,
        change: Arc<Change>,
        scope: Scope,
    ) -> Result<Committed> {
        let (reply, outcome) = oneshot::channel();
        let waiting = Waiting::new();
        let progress = Arc::clone(&waiting.0);
        self.put(node, target, Job { change, context: context.clone(), scope, generation, progress, reply })?;
        match tokio::time::timeout_at(context.deadline.into(), outcome).await {
            Ok(Ok(result)) => result,
            // The runner ended in between, which only a fault of ours makes it do.
            Ok(Err(_)) => Err(waiting.leave().unwrap_or_else(|| Error::internal("the vault's queue ended"))),
            Err(_) => Err(waiting.leave().unwrap_or_else(not_sent)),
        }
    }

    /// Runs something that a shutdown waits for.
    pub(crate) fn spawn<F>(&self, task: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.tasks.spawn(task)
    }

    fn put(self: &Arc<Self>, node: &Arc<Node>, target: Target, job: Job) -> Result<()> {
        let job = match self.open.read().unwrap_or_else(PoisonError::into_inner).as_ref() {
            None => return Err(shutting_down()),
            Some(open) => match open.get(&target.id) {
                Some(queue) => match try_send(queue, job)? {
                    Some(job) => job,
                    None => return Ok(()),
                },
                None => job,
            },
        };
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        let open = open.as_mut().ok_or_else(shutting_down)?;
        // Another change may have made it since.
        let job = match open.get(&target.id) {
            Some(queue) => match try_send(queue, job)? {
                Some(job) => job,
                None => return Ok(()),
            },
            None => job,
        };
        let (queue, jobs) = mpsc::channel(node.settings.queue_len.max(1));
        try_send(&queue, job)?;
        open.insert(target.id.clone(), queue);
        self.spawn(Runner::new(Arc::clone(node), Arc::clone(self), target, jobs).run());
        Ok(())
    }

    /// The runner of a queue wants to end. True: nothing waits, and the next change makes a new queue.
    pub(super) fn retire(&self, id: &VaultId, jobs: &mpsc::Receiver<Job>) -> bool {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        let ends = jobs.is_empty();
        if ends && let Some(open) = open.as_mut() {
            open.remove(id);
        }
        ends
    }

    /// Refuses new changes and waits until what was taken is done, at most ten seconds.
    pub(crate) async fn shut_down(&self) {
        drop(self.open.write().unwrap_or_else(PoisonError::into_inner).take());
        self.tasks.close();
        if tokio::time::timeout(SHUT_DOWN_DEADLINE, self.tasks.wait()).await.is_err() {
            tracing::warn!("writes were still waiting for the engine at shutdown; their outcome is unknown");
        }
    }
}

/// Gives the job back if the queue has ended.
fn try_send(queue: &mpsc::Sender<Job>, job: Job) -> Result<Option<Job>> {
    match queue.try_send(job) {
        Ok(()) => Ok(None),
        Err(mpsc::error::TrySendError::Full(_)) => Err(throttled()),
        Err(mpsc::error::TrySendError::Closed(job)) => Ok(Some(job)),
    }
}

fn throttled() -> Error {
    Error::new(
        ErrorCode::Throttled,
        "Request was not processed because too many requests were received. Reason: too many writes wait for this vault.",
    )
    .retry_after(1)
}

fn shutting_down() -> Error {
    Error::unavailable("The service is shutting down; nothing was changed. Try again.")
}

/// A client that waits. Dropping it (the connection is gone) takes the change back if it was not sent.
struct Waiting(Arc<Progress>);

impl Waiting {
    fn new() -> Self {
        metrics::gauge!("valv_queue_length").increment(1.0);
        Self(Arc::default())
    }

    /// The error to answer with when the change had been sent.
    fn leave(&self) -> Option<Error> {
        self.0.leave().then(unknown_outcome)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        metrics::gauge!("valv_queue_length").decrement(1.0);
        self.0.leave();
    }
}
