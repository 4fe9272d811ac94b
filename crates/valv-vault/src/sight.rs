//! What one request sees before it is authorized.

use std::sync::Arc;
use std::time::Duration;

use valv_access::Registry;
use valv_engine::{Entry, Epoch, GroupId, GroupMeta, KeyRange, layout};
use valv_model::{Error, RegionName, Result, VaultId, VaultName};
use valv_sealing::Head;

use crate::Service;
use crate::node::Node;
use crate::system::registry;
use crate::vaults::Vault;

/// A look that finds something new to read looks again; more often than this only under a storm of administration.
const LOOKS_MAX: usize = 8;

/// How long the records of a replica of the system vault are believed without reading them again: a repair changes
/// records without a commit.
const REPLICA_BELIEVED: Duration = Duration::from_secs(30);

/// What one request sees before it is authorized: the system group's and the vault's rules, of one revision.
#[derive(Clone)]
pub struct Sight {
    /// Clients, signing keys, deployment-wide roles.
    pub registry: Arc<Registry>,
    /// The live vault, if there is one of that name.
    pub vault: Option<Arc<Vault>>,
    /// How the store holds that vault.
    pub holding: Option<Holding>,
}

/// How a store holds a vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Its group.
    pub group: GroupId,
    /// The only region that may write to it.
    pub home: RegionName,
    /// The group's epoch.
    pub epoch: Epoch,
    /// Is it a replica's copy?
    pub replica: bool,
    /// The number of the last commit of the vault that is seen here.
    pub commit: u64,
}

impl Service {
    /// One linearizable read: registry (cached by the system vault's head) and vault (decoded copy cached by its
    /// record's bytes). The vault is looked for in this region's own group and in the groups it is a replica of.
    ///
    /// Errors: `ServiceUnavailable` when the engine does not answer, or while this is a replica of the system group
    /// that has copied nothing yet; an internal error for a vault whose record does not open, which concerns that
    /// vault only.
    pub async fn look(&self, vault: Option<&VaultName>) -> Result<Sight> {
        for _ in 0..LOOKS_MAX {
            let known = self.registry.load_full();
            let mut ranges = Vec::with_capacity(8);
            ranges.push(known.as_ref().map_or(nothing(), |known| KeyRange::key(known.head_key.clone())));
            let asked = vault.map(|name| Asked::new(&self.node, name));
            ranges.extend(asked.iter().flat_map(Asked::ranges));
            let read = self.node.read(&ranges).await?;
            let [head, places @ ..] = &read[..] else { return Err(Error::internal("a read lacks ranges")) };
            let is_new = |known: &Arc<registry::Loaded>| {
                head.first().is_some_and(|head| head.value == known.head) && !self.is_stale(known)
            };
            let Some(known) = known.filter(is_new) else {
                self.registry.store(Some(Arc::new(registry::load(&self.node).await?)));
                continue;
            };
            let registry = Arc::clone(&known.registry);
            let found = asked.map(|asked| asked.find(&self.node, places)).transpose()?;
            match found.unwrap_or(Found::Nothing) {
                Found::Nothing => return Ok(Sight { registry, vault: None, holding: None }),
                Found::Vault(vault, holding) => {
                    return Ok(Sight { registry, vault: Some(vault), holding: Some(holding) });
                }
                Found::HeadUnread => {}
            }
        }
        Err(Error::unavailable("The vault's rules change all the time; nothing was changed. Try again."))
    }

    /// The number of the vault's last commit, for an answer to a write.
    pub async fn commit_number(&self, vault: &Vault) -> Result<u64> {
        let read =
            self.node.read(&[KeyRange::key(layout::head(&vault.group, &vault.state.envelope.id))]).await?;
        number(read.first().and_then(|range| range.first()))
    }

    /// A real engine read, for `/readyz` and probes; an error as well while a replica of the system group has
    /// copied nothing yet.
    pub async fn ready(&self) -> Result<()> {
        self.look(None).await.map(drop)
    }

    fn is_stale(&self, known: &registry::Loaded) -> bool {
        !self.node.is_home(&GroupId::system()) && known.at.elapsed() > REPLICA_BELIEVED
    }
}

enum Found {
    Nothing,
    Vault(Arc<Vault>, Holding),
    /// The vault was not known, so its head was not read with it.
    HeadUnread,
}

fn nothing() -> KeyRange {
    KeyRange::key(layout::root_key()).limit(0)
}

/// What is asked for a name in every group.
struct Asked<'a> {
    name: &'a VaultName,
    /// With the id of the vault that had the name last, whose head is read too.
    groups: Vec<(&'a GroupId, Option<VaultId>)>,
}

impl<'a> Asked<'a> {
    fn new(node: &'a Node, name: &'a VaultName) -> Self {
        Self { name, groups: node.groups().iter().map(|group| (group, node.known_id(group, name))).collect() }
    }

    /// Of each group: who its home is, the live vault of that name, a head.
    fn ranges(&self) -> impl Iterator<Item = KeyRange> {
        self.groups.iter().flat_map(|(group, id)| {
            let head = id.as_ref().map_or(nothing(), |id| KeyRange::key(layout::head(group, id)));
            [KeyRange::key(layout::group_meta(group)), KeyRange::key(layout::vault(group, self.name)), head]
        })
    }

    fn find(&self, node: &Node, read: &[Vec<Entry>]) -> Result<Found> {
        for ((group, id), read) in self.groups.iter().zip(read.chunks_exact(3)) {
            let [meta, live, head] = read else { continue };
            let (Some(live), Some(meta)) = (live.first(), meta.first()) else { continue };
            let vault = node.live_vault(group, self.name, &live.value)?;
            if id.as_ref() != Some(&vault.state.envelope.id) {
                return Ok(Found::HeadUnread);
            }
            let GroupMeta { home, epoch } = serde_json::from_slice(&meta.value)
                .map_err(|e| Error::internal(format!("the record of group {group}: {e}")))?;
            let (replica, commit) = (home != node.settings.region, number(head.first())?);
            let holding = Holding { group: (*group).clone(), home, epoch, replica, commit };
            return Ok(Found::Vault(vault, holding));
        }
        Ok(Found::Nothing)
    }
}

fn number(head: Option<&Entry>) -> Result<u64> {
    let head = head.ok_or_else(|| Error::internal("a vault has no head"))?;
    let head = Head::decode(&head.value).map_err(|e| Error::internal(format!("a vault's head: {e}")))?;
    Ok(head.number)
}

#[cfg(test)]
mod tests;
