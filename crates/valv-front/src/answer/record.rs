//! What is known of a request while it is worked on; in the end its line of the audit log.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use http::request::Parts;
use serde::Serialize;
use uuid::Uuid;
use valv_access::Caller;
use valv_model::{ClientId, ObjectType, Operation, PrincipalId};

use super::{Reply, iso_ms};
use crate::resolve::Asked;
use crate::{FrontSettings, Peer};

/// One request, as audit, metrics and headers see it. Holds no token, no body, no query.
#[derive(Clone)]
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
    caller: Claim,
    wrote: bool,
    /// What the answer says of the state that it shows.
    pub(crate) seen: Seen,
}

/// What an answer says of the state that it shows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// The number of the vault's last commit.
    pub(crate) commit: Option<u64>,
    /// It is a copy's.
    pub(crate) read_only: bool,
    /// How old the copy is, where that is known.
    pub(crate) lag: Option<Duration>,
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
            caller: Claim::default(),
            wrote: false,
            seen: Seen::default(),
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
        self.caller = Claim {
            oid: Some(caller.principal().clone()),
            upn: caller.upn().map(str::to_owned),
            appid: caller.client().cloned(),
        };
    }

    /// A token was issued to this client.
    pub(crate) fn client(&mut self, client: &ClientId) {
        self.caller = Claim { appid: Some(client.clone()), ..Claim::default() };
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
        let event = Event {
            time: iso_ms(self.time_ms, true),
            category: "AuditEvent",
            resource_id: resource,
            operation_name: operation,
            operation_version: self.version.unwrap_or_default(),
            result_type: if status < 400 { "Success" } else { "Failure" },
            result_signature: reply.status.canonical_reason().unwrap_or_default(),
            result_description: reply.refusal.as_ref().map(|r| r.message.as_str()).unwrap_or_default(),
            duration_ms: u64::try_from(self.arrived.elapsed().as_millis()).unwrap_or(u64::MAX),
            caller_ip_address: peer.address.ip().to_canonical(),
            correlation_id: correlation,
            identity: Identity { claim: &self.caller },
            properties: Properties {
                client_info: &self.agent,
                request_uri: &uri,
                http_method: &self.method,
                id,
                http_status_code: status,
                request_id: self.request_id,
                region: settings.region.as_str(),
                algorithm: reply.algorithm,
            },
        };
        let mut line = serde_json::to_string(&event).unwrap_or_default();
        line.push('\n');
        line
    }
}

/// Azure's AuditEvent, with the request's id, method and region added.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    time: String,
    category: &'static str,
    resource_id: String,
    operation_name: &'static str,
    operation_version: &'static str,
    result_type: &'static str,
    result_signature: &'static str,
    result_description: &'a str,
    duration_ms: u64,
    caller_ip_address: IpAddr,
    correlation_id: String,
    identity: Identity<'a>,
    properties: Properties<'a>,
}

#[derive(Serialize)]
struct Identity<'a> {
    claim: &'a Claim,
}

#[derive(Clone, Serialize, Default)]
struct Claim {
    #[serde(
        rename = "http://schemas.microsoft.com/identity/claims/objectidentifier",
        skip_serializing_if = "Option::is_none"
    )]
    oid: Option<PrincipalId>,
    #[serde(
        rename = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn",
        skip_serializing_if = "Option::is_none"
    )]
    upn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    appid: Option<ClientId>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Properties<'a> {
    client_info: &'a str,
    request_uri: &'a str,
    http_method: &'a str,
    id: &'a str,
    http_status_code: u16,
    request_id: Uuid,
    region: &'a str,
    /// Of a computation with a key that succeeded.
    #[serde(rename = "Algorithm", skip_serializing_if = "Option::is_none")]
    algorithm: Option<&'static str>,
}

/// Foreign text, short and without control characters.
fn cut(text: &str, max: usize) -> String {
    text.chars().take(max).map(|c| if c.is_control() { '?' } else { c }).collect()
}
