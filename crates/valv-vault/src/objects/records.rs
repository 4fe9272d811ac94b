//! What is stored of an object, and where. All records are JSON with a format number; unknown fields survive a rewrite.
//!
//! ```text
//! secrets/{NAME}                     a live object: spelling, current version without its value
//! deletedsecrets/{NAME}              an object that is not live: deleted, being purged, or being restored
//! secretversions/{NAME}/{version}    one version with its value
//! ```
//!
//! Keys stand below `keys/`, `deletedkeys/` and `keyversions/` in the same way. `NAME` is upper-cased, so that
//! key order is the order of lists. Every change of an object rewrites its record (`changes` counts them): two
//! readings with equal records saw the same object.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use valv_model::{Attributes, Error, ObjectName, RecoveryLevel, Result, Tags, UnixSeconds, VersionId};
use valv_sealing::RecordKind;
use zeroize::Zeroizing;

use super::Kind;
use crate::keys::Key;
use crate::secrets::Secret;
use crate::vaults::{VaultProperties, VaultState};

/// The format written, and the newest read.
const FORMAT: u32 = 1;

/// An opened record.
pub(crate) type Plaintext = Zeroizing<Vec<u8>>;

/// Where a live object's record is.
pub(crate) fn live_path<K: Kind>(name: &ObjectName) -> String {
    format!("{}{}", K::LIVE, name.upper())
}

/// Where the record of an object that is not live is.
pub(crate) fn deleted_path<K: Kind>(name: &ObjectName) -> String {
    format!("{}{}", K::DELETED, name.upper())
}

/// What the paths of all versions of an object begin with.
pub(crate) fn versions_prefix<K: Kind>(name: &ObjectName) -> String {
    format!("{}{}/", K::VERSIONS, name.upper())
}

/// Where one version is.
pub(crate) fn version_path<K: Kind>(name: &ObjectName, version: &VersionId) -> String {
    format!("{}{}/{version}", K::VERSIONS, name.upper())
}

/// What the record at a path of ours is.
pub(crate) fn kind(path: &str) -> RecordKind {
    kind_of::<Key>(path).or_else(|| kind_of::<Secret>(path)).unwrap_or(RecordKind::Secret)
}

fn kind_of<K: Kind>(path: &str) -> Option<RecordKind> {
    if path.starts_with(K::VERSIONS) {
        Some(K::VERSION_RECORD)
    } else {
        [K::LIVE, K::DELETED].iter().any(|prefix| path.starts_with(prefix)).then_some(K::OBJECT_RECORD)
    }
}

/// What deleting means in a vault.
pub(crate) fn recovery_level(vault: &VaultState) -> RecoveryLevel {
    let VaultProperties { purge_protection, retention, .. } = vault.properties;
    RecoveryLevel { purge_protection, retention }
}

/// Fields of a newer program.
type Extra = serde_json::Map<String, serde_json::Value>;

/// Where an object is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Phase {
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
#[serde(rename_all = "camelCase", bound = "")]
pub(crate) struct Head<K: Kind> {
    pub(crate) version: VersionId,
    pub(crate) attributes: Attributes,
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub(crate) tags: Tags,
    #[serde(flatten)]
    pub(crate) detail: K::Detail,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) previous_version: Option<VersionId>,
}

/// When an object was deleted and when it goes for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Deletion {
    pub(crate) deleted: UnixSeconds,
    pub(crate) scheduled_purge: UnixSeconds,
}

/// Which backup is being restored, and when that was last begun or taken up again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Restoration {
    pub(crate) backup: String,
    pub(crate) since: UnixSeconds,
}

/// An object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", bound = "")]
pub(crate) struct Object<K: Kind> {
    v: u32,
    /// As it was spelled when the object was made.
    pub(crate) name: ObjectName,
    pub(crate) phase: Phase,
    /// A copy of the current version, so that lists read no values.
    pub(crate) current: Head<K>,
    /// How often the object was changed.
    pub(crate) changes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deletion: Option<Deletion>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) restoration: Option<Restoration>,
    #[serde(flatten)]
    pub(crate) own: K::Own,
    #[serde(flatten)]
    extra: Extra,
}

impl<K: Kind> Object<K> {
    /// The record of an object that has one version.
    pub(crate) fn new(name: ObjectName, current: Head<K>) -> Self {
        Self {
            v: FORMAT,
            name,
            phase: Phase::Live,
            current,
            changes: 0,
            deletion: None,
            restoration: None,
            own: K::Own::default(),
            extra: Extra::new(),
        }
    }

    /// Reads a stored record.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let record: Self = decode(bytes)?;
        known(record.v)?;
        Ok(record)
    }

    /// The stored form of a record that was changed.
    pub(crate) fn encode(&mut self) -> Result<Plaintext> {
        self.changes = self.changes.wrapping_add(1);
        encode(self)
    }

    /// The current version as answers show it.
    pub(crate) fn item(&self, recovery_level: RecoveryLevel) -> K::Item {
        K::item(&self.name, &self.current, recovery_level)
    }

    /// The same with the dates of its deletion.
    pub(crate) fn deleted(&self, recovery_level: RecoveryLevel) -> Option<K::Deleted> {
        Some(K::deleted(self.item(recovery_level), self.deletion?))
    }
}

/// One version with its value. No `Debug`: it would show the value.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", bound = "")]
pub(crate) struct Version<K: Kind> {
    v: u32,
    pub(crate) head: Head<K>,
    pub(crate) value: K::Value,
    #[serde(flatten)]
    extra: Extra,
}

impl<K: Kind> Version<K> {
    /// The record of a new version.
    pub(crate) fn new(head: Head<K>, value: K::Value) -> Self {
        Self { v: FORMAT, head, value, extra: Extra::new() }
    }

    /// Reads a stored version.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let record: Self = decode(bytes)?;
        known(record.v)?;
        Ok(record)
    }

    /// The stored form.
    pub(crate) fn encode(&self) -> Result<Plaintext> {
        encode(self)
    }
}

/// A value that is text. Its JSON is base64url: escapes would make it up to six times as long, and a parser
/// copies escaped text through memory that nobody wipes.
#[derive(Clone)]
pub(crate) struct TextValue(pub(crate) Zeroizing<String>);

impl Serialize for TextValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        write_base64(self.0.as_bytes(), serializer)
    }
}

impl<'de> Deserialize<'de> for TextValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut bytes = read_base64(deserializer)?;
        match String::from_utf8(std::mem::take(&mut *bytes)) {
            Ok(value) => Ok(Self(Zeroizing::new(value))),
            Err(error) => {
                drop(Zeroizing::new(error.into_bytes()));
                Err(D::Error::custom("bad UTF-8"))
            }
        }
    }
}

/// A value that is bytes. Its JSON is base64url too.
#[derive(Clone)]
pub(crate) struct BytesValue(pub(crate) Zeroizing<Vec<u8>>);

impl Serialize for BytesValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        write_base64(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for BytesValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_base64(deserializer).map(Self)
    }
}

fn write_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes)).serialize(serializer)
}

fn read_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<Vec<u8>>, D::Error> {
    let text = Zeroizing::<String>::deserialize(deserializer)?;
    // Messages of the decoders could quote what they read.
    URL_SAFE_NO_PAD.decode(text.as_bytes()).map(Zeroizing::new).map_err(|_| D::Error::custom("bad base64url"))
}

/// JSON of anything that may hold a value, in a buffer of the right size: one that grows leaves copies behind.
pub(crate) fn encode(record: &impl Serialize) -> Result<Plaintext> {
    let failed = |error: serde_json::Error| Error::internal(format!("a record does not serialise: {error}"));
    let mut length = Length(0);
    serde_json::to_writer(&mut length, record).map_err(failed)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(length.0));
    serde_json::to_writer(&mut *bytes, record).map_err(failed)?;
    Ok(bytes)
}

/// Reads JSON of a record. The error names line and column, never content.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes)
        .map_err(|error| format!("no record of ours at line {} column {}", error.line(), error.column()))
}

/// A format this program reads.
pub(crate) fn known(format: u32) -> Result<(), String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Records as the first release wrote them, which every later one reads and writes the same way.
    const SECRET: &str = r#"{"v":1,"name":"Api-Key","phase":"deleted","current":{"version":"0190a5d6c1e77b3f8a1b2c3d4e5f6071","attributes":{"enabled":true,"exp":1800000000,"created":1767225600,"updated":1767225601},"tags":{"k":"v"},"contentType":"text/plain","previousVersion":"0190a5d6c1e77b3f8a1b2c3d4e5f6070"},"changes":3,"deletion":{"deleted":1767225700,"scheduledPurge":1775001700},"newer":[1]}"#;
    const SECRET_VERSION: &str = r#"{"v":1,"head":{"version":"0190a5d6c1e77b3f8a1b2c3d4e5f6071","attributes":{"enabled":false,"created":1767225600,"updated":1767225600}},"value":"dmFsdWU","newer":1}"#;
    const KEY: &str = r#"{"v":1,"name":"Signing","phase":"live","current":{"version":"0190a5d6c1e77b3f8a1b2c3d4e5f6071","attributes":{"enabled":true,"created":1767225600,"updated":1767225601},"kty":"EC-HSM","bits":256,"keyOps":["sign","wrapKey"],"exportable":false,"public":{"crv":"P-256K","x":"eA","y":"eQ"}},"changes":1}"#;
    const KEY_VERSION: &str = r#"{"v":1,"head":{"version":"0190a5d6c1e77b3f8a1b2c3d4e5f6071","attributes":{"enabled":true,"created":1767225600,"updated":1767225600},"kty":"oct","bits":128,"keyOps":[],"exportable":false,"public":{}},"value":"AQUQAAAAAAAAAAAAAAAAAAAAAA"}"#;

    #[test]
    fn f40_stored_records_are_read_and_written_as_ever() {
        fn object<K: Kind>(text: &str) {
            let record = Object::<K>::decode(text.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(encode(&record).unwrap().to_vec()).unwrap(), text);
        }
        fn version<K: Kind>(text: &str) {
            let record = Version::<K>::decode(text.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(record.encode().unwrap().to_vec()).unwrap(), text);
        }
        object::<Secret>(SECRET);
        version::<Secret>(SECRET_VERSION);
        object::<Key>(KEY);
        version::<Key>(KEY_VERSION);
        let secret = Version::<Secret>::decode(SECRET_VERSION.as_bytes()).unwrap();
        assert_eq!(*secret.value.0, "value");
        let key = Version::<Key>::decode(KEY_VERSION.as_bytes()).unwrap();
        assert_eq!(key.value.0[..3], [1, 5, 16]);
    }

    #[test]
    fn every_place_has_its_kind() {
        for (path, expected) in [
            ("secrets/A", RecordKind::Secret),
            ("deletedsecrets/A", RecordKind::Secret),
            ("secretversions/A/0", RecordKind::SecretVersion),
            ("keys/A", RecordKind::Key),
            ("deletedkeys/A", RecordKind::Key),
            ("keyversions/A/0", RecordKind::KeyVersion),
            ("keyversions/", RecordKind::KeyVersion),
        ] {
            assert_eq!(kind(path), expected, "{path}");
        }
    }
}
