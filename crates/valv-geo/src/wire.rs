//! The form of events and answers between regions: CBOR (RFC 8949).

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::source::SourceError;

/// The most bytes of one encoded event or answer: a page and one more record of the largest size.
pub const MESSAGE_BYTES_MAX: usize = 2 * crate::source::PAGE_BYTES;

/// Encodes one event or answer of [`crate::source`].
pub fn encode(message: &impl Serialize) -> Result<Bytes, SourceError> {
    let mut bytes = Vec::new();
    match ciborium::into_writer(message, &mut bytes) {
        Ok(()) => Ok(bytes.into()),
        Err(error) => Err(SourceError::Refused(error.to_string())),
    }
}

/// Reads one event or answer; refuses what is longer than [`MESSAGE_BYTES_MAX`] and what has bytes left over.
pub fn decode<M: DeserializeOwned>(bytes: &[u8]) -> Result<M, SourceError> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(SourceError::Refused(format!("{} bytes; at most {MESSAGE_BYTES_MAX}", bytes.len())));
    }
    let mut rest = bytes;
    let message = ciborium::from_reader(&mut rest).map_err(|e| SourceError::Refused(e.to_string()))?;
    if rest.is_empty() {
        Ok(message)
    } else {
        Err(SourceError::Refused(format!("{} bytes too many", rest.len())))
    }
}
