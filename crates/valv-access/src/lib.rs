//! Who calls, and may they?
//!
//! ```text
//! Authorization header --Authenticator--> Caller --authorize--> Permit
//! ```
//!
//! [`Caller`] is made only by checking a token; [`Permit`] only by [`authorize`]. Everything that performs
//! an operation demands a `Permit`. Nothing here stores anything: registered clients, signing keys and
//! deployment-wide roles come in as a [`Registry`], a vault's own rules as [`VaultAccess`].
//!
//! From a client's secret to a permit:
//!
//! ```
//! use valv_access::*;
//! use valv_model::{ClientId, Operation, PrincipalId, TenantId, UnixSeconds};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let now = UnixSeconds(1_800_000_000);
//! let tenant = TenantId::parse("11111111-2222-3333-4444-555555555555")?;
//! let resource = "https://vault.localhost:8443".to_owned();
//!
//! // What `valv-vault` keeps in the system group.
//! let (secret, text) = ClientSecret::generate(now, None)?;
//! let client = ClientRecord {
//!     id: ClientId::parse("aaaaaaaa-0000-0000-0000-000000000001")?,
//!     principal: PrincipalId::parse("bbbbbbbb-0000-0000-0000-000000000001")?,
//!     name: "admin".into(),
//!     created: now,
//!     secrets: vec![secret],
//! };
//! let role = RoleAssignment {
//!     id: uuid::Uuid::new_v4(),
//!     role: VALV_ADMINISTRATOR,
//!     principal: client.principal.clone(),
//!     scope: Scope::Deployment,
//! };
//! let registry = Registry {
//!     clients: [(client.id.clone(), client)].into(),
//!     signing_keys: vec![SigningKey::generate(now)?],
//!     assignments: vec![role],
//!     commit: 1,
//! };
//!
//! let issuer = Issuer::new(IssuerSettings {
//!     tenant: tenant.clone(),
//!     authority: "https://login.vault.localhost:8443".into(),
//!     resource: resource.clone(),
//!     lifetime_s: 3600,
//! });
//! let form = format!(
//!     "grant_type=client_credentials&client_id=aaaaaaaa-0000-0000-0000-000000000001\
//!      &client_secret={}&scope={resource}/.default",
//!     *text
//! );
//! let grant = issuer.token(tenant.as_str(), form.as_bytes(), None, &registry, now).await;
//! let body = grant.map_err(|refusal| refusal.body.to_string())?.body;
//!
//! let authenticator = Authenticator::new(AuthenticatorSettings {
//!     tenant,
//!     resource,
//!     built_in_issuer: Some(issuer.issuer().to_owned()),
//!     issuers: vec![],
//!     cache_dir: "/var/lib/valv/issuer-keys".into(),
//!     skew_s: AuthenticatorSettings::SKEW_S,
//! })?;
//! let header = format!("Bearer {}", body["access_token"].as_str().unwrap_or_default());
//! let caller = authenticator.authenticate(Some(&header), &registry, now).await?;
//! let target = Target { vault: None, object: None };
//! let permit = authorize(caller, Operation::ClientList, target, &registry)?;
//! assert_eq!(permit.caller().principal().as_str(), "bbbbbbbb-0000-0000-0000-000000000001");
//! # Ok(())
//! # }
//! ```

mod authenticate;
pub use authenticate::{
    Authenticator, AuthenticatorSettings, Caller, Challenge, ExternalIssuer, demand_bearer,
};

mod authorize;
pub use authorize::{
    Permit, Target, authorize, may_assign, may_change_permission_model, symmetric_key_forbidden,
};

mod policy;
pub use policy::{AccessPolicy, VaultAccess};

mod role;
pub use role::{
    BUILT_IN_ROLES, KEY_VAULT_ADMINISTRATOR, KEY_VAULT_DATA_ACCESS_ADMINISTRATOR, Role, RoleAssignment,
    Scope, VALV_ADMINISTRATOR,
};

mod registry;
pub use registry::{ClientRecord, ClientSecret, Registry, SigningKey};

mod issuer;
pub use issuer::{Issuer, IssuerSettings, TokenError, TokenGrant};
