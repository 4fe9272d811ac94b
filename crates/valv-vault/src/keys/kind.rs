//! What is the key's own among the objects.

use serde::{Deserialize, Serialize};
use valv_crypto::{KeyOperation, KeyType, PublicJwk};
use valv_model::{ErrorCode, InnerCode, ObjectName, Operation, RecoveryLevel};
use valv_sealing::RecordKind;

use super::rotation::Rotation;
use super::{DeletedKey, KeyBundle, KeyItem};
use crate::objects::records::{BytesValue, Deletion, Head};
use crate::objects::{Kind, Operations};

/// Keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key;

/// What a version of a key shows beside what all objects have. Nothing private.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KeyDetail {
    pub(crate) kty: KeyType,
    /// Of the modulus, of the curve's field, or of the symmetric key.
    pub(crate) bits: u32,
    pub(crate) key_ops: Vec<KeyOperation>,
    #[serde(default)]
    pub(crate) exportable: bool,
    pub(crate) public: PublicJwk,
}

/// What a key's record holds beside what all objects have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KeyOwn {
    /// The rotation policy and its marks.
    #[serde(default, skip_serializing_if = "Rotation::is_empty")]
    pub(crate) rotation: Rotation,
}

impl Kind for Key {
    const WORD: &'static str = "key";
    const TITLE: &'static str = "Key";
    const LIVE: &'static str = "keys/";
    const DELETED: &'static str = "deletedkeys/";
    const VERSIONS: &'static str = "keyversions/";
    const OBJECT_RECORD: RecordKind = RecordKind::Key;
    const VERSION_RECORD: RecordKind = RecordKind::KeyVersion;
    const BACKUP_PREFIX: &'static [u8] = b"Valv key backup, sealed:";
    const NOT_FOUND: ErrorCode = ErrorCode::KeyNotFound;
    const DISABLED: InnerCode = InnerCode::KeyDisabled;
    const DISABLED_IS_SHOWN: bool = true;
    const OPERATIONS: Operations = Operations {
        delete: Operation::KeyDelete,
        recover: Operation::KeyRecover,
        purge: Operation::KeyPurge,
        restore: Operation::KeyRestore,
    };

    type Detail = KeyDetail;
    /// The stored form of [`valv_crypto::PrivateKey`].
    type Value = BytesValue;
    type Own = KeyOwn;
    type Item = KeyBundle;
    type Listed = KeyItem;
    type Deleted = DeletedKey;

    fn item(name: &ObjectName, head: &Head<Self>, recovery_level: RecoveryLevel) -> KeyBundle {
        let KeyDetail { kty, key_ops, exportable, public, .. } = head.detail.clone();
        let item = KeyItem {
            name: name.clone(),
            version: head.version.clone(),
            attributes: head.attributes.clone(),
            exportable,
            recovery_level,
            tags: head.tags.clone(),
        };
        KeyBundle { item, kty, key_ops, public }
    }

    fn listed(bundle: KeyBundle) -> KeyItem {
        bundle.item
    }

    fn deleted(bundle: KeyBundle, deletion: Deletion) -> DeletedKey {
        let Deletion { deleted, scheduled_purge } = deletion;
        DeletedKey { bundle, deleted, scheduled_purge }
    }
}
