//! The removal of what a purged vault leaves behind.

use valv_engine::{GroupId, KeyRange, layout};
use valv_model::{Result, VaultId};
use valv_sealing::{Head, SealedOp};

use super::purge_mark;
use crate::node::Node;
use crate::queue::{remove, trim_log};

/// Data records removed at once; their values are read with them.
const DATA_PAGE: usize = 50;

/// Log records removed at once. Each may have 700 KiB.
const LOG_PAGE: usize = 16;

/// Removes a purged vault's records, step by step, its log but for the last record, and at the end the mark
/// that says that it was purged. Does nothing without the mark. The head stays.
pub(crate) async fn sweep(node: &Node, group: &GroupId, id: &VaultId) -> Result<()> {
    let mark = purge_mark(group, id);
    loop {
        let ranges = [
            KeyRange::key(mark.clone()),
            KeyRange::prefix(layout::all_data(group, id)).after(&mark).limit(DATA_PAGE),
            KeyRange::key(layout::head(group, id)),
        ];
        let read = node.read(&ranges).await?;
        let [found, data, head] = &read[..] else { return Ok(()) };
        if found.is_empty() {
            return Ok(());
        }
        // The log holds data keys and sealed values too.
        let last = head.first().and_then(|head| Head::decode(&head.value).ok()).map_or(0, |head| head.number);
        let log = KeyRange {
            start: layout::log(group, id, 0),
            end: layout::log(group, id, last),
            limit: LOG_PAGE,
            reverse: false,
        };
        let log = node.read(&[log]).await?.pop().unwrap_or_default();
        let gone: Vec<SealedOp> =
            data.iter().chain(&log).map(|entry| SealedOp::delete(entry.key.clone())).collect();
        if gone.is_empty() {
            return remove(node, group, vec![SealedOp::delete(mark)]).await;
        }
        remove(node, group, gone).await?;
    }
}

/// Does the same for every vault of the group that was purged, and lets the last log record of each go when
/// it is old enough. `known`: the vaults that are there; `done`: those of which only the head is left.
pub(crate) async fn sweep_all(
    node: &Node,
    group: &GroupId,
    known: &std::collections::HashSet<VaultId>,
    done: &mut std::collections::HashSet<VaultId>,
) -> Result<()> {
    const HEADS_PAGE: usize = 500;
    let prefix = layout::heads(group);
    let mut range = KeyRange::prefix(prefix.clone()).limit(HEADS_PAGE);
    loop {
        let heads = node.read(&[range.clone()]).await?.pop().unwrap_or_default();
        if let Some(last) = heads.last() {
            range = range.after(&last.key);
        }
        for head in &heads {
            let id = head.key.get(prefix.len()..).and_then(|id| std::str::from_utf8(id).ok());
            let Ok(id) = VaultId::parse(id.unwrap_or_default()) else { continue };
            if known.contains(&id) || done.contains(&id) {
                continue;
            }
            // Without the mark this touches nothing: a vault whose record is damaged is not taken for purged.
            sweep(node, group, &id).await?;
            if !trim_log(node, group, &id).await? {
                done.insert(id);
            }
        }
        if heads.len() < HEADS_PAGE {
            return Ok(());
        }
    }
}
