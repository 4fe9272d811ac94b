//! What happens to secrets by themselves.

use std::time::{Duration, Instant};

use valv_engine::KeyRange;
use valv_model::{Result, UnixSeconds};

use super::delete::{Progress, Purge, is_due, purge_all};
use super::desk::{Desk, Live};
use super::records::{DELETED, SecretRecord};
use crate::vaults::Vault;
use crate::{Service, WriteContext};

/// How many records are read at once.
const READ_STEP: usize = 100;

/// How long one commit may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tidied {
    /// Secrets of which nothing is left: retention time over, purges finished, abandoned restores removed.
    pub purged: u64,
    /// Secrets that could not be purged now; the log says why.
    pub failed: u64,
}

/// Finishes abandoned purges, removes abandoned restores, and purges what was deleted so long ago that its
/// retention time has passed at `now`. The caller answers for `now`: a wrong clock must not bring a purge
/// forward (F31).
pub(crate) async fn lifecycle(service: &Service, vault: &Vault, now: UnixSeconds) -> Result<Tidied> {
    round(&Live { service, vault }, now).await
}

pub(super) async fn round(desk: &impl Desk, now: UnixSeconds) -> Result<Tidied> {
    let mut tidied = Tidied::default();
    let mut range = KeyRange::prefix(DELETED).limit(READ_STEP);
    loop {
        let found = desk.read(vec![range.clone()]).await?.into_iter().next().unwrap_or_default();
        let full = found.len() == READ_STEP;
        if let Some(last) = found.last() {
            range = range.after(last.path.as_bytes());
        }
        for found in found {
            let Ok(record) = found.decode(SecretRecord::decode) else {
                tidied.failed += 1;
                continue;
            };
            if !is_due(&record, now) {
                continue;
            }
            match purge_all(desk, &context(), &record.name, Purge::Due(now)).await {
                Ok(Progress::Finished) => tidied.purged += 1,
                Ok(_) => {}
                Err(error) => {
                    tidied.failed += 1;
                    tracing::warn!(name = record.name.as_str(), %error, "a secret that is due is not purged yet");
                }
            }
        }
        if !full {
            return Ok(tidied);
        }
    }
}

/// A round's own writes. One deadline per secret: a long history takes many commits.
fn context() -> WriteContext {
    WriteContext { caller: "valv".into(), request: None, deadline: Instant::now() + STEP_TIMEOUT }
}
