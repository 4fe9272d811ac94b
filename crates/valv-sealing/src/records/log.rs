use bytes::Bytes;
use serde::{Deserialize, Serialize};
use valv_engine::Op;
use valv_model::{UnixSeconds, VersionId};

use crate::DecodeError;

/// The format of log records that this program writes, and the newest it reads.
const FORMAT: u32 = 1;

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
///
/// Stored as CBOR (RFC 8949): a map with names as keys, values as byte strings. A log record is never
/// rewritten, and copied byte for byte, because the chain is computed over its bytes; so fields that
/// this program does not know survive in every copy.
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
    /// Bytes of the vault's log records before this one: tells how large the kept part of the log is.
    pub log_bytes: u64,
    /// Every key changed, with its (sealed) value.
    pub ops: Vec<Op>,
}

impl LogRecord {
    /// The stored form.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let stored = Written {
            format: FORMAT,
            number: self.number,
            time: self.time,
            operation: &self.operation,
            caller: &self.caller,
            request: self.request.map(|RequestKey(digest)| Bytes::copy_from_slice(&digest)),
            outcome: &self.outcome,
            log_bytes: self.log_bytes,
            ops: self
                .ops
                .iter()
                .map(|op| match op {
                    Op::Put(key, value) => (key, Some(value)),
                    Op::Delete(key) => (key, None),
                })
                .collect(),
        };
        let mut bytes = Vec::with_capacity(256 + self.ops.iter().map(|op| op.size() + 12).sum::<usize>());
        match ciborium::into_writer(&stored, &mut bytes) {
            Ok(()) => bytes.into(),
            Err(_) => unreachable!("numbers, text and bytes always serialise into memory"),
        }
    }

    /// Reads the stored form.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let damaged = |problem: String| DecodeError(format!("log record: {problem}"));
        let mut rest = bytes;
        let stored: Stored = ciborium::from_reader(&mut rest).map_err(|e| damaged(e.to_string()))?;
        if stored.format != FORMAT {
            return Err(damaged(format!("unknown format {}, written by a newer valv", stored.format)));
        }
        if !rest.is_empty() {
            return Err(damaged(format!("{} bytes too many", rest.len())));
        }
        let request = match stored.request {
            Some(digest) => Some(RequestKey(
                digest.as_ref().try_into().map_err(|_| damaged("the request key has not 32 bytes".into()))?,
            )),
            None => None,
        };
        let op = |(key, value)| match value {
            Some(value) => Op::Put(key, value),
            None => Op::Delete(key),
        };
        Ok(Self {
            number: stored.number,
            time: stored.time,
            operation: stored.operation,
            caller: stored.caller,
            request,
            outcome: stored.outcome,
            log_bytes: stored.log_bytes,
            ops: stored.ops.into_iter().map(op).collect(),
        })
    }
}

/// What is written. An operation is `[key, value]`, and `[key, null]` for a deletion.
#[derive(Serialize)]
struct Written<'a> {
    format: u32,
    number: u64,
    time: UnixSeconds,
    operation: &'a str,
    caller: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<Bytes>,
    outcome: &'a Outcome,
    #[serde(skip_serializing_if = "is_zero")]
    log_bytes: u64,
    ops: Vec<(&'a Bytes, Option<&'a Bytes>)>,
}

/// The same when read.
#[derive(Deserialize)]
struct Stored {
    format: u32,
    number: u64,
    time: UnixSeconds,
    operation: String,
    caller: String,
    #[serde(default)]
    request: Option<Bytes>,
    outcome: Outcome,
    #[serde(default)]
    log_bytes: u64,
    ops: Vec<(Bytes, Option<Bytes>)>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(bytes: &u64) -> bool {
    *bytes == 0
}
