//! The storage contract.
//!
//! An engine keeps ordered keys and opaque values. It promises linearizable reads, atomic
//! compare-and-set commits that are durable when acknowledged, and an ordered stream of what changed.
//! It never sees plaintext: what arrives here has passed the barrier (`valv-sealing`).
//!
//! [`layout`] names every key. [`conformance`] is the suite that every engine passes unchanged.

pub mod conformance;
pub mod layout;
pub mod planted;

mod contract;
pub use contract::{
    Change, ChangeStream, ChangesError, CommitError, Compare, Engine, Entry, Expect, KeyRange, LeaseError,
    MAX_TRANSACTION_BYTES, MAX_TRANSACTION_OPS, Op, Read, ReadError, Snapshot, Transaction,
};

mod lease;
pub use lease::{Epoch, GroupId, GroupMeta, ReplicaLease, WriteLease};

mod revision;
pub use revision::{Lineage, Revision};
