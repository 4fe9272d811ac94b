//! Vaults: administration, in the shape of Azure's resource manager (docs/admin-api.md).

use serde_json::{Value, json};
use valv_access::AccessPolicy;
use valv_model::{ClientId, Operation, PrincipalId, Result, RetentionDays, UnixSeconds, VaultName};
use valv_vault::vaults::{VaultDeletion, VaultPut, VaultView};

use super::body::Object;
use super::{Call, misplaced};
use crate::FrontSettings;
use crate::answer::{Reply, iso};

pub(super) async fn perform(call: &Call<'_>) -> Result<Reply> {
    let (service, permit, context) = (call.service, call.permit, call.context);
    let name = || VaultName::parse(call.params.get("vault"));
    let one = |view: &VaultView| {
        Reply::json(200, &wire(call.settings, view), 1024).about(format!("/vaults/{}", view.name))
    };
    Ok(match permit.operation() {
        Operation::VaultPut => {
            let (name, put) = (name()?, put(call.body)?);
            if let (Some(far), Some(wanted)) = (call.far, location(call.body)?) {
                far.check_location(&name, &wanted, &call.settings.region)?;
            }
            one(&service.vault_put(permit, context, &name, put).await?)
        }
        Operation::VaultGet => one(&service.vault_get(permit, &name()?).await?),
        Operation::VaultList => list(call.settings, &service.vault_list(permit).await?),
        Operation::VaultDelete => one(&service.vault_delete(permit, context, &name()?).await?),
        Operation::VaultListDeleted => list(call.settings, &service.vault_list_deleted(permit).await?),
        Operation::VaultRecover => one(&service.vault_recover(permit, context, &name()?).await?),
        Operation::VaultPurge => {
            let name = name()?;
            service.vault_purge(permit, context, &name).await?;
            Reply::empty(204).about(format!("/vaults/{name}"))
        }
        Operation::VaultAccessPolicySet => {
            let (name, policy) = (name()?, policy(call.params.get("principal"), call.body)?);
            one(&service.vault_access_policy_set(permit, context, &name, policy).await?)
        }
        Operation::VaultAccessPolicyDelete => {
            let (name, principal) = (name()?, PrincipalId::parse(call.params.get("principal"))?);
            service.vault_access_policy_delete(permit, context, &name, &principal).await?;
            Reply::empty(204).about(format!("/vaults/{name}"))
        }
        Operation::VaultDataKeyRotate => {
            one(&service.vault_data_key_rotate(permit, context, &name()?).await?)
        }
        other => return Err(misplaced(other)),
    })
}

/// The body of `VaultPut`; it may be missing.
pub(super) fn put(body: &[u8]) -> Result<VaultPut> {
    let object = Object::parse_optional(body)?;
    let mut put = VaultPut { tags: object.tags()?, ..VaultPut::default() };
    if let Some(properties) = object.object("properties")? {
        let days = "a number of days from 7 to 90";
        let retention: Option<u8> = properties.take("softDeleteRetentionInDays", days)?;
        put.retention = retention.map(RetentionDays::new).transpose()?;
        put.purge_protection = properties.take("enablePurgeProtection", "true or false")?;
        put.rbac = properties.take("enableRbacAuthorization", "true or false")?;
        put.replica_age_max_s = properties.take("maximumReplicaAge", "a number of seconds; 0: no limit")?;
    }
    Ok(put)
}

fn location(body: &[u8]) -> Result<Option<String>> {
    Object::parse_optional(body)?.take("location", "the name of a region")
}

fn policy(principal: &str, body: &[u8]) -> Result<AccessPolicy> {
    let object = Object::parse(body)?;
    let application: Option<String> = object.take("applicationId", "an application's client id")?;
    let permissions = object
        .object("permissions")?
        .ok_or_else(|| object.wrong("permissions", "an object such as {'secrets': ['get', 'list']}"))?;
    let words = |kind| -> Result<Vec<String>> {
        Ok(permissions.take(kind, "a list of words such as get, list")?.unwrap_or_default())
    };
    let policy = AccessPolicy {
        object_id: PrincipalId::parse(principal)?,
        application_id: application.as_deref().map(ClientId::parse).transpose()?,
        secrets: words("secrets")?,
        keys: words("keys")?,
        certificates: words("certificates")?,
    };
    policy.check()?;
    Ok(policy)
}

fn list(settings: &FrontSettings, views: &[VaultView]) -> Reply {
    let value: Vec<_> = views.iter().map(|view| wire(settings, view)).collect();
    Reply::json(200, &json!({ "value": value }), views.len() * 1024)
}

/// A vault, live or deleted, as the resource manager shows it.
fn wire(settings: &FrontSettings, view: &VaultView) -> Value {
    match &view.properties.deleted {
        None => live(settings, view),
        Some(deletion) => deleted(view, deletion),
    }
}

fn live(settings: &FrontSettings, view: &VaultView) -> Value {
    let of = &view.properties;
    let policies: Vec<_> = of.policies.iter().map(|p| wire_policy(view, p)).collect();
    let mut properties = json!({
        "tenantId": of.tenant,
        "vaultUri": vault_uri(settings, &view.name),
        "sku": { "family": "A", "name": "standard" },
        "accessPolicies": policies,
        "enableSoftDelete": true,
        "softDeleteRetentionInDays": of.retention,
        "enableRbacAuthorization": of.rbac,
        "provisioningState": "Succeeded",
        "createdDate": iso(of.created),
    });
    if of.purge_protection {
        // Azure leaves it out where it is off.
        properties["enablePurgeProtection"] = true.into();
    }
    if let Some(seconds) = of.replica_age_max_s {
        properties["maximumReplicaAge"] = seconds.into();
    }
    json!({
        "id": format!("/vaults/{}", view.name),
        "name": view.name,
        "type": "Microsoft.KeyVault/vaults",
        "location": of.region,
        "tags": of.tags,
        "properties": properties,
    })
}

fn deleted(view: &VaultView, deletion: &VaultDeletion) -> Value {
    let of = &view.properties;
    let day = |at: UnixSeconds| iso(at);
    json!({
        "id": format!("/deletedvaults/{}", view.name),
        "name": view.name,
        "type": "Microsoft.KeyVault/deletedVaults",
        "properties": {
            "vaultId": format!("/vaults/{}", view.name),
            "location": of.region,
            "tags": of.tags,
            "deletionDate": day(deletion.deleted),
            "scheduledPurgeDate": day(deletion.scheduled_purge),
            "purgeProtectionEnabled": of.purge_protection,
        },
    })
}

fn wire_policy(view: &VaultView, policy: &AccessPolicy) -> Value {
    let mut wire = json!({
        "tenantId": view.properties.tenant,
        "objectId": policy.object_id,
        "permissions": {
            "secrets": policy.secrets, "keys": policy.keys, "certificates": policy.certificates,
        },
    });
    if let Some(application) = &policy.application_id {
        wire["applicationId"] = json!(application);
    }
    wire
}

/// Ends in a slash, as Azure's does.
fn vault_uri(settings: &FrontSettings, vault: &VaultName) -> String {
    match settings.port {
        443 => format!("https://{vault}.{}/", settings.domain),
        port => format!("https://{vault}.{}:{port}/", settings.domain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vaults_body_is_read_and_may_be_missing() {
        assert_eq!(put(b"").unwrap().retention, None);
        let body = br#"{"tags":{"a":"b"},"properties":{"softDeleteRetentionInDays":7,"enablePurgeProtection":true,"enableRbacAuthorization":false}}"#;
        let read = put(body).unwrap();
        assert_eq!(read.retention.unwrap().days(), 7);
        assert_eq!((read.purge_protection, read.rbac), (Some(true), Some(false)));
        assert_eq!(read.tags.unwrap()["a"], "b");
        for bad in [
            r#"{"properties":{"softDeleteRetentionInDays":91}}"#,
            r#"{"properties":{"softDeleteRetentionInDays":"7"}}"#,
        ] {
            assert!(put(bad.as_bytes()).unwrap_err().message.contains("softDeleteRetentionInDays"));
        }
    }

    #[test]
    fn a_policy_names_its_words() {
        let principal = "00482a5a-887f-4fb3-b363-3b7fe8e74483";
        let read = policy(principal, br#"{"permissions":{"secrets":["get","List"]}}"#).unwrap();
        assert_eq!(read.secrets, ["get", "List"]);
        assert!(policy(principal, b"{}").unwrap_err().message.contains("'permissions'"));
        assert!(policy("x", br#"{"permissions":{}}"#).is_err());
    }
}
