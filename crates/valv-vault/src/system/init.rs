//! The making of a store's first content.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;
use valv_access::{BUILT_IN_ROLES, ClientRecord, ClientSecret, RoleAssignment, Scope, SigningKey};
use valv_engine::GroupId;
use valv_model::{
    ClientId, Error, ErrorCode, PrincipalId, RegionName, Result, RetentionDays, Tags, TenantId,
};
use valv_sealing::{Barrier, RecordKind};
use zeroize::Zeroizing;

use super::NewClient;
use super::registry::{CLIENTS, ROLE_ASSIGNMENTS, SIGNING_KEYS, system_name};
use crate::node::{Node, lease_error};
use crate::queue::{Settled, refusal, settle};
use crate::vaults::{Birth, FirstRecord, Maker, VaultProperties};
use crate::{Clock, ServiceSettings};

/// The role of the first client.
const ADMINISTRATOR: &str = "Valv Administrator";

/// How long the making may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// Fills a store that the engine just created: the system vault, a signing key and the first client, who
/// administers the deployment and has no access to any secret. One commit; refuses a store that has a
/// system vault (`Conflict`). The root key record is there already: who made the store wrote it.
pub async fn init(
    barrier: &Barrier,
    clock: &dyn Clock,
    region: &RegionName,
    tenant: &TenantId,
) -> Result<NewClient> {
    let (group, name, now) = (GroupId::system(), system_name()?, clock.now());
    let properties = VaultProperties {
        tenant: tenant.clone(),
        region: region.clone(),
        retention: RetentionDays::DEFAULT,
        purge_protection: true,
        rbac: true,
        replica_age_max_s: None,
        policies: Vec::new(),
        assignments: Vec::new(),
        tags: Tags::new(),
        created: now,
        deleted: None,
        extra: serde_json::Map::new(),
    };
    let signing_key = SigningKey::generate(now)?;
    let (secret, text) = ClientSecret::generate(now, None)?;
    let client = ClientRecord {
        id: ClientId::parse(&Uuid::new_v4().to_string())?,
        principal: PrincipalId::parse(&Uuid::new_v4().to_string())?,
        name: "admin".into(),
        created: now,
        secrets: vec![secret],
    };
    let role = BUILT_IN_ROLES.iter().find(|role| role.name == ADMINISTRATOR);
    let role = role.ok_or_else(|| Error::internal(format!("there is no role {ADMINISTRATOR}")))?;
    let assignment = RoleAssignment {
        id: Uuid::new_v4(),
        role: role.id,
        principal: client.principal.clone(),
        scope: Scope::Deployment,
    };

    let record = |path: String, kind: RecordKind, plaintext: serde_json::Result<Vec<u8>>| {
        let plaintext = plaintext.map(Zeroizing::new).map_err(|e| Error::internal(e.to_string()))?;
        Ok::<_, Error>(FirstRecord { path, kind, plaintext })
    };
    let records = vec![
        record(
            format!("{SIGNING_KEYS}{}", signing_key.id),
            RecordKind::SigningKey,
            serde_json::to_vec(&signing_key),
        )?,
        record(format!("{CLIENTS}{}", client.id), RecordKind::Client, serde_json::to_vec(&client))?,
        record(
            format!("{ROLE_ASSIGNMENTS}{}", assignment.id),
            RecordKind::RoleAssignment,
            serde_json::to_vec(&assignment),
        )?,
    ];
    let maker = Maker { operation: "Init", caller: "valv", request: None };
    let birth = Birth::new(barrier.keyring(), &group, &name, properties, records, &maker)?;
    let node =
        Node::new(barrier.clone(), Arc::new(crate::SystemClock), ServiceSettings::defaults(region, tenant));
    let commit = settle(&node, &group, birth.compares, birth.ops, &birth.witness);
    let settled = tokio::time::timeout(DEADLINE, commit).await;
    match settled {
        Ok(Settled::Done) => Ok(NewClient {
            id: client.id,
            principal: client.principal,
            name: client.name,
            secret: Some(text),
        }),
        Ok(Settled::Conflict) => Err(Error::new(
            ErrorCode::Conflict,
            "The store has a system vault already; it was made by an earlier `valv init`. Nothing was changed.",
        )),
        Ok(Settled::NoLease(error)) => Err(lease_error(error, "Init")),
        Ok(Settled::Refused(error)) => Err(refusal(&error, "Init")),
        Ok(Settled::Unknown) | Err(_) => Err(Error::internal(
            "the engine did not say whether the store was filled; remove the store and run `valv init` again",
        )),
    }
}
