//! The built-in token issuer: client credentials, the documents that MSAL and azure-identity ask for, and
//! the managed-identity endpoints.

use serde_json::Value;
use valv_model::{ClientId, TenantId, UnixSeconds};

use crate::Registry;

/// What the issuer must know.
#[derive(Clone, Debug)]
pub struct IssuerSettings {
    /// The deployment's tenant.
    pub tenant: TenantId,
    /// Base URL of the token service, such as `https://login.vault.localhost:8443`, without a trailing slash.
    pub authority: String,
    /// The resource tokens are for.
    pub resource: String,
    /// Life of a token, seconds.
    pub lifetime_s: i64,
}

/// A successful grant.
pub struct TokenGrant {
    /// The answer's JSON: token_type, access_token, expires_in, ext_expires_in.
    pub body: Value,
    /// Whom it was issued to, for the audit record.
    pub client: ClientId,
}

/// A refusal in the token service's own form (RFC 6749 section 5.2 with Entra's additions).
#[derive(Clone, Debug)]
pub struct TokenError {
    /// HTTP status: 400 or 401.
    pub status: u16,
    /// The answer's JSON: error, error_description, error_codes, timestamp, trace_id, correlation_id.
    pub body: Value,
}

/// The issuer. Holds no keys: they come with the [`Registry`].
pub struct Issuer {}

impl Issuer {
    /// An issuer.
    #[must_use]
    pub fn new(settings: IssuerSettings) -> Self {
        let _ = settings;
        todo!()
    }

    /// The `iss` of its tokens.
    #[must_use]
    pub fn issuer(&self) -> &str {
        todo!()
    }

    /// Answers `POST /{tenant}/oauth2/v2.0/token` (a form).
    pub async fn token(
        &self,
        tenant: &str,
        form: &[u8],
        registry: &Registry,
        now: UnixSeconds,
    ) -> Result<TokenGrant, TokenError> {
        let _ = (tenant, form, registry, now);
        todo!()
    }

    /// Answers the App Service form of managed identity: header `X-IDENTITY-HEADER: {client id}:{client secret}`.
    pub async fn app_service_token(
        &self,
        query: &str,
        identity_header: Option<&str>,
        registry: &Registry,
        now: UnixSeconds,
    ) -> Result<TokenGrant, TokenError> {
        let _ = (query, identity_header, registry, now);
        todo!()
    }

    /// Answers the IMDS form for the one client that a loopback listener stands for.
    pub async fn managed_identity_token(
        &self,
        query: &str,
        metadata_header: Option<&str>,
        identity: &ClientId,
        registry: &Registry,
        now: UnixSeconds,
    ) -> Result<TokenGrant, TokenError> {
        let _ = (query, metadata_header, identity, registry, now);
        todo!()
    }

    /// The OpenID discovery document of a tenant.
    pub fn openid_configuration(&self, tenant: &str) -> Result<Value, TokenError> {
        let _ = tenant;
        todo!()
    }

    /// The public keys (RFC 7517).
    #[must_use]
    pub fn jwks(&self, registry: &Registry) -> Value {
        let _ = registry;
        todo!()
    }

    /// MSAL's instance discovery.
    #[must_use]
    pub fn instance_discovery(&self) -> Value {
        todo!()
    }
}
