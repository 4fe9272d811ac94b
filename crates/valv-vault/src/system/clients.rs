//! Registered clients.

use std::sync::Arc;

use uuid::Uuid;
use valv_access::{ClientRecord, ClientSecret, Permit};
use valv_model::{ClientId, Error, ErrorCode, Operation, PrincipalId, Result};
use valv_sealing::RecordKind;
use zeroize::Zeroizing;

use super::registry::{CLIENTS, system_vault};
use super::{ClientPut, ClientView, NewClient};
use crate::queue::{Change, Decision, Need, State, Write};
use crate::vaults::demand;
use crate::{Service, WriteContext};

/// The most clients of a deployment; all of them are held in memory.
const CLIENTS_MAX: usize = 10_000;

/// The most secrets of one client.
const SECRETS_MAX: usize = 10;

/// The shortest chosen secret, in characters.
const CHOSEN_MIN: usize = 16;

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
        demand(permit, Operation::ClientPut)?;
        self.put_client(context, id, put).await
    }

    /// All clients.
    pub async fn client_list(&self, permit: &Permit) -> Result<Vec<ClientView>> {
        demand(permit, Operation::ClientList)?;
        let registry = self.look(None).await?.registry;
        let view = |client: &ClientRecord| ClientView {
            id: client.id.clone(),
            principal: client.principal.clone(),
            name: client.name.clone(),
            created: client.created,
            secrets: client
                .secrets
                .iter()
                .map(|secret| (secret.id, secret.created, secret.expires))
                .collect(),
        };
        Ok(registry.clients.values().map(view).collect())
    }

    /// Removes a client; its tokens stop working at once.
    pub async fn client_delete(&self, permit: &Permit, context: &WriteContext, id: &ClientId) -> Result<()> {
        demand(permit, Operation::ClientDelete)?;
        self.delete_client(context, id).await
    }

    pub(crate) async fn put_client(
        &self,
        context: &WriteContext,
        id: &ClientId,
        put: ClientPut,
    ) -> Result<NewClient> {
        if let Some(name) = &put.name {
            check_name(name)?;
        }
        let now = self.clock.now();
        let mut secrets = Vec::new();
        let mut shown = None;
        if put.generate_secret {
            let (secret, text) = ClientSecret::generate(now, put.expires)?;
            secrets.push(secret);
            shown = Some(text);
        }
        if let Some(text) = put.chosen_secret {
            if text.chars().count() < CHOSEN_MIN {
                return Err(Error::bad(format!(
                    "The client secret must have at least {CHOSEN_MIN} characters."
                )));
            }
            // Slow on purpose.
            let chosen =
                tokio::task::spawn_blocking(move || ClientSecret::chosen(&text, now, put.expires)).await;
            secrets.push(chosen.map_err(|e| Error::internal(e.to_string()))??);
        }
        let path = format!("{CLIENTS}{id}");
        let principal = PrincipalId::parse(&Uuid::new_v4().to_string())?;
        let known = self.look(None).await?.registry.clients.len();
        let (client_id, name) = (id.clone(), put.name);
        let place = path.clone();
        let decide = Box::new(move |state: &State<'_>| {
            let client = match read(state, &place)? {
                Some(client) => changed(client, name.as_deref(), &secrets)?,
                None if known >= CLIENTS_MAX => {
                    return Err(Error::bad(format!(
                        "The deployment has {known} clients; at most {CLIENTS_MAX} are allowed."
                    )));
                }
                None => ClientRecord {
                    id: client_id.clone(),
                    principal: principal.clone(),
                    name: name.clone().ok_or_else(|| {
                        Error::bad("A new client needs a name. Say which one, or name a client that exists.")
                    })?,
                    created: now,
                    secrets: secrets.clone(),
                },
            };
            let plaintext = serde_json::to_vec(&client).map_err(|e| Error::internal(e.to_string()))?;
            let put = Write::Put {
                path: place.clone(),
                kind: RecordKind::Client,
                plaintext: Zeroizing::new(plaintext),
            };
            Ok(Decision { writes: vec![put], version: None })
        });
        let change = Change { operation: Operation::ClientPut, needs: vec![Need::Record(path)], decide };
        let system = system_vault(&self.node).await?;
        let committed = self.submit(&system, context, change).await?;
        if committed.replayed && shown.is_some() {
            return Err(Error::new(
                ErrorCode::Conflict,
                "This request was done before, and the secret that it made can be shown only once. Ask for another secret with a new request.",
            ));
        }
        let registry = self.look(None).await?.registry;
        let client = registry.clients.get(id).ok_or_else(|| not_found(id))?;
        Ok(NewClient {
            id: client.id.clone(),
            principal: client.principal.clone(),
            name: client.name.clone(),
            secret: shown,
        })
    }

    pub(crate) async fn delete_client(&self, context: &WriteContext, id: &ClientId) -> Result<()> {
        let path = format!("{CLIENTS}{id}");
        let (place, id) = (path.clone(), id.clone());
        let decide = Box::new(move |state: &State<'_>| {
            // Not opened: a damaged record can be removed too.
            if state.paths(&place).is_empty() {
                return Err(not_found(&id));
            }
            Ok(Decision { writes: vec![Write::Delete { path: place.clone() }], version: None })
        });
        let needs = vec![Need::Prefix { prefix: path, limit: 1 }];
        let change = Change { operation: Operation::ClientDelete, needs, decide };
        let system: Arc<_> = system_vault(&self.node).await?;
        self.submit(&system, context, change).await.map(drop)
    }
}

fn read(state: &State<'_>, path: &str) -> Result<Option<ClientRecord>> {
    let Some(plaintext) = state.get(path, RecordKind::Client)? else { return Ok(None) };
    // Not the parser's words: they may quote what was sealed.
    serde_json::from_slice(&plaintext)
        .map(Some)
        .map_err(|_| Error::internal(format!("{path} is no client record")))
}

fn changed(mut client: ClientRecord, name: Option<&str>, secrets: &[ClientSecret]) -> Result<ClientRecord> {
    if client.secrets.len() + secrets.len() > SECRETS_MAX {
        return Err(Error::bad(format!(
            "The client {} has {} secrets; at most {SECRETS_MAX} are allowed. Remove the client, or use another one.",
            client.id,
            client.secrets.len()
        )));
    }
    if let Some(name) = name {
        name.clone_into(&mut client.name);
    }
    client.secrets.extend_from_slice(secrets);
    Ok(client)
}

fn check_name(name: &str) -> Result<()> {
    if (1..=120).contains(&name.chars().count()) && !name.chars().any(char::is_control) {
        Ok(())
    } else {
        Err(Error::bad("A client's name has 1 to 120 characters and no control characters."))
    }
}

fn not_found(id: &ClientId) -> Error {
    Error::new(ErrorCode::NotFound, format!("There is no client {id}."))
}
