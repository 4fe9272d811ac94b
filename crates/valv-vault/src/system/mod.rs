//! The system vault: clients, signing keys, deployment-wide roles; and the making of a store's first content.

use uuid::Uuid;
use valv_model::{ClientId, PrincipalId, UnixSeconds};
use zeroize::Zeroizing;

mod assignments;

mod clients;

mod init;
pub use init::init;

pub(crate) mod registry;

mod root_key;

#[cfg(test)]
mod tests;

/// A client with a secret that is shown once.
pub struct NewClient {
    /// `AZURE_CLIENT_ID`.
    pub id: ClientId,
    /// The `oid` of its tokens.
    pub principal: PrincipalId,
    /// Its name.
    pub name: String,
    /// `AZURE_CLIENT_SECRET`; None where only the name changed or the person chose the secret.
    pub secret: Option<Zeroizing<String>>,
}

/// A client in lists.
#[derive(Clone, Debug)]
pub struct ClientView {
    /// Its id.
    pub id: ClientId,
    /// Its principal.
    pub principal: PrincipalId,
    /// Its name.
    pub name: String,
    /// When it was registered.
    pub created: UnixSeconds,
    /// Ids and expiry of its secrets.
    pub secrets: Vec<(Uuid, UnixSeconds, Option<UnixSeconds>)>,
}

/// The parameters of `ClientPut`.
#[derive(Default)]
pub struct ClientPut {
    /// A name for people; required for a new client.
    pub name: Option<String>,
    /// Add a generated secret.
    pub generate_secret: bool,
    /// Add a chosen secret (at least 16 characters).
    pub chosen_secret: Option<Zeroizing<String>>,
    /// When the added secret stops working.
    pub expires: Option<UnixSeconds>,
}
