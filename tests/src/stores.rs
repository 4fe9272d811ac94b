//! What lies in the stores of a pair whose nodes have stopped: the prefix check (FAILURES: R4), and damage on purpose.

use std::path::Path;

use bytes::Bytes;
use futures::StreamExt as _;
use valv_engine::{Engine as _, GroupId, Op, Transaction};
use valv_engine_embedded::{EmbeddedEngine, Settings};
use valv_model::RegionName;

use crate::prefix;

fn open(dir: &Path, region: &str) -> EmbeddedEngine {
    let path = dir.join(format!("{region}.redb"));
    EmbeddedEngine::open(&path, Settings::default()).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Panics unless every copy in `dir` holds what its home holds: nothing else, nothing less, to the last commit.
pub async fn agree(dir: &Path, home: &str, other: &str) {
    let mut vaults = 0;
    for (group, home, replica) in [("$system", home, other), (home, home, other), (other, other, home)] {
        let file = |region: &str| dir.join(format!("{region}.redb"));
        let report = prefix(&file(home), &file(replica), group).await;
        assert!(report.violations.is_empty(), "{group}: {:#?}", report.violations);
        assert_eq!(
            (report.behind, report.undecided),
            (0, 0),
            "{group}: the copy is not complete: {report:?}"
        );
        vaults += report.vaults;
    }
    assert!(vaults >= 2, "the system vault and the vault of the test are copied, and {vaults} were compared");
}

/// What is done to a stored record.
#[derive(Clone, Copy, Debug)]
pub enum Damage {
    /// One bit of it is another.
    Flip,
    /// It is gone.
    Delete,
    /// It holds what the next record holds.
    Swap,
}

/// Damages records of secrets in the copy that `region` holds of `home`'s vaults, behind the service's back; a
/// different record for each kind. Returns how many.
pub async fn damage(dir: &Path, region: &str, home: &str, kinds: &[Damage]) -> usize {
    let store = open(dir, region);
    let name = |name: &str| RegionName::parse(name).expect("a region's name");
    let group = GroupId::of_region(&name(home));
    let lease = store.replica_lease(&group, &name(region)).await.expect("a replica's lease");
    let mut entries = store.snapshot(format!("g/{group}/data/").into()).await.expect("a snapshot").entries;
    let mut found = Vec::new();
    while let Some(entry) = entries.next().await {
        let entry = entry.expect("a record");
        if String::from_utf8_lossy(&entry.key).contains("/secrets/") {
            found.push((entry.key, entry.value));
        }
    }
    drop(entries);
    // Far enough from each other that no damage covers another.
    let step = found.len() / kinds.len();
    assert!(step >= 2, "only {} records of secrets to damage", found.len());
    let ops = kinds.iter().enumerate().map(|(at, kind)| {
        let (key, value) = found[at * step].clone();
        match kind {
            Damage::Delete => Op::Delete(key),
            Damage::Swap => Op::Put(key, found[at * step + 1].1.clone()),
            Damage::Flip => {
                let mut bytes = value.to_vec();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                Op::Put(key, Bytes::from(bytes))
            }
        }
    });
    let transaction = Transaction { compares: Vec::new(), ops: ops.collect() };
    store.apply(&lease, transaction).await.expect("the damage is done");
    kinds.len()
}
