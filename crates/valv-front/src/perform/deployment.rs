//! Clients, root key, status: administration of the deployment (docs/admin-api.md).

use std::sync::Arc;

use serde_json::{Value, json};
use valv_model::{ClientId, Error, ErrorCode, Operation, Result};
use valv_vault::system::{ClientPut, ClientView, NewClient};

use super::body::Object;
use super::{Call, misplaced, status};
use crate::HeldRootKeys;
use crate::answer::Reply;

pub(super) async fn perform(call: &Call<'_>) -> Result<Reply> {
    let (service, permit, context) = (call.service, call.permit, call.context);
    let id = || ClientId::parse(call.params.get("client"));
    Ok(match permit.operation() {
        Operation::ClientPut => {
            let (id, put) = (id()?, client(call.body)?);
            let new = service.client_put(permit, context, &id, put).await?;
            new_client(&new).about(format!("/admin/clients/{id}"))
        }
        Operation::ClientList => {
            let clients = service.client_list(permit).await?;
            let value: Vec<_> = clients.iter().map(view).collect();
            Reply::json(200, &json!({ "value": value }), clients.len() * 512)
        }
        Operation::ClientDelete => {
            let id = id()?;
            service.client_delete(permit, context, &id).await?;
            Reply::empty(204).about(format!("/admin/clients/{id}"))
        }
        Operation::RootKeyRotate => {
            if let Some(reload) = call.reload_root_keys {
                let reload = Arc::clone(reload);
                let reloaded = tokio::task::spawn_blocking(move || reload()).await;
                reloaded.map_err(|e| Error::internal(format!("reloading the root keys: {e}")))??;
            }
            if let Some(far) = call.far {
                held_everywhere(&service.current_root_key().0, &(far.root_keys)())?;
            }
            let vaults = service.root_key_rotate(permit, context).await?;
            Reply::json(200, &json!({ "vaultsChanged": vaults }), 0)
        }
        Operation::StatusGet => {
            let status = status::status(call).await;
            Reply::json(200, &status, 4096)
        }
        other => return Err(misplaced(other)),
    })
}

/// Refuses to wrap anything under a root key that another node could not unwrap it with.
fn held_everywhere(id: &str, nodes: &[HeldRootKeys]) -> Result<()> {
    let lacks = |node: &HeldRootKeys| {
        let name = format!("{} in {}", node.node.address, node.node.region);
        match &node.ids {
            None => Some(format!("{name} has not answered lately")),
            Some(ids) if ids.iter().any(|held| held == id) => None,
            Some(_) => Some(format!("{name} does not hold it")),
        }
    };
    let lacking: Vec<String> = nodes.iter().filter_map(lacks).collect();
    if lacking.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        ErrorCode::Conflict,
        format!(
            "The root key '{id}' is not held by every node: {}. Put it into root_key.sources of each of them, then repeat this; until then keep the old root key.",
            lacking.join("; ")
        ),
    ))
}

/// The body of `ClientPut`.
pub(super) fn client(body: &[u8]) -> Result<ClientPut> {
    let object = Object::parse_optional(body)?;
    Ok(ClientPut {
        name: object.take("displayName", "a string")?,
        generate_secret: object.take("generateSecret", "true or false")?.unwrap_or(false),
        chosen_secret: object.take("secret", "a string")?,
        expires: object.date("expires")?,
    })
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    client_id: &'a ClientId,
    object_id: &'a valv_model::PrincipalId,
    display_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<&'a str>,
}

/// The one answer that holds a client's secret.
fn new_client(new: &NewClient) -> Reply {
    let secret = new.secret.as_ref().map(|s| s.as_str());
    let shown = Shown { client_id: &new.id, object_id: &new.principal, display_name: &new.name, secret };
    Reply::json(200, &shown, 512)
}

fn view(client: &ClientView) -> Value {
    let secrets: Vec<_> = client
        .secrets
        .iter()
        .map(|(id, created, expires)| json!({ "keyId": id, "created": created, "expires": expires }))
        .collect();
    json!({
        "clientId": client.id,
        "objectId": client.principal,
        "displayName": client.name,
        "created": client.created,
        "secrets": secrets,
    })
}
