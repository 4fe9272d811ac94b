//! For fuzz targets: what reads bytes that somebody else may have made.

use valv_model::Result;
use valv_sealing::Keyring;

use super::records::{self, Object, Version};
use super::{Kind, backup, desk};

/// Reads any bytes as an object's record, as a version, and as the inside of a backup. What is read can be
/// written, and reads back the same. True: one of them was read.
pub(crate) fn decode_any<K: Kind>(bytes: &[u8]) -> bool {
    let record = Object::<K>::decode(bytes);
    if let Ok(record) = &record {
        let again = record.clone().encode().ok().and_then(|bytes| Object::<K>::decode(&bytes).ok());
        assert!(again.is_some_and(|again| again.current == record.current && again.name == record.name));
    }
    let version = Version::<K>::decode(bytes);
    if let Ok(version) = &version {
        let again = version.encode().ok().and_then(|bytes| Version::<K>::decode(&bytes).ok());
        let value = |version: &Version<K>| records::encode(&version.value).ok();
        assert!(again.is_some_and(|again| again.head == version.head && value(&again) == value(version)));
    }
    let backup = backup::read::<K>(bytes);
    record.is_ok() || version.is_ok() || backup.is_ok()
}

/// Opens any text as a backup blob and forgets what is inside.
///
/// Errors: `MalformedBackup` for a text that is no blob of this deployment and type, `BadParameter` for one
/// that is too long.
pub(crate) fn open_any<K: Kind>(keyring: &Keyring, blob: &str) -> Result<()> {
    let sealed = backup::unwrap::<K>(blob)?;
    let plaintext = desk::open_backup(keyring, K::WORD, &sealed)?;
    backup::read::<K>(&plaintext).map(drop)
}
