//! Every key of a store, in one place.
//!
//! ```text
//! lineage                                            the engine's own
//! rootkey                                            id of the root key the data keys are wrapped under
//! g/{group}/meta                                     home, epoch
//! g/{group}/copied                                   in a replica: the lineage that is copied; in a rebuilt home: the one it continues
//! g/{group}/local/{vault id}                         in a replica: the generation that a vault was copied into, or is being
//! g/{group}/vaults/{NAME}                            a live vault
//! g/{group}/deletedvaults/{NAME}                     a soft-deleted vault
//! g/{group}/heads/{vault id}                         commit number, chain hash; survives a purge
//! g/{group}/log/{vault id}/{number}                  one whole commit
//! g/{group}/data/{vault id}/{generation}/{path}      a sealed record; {path} is the vault's own
//! ```

use bytes::Bytes;
use valv_model::{VaultId, VaultName};

use crate::GroupId;

/// The record that says which root key the store's data keys are wrapped under.
#[must_use]
pub fn root_key() -> Bytes {
    Bytes::from_static(b"rootkey")
}

/// A group's home and epoch.
#[must_use]
pub fn group_meta(group: &GroupId) -> Bytes {
    format!("g/{group}/meta").into()
}

/// Everything of a group.
#[must_use]
pub fn group(group: &GroupId) -> Bytes {
    format!("g/{group}/").into()
}

/// What a replica's store copies, and what a rebuilt home's store continues.
#[must_use]
pub fn copied(group: &GroupId) -> Bytes {
    format!("g/{group}/copied").into()
}

/// What a replica keeps of a vault for itself; only of those that it copied whole.
#[must_use]
pub fn local(group: &GroupId, vault: &VaultId) -> Bytes {
    format!("g/{group}/local/{vault}").into()
}

/// The same of all vaults.
#[must_use]
pub fn locals(group: &GroupId) -> Bytes {
    format!("g/{group}/local/").into()
}

/// A live vault's record.
#[must_use]
pub fn vault(group: &GroupId, name: &VaultName) -> Bytes {
    format!("g/{group}/vaults/{}", name.as_str().to_ascii_uppercase()).into()
}

/// All live vaults of a group.
#[must_use]
pub fn vaults(group: &GroupId) -> Bytes {
    format!("g/{group}/vaults/").into()
}

/// A soft-deleted vault's record.
#[must_use]
pub fn deleted_vault(group: &GroupId, name: &VaultName) -> Bytes {
    format!("g/{group}/deletedvaults/{}", name.as_str().to_ascii_uppercase()).into()
}

/// All soft-deleted vaults of a group.
#[must_use]
pub fn deleted_vaults(group: &GroupId) -> Bytes {
    format!("g/{group}/deletedvaults/").into()
}

/// A vault's head: commit number and chain hash.
#[must_use]
pub fn head(group: &GroupId, vault: &VaultId) -> Bytes {
    format!("g/{group}/heads/{vault}").into()
}

/// One commit of a vault. Numbers have 16 hexadecimal digits, so that key order is number order.
#[must_use]
pub fn log(group: &GroupId, vault: &VaultId, number: u64) -> Bytes {
    format!("g/{group}/log/{vault}/{number:016x}").into()
}

/// All kept commits of a vault.
#[must_use]
pub fn logs(group: &GroupId, vault: &VaultId) -> Bytes {
    format!("g/{group}/log/{vault}/").into()
}

/// The heads of all vaults of a group, also of those that were purged.
#[must_use]
pub fn heads(group: &GroupId) -> Bytes {
    format!("g/{group}/heads/").into()
}

/// The prefix of a vault's records of all generations.
#[must_use]
pub fn all_data(group: &GroupId, vault: &VaultId) -> Bytes {
    format!("g/{group}/data/{vault}/").into()
}

/// The prefix of a vault's records of one generation; the vault's own paths follow it.
#[must_use]
pub fn data(group: &GroupId, vault: &VaultId, generation: u64) -> Bytes {
    format!("g/{group}/data/{vault}/{generation:08x}/").into()
}

/// The path, in generation 0, of the mark that says: this vault was purged and its records may go. The
/// generations of data begin with 1, so it stands before all of them, and it is the last to be removed.
pub const PURGE_MARK: &str = "purged";

/// The key of a vault's [`PURGE_MARK`].
#[must_use]
pub fn purge_mark(group: &GroupId, vault: &VaultId) -> Bytes {
    format!("g/{group}/data/{vault}/{:08x}/{PURGE_MARK}", 0).into()
}
