//! A store opens only under its own root key, and is made only once (F33).
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::{collections::BTreeMap, sync::Arc, sync::Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use common::*;
use valv_engine::{
    ChangeStream, ChangesError, CommitError, Engine, Entry, Expect, GroupId, GroupMeta, KeyRange, LeaseError,
    Lineage, Op, Read, ReadError, ReplicaLease, Revision, Snapshot, Transaction, WriteLease, layout,
};
use valv_model::RegionName;
use valv_sealing::{Barrier, RootKeyError, SealedOp};

/// A store in memory: just what the barrier asks of an engine.
#[derive(Default)]
struct Memory(Mutex<BTreeMap<Bytes, Bytes>>);

impl Memory {
    /// With a group, as an engine makes it.
    fn new() -> Arc<Self> {
        let meta = GroupMeta { home: region(), epoch: valv_engine::Epoch(1) };
        let memory = Self::default();
        memory.put(layout::group_meta(&GroupId::system()), meta.encode());
        Arc::new(memory)
    }

    fn put(&self, key: Bytes, value: Bytes) {
        self.0.lock().unwrap().insert(key, value);
    }

    fn content(&self) -> BTreeMap<Bytes, Bytes> {
        self.0.lock().unwrap().clone()
    }
}

#[async_trait]
impl Engine for Memory {
    fn lineage(&self) -> Lineage {
        Lineage(uuid::Uuid::nil())
    }

    async fn lease(&self, group: &GroupId, region: &RegionName) -> Result<WriteLease, LeaseError> {
        WriteLease::grant(group, region, self.0.lock().unwrap().get(&layout::group_meta(group)))
    }

    async fn read(&self, ranges: &[KeyRange]) -> Result<Read, ReadError> {
        let store = self.0.lock().unwrap();
        let entries = |range: &KeyRange| {
            store
                .range(range.start.clone()..range.end.clone())
                .take(range.limit)
                .map(|(key, value)| Entry { key: key.clone(), value: value.clone() })
                .collect()
        };
        Ok(Read { ranges: ranges.iter().map(entries).collect(), revision: Revision(1) })
    }

    async fn commit(&self, _: &WriteLease, transaction: Transaction) -> Result<Revision, CommitError> {
        let mut store = self.0.lock().unwrap();
        let holds = transaction.compares.iter().all(|compare| match &compare.expect {
            Expect::Absent => !store.contains_key(&compare.key),
            Expect::Value(value) => store.get(&compare.key) == Some(value),
        });
        if !holds {
            return Err(CommitError::Conflict);
        }
        for op in transaction.ops {
            match op {
                Op::Put(key, value) => store.insert(key, value),
                Op::Delete(key) => store.remove(&key),
            };
        }
        Ok(Revision(2))
    }

    async fn replica_lease(&self, group: &GroupId, region: &RegionName) -> Result<ReplicaLease, LeaseError> {
        ReplicaLease::grant(group, region, self.0.lock().unwrap().get(&layout::group_meta(group)))
    }

    async fn apply(&self, _: &ReplicaLease, _: Transaction) -> Result<Revision, CommitError> {
        unreachable!("the barrier writes no replica")
    }

    async fn changes(&self, _: Lineage, _: Revision) -> Result<ChangeStream, ChangesError> {
        Err(ChangesError::Unavailable("not needed here".into()))
    }

    async fn snapshot(&self, _: Bytes) -> Result<Snapshot, ReadError> {
        Err(ReadError::Unavailable("not needed here".into()))
    }
}

fn region() -> RegionName {
    RegionName::parse("eastus").unwrap()
}

async fn create(store: &Arc<Memory>, root: u8) -> Result<Barrier, RootKeyError> {
    let lease = store.lease(&GroupId::system(), &region()).await.unwrap();
    Barrier::create(store.clone(), Arc::new(keyring(&[root_line(root)])), &lease).await
}

async fn open(store: &Arc<Memory>, roots: &[u8]) -> Result<Barrier, RootKeyError> {
    let lines: Vec<String> = roots.iter().map(|n| root_line(*n)).collect();
    Barrier::open(store.clone(), Arc::new(keyring(&lines))).await
}

/// The refusal; a barrier has no `Debug` to show when there is none.
fn refused(result: Result<Barrier, RootKeyError>) -> RootKeyError {
    result.err().unwrap()
}

fn id(root: u8) -> String {
    root_keys(&[root_line(root)]).current().id().to_string()
}

#[tokio::test]
async fn f33_a_store_opens_only_under_its_root_key() {
    let store = Memory::new();
    create(&store, 1).await.unwrap_or_else(|e| panic!("{e}"));
    let before = store.content();

    assert!(open(&store, &[1]).await.is_ok());
    assert!(open(&store, &[2, 1]).await.is_ok(), "a new root key beside the store's");
    let error = refused(open(&store, &[2, 3]).await);
    assert!(matches!(error, RootKeyError::Wrong { .. }));
    let told = error.to_string();
    for part in [&id(1), &id(2), &id(3), "restore the root key", "A new key would not open the data"] {
        assert!(told.contains(part), "{part} in: {told}");
    }
    assert_eq!(store.content(), before, "a refusal changes nothing");
}

#[tokio::test]
async fn f33_after_a_rotation_the_older_root_key_is_refused() {
    let store = Memory::new();
    let barrier = create(&store, 1).await.unwrap_or_else(|e| panic!("{e}"));
    barrier.keyring().replace_root_keys(root_keys(&[root_line(2), root_line(1)]));
    let lease = barrier.lease(&GroupId::system(), &region()).await.unwrap();
    let record = SealedOp::root_key(barrier.keyring().root_keys().current().id());
    barrier.commit(&lease, vec![], vec![record]).await.unwrap();

    assert!(open(&store, &[2]).await.is_ok());
    let told = refused(open(&store, &[1]).await).to_string();
    assert!(told.contains(&id(1)) && told.contains(&id(2)), "{told}");
}

#[tokio::test]
async fn f33_a_store_without_or_with_a_damaged_record_is_refused() {
    let store = Memory::new();
    let error = refused(open(&store, &[1]).await);
    assert!(matches!(error, RootKeyError::NoRecord));
    assert!(error.to_string().contains("valv init"), "{error}");
    for damaged in [&b""[..], b"zzzzzzzzzzzzzzzz", b"0123", &[0xff; 16]] {
        store.put(layout::root_key(), Bytes::copy_from_slice(damaged));
        assert!(matches!(refused(open(&store, &[1]).await), RootKeyError::DamagedRecord));
        assert!(matches!(refused(create(&store, 1).await), RootKeyError::DamagedRecord));
    }
}

#[tokio::test]
async fn f33_no_new_keys_over_old_data() {
    let store = Memory::new();
    create(&store, 1).await.unwrap_or_else(|e| panic!("{e}"));
    for root in [1, 2] {
        assert!(matches!(refused(create(&store, root).await), RootKeyError::NotEmpty), "made twice");
    }
    // A store that lost the record, but not its vaults.
    let store = Memory::new();
    store.put(layout::head(&GroupId::of_region(&region()), &vault(1)), Bytes::from_static(b"head"));
    let before = store.content();
    assert!(matches!(refused(create(&store, 1).await), RootKeyError::NotEmpty));
    assert_eq!(store.content(), before, "a refusal changes nothing");
}
