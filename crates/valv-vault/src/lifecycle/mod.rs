//! What happens by itself: scheduled purge of deleted objects and vaults, unfinished purges and restores, trimming of the log.

use crate::Service;

impl Service {
    /// One round over all vaults. The program calls it once a minute; tests call it on a moved clock.
    pub async fn lifecycle_round(&self) -> valv_model::Result<()> {
        todo!()
    }
}
