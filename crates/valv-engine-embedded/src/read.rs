//! Reads and snapshots, each of one read transaction.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use redb::{AccessGuard, ReadTransaction, ReadableTable, StorageError};
use tokio::sync::mpsc;
use tokio::time::Instant;
use valv_engine::{Entry, KeyRange, Read, ReadError, Snapshot};

use crate::store::{Store, Trouble, guarded};
use crate::tables::{self, RECORDS};

/// How long a read waits for a store that is being opened again.
const PATIENCE: Duration = Duration::from_secs(1);
/// A read of more entries runs on a thread where it can take its time.
const INLINE_ENTRIES: usize = 1024;
/// Entries of a snapshot that wait for its reader; then the snapshot waits.
const SNAPSHOT_QUEUE: usize = 64;
/// A snapshot that nobody takes an entry from for so long ends: it keeps old pages from being used again.
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(30);

/// Reads, and waits a while for a store that has to be opened again. `broken` is called when one has.
pub(crate) async fn read(
    store: &Arc<Store>,
    ranges: &[KeyRange],
    broken: impl Fn(),
) -> Result<Read, ReadError> {
    let entries = ranges.iter().fold(0_usize, |sum, range| sum.saturating_add(range.limit));
    if entries <= INLINE_ENTRIES {
        return patiently(store, broken, || std::future::ready(read_now(store, ranges))).await;
    }
    patiently(store, broken, || {
        let (store, ranges) = (Arc::clone(store), ranges.to_vec());
        async move {
            let read = tokio::task::spawn_blocking(move || read_now(&store, &ranges)).await;
            read.unwrap_or_else(|e| Err(Trouble::Closed(e.to_string())))
        }
    })
    .await
}

/// Retries `work` over a reopening of the store, for a while.
pub(crate) async fn patiently<T, F: Future<Output = Result<T, Trouble>>>(
    store: &Store,
    broken: impl Fn(),
    work: impl Fn() -> F,
) -> Result<T, ReadError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let generation = store.generation();
        match work().await {
            Ok(value) => return Ok(value),
            Err(Trouble::Damaged(why)) => {
                // A panic inside redb can leave its locks unusable; then nothing more would be read.
                if store.begin_read().is_err() {
                    store.report(generation);
                    broken();
                }
                return Err(ReadError::Damaged(why));
            }
            Err(Trouble::Closed(why)) => {
                store.report(generation);
                broken();
                let mut opened = store.opened.subscribe();
                let again = tokio::time::timeout_at(deadline, opened.wait_for(|now| *now > generation)).await;
                if !matches!(again, Ok(Ok(_))) {
                    return Err(ReadError::Unavailable(why));
                }
            }
        }
    }
}

fn read_now(store: &Store, ranges: &[KeyRange]) -> Result<Read, Trouble> {
    let txn = store.begin_read()?;
    guarded(|| {
        let records = txn.open_table(RECORDS)?;
        let ranges =
            ranges.iter().map(|range| entries(&records, range)).collect::<Result<_, redb::Error>>()?;
        Ok(Read { ranges, revision: tables::revision(&txn)? })
    })
}

fn entries(
    records: &impl ReadableTable<&'static [u8], &'static [u8]>,
    range: &KeyRange,
) -> Result<Vec<Entry>, redb::Error> {
    if range.start >= range.end || range.limit == 0 {
        return Ok(Vec::new());
    }
    if range.limit == 1 && is_one_key(range) {
        let value = tables::record(records, &range.start)?;
        return Ok(value.map(|value| Entry { key: range.start.clone(), value }).into_iter().collect());
    }
    let found = records.range::<&[u8]>(&*range.start..&*range.end)?;
    if range.reverse {
        found.rev().take(range.limit).map(entry).collect()
    } else {
        found.take(range.limit).map(entry).collect()
    }
}

type Found<'a> = Result<(AccessGuard<'a, &'static [u8]>, AccessGuard<'a, &'static [u8]>), StorageError>;

fn entry(found: Found<'_>) -> Result<Entry, redb::Error> {
    let (key, value) = found?;
    Ok(Entry { key: Bytes::copy_from_slice(key.value()), value: Bytes::copy_from_slice(value.value()) })
}

fn is_one_key(range: &KeyRange) -> bool {
    range.end.strip_prefix(&*range.start).is_some_and(|rest| rest == [0])
}

/// Everything below a prefix, streamed from a thread of its own.
pub(crate) async fn snapshot(
    store: &Arc<Store>,
    prefix: Bytes,
    broken: impl Fn(),
) -> Result<Snapshot, ReadError> {
    let begin = || {
        std::future::ready(store.begin_read().and_then(|txn| {
            let revision = guarded(|| tables::revision(&txn))?;
            Ok((txn, revision))
        }))
    };
    let (txn, revision) = patiently(store, broken, begin).await?;
    let (send, receive) = mpsc::channel(SNAPSHOT_QUEUE);
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        let put = |entry: Result<Entry, ReadError>| {
            runtime.block_on(async { send.send_timeout(entry, SNAPSHOT_PATIENCE).await.is_ok() })
        };
        let error = match guarded(|| walk(&txn, &prefix, |entry| put(Ok(entry)))) {
            Ok(Walk::Whole) => return,
            // The end of the stream alone would look like the end of the entries.
            Ok(Walk::Abandoned) => ReadError::Unavailable("the snapshot was not read for too long".into()),
            Err(Trouble::Closed(why)) => ReadError::Unavailable(why),
            Err(Trouble::Damaged(why)) => ReadError::Damaged(why),
        };
        drop(txn);
        put(Err(error));
    });
    let entries =
        stream::unfold(receive, |mut receive| async { receive.recv().await.map(|entry| (entry, receive)) });
    Ok(Snapshot { lineage: store.lineage, revision, entries: entries.boxed() })
}

enum Walk {
    Whole,
    Abandoned,
}

fn walk(txn: &ReadTransaction, prefix: &[u8], put: impl Fn(Entry) -> bool) -> Result<Walk, redb::Error> {
    let records = txn.open_table(RECORDS)?;
    for found in records.range::<&[u8]>(prefix..)? {
        let entry = entry(found)?;
        if !entry.key.starts_with(prefix) {
            break;
        }
        if !put(entry) {
            return Ok(Walk::Abandoned);
        }
    }
    Ok(Walk::Whole)
}
