//! A vault's record: opened and sealed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use valv_access::VaultAccess;
use valv_engine::GroupId;
use valv_model::{Error, Result, VaultName};
use valv_sealing::{DataKeys, Keyring, RecordKind, VaultEnvelope};
use zeroize::Zeroizing;

use std::sync::Arc;

use super::{Vault, VaultProperties, VaultState};

/// The most bytes of a vault's record: with its log record it must fit one commit.
pub(crate) const VAULT_RECORD_BYTES_MAX: usize = 320 * 1024;

/// The body's place in its associated data: the name, so that a record moved to another name does not open.
fn body_path(name: &VaultName) -> String {
    format!("vault/{name}")
}

impl Vault {
    /// Opens what is stored at the place of the vault `name`, live or soft-deleted.
    pub(crate) fn open(
        keyring: &Keyring,
        group: &GroupId,
        name: &VaultName,
        stored: &[u8],
        deleted: bool,
    ) -> Result<Self> {
        let failed = |why: String| Error::internal(format!("vault '{name}': {why}"));
        let envelope = VaultEnvelope::decode(stored).map_err(|e| failed(e.to_string()))?;
        if envelope.name != *name {
            return Err(failed(format!("the record is that of '{}'", envelope.name)));
        }
        let keys = keyring.unwrap(&envelope.id, &envelope.data_keys).map_err(|e| failed(e.to_string()))?;
        let body = URL_SAFE_NO_PAD
            .decode(&envelope.body)
            .map_err(|_| failed("the record's body is not base64url".into()))?;
        let body =
            keys.open(&body_path(name), RecordKind::Vault, &body).map_err(|e| failed(e.to_string()))?;
        let properties: VaultProperties =
            serde_json::from_slice(&body).map_err(|e| failed(format!("the record's body: {e}")))?;
        if properties.deleted.is_some() != deleted {
            return Err(failed("the record stands in the wrong place: live and deleted do not agree".into()));
        }
        Ok(Self::new(group.clone(), VaultState { envelope, properties }, keys))
    }

    /// A vault from its opened record.
    pub(crate) fn new(group: GroupId, state: VaultState, keys: Arc<DataKeys>) -> Self {
        let access = VaultAccess {
            id: state.envelope.id.clone(),
            name: state.envelope.name.clone(),
            tenant: state.properties.tenant.clone(),
            region: state.properties.region.clone(),
            rbac: state.properties.rbac,
            policies: state.properties.policies.clone(),
            assignments: state.properties.assignments.clone(),
        };
        Self { group, state, access, keys }
    }
}

impl VaultState {
    /// Seals the properties into the envelope's body, under the newest data key.
    pub(crate) fn seal(&mut self, keys: &DataKeys) -> Result<()> {
        let name = &self.envelope.name;
        let body = serde_json::to_vec(&self.properties)
            .map(Zeroizing::new)
            .map_err(|e| Error::internal(format!("vault '{name}': {e}")))?;
        self.envelope.body = URL_SAFE_NO_PAD.encode(keys.seal(&body_path(name), RecordKind::Vault, &body));
        Ok(())
    }
}
