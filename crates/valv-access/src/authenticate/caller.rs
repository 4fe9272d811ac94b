//! Who calls, and what a caller without a token is told.

use std::sync::Arc;

use valv_model::{ClientId, PrincipalId, TenantId};

/// Who calls: proof that a token was checked. Only [`crate::Authenticator::authenticate`] makes one. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Caller(pub(super) Arc<Identity>);

/// What a checked token says of its bearer.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) principal: PrincipalId,
    pub(super) client: Option<ClientId>,
    pub(super) issuer: String,
    pub(super) tenant: TenantId,
    pub(super) groups: Vec<PrincipalId>,
    pub(super) upn: Option<String>,
    pub(super) user: bool,
}

impl Caller {
    /// The `oid` claim.
    #[must_use]
    pub fn principal(&self) -> &PrincipalId {
        &self.0.principal
    }
    /// The `appid` (or `azp`) claim.
    #[must_use]
    pub fn client(&self) -> Option<&ClientId> {
        self.0.client.as_ref()
    }
    /// The `iss` claim.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }
    /// The `tid` claim; the deployment's tenant for issuers that send none.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.0.tenant
    }
    /// The `groups` claim.
    #[must_use]
    pub fn groups(&self) -> &[PrincipalId] {
        &self.0.groups
    }
    /// The `upn` claim, for the audit record.
    #[must_use]
    pub fn upn(&self) -> Option<&str> {
        self.0.upn.as_deref()
    }
    /// An application acts for a user (`scp` claim).
    #[must_use]
    pub fn acts_for_user(&self) -> bool {
        self.0.user
    }
    /// Is this the caller's principal or one of its groups?
    #[must_use]
    pub fn is(&self, principal: &PrincipalId) -> bool {
        self.principal() == principal || self.groups().contains(principal)
    }

    /// The application as error texts name it.
    pub(crate) fn client_text(&self) -> &str {
        self.client().map_or("", ClientId::as_str)
    }

    /// A caller that no token stands behind.
    #[cfg(test)]
    pub(crate) fn test(
        principal: &PrincipalId,
        client: Option<&ClientId>,
        tenant: &TenantId,
        groups: &[PrincipalId],
        user: bool,
    ) -> Self {
        Self(Arc::new(Identity {
            principal: principal.clone(),
            client: client.cloned(),
            issuer: "https://issuer.example/".into(),
            tenant: tenant.clone(),
            groups: groups.to_vec(),
            upn: None,
            user,
        }))
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
