//! Query and body into the words of `valv-vault`, the call, and its result into Azure's JSON.

use std::sync::Arc;

use valv_access::Permit;
use valv_model::{Error, ErrorCode, ObjectName, ObjectType, Operation, Result};
use valv_vault::vaults::Vault;
use valv_vault::{Service, WriteContext};

use crate::answer::Reply;
use crate::limit::VaultRates;
use crate::resolve::{Authority, Params};
use crate::{Far, FrontSettings, ReloadRootKeys, Replicas};

pub(crate) mod body;
mod common;
mod deployment;
mod keys;
pub(crate) mod open;
mod query;
mod roles;
mod secrets;
mod status;
mod vaults;

use body::Object;
pub(crate) use query::{Query, shown};

/// A request that may be performed.
pub(crate) struct Call<'a> {
    pub(crate) service: &'a Service,
    pub(crate) settings: &'a FrontSettings,
    pub(crate) rates: &'a VaultRates,
    pub(crate) reload_root_keys: Option<&'a ReloadRootKeys>,
    pub(crate) far: Option<&'a Far>,
    pub(crate) replicas: Option<&'a dyn Replicas>,
    pub(crate) permit: &'a Permit,
    pub(crate) vault: Option<&'a Arc<Vault>>,
    pub(crate) authority: &'a Authority,
    pub(crate) params: &'a Params,
    pub(crate) object: Option<&'a ObjectName>,
    pub(crate) query: &'a Query,
    pub(crate) body: &'a [u8],
    pub(crate) context: &'a WriteContext,
}

impl<'a> Call<'a> {
    /// The name in the path.
    fn name(&self) -> Result<&'a ObjectName> {
        self.object.ok_or_else(|| Error::internal("an operation on an object without its name"))
    }

    /// The vault that the host names.
    fn vault(&self) -> Result<&'a Vault> {
        self.vault.map(Arc::as_ref).ok_or_else(unknown_vault)
    }
}

/// The refusal of a host that names no vault.
pub(crate) fn unknown_vault() -> Error {
    Error::new(
        ErrorCode::VaultNotFound,
        "There is no vault of this name here. Its name is the first label of the host name; it may have been deleted.",
    )
}

/// Does what was asked.
pub(crate) async fn perform(call: &Call<'_>) -> Result<Reply> {
    let operation = call.permit.operation();
    match operation.spec().object {
        ObjectType::Secret => secrets::perform(call).await,
        ObjectType::Key => keys::perform(call).await,
        ObjectType::Vault => vaults::perform(call).await,
        ObjectType::Deployment => match operation {
            Operation::RoleAssignmentPut
            | Operation::RoleAssignmentList
            | Operation::RoleAssignmentDelete => roles::perform(call).await,
            _ => deployment::perform(call).await,
        },
        ObjectType::Token | ObjectType::Service => Err(misplaced(operation)),
    }
}

fn misplaced(operation: Operation) -> Error {
    Error::internal(format!("{operation} came to the wrong place"))
}

/// Reads a body as `operation` would and forgets it; for fuzzing.
pub(crate) fn parse_body(operation: Operation, body: &[u8]) -> Result<()> {
    match operation {
        Operation::SecretSet => secrets::set(body).map(drop),
        Operation::SecretUpdate => secrets::update(body).map(drop),
        Operation::SecretRestore | Operation::KeyRestore => common::blob(body).map(drop),
        operation if operation.spec().object == ObjectType::Key => keys::parse_body(operation, body),
        Operation::VaultPut => vaults::put(body).map(drop),
        Operation::RoleAssignmentPut => roles::put(uuid::Uuid::nil(), body).map(drop),
        Operation::ClientPut => deployment::client(body).map(drop),
        _ => Object::parse_optional(body).map(drop),
    }
}
