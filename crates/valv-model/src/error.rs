//! One error type for everything a caller can be told.
//!
//! It knows Azure's codes but no HTTP: the front turns a code into a status in one place. It has two
//! texts: `message` goes to the caller, `detail` goes to the log only. Neither ever holds a secret.

use std::fmt;

/// What every fallible step of a request returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Azure's `error.code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// Something in the request is malformed or out of bounds.
    BadParameter,
    /// No token, or a token that is not accepted. Answered with a challenge.
    Unauthorized,
    /// The caller is known and may not do this, or the object's state forbids it.
    Forbidden,
    /// No such secret, live or deleted.
    SecretNotFound,
    /// No such key, live or deleted.
    KeyNotFound,
    /// No such certificate, live or deleted.
    CertificateNotFound,
    /// No vault of that name.
    VaultNotFound,
    /// No such route, client or role assignment.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The state of the object stands against the operation.
    Conflict,
    /// A backup blob that cannot be read or was changed (Azure's code has blanks in it).
    MalformedBackup,
    /// Too many requests. Carries `retry_after`.
    Throttled,
    /// The client did not send its request in time.
    RequestTimeout,
    /// The body is larger than the limit.
    PayloadTooLarge,
    /// The header block is larger than the limit.
    HeadersTooLarge,
    /// Another node asked this one for a part that it cannot take; clients never see it.
    Misdirected,
    /// Nobody answered a read in time; nothing was changed.
    GatewayTimeout,
    /// The service cannot do this now; nothing was changed.
    ServiceUnavailable,
    /// The engine took the write and did not say in time whether it happened.
    UnknownOutcome,
    /// The store has no room for the write; nothing was changed.
    InsufficientStorage,
    /// A stored record is damaged, or a fault of ours.
    InternalError,
}

/// Azure's `error.innererror.code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "Azure's own words; azure docs: key-vault/general/rest-error-codes")]
pub enum InnerCode {
    AccessDenied,
    ForbiddenByPolicy,
    ForbiddenByRbac,
    SecretDisabled,
    KeyDisabled,
    KeyOperationForbidden,
    ObjectIsDeletedButRecoverable,
    ObjectIsBeingDeleted,
    ObjectIsBeingRecovered,
}

impl InnerCode {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AccessDenied => "AccessDenied",
            Self::ForbiddenByPolicy => "ForbiddenByPolicy",
            Self::ForbiddenByRbac => "ForbiddenByRbac",
            Self::SecretDisabled => "SecretDisabled",
            Self::KeyDisabled => "KeyDisabled",
            Self::KeyOperationForbidden => "KeyOperationForbidden",
            Self::ObjectIsDeletedButRecoverable => "ObjectIsDeletedButRecoverable",
            Self::ObjectIsBeingDeleted => "ObjectIsBeingDeleted",
            Self::ObjectIsBeingRecovered => "ObjectIsBeingRecovered",
        }
    }
}

/// A refusal or a failure, in words for the caller and words for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Azure's code; decides the HTTP status.
    pub code: ErrorCode,
    /// Azure's inner code, where it has one.
    pub inner: Option<InnerCode>,
    /// What the caller reads.
    pub message: String,
    /// What only the log reads.
    pub detail: Option<String>,
    /// Whole seconds after which a retry makes sense.
    pub retry_after_s: Option<u32>,
}

impl Error {
    /// An error whose message the caller may read.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, inner: None, message: message.into(), detail: None, retry_after_s: None }
    }

    /// 400 `BadParameter`.
    #[must_use]
    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::BadParameter, message)
    }

    /// A fault of ours: the caller reads a standard sentence, the log reads `detail`.
    #[must_use]
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(
            ErrorCode::InternalError,
            "The request could not be completed because of an internal error. The operator finds the cause in the server's log under this request's x-ms-request-id.",
        )
        .detail(detail)
    }

    /// 503: nothing was changed.
    #[must_use]
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::ServiceUnavailable, message)
    }

    /// The refusal of a write in read-only mode, in the words Azure uses.
    #[must_use]
    pub fn read_only(operation: &str) -> Self {
        Self::unavailable(format!(
            "Operation \"{operation}\" is unavailable: the service is currently in a read-only state."
        ))
    }

    /// 403: `operation` (`sign`, `wrapKey`, ..) on a key that is switched off. Azure's words.
    #[must_use]
    pub fn key_disabled(operation: &str) -> Self {
        Self::new(ErrorCode::Forbidden, format!("Operation {operation} is not allowed on a disabled key."))
            .inner(InnerCode::KeyDisabled)
    }

    /// 403: `operation` is not among the key's `key_ops`. Azure's words.
    #[must_use]
    pub fn key_operation_forbidden(operation: &str) -> Self {
        Self::new(ErrorCode::Forbidden, format!("Operation {operation} is not permitted on this key."))
            .inner(InnerCode::KeyOperationForbidden)
    }

    /// 403: `operation` before the key's `nbf`. No inner code of Azure's is known.
    #[must_use]
    pub fn key_not_yet_valid(operation: &str) -> Self {
        Self::new(
            ErrorCode::Forbidden,
            format!("Operation {operation} is not allowed on a key that is not yet valid."),
        )
    }

    /// 403: `operation` after the key's `exp`. No inner code of Azure's is known.
    #[must_use]
    pub fn key_expired(operation: &str) -> Self {
        Self::new(ErrorCode::Forbidden, format!("Operation {operation} is not allowed on an expired key."))
    }

    /// The same error with an inner code.
    #[must_use]
    pub fn inner(mut self, inner: InnerCode) -> Self {
        self.inner = Some(inner);
        self
    }

    /// The same error with words for the log.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The same error with a time after which to retry.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.detail {
            Some(detail) => write!(f, " ({detail})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_a_keys_state_are_azures() {
        for (error, inner, message) in [
            (
                Error::key_disabled("sign"),
                Some("KeyDisabled"),
                "Operation sign is not allowed on a disabled key.",
            ),
            (
                Error::key_operation_forbidden("decrypt"),
                Some("KeyOperationForbidden"),
                "Operation decrypt is not permitted on this key.",
            ),
            (
                Error::key_not_yet_valid("wrapKey"),
                None,
                "Operation wrapKey is not allowed on a key that is not yet valid.",
            ),
            (Error::key_expired("encrypt"), None, "Operation encrypt is not allowed on an expired key."),
        ] {
            assert_eq!(error.code, ErrorCode::Forbidden);
            assert_eq!((error.inner.map(InnerCode::as_str), error.message.as_str()), (inner, message));
        }
    }
}
