//! What a step hands back to be sent.

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;
use valv_model::{Error, ErrorCode};
use zeroize::Zeroizing;

/// An answer before headers, audit and metrics.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) content_type: &'static str,
    pub(crate) body: Bytes,
    /// The object it is about, for the audit record.
    pub(crate) object: Option<String>,
    /// The algorithm that a key was used with, for the audit record.
    pub(crate) algorithm: Option<&'static str>,
    /// Set when it refuses.
    pub(crate) refusal: Option<Refusal>,
}

/// What a refusal adds to headers and audit.
pub(crate) struct Refusal {
    /// Azure's code; the token service has a form of its own.
    pub(crate) code: Option<&'static str>,
    pub(crate) message: String,
    pub(crate) retry_after_s: Option<u32>,
    pub(crate) challenge: bool,
}

pub(crate) const JSON: &str = "application/json; charset=utf-8";

impl Reply {
    /// JSON. The buffer is wiped after it was sent, since it may hold a value; `about` bytes are set aside for it.
    pub(crate) fn json(status: u16, value: &impl Serialize, about: usize) -> Self {
        let mut body = Zeroizing::new(Vec::with_capacity(about + 512));
        if let Err(e) = serde_json::to_writer(&mut *body, value) {
            return Self::refuse(&Error::internal(format!("an answer could not be written: {e}")));
        }
        Self::new(status, JSON, Bytes::from_owner(body))
    }

    /// No body.
    pub(crate) fn empty(status: u16) -> Self {
        Self::new(status, JSON, Bytes::new())
    }

    /// Any body.
    pub(crate) fn new(status: u16, content_type: &'static str, body: Bytes) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, content_type, body, object: None, algorithm: None, refusal: None }
    }

    /// The object it is about.
    pub(crate) fn about(mut self, object: String) -> Self {
        self.object = Some(object);
        self
    }

    /// The algorithm that a key was used with.
    pub(crate) fn algorithm(mut self, algorithm: &'static str) -> Self {
        self.algorithm = Some(algorithm);
        self
    }

    /// Azure's error body.
    pub(crate) fn refuse(error: &Error) -> Self {
        #[derive(Serialize)]
        struct Body<'a> {
            error: Outer<'a>,
        }
        #[derive(Serialize)]
        struct Outer<'a> {
            code: &'static str,
            message: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            innererror: Option<Inner>,
        }
        #[derive(Serialize)]
        struct Inner {
            code: &'static str,
        }
        let (status, code) = status(error.code);
        let innererror = error.inner.map(|inner| Inner { code: inner.as_str() });
        let outer = Outer { code, message: &error.message, innererror };
        let mut reply = match serde_json::to_vec(&Body { error: outer }) {
            Ok(body) => Self::new(status, JSON, Bytes::from(body)),
            Err(_) => Self::empty(status),
        };
        // Python retries whatever carries a Retry-After: it stands only where a retry makes sense.
        let retry_after_s = match error.code {
            ErrorCode::Throttled => Some(error.retry_after_s.unwrap_or(1)),
            _ if status >= 500 => error.retry_after_s,
            _ => None,
        };
        let challenge = error.code == ErrorCode::Unauthorized;
        reply.refusal =
            Some(Refusal { code: Some(code), message: error.message.clone(), retry_after_s, challenge });
        reply
    }
}

/// The one place where a code becomes a status and a word.
fn status(code: ErrorCode) -> (u16, &'static str) {
    match code {
        ErrorCode::BadParameter => (400, "BadParameter"),
        ErrorCode::MalformedBackup => (400, "Malformed backup blob"),
        ErrorCode::Unauthorized => (401, "Unauthorized"),
        ErrorCode::Forbidden => (403, "Forbidden"),
        ErrorCode::SecretNotFound => (404, "SecretNotFound"),
        ErrorCode::KeyNotFound => (404, "KeyNotFound"),
        ErrorCode::CertificateNotFound => (404, "CertificateNotFound"),
        ErrorCode::VaultNotFound => (404, "VaultNotFound"),
        ErrorCode::NotFound => (404, "NotFound"),
        ErrorCode::MethodNotAllowed => (405, "MethodNotAllowed"),
        ErrorCode::RequestTimeout => (408, "RequestTimeout"),
        ErrorCode::Conflict => (409, "Conflict"),
        ErrorCode::PayloadTooLarge => (413, "PayloadTooLarge"),
        ErrorCode::Misdirected => (421, "MisdirectedRequest"),
        ErrorCode::Throttled => (429, "Throttled"),
        ErrorCode::HeadersTooLarge => (431, "HeadersTooLarge"),
        ErrorCode::InternalError => (500, "InternalError"),
        ErrorCode::ServiceUnavailable => (503, "ServiceUnavailable"),
        ErrorCode::GatewayTimeout => (504, "GatewayTimeout"),
        ErrorCode::UnknownOutcome => (504, "UnknownOutcome"),
        ErrorCode::InsufficientStorage => (507, "InsufficientStorage"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use valv_model::InnerCode;

    use super::*;

    #[test]
    fn an_error_has_azures_body() {
        let error = Error::new(ErrorCode::Forbidden, "Operation get is not allowed on a disabled secret.")
            .inner(InnerCode::SecretDisabled)
            .detail("only the log reads this");
        let reply = Reply::refuse(&error);
        assert_eq!(reply.status, 403);
        let body: Value = serde_json::from_slice(&reply.body).unwrap();
        let message = "Operation get is not allowed on a disabled secret.";
        assert_eq!(
            body,
            json!({"error": {"code": "Forbidden", "message": message, "innererror": {"code": "SecretDisabled"}}})
        );
        let body: Value = serde_json::from_slice(&Reply::refuse(&Error::bad("x")).body).unwrap();
        assert_eq!(body, json!({"error": {"code": "BadParameter", "message": "x"}}));
    }

    #[test]
    fn only_a_429_among_the_4xx_says_when_to_retry() {
        let after = |error: Error| Reply::refuse(&error).refusal.unwrap().retry_after_s;
        assert_eq!(after(Error::new(ErrorCode::Throttled, "x")), Some(1));
        assert_eq!(after(Error::new(ErrorCode::Throttled, "x").retry_after(7)), Some(7));
        assert_eq!(after(Error::new(ErrorCode::Conflict, "x").retry_after(7)), None);
        assert_eq!(after(Error::read_only("SecretSet")), None);
    }
}
