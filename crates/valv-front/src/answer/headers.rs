//! The headers of every answer, refusals included.

use bytes::Bytes;
use http::Response;
use http::header::{self, HeaderName, HeaderValue};

use super::{Record, Reply};
use crate::{Front, Peer};

/// What Azure shows as its build.
const SERVICE_VERSION: &str = env!("CARGO_PKG_VERSION");

const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");
const REGION: HeaderName = HeaderName::from_static("x-ms-keyvault-region");
const VERSION: HeaderName = HeaderName::from_static("x-ms-keyvault-service-version");
const NETWORK: HeaderName = HeaderName::from_static("x-ms-keyvault-network-info");
const MODE: HeaderName = HeaderName::from_static("x-valv-mode");
const LAG: HeaderName = HeaderName::from_static("x-valv-replica-lag-ms");
const COMMIT: HeaderName = HeaderName::from_static("x-valv-last-commit");
const ERROR_CODE: HeaderName = HeaderName::from_static("x-ms-error-code");

/// The answer as it goes out.
pub(crate) fn finish(front: &Front, peer: &Peer, record: &Record, reply: Reply) -> Response<Bytes> {
    let mut response = Response::new(reply.body);
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    headers.reserve(20);
    if reply.status != http::StatusCode::NO_CONTENT {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    }
    for (name, value) in [
        (header::CACHE_CONTROL, "no-cache"),
        (header::PRAGMA, "no-cache"),
        (header::EXPIRES, "-1"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000;includeSubDomains"),
        (VERSION, SERVICE_VERSION),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let mut text = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    text(REGION, front.settings().region.as_str());
    text(NETWORK, &network(peer));
    text(REQUEST_ID, &record.request_id.to_string());
    if let Some(id) = &record.client_request_id {
        text(CLIENT_REQUEST_ID, id);
    }
    if record.seen.read_only {
        text(MODE, "read-only");
        if let Some(lag) = record.seen.lag {
            text(LAG, &lag.as_millis().to_string());
        }
    }
    if let Some(commit) = record.seen.commit {
        text(COMMIT, &commit.to_string());
    }
    if let Some(refusal) = &reply.refusal {
        if let Some(code) = refusal.code {
            text(ERROR_CODE, code);
        }
        if let Some(seconds) = refusal.retry_after_s {
            text(header::RETRY_AFTER, &seconds.to_string());
        }
        if refusal.challenge {
            text(header::WWW_AUTHENTICATE, &front.challenge().header());
        }
        if let Some(allow) = record.allow.as_deref().filter(|_| reply.status == 405) {
            text(header::ALLOW, allow);
        }
    }
    response
}

fn network(peer: &Peer) -> String {
    let address = peer.address.ip().to_canonical();
    let (kind, family) =
        if address.is_ipv4() { ("Ipv4", "InterNetwork") } else { ("Ipv6", "InterNetworkV6") };
    format!("conn_type={kind};addr={address};act_addr_fam={family};")
}
