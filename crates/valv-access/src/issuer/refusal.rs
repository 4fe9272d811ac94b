//! Refusals in the token service's own form.

use serde_json::{Value, json};
use uuid::Uuid;
use valv_model::UnixSeconds;

/// A refusal in the token service's own form (RFC 6749 section 5.2 with Entra's additions).
#[derive(Clone, Debug)]
pub struct TokenError {
    /// HTTP status: 400 or 401; 429 when too many checks of chosen secrets wait; 500 when no token can be signed.
    pub status: u16,
    /// The answer's JSON: error, error_description, error_codes, timestamp, trace_id, correlation_id.
    pub body: Value,
}

impl TokenError {
    /// A refusal. `text` must not need escapes in JSON (no quote, no backslash, one line): the Rust client
    /// borrows the description from the answer and fails on any. What came from outside passes [`plain`].
    pub(crate) fn new(status: u16, error: &str, code: &str, text: &str, now: UnixSeconds) -> Self {
        let (trace, correlation, time) = (Uuid::new_v4(), Uuid::new_v4(), timestamp(now));
        let number: i32 = code.trim_start_matches("AADSTS").parse().unwrap_or_default();
        Self {
            status,
            body: json!({
                "error": error,
                "error_description":
                    format!("{code}: {text} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {time}"),
                "error_codes": [number],
                "timestamp": time,
                "trace_id": trace,
                "correlation_id": correlation,
            }),
        }
    }

    /// The same refusal as the App Service clients read it: `statusCode` and `message`.
    pub(crate) fn for_app_service(mut self) -> Self {
        if let Some(members) = self.body.as_object_mut() {
            let message = members.get("error_description").cloned().unwrap_or_default();
            members.insert("message".into(), message);
            members.insert("statusCode".into(), self.status.into());
        }
        self
    }
}

/// Foreign text as it may stand in a description: short, ASCII, nothing that JSON escapes.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .take(128)
        .map(|c| if c.is_ascii_graphic() && !matches!(c, '"' | '\\') { c } else { '?' })
        .collect()
}

/// Entra's form: `2026-11-23 19:40:00Z`.
fn timestamp(now: UnixSeconds) -> String {
    let time = time::OffsetDateTime::from_unix_timestamp(now.0).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    let (hour, minute, second) = time.to_hms();
    format!(
        "{:04}-{:02}-{:02} {hour:02}:{minute:02}:{second:02}Z",
        time.year(),
        u8::from(time.month()),
        time.day()
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_refusal_has_every_member_in_its_type() {
        let error = TokenError::new(
            401,
            "invalid_client",
            "AADSTS7000215",
            "Invalid client secret provided.",
            UnixSeconds(1_795_463_999),
        );
        assert_eq!(error.body["error_codes"], json!([7_000_215]));
        assert_eq!(error.body["timestamp"], "2026-11-23 19:59:59Z");
        assert!(
            error.body["error_description"]
                .as_str()
                .unwrap()
                .starts_with("AADSTS7000215: Invalid client secret")
        );
        let error = error.for_app_service();
        assert_eq!(error.body["statusCode"], 401);
        assert_eq!(error.body["message"], error.body["error_description"]);
    }

    proptest! {
        #[test]
        fn foreign_text_never_needs_an_escape(text in "\\PC*|[\\x00-\\x7f]*") {
            let json = serde_json::to_string(&plain(&text)).unwrap();
            prop_assert!(!json.contains('\\') && json.is_ascii());
        }
    }
}
