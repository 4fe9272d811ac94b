//! The token request: a form, or the query of the managed-identity endpoints.

use base64::{Engine, engine::general_purpose::STANDARD};
use url::form_urlencoded;
use valv_model::UnixSeconds;
use zeroize::Zeroizing;

use super::{TokenError, plain};

/// The longest form that is read, in bytes: the claims and assertions that clients send stay far below.
const FORM_MAX: usize = 64 * 1024;

/// Names and values, as decoded; wiped when dropped.
pub(crate) struct Form(Vec<(String, Zeroizing<String>)>);

impl Form {
    /// Reads `application/x-www-form-urlencoded`.
    pub(crate) fn parse(form: &[u8], now: UnixSeconds) -> Result<Self, TokenError> {
        if form.len() > FORM_MAX {
            return Err(invalid(
                &format!("The request has {} bytes; at most {FORM_MAX} are read.", form.len()),
                now,
            ));
        }
        let pairs = form_urlencoded::parse(form);
        Ok(Self(pairs.map(|(name, value)| (name.into_owned(), Zeroizing::new(value.into_owned()))).collect()))
    }

    /// The value of a parameter, which must not stand twice (RFC 6749 section 3.2). Empty is absent.
    pub(crate) fn one(&self, name: &str, now: UnixSeconds) -> Result<Option<&str>, TokenError> {
        let mut values = self.0.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str());
        let first = values.next().filter(|value| !value.is_empty());
        if values.next().is_some() {
            return Err(invalid(&format!("The parameter {name} stands more than once."), now));
        }
        Ok(first)
    }

    /// The value of a parameter that must be there.
    pub(crate) fn required(&self, name: &str, now: UnixSeconds) -> Result<&str, TokenError> {
        self.one(name, now)?.ok_or_else(|| {
            let text = format!("The request body must contain the following parameter: {name}.");
            TokenError::new(400, "invalid_request", "AADSTS900144", &text, now)
        })
    }
}

fn invalid(text: &str, now: UnixSeconds) -> TokenError {
    TokenError::new(400, "invalid_request", "AADSTS9002313", &format!("Invalid request. {text}"), now)
}

/// A client-credentials request (RFC 6749 section 4.4). Unknown parameters are ignored: MSAL sends many.
pub(crate) struct TokenRequest {
    pub(crate) client_id: String,
    pub(crate) client_secret: Zeroizing<String>,
    form: Form,
}

impl TokenRequest {
    /// Reads a request; the credentials stand in the form or in the header, not in both.
    pub(crate) fn parse(
        form: &[u8],
        authorization: Option<&str>,
        now: UnixSeconds,
    ) -> Result<Self, TokenError> {
        let form = Form::parse(form, now)?;
        let grant = form.required("grant_type", now)?;
        if grant != "client_credentials" {
            let text = format!("The app requested an unsupported grant type {}.", plain(grant));
            return Err(TokenError::new(400, "unsupported_grant_type", "AADSTS70003", &text, now));
        }
        if form.one("client_assertion", now)?.is_some() {
            return Err(TokenError::new(
                401,
                "invalid_client",
                "AADSTS700027",
                "Client assertions are not supported here; use a client secret.",
                now,
            ));
        }
        let (client_id, client_secret) = match authorization {
            None => {
                let id = form.required("client_id", now)?.to_owned();
                let Some(secret) = form.one("client_secret", now)? else {
                    return Err(TokenError::new(
                        401,
                        "invalid_client",
                        "AADSTS7000216",
                        "The request body must contain the following parameter: client_secret.",
                        now,
                    ));
                };
                (id, Zeroizing::new(secret.to_owned()))
            }
            Some(header) => {
                if form.one("client_secret", now)?.is_some() {
                    return Err(invalid(
                        "The client secret stands both in the form and in the Authorization header.",
                        now,
                    ));
                }
                let (id, secret) = basic(header).ok_or_else(|| {
                    TokenError::new(
                        401,
                        "invalid_client",
                        "AADSTS7000216",
                        "The Authorization header is not HTTP Basic with client id and client secret.",
                        now,
                    )
                })?;
                if form.one("client_id", now)?.is_some_and(|other| !other.eq_ignore_ascii_case(&id)) {
                    return Err(invalid(
                        "The form and the Authorization header name different clients.",
                        now,
                    ));
                }
                (id, secret)
            }
        };
        Ok(Self { client_id, client_secret, form })
    }

    /// The request must be for `{resource}/.default`, or for `resource` in the older form.
    pub(crate) fn check_scope(&self, resource: &str, now: UnixSeconds) -> Result<(), TokenError> {
        let Some(scope) = self.form.one("scope", now)? else {
            return match self.form.one("resource", now)? {
                Some(asked) => check_resource(asked, resource, now),
                None => self.form.required("scope", now).map(drop),
            };
        };
        match scope.strip_suffix("/.default") {
            Some(asked) if !scope.contains(char::is_whitespace) => check_resource(asked, resource, now),
            _ => {
                let text = format!(
                    "The provided request must include a scope input parameter of the form {}/.default. The scope {} is not valid.",
                    plain(resource),
                    plain(scope)
                );
                Err(TokenError::new(400, "invalid_scope", "AADSTS70011", &text, now))
            }
        }
    }
}

/// Is this our resource, with or without one slash at its end?
pub(crate) fn check_resource(asked: &str, resource: &str, now: UnixSeconds) -> Result<(), TokenError> {
    let bare = |text: &str| text.strip_suffix('/').unwrap_or(text).to_ascii_lowercase();
    if bare(asked) == bare(resource) {
        return Ok(());
    }
    let text = format!(
        "The resource principal named {} was not found in the tenant. Tokens are issued for {}.",
        plain(asked),
        plain(resource)
    );
    Err(TokenError::new(400, "invalid_resource", "AADSTS500011", &text, now))
}

/// HTTP Basic (RFC 7617) with both parts form-encoded (RFC 6749 section 2.3.1).
fn basic(header: &str) -> Option<(String, Zeroizing<String>)> {
    let (scheme, credentials) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let bytes = Zeroizing::new(STANDARD.decode(credentials.trim()).ok()?);
    let (id, secret) = std::str::from_utf8(&bytes).ok()?.split_once(':')?;
    let decode = |text: &str| {
        let pair = Zeroizing::new(format!("x={}", text.replace('&', "%26")));
        form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned())
    };
    Some((decode(id)?, Zeroizing::new(decode(secret)?)))
}
