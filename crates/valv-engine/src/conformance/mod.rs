//! The suite that every engine passes unchanged.
//!
//! An engine's tests make a [`Harness`] and call [`crate::conformance_tests!`] with a function that makes
//! one; each case becomes a test of its own, on a fresh store.

// What fails here fails a test: the suite speaks in assertions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::missing_panics_doc)]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use valv_model::RegionName;

use crate::{
    Change, ChangeStream, ChangesError, CommitError, Compare, Engine, Entry, Epoch, Expect, GroupId,
    GroupMeta, KeyRange, Op, Revision, Transaction, WriteLease, layout,
};

mod streams;
pub use streams::*;

mod transactions;
pub use transactions::*;

mod reads;
pub use reads::*;

mod leases;
pub use leases::*;

/// A store that holds the [`groups`] of the suite and nothing else but what a new store has.
#[async_trait]
pub trait Harness: Send + Sync {
    /// The engine on the store.
    fn engine(&self) -> Arc<dyn Engine>;

    /// Closes the store as a crash of the process would leave it or more gently, and opens it again.
    /// The suite has let go of the engine by then.
    async fn reopen(&mut self);

    /// Makes the engine forget its history up to now.
    async fn compact(&self);
}

/// The groups that a harness's store must have.
#[must_use]
pub fn groups() -> Vec<(GroupId, GroupMeta)> {
    let meta = |home: RegionName| GroupMeta { home, epoch: Epoch(1) };
    vec![
        (GroupId::of_region(&home()), meta(home())),
        (GroupId::of_region(&other()), meta(other())),
        (GroupId::system(), meta(home())),
    ]
}

/// Makes one `#[tokio::test]` for each case of the suite. Takes the path of an async function without
/// arguments that makes a [`Harness`].
#[macro_export]
macro_rules! conformance_tests {
    ($make:path) => {
        $crate::conformance_tests! { $make:
            reads_see_what_was_committed, reads_are_linearizable, ranges_begin_end_and_turn,
            ranges_share_one_revision, a_snapshot_is_of_one_revision, a_snapshot_keeps_to_its_prefix,
            a_lease_is_given_to_the_home_alone, a_stale_lease_commits_nothing, a_moved_home_commits_nothing,
            a_replica_lease_is_given_to_others_alone, a_replica_takes_what_is_applied,
            a_replica_changes_its_group_alone, a_stale_replica_lease_applies_nothing,
            compares_decide, a_conflict_leaves_nothing, malformed_transactions_are_refused,
            the_largest_transaction_is_taken, deleting_nothing_changes_nothing, counters_add_up,
            one_winner_for_each_compare, a_resubmitted_transaction_conflicts, commits_survive_reopening,
            streams_are_ordered_and_gapless, streams_begin_in_the_past, streams_say_what_happened,
            forgotten_history_is_compacted, a_foreign_lineage_is_refused, a_future_revision_is_refused,
            a_slow_reader_loses_nothing_silently, a_stream_continues_after_reopening_or_says_so,
        }
    };
    ($make:path: $($case:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let mut harness = $make().await;
                let case = $crate::conformance::$case(&mut harness);
                tokio::time::timeout(std::time::Duration::from_secs(60), case).await.expect("the case hangs");
            }
        )+
    };
}

/// The region that the suite's leases are for.
fn home() -> RegionName {
    RegionName::parse("conformance-home").unwrap()
}

fn other() -> RegionName {
    RegionName::parse("conformance-other").unwrap()
}

fn group() -> GroupId {
    GroupId::of_region(&home())
}

/// A key of the suite's group.
fn key(name: &str) -> Bytes {
    format!("g/{}/data/suite/00000000/{name}", group()).into()
}

fn put(name: &str, value: impl Into<Bytes>) -> Op {
    Op::Put(key(name), value.into())
}

fn absent(name: &str) -> Compare {
    Compare { key: key(name), expect: Expect::Absent }
}

fn holds(name: &str, value: impl Into<Bytes>) -> Compare {
    Compare { key: key(name), expect: Expect::Value(value.into()) }
}

fn puts(ops: impl Into<Vec<Op>>) -> Transaction {
    Transaction { compares: Vec::new(), ops: ops.into() }
}

async fn lease(engine: &dyn Engine) -> WriteLease {
    engine.lease(&group(), &home()).await.expect("the home gets a lease")
}

/// Commits under a fresh lease.
async fn commit(engine: &dyn Engine, transaction: Transaction) -> Result<Revision, CommitError> {
    let lease = lease(engine).await;
    engine.commit(&lease, transaction).await
}

async fn value(engine: &dyn Engine, name: &str) -> Option<Bytes> {
    let read = engine.read(&[KeyRange::key(key(name))]).await.expect("a read");
    read.ranges[0].first().map(|entry| entry.value.clone())
}

async fn revision(engine: &dyn Engine) -> Revision {
    engine.read(&[]).await.expect("a read").revision
}

async fn next(stream: &mut ChangeStream) -> Result<Change, ChangesError> {
    let next = tokio::time::timeout(Duration::from_secs(20), stream.next()).await;
    next.expect("a change within 20 s").expect("a stream ends with an error only")
}

fn names(entries: &[Entry]) -> Vec<String> {
    let prefix = key("");
    entries.iter().map(|e| String::from_utf8_lossy(&e.key[prefix.len()..]).into_owned()).collect()
}

fn number(value: &Bytes) -> u64 {
    String::from_utf8_lossy(value).parse().expect("a number")
}
