//! What a token says, judged against what we expect. Pure: time comes in as an argument.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Map, Value};
use valv_model::{ClientId, PrincipalId, Result, TenantId, UnixSeconds};

use super::caller::{Caller, Identity};
use super::keys::malformed;
use super::{refuse, shown};

/// What a token of one issuer must say.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) tenant: &'a TenantId,
    pub(super) audiences: &'a [String],
    pub(super) principal_claim: &'a str,
}

/// When a token counts (RFC 7519 sections 4.1.4 and 4.1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) nbf: Option<i64>,
    pub(super) exp: i64,
}

impl Window {
    /// Is the token in force, give or take `skew_s`?
    pub(super) fn check(&self, now: UnixSeconds, skew_s: i64) -> Result<()> {
        if now.0 >= self.exp.saturating_add(skew_s) {
            return Err(refuse(
                "AKV10000",
                format_args!("The token expired at {} (unix seconds); it is {}.", self.exp, now.0),
            ));
        }
        match self.nbf {
            Some(nbf) if now.0 < nbf.saturating_sub(skew_s) => Err(refuse(
                "AKV10000",
                format_args!("The token is not valid before {nbf} (unix seconds); it is {}.", now.0),
            )),
            _ => Ok(()),
        }
    }
}

/// The claims of a token whose signature was checked.
pub(super) struct Claims<'a>(pub(super) &'a Map<String, Value>);

impl Claims<'_> {
    /// The caller, if every claim but the times is as expected; and the times.
    pub(super) fn check(&self, expected: &Expected<'_>) -> Result<(Caller, Window)> {
        if self.text("iss") != Some(expected.issuer) {
            return Err(malformed());
        }
        self.check_audience(expected.audiences)?;
        let tenant = match self.0.get("tid") {
            None => expected.tenant.clone(),
            Some(tid) => tid
                .as_str()
                .and_then(|tid| TenantId::parse(tid).ok())
                .filter(|tid| tid == expected.tenant)
                .ok_or_else(|| {
                    refuse("AKV10032", format_args!("Invalid tenant. Expected tid {}.", expected.tenant))
                })?,
        };
        let principal = self.text(expected.principal_claim).and_then(|text| PrincipalId::parse(text).ok());
        let principal = principal.ok_or_else(|| {
            refuse(
                "AKV10000",
                format_args!(
                    "The token's claim {} is missing or not in the form of a UUID; it names the principal.",
                    expected.principal_claim
                ),
            )
        })?;
        let window = Window {
            exp: self.date("exp")?.ok_or_else(|| refuse("AKV10000", "The token has no expiry (exp)."))?,
            nbf: self.date("nbf")?,
        };
        let client = ["appid", "azp"].into_iter().find_map(|name| ClientId::parse(self.text(name)?).ok());
        let caller = Caller(Arc::new(Identity {
            principal,
            client,
            issuer: expected.issuer.to_owned(),
            tenant,
            groups: self.groups(),
            upn: self.text("upn").or_else(|| self.text("preferred_username")).map(shown),
            user: self.text("scp").is_some_and(|scp| !scp.is_empty()),
        }));
        Ok((caller, window))
    }

    fn check_audience(&self, expected: &[String]) -> Result<()> {
        let found: Vec<&str> = match self.0.get("aud") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
            _ => vec![],
        };
        let bare = |text: &'_ str| text.strip_suffix('/').unwrap_or(text).to_owned();
        if found.iter().any(|aud| expected.iter().any(|e| bare(e) == bare(aud))) {
            return Ok(());
        }
        let (expected, found) = (expected.join(", "), shown(&found.join(", ")));
        Err(refuse("AKV10022", format_args!("Invalid audience. Expected {expected}, found: {found}.")))
    }

    /// Groups as Entra sends them; names, as other issuers send them, are no principals.
    fn groups(&self) -> Vec<PrincipalId> {
        let groups = self.0.get("groups").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        groups.iter().filter_map(|group| PrincipalId::parse(group.as_str()?).ok()).collect()
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// A NumericDate (RFC 7519 section 2), which may have a fraction.
    fn date(&self, name: &str) -> Result<Option<i64>> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        #[allow(clippy::cast_possible_truncation, reason = "a cast from float saturates")]
        let date = value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds as i64));
        date.map(Some).ok_or_else(|| {
            refuse("AKV10000", format_args!("The token's claim {name} is no number of seconds."))
        })
    }
}

/// The `iss` claim before the signature is checked: it says whose keys to check with, and nothing else.
pub(super) fn unchecked_issuer(token: &str) -> Result<String> {
    #[derive(Deserialize)]
    struct Issuer {
        iss: String,
    }
    let payload =
        token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok()).ok_or_else(malformed)?;
    serde_json::from_slice::<Issuer>(&payload)
        .map(|claims| claims.iss)
        .map_err(|_| refuse("AKV10000", "The token's claims are not a JSON object with an issuer (iss)."))
}
