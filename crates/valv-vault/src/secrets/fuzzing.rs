//! Entry points for fuzz targets: what reads bytes that somebody else may have made.

use valv_model::Result;
use valv_sealing::Keyring;

use super::records::{SecretRecord, VersionRecord};
use super::{backup, desk};

/// Reads any bytes as a secret's record, as a version, and as the inside of a backup. What is read can be
/// written, and reads back the same. True: one of them was read.
#[must_use]
pub fn decode_any(bytes: &[u8]) -> bool {
    let record = SecretRecord::decode(bytes);
    if let Ok(record) = &record {
        let again = record.clone().encode().ok().and_then(|bytes| SecretRecord::decode(&bytes).ok());
        assert!(again.is_some_and(|again| again.current == record.current && again.name == record.name));
    }
    let version = VersionRecord::decode(bytes);
    if let Ok(version) = &version {
        let again = version.encode().ok().and_then(|bytes| VersionRecord::decode(&bytes).ok());
        assert!(again.is_some_and(|again| again.head == version.head && again.value.0 == version.value.0));
    }
    let backup = backup::read(bytes);
    record.is_ok() || version.is_ok() || backup.is_ok()
}

/// Opens any text as a backup blob and forgets what is inside.
///
/// Errors: `MalformedBackup` for a text that is no blob of this deployment, `BadParameter` for one that is too long.
pub fn open_any(keyring: &Keyring, blob: &str) -> Result<()> {
    let sealed = backup::unwrap(blob)?;
    let plaintext = desk::open_backup(keyring, &sealed)?;
    backup::read(&plaintext).map(drop)
}
