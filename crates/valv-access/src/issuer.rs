//! The built-in token issuer: client credentials, the documents that MSAL and azure-identity ask for, and
//! the managed-identity endpoints.

use std::fmt;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use uuid::Uuid;
use valv_model::{ClientId, TenantId, UnixSeconds};

use crate::{ClientRecord, Registry};

mod credentials;
use credentials::SecretCheck;

mod form;
use form::{Form, TokenRequest};

mod refusal;
pub use refusal::TokenError;
use refusal::plain;

/// What the issuer must know.
#[derive(Clone, Debug)]
pub struct IssuerSettings {
    /// The deployment's tenant.
    pub tenant: TenantId,
    /// Base URL of the token service, such as `https://login.vault.localhost:8443`, without a trailing slash.
    pub authority: String,
    /// The resource tokens are for.
    pub resource: String,
    /// Life of a token, seconds. Python refreshes at every request what has less than 300 s left.
    pub lifetime_s: i64,
}

/// A successful grant.
pub struct TokenGrant {
    /// The answer's JSON: token_type, access_token, expires_in, ext_expires_in.
    pub body: Value,
    /// Whom it was issued to, for the audit record.
    pub client: ClientId,
}

impl fmt::Debug for TokenGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenGrant").field("client", &self.client).finish_non_exhaustive()
    }
}

/// The issuer. Holds no keys: they come with the [`Registry`].
#[derive(Debug)]
pub struct Issuer {
    settings: IssuerSettings,
    issuer: String,
    check: SecretCheck,
}

impl Issuer {
    /// An issuer.
    #[must_use]
    pub fn new(settings: IssuerSettings) -> Self {
        // JavaScript and Go demand the authority's scheme, host and port here.
        let issuer = format!("{}/{}/v2.0", settings.authority, settings.tenant);
        Self { settings, issuer, check: SecretCheck::new() }
    }

    /// The `iss` of its tokens.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Answers `POST /{tenant}/oauth2/v2.0/token` (a form). The client's id and secret stand in the form or in
    /// `authorization` (HTTP Basic, RFC 6749 section 2.3.1).
    pub async fn token(
        &self,
        tenant: &str,
        form: &[u8],
        authorization: Option<&str>,
        registry: &Registry,
        now: UnixSeconds,
    ) -> Result<TokenGrant, TokenError> {
        self.check_tenant(tenant, now)?;
        let request = TokenRequest::parse(form, authorization, now)?;
        request.check_scope(&self.settings.resource, now)?;
        let client = self.check.client(&request.client_id, &request.client_secret, registry, now).await?;
        let (access_token, _) = self.sign(client, registry, now)?;
        Ok(TokenGrant {
            body: json!({
                "token_type": "Bearer",
                "expires_in": self.settings.lifetime_s,
                "ext_expires_in": self.settings.lifetime_s,
                "access_token": access_token,
            }),
            client: client.id.clone(),
        })
    }

    /// Answers the App Service form of managed identity: header `X-IDENTITY-HEADER: {client id}:{client secret}`.
    pub async fn app_service_token(
        &self,
        query: &str,
        identity_header: Option<&str>,
        registry: &Registry,
        now: UnixSeconds,
    ) -> Result<TokenGrant, TokenError> {
        let grant = async {
            let Some((id, secret)) = identity_header.and_then(|header| header.split_once(':')) else {
                return Err(TokenError::new(
                    401,
                    "invalid_client",
                    "AADSTS7000216",
                    "The header X-IDENTITY-HEADER is missing or not of the form client id, colon, client secret.",
                    now,
                ));
            };
            let query = Form::parse(query.as_bytes(), now)?;
            self.check_identity_query(&query, id, now)?;
            let client = self.check.client(id, secret, registry, now).await?;
            self.managed_identity_grant(client, registry, now)
        };
        grant.await.map_err(TokenError::for_app_service)
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
        if !metadata_header.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Err(TokenError::new(
                400,
                "bad_request_102",
                "AADSTS900144",
                "The header Metadata must be there and must be true.",
                now,
            ));
        }
        self.check_identity_query(&Form::parse(query.as_bytes(), now)?, identity.as_str(), now)?;
        match registry.clients.get(identity) {
            Some(client) => self.managed_identity_grant(client, registry, now),
            None => Err(TokenError::new(
                400,
                "invalid_request",
                "AADSTS700016",
                "Identity not found: the client of this endpoint is not registered any more.",
                now,
            )),
        }
    }

    /// The OpenID discovery document of a tenant.
    pub fn openid_configuration(&self, tenant: &str, now: UnixSeconds) -> Result<Value, TokenError> {
        self.check_tenant(tenant, now)?;
        let base = format!("{}/{}", self.settings.authority, self.settings.tenant);
        Ok(json!({
            "issuer": self.issuer,
            "authorization_endpoint": format!("{base}/oauth2/v2.0/authorize"),
            "token_endpoint": format!("{base}/oauth2/v2.0/token"),
            "jwks_uri": format!("{base}/discovery/v2.0/keys"),
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
            "grant_types_supported": ["client_credentials"],
            "response_types_supported": ["token"],
            "response_modes_supported": ["form_post"],
            "subject_types_supported": ["pairwise"],
            "scopes_supported": [format!("{}/.default", self.settings.resource)],
            "id_token_signing_alg_values_supported": ["ES256"],
            "claims_supported": ["aud", "iss", "iat", "nbf", "exp", "tid", "oid", "sub", "appid", "azp", "ver", "uti"],
        }))
    }

    /// The public keys (RFC 7517). A key that cannot be read is left out and logged.
    #[must_use]
    pub fn jwks(&self, registry: &Registry) -> Value {
        let keys: Vec<Value> = registry
            .signing_keys
            .iter()
            .filter_map(|key| match key.public() {
                Ok(public) => Some(json!({
                    "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256",
                    "kid": key.id, "x": public.x, "y": public.y, "issuer": self.issuer,
                })),
                Err(error) => {
                    tracing::error!(%error, "a signing key is left out of the published keys");
                    None
                }
            })
            .collect();
        json!({ "keys": keys })
    }

    /// MSAL's instance discovery.
    #[must_use]
    pub fn instance_discovery(&self) -> Value {
        let IssuerSettings { tenant, authority, .. } = &self.settings;
        let host = authority.split_once("://").map_or(authority.as_str(), |(_, host)| host);
        json!({
            "tenant_discovery_endpoint": format!("{authority}/{tenant}/v2.0/.well-known/openid-configuration"),
            "api-version": "1.1",
            "metadata": [{ "preferred_network": host, "preferred_cache": host, "aliases": [host] }],
        })
    }

    fn check_tenant(&self, tenant: &str, now: UnixSeconds) -> Result<(), TokenError> {
        if tenant.eq_ignore_ascii_case(self.settings.tenant.as_str()) {
            return Ok(());
        }
        let text =
            format!("Tenant {} not found. Check to make sure you have the correct tenant ID.", plain(tenant));
        Err(TokenError::new(400, "invalid_tenant", "AADSTS90002", &text, now))
    }

    fn check_identity_query(&self, query: &Form, identity: &str, now: UnixSeconds) -> Result<(), TokenError> {
        form::check_resource(query.required("resource", now)?, &self.settings.resource, now)?;
        match query.one("client_id", now)? {
            Some(asked) if !asked.eq_ignore_ascii_case(identity) => {
                let text = format!(
                    "Identity not found: this endpoint stands for another client than {}.",
                    plain(asked)
                );
                Err(TokenError::new(400, "invalid_request", "AADSTS700016", &text, now))
            }
            _ => Ok(()),
        }
    }

    /// The answer of both managed-identity forms. All members are strings: that is what the clients parse.
    fn managed_identity_grant(
        &self,
        client: &ClientRecord,
        registry: &Registry,
        now: UnixSeconds,
    ) -> Result<TokenGrant, TokenError> {
        let (access_token, expires) = self.sign(client, registry, now)?;
        let lifetime = self.settings.lifetime_s.to_string();
        Ok(TokenGrant {
            body: json!({
                "access_token": access_token,
                "client_id": client.id.as_str(),
                "expires_in": lifetime,
                "expires_on": expires.0.to_string(),
                "ext_expires_in": lifetime,
                "not_before": now.0.to_string(),
                "resource": self.settings.resource,
                "token_type": "Bearer",
            }),
            client: client.id.clone(),
        })
    }

    /// An access token for a client whose credentials were checked, and when it expires.
    fn sign(
        &self,
        client: &ClientRecord,
        registry: &Registry,
        now: UnixSeconds,
    ) -> Result<(String, UnixSeconds), TokenError> {
        let failed = |detail: String| {
            tracing::error!(detail, "no token can be signed");
            TokenError::new(
                500,
                "server_error",
                "AADSTS90033",
                "The token service cannot sign tokens; the operator finds the cause in the log.",
                now,
            )
        };
        let key =
            registry.signing_keys.last().ok_or_else(|| failed("the registry holds no signing key".into()))?;
        let der = key.der().map_err(|error| failed(error.to_string()))?;
        let expires = now.plus(self.settings.lifetime_s);
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(key.id.clone());
        let claims = json!({
            "aud": self.settings.resource,
            "iss": self.issuer,
            "iat": now, "nbf": now, "exp": expires,
            "tid": self.settings.tenant,
            "oid": client.principal, "sub": client.principal,
            "appid": client.id, "azp": client.id,
            "appidacr": "1", "azpacr": "1", "idtyp": "app",
            "ver": "2.0",
            "uti": Uuid::new_v4(),
        });
        let token = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ec_der(&der))
            .map_err(|error| failed(format!("signing key {}: {error}", key.id)))?;
        Ok((token, expires))
    }
}

#[cfg(test)]
mod tests;
