//! Soft delete, recovery, purge.

use valv_engine::KeyRange;
use valv_model::{ObjectName, Operation, Result, UnixSeconds};

use super::desk::{Desk, Done, Step, View, damaged, put};
use super::records::{
    Deletion, Phase, SecretRecord, deleted_path, live_path, recovery_level, versions_prefix,
};
use super::set::record;
use super::{DeletedSecret, SecretItem, errors};
use crate::WriteContext;
use crate::queue::{Decision, Need, Write};

/// How many versions one commit removes.
const PURGE_STEP: usize = 25;

/// How long a restore may stand still before it counts as abandoned, seconds.
const RESTORE_PATIENCE_S: i64 = 600;

/// `SecretDelete`: the whole secret with all versions.
pub(super) async fn delete(
    desk: &impl Desk,
    context: &WriteContext,
    name: &ObjectName,
) -> Result<DeletedSecret> {
    let decided = name.clone();
    let step = Step {
        operation: Operation::SecretDelete,
        needs: vec![Need::Record(live_path(name)), Need::Record(deleted_path(name))],
        decide: Box::new(move |view| decide_delete(view, &decided)),
    };
    match desk.submit(context, step).await? {
        Done::Fresh(told) => Ok(told),
        Done::Replayed(_) => match deleted_record(desk, name).await? {
            Some(record) => {
                record.deleted(recovery_level(desk.vault())).ok_or_else(|| errors::changed_since(name))
            }
            None => Err(errors::changed_since(name)),
        },
    }
}

fn decide_delete(view: &dyn View, name: &ObjectName) -> Result<(Decision, DeletedSecret)> {
    let mut live = record(view, &live_path(name))?.ok_or_else(|| errors::not_found(name, None))?;
    if record(view, &deleted_path(name))?.is_some() {
        return Err(damaged(&deleted_path(name), "the secret is live and deleted at once"));
    }
    let retention = view.vault().properties.retention;
    live.phase = Phase::Deleted;
    live.deletion = Some(Deletion {
        deleted: view.now(),
        scheduled_purge: view.now().plus_days(retention.days().into()),
    });
    let told = live.deleted(recovery_level(view.vault()));
    let told = told.ok_or_else(|| damaged(&live_path(name), "deleted without dates"))?;
    let version = Some(live.current.version.clone());
    let writes = vec![Write::Delete { path: live_path(name) }, put(deleted_path(name), live.encode()?)];
    Ok((Decision { writes, version }, told))
}

/// `SecretGetDeleted`. Azure refuses a disabled one here too.
pub(super) async fn get_deleted(desk: &impl Desk, name: &ObjectName) -> Result<DeletedSecret> {
    let record = deleted_record(desk, name).await?.ok_or_else(|| errors::deleted_not_found(name))?;
    if !record.current.attributes.enabled {
        return Err(errors::disabled());
    }
    record
        .deleted(recovery_level(desk.vault()))
        .ok_or_else(|| damaged(&deleted_path(name), "deleted without dates"))
}

/// The record of a secret that can be recovered.
async fn deleted_record(desk: &impl Desk, name: &ObjectName) -> Result<Option<SecretRecord>> {
    let record = stored(desk, deleted_path(name)).await?;
    Ok(record.filter(|record| record.phase == Phase::Deleted))
}

/// The record at a path.
pub(super) async fn stored(desk: &impl Desk, path: String) -> Result<Option<SecretRecord>> {
    let read = desk.read(vec![KeyRange::key(path)]).await?;
    read.into_iter().flatten().next().map(|found| found.decode(SecretRecord::decode)).transpose()
}

/// `SecretRecover`: one commit, so that the secret is never seen in between.
pub(super) async fn recover(
    desk: &impl Desk,
    context: &WriteContext,
    name: &ObjectName,
) -> Result<SecretItem> {
    let decided = name.clone();
    let step = Step {
        operation: Operation::SecretRecover,
        needs: vec![Need::Record(live_path(name)), Need::Record(deleted_path(name))],
        decide: Box::new(move |view| decide_recover(view, &decided)),
    };
    match desk.submit(context, step).await? {
        Done::Fresh(told) => Ok(told),
        Done::Replayed(_) => match stored(desk, live_path(name)).await? {
            Some(record) => Ok(record.item(recovery_level(desk.vault()))),
            None => Err(errors::changed_since(name)),
        },
    }
}

fn decide_recover(view: &dyn View, name: &ObjectName) -> Result<(Decision, SecretItem)> {
    let deleted = record(view, &deleted_path(name))?.filter(|record| record.phase == Phase::Deleted);
    let mut record = deleted.ok_or_else(|| errors::deleted_not_found(name))?;
    if view.get(&live_path(name))?.is_some() {
        return Err(errors::recover_conflict(name));
    }
    record.phase = Phase::Live;
    record.deletion = None;
    let told = record.item(recovery_level(view.vault()));
    let version = Some(record.current.version.clone());
    let writes = vec![Write::Delete { path: deleted_path(name) }, put(live_path(name), record.encode()?)];
    Ok((Decision { writes, version }, told))
}

/// Why a secret may be purged.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purge {
    /// Somebody asked, and the vault must allow it.
    Asked,
    /// It was begun.
    Begun,
    /// By itself at this time: begun, or its retention time has passed, or a restore was abandoned.
    Due(UnixSeconds),
}

/// How far a purge has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing to purge.
    Nothing,
    /// Versions are left.
    More,
    /// Nothing is left.
    Finished,
}

/// `SecretPurge`. From the first commit on the secret is gone for everybody; the others only make room.
pub(super) async fn purge(desk: &impl Desk, context: &WriteContext, name: &ObjectName) -> Result<()> {
    let progress = match desk.submit(context, purge_step(name.clone(), Purge::Asked)).await? {
        Done::Fresh(progress) => progress,
        Done::Replayed(_) => Progress::More,
    };
    if progress == Progress::More
        && let Err(error) = purge_all(desk, context, name, Purge::Begun).await
    {
        // The lifecycle goes on with it.
        tracing::warn!(name = name.as_str(), %error, "a purge was begun and not finished");
    }
    Ok(())
}

/// Commits step after step until nothing is left.
pub(super) async fn purge_all(
    desk: &impl Desk,
    context: &WriteContext,
    name: &ObjectName,
    why: Purge,
) -> Result<Progress> {
    // Each step is a request of its own.
    let context = WriteContext { request: None, ..context.clone() };
    let mut why = why;
    loop {
        match desk.submit(&context, purge_step(name.clone(), why)).await? {
            Done::Fresh(Progress::More) | Done::Replayed(_) => why = Purge::Begun,
            Done::Fresh(progress) => return Ok(progress),
        }
    }
}

fn purge_step(name: ObjectName, why: Purge) -> Step<Progress> {
    Step {
        operation: Operation::SecretPurge,
        needs: vec![
            Need::Record(deleted_path(&name)),
            Need::Prefix { prefix: versions_prefix(&name), limit: PURGE_STEP + 1 },
        ],
        decide: Box::new(move |view| decide_purge(view, &name, why)),
    }
}

fn decide_purge(view: &dyn View, name: &ObjectName, why: Purge) -> Result<(Decision, Progress)> {
    let path = deleted_path(name);
    let record = record(view, &path)?;
    let due = match (&record, why) {
        (None, Purge::Asked) => return Err(errors::deleted_not_found(name)),
        (None, _) => false,
        (Some(record), why) => match (record.phase, why) {
            (Phase::Purging, Purge::Begun | Purge::Due(_)) => true,
            (Phase::Deleted, Purge::Asked) if view.vault().properties.purge_protection => {
                return Err(errors::purge_protected(view.vault()));
            }
            (Phase::Deleted, Purge::Asked) => true,
            (_, Purge::Asked) => return Err(errors::deleted_not_found(name)),
            (_, Purge::Due(now)) => is_due(record, now),
            (_, Purge::Begun) => false,
        },
    };
    let Some(mut record) = record.filter(|_| due) else {
        return Ok((Decision::default(), Progress::Nothing));
    };
    let mut versions = view.paths(&versions_prefix(name));
    let progress = if versions.len() > PURGE_STEP { Progress::More } else { Progress::Finished };
    versions.truncate(PURGE_STEP);
    let mut writes: Vec<Write> = versions.into_iter().map(|path| Write::Delete { path }).collect();
    if progress == Progress::Finished {
        writes.push(Write::Delete { path });
    } else {
        record.phase = Phase::Purging;
        writes.push(put(path, record.encode()?));
    }
    Ok((Decision { writes, version: None }, progress))
}

/// Whether a secret that is not live goes by itself at `now`.
pub(super) fn is_due(record: &SecretRecord, now: UnixSeconds) -> bool {
    match record.phase {
        Phase::Live => false,
        Phase::Purging => true,
        Phase::Deleted => record.deletion.is_some_and(|deletion| deletion.scheduled_purge <= now),
        Phase::Restoring => record
            .restoration
            .as_ref()
            .is_none_or(|restoration| restoration.since.plus(RESTORE_PATIENCE_S) <= now),
    }
}
