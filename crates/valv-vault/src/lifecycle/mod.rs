//! What happens by itself: scheduled purge of deleted objects and vaults, unfinished purges and restores, trimming of the log.

use bytes::Bytes;
use valv_engine::{GroupId, layout};
use valv_model::VaultId;

use crate::Service;

/// The path, in generation 0, of the mark that says: this vault was purged and its records may go. The
/// generations of data begin with 1, so it stands before all of them, and it is the last to be removed.
pub(crate) const PURGE_MARK: &str = "purged";

/// The mark's key.
pub(crate) fn purge_mark(group: &GroupId, vault: &VaultId) -> Bytes {
    let mut key = layout::data(group, vault, 0).to_vec();
    key.extend_from_slice(PURGE_MARK.as_bytes());
    key.into()
}

impl Service {
    /// One round over all vaults. The program calls it once a minute; tests call it on a moved clock.
    pub async fn lifecycle_round(&self) -> valv_model::Result<()> {
        todo!()
    }
}
