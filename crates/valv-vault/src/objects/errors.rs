//! Refusals in Azure's words, for every type of object (codes and texts: Key Vault REST error codes; the texts
//! are what its clients show and match).

use valv_model::{Error, ErrorCode, InnerCode, ObjectName, VersionId};

use super::Kind;
use crate::vaults::VaultState;

/// How a message names an object, or one version of it.
fn id(name: &ObjectName, version: Option<&VersionId>) -> String {
    match version {
        Some(version) => format!("{name}/{version}"),
        None => name.to_string(),
    }
}

/// 404: no such live object, or no such version of it.
pub(crate) fn not_found<K: Kind>(name: &ObjectName, version: Option<&VersionId>) -> Error {
    let (word, id) = (K::WORD, id(name, version));
    Error::new(
        K::NOT_FOUND,
        format!(
            "A {word} with (name/id) {id} was not found in this key vault. If you recently deleted this {word} you may be able to recover it using the correct recovery command. For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125182"
        ),
    )
}

/// 404: no such deleted object.
pub(crate) fn deleted_not_found<K: Kind>(name: &ObjectName) -> Error {
    Error::new(K::NOT_FOUND, format!("Deleted {} not found: {name}", K::TITLE))
}

/// 403: the version exists and is switched off. `operation`: the word of the operation, such as `get`.
pub(crate) fn disabled<K: Kind>(operation: &str) -> Error {
    Error::new(
        ErrorCode::Forbidden,
        format!("Operation {operation} is not allowed on a disabled {}.", K::WORD),
    )
    .inner(K::DISABLED)
}

/// 409: the name belongs to a soft-deleted object.
pub(crate) fn name_is_deleted<K: Kind>(name: &ObjectName) -> Error {
    Error::new(
        ErrorCode::Conflict,
        format!(
            "{} {name} is currently in a deleted but recoverable state, and its name cannot be reused; in this state, the {} can only be recovered or purged.",
            K::TITLE,
            K::WORD
        ),
    )
    .inner(InnerCode::ObjectIsDeletedButRecoverable)
}

/// 409: the name belongs to an object whose purge is not finished.
pub(crate) fn name_is_purging<K: Kind>() -> Error {
    Error::new(ErrorCode::Conflict, format!("{} is currently being deleted.", K::TITLE))
        .inner(InnerCode::ObjectIsBeingDeleted)
}

/// 409: the name belongs to an object whose restore is not finished.
pub(crate) fn name_is_restoring<K: Kind>(name: &ObjectName) -> Error {
    Error::new(
        ErrorCode::Conflict,
        format!("{} {name} is currently being recovered and cannot be re-created; retry later.", K::TITLE),
    )
    .inner(InnerCode::ObjectIsBeingRecovered)
}

/// 409: the name of a backup is taken.
pub(crate) fn restore_conflict<K: Kind>(name: &ObjectName, version: &VersionId) -> Error {
    let (word, place) = (K::WORD, K::LIVE);
    Error::new(
        ErrorCode::Conflict,
        format!(
            "There was a conflict restoring the {word} '{place}{name}/{version}'. This can happen if either: a second {word} with the same name was created after the first {word} was deleted; thus trying to restore a {word} whose name is already in use. To fix this, rename the second {word} to something else so that the restore works. The second probable cause of this exception is when multiple operations are performed in parallel against the {word}. To avoid this error, perform operations against a {word} in a sequential manner."
        ),
    )
}

/// 409: a live object has the deleted one's name.
pub(crate) fn recover_conflict<K: Kind>(name: &ObjectName) -> Error {
    let (word, place) = (K::WORD, K::LIVE);
    Error::new(
        ErrorCode::Conflict,
        format!(
            "There was a conflict while recovering the soft-deleted {word} '{place}{name}'. A {word} with this name exists; delete and purge it first."
        ),
    )
}

/// 403: nobody purges before the retention time has passed.
pub(crate) fn purge_protected(vault: &VaultState) -> Error {
    Error::new(
        ErrorCode::Forbidden,
        format!(
            "Operation \"purge\" is not allowed because purge protection is enabled for this vault. Key Vault service will automatically purge it after the retention period has passed.\r\nVault: {};location={}",
            vault.envelope.name, vault.properties.region
        ),
    )
}

/// 400: a blob that this deployment did not make, or that was changed.
pub(crate) fn malformed_backup(detail: impl Into<String>) -> Error {
    Error::new(ErrorCode::MalformedBackup, "Backup blob is corrupt.").detail(detail)
}

/// 409: a retry whose first try succeeded, after which somebody else changed the object.
pub(crate) fn changed_since<K: Kind>(name: &ObjectName) -> Error {
    let word = K::WORD;
    Error::new(
        ErrorCode::Conflict,
        format!(
            "An earlier try of this request succeeded, and the {word} {name} was changed by another request since. Read the {word} to see its state."
        ),
    )
}
