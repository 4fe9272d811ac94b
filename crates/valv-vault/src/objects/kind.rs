//! A type of object, as far as it differs from the others.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use valv_model::{ErrorCode, InnerCode, ObjectName, Operation, RecoveryLevel};
use valv_sealing::RecordKind;

use super::records::{Deletion, Head};

/// A type of object. Words, prefixes and names of fields stand in stored records and in backups: they never change.
pub(crate) trait Kind: Clone + Debug + Eq + Send + Sync + 'static {
    /// What messages call it. Backups are bound to this word: a blob of another type does not open.
    const WORD: &'static str;
    /// The same at the beginning of a sentence.
    const TITLE: &'static str;
    /// Prefix of live objects, such as `secrets/`.
    const LIVE: &'static str;
    /// Prefix of objects that are not live.
    const DELETED: &'static str;
    /// Prefix of versions.
    const VERSIONS: &'static str;
    /// What an object's record is.
    const OBJECT_RECORD: RecordKind;
    /// What a version's record is.
    const VERSION_RECORD: RecordKind;
    /// What every backup begins with, so that a person who finds one knows what it is. A multiple of three
    /// bytes long, which base64 makes four characters of: the text of every blob begins alike too.
    const BACKUP_PREFIX: &'static [u8];
    /// 404.
    const NOT_FOUND: ErrorCode;
    /// 403 for a version that is switched off.
    const DISABLED: InnerCode;
    /// Is a version that is switched off still shown to who asks for it?
    const DISABLED_IS_SHOWN: bool;
    /// The operations that all types have.
    const OPERATIONS: Operations;

    /// What a version shows beside what all types have.
    type Detail: Clone + Debug + Eq + Serialize + DeserializeOwned + Send + Sync;
    /// What only the version's record holds. No `Debug`: it would show it.
    type Value: Clone + Serialize + DeserializeOwned + Send + Sync;
    /// What the object's record holds beside what all types have.
    type Own: Clone + Debug + Default + Eq + Serialize + DeserializeOwned + Send + Sync;
    /// A version as answers show it.
    type Item: Send + 'static;
    /// A version as lists show it.
    type Listed;
    /// A deleted object as answers show it.
    type Deleted: Send + 'static;

    /// A version as answers show it.
    fn item(name: &ObjectName, head: &Head<Self>, recovery_level: RecoveryLevel) -> Self::Item;
    /// The same as lists show it.
    fn listed(item: Self::Item) -> Self::Listed;
    /// A version with the dates of the object's deletion.
    fn deleted(item: Self::Item, deletion: Deletion) -> Self::Deleted;
}

/// The operations that all types of objects have and that are written by shared code.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operations {
    pub(crate) delete: Operation,
    pub(crate) recover: Operation,
    pub(crate) purge: Operation,
    pub(crate) restore: Operation,
}
