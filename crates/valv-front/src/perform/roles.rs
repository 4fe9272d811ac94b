//! Role assignments: administration (docs/admin-api.md).

use serde_json::{Value, json};
use uuid::Uuid;
use valv_access::{BUILT_IN_ROLES, RoleAssignment, Scope};
use valv_model::{Error, ObjectName, Operation, PrincipalId, Result, VaultName};

use super::body::Object;
use super::{Call, misplaced, shown};
use crate::answer::Reply;

pub(super) async fn perform(call: &Call<'_>) -> Result<Reply> {
    let (service, permit, context) = (call.service, call.permit, call.context);
    Ok(match permit.operation() {
        Operation::RoleAssignmentPut => {
            let put = put(id(call)?, call.body)?;
            let assignment = service.role_assignment_put(permit, context, put).await?;
            Reply::json(200, &wire(&assignment), 512).about(url(&assignment.id))
        }
        Operation::RoleAssignmentList => {
            let all = service.role_assignment_list(permit).await?;
            Reply::json(200, &json!({ "value": all.iter().map(wire).collect::<Vec<_>>() }), all.len() * 256)
        }
        Operation::RoleAssignmentDelete => {
            let id = id(call)?;
            service.role_assignment_delete(permit, context, &id).await?;
            Reply::empty(204).about(url(&id))
        }
        other => return Err(misplaced(other)),
    })
}

/// The body of `RoleAssignmentPut`.
pub(super) fn put(id: Uuid, body: &[u8]) -> Result<RoleAssignment> {
    let object = Object::parse(body)?;
    let role: String = object.require("roleDefinition", "a role's name or id")?;
    let principal: String = object.require("principalId", "an object id")?;
    let scope: String = object.require("scope", "/, /vaults/x or /vaults/x/secrets/y")?;
    let known = BUILT_IN_ROLES
        .iter()
        .find(|r| r.name.eq_ignore_ascii_case(&role) || Uuid::parse_str(&role).is_ok_and(|id| id == r.id));
    let role = known.ok_or_else(|| {
        let names: Vec<_> = BUILT_IN_ROLES.iter().map(|r| r.name).collect();
        Error::bad(format!("There is no role '{}'. Roles: {}.", shown(&role), names.join(", ")))
    })?;
    Ok(RoleAssignment {
        id,
        role: role.id,
        principal: PrincipalId::parse(&principal)?,
        scope: parse_scope(&scope)?,
    })
}

fn parse_scope(text: &str) -> Result<Scope> {
    let parts: Vec<&str> = text.split('/').filter(|p| !p.is_empty()).collect();
    let is_collection =
        |c: &str| ["secrets", "keys", "certificates"].contains(&c.to_ascii_lowercase().as_str());
    match parts[..] {
        [] if text == "/" => Ok(Scope::Deployment),
        [vaults, vault] if vaults.eq_ignore_ascii_case("vaults") => {
            Ok(Scope::Vault { vault: VaultName::parse(vault)? })
        }
        [vaults, vault, collection, name]
            if vaults.eq_ignore_ascii_case("vaults") && is_collection(collection) =>
        {
            Ok(Scope::Object {
                vault: VaultName::parse(vault)?,
                collection: collection.to_ascii_lowercase(),
                name: ObjectName::parse(name)?,
            })
        }
        _ => Err(Error::bad(format!(
            "The scope '{}' is invalid. A scope is /, /vaults/x or /vaults/x/secrets/y.",
            shown(text)
        ))),
    }
}

fn scope_text(scope: &Scope) -> String {
    match scope {
        Scope::Deployment => "/".to_owned(),
        Scope::Vault { vault } => format!("/vaults/{vault}"),
        Scope::Object { vault, collection, name } => format!("/vaults/{vault}/{collection}/{name}"),
    }
}

fn wire(assignment: &RoleAssignment) -> Value {
    let role = BUILT_IN_ROLES.iter().find(|r| r.id == assignment.role);
    json!({
        "id": url(&assignment.id),
        "name": assignment.id,
        "roleDefinitionId": assignment.role,
        "roleDefinitionName": role.map(|r| r.name),
        "principalId": assignment.principal,
        "scope": scope_text(&assignment.scope),
    })
}

fn url(id: &Uuid) -> String {
    format!("/admin/roleassignments/{id}")
}

fn id(call: &Call<'_>) -> Result<Uuid> {
    let text = call.params.get("assignment");
    // Only the form with hyphens: what is shown must be what was asked for.
    Uuid::parse_str(text).ok().filter(|id| id.to_string().eq_ignore_ascii_case(text)).ok_or_else(|| {
        Error::bad(format!("The name of a role assignment is a UUID; '{}' is none.", shown(text)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_read_back() {
        for text in ["/", "/vaults/dev", "/vaults/dev/secrets/Db-Password"] {
            assert_eq!(scope_text(&parse_scope(text).unwrap()), text);
        }
        assert_eq!(scope_text(&parse_scope("/Vaults/DEV/Secrets/a/").unwrap()), "/vaults/dev/secrets/a");
        for text in [
            "",
            "vault",
            "/vaults",
            "/vaults/x",
            "/vaults/dev/blobs/a",
            "/vaults/dev/secrets",
            "/vaults/dev/secrets/a/b",
        ] {
            assert!(parse_scope(text).is_err(), "{text}");
        }
    }
}
