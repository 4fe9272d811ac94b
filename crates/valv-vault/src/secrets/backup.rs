//! Backup: all versions of a secret in one sealed text. The format of the text, and reading it back.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};
use valv_engine::KeyRange;
use valv_model::{Error, ObjectName, Result};

use super::desk::{Desk, Found, damaged};
use super::limits::{MAX_BACKUP_CHARS, MAX_BACKUP_VERSIONS};
use super::records::{self, SecretRecord, VersionRecord, live_path, version_path, versions_prefix};
use super::{errors, version};

/// What every blob begins with, so that a person who finds one knows what it is. It is a multiple of three
/// bytes long, which base64 makes four characters of: the text of every blob begins alike too.
const PREFIX: &[u8] = b"Valv secret backup, sealed:";

/// Padding may be there or not: clients decode the text and encode it again, each in its own way.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How many versions are read at once.
const READ_STEP: usize = 25;

/// How often a backup begins again because the secret was changed meanwhile.
const TRIES: usize = 5;

/// The inside of a backup. No `Debug`: it would show values.
#[derive(Serialize, Deserialize)]
pub(super) struct Backup {
    v: u32,
    /// Random: tells backups apart, so that an interrupted restore can be taken up again by its own backup only.
    pub(super) id: String,
    /// The secret's spelling.
    pub(super) name: ObjectName,
    /// Oldest first.
    pub(super) versions: Vec<VersionRecord>,
}

/// `SecretBackup`.
pub(super) async fn backup(desk: &impl Desk, name: &ObjectName) -> Result<String> {
    for _ in 0..TRIES {
        if let Some((record, versions)) = collect(desk, name).await? {
            let id = version::draw()?.iter().map(|byte| format!("{byte:02x}")).collect();
            let backup = Backup { v: 1, id, name: record.name, versions };
            let plaintext = records::encode(&backup)?;
            drop(backup);
            let blob = wrap(&desk.seal_backup(plaintext).await?);
            return if blob.len() > MAX_BACKUP_CHARS { Err(too_large()) } else { Ok(blob) };
        }
    }
    Err(Error::unavailable(format!(
        "The secret {name} was changed again and again while it was backed up; try again."
    )))
}

/// All versions, as of one moment: every change of a secret changes its record, so equal records around
/// all readings mean that nothing happened in between. None: something did.
async fn collect(desk: &impl Desk, name: &ObjectName) -> Result<Option<(SecretRecord, Vec<VersionRecord>)>> {
    let mut versions: Vec<VersionRecord> = Vec::new();
    let mut first: Option<SecretRecord> = None;
    let mut bytes = 0;
    loop {
        let mut range = KeyRange::prefix(versions_prefix(name)).limit(READ_STEP);
        if let Some(last) = versions.last() {
            range = range.after(version_path(name, &last.head.version).as_bytes());
        }
        let mut read = desk.read(vec![KeyRange::key(live_path(name)), range]).await?.into_iter();
        let (record, found) = (read.next().unwrap_or_default(), read.next().unwrap_or_default());
        let record = record.into_iter().next().ok_or_else(|| errors::not_found(name, None))?;
        let record = record.decode(SecretRecord::decode)?;
        if first.get_or_insert_with(|| record.clone()) != &record {
            return Ok(None);
        }
        let full = found.len() == READ_STEP;
        for found in found {
            bytes += found.record.as_ref().map_or(0, |record| record.len());
            versions.push(version_of(name, found)?);
        }
        if versions.len() > MAX_BACKUP_VERSIONS {
            return Err(Error::bad(format!(
                "The secret {name} has more than {MAX_BACKUP_VERSIONS} versions; a backup holds at most {MAX_BACKUP_VERSIONS}."
            )));
        }
        // Base64 makes four characters of three bytes.
        if bytes > MAX_BACKUP_CHARS / 4 * 3 {
            return Err(too_large());
        }
        if !full {
            return match versions.last() {
                Some(last) if last.head.version == record.current.version => Ok(Some((record, versions))),
                _ => Err(damaged(&live_path(name), "its current version is not its last one")),
            };
        }
    }
}

fn version_of(name: &ObjectName, found: Found) -> Result<VersionRecord> {
    let path = found.path.clone();
    let version = found.decode(VersionRecord::decode)?;
    if version_path(name, &version.head.version) == path {
        Ok(version)
    } else {
        Err(damaged(&path, "it names another version"))
    }
}

fn too_large() -> Error {
    Error::bad(format!(
        "The secret's versions are too large for one backup, which has at most {MAX_BACKUP_CHARS} characters."
    ))
}

/// Sealed bytes as the text of a blob.
pub(super) fn wrap(sealed: &[u8]) -> String {
    BASE64URL.encode([PREFIX, sealed].concat())
}

/// The sealed bytes in the text of a blob.
pub(super) fn unwrap(blob: &str) -> Result<Vec<u8>> {
    if blob.len() > MAX_BACKUP_CHARS {
        return Err(Error::bad(format!(
            "The backup blob has {} characters; at most {MAX_BACKUP_CHARS} are allowed.",
            blob.len()
        )));
    }
    let bytes = BASE64URL.decode(blob).map_err(|_| errors::malformed_backup("no base64url"))?;
    let sealed =
        bytes.strip_prefix(PREFIX).ok_or_else(|| errors::malformed_backup("not a secret's backup"))?;
    Ok(sealed.to_vec())
}

/// Reads the inside of a blob and checks that a secret can be made of it.
pub(super) fn read(plaintext: &[u8]) -> Result<Backup> {
    let backup: Backup = records::decode(plaintext).map_err(errors::malformed_backup)?;
    records::known(backup.v).map_err(errors::malformed_backup)?;
    let ascending = backup.versions.windows(2).all(|pair| match pair {
        [a, b] => a.head.version < b.head.version,
        _ => true,
    });
    if (1..=MAX_BACKUP_VERSIONS).contains(&backup.versions.len()) && ascending {
        Ok(backup)
    } else {
        Err(errors::malformed_backup("its versions are not those of one secret"))
    }
}
