//! [`Caller`] and operation to [`Permit`]. Pure: no I/O, no clock.

use valv_model::{
    Admission, Error, ErrorCode, InnerCode, ObjectName, ObjectType, Operation, Result, VaultId,
};

use crate::role::{KEY_VAULT_DATA_ACCESS_ADMINISTRATOR, collection_of};
use crate::{Caller, Registry, Role, RoleAssignment, VaultAccess};

/// What an operation is about.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The vault, for operations on a vault or inside one.
    pub vault: Option<&'a VaultAccess>,
    /// The object, for operations on one.
    pub object: Option<(ObjectType, &'a ObjectName)>,
}

/// Proof that a caller may perform one operation on one target. Only [`authorize`] makes one.
#[derive(Clone, Debug)]
pub struct Permit {
    caller: Caller,
    operation: Operation,
    vault: Option<VaultId>,
    object: Option<ObjectName>,
    public_half_only: bool,
}

impl Permit {
    /// Who.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }
    /// What.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.operation
    }
    /// In which vault.
    #[must_use]
    pub fn vault(&self) -> Option<&VaultId> {
        self.vault.as_ref()
    }
    /// On which object.
    #[must_use]
    pub fn object(&self) -> Option<&ObjectName> {
        self.object.as_ref()
    }
    /// True: the permit is for what anybody could compute who can read the public key: encrypt, wrap and verify
    /// with asymmetric keys. Whoever performs it refuses symmetric keys with [`symmetric_key_forbidden`].
    #[must_use]
    pub fn public_half_only(&self) -> bool {
        self.public_half_only
    }
}

/// Decides. Deny by default: a caller without a matching rule gets 403 `Forbidden` with Azure's inner code
/// and text (`AccessDenied` for access policies, `ForbiddenByRbac` for role assignments).
pub fn authorize(
    caller: Caller,
    operation: Operation,
    target: Target<'_>,
    registry: &Registry,
) -> Result<Permit> {
    let spec = operation.spec();
    let mut public_half_only = false;
    match (spec.admission, target.vault) {
        (Admission::Anyone, _) => {}
        (_, Some(vault)) if &vault.tenant != caller.tenant() => return Err(foreign_tenant(&caller, vault)),
        (Admission::Vault { action, .. }, Some(vault)) if vault.rbac => {
            let may = |action| holds(&caller, target, registry, |role| role.allows_data_action(action));
            if !may(action) {
                // Azure docs, key-vault/general/rbac-guide: principals with keys/read can encrypt, wrap and verify
                // with asymmetric keys.
                public_half_only = needs_public_half(operation) && may(READ_KEYS);
                if !public_half_only {
                    return Err(forbidden_by_rbac(&caller, action, target));
                }
            }
        }
        (Admission::Vault { policy, .. }, Some(vault)) => {
            let allowed = vault.policies.iter().any(|p| p.concerns(&caller) && p.allows(spec.object, policy));
            if !allowed {
                return Err(access_denied(&caller, spec.object, policy, vault));
            }
        }
        (Admission::Vault { action, .. }, None) => return Err(forbidden_by_rbac(&caller, action, target)),
        (Admission::Control { action }, _) => {
            let at_vault = Target { object: None, ..target };
            if !holds(&caller, at_vault, registry, |role| role.allows_action(action)) {
                return Err(forbidden_by_rbac(&caller, action, at_vault));
            }
        }
    }
    Ok(Permit {
        vault: target.vault.map(|vault| vault.id.clone()),
        object: target.object.map(|(_, name)| name.clone()),
        caller,
        operation,
        public_half_only,
    })
}

const READ_KEYS: &str = "Microsoft.KeyVault/vaults/keys/read";

fn needs_public_half(operation: Operation) -> bool {
    matches!(operation, Operation::KeyEncrypt | Operation::KeyWrap | Operation::KeyVerify)
}

/// The refusal of a symmetric key to a permit with [`Permit::public_half_only`]: the same as if the caller could
/// not have read the key. `vault` is the permit's.
#[must_use]
pub fn symmetric_key_forbidden(permit: &Permit, vault: &VaultAccess) -> Error {
    let action = match permit.operation.spec().admission {
        Admission::Vault { action, .. } | Admission::Control { action } => action,
        Admission::Anyone => "",
    };
    let object = permit.object.as_ref().map(|name| (permit.operation.spec().object, name));
    forbidden_by_rbac(&permit.caller, action, Target { vault: Some(vault), object })
}

/// May the caller assign `role` at `target`, or take such an assignment away? [`authorize`] has already said
/// that it may write assignments there; this adds the condition that Azure attaches to the role Key Vault Data
/// Access Administrator: it hands out data roles only. 403 `ForbiddenByRbac` otherwise.
pub fn may_assign(caller: &Caller, role: &Role, target: Target<'_>, registry: &Registry) -> Result<()> {
    let allowed = holds(caller, target, registry, |held| {
        held.allows_action(WRITE)
            && (held.id != KEY_VAULT_DATA_ACCESS_ADMINISTRATOR || !role.data_actions.is_empty())
    });
    if allowed { Ok(()) } else { Err(forbidden_by_rbac(caller, WRITE, target)) }
}

/// May the caller change between roles and access policies in this vault? That gives or takes access to everything
/// in it, so, as in Azure, it takes the right to assign any role there (azure docs: key-vault/general/rbac-migration);
/// Key Vault Contributor alone could otherwise let itself in. 403 `ForbiddenByRbac` otherwise.
pub fn may_change_permission_model(caller: &Caller, vault: &VaultAccess, registry: &Registry) -> Result<()> {
    let target = Target { vault: Some(vault), object: None };
    let allowed = holds(caller, target, registry, |held| {
        held.allows_action(WRITE) && held.id != KEY_VAULT_DATA_ACCESS_ADMINISTRATOR
    });
    if allowed { Ok(()) } else { Err(forbidden_by_rbac(caller, WRITE, target)) }
}

const WRITE: &str = "Microsoft.Authorization/roleAssignments/write";

/// Does the caller, or one of its groups, hold a role that `allows` at a scope that covers the target?
fn holds(caller: &Caller, target: Target<'_>, registry: &Registry, allows: impl Fn(&Role) -> bool) -> bool {
    let name = target.vault.map(|vault| &vault.name);
    let of_vault = target.vault.map_or(&[][..], |vault| &vault.assignments);
    let matches = |assignment: &RoleAssignment| {
        assignment.scope.covers(name, target.object)
            && caller.is(&assignment.principal)
            && Role::find(assignment.role).is_some_and(&allows)
    };
    registry.assignments.iter().any(matches)
        // What is stored with a vault never reaches beyond it, whatever its scope says.
        || of_vault.iter().any(|a| a.scope != crate::Scope::Deployment && matches(a))
}

fn forbidden(inner: InnerCode, message: String) -> Error {
    Error::new(ErrorCode::Forbidden, message).inner(inner)
}

fn access_denied(caller: &Caller, object: ObjectType, word: &str, vault: &VaultAccess) -> Error {
    forbidden(
        InnerCode::AccessDenied,
        format!(
            "The user, group or application 'appid={};oid={};numgroups={};iss={}' does not have {} {word} permission on key vault '{};location={}'. For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125287",
            caller.client_text(),
            caller.principal(),
            caller.groups().len(),
            caller.issuer(),
            collection_of(object).unwrap_or(object.as_str()),
            vault.name,
            vault.region,
        ),
    )
}

fn forbidden_by_rbac(caller: &Caller, action: &str, target: Target<'_>) -> Error {
    let mut resource = String::from("/providers/microsoft.keyvault");
    let mut vault_line = String::new();
    if let Some(vault) = target.vault {
        resource.push_str("/vaults/");
        resource.push_str(vault.name.as_str());
        vault_line = format!("\r\nVault: {};location={}", vault.name, vault.region);
        if let Some((kind, name)) = target.object {
            resource.push_str(&format!("/{}/{name}", collection_of(kind).unwrap_or(kind.as_str())));
        }
    }
    forbidden(
        InnerCode::ForbiddenByRbac,
        format!(
            "Caller is not authorized to perform action on resource.\r\nIf role assignments, deny assignments or role definitions were changed recently, please observe propagation time.\r\nCaller: appid={};oid={};iss={}\r\nAction: '{action}'\r\nResource: '{resource}'\r\nAssignment: (not found)\r\nDenyAssignmentId: null\r\nDecisionReason: null{vault_line}",
            caller.client_text(),
            caller.principal(),
            caller.issuer(),
        ),
    )
}

fn foreign_tenant(caller: &Caller, vault: &VaultAccess) -> Error {
    Error::new(
        ErrorCode::Forbidden,
        format!(
            "The token was issued for tenant {}, and key vault '{}' does not take tokens of that tenant.",
            caller.tenant(),
            vault.name
        ),
    )
}

#[cfg(test)]
mod tests;
