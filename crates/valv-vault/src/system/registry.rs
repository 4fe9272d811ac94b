//! The system vault as requests see it: its records, read and opened together.

use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use valv_access::Registry;
use valv_engine::{GroupId, KeyRange, layout};
use valv_model::{Error, Result, VaultName};
use valv_sealing::{Head, RecordKind};

use crate::node::Node;
use crate::vaults::Vault;

/// Where clients stand, by client id.
pub(crate) const CLIENTS: &str = "clients/";
/// Where the issuer's signing keys stand, by key id.
pub(crate) const SIGNING_KEYS: &str = "signing-keys/";
/// Where the deployment's role assignments stand, by id.
pub(crate) const ROLE_ASSIGNMENTS: &str = "role-assignments/";

/// The system vault's name; its group holds no other.
pub(crate) fn system_name() -> Result<VaultName> {
    VaultName::parse("system")
}

/// The system vault itself.
pub(crate) async fn system_vault(node: &Node) -> Result<Arc<Vault>> {
    let (group, name) = (GroupId::system(), system_name()?);
    let read = node.read(&[KeyRange::key(layout::vault(&group, &name))]).await?;
    let stored = read.first().and_then(|range| range.first());
    let stored =
        stored.ok_or_else(|| Error::internal("the store has no system vault; make it with `valv init`"))?;
    node.live_vault(&group, &name, &stored.value)
}

/// What one revision says.
pub(crate) struct Loaded {
    /// The system vault's head as stored.
    pub(crate) head: Bytes,
    /// Its records.
    pub(crate) registry: Arc<Registry>,
    /// The record of the live vault that was asked for.
    pub(crate) vault: Option<Bytes>,
}

/// Reads the system vault's records, and a vault's record, at one revision.
pub(crate) async fn load(node: &Node, system: &Vault, vault: Option<&VaultName>) -> Result<Loaded> {
    let group = GroupId::system();
    let envelope = &system.state.envelope;
    let data = layout::data(&group, &envelope.id, envelope.generation);
    let mut ranges = vec![KeyRange::key(layout::head(&group, &envelope.id)), KeyRange::prefix(data.clone())];
    ranges.extend(vault.map(|name| KeyRange::key(layout::vault(&node.group(), name))));
    let read = node.read(&ranges).await?;
    let value = |at: usize| read.get(at).and_then(|range| range.first()).map(|entry| entry.value.clone());
    let head = value(0).ok_or_else(|| Error::internal("the system vault has no head"))?;
    let number =
        Head::decode(&head).map_err(|e| Error::internal(format!("the system vault's head: {e}")))?.number;
    let mut registry = Registry { commit: number, ..Registry::default() };
    for entry in read.get(1).into_iter().flatten() {
        let path =
            entry.key.get(data.len()..).and_then(|path| std::str::from_utf8(path).ok()).unwrap_or_default();
        // A damaged client or assignment must not lock out all others, and leaving it out only ever denies.
        if let Err(error) = add(&mut registry, system, path, &entry.value) {
            tracing::error!(path, %error, "a record of the system vault does not open; it is left out");
        }
    }
    registry.signing_keys.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
    Ok(Loaded { head, registry: Arc::new(registry), vault: vault.and_then(|_| value(2)) })
}

fn add(registry: &mut Registry, system: &Vault, path: &str, sealed: &[u8]) -> Result<()> {
    if path.starts_with(CLIENTS) {
        let client: valv_access::ClientRecord = open(system, path, RecordKind::Client, sealed)?;
        registry.clients.insert(client.id.clone(), client);
    } else if path.starts_with(SIGNING_KEYS) {
        registry.signing_keys.push(open(system, path, RecordKind::SigningKey, sealed)?);
    } else if path.starts_with(ROLE_ASSIGNMENTS) {
        registry.assignments.push(open(system, path, RecordKind::RoleAssignment, sealed)?);
    }
    Ok(())
}

fn open<T: DeserializeOwned>(system: &Vault, path: &str, kind: RecordKind, sealed: &[u8]) -> Result<T> {
    let plaintext = system.keys.open(path, kind, sealed).map_err(|e| Error::internal(e.to_string()))?;
    // Not the parser's words: they may quote what was sealed.
    serde_json::from_slice(&plaintext)
        .map_err(|e| Error::internal(format!("no valid record at column {}", e.column())))
}
