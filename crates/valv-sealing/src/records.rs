//! The records that are open by design: what detects loss, and what replication must read without keys.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use valv_engine::Op;
use valv_model::{UnixSeconds, VaultId, VaultName, VersionId};

use crate::WrappedDataKey;

/// SHA-256 over the previous chain value and the commit's log record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain(pub [u8; 32]);

impl Chain {
    /// The value before a vault's first commit.
    pub const START: Self = Self([0; 32]);

    /// The value after a commit whose log record is `record`.
    #[must_use]
    pub fn next(self, record: &[u8]) -> Self {
        let _ = record;
        todo!()
    }
}

/// How far a vault's history has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The number of the last commit; 0 before the first.
    pub number: u64,
    /// The chain value after it.
    pub chain: Chain,
}

/// A record that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("damaged record: {0}")]
pub struct DecodeError(pub String);

impl Head {
    /// The head of a vault without commits.
    pub const START: Self = Self { number: 0, chain: Chain::START };

    /// The stored form.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        todo!()
    }

    /// Reads the stored form.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let _ = bytes;
        todo!()
    }
}

/// Digest of (caller, operation, path, body, `x-ms-client-request-id`): what makes a retry a retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestKey(pub [u8; 32]);

/// What a commit answered, without any value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The version made or changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionId>,
}

/// One whole commit of a vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// The commit's number, from 1.
    pub number: u64,
    /// When, by the clock of the node that made it; for people, not for order.
    pub time: UnixSeconds,
    /// The operation's audit name.
    pub operation: String,
    /// The caller's object id, or `valv` for the service's own work.
    pub caller: String,
    /// See [`RequestKey`].
    pub request: Option<RequestKey>,
    /// What was answered.
    pub outcome: Outcome,
    /// Every key changed, with its (sealed) value.
    pub ops: Vec<Op>,
}

impl LogRecord {
    /// The stored form.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        todo!()
    }

    /// Reads the stored form.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let _ = bytes;
        todo!()
    }
}

/// A vault's own record: open what a replica needs, sealed what only the service reads. Unknown fields survive.
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
        todo!()
    }

    /// Reads the stored form.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let _ = bytes;
        todo!()
    }
}
