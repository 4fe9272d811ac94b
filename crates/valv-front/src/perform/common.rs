//! What the objects of a vault share on the wire: attributes, ids, lists, backups.

use serde::Serialize;
use valv_model::{Attributes, RecoveryLevel, Result, UnixSeconds, VersionId};
use valv_vault::Page;
use valv_vault::secrets::AttributesPatch;
use zeroize::Zeroizing;

use super::Call;
use super::body::Object;
use crate::answer::Reply;

/// Which of its two ids an object shows: lists of objects show the one without a version.
#[derive(Clone, Copy)]
pub(super) enum Id {
    Base,
    Full,
}

/// Where an object lies.
pub(super) fn url(call: &Call<'_>, collection: &str, name: &str) -> String {
    format!("https://{}/{collection}/{name}", call.authority.as_str())
}

/// Where a version of an object lies.
pub(super) fn full(call: &Call<'_>, collection: &str, name: &str, version: &VersionId) -> String {
    format!("https://{}/{collection}/{name}/{version}", call.authority.as_str())
}

/// The version in the path. None means the current version: clients then send an empty segment.
pub(super) fn version(call: &Call<'_>) -> Result<Option<VersionId>> {
    match call.params.get("version") {
        "" => Ok(None),
        text => VersionId::parse(text).map(Some),
    }
}

/// Reads `enabled`, `nbf`, `exp` of an object `attributes`.
pub(super) fn attributes(attributes: &Object<'_>) -> Result<AttributesPatch> {
    Ok(AttributesPatch {
        enabled: attributes.take("enabled", "true or false")?,
        nbf: attributes.date("nbf")?,
        exp: attributes.date("exp")?,
    })
}

/// `attributes` as Azure writes them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireAttributes {
    enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    nbf: Option<UnixSeconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<UnixSeconds>,
    created: UnixSeconds,
    updated: UnixSeconds,
    recovery_level: &'static str,
    recoverable_days: u8,
    /// Keys only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) exportable: Option<bool>,
    /// Keys of the `-HSM` types only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hsm_platform: Option<&'static str>,
}

impl WireAttributes {
    pub(super) fn new(of: &Attributes, level: RecoveryLevel) -> Self {
        Self {
            enabled: of.enabled,
            nbf: of.nbf,
            exp: of.exp,
            created: of.created,
            updated: of.updated,
            recovery_level: level.as_str(),
            recoverable_days: level.retention.days(),
            exportable: None,
            hsm_platform: None,
        }
    }
}

/// What a deleted object shows on top.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireDeletion {
    pub(super) recovery_id: String,
    pub(super) deleted_date: UnixSeconds,
    pub(super) scheduled_purge_date: UnixSeconds,
}

/// The body of a restore.
pub(super) fn blob(body: &[u8]) -> Result<Zeroizing<String>> {
    Object::parse(body)?.require("value", "the text that a backup answered")
}

/// The answer of a backup.
pub(super) fn backup(blob: &str, about: String) -> Reply {
    #[derive(Serialize)]
    struct Blob<'a> {
        value: &'a str,
    }
    Reply::json(200, &Blob { value: blob }, blob.len()).about(about)
}

/// The answer of a list; `path` is the list's own, below the vault.
pub(super) fn list<'p, T, W: Serialize>(
    call: &Call<'_>,
    path: &str,
    page: &'p Page<T>,
    wire: impl Fn(&'p T) -> W,
) -> Reply {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct List<W> {
        value: Vec<W>,
        next_link: Option<String>,
    }
    let base = format!("https://{}/{path}", call.authority.as_str());
    let next_link =
        page.next.as_ref().map(|marker| call.query.next_link(&base, marker, &call.settings.region));
    let value: Vec<_> = page.items.iter().map(wire).collect();
    let about = value.len() * 512;
    Reply::json(200, &List { value, next_link }, about).about(base)
}
