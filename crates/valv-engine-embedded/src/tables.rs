//! The file's tables.

use bytes::Bytes;
use redb::{ReadTransaction, ReadableTable, TableDefinition};
use uuid::Uuid;
use valv_engine::{Lineage, Revision};

/// The keys and values of the contract.
pub(crate) const RECORDS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("records");

/// The engine's own values, by the names below.
pub(crate) const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");

/// The format's number.
pub(crate) const FORMAT: &str = "format";
/// 16 bytes.
pub(crate) const LINEAGE: &str = "lineage";
/// The last commit's revision.
pub(crate) const REVISION: &str = "revision";
/// Bytes of all keys and values in [`RECORDS`].
pub(crate) const STORED: &str = "stored";

/// The format that this program writes, and the newest that it reads.
pub(crate) const FORMAT_NOW: u64 = 1;

/// Reads one of the engine's numbers.
pub(crate) fn number(
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
    name: &'static str,
) -> Result<u64, redb::Error> {
    let stored = meta.get(name)?.and_then(|value| value.value().try_into().ok());
    stored.map(u64::from_be_bytes).ok_or_else(|| damaged(name))
}

/// Reads the lineage.
pub(crate) fn lineage(
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
) -> Result<Lineage, redb::Error> {
    let stored = meta.get(LINEAGE)?.and_then(|value| Uuid::from_slice(value.value()).ok());
    stored.map(Lineage).ok_or_else(|| damaged(LINEAGE))
}

/// The revision a read transaction sees.
pub(crate) fn revision(txn: &ReadTransaction) -> Result<Revision, redb::Error> {
    number(&txn.open_table(META)?, REVISION).map(Revision)
}

/// One record.
pub(crate) fn record(
    records: &impl ReadableTable<&'static [u8], &'static [u8]>,
    key: &[u8],
) -> Result<Option<Bytes>, redb::Error> {
    Ok(records.get(key)?.map(|value| Bytes::copy_from_slice(value.value())))
}

fn damaged(name: &str) -> redb::Error {
    redb::Error::Corrupted(format!("the value '{name}' is missing or has the wrong size"))
}
