//! What secrets, keys and certificates have in common: records and their places, versions, lists, soft delete,
//! recovery, purge, backup, restore. A [`Kind`] says what is different.
//!
//! A read is one linearizable read. A write is a pure decision that the vault's queue runs; the few that are
//! too large for one commit mark the object first, and the lifecycle ends what was interrupted.

use serde::{Deserialize, Serialize};
use valv_model::UnixSeconds;

mod kind;
pub(crate) use kind::{Kind, Operations};

pub(crate) mod desk;

pub(crate) mod records;

pub(crate) mod errors;

pub(crate) mod limits;

pub(crate) mod version;

pub(crate) mod make;

pub(crate) mod read;

pub(crate) mod update;

pub(crate) mod list;

pub(crate) mod delete;

pub(crate) mod backup;

pub(crate) mod restore;

pub(crate) mod lifecycle;
pub use lifecycle::Tidied;

pub(crate) mod fuzzing;

#[cfg(test)]
pub(crate) mod bench;

/// The attributes a client may set; `None` keeps (update) or takes the default (a new version).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttributesPatch {
    /// Default true.
    pub enabled: Option<bool>,
    /// Not before.
    pub nbf: Option<UnixSeconds>,
    /// Expires.
    pub exp: Option<UnixSeconds>,
}
