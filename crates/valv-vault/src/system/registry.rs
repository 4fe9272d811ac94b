//! The system vault as requests see it: its records, read and opened together.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use valv_access::Registry;
use valv_engine::{Entry, GroupId, KeyRange, layout};
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

/// A load that finds the copy replaced begins again, so often at most.
const LOADS_MAX: usize = 4;

/// The system vault's name; its group holds no other.
pub(crate) fn system_name() -> Result<VaultName> {
    VaultName::parse("system")
}

/// The system vault itself.
pub(crate) async fn system_vault(node: &Node) -> Result<Arc<Vault>> {
    Ok(stored_system_vault(node).await?.0)
}

/// The same with its record as stored.
async fn stored_system_vault(node: &Node) -> Result<(Arc<Vault>, Bytes)> {
    let (group, name) = (GroupId::system(), system_name()?);
    let read = node.read(&[KeyRange::key(layout::vault(&group, &name))]).await?;
    let stored = read.first().and_then(|range| range.first());
    let stored = stored.ok_or_else(|| {
        if node.is_home(&group) {
            Error::internal("the store has no system vault; make it with `valv init`")
        } else {
            not_copied()
        }
    })?;
    Ok((node.live_vault(&group, &name, &stored.value)?, stored.value.clone()))
}

/// 503: a replica of the system group that holds nothing yet.
fn not_copied() -> Error {
    Error::unavailable(
        "This region does not have the deployment's clients and roles yet; they are being copied. Try again.",
    )
}

/// The system vault's records, as one revision has them.
pub(crate) struct Loaded {
    /// Where the system vault's head stands.
    pub(crate) head_key: Bytes,
    /// The head as stored.
    pub(crate) head: Bytes,
    /// The records.
    pub(crate) registry: Arc<Registry>,
    /// When they were read.
    pub(crate) at: Instant,
}

/// Reads the system vault's records.
pub(crate) async fn load(node: &Node) -> Result<Loaded> {
    let group = GroupId::system();
    let place = layout::vault(&group, &system_name()?);
    for _ in 0..LOADS_MAX {
        let (system, stored) = stored_system_vault(node).await?;
        let envelope = &system.state.envelope;
        let data = layout::data(&group, &envelope.id, envelope.generation);
        let head_key = layout::head(&group, &envelope.id);
        let ranges = [place.clone(), head_key.clone()].map(KeyRange::key).into_iter();
        let read = node.read(&ranges.chain([KeyRange::prefix(data.clone())]).collect::<Vec<_>>()).await?;
        let [again, head, records] = &read[..] else { return Err(Error::internal("a read lacks ranges")) };
        // A replica's copy may have come to stand in another generation in between.
        if again.first().is_some_and(|again| again.value == stored) {
            return open_all(&system, head_key, head, data.len(), records);
        }
    }
    Err(Error::unavailable(
        "The deployment's clients and roles change all the time; nothing was changed. Try again.",
    ))
}

fn open_all(
    system: &Vault,
    head_key: Bytes,
    head: &[Entry],
    prefix_len: usize,
    records: &[Entry],
) -> Result<Loaded> {
    let head = head.first().ok_or_else(|| Error::internal("the system vault has no head"))?.value.clone();
    let number =
        Head::decode(&head).map_err(|e| Error::internal(format!("the system vault's head: {e}")))?.number;
    let mut registry = Registry { commit: number, ..Registry::default() };
    for entry in records {
        let path =
            entry.key.get(prefix_len..).and_then(|path| std::str::from_utf8(path).ok()).unwrap_or_default();
        // A damaged client or assignment must not lock out all others, and leaving it out only ever denies.
        if let Err(error) = add(&mut registry, system, path, &entry.value) {
            tracing::error!(path, %error, "a record of the system vault does not open; it is left out");
        }
    }
    registry.signing_keys.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
    Ok(Loaded { head_key, head, registry: Arc::new(registry), at: Instant::now() })
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
