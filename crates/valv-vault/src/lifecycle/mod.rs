//! What happens by itself: scheduled purge of deleted objects and vaults, unfinished purges and restores, rotation of
//! keys and announcements of their end, trimming of the log.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use valv_engine::{GroupId, layout};
use valv_model::{Operation, Result, UnixSeconds, VaultId};
use valv_sealing::RecordKind;
use zeroize::Zeroizing;

use crate::keys::{self, Key};
use crate::objects::lifecycle as objects;
use crate::queue::{Change, Decision, Need, Scope, State, Write, trim_log};
use crate::secrets::Secret;
use crate::system::registry;
use crate::vaults::{Purge, Vault};
use crate::{Service, WriteContext};

mod even_clock;
pub use even_clock::{AWAY_MAX_S, ClockHistory, EVEN_MIN, JUMP_MAX_S, RECORD_EVERY_S, Reading};

mod sweep;
pub(crate) use sweep::sweep;

pub(crate) use valv_engine::layout::{PURGE_MARK, purge_mark};

/// The record of the latest time seen, in the system vault.
const CLOCK: &str = "clock";

/// How long one of a round's writes may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// What rounds remember of each other.
#[derive(Default)]
pub(crate) struct Rounds {
    clock: Mutex<Option<ClockHistory>>,
    /// Purged vaults of which only the head is left.
    swept: Mutex<HashSet<VaultId>>,
}

/// The latest time seen with an even clock.
#[derive(Serialize, Deserialize)]
struct ClockRecord {
    seen: UnixSeconds,
}

impl Service {
    /// One round over all vaults of this region; what belongs to another region is that region's to change. The program calls it once a minute; tests call it on a moved clock. What
    /// cannot be done now is logged, and left to the next round.
    ///
    /// Errors: the engine does not answer.
    pub async fn lifecycle_round(&self) -> Result<()> {
        let is_system_home = self.node.is_home(&GroupId::system());
        let system = match registry::system_vault(&self.node).await {
            // A replica that has not copied it yet: no recorded time says that the clock can be believed.
            Err(error) if !is_system_home => {
                tracing::info!(%error, "scheduled purges are held");
                None
            }
            system => Some(system?),
        };
        let purges = match &system {
            Some(system) => self.watch_clock(system).await?,
            None => false,
        };
        let now = self.clock.now();
        let (live, mut deleted) = (self.vaults(false).await?, self.vaults(true).await?);
        let due = |vault: &Arc<Vault>| {
            vault.state.properties.deleted.is_some_and(|deletion| deletion.scheduled_purge <= now)
        };
        for vault in &deleted {
            if purges && due(vault) {
                let name = &vault.state.envelope.name;
                log_failure(vault, self.purge_vault(&own_write(), name, Purge::Due(now)).await);
            }
        }
        deleted.retain(|vault| !(purges && due(vault)));
        for vault in &live {
            // Unfinished work is finished in any case; by the earliest of all times nothing more is due.
            let now = if purges { now } else { UnixSeconds(i64::MIN) };
            log_failure(vault, objects::lifecycle::<Secret>(self, vault, now).await);
            log_failure(vault, objects::lifecycle::<Key>(self, vault, now).await);
            log_failure(vault, keys::lifecycle(self, vault, now).await);
        }
        // The logs of replicas are bounded by what applies them.
        for vault in live.iter().chain(&deleted).chain(system.as_ref().filter(|_| is_system_home)) {
            log_failure(vault, trim_log(&self.node, &vault.group, &vault.state.envelope.id).await);
        }
        let known = live.iter().chain(&deleted).map(|vault| vault.state.envelope.id.clone()).collect();
        let mut swept = self.rounds.swept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let done = sweep::sweep_all(&self.node, &self.node.group(), &known, &mut swept).await;
        *self.rounds.swept.lock().unwrap_or_else(PoisonError::into_inner) = swept;
        done
    }

    /// Takes a reading of the clocks, records the time if it is due, and says whether purges may happen.
    async fn watch_clock(&self, system: &Vault) -> Result<bool> {
        let recorded = self.recorded_time(system).await?;
        let reading = Reading { wall: self.clock.now(), monotonic: self.clock.monotonic() };
        let history = {
            let mut clock = self.rounds.clock.lock().unwrap_or_else(PoisonError::into_inner);
            let (before, history) = match *clock {
                Some(history) => (history.purges(), history.observe(reading)),
                None => (true, ClockHistory::begin(reading, recorded)),
            };
            if before != history.purges() {
                if before {
                    tracing::warn!(recorded = ?recorded, now = ?reading.wall, "the clock jumped, or the node was away for more than a day: scheduled purges are held until the clock was even for 24 hours");
                } else {
                    tracing::info!("the clock was even for 24 hours: scheduled purges go on");
                }
            }
            *clock = Some(history);
            history
        };
        // Elsewhere the record is a replica's copy: the system group's home writes it.
        if let Some(seen) = history.record(recorded).filter(|_| self.node.is_home(&GroupId::system())) {
            log_failure(system, self.record_time(system, seen).await);
        }
        Ok(history.purges())
    }

    async fn recorded_time(&self, system: &Vault) -> Result<Option<UnixSeconds>> {
        let envelope = &system.state.envelope;
        let mut key = layout::data(&system.group, &envelope.id, envelope.generation).to_vec();
        key.extend_from_slice(CLOCK.as_bytes());
        let read = self.node.read(&[valv_engine::KeyRange::key(key)]).await?;
        let Some(entry) = read.first().and_then(|range| range.first()) else { return Ok(None) };
        // A damaged record is no reason to purge: it counts as a time that is far away.
        let record = system.keys.open(CLOCK, RecordKind::Vault, &entry.value).ok();
        let record = record.and_then(|record| serde_json::from_slice::<ClockRecord>(&record).ok());
        Ok(Some(record.map_or(UnixSeconds(0), |record| record.seen)))
    }

    async fn record_time(&self, system: &Vault, seen: UnixSeconds) -> Result<()> {
        let decide = Box::new(move |_: &State<'_>| {
            let plaintext = serde_json::to_vec(&ClockRecord { seen }).unwrap_or_default();
            let put = Write::Put {
                path: CLOCK.into(),
                kind: RecordKind::Vault,
                plaintext: Zeroizing::new(plaintext),
            };
            Ok(Decision { writes: vec![put], version: None })
        });
        let needs = vec![Need::Record(CLOCK.into())];
        let change = Change { operation: Operation::VaultPut, needs, decide };
        self.submit_to(system, &own_write(), change, Scope::Live).await.map(drop)
    }
}

/// The context of a round's own writes.
fn own_write() -> WriteContext {
    WriteContext::own(WRITE_TIMEOUT)
}

fn log_failure<T>(vault: &Vault, result: Result<T>) {
    if let Err(error) = result {
        tracing::warn!(vault = %vault.state.envelope.name, %error, "a step of the lifecycle failed; the next round tries again");
    }
}

#[cfg(test)]
mod tests;
