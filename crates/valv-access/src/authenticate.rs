//! Bearer token to [`Caller`].

use std::path::PathBuf;

use valv_model::{ClientId, PrincipalId, Result, TenantId, UnixSeconds};

use crate::Registry;

/// Who calls: proof that a token was checked. Only [`Authenticator::authenticate`] makes one.
#[derive(Clone, Debug)]
pub struct Caller {
    principal: PrincipalId,
    client: Option<ClientId>,
    issuer: String,
    groups: Vec<PrincipalId>,
    upn: Option<String>,
    user: bool,
}

impl Caller {
    /// The `oid` claim.
    #[must_use]
    pub fn principal(&self) -> &PrincipalId {
        &self.principal
    }
    /// The `appid` (or `azp`) claim.
    #[must_use]
    pub fn client(&self) -> Option<&ClientId> {
        self.client.as_ref()
    }
    /// The `iss` claim.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }
    /// The `groups` claim.
    #[must_use]
    pub fn groups(&self) -> &[PrincipalId] {
        &self.groups
    }
    /// The `upn` claim, for the audit record.
    #[must_use]
    pub fn upn(&self) -> Option<&str> {
        self.upn.as_deref()
    }
    /// An application acts for a user (`scp` claim).
    #[must_use]
    pub fn acts_for_user(&self) -> bool {
        self.user
    }
}

/// What a 401 tells the client to do.
#[derive(Clone, Debug)]
pub struct Challenge {
    /// Absolute URL of the token service with the tenant, without a trailing slash.
    pub authorization: String,
    /// The resource to ask a token for: the deployment's domain with the port.
    pub resource: String,
}

impl Challenge {
    /// The value of `WWW-Authenticate`.
    #[must_use]
    pub fn header(&self) -> String {
        format!("Bearer authorization=\"{}\", resource=\"{}\"", self.authorization, self.resource)
    }
}

/// A token issuer other than our own.
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
    /// Allowed clock skew, seconds (default 60... as documented).
    pub skew_s: i64,
}

/// Checks tokens.
pub struct Authenticator {}

impl Authenticator {
    /// An authenticator; loads kept signing keys from disk, fetches nothing yet.
    pub fn new(settings: AuthenticatorSettings) -> Result<Self> {
        let _ = settings;
        todo!()
    }

    /// Fetches the issuers' signing keys and goes on refreshing them in the background until dropped.
    pub async fn refresh_forever(&self) {
        todo!()
    }

    /// The `Authorization` header's caller. Errors are `Unauthorized` with Azure's AKV10xxx texts.
    pub async fn authenticate(
        &self,
        authorization: Option<&str>,
        registry: &Registry,
        now: UnixSeconds,
    ) -> Result<Caller> {
        let _ = (authorization, registry, now);
        todo!()
    }
}
