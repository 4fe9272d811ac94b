//! The embedded engine under faults: power losses, full disks, failed syncs, wrong and damaged files.

// What fails here fails a test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod disk;
mod files;
mod full_disk;
mod gathering;
mod power_loss;
mod syncs;

use std::sync::Arc;

use bytes::Bytes;
use valv_engine::{Engine, Epoch, GroupId, GroupMeta, KeyRange, Op, Transaction, WriteLease};
use valv_model::RegionName;

/// The region that is home of the group of all tests.
fn home() -> RegionName {
    RegionName::parse("eastus").unwrap()
}

fn groups() -> Vec<(GroupId, GroupMeta)> {
    vec![(GroupId::of_region(&home()), GroupMeta { home: home(), epoch: Epoch(1) })]
}

fn key(name: &str) -> Bytes {
    format!("g/eastus/data/v/00000000/{name}").into()
}

fn put(name: &str, value: impl Into<Bytes>) -> Op {
    Op::Put(key(name), value.into())
}

fn puts(ops: impl Into<Vec<Op>>) -> Transaction {
    Transaction { compares: Vec::new(), ops: ops.into() }
}

async fn lease(engine: &dyn Engine) -> WriteLease {
    engine.lease(&GroupId::of_region(&home()), &home()).await.unwrap()
}

async fn value(engine: &dyn Engine, name: &str) -> Option<Bytes> {
    let read = engine.read(&[KeyRange::key(key(name))]).await.unwrap();
    read.ranges[0].first().map(|entry| entry.value.clone())
}

/// Waits for something that comes by itself.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "not within 20 s: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

fn shared(engine: valv_engine_embedded::EmbeddedEngine) -> Arc<dyn Engine> {
    Arc::new(engine)
}
