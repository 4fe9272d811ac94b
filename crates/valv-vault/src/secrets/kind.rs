//! What is the secret's own among the objects.

use serde::{Deserialize, Serialize};
use valv_model::{ErrorCode, InnerCode, ObjectName, Operation, RecoveryLevel};
use valv_sealing::RecordKind;

use super::{DeletedSecret, SecretItem};
use crate::objects::records::{Deletion, Head, TextValue};
use crate::objects::{Kind, Operations};

/// Secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Secret;

/// What a version of a secret shows beside what all objects have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SecretDetail {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) content_type: Option<String>,
}

/// A secret's record has nothing of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Nothing {}

impl Kind for Secret {
    const WORD: &'static str = "secret";
    const TITLE: &'static str = "Secret";
    const LIVE: &'static str = "secrets/";
    const DELETED: &'static str = "deletedsecrets/";
    const VERSIONS: &'static str = "secretversions/";
    const OBJECT_RECORD: RecordKind = RecordKind::Secret;
    const VERSION_RECORD: RecordKind = RecordKind::SecretVersion;
    const BACKUP_PREFIX: &'static [u8] = b"Valv secret backup, sealed:";
    const NOT_FOUND: ErrorCode = ErrorCode::SecretNotFound;
    const DISABLED: InnerCode = InnerCode::SecretDisabled;
    const DISABLED_IS_SHOWN: bool = false;
    const OPERATIONS: Operations = Operations {
        delete: Operation::SecretDelete,
        recover: Operation::SecretRecover,
        purge: Operation::SecretPurge,
        restore: Operation::SecretRestore,
    };

    type Detail = SecretDetail;
    type Value = TextValue;
    type Own = Nothing;
    type Item = SecretItem;
    type Listed = SecretItem;
    type Deleted = DeletedSecret;

    fn item(name: &ObjectName, head: &Head<Self>, recovery_level: RecoveryLevel) -> SecretItem {
        SecretItem {
            name: name.clone(),
            version: head.version.clone(),
            attributes: head.attributes.clone(),
            recovery_level,
            content_type: head.detail.content_type.clone(),
            tags: head.tags.clone(),
            previous_version: head.previous_version.clone(),
        }
    }

    fn listed(item: SecretItem) -> SecretItem {
        item
    }

    fn deleted(item: SecretItem, deletion: Deletion) -> DeletedSecret {
        let Deletion { deleted, scheduled_purge } = deletion;
        DeletedSecret { item, deleted, scheduled_purge }
    }
}
