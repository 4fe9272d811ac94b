//! Bearer token to [`Caller`].

use std::{fmt, path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use quick_cache::sync::Cache;
use valv_model::{Error, ErrorCode, Result, TenantId, UnixSeconds};

use crate::Registry;

mod bearer;
pub(crate) use bearer::bearer;

mod caller;
pub use caller::{Caller, Challenge};

mod claims;
use claims::{Claims, Expected, Window};

mod keys;
use keys::VerifyKey;

/// How many checked tokens are remembered; one takes about 600 bytes.
const REMEMBERED: usize = 10_000;

/// A token issuer other than our own. Whoever controls it speaks for every principal of the deployment.
#[derive(Clone, Debug)]
pub struct ExternalIssuer {
    /// The `iss` claim, exactly.
    pub issuer: String,
    /// The audiences accepted from it; empty: the deployment's resource only.
    pub audiences: Vec<String>,
    /// Discovery document; None: `{issuer}/.well-known/openid-configuration`.
    pub discovery: Option<String>,
    /// Which claim is the principal (default `oid`; Keycloak: `sub`).
    pub principal_claim: String,
    /// A CA bundle (PEM) for its host; None: the system's roots.
    pub ca_file: Option<PathBuf>,
}

/// What the authenticator must know.
#[derive(Clone, Debug)]
pub struct AuthenticatorSettings {
    /// The one tenant of the deployment.
    pub tenant: TenantId,
    /// The resource (audience) of tokens.
    pub resource: String,
    /// The built-in issuer's `iss`; None: it is switched off.
    pub built_in_issuer: Option<String>,
    /// Other issuers.
    pub issuers: Vec<ExternalIssuer>,
    /// Where fetched signing keys are kept for 24 h, so that an issuer's outage takes nothing down (F32).
    pub cache_dir: PathBuf,
    /// Allowed clock skew, seconds: how long after `exp` and before `nbf` a token still counts. 0 to 300;
    /// 60 is usual ([`AuthenticatorSettings::SKEW_S`]).
    pub skew_s: i64,
}

impl AuthenticatorSettings {
    /// The usual clock skew, seconds.
    pub const SKEW_S: i64 = 60;
}

/// Checks tokens.
pub struct Authenticator {
    settings: AuthenticatorSettings,
    built_in_keys: ArcSwap<BuiltInKeys>,
    checked: Cache<[u8; 32], Arc<Checked>>,
}

/// The built-in issuer's public keys, parsed once per commit of the registry.
#[derive(Default)]
struct BuiltInKeys {
    commit: u64,
    keys: Vec<(String, VerifyKey)>,
}

/// A token that was checked, and what must still hold when it comes again.
struct Checked {
    caller: Caller,
    window: Window,
    origin: Origin,
}

#[derive(Clone)]
enum Origin {
    /// Signed with this key of the registry, as of this commit.
    BuiltIn { kid: String, commit: u64 },
}

impl Authenticator {
    /// An authenticator; loads kept signing keys from disk, fetches nothing yet.
    pub fn new(settings: AuthenticatorSettings) -> Result<Self> {
        if !(0..=300).contains(&settings.skew_s) {
            return Err(Error::bad(format!("The clock skew is {} s; it must be 0 to 300.", settings.skew_s)));
        }
        Ok(Self { settings, built_in_keys: ArcSwap::default(), checked: Cache::new(REMEMBERED) })
    }

    /// Fetches the issuers' signing keys and goes on refreshing them in the background until dropped.
    pub async fn refresh_forever(&self) {
        std::future::pending::<()>().await;
    }

    /// The `Authorization` header's caller. Errors are `Unauthorized` with Azure's AKV10xxx texts.
    pub async fn authenticate(
        &self,
        authorization: Option<&str>,
        registry: &Registry,
        now: UnixSeconds,
    ) -> Result<Caller> {
        let token = bearer(authorization)?;
        let mut id = [0; 32];
        id.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        if let Some(checked) = self.checked.get(&id) {
            if self.still_holds(&checked.origin, registry) {
                self.settings.check_window(&checked.window, now)?;
                known_client(&checked.caller, &checked.origin, registry)?;
                return Ok(checked.caller.clone());
            }
            self.checked.remove(&id);
        }
        let checked = self.check(token, registry, now)?;
        known_client(&checked.caller, &checked.origin, registry)?;
        let caller = checked.caller.clone();
        self.checked.insert(id, Arc::new(checked));
        Ok(caller)
    }

    /// Checks a token that is not remembered.
    fn check(&self, token: &str, registry: &Registry, now: UnixSeconds) -> Result<Checked> {
        let (algorithm, kid) = keys::header(token)?;
        let issuer = claims::unchecked_issuer(token)?;
        if self.settings.built_in_issuer.as_ref() != Some(&issuer) {
            return Err(self.unknown_issuer(&issuer));
        }
        let keys = self.built_in_keys(registry);
        let key = keys.keys.iter().find(|(id, _)| *id == kid).map(|(_, key)| key).ok_or_else(unknown_key)?;
        let claims = key.verify(token, algorithm)?;
        let (caller, window) = Claims(&claims).check(&Expected {
            issuer: &issuer,
            tenant: &self.settings.tenant,
            audiences: std::slice::from_ref(&self.settings.resource),
            principal_claim: "oid",
        })?;
        self.settings.check_window(&window, now)?;
        Ok(Checked { caller, window, origin: Origin::BuiltIn { kid, commit: registry.commit } })
    }

    fn still_holds(&self, origin: &Origin, registry: &Registry) -> bool {
        match origin {
            Origin::BuiltIn { kid, commit } => {
                *commit == registry.commit && registry.signing_keys.iter().any(|key| key.id == *kid)
            }
        }
    }

    fn built_in_keys(&self, registry: &Registry) -> Arc<BuiltInKeys> {
        let known = self.built_in_keys.load_full();
        let ids = |keys: &BuiltInKeys| keys.keys.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>();
        if known.commit == registry.commit
            && ids(&known).iter().eq(registry.signing_keys.iter().map(|k| &k.id))
        {
            return known;
        }
        let keys = registry.signing_keys.iter().filter_map(|key| match VerifyKey::built_in(key) {
            Ok(verify) => Some((key.id.clone(), verify)),
            Err(error) => {
                tracing::error!(%error, "a signing key of the built-in issuer cannot be used");
                None
            }
        });
        let keys = Arc::new(BuiltInKeys { commit: registry.commit, keys: keys.collect() });
        self.built_in_keys.store(Arc::clone(&keys));
        keys
    }

    fn unknown_issuer(&self, found: &str) -> Error {
        let known: Vec<&str> = self
            .settings
            .built_in_issuer
            .iter()
            .chain(self.settings.issuers.iter().map(|i| &i.issuer))
            .map(String::as_str)
            .collect();
        refuse(
            "AKV10032",
            format!("Invalid issuer. Expected one of {}, found {}.", known.join(", "), shown(found)),
        )
    }
}

impl AuthenticatorSettings {
    fn check_window(&self, window: &Window, now: UnixSeconds) -> Result<()> {
        window.check(now, self.skew_s)
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// A removed client's tokens stop working at once, long before they expire.
fn known_client(caller: &Caller, origin: &Origin, registry: &Registry) -> Result<()> {
    match origin {
        Origin::BuiltIn { .. } => {
            let client = caller.client().and_then(|client| registry.clients.get(client));
            if client.is_some_and(|client| client.principal == *caller.principal()) {
                Ok(())
            } else {
                Err(refuse("AKV10000", "The client that the token was issued to is not registered any more."))
            }
        }
    }
}

fn unknown_key() -> Error {
    refuse("AKV10046", "Unable to resolve the key used for signature validation.")
}

/// 401 with one of Azure's codes.
pub(crate) fn refuse(code: &str, text: impl fmt::Display) -> Error {
    Error::new(ErrorCode::Unauthorized, format!("{code}: {text}"))
}

/// Foreign text as it may stand in a message: short, without control characters.
pub(crate) fn shown(text: &str) -> String {
    let cut: String = text.chars().take(128).map(|c| if c.is_control() { '?' } else { c }).collect();
    if cut.len() < text.len() { cut + "…" } else { cut }
}

#[cfg(test)]
mod tests;
