//! A client's request on its way from the door that received it to the node that performs it.

use std::net::SocketAddr;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Request, Response};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use valv_geo::Role as Part;

use crate::Role;

/// The header that makes a request a forwarded one. Believed on the inter-node listener only; the public one
/// strips every `x-valv-*` header.
pub const FORWARD_HEADER: &str = "x-valv-forward";

/// The longest header value that is read.
const MAX_BYTES: usize = 4 << 10;
/// The longest authority (a host name has 253 characters, RFC 1035).
const MAX_AUTHORITY: usize = 300;
/// A forwarded request is never forwarded again, so one door is the rule.
const MAX_DOORS: usize = 4;
const MAX_DOOR: usize = 300;
/// No door waits longer.
const MAX_DEADLINE_MS: u32 = 120_000;

/// What the door says about a request that it forwards. As JSON in [`FORWARD_HEADER`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardHead {
    /// The door's id for the client's request, the same on each of its tries.
    pub attempt: Uuid,
    /// What is left of the request's time, in milliseconds, when it was sent.
    pub deadline_ms: u32,
    /// As what the node is asked. One that cannot serve so answers 421.
    #[serde(rename = "as")]
    pub asked_as: Part,
    /// The client's address.
    pub client: SocketAddr,
    /// The host and port that the client addressed, such as `dev.vault.localhost:8443`.
    pub authority: String,
    /// The `x-ms-request-id` of the answer.
    pub request_id: Uuid,
    /// A read from a copy must show this commit of the vault, or a later one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_commit: Option<u64>,
    /// The doors that the request passed, for logs.
    #[serde(default)]
    pub doors: Vec<String>,
}

/// Why a header is none that a door of ours sends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the header x-valv-forward is not valid: {0}")]
pub struct ForwardError(pub String);

impl ForwardHead {
    /// The header's value.
    ///
    /// Errors: a part is longer than what [`Self::parse`] takes, or no header value.
    pub fn encode(&self) -> Result<HeaderValue, ForwardError> {
        self.check()?;
        let json = serde_json::to_vec(self).map_err(|e| ForwardError(e.to_string()))?;
        if json.len() > MAX_BYTES {
            return Err(ForwardError(format!("it has {} bytes", json.len())));
        }
        HeaderValue::from_bytes(&json).map_err(|_| ForwardError("it holds control characters".into()))
    }

    /// Reads the header's value. Fields of a newer valv are left out.
    pub fn parse(value: &[u8]) -> Result<Self, ForwardError> {
        if value.len() > MAX_BYTES {
            return Err(ForwardError(format!("it has {} bytes, at most {MAX_BYTES} are read", value.len())));
        }
        let head: Self = serde_json::from_slice(value).map_err(|e| ForwardError(e.to_string()))?;
        head.check()?;
        Ok(head)
    }

    fn check(&self) -> Result<(), ForwardError> {
        let wrong = |why: &str| Err(ForwardError(why.into()));
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
        if self.authority.is_empty() || self.authority.len() > MAX_AUTHORITY || !plain(&self.authority) {
            return wrong("authority is not a host with a port");
        }
        if self.doors.len() > MAX_DOORS || self.doors.iter().any(|d| d.len() > MAX_DOOR || !plain(d)) {
            return wrong("doors are too many, or not names");
        }
        if self.deadline_ms > MAX_DEADLINE_MS {
            return wrong("deadline_ms is longer than any door waits");
        }
        Ok(())
    }
}

/// Takes away what only doors may say.
pub(crate) fn strip(headers: &mut HeaderMap) {
    let ours: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("x-valv-")).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
}

/// Performs the requests that other doors received. The front implements it.
#[async_trait]
pub trait Forwarded: Send + Sync + 'static {
    /// Answers a request that `role` forwarded. The request has the client's method, path, query, headers and
    /// body; its `host` is the head's authority; no header begins with `x-valv-`.
    ///
    /// A node that cannot serve as [`ForwardHead::asked_as`] says answers 421 and does nothing. The caller
    /// gives up at the head's deadline; what must not be done after it is checked by the implementation.
    async fn handle(&self, role: Role, head: ForwardHead, request: Request<Bytes>) -> Response<Bytes>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> ForwardHead {
        ForwardHead {
            attempt: Uuid::from_u128(1),
            deadline_ms: 1_900,
            asked_as: Part::Replica,
            client: "127.0.0.1:5000".parse().unwrap(),
            authority: "dev.vault.localhost:8443".into(),
            request_id: Uuid::from_u128(2),
            minimum_commit: None,
            doors: vec!["gateway".into()],
        }
    }

    #[test]
    fn a_head_reads_back_and_unknown_fields_do_no_harm() {
        let value = head().encode().unwrap();
        assert_eq!(ForwardHead::parse(value.as_bytes()).unwrap(), head());
        let text = value.to_str().unwrap().replacen('{', r#"{"later":[1],"#, 1);
        assert!(text.contains(r#""as":"replica""#), "{text}");
        assert_eq!(ForwardHead::parse(text.as_bytes()).unwrap(), head());
    }

    #[test]
    fn what_no_door_sends_is_refused() {
        let wrong = [
            ForwardHead { authority: String::new(), ..head() },
            ForwardHead { authority: "a\r\nb".into(), ..head() },
            ForwardHead { authority: "a".repeat(301), ..head() },
            ForwardHead { doors: vec!["a".into(); 5], ..head() },
            ForwardHead { doors: vec!["a b".into()], ..head() },
            ForwardHead { deadline_ms: 120_001, ..head() },
        ];
        for head in wrong {
            assert!(head.encode().is_err(), "{head:?}");
            assert!(ForwardHead::parse(&serde_json::to_vec(&head).unwrap()).is_err(), "{head:?}");
        }
        for text in ["", "{}", "[]", "null", &format!("\"{}\"", "x".repeat(5_000))] {
            assert!(ForwardHead::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
