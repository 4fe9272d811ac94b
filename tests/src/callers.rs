//! Callers with exactly the rights that a test gives them.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::Api;

/// A registered client that may do nothing until it is let in.
pub struct Stranger {
    /// A caller with its token.
    pub api: Api,
    /// Its client id.
    pub client: String,
    /// Its secret.
    pub secret: String,
    /// Its object id.
    pub principal: String,
}

impl Stranger {
    /// Registers a client, as the administrator `admin`, and signs it in.
    pub async fn register(admin: &Api, name: &str) -> Self {
        let body = json!({ "displayName": name, "generateSecret": true });
        let path = format!("/admin/clients/{}", Uuid::new_v4());
        let answer = admin.send("PUT", &path, Some(body)).await.expect(200).json();
        let text = |name: &str| answer[name].as_str().expect("a text").to_owned();
        let (client, secret, principal) = (text("clientId"), text("secret"), text("objectId"));
        Self { api: admin.sign_in(&client, &secret).await, client, secret, principal }
    }

    /// Assigns it a role at `scope`; the assignment's id.
    pub async fn assign(&self, admin: &Api, role: &str, scope: &str) -> Uuid {
        assign(admin, &self.principal, role, scope).await
    }

    /// Gives it access-policy words for `secrets`, `keys` or `certificates` on a vault, and takes all others away.
    pub async fn permit(&self, admin: &Api, vault: &str, kind: &str, words: &[&str]) {
        let path = format!("/admin/vaults/{vault}/accesspolicies/{}", self.principal);
        let body = json!({ "permissions": { kind: words } });
        admin.send("PUT", &path, Some(body)).await.expect(200);
    }
}

/// Assigns a role to a principal; the assignment's id.
pub async fn assign(admin: &Api, principal: &str, role: &str, scope: &str) -> Uuid {
    let id = Uuid::new_v4();
    let body = json!({ "roleDefinition": role, "principalId": principal, "scope": scope });
    admin.send("PUT", &format!("/admin/roleassignments/{id}"), Some(body)).await.expect(200);
    id
}

/// Makes a vault with these properties, and returns what the service shows of it.
pub async fn create_vault(admin: &Api, name: &str, properties: Value) -> Value {
    let body = json!({ "properties": properties });
    admin.send("PUT", &format!("/admin/vaults/{name}"), Some(body)).await.expect(200).json()
}
