//! Secrets (azure docs: rest/api/keyvault/secrets).

use serde::Serialize;
use valv_model::{Operation, Result, Tags, UnixSeconds, VersionId};
use valv_vault::Page;
use valv_vault::secrets::{
    AttributesPatch, DeletedSecret, SecretBundle, SecretItem, SecretSet, SecretUpdate,
};
use zeroize::Zeroizing;

use super::body::Object;
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
            let reply = Reply::json(200, &Blob { value: &blob }, blob.len());
            reply.about(url(call, "secrets", call.name()?.as_str()))
        }
        Operation::SecretRestore => {
            let blob = blob(call.body)?;
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
        attributes: attributes(&object)?,
    })
}

/// The body of `SecretUpdate`.
pub(super) fn update(body: &[u8]) -> Result<SecretUpdate> {
    let object = Object::parse_optional(body)?;
    Ok(SecretUpdate {
        content_type: object.take("contentType", "a string")?,
        tags: object.tags()?,
        attributes: attributes(&object)?,
    })
}

/// The body of `SecretRestore`.
pub(super) fn blob(body: &[u8]) -> Result<Zeroizing<String>> {
    Object::parse(body)?.require("value", "the text that a backup answered")
}

fn attributes(object: &Object<'_>) -> Result<AttributesPatch> {
    let Some(attributes) = object.object("attributes")? else { return Ok(AttributesPatch::default()) };
    Ok(AttributesPatch {
        enabled: attributes.take("enabled", "true or false")?,
        nbf: attributes.date("nbf")?,
        exp: attributes.date("exp")?,
    })
}

/// None means the current version: clients then send an empty segment.
fn version(call: &Call<'_>) -> Result<Option<VersionId>> {
    match call.params.get("version") {
        "" => Ok(None),
        text => VersionId::parse(text).map(Some),
    }
}

#[derive(Clone, Copy)]
enum Id {
    Base,
    Full,
}

/// A secret as Azure writes it.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted_date: Option<UnixSeconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scheduled_purge_date: Option<UnixSeconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'a str>,
    id: String,
    attributes: WireAttributes,
    tags: Option<&'a Tags>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_version: Option<&'a str>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct WireAttributes {
    enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    nbf: Option<UnixSeconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<UnixSeconds>,
    created: UnixSeconds,
    updated: UnixSeconds,
    recovery_level: &'static str,
    recoverable_days: u8,
}

#[derive(Serialize)]
struct Blob<'a> {
    value: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    value: Vec<Wire<'a>>,
    next_link: Option<String>,
}

impl<'a> Wire<'a> {
    fn item(call: &Call<'_>, item: &'a SecretItem, id: Id) -> Self {
        let previous = item.previous_version.as_ref().filter(|_| call.query.version.has_previous_version());
        let of = &item.attributes;
        Self {
            content_type: item.content_type.as_deref(),
            id: match id {
                Id::Base => url(call, "secrets", item.name.as_str()),
                Id::Full => full(call, item),
            },
            attributes: WireAttributes {
                enabled: of.enabled,
                nbf: of.nbf,
                exp: of.exp,
                created: of.created,
                updated: of.updated,
                recovery_level: item.recovery_level.as_str(),
                recoverable_days: item.recovery_level.retention.days(),
            },
            tags: Some(&item.tags),
            previous_version: previous.map(VersionId::as_str),
            ..Self::default()
        }
    }

    fn deleted(call: &Call<'_>, secret: &'a DeletedSecret, id: Id) -> Self {
        Self {
            recovery_id: Some(url(call, "deletedsecrets", secret.item.name.as_str())),
            deleted_date: Some(secret.deleted),
            scheduled_purge_date: Some(secret.scheduled_purge),
            ..Self::item(call, &secret.item, id)
        }
    }
}

fn url(call: &Call<'_>, collection: &str, name: &str) -> String {
    format!("https://{}/{collection}/{name}", call.authority.as_str())
}

fn full(call: &Call<'_>, item: &SecretItem) -> String {
    format!("https://{}/secrets/{}/{}", call.authority.as_str(), item.name, item.version)
}

fn bundle(call: &Call<'_>, bundle: &SecretBundle) -> Reply {
    let wire = Wire { value: Some(&bundle.value), ..Wire::item(call, &bundle.item, Id::Full) };
    // A value of control characters only grows sixfold in JSON; that is rare enough to let the buffer grow.
    Reply::json(200, &wire, bundle.value.len() + bundle.value.len() / 8 + 512).about(full(call, &bundle.item))
}

fn live(call: &Call<'_>, item: &SecretItem) -> Reply {
    Reply::json(200, &Wire::item(call, item, Id::Full), 512).about(full(call, item))
}

fn deleted(call: &Call<'_>, secret: &DeletedSecret) -> Reply {
    Reply::json(200, &Wire::deleted(call, secret, Id::Full), 512).about(url(
        call,
        "deletedsecrets",
        secret.item.name.as_str(),
    ))
}

fn list<'p, T>(call: &Call<'_>, path: &str, page: &'p Page<T>, wire: impl Fn(&'p T) -> Wire<'p>) -> Reply {
    let base = format!("https://{}/{path}", call.authority.as_str());
    let next_link =
        page.next.as_ref().map(|marker| call.query.next_link(&base, marker, &call.settings.region));
    let value: Vec<_> = page.items.iter().map(wire).collect();
    let about = value.len() * 512;
    Reply::json(200, &List { value, next_link }, about).about(base)
}
