//! The system vault: clients, signing keys, deployment-wide roles; and the making of a store's first content.

use uuid::Uuid;
use valv_access::{Permit, RoleAssignment};
use valv_model::{ClientId, PrincipalId, Result, UnixSeconds};
use zeroize::Zeroizing;

use crate::{Service, WriteContext};

mod init;
pub use init::init;

pub(crate) mod registry;

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

#[allow(clippy::missing_errors_doc, reason = "the errors are Azure's; see docs/operations.md")]
impl Service {
    /// Registers a client, or adds a secret to it.
    pub async fn client_put(
        &self,
        permit: &Permit,
        context: &WriteContext,
        id: &ClientId,
        put: ClientPut,
    ) -> Result<NewClient> {
        let _ = (permit, context, id, put);
        todo!()
    }
    /// All clients.
    pub async fn client_list(&self, permit: &Permit) -> Result<Vec<ClientView>> {
        let _ = permit;
        todo!()
    }
    /// Removes a client; its tokens stop working at once.
    pub async fn client_delete(&self, permit: &Permit, context: &WriteContext, id: &ClientId) -> Result<()> {
        let _ = (permit, context, id);
        todo!()
    }
    /// Assigns a role, at the deployment (stored here) or at a vault or object (stored with the vault).
    pub async fn role_assignment_put(
        &self,
        permit: &Permit,
        context: &WriteContext,
        assignment: RoleAssignment,
    ) -> Result<RoleAssignment> {
        let _ = (permit, context, assignment);
        todo!()
    }
    /// All assignments: the deployment's and every vault's.
    pub async fn role_assignment_list(&self, permit: &Permit) -> Result<Vec<RoleAssignment>> {
        let _ = permit;
        todo!()
    }
    /// Removes an assignment.
    pub async fn role_assignment_delete(
        &self,
        permit: &Permit,
        context: &WriteContext,
        id: &Uuid,
    ) -> Result<()> {
        let _ = (permit, context, id);
        todo!()
    }
    /// Wraps every data key under the keyring's current root key, one commit per vault, then records it as the
    /// store's. Returns how many vaults changed. Safe to repeat after an interruption.
    pub async fn root_key_rotate(&self, permit: &Permit, context: &WriteContext) -> Result<u64> {
        let _ = (permit, context);
        todo!()
    }
}
