//! Backup: all versions of an object in one sealed text. The format of the text, and reading it back.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};
use valv_engine::KeyRange;
use valv_model::{Error, ObjectName, Result};

use super::desk::{Desk, Found, damaged};
use super::limits::{MAX_BACKUP_CHARS, MAX_BACKUP_VERSIONS};
use super::records::{self, Object, Version, live_path, version_path, versions_prefix};
use super::{Kind, errors, version};

/// Padding may be there or not: clients decode the text and encode it again, each in its own way.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How many versions are read at once.
const READ_STEP: usize = 25;

/// How often a backup begins again because the object was changed meanwhile.
const TRIES: usize = 5;

/// The inside of a backup. No `Debug`: it would show values.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct Backup<K: Kind> {
    v: u32,
    /// Random: tells backups apart, so that an interrupted restore can be taken up again by its own backup only.
    pub(crate) id: String,
    /// The object's spelling.
    pub(crate) name: ObjectName,
    /// Oldest first.
    pub(crate) versions: Vec<Version<K>>,
    /// What the object has of its own beside its versions.
    #[serde(flatten)]
    pub(crate) own: K::Own,
}

/// All versions as text.
pub(crate) async fn backup<K: Kind>(desk: &impl Desk, name: &ObjectName) -> Result<String> {
    for _ in 0..TRIES {
        if let Some((record, versions)) = collect::<K>(desk, name).await? {
            let id = version::draw()?.iter().map(|byte| format!("{byte:02x}")).collect();
            let backup = Backup { v: 1, id, name: record.name, versions, own: record.own };
            let plaintext = records::encode(&backup)?;
            drop(backup);
            let blob = wrap::<K>(&desk.seal_backup(K::WORD, plaintext).await?);
            return if blob.len() > MAX_BACKUP_CHARS { Err(too_large::<K>()) } else { Ok(blob) };
        }
    }
    Err(Error::unavailable(format!(
        "The {} {name} was changed again and again while it was backed up; try again.",
        K::WORD
    )))
}

/// All versions, as of one moment: every change of an object changes its record, so equal records around
/// all readings mean that nothing happened in between. None: something did.
async fn collect<K: Kind>(
    desk: &impl Desk,
    name: &ObjectName,
) -> Result<Option<(Object<K>, Vec<Version<K>>)>> {
    let mut versions: Vec<Version<K>> = Vec::new();
    let mut first: Option<Object<K>> = None;
    let mut bytes = 0;
    loop {
        let mut range = KeyRange::prefix(versions_prefix::<K>(name)).limit(READ_STEP);
        if let Some(last) = versions.last() {
            range = range.after(version_path::<K>(name, &last.head.version).as_bytes());
        }
        let mut read = desk.read(vec![KeyRange::key(live_path::<K>(name)), range]).await?.into_iter();
        let (record, found) = (read.next().unwrap_or_default(), read.next().unwrap_or_default());
        let record = record.into_iter().next().ok_or_else(|| errors::not_found::<K>(name, None))?;
        let record = record.decode(Object::decode)?;
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
                "The {} {name} has more than {MAX_BACKUP_VERSIONS} versions; a backup holds at most {MAX_BACKUP_VERSIONS}.",
                K::WORD
            )));
        }
        // Base64 makes four characters of three bytes.
        if bytes > MAX_BACKUP_CHARS / 4 * 3 {
            return Err(too_large::<K>());
        }
        if !full {
            return match versions.last() {
                Some(last) if last.head.version == record.current.version => Ok(Some((record, versions))),
                _ => Err(damaged(&live_path::<K>(name), "its current version is not its last one")),
            };
        }
    }
}

fn version_of<K: Kind>(name: &ObjectName, found: Found) -> Result<Version<K>> {
    let path = found.path.clone();
    let version = found.decode(Version::<K>::decode)?;
    if version_path::<K>(name, &version.head.version) == path {
        Ok(version)
    } else {
        Err(damaged(&path, "it names another version"))
    }
}

fn too_large<K: Kind>() -> Error {
    Error::bad(format!(
        "The {}'s versions are too large for one backup, which has at most {MAX_BACKUP_CHARS} characters.",
        K::WORD
    ))
}

/// Sealed bytes as the text of a blob.
pub(crate) fn wrap<K: Kind>(sealed: &[u8]) -> String {
    BASE64URL.encode([K::BACKUP_PREFIX, sealed].concat())
}

/// The sealed bytes in the text of a blob.
pub(crate) fn unwrap<K: Kind>(blob: &str) -> Result<Vec<u8>> {
    if blob.len() > MAX_BACKUP_CHARS {
        return Err(Error::bad(format!(
            "The backup blob has {} characters; at most {MAX_BACKUP_CHARS} are allowed.",
            blob.len()
        )));
    }
    let bytes = BASE64URL.decode(blob).map_err(|_| errors::malformed_backup("no base64url"))?;
    let other = || errors::malformed_backup(format!("not a {}'s backup", K::WORD));
    let sealed = bytes.strip_prefix(K::BACKUP_PREFIX).ok_or_else(other)?;
    Ok(sealed.to_vec())
}

/// Reads the inside of a blob and checks that an object can be made of it.
pub(crate) fn read<K: Kind>(plaintext: &[u8]) -> Result<Backup<K>> {
    let backup: Backup<K> = records::decode(plaintext).map_err(errors::malformed_backup)?;
    records::known(backup.v).map_err(errors::malformed_backup)?;
    let ascending = backup.versions.windows(2).all(|pair| match pair {
        [a, b] => a.head.version < b.head.version,
        _ => true,
    });
    if (1..=MAX_BACKUP_VERSIONS).contains(&backup.versions.len()) && ascending {
        Ok(backup)
    } else {
        Err(errors::malformed_backup("its versions are not those of one object"))
    }
}
