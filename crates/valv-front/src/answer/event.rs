//! The audit log's line of what happened to a key without a request.

use serde::Serialize;
use uuid::Uuid;
use valv_vault::keys::KeyEvent;

use super::{iso, iso_ms};
use crate::FrontSettings;

/// Azure's AuditEvent as far as there is something to say: no caller, no client, no status of HTTP.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    time: String,
    category: &'static str,
    resource_id: String,
    operation_name: &'static str,
    result_type: &'static str,
    correlation_id: Uuid,
    properties: Properties<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Properties<'a> {
    id: String,
    /// When the version expires.
    exp: String,
    region: &'a str,
}

/// One line of JSON.
pub(crate) fn line(event: &KeyEvent, settings: &FrontSettings) -> String {
    let KeyEvent { kind, vault, name, version, exp, time_ms } = event;
    let port = if settings.port == 443 { String::new() } else { format!(":{}", settings.port) };
    let line = Line {
        time: iso_ms(*time_ms, true),
        category: "AuditEvent",
        resource_id: format!("/VAULTS/{}", vault.as_str().to_ascii_uppercase()),
        operation_name: kind.name(),
        result_type: "Success",
        correlation_id: Uuid::new_v4(),
        properties: Properties {
            id: format!("https://{vault}.{}{port}/keys/{name}/{version}", settings.domain),
            exp: iso(*exp),
            region: settings.region.as_str(),
        },
    };
    let mut line = serde_json::to_string(&line).unwrap_or_default();
    line.push('\n');
    line
}
