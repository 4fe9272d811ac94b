//! A vault's first commit.

use bytes::Bytes;
use uuid::Uuid;
use valv_engine::{Compare, Expect, GroupId, layout};
use valv_model::{Error, Result, VaultId, VaultName};
use valv_sealing::{Head, Keyring, LogRecord, Outcome, RecordKind, RequestKey, SealedOp, VaultEnvelope};
use zeroize::Zeroizing;

use super::{VaultProperties, VaultState};
use crate::queue::Witness;

/// A new vault, ready to be committed.
pub(crate) struct Birth {
    pub(crate) group: GroupId,
    /// Neither the name, live or deleted, nor the head is taken.
    pub(crate) compares: Vec<Compare>,
    pub(crate) ops: Vec<SealedOp>,
    pub(crate) witness: Witness,
}

/// A record that a new vault begins with.
pub(crate) struct FirstRecord {
    pub(crate) path: String,
    pub(crate) kind: RecordKind,
    pub(crate) plaintext: Zeroizing<Vec<u8>>,
}

/// Who makes a vault.
pub(crate) struct Maker<'a> {
    pub(crate) operation: &'a str,
    pub(crate) caller: &'a str,
    pub(crate) request: Option<RequestKey>,
}

impl Birth {
    /// A vault with a new id and a new data key.
    pub(crate) fn new(
        keyring: &Keyring,
        group: &GroupId,
        name: &VaultName,
        properties: VaultProperties,
        records: Vec<FirstRecord>,
        maker: &Maker<'_>,
    ) -> Result<Self> {
        let failed = |why: String| Error::internal(format!("vault '{name}': {why}"));
        let id = VaultId::parse(&Uuid::new_v4().to_string())?;
        let created = properties.created;
        let data_keys = vec![keyring.generate(&id, 1, created).map_err(|e| failed(e.to_string()))?];
        let keys = keyring.unwrap(&id, &data_keys).map_err(|e| failed(e.to_string()))?;
        let envelope = VaultEnvelope {
            id: id.clone(),
            name: name.clone(),
            generation: 1,
            data_keys,
            body: String::new(),
            extra: serde_json::Map::new(),
        };
        let mut state = VaultState { envelope, properties };
        state.seal(&keys)?;
        let mut ops = vec![SealedOp::vault(group, name, &state.envelope)];
        for FirstRecord { path, kind, plaintext } in records {
            let mut key = layout::data(group, &id, 1).to_vec();
            key.extend_from_slice(path.as_bytes());
            ops.push(keys.put(key.into(), &path, kind, &plaintext));
        }
        let record = LogRecord {
            number: 1,
            time: created,
            operation: maker.operation.to_owned(),
            caller: maker.caller.to_owned(),
            request: maker.request,
            outcome: Outcome::default(),
            log_bytes: 0,
            ops: ops.iter().map(|op| op.op().clone()).collect(),
        };
        let encoded = record.encode();
        ops.push(SealedOp::log(group, &id, &record, encoded.clone()));
        ops.push(SealedOp::head(group, &id, &Head { number: 1, chain: Head::START.chain.next(&encoded) }));
        let absent = |key: Bytes| Compare { key, expect: Expect::Absent };
        let compares = vec![
            absent(layout::vault(group, name)),
            absent(layout::deleted_vault(group, name)),
            absent(layout::head(group, &id)),
        ];
        Ok(Self {
            group: group.clone(),
            compares,
            ops,
            witness: Witness { vault: id, number: 1, record: encoded },
        })
    }
}
