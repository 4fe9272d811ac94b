//! What the built-in issuer and the deployment's roles need to know; stored by `valv-vault` in the system group.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use valv_model::{ClientId, PrincipalId, Result, UnixSeconds};
use zeroize::Zeroizing;

use crate::RoleAssignment;

/// One secret of a client: a digest, never the secret.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientSecret {
    /// Shown in lists.
    pub id: uuid::Uuid,
    /// `hmac-sha256:{salt}:{digest}` for generated secrets (256 random bits), an Argon2id PHC string for chosen ones.
    pub digest: String,
    /// When it was made.
    pub created: UnixSeconds,
    /// When it stops working.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<UnixSeconds>,
}

impl ClientSecret {
    /// A new random secret; the text is shown once.
    pub fn generate(now: UnixSeconds, expires: Option<UnixSeconds>) -> Result<(Self, Zeroizing<String>)> {
        let _ = (now, expires);
        todo!()
    }

    /// A secret that a person chose. Slow on purpose: call it off the request threads.
    pub fn chosen(text: &str, now: UnixSeconds, expires: Option<UnixSeconds>) -> Result<Self> {
        let _ = (text, now, expires);
        todo!()
    }

    /// Is `text` the secret? Constant time in the digest. Slow for chosen secrets.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let _ = text;
        todo!()
    }
}

/// A registered client (application with a service principal).
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientRecord {
    /// Its client id (`appid`).
    pub id: ClientId,
    /// Its principal (`oid`).
    pub principal: PrincipalId,
    /// A name for people.
    pub name: String,
    /// When it was registered.
    pub created: UnixSeconds,
    /// Its secrets; more than one while a secret is being changed.
    pub secrets: Vec<ClientSecret>,
}

/// A signing key of the built-in issuer: ECDSA P-256.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SigningKey {
    /// The `kid` in tokens.
    pub id: String,
    /// PKCS#8, base64.
    pub pkcs8: Zeroizing<String>,
    /// When it was made; the newest signs, all verify.
    pub created: UnixSeconds,
}

impl SigningKey {
    /// A new random key.
    pub fn generate(now: UnixSeconds) -> Result<Self> {
        let _ = now;
        todo!()
    }
}

/// The state of the system group as one request sees it.
#[derive(Clone, Default)]
pub struct Registry {
    /// Registered clients.
    pub clients: BTreeMap<ClientId, ClientRecord>,
    /// Signing keys, newest last.
    pub signing_keys: Vec<SigningKey>,
    /// Deployment-wide role assignments.
    pub assignments: Vec<RoleAssignment>,
    /// The number of the system group's commit this was read at; caches compare it.
    pub commit: u64,
}
