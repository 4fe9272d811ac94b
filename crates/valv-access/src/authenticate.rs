//! Bearer token to [`Caller`].

use std::{fmt, path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use quick_cache::sync::Cache;
use valv_model::{Error, ErrorCode, Result, TenantId, UnixSeconds};

use crate::Registry;

mod bearer;
pub(crate) use bearer::bearer;
pub use bearer::demand_bearer;

mod caller;
pub use caller::{Caller, Challenge};

mod claims;
use claims::{Claims, Expected, Window};

mod disk;

mod issuers;
use issuers::{Clock, FetchKeys, HttpsFetch, Source};

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

    fn validate(&self) -> Result<()> {
        if !(0..=300).contains(&self.skew_s) {
            return Err(Error::bad(format!("The clock skew is {} s; it must be 0 to 300.", self.skew_s)));
        }
        let mut names: Vec<&str> = self.built_in_issuer.as_deref().into_iter().collect();
        for ExternalIssuer { issuer, discovery, principal_claim, .. } in &self.issuers {
            if names.contains(&issuer.as_str()) {
                return Err(Error::bad(format!("The token issuer {} is configured twice.", shown(issuer))));
            }
            names.push(issuer);
            if !discovery.as_ref().unwrap_or(issuer).starts_with("https://") {
                return Err(Error::bad(format!(
                    "The token issuer {} must be reached by an https URL.",
                    shown(issuer)
                )));
            }
            if principal_claim.is_empty() {
                return Err(Error::bad(format!(
                    "The token issuer {} needs a principal claim, such as oid or sub.",
                    shown(issuer)
                )));
            }
        }
        Ok(())
    }
}

/// Checks tokens.
pub struct Authenticator {
    settings: AuthenticatorSettings,
    built_in_keys: ArcSwap<BuiltInKeys>,
    sources: Vec<Source>,
    checked: Cache<[u8; 32], Arc<Checked>>,
    fetch: Box<dyn FetchKeys>,
    clock: Clock,
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
    /// Signed with a key of this external issuer's key set.
    External { source: usize, generation: u64 },
}

impl Authenticator {
    /// An authenticator; loads kept signing keys from disk, fetches nothing yet.
    pub fn new(settings: AuthenticatorSettings) -> Result<Self> {
        let clock = || {
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            UnixSeconds(since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX)))
        };
        Self::with(settings, Box::new(HttpsFetch), Arc::new(clock))
    }

    /// The same over a given source of keys and a given clock.
    fn with(settings: AuthenticatorSettings, fetch: Box<dyn FetchKeys>, clock: Clock) -> Result<Self> {
        settings.validate()?;
        let sources = settings.issuers.iter().map(|issuer| Source::new(issuer.clone(), &settings.cache_dir));
        Ok(Self {
            sources: sources.collect(),
            settings,
            built_in_keys: ArcSwap::default(),
            checked: Cache::new(REMEMBERED),
            fetch,
            clock,
        })
    }

    /// Fetches the issuers' signing keys and goes on refreshing them in the background until dropped: each
    /// hour, after failures sooner, and when a token names an unknown key, once a minute at most.
    pub async fn refresh_forever(&self) {
        let sources = self.sources.iter().map(|source| source.refresh_forever(&*self.fetch, &self.clock));
        futures::future::join_all(sources).await;
        std::future::pending().await
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
            if self.still_holds(&checked.origin, registry, now) {
                checked.window.check(now, self.settings.skew_s)?;
                known_client(&checked, registry)?;
                return Ok(checked.caller.clone());
            }
            self.checked.remove(&id);
        }
        let checked = self.check(token, registry, now).await?;
        known_client(&checked, registry)?;
        let caller = checked.caller.clone();
        self.checked.insert(id, Arc::new(checked));
        Ok(caller)
    }

    /// Checks a token that is not remembered.
    async fn check(&self, token: &str, registry: &Registry, now: UnixSeconds) -> Result<Checked> {
        let (algorithm, kid) = keys::header(token)?;
        let issuer = claims::unchecked_issuer(token)?;
        let resource = std::slice::from_ref(&self.settings.resource);
        let (claims, origin, audiences, principal_claim) = if self.settings.built_in_issuer.as_ref()
            == Some(&issuer)
        {
            let keys = self.built_in_keys(registry);
            let (_, key) = keys.keys.iter().find(|(id, _)| *id == kid).ok_or_else(unknown_key)?;
            let origin = Origin::BuiltIn { kid, commit: registry.commit };
            (key.verify(token, algorithm)?, origin, resource, "oid")
        } else {
            let at = self.sources.iter().position(|source| source.issuer.issuer == issuer);
            let (at, source) =
                at.zip(at.and_then(|at| self.sources.get(at))).ok_or_else(|| self.unknown_issuer(&issuer))?;
            let keys = source.keys_with(&kid, now).await.ok_or_else(unknown_key)?;
            let claims = keys.key(&kid).ok_or_else(unknown_key)?.verify(token, algorithm)?;
            let ExternalIssuer { audiences, principal_claim, .. } = &source.issuer;
            let audiences = if audiences.is_empty() { resource } else { audiences };
            (
                claims,
                Origin::External { source: at, generation: keys.generation },
                audiences,
                principal_claim.as_str(),
            )
        };
        let expected =
            Expected { issuer: &issuer, tenant: &self.settings.tenant, audiences, principal_claim };
        let (caller, window) = Claims(&claims).check(&expected)?;
        window.check(now, self.settings.skew_s)?;
        Ok(Checked { caller, window, origin })
    }

    fn still_holds(&self, origin: &Origin, registry: &Registry, now: UnixSeconds) -> bool {
        match origin {
            Origin::BuiltIn { kid, commit } => {
                *commit == registry.commit && registry.signing_keys.iter().any(|key| key.id == *kid)
            }
            Origin::External { source, generation } => {
                let keys = self.sources.get(*source).and_then(|source| source.keys(now));
                keys.is_some_and(|keys| keys.generation == *generation)
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

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// A removed client's tokens stop working at once, long before they expire.
fn known_client(checked: &Checked, registry: &Registry) -> Result<()> {
    let Checked { caller, origin: Origin::BuiltIn { .. }, .. } = checked else { return Ok(()) };
    let client = caller.client().and_then(|client| registry.clients.get(client));
    if client.is_some_and(|client| client.principal == *caller.principal()) {
        Ok(())
    } else {
        Err(refuse("AKV10000", "The client that the token was issued to is not registered any more."))
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
