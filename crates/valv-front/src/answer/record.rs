//! What is known of a request while it is worked on; in the end its line of the audit log.

use std::time::Instant;

use http::request::Parts;
use serde_json::{Value, json};
use uuid::Uuid;
use valv_access::Caller;
use valv_model::{ClientId, ObjectType, Operation};

use super::{Reply, iso_ms};
use crate::resolve::Asked;
use crate::{FrontSettings, Peer};

/// One request, as audit, metrics and headers see it. Holds no token, no body, no query.
pub(crate) struct Record {
    pub(crate) arrived: Instant,
    pub(crate) time_ms: i64,
    pub(crate) request_id: Uuid,
    /// The client's own id, where it is fit to be repeated.
    pub(crate) client_request_id: Option<String>,
    pub(crate) operation: Option<Operation>,
    /// Methods of the path, where the method was another one.
    pub(crate) allow: Option<String>,
    method: String,
    path: String,
    authority: String,
    agent: String,
    vault: Option<String>,
    version: Option<&'static str>,
    caller: Option<Value>,
    wrote: bool,
}

impl Record {
    pub(crate) fn begin(head: &Parts, arrived: Instant, time_ms: i64) -> Self {
        let header = |name: &str| head.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let client_request_id = header("x-ms-client-request-id");
        let is_sane = (1..=128).contains(&client_request_id.len())
            && client_request_id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:{}".contains(&b));
        Self {
            arrived,
            time_ms,
            request_id: Uuid::new_v4(),
            client_request_id: is_sane.then(|| client_request_id.to_owned()),
            operation: None,
            allow: None,
            method: cut(head.method.as_str(), 16),
            path: cut(head.uri.path(), 512),
            authority: String::new(),
            agent: cut(header("user-agent"), 256),
            vault: None,
            version: None,
            caller: None,
            wrote: false,
        }
    }

    /// It is known what was asked for.
    pub(crate) fn asked(&mut self, asked: &Asked) {
        self.operation = asked.operation();
        self.allow = asked.allow();
        asked.authority.as_str().clone_into(&mut self.authority);
        self.vault = asked.vault.as_ref().map(|v| v.as_str().to_owned());
    }

    /// It is known who asks.
    pub(crate) fn caller(&mut self, caller: &Caller) {
        let mut claim = json!({
            "http://schemas.microsoft.com/identity/claims/objectidentifier": caller.principal(),
        });
        if let Some(client) = caller.client() {
            claim["appid"] = json!(client);
        }
        if let Some(upn) = caller.upn() {
            claim["http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn"] = json!(upn);
        }
        self.caller = Some(claim);
    }

    /// A token was issued to this client.
    pub(crate) fn client(&mut self, client: &ClientId) {
        self.caller = Some(json!({ "appid": client }));
    }

    /// The client's api-version.
    pub(crate) fn version(&mut self, version: &'static str) {
        self.version = Some(version);
    }

    /// From here on something may have been changed.
    pub(crate) fn writes(&mut self) {
        self.wrote = true;
    }

    /// May something have been changed?
    pub(crate) fn may_have_written(&self) -> bool {
        self.wrote
    }

    /// Does it belong in the audit log? Health and metrics do not: nobody's data, and asked for every second.
    pub(crate) fn is_audited(&self) -> bool {
        self.operation.is_none_or(|o| o.spec().object != ObjectType::Service)
    }

    /// Azure's AuditEvent (azure docs: key-vault/general/logging), one line of JSON.
    pub(crate) fn line(&self, settings: &FrontSettings, peer: &Peer, reply: &Reply) -> String {
        let status = reply.status.as_u16();
        let operation = match self.operation {
            // The handshake of a client that brings no token yet, or one that is not accepted.
            _ if status == 401 && reply.refusal.as_ref().is_some_and(|r| r.challenge) => "Authentication",
            Some(operation) => operation.name(),
            None => "Unknown",
        };
        let resource = match &self.vault {
            Some(vault) => format!("/VAULTS/{}", vault.to_ascii_uppercase()),
            None => "/".to_owned(),
        };
        let uri = format!("https://{}{}", self.authority, self.path);
        let id = reply.object.as_deref().unwrap_or(&uri);
        let correlation = self.client_request_id.clone().unwrap_or_else(|| self.request_id.to_string());
        let mut line = json!({
            "time": iso_ms(self.time_ms, true),
            "category": "AuditEvent",
            "resourceId": resource,
            "operationName": operation,
            "operationVersion": self.version.unwrap_or_default(),
            "resultType": if status < 400 { "Success" } else { "Failure" },
            "resultSignature": reply.status.canonical_reason().unwrap_or_default(),
            "resultDescription": reply.refusal.as_ref().map(|r| r.message.as_str()).unwrap_or_default(),
            "durationMs": u64::try_from(self.arrived.elapsed().as_millis()).unwrap_or(u64::MAX),
            "callerIpAddress": peer.address.ip().to_canonical(),
            "correlationId": correlation,
            "identity": { "claim": self.caller },
            "properties": {
                "clientInfo": self.agent,
                "requestUri": uri,
                "httpMethod": self.method,
                "id": id,
                "httpStatusCode": status,
                "requestId": self.request_id,
                "region": settings.region,
            },
        })
        .to_string();
        line.push('\n');
        line
    }
}

/// Foreign text, short and without control characters.
fn cut(text: &str, max: usize) -> String {
    text.chars().take(max).map(|c| if c.is_control() { '?' } else { c }).collect()
}
