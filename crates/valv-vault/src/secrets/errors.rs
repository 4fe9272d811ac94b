//! Refusals in Azure's words (codes and texts: Key Vault REST error codes; the texts are what its clients show and match).

use valv_model::{Error, ErrorCode, InnerCode, ObjectName, VersionId};

use crate::vaults::VaultState;

/// How a message names a secret, or one version of it.
fn id(name: &ObjectName, version: Option<&VersionId>) -> String {
    match version {
        Some(version) => format!("{name}/{version}"),
        None => name.to_string(),
    }
}

/// 404: no such live secret, or no such version of it.
pub(super) fn not_found(name: &ObjectName, version: Option<&VersionId>) -> Error {
    Error::new(
        ErrorCode::SecretNotFound,
        format!(
            "A secret with (name/id) {} was not found in this key vault. If you recently deleted this secret you may be able to recover it using the correct recovery command. For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125182",
            id(name, version)
        ),
    )
}

/// 404: no such deleted secret.
pub(super) fn deleted_not_found(name: &ObjectName) -> Error {
    Error::new(ErrorCode::SecretNotFound, format!("Deleted Secret not found: {name}"))
}

/// 403: the version exists and is switched off.
pub(super) fn disabled() -> Error {
    Error::new(ErrorCode::Forbidden, "Operation get is not allowed on a disabled secret.")
        .inner(InnerCode::SecretDisabled)
}

/// 409: the name belongs to a soft-deleted secret.
pub(super) fn name_is_deleted(name: &ObjectName) -> Error {
    Error::new(
        ErrorCode::Conflict,
        format!(
            "Secret {name} is currently in a deleted but recoverable state, and its name cannot be reused; in this state, the secret can only be recovered or purged."
        ),
    )
    .inner(InnerCode::ObjectIsDeletedButRecoverable)
}

/// 409: the name belongs to a secret whose purge is not finished.
pub(super) fn name_is_purging() -> Error {
    Error::new(ErrorCode::Conflict, "Secret is currently being deleted.")
        .inner(InnerCode::ObjectIsBeingDeleted)
}

/// 409: the name belongs to a secret whose restore is not finished.
pub(super) fn name_is_restoring(name: &ObjectName) -> Error {
    Error::new(
        ErrorCode::Conflict,
        format!("Secret {name} is currently being recovered and cannot be re-created; retry later."),
    )
    .inner(InnerCode::ObjectIsBeingRecovered)
}

/// 409: the name of a backup is taken.
pub(super) fn restore_conflict(name: &ObjectName, version: &VersionId) -> Error {
    Error::new(
        ErrorCode::Conflict,
        format!(
            "There was a conflict restoring the secret 'secrets/{name}/{version}'. This can happen if either: a second secret with the same name was created after the first secret was deleted; thus trying to restore a secret whose name is already in use. To fix this, rename the second secret to something else so that the restore works. The second probable cause of this exception is when multiple operations are performed in parallel against the secret. To avoid this error, perform operations against a secret in a sequential manner."
        ),
    )
}

/// 409: a live secret has the deleted one's name.
pub(super) fn recover_conflict(name: &ObjectName) -> Error {
    Error::new(
        ErrorCode::Conflict,
        format!(
            "There was a conflict while recovering the soft-deleted secret 'secrets/{name}'. A secret with this name exists; delete and purge it first."
        ),
    )
}

/// 403: nobody purges before the retention time has passed.
pub(super) fn purge_protected(vault: &VaultState) -> Error {
    Error::new(
        ErrorCode::Forbidden,
        format!(
            "Operation \"purge\" is not allowed because purge protection is enabled for this vault. Key Vault service will automatically purge it after the retention period has passed.\r\nVault: {};location={}",
            vault.envelope.name, vault.properties.region
        ),
    )
}

/// 400: a blob that this deployment did not make, or that was changed.
pub(super) fn malformed_backup(detail: impl Into<String>) -> Error {
    Error::new(ErrorCode::MalformedBackup, "Backup blob is corrupt.").detail(detail)
}

/// 409: a retry whose first try succeeded, after which somebody else changed the object.
pub(super) fn changed_since(name: &ObjectName) -> Error {
    Error::new(
        ErrorCode::Conflict,
        format!(
            "An earlier try of this request succeeded, and the secret {name} was changed by another request since. Read the secret to see its state."
        ),
    )
}
