//! Entry points for fuzz targets: what reads bytes that somebody else may have made.

use valv_model::Result;
use valv_sealing::Keyring;

use super::Key;
use crate::objects::fuzzing;

/// Reads any bytes as a key's record, as a version, and as the inside of a backup. What is read can be
/// written, and reads back the same. True: one of them was read.
#[must_use]
pub fn decode_any(bytes: &[u8]) -> bool {
    fuzzing::decode_any::<Key>(bytes)
}

/// Opens any text as a backup blob and forgets what is inside.
///
/// Errors: `MalformedBackup` for a text that is no blob of this deployment, `BadParameter` for one that is too long.
pub fn open_any(keyring: &Keyring, blob: &str) -> Result<()> {
    fuzzing::open_any::<Key>(keyring, blob)
}
