use bytes::Bytes;
use serde::{Deserialize, Serialize};
use valv_model::{VaultId, VaultName};

use crate::{DecodeError, WrappedDataKey};

/// The format of vault records that this program writes, and the newest it reads.
const FORMAT: u32 = 1;

/// A vault's own record: open what a replica needs, sealed what only the service reads. Stored as JSON.
/// Unknown fields survive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultEnvelope {
    /// The vault's id.
    pub id: VaultId,
    /// Its name.
    pub name: VaultName,
    /// The generation of its data.
    pub generation: u64,
    /// Its data keys.
    pub data_keys: Vec<WrappedDataKey>,
    /// Properties and access, sealed under the newest data key ([`crate::RecordKind::Vault`]), base64url.
    pub body: String,
    /// What a newer program wrote.
    #[serde(flatten)]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

impl VaultEnvelope {
    /// The stored form.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        match serde_json::to_vec(&Stored { format: FORMAT, envelope: self }) {
            Ok(bytes) => bytes.into(),
            Err(_) => unreachable!("text, numbers and JSON values always serialise into memory"),
        }
    }

    /// Reads the stored form.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let damaged = |problem: String| DecodeError(format!("vault record: {problem}"));
        let stored: Stored<Self> = serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string()))?;
        if stored.format != FORMAT {
            return Err(damaged(format!("unknown format {}, written by a newer valv", stored.format)));
        }
        Ok(stored.envelope)
    }
}

#[derive(Serialize, Deserialize)]
struct Stored<E> {
    format: u32,
    #[serde(flatten)]
    envelope: E,
}
