//! A person has chosen home's store, although it is not the one that was copied (F27).

use valv_engine::{Engine, GroupId, LeaseError, Lineage, Op, Transaction, layout};
use valv_model::RegionName;

use super::StopReason;
use super::local::{CopiedRecord, Fail, LocalRecord, LocalVault, copied_record, is, settle};
use crate::source::SourceError;
use crate::view;

/// Makes the replica of `group` in the store of `region` follow home's store of that lineage: every vault is
/// copied anew, and those that home does not have are removed. Until a vault is copied it is served as it
/// was. Answers how many vaults that are. What is in the replica and not at home is lost by it.
pub async fn accept(
    engine: &dyn Engine,
    group: &GroupId,
    region: &RegionName,
    lineage: Lineage,
) -> Result<usize, SourceError> {
    match try_accept(engine, group, region, lineage).await {
        Ok(vaults) => Ok(vaults),
        Err(Fail::Source(error)) => Err(error),
        Err(Fail::Store(why)) => Err(SourceError::Unreachable(why)),
        Err(Fail::Stop(reason)) => Err(SourceError::Refused(reason.to_string())),
        Err(Fail::Again) => {
            Err(SourceError::Unreachable("the store was changed meanwhile; try again".into()))
        }
    }
}

async fn try_accept(
    engine: &dyn Engine,
    group: &GroupId,
    region: &RegionName,
    lineage: Lineage,
) -> Result<usize, Fail> {
    let lease = engine.replica_lease(group, region).await.map_err(|error| match error {
        LeaseError::Read(error) => Fail::Store(error.to_string()),
        other => Fail::Stop(StopReason::NotReplica(other.to_string())),
    })?;
    let record = copied_record(engine, group).await?;
    let Some(record) = record.filter(|record| record.lineage != lineage) else { return Ok(0) };
    let (_, heads) = view::heads(engine, group).await?;
    for vault in heads.keys() {
        let local = LocalVault::read(engine, group, vault).await?;
        let anew = LocalRecord { anew: true, ..local.local.clone().unwrap_or_default() }.encode();
        let key = layout::local(group, vault);
        let transaction = Transaction {
            compares: vec![is(key.clone(), local.stored_local)],
            ops: vec![Op::Put(key.clone(), anew.clone())],
        };
        if !settle(engine, &lease, transaction, Some((key, Some(anew)))).await? {
            return Err(Fail::Again);
        }
    }
    // Last: until here the replica refuses the new lineage.
    let (key, was) = (layout::copied(group), view::value(engine, layout::copied(group)).await?);
    let now = CopiedRecord { lineage, ..record }.encode();
    let transaction =
        Transaction { compares: vec![is(key.clone(), was)], ops: vec![Op::Put(key.clone(), now.clone())] };
    if settle(engine, &lease, transaction, Some((key, Some(now)))).await? {
        Ok(heads.len())
    } else {
        Err(Fail::Again)
    }
}
