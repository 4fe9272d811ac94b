//! One vault follows home's log.

use std::collections::BTreeSet;

use valv_engine::planted::{self, Bug};
use valv_engine::{Op, Transaction, layout};
use valv_model::VaultId;
use valv_sealing::{Head, LogRecord};

use super::StopReason;
use super::context::{Context, Counters};
use super::copy::{belongs_to_another, copy, give_up};
use super::local::{Fail, is, settle};
use super::merge::{self, Commit, Refusal};
use crate::source::{LogAnswer, LogPage};

/// Where a vault has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// To home's head, or as far as it was to go.
    Head(Head),
    /// It was copied whole; what it had before can be removed later.
    Copied {
        /// Its head; none where home has no such vault.
        head: Option<Head>,
        /// It was purged at home, or never there.
        purged: bool,
    },
    /// It waits for another vault to let its name go.
    NameTaken,
}

/// Pages taken up before the other vaults get their turn.
const PAGES_MAX: usize = 16;

/// Follows home's log to its head, or to the commit `until` and no further; copies the vault whole where the
/// log is gone.
pub(super) async fn advance(context: &Context, vault: &VaultId, until: Option<u64>) -> Result<Reached, Fail> {
    let mut at = Head::START;
    let mut broken_off = false;
    for _ in 0..PAGES_MAX {
        let local = context.local(vault).await?;
        let (Some(head), Some(record)) = (local.head, &local.local) else {
            return copy(context, vault).await;
        };
        at = head;
        if record.anew {
            return copy(context, vault).await;
        }
        if record.copying.as_ref().is_some_and(|copying| copying.by == context.by) {
            // This task's own copy, which broke off: it begins anew below if it is still needed.
            broken_off = true;
        }
        if until.is_some_and(|until| head.number >= until) {
            break;
        }
        let answer = context.ask(context.source.log(&context.group, vault, head)).await?;
        let name = || vault.to_string();
        let LogPage { records, end, head: home } = match answer {
            LogAnswer::Page(page) => page,
            LogAnswer::Gone { .. } => return copy(context, vault).await,
            LogAnswer::Behind { head: home } => {
                let reason = StopReason::HomeBehind { vault: name(), home: home.number, here: head.number };
                return Err(Fail::Stop(reason));
            }
            LogAnswer::Diverged { .. } => {
                return Err(Fail::Stop(StopReason::ChainBroken { vault: name(), after: head.number }));
            }
        };
        if records.is_empty() {
            break;
        }
        let mut commits = check(vault, head, &records, end, home).map_err(Fail::Stop)?;
        if let Some(until) = until {
            commits.retain(|commit| commit.record.number <= until);
        }
        match take(context, vault, commits).await? {
            Some(head) => {
                at = head;
                if head == home {
                    break;
                }
            }
            None => return Ok(Reached::NameTaken),
        }
    }
    if broken_off {
        give_up(context, vault, None).await?;
    }
    Ok(Reached::Head(at))
}

/// The commits of a page, if they continue the chain from `head` and lead where home says they lead.
pub(super) fn check(
    vault: &VaultId,
    head: Head,
    records: &[bytes::Bytes],
    end: Head,
    home: Head,
) -> Result<Vec<Commit>, StopReason> {
    let broken = || StopReason::ChainBroken { vault: vault.to_string(), after: head.number };
    let mut commits = Vec::with_capacity(records.len());
    let mut at = head;
    for encoded in records {
        let record = LogRecord::decode(encoded)
            .map_err(|e| StopReason::Malformed { vault: vault.to_string(), why: e.to_string() })?;
        at = Head { number: record.number, chain: at.chain.next(encoded) };
        if record.number != head.number + commits.len() as u64 + 1 {
            return Err(broken());
        }
        commits.push(Commit { record, encoded: encoded.clone() });
    }
    let leads = at == end && (at.number < home.number || at == home);
    if leads || planted::active(Bug::ChainNotChecked) { Ok(commits) } else { Err(broken()) }
}

/// Applies commits, as many at once as one transaction holds. The head after them; none if another vault has the name.
async fn take(context: &Context, vault: &VaultId, mut commits: Vec<Commit>) -> Result<Option<Head>, Fail> {
    let Context { engine, group, lease, .. } = context;
    let mut reached = None;
    while !commits.is_empty() {
        let local = context.local(vault).await?;
        let (Some(head), Some(record)) = (local.head, &local.local) else { return Err(Fail::Again) };
        // Somebody else has applied some of them already.
        commits.retain(|commit| commit.record.number > head.number);
        let Some(first) = commits.first() else { return Ok(Some(head)) };
        if first.record.number != head.number + 1 || record.anew {
            return Ok(Some(head));
        }
        let taken = context.values(merge::names(group, vault, &commits)).await?;
        let mut others = BTreeSet::new();
        for (key, stored) in &taken {
            if let Some(stored) = stored
                && belongs_to_another(context, vault, stored).await?
            {
                others.insert(key.clone());
            }
        }
        let merged = match merge::merge(group, vault, head, record.generation, &others, &commits) {
            Ok(merged) => merged,
            Err(Refusal::NameTaken) => return Ok(None),
            Err(Refusal::Malformed(why)) => return Err(Context::malformed(vault, why)),
        };
        for op in &merged.ops {
            if let Op::Put(key, stored) = op
                && taken.contains_key(key)
            {
                let envelope = merge::envelope(group, vault, key, stored);
                let envelope =
                    envelope.map_err(|_| Context::malformed(vault, "a vault record does not open"))?;
                context.keys(vault, &envelope)?;
                context.names.remember(vault, &envelope.name);
            }
        }
        let mut compares = local.compares(group, vault);
        compares.extend(taken.into_iter().map(|(key, stored)| is(key, stored)));
        let witness = (layout::head(group, vault), Some(merged.head.encode()));
        let transaction = Transaction { compares, ops: merged.ops };
        if settle(&**engine, lease, transaction, Some(witness)).await? {
            commits.drain(..merged.commits);
            Counters::add(&context.counters.commits, merged.commits as u64);
            reached = Some(merged.head);
        }
    }
    Ok(reached)
}
