//! Secrets (azure docs: rest/api/keyvault/secrets).

use serde::Serialize;
use valv_model::{Operation, Result, Tags, VersionId};
use valv_vault::secrets::{
    AttributesPatch, DeletedSecret, SecretBundle, SecretItem, SecretSet, SecretUpdate,
};
use zeroize::Zeroizing;

use super::body::Object;
use super::common::{self, Id, WireAttributes, WireDeletion, full, list, url, version};
use super::{Call, misplaced};
use crate::answer::Reply;

pub(super) async fn perform(call: &Call<'_>) -> Result<Reply> {
    let (service, permit, context, vault) = (call.service, call.permit, call.context, call.vault()?);
    Ok(match permit.operation() {
        Operation::SecretSet => {
            let set = set(call.body)?;
            bundle(call, &service.secret_set(permit, context, vault, call.name()?, set).await?)
        }
        Operation::SecretGet => {
            let version = version(call)?;
            bundle(call, &service.secret_get(permit, vault, call.name()?, version.as_ref()).await?)
        }
        Operation::SecretUpdate => {
            let (version, update) = (version(call)?, update(call.body)?);
            let (name, version) = (call.name()?, version.as_ref());
            live(call, &service.secret_update(permit, context, vault, name, version, update).await?)
        }
        Operation::SecretList => {
            let page = service.secret_list(permit, vault, &call.query.page()?).await?;
            list(call, "secrets", &page, |item| Wire::item(call, item, Id::Base))
        }
        Operation::SecretListVersions => {
            let name = call.name()?;
            let page = service.secret_list_versions(permit, vault, name, &call.query.page()?).await?;
            list(call, &format!("secrets/{name}/versions"), &page, |item| Wire::item(call, item, Id::Full))
        }
        Operation::SecretListDeleted => {
            let page = service.secret_list_deleted(permit, vault, &call.query.page()?).await?;
            list(call, "deletedsecrets", &page, |secret| Wire::deleted(call, secret, Id::Base))
        }
        Operation::SecretGetDeleted => {
            deleted(call, &service.secret_get_deleted(permit, vault, call.name()?).await?)
        }
        Operation::SecretDelete => {
            deleted(call, &service.secret_delete(permit, context, vault, call.name()?).await?)
        }
        Operation::SecretRecover => {
            live(call, &service.secret_recover(permit, context, vault, call.name()?).await?)
        }
        Operation::SecretPurge => {
            service.secret_purge(permit, context, vault, call.name()?).await?;
            Reply::empty(204).about(url(call, "deletedsecrets", call.name()?.as_str()))
        }
        Operation::SecretBackup => {
            let blob = Zeroizing::new(service.secret_backup(permit, vault, call.name()?).await?);
            common::backup(&blob, url(call, "secrets", call.name()?.as_str()))
        }
        Operation::SecretRestore => {
            let blob = common::blob(call.body)?;
            live(call, &service.secret_restore(permit, context, vault, &blob).await?)
        }
        other => return Err(misplaced(other)),
    })
}

/// The body of `SecretSet`.
pub(super) fn set(body: &[u8]) -> Result<SecretSet> {
    let object = Object::parse(body)?;
    Ok(SecretSet {
        value: object.require("value", "a string")?,
        content_type: object.take("contentType", "a string")?,
        tags: object.tags()?.unwrap_or_default(),
        attributes: patch(&object)?,
    })
}

/// The body of `SecretUpdate`.
pub(super) fn update(body: &[u8]) -> Result<SecretUpdate> {
    let object = Object::parse_optional(body)?;
    Ok(SecretUpdate {
        content_type: object.take("contentType", "a string")?,
        tags: object.tags()?,
        attributes: patch(&object)?,
    })
}

fn patch(object: &Object<'_>) -> Result<AttributesPatch> {
    object
        .object("attributes")?
        .map_or(Ok(AttributesPatch::default()), |attributes| common::attributes(&attributes))
}

/// A secret as Azure writes it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(flatten)]
    deletion: Option<WireDeletion>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'a str>,
    id: String,
    attributes: WireAttributes,
    tags: &'a Tags,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_version: Option<&'a str>,
}

impl<'a> Wire<'a> {
    fn item(call: &Call<'_>, item: &'a SecretItem, id: Id) -> Self {
        let previous = item.previous_version.as_ref().filter(|_| call.query.version.has_previous_version());
        Self {
            content_type: item.content_type.as_deref(),
            id: match id {
                Id::Base => url(call, "secrets", item.name.as_str()),
                Id::Full => address(call, item),
            },
            attributes: WireAttributes::new(&item.attributes, item.recovery_level),
            tags: &item.tags,
            previous_version: previous.map(VersionId::as_str),
            value: None,
            deletion: None,
        }
    }

    fn deleted(call: &Call<'_>, secret: &'a DeletedSecret, id: Id) -> Self {
        let deletion = WireDeletion {
            recovery_id: url(call, "deletedsecrets", secret.item.name.as_str()),
            deleted_date: secret.deleted,
            scheduled_purge_date: secret.scheduled_purge,
        };
        Self { deletion: Some(deletion), ..Self::item(call, &secret.item, id) }
    }
}

fn address(call: &Call<'_>, item: &SecretItem) -> String {
    full(call, "secrets", item.name.as_str(), &item.version)
}

fn bundle(call: &Call<'_>, bundle: &SecretBundle) -> Reply {
    let wire = Wire { value: Some(&bundle.value), ..Wire::item(call, &bundle.item, Id::Full) };
    // A value of control characters only grows sixfold in JSON; that is rare enough to let the buffer grow.
    Reply::json(200, &wire, bundle.value.len() + bundle.value.len() / 8 + 512)
        .about(address(call, &bundle.item))
}

fn live(call: &Call<'_>, item: &SecretItem) -> Reply {
    Reply::json(200, &Wire::item(call, item, Id::Full), 512).about(address(call, item))
}

fn deleted(call: &Call<'_>, secret: &DeletedSecret) -> Reply {
    Reply::json(200, &Wire::deleted(call, secret, Id::Full), 512).about(url(
        call,
        "deletedsecrets",
        secret.item.name.as_str(),
    ))
}
