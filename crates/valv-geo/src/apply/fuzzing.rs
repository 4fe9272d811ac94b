//! Entry points for fuzz targets: what another region sends.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use valv_engine::{GroupId, MAX_TRANSACTION_OPS, layout};
use valv_model::VaultId;
use valv_sealing::{Head, LogRecord};

use super::advance;
use super::merge::{self, Commit};
use crate::source::{BucketPage, Buckets, CopyEvent, HeadsEvent, LogAnswer, LogPage};
use crate::wire;

/// Reads any bytes as each message of the wire. What is read can be written, and reads back the same. True:
/// one of them was read.
#[must_use]
pub fn read_any(bytes: &[u8]) -> bool {
    same::<HeadsEvent>(bytes)
        | same::<LogAnswer>(bytes)
        | same::<CopyEvent>(bytes)
        | same::<Buckets>(bytes)
        | same::<BucketPage>(bytes)
}

fn same<M: Serialize + DeserializeOwned + PartialEq>(bytes: &[u8]) -> bool {
    let Ok(message) = wire::decode::<M>(bytes) else { return false };
    let again = wire::encode(&message).and_then(|bytes| wire::decode::<M>(&bytes));
    assert!(again.is_ok_and(|again| again == message), "a message that was read is written as another");
    true
}

/// Takes a page of a vault's log as a replica does. What a replica would write stays within the vault, and the
/// head it would write is the one that the page leads to. True: something would be written.
#[must_use]
pub fn take_page(group: &GroupId, vault: &VaultId, generation: Option<u64>, page: &LogPage) -> bool {
    let LogPage { records, end, head } = page;
    let Ok(commits) = advance::check(vault, Head::START, records, *end, *head) else { return false };
    take(group, vault, generation, &commits, *end)
}

/// Takes one log record as if the chain vouched for it: a home that writes what no home should.
#[must_use]
pub fn take_record(group: &GroupId, vault: &VaultId, generation: Option<u64>, encoded: &[u8]) -> bool {
    let Ok(record) = LogRecord::decode(encoded) else { return false };
    let record = LogRecord { number: 1, ..record };
    let encoded = record.encode();
    let end = Head { number: 1, chain: Head::START.chain.next(&encoded) };
    take(group, vault, generation, &[Commit { record, encoded }], end)
}

fn take(group: &GroupId, vault: &VaultId, generation: Option<u64>, commits: &[Commit], end: Head) -> bool {
    if commits.is_empty() {
        return false;
    }
    let Ok(merged) = merge::merge(group, vault, Head::START, generation, &BTreeSet::new(), commits) else {
        return false;
    };
    assert!(merged.commits >= 1 && merged.commits <= commits.len());
    assert!(merged.commits == 1 || merged.ops.len() <= MAX_TRANSACTION_OPS);
    assert!(merged.commits < commits.len() || merged.head == end);
    let own: [Bytes; 5] = [
        layout::all_data(group, vault),
        layout::logs(group, vault),
        layout::head(group, vault),
        layout::vaults(group),
        layout::deleted_vaults(group),
    ];
    for op in &merged.ops {
        assert!(own.iter().any(|own| op.key().starts_with(own)), "a key outside the vault: {:?}", op.key());
    }
    true
}
