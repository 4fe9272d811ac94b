//! What happens to objects by themselves.

use std::time::Duration;

use valv_engine::KeyRange;
use valv_model::{Result, UnixSeconds};

use super::Kind;
use super::delete::{Progress, Purge, is_due, purge_all};
use super::desk::{Desk, Live};
use super::records::Object;
use crate::vaults::Vault;
use crate::{Service, WriteContext};

/// How many records are read at once.
const READ_STEP: usize = 100;

/// How long one commit may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tidied {
    /// Objects of which nothing is left: retention time over, purges finished, abandoned restores removed.
    pub purged: u64,
    /// Objects that could not be purged now; the log says why.
    pub failed: u64,
}

/// Finishes abandoned purges, removes abandoned restores, and purges what was deleted so long ago that its
/// retention time has passed at `now`. The caller answers for `now`: a wrong clock must not bring a purge
/// forward (F31).
pub(crate) async fn lifecycle<K: Kind>(service: &Service, vault: &Vault, now: UnixSeconds) -> Result<Tidied> {
    round::<K>(&Live { service, vault }, now).await
}

pub(crate) async fn round<K: Kind>(desk: &impl Desk, now: UnixSeconds) -> Result<Tidied> {
    let mut tidied = Tidied::default();
    let mut range = KeyRange::prefix(K::DELETED).limit(READ_STEP);
    loop {
        let found = desk.read(vec![range.clone()]).await?.into_iter().next().unwrap_or_default();
        let full = found.len() == READ_STEP;
        if let Some(last) = found.last() {
            range = range.after(last.path.as_bytes());
        }
        for found in found {
            let Ok(record) = found.decode(Object::<K>::decode) else {
                tidied.failed += 1;
                continue;
            };
            if !is_due(&record, now) {
                continue;
            }
            // One deadline per object: a long history takes many commits.
            let context = WriteContext::own(STEP_TIMEOUT);
            match purge_all::<K>(desk, &context, &record.name, Purge::Due(now)).await {
                Ok(Progress::Finished) => tidied.purged += 1,
                Ok(_) => {}
                Err(error) => {
                    tidied.failed += 1;
                    tracing::warn!(object = K::WORD, name = record.name.as_str(), %error, "an object that is due is not purged yet");
                }
            }
        }
        if !full {
            return Ok(tidied);
        }
    }
}
