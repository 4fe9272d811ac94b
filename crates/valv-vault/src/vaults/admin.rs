//! Creating, changing and listing vaults.

use std::sync::Arc;
use std::time::Instant;

use valv_access::{Permit, may_change_permission_model};
use valv_engine::{GroupId, KeyRange, layout};
use valv_model::{
    Error, ErrorCode, MAX_TAGS, Operation, Result, RetentionDays, Tags, UnixSeconds, VaultName,
};

use super::{Birth, Maker, Vault, VaultProperties, VaultPut, VaultState, VaultView};
use crate::node::{lease_error, vault_not_found};
use crate::queue::{
    Change, Committed, Decision, Scope, Settled, Write, not_sent, refusal, settle, unknown_outcome,
};
use crate::{Service, WriteContext};

/// Vault records read at once.
const VAULTS_PAGE: usize = 200;

/// How often a creation that lost a race looks again.
const CREATIONS_MAX: usize = 3;

impl From<&Vault> for VaultView {
    fn from(vault: &Vault) -> Self {
        Self {
            name: vault.state.envelope.name.clone(),
            id: vault.state.envelope.id.clone(),
            properties: vault.state.properties.clone(),
        }
    }
}

/// A permit of another operation is a fault of ours.
pub(crate) fn demand(permit: &Permit, operation: Operation) -> Result<()> {
    if permit.operation() == operation {
        Ok(())
    } else {
        Err(Error::internal(format!("{operation} was given a permit for {}", permit.operation())))
    }
}

/// The administration of vaults. The permit's operation is the method's; each checks that.
#[allow(clippy::missing_errors_doc, reason = "the errors are Azure's; see docs/operations.md")]
impl Service {
    /// Creates a vault or changes its properties. 409 while a soft-deleted vault holds the name.
    pub async fn vault_put(
        &self,
        permit: &Permit,
        context: &WriteContext,
        name: &VaultName,
        put: VaultPut,
    ) -> Result<VaultView> {
        demand(permit, Operation::VaultPut)?;
        let sight = self.look(Some(name)).await?;
        let model = match &sight.vault {
            Some(vault) => may_change_permission_model(permit.caller(), &vault.access, &sight.registry),
            None => Ok(()),
        };
        self.put_vault(context, name, put, model).await
    }

    /// One vault.
    pub async fn vault_get(&self, permit: &Permit, name: &VaultName) -> Result<VaultView> {
        demand(permit, Operation::VaultGet)?;
        self.live(name).await.map(|vault| VaultView::from(&*vault))
    }

    /// All live vaults that this region holds, its own and the replicas, in name order.
    pub async fn vault_list(&self, permit: &Permit) -> Result<Vec<VaultView>> {
        demand(permit, Operation::VaultList)?;
        let vaults = self.held_vaults(false).await?;
        Ok(vaults.iter().map(|vault| VaultView::from(&**vault)).collect())
    }

    /// All soft-deleted vaults that this region holds, in name order.
    pub async fn vault_list_deleted(&self, permit: &Permit) -> Result<Vec<VaultView>> {
        demand(permit, Operation::VaultListDeleted)?;
        let vaults = self.held_vaults(true).await?;
        Ok(vaults.iter().map(|vault| VaultView::from(&**vault)).collect())
    }

    /// Gives the vault a new data key; older ones go on opening what they sealed.
    pub async fn vault_data_key_rotate(
        &self,
        permit: &Permit,
        context: &WriteContext,
        vault: &VaultName,
    ) -> Result<VaultView> {
        demand(permit, Operation::VaultDataKeyRotate)?;
        self.rotate_data_key(context, vault).await
    }

    /// `model` refuses a change between roles and access policies.
    pub(crate) async fn put_vault(
        &self,
        context: &WriteContext,
        name: &VaultName,
        put: VaultPut,
        model: Result<()>,
    ) -> Result<VaultView> {
        if let Some(tags) = &put.tags {
            check_tags(tags)?;
        }
        for _ in 0..CREATIONS_MAX {
            let Some(vault) = self.node.find_vault(name).await? else {
                self.check_name(name).await?;
                match self.create_vault(context, name, &put).await? {
                    Some(view) => return Ok(view),
                    None => continue,
                }
            };
            let (put, model) = (put.clone(), model.clone());
            let change = move |state: &mut VaultState| apply(state, &put, &model);
            self.change_vault(&vault, context, Operation::VaultPut, change).await?;
            return self.live(name).await.map(|vault| VaultView::from(&*vault));
        }
        Err(Error::new(
            ErrorCode::Conflict,
            format!("The vault '{name}' is being created by another request. Try again."),
        ))
    }

    /// None: the name was taken in the meantime.
    async fn create_vault(
        &self,
        context: &WriteContext,
        name: &VaultName,
        put: &VaultPut,
    ) -> Result<Option<VaultView>> {
        let now = self.clock.now();
        let properties = new_properties(&self.settings, put, now);
        let operation = Operation::VaultPut.name();
        let maker = Maker { operation, caller: &context.caller, request: context.request };
        let group = self.node.group();
        let birth = Birth::new(self.node.keyring(), &group, name, properties.clone(), Vec::new(), &maker)?;
        let id = birth.witness.vault.clone();
        if context.deadline <= Instant::now() {
            return Err(not_sent());
        }
        // On its own, so that a lost answer is settled even when nobody waits any more.
        let node = Arc::clone(&self.node);
        let commit = self.queues.spawn(async move {
            settle(&node, &birth.group, birth.compares, birth.ops, &birth.witness).await
        });
        match tokio::time::timeout_at(context.deadline.into(), commit).await {
            Ok(Ok(Settled::Done)) => Ok(Some(VaultView { name: name.clone(), id, properties })),
            Ok(Ok(Settled::Conflict)) => Ok(None),
            Ok(Ok(Settled::NoLease(error))) => Err(lease_error(error, operation)),
            Ok(Ok(Settled::Refused(error))) => Err(refusal(&error, operation)),
            Ok(Ok(Settled::Unknown) | Err(_)) | Err(_) => Err(unknown_outcome()),
        }
    }

    pub(crate) async fn rotate_data_key(
        &self,
        context: &WriteContext,
        name: &VaultName,
    ) -> Result<VaultView> {
        let vault = self.known(name).await?;
        let barrier = self.barrier.clone();
        let rotate = move |state: &mut VaultState, now: UnixSeconds| {
            let VaultState { envelope, properties } = state;
            if properties.deleted.is_some() {
                return Err(vault_not_found(&envelope.name));
            }
            let number = envelope.data_keys.iter().map(|key| key.number).max().unwrap_or(0) + 1;
            let key = barrier.keyring().generate(&envelope.id, number, now);
            envelope.data_keys.push(key.map_err(|e| Error::internal(e.to_string()))?);
            Ok(())
        };
        self.change_vault_at(&vault, context, Operation::VaultDataKeyRotate, rotate).await?;
        self.live(name).await.map(|vault| VaultView::from(&*vault))
    }

    /// The live vault of that name, or 404.
    pub(crate) async fn live(&self, name: &VaultName) -> Result<Arc<Vault>> {
        let vault = self.known(name).await?;
        if vault.state.properties.deleted.is_some() { Err(vault_not_found(name)) } else { Ok(vault) }
    }

    /// The vault of that name, live or soft-deleted, or 404.
    pub(crate) async fn known(&self, name: &VaultName) -> Result<Arc<Vault>> {
        self.node.find_vault(name).await?.ok_or_else(|| vault_not_found(name))
    }

    /// All vaults of this region, live or soft-deleted ones, in name order. One that does not open is left out.
    pub(crate) async fn vaults(&self, deleted: bool) -> Result<Vec<Arc<Vault>>> {
        Ok(self.stored_vaults(&self.node.group(), deleted).await?.0)
    }

    /// The same with the replicas.
    pub(crate) async fn held_vaults(&self, deleted: bool) -> Result<Vec<Arc<Vault>>> {
        let mut vaults = Vec::new();
        for group in self.node.groups() {
            vaults.extend(self.stored_vaults(group, deleted).await?.0);
        }
        vaults.sort_by(|a, b| a.state.envelope.name.cmp(&b.state.envelope.name));
        Ok(vaults)
    }

    /// All vaults of a group, and how many do not open.
    pub(crate) async fn stored_vaults(
        &self,
        group: &GroupId,
        deleted: bool,
    ) -> Result<(Vec<Arc<Vault>>, usize)> {
        let prefix = if deleted { layout::deleted_vaults(group) } else { layout::vaults(group) };
        let mut range = KeyRange::prefix(prefix.clone()).limit(VAULTS_PAGE);
        let (mut vaults, mut damaged) = (Vec::new(), 0);
        loop {
            let page = self.node.read(&[range.clone()]).await?.pop().unwrap_or_default();
            let full = page.len() == VAULTS_PAGE;
            if let Some(last) = page.last() {
                range = range.after(&last.key);
            }
            for entry in page {
                match self.open_vault(group, &prefix, &entry, deleted) {
                    Ok(vault) => vaults.push(vault),
                    Err(error) => {
                        damaged += 1;
                        tracing::error!(%error, "a vault's record does not open; it is left out");
                    }
                }
            }
            if !full {
                return Ok((vaults, damaged));
            }
        }
    }

    fn open_vault(
        &self,
        group: &GroupId,
        prefix: &[u8],
        entry: &valv_engine::Entry,
        deleted: bool,
    ) -> Result<Arc<Vault>> {
        let name = entry.key.get(prefix.len()..).and_then(|name| std::str::from_utf8(name).ok());
        let name = VaultName::parse(name.unwrap_or_default())?;
        if deleted {
            Vault::open(self.node.keyring(), group, &name, &entry.value, true).map(Arc::new)
        } else {
            self.node.live_vault(group, &name, &entry.value)
        }
    }

    /// Changes a vault's record through its queue. The function sees live and soft-deleted vaults. Nothing is
    /// written when it changes nothing.
    pub(crate) async fn change_vault(
        &self,
        vault: &Vault,
        context: &WriteContext,
        operation: Operation,
        change: impl Fn(&mut VaultState) -> Result<()> + Send + Sync + 'static,
    ) -> Result<Committed> {
        self.change_vault_at(vault, context, operation, move |state, _| change(state)).await
    }

    /// The same with the time.
    pub(crate) async fn change_vault_at(
        &self,
        vault: &Vault,
        context: &WriteContext,
        operation: Operation,
        change: impl Fn(&mut VaultState, UnixSeconds) -> Result<()> + Send + Sync + 'static,
    ) -> Result<Committed> {
        let decide = Box::new(move |state: &crate::queue::State<'_>| {
            let mut changed = state.vault().clone();
            change(&mut changed, state.now())?;
            let same = changed == *state.vault();
            let writes = if same { Vec::new() } else { vec![Write::Vault(Box::new(changed))] };
            Ok(Decision { writes, version: None })
        });
        self.submit_to(vault, context, Change { operation, needs: Vec::new(), decide }, Scope::Any).await
    }
}

fn new_properties(settings: &crate::ServiceSettings, put: &VaultPut, now: UnixSeconds) -> VaultProperties {
    VaultProperties {
        tenant: settings.tenant.clone(),
        region: settings.region.clone(),
        retention: put.retention.unwrap_or(RetentionDays::DEFAULT),
        purge_protection: put.purge_protection.unwrap_or(false),
        rbac: put.rbac.unwrap_or(true),
        replica_age_max_s: put.replica_age_max_s.filter(|age| *age > 0),
        policies: Vec::new(),
        assignments: Vec::new(),
        tags: put.tags.clone().unwrap_or_default(),
        created: now,
        deleted: None,
        extra: serde_json::Map::new(),
    }
}

/// Azure's rules for changing a vault (azure docs: rest/api/keyvault/keyvault/vaults/create-or-update).
fn apply(state: &mut VaultState, put: &VaultPut, model: &Result<()>) -> Result<()> {
    let properties = &mut state.properties;
    if properties.deleted.is_some() {
        return Err(Error::new(
            ErrorCode::Conflict,
            "A vault with the same name already exists in deleted state. You need to either recover or purge existing key vault.",
        ));
    }
    if put.retention.is_some_and(|days| days != properties.retention) {
        return Err(Error::bad(
            "The property \"softDeleteRetentionInDays\" has been set already and it can't be modified.",
        ));
    }
    match put.purge_protection {
        Some(false) if properties.purge_protection => {
            return Err(Error::bad(
                "The property \"enablePurgeProtection\" cannot be set to false. Enabling the purge protection for a vault is an irreversible action.",
            ));
        }
        Some(protect) => properties.purge_protection = protect,
        None => {}
    }
    if let Some(rbac) = put.rbac.filter(|rbac| *rbac != properties.rbac) {
        model.clone()?;
        properties.rbac = rbac;
    }
    if let Some(age) = put.replica_age_max_s {
        properties.replica_age_max_s = Some(age).filter(|age| *age > 0);
    }
    if let Some(tags) = &put.tags {
        properties.tags.clone_from(tags);
    }
    Ok(())
}

/// Azure Resource Manager's bounds of a tag (azure docs: azure-resource-manager/management/tag-resources),
/// with Key Vault's number of tags.
fn check_tags(tags: &Tags) -> Result<()> {
    if tags.len() > MAX_TAGS {
        return Err(Error::bad(format!(
            "The vault has {} tags; at most {MAX_TAGS} are allowed.",
            tags.len()
        )));
    }
    for (name, value) in tags {
        if name.is_empty() || name.chars().count() > 512 || value.chars().count() > 256 {
            return Err(Error::bad(
                "A tag's name has 1 to 512 characters and its value at most 256; one of the vault's tags has not.",
            ));
        }
    }
    Ok(())
}
