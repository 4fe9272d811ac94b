//! Who calls, and may they?
//!
//! ```text
//! Authorization header --Authenticator--> Caller --authorize--> Permit
//! ```
//!
//! [`Caller`] is made only by checking a token; [`Permit`] only by [`authorize`]. Everything that performs
//! an operation demands a `Permit`. Nothing here stores anything: registered clients, signing keys and
//! deployment-wide roles come in as a [`Registry`], a vault's own rules as [`VaultAccess`].

mod authenticate;
pub use authenticate::{Authenticator, AuthenticatorSettings, Caller, Challenge, ExternalIssuer};

mod authorize;
pub use authorize::{Permit, Target, authorize, may_assign};

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
