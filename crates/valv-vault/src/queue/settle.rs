//! Commits until the outcome is known.

use std::time::Duration;

use bytes::Bytes;
use valv_engine::{CommitError, Compare, GroupId, KeyRange, LeaseError, layout};
use valv_model::VaultId;
use valv_sealing::{Head, SealedOp};

use crate::node::Node;

/// The first and the longest pause between two submissions of one transaction.
const PAUSE: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// How often a new lease is taken for a transaction that was never sent for certain.
const LEASES_MAX: usize = 3;

/// Where a transaction that happened is found: its first log record.
pub(crate) struct Witness {
    pub(crate) vault: VaultId,
    pub(crate) number: u64,
    pub(crate) record: Bytes,
}

/// What became of a transaction.
#[derive(Debug)]
pub(crate) enum Settled {
    /// It happened.
    Done,
    /// It did not happen: a comparison failed.
    Conflict,
    /// It did not happen.
    NoLease(LeaseError),
    /// It did not happen.
    Refused(CommitError),
    /// It may have happened, and its log record is no longer kept.
    Unknown,
}

/// Submits a transaction, identical each time, until its outcome is known.
pub(crate) async fn settle(
    node: &Node,
    group: &GroupId,
    compares: Vec<Compare>,
    ops: Vec<SealedOp>,
    witness: &Witness,
) -> Settled {
    let mut may_have_happened = false;
    let mut leases = 0;
    let mut pause = PAUSE;
    loop {
        let lease = match node.lease(group).await {
            Ok(lease) => lease,
            Err(error) if !may_have_happened => return Settled::NoLease(error),
            Err(LeaseError::NotHome { .. } | LeaseError::NoSuchGroup(_)) => {
                return look(node, group, witness).await;
            }
            Err(_) => {
                wait(&mut pause).await;
                continue;
            }
        };
        match node.barrier.commit(&lease, compares.clone(), ops.clone()).await {
            Ok(_) => return Settled::Done,
            Err(CommitError::Conflict) if may_have_happened => return look(node, group, witness).await,
            Err(CommitError::Conflict) => return Settled::Conflict,
            Err(CommitError::StaleLease) => {
                node.forget_lease(group);
                // Under the old epoch nothing can happen any more; what happened stands in the log.
                if may_have_happened {
                    match look(node, group, witness).await {
                        Settled::Conflict => may_have_happened = false,
                        settled => return settled,
                    }
                }
                leases += 1;
                if leases > LEASES_MAX {
                    return Settled::Refused(CommitError::StaleLease);
                }
            }
            Err(CommitError::UnknownOutcome(why)) => {
                if !may_have_happened {
                    tracing::warn!(%group, vault = %witness.vault, number = witness.number, why, "a commit's outcome is unknown; it is submitted again");
                }
                may_have_happened = true;
                wait(&mut pause).await;
            }
            // This submission did nothing; an earlier one may still happen.
            Err(_) if may_have_happened => wait(&mut pause).await,
            Err(error) => return Settled::Refused(error),
        }
    }
}

/// After a failed comparison: does the log hold our record at our number?
async fn look(node: &Node, group: &GroupId, witness: &Witness) -> Settled {
    let mut pause = PAUSE;
    let places = [layout::log(group, &witness.vault, witness.number), layout::head(group, &witness.vault)];
    let places = places.map(KeyRange::key);
    loop {
        match node.barrier.read(&places).await {
            Ok(read) => {
                let value =
                    |at: usize| read.ranges.get(at).and_then(|range| range.first()).map(|entry| &entry.value);
                return match (value(0), value(1).map(|head| Head::decode(head))) {
                    (Some(record), _) if *record == witness.record => Settled::Done,
                    (None, Some(Ok(head))) if head.number >= witness.number => Settled::Unknown,
                    (None, Some(Err(_))) => Settled::Unknown,
                    _ => Settled::Conflict,
                };
            }
            Err(_) => wait(&mut pause).await,
        }
    }
}

async fn wait(pause: &mut Duration) {
    tokio::time::sleep(*pause).await;
    *pause = (*pause * 2).min(PAUSE_MAX);
}
