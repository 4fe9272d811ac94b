//! What is stored of a secret, and where. All records are JSON with a format number; unknown fields survive a rewrite.
//!
//! ```text
//! secrets/{NAME}                     a live secret: spelling, current version without its value
//! deletedsecrets/{NAME}              a secret that is not live: deleted, being purged, or being restored
//! secretversions/{NAME}/{version}    one version with its value
//! ```
//!
//! `NAME` is upper-cased, so that key order is the order of lists. Every change of a secret rewrites its
//! record (`changes` counts them): two readings with equal records saw the same secret.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use valv_model::{Attributes, Error, ObjectName, RecoveryLevel, Result, Tags, UnixSeconds, VersionId};
use valv_sealing::RecordKind;
use zeroize::Zeroizing;

use super::{DeletedSecret, SecretItem};
use crate::vaults::{VaultProperties, VaultState};

/// The format written, and the newest read.
const FORMAT: u32 = 1;

/// Prefix of live secrets.
pub(super) const LIVE: &str = "secrets/";
/// Prefix of secrets that are not live.
pub(super) const DELETED: &str = "deletedsecrets/";
/// Prefix of versions.
pub(super) const VERSIONS: &str = "secretversions/";

/// An opened record.
pub(super) type Plaintext = Zeroizing<Vec<u8>>;

/// Where a live secret's record is.
pub(super) fn live_path(name: &ObjectName) -> String {
    format!("{LIVE}{}", name.upper())
}

/// Where the record of a secret that is not live is.
pub(super) fn deleted_path(name: &ObjectName) -> String {
    format!("{DELETED}{}", name.upper())
}

/// What the paths of all versions of a secret begin with.
pub(super) fn versions_prefix(name: &ObjectName) -> String {
    format!("{VERSIONS}{}/", name.upper())
}

/// Where one version is.
pub(super) fn version_path(name: &ObjectName, version: &VersionId) -> String {
    format!("{VERSIONS}{}/{version}", name.upper())
}

/// What the record at a path of ours is.
pub(super) fn kind(path: &str) -> RecordKind {
    if path.starts_with(VERSIONS) { RecordKind::SecretVersion } else { RecordKind::Secret }
}

/// What deleting means in a vault.
pub(super) fn recovery_level(vault: &VaultState) -> RecoveryLevel {
    let VaultProperties { purge_protection, retention, .. } = vault.properties;
    RecoveryLevel { purge_protection, retention }
}

/// Fields of a newer program.
type Extra = serde_json::Map<String, serde_json::Value>;

/// Where a secret is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Phase {
    /// In use.
    Live,
    /// Soft-deleted: recoverable.
    Deleted,
    /// Its versions are being removed; it is never seen again.
    Purging,
    /// Its versions are being written; it was not seen yet.
    Restoring,
}

/// All of a version but its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Head {
    pub(super) version: VersionId,
    pub(super) attributes: Attributes,
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub(super) tags: Tags,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) content_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) previous_version: Option<VersionId>,
}

/// When a secret was deleted and when it goes for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Deletion {
    pub(super) deleted: UnixSeconds,
    pub(super) scheduled_purge: UnixSeconds,
}

/// Which backup is being restored, and when that was last begun or taken up again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Restoration {
    pub(super) backup: String,
    pub(super) since: UnixSeconds,
}

/// A secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SecretRecord {
    v: u32,
    /// As it was spelled when the secret was made.
    pub(super) name: ObjectName,
    pub(super) phase: Phase,
    /// A copy of the current version, so that lists read no values.
    pub(super) current: Head,
    /// How often the secret was changed.
    pub(super) changes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) deletion: Option<Deletion>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) restoration: Option<Restoration>,
    #[serde(flatten)]
    extra: Extra,
}

impl SecretRecord {
    /// The record of a secret that has one version.
    pub(super) fn new(name: ObjectName, current: Head) -> Self {
        Self {
            v: FORMAT,
            name,
            phase: Phase::Live,
            current,
            changes: 0,
            deletion: None,
            restoration: None,
            extra: Extra::new(),
        }
    }

    /// Reads a stored record.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let record: Self = decode(bytes)?;
        known(record.v)?;
        Ok(record)
    }

    /// The stored form of a record that was changed.
    pub(super) fn encode(&mut self) -> Result<Plaintext> {
        self.changes = self.changes.wrapping_add(1);
        encode(self)
    }

    /// The current version as answers show it.
    pub(super) fn item(&self, recovery_level: RecoveryLevel) -> SecretItem {
        item(&self.name, &self.current, recovery_level)
    }

    /// The same with the dates of its deletion.
    pub(super) fn deleted(&self, recovery_level: RecoveryLevel) -> Option<DeletedSecret> {
        let Deletion { deleted, scheduled_purge } = self.deletion?;
        Some(DeletedSecret { item: self.item(recovery_level), deleted, scheduled_purge })
    }
}

/// A version as answers show it.
pub(super) fn item(name: &ObjectName, head: &Head, recovery_level: RecoveryLevel) -> SecretItem {
    SecretItem {
        name: name.clone(),
        version: head.version.clone(),
        attributes: head.attributes.clone(),
        recovery_level,
        content_type: head.content_type.clone(),
        tags: head.tags.clone(),
        previous_version: head.previous_version.clone(),
    }
}

/// One version with its value. No `Debug`: it would show the value.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VersionRecord {
    v: u32,
    pub(super) head: Head,
    pub(super) value: Value,
    #[serde(flatten)]
    extra: Extra,
}

impl VersionRecord {
    /// The record of a new version.
    pub(super) fn new(head: Head, value: &str) -> Self {
        Self { v: FORMAT, head, value: Value(Zeroizing::new(value.to_owned())), extra: Extra::new() }
    }

    /// Reads a stored version.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let record: Self = decode(bytes)?;
        known(record.v)?;
        Ok(record)
    }

    /// The stored form.
    pub(super) fn encode(&self) -> Result<Plaintext> {
        encode(self)
    }
}

/// A value. Its JSON is base64url: escapes would make it up to six times as long, and a parser copies
/// escaped text through memory that nobody wipes.
#[derive(Clone)]
pub(super) struct Value(pub(super) Zeroizing<String>);

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Zeroizing::new(URL_SAFE_NO_PAD.encode(self.0.as_bytes())).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::<String>::deserialize(deserializer)?;
        // Messages of the decoders could quote what they read.
        let mut bytes = Zeroizing::new(
            URL_SAFE_NO_PAD.decode(text.as_bytes()).map_err(|_| D::Error::custom("bad base64url"))?,
        );
        match String::from_utf8(std::mem::take(&mut *bytes)) {
            Ok(value) => Ok(Self(Zeroizing::new(value))),
            Err(error) => {
                drop(Zeroizing::new(error.into_bytes()));
                Err(D::Error::custom("bad UTF-8"))
            }
        }
    }
}

/// JSON of anything that may hold a value, in a buffer of the right size: one that grows leaves copies behind.
pub(super) fn encode(record: &impl Serialize) -> Result<Plaintext> {
    let failed = |error: serde_json::Error| Error::internal(format!("a record does not serialise: {error}"));
    let mut length = Length(0);
    serde_json::to_writer(&mut length, record).map_err(failed)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(length.0));
    serde_json::to_writer(&mut *bytes, record).map_err(failed)?;
    Ok(bytes)
}

/// Reads JSON of a record. The error names line and column, never content.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes)
        .map_err(|error| format!("no record of ours at line {} column {}", error.line(), error.column()))
}

/// A format this program reads.
pub(super) fn known(format: u32) -> Result<(), String> {
    if format == FORMAT { Ok(()) } else { Err(format!("unknown format {format}, written by a newer valv")) }
}

/// Counts what is written.
struct Length(usize);

impl std::io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
