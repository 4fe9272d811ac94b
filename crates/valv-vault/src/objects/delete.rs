//! Soft delete, recovery, purge.

use valv_model::{ObjectName, Result, UnixSeconds};

use super::desk::{Desk, Done, Step, View, damaged, put};
use super::read::{record, stored};
use super::records::{Deletion, Object, Phase, deleted_path, live_path, recovery_level, versions_prefix};
use super::{Kind, errors};
use crate::WriteContext;
use crate::queue::{Decision, Need, Write};

/// How many versions one commit removes.
const PURGE_STEP: usize = 25;

/// How long a restore may stand still before it counts as abandoned, seconds.
const RESTORE_PATIENCE_S: i64 = 600;

/// The whole object with all versions.
pub(crate) async fn delete<K: Kind>(
    desk: &impl Desk,
    context: &WriteContext,
    name: &ObjectName,
) -> Result<K::Deleted> {
    let decided = name.clone();
    let step = Step {
        operation: K::OPERATIONS.delete,
        needs: vec![Need::Record(live_path::<K>(name)), Need::Record(deleted_path::<K>(name))],
        decide: Box::new(move |view| decide_delete::<K>(view, &decided)),
    };
    match desk.submit(context, step).await? {
        Done::Fresh(told) => Ok(told),
        Done::Replayed(_) => match deleted_record::<K>(desk, name).await? {
            Some(record) => {
                record.deleted(recovery_level(desk.vault())).ok_or_else(|| errors::changed_since::<K>(name))
            }
            None => Err(errors::changed_since::<K>(name)),
        },
    }
}

fn decide_delete<K: Kind>(view: &dyn View, name: &ObjectName) -> Result<(Decision, K::Deleted)> {
    let mut live =
        record::<K>(view, &live_path::<K>(name))?.ok_or_else(|| errors::not_found::<K>(name, None))?;
    if record::<K>(view, &deleted_path::<K>(name))?.is_some() {
        return Err(damaged(&deleted_path::<K>(name), "the object is live and deleted at once"));
    }
    let retention = view.vault().properties.retention;
    live.phase = Phase::Deleted;
    live.deletion = Some(Deletion {
        deleted: view.now(),
        scheduled_purge: view.now().plus_days(retention.days().into()),
    });
    let told = live.deleted(recovery_level(view.vault()));
    let told = told.ok_or_else(|| damaged(&live_path::<K>(name), "deleted without dates"))?;
    let version = Some(live.current.version.clone());
    let writes =
        vec![Write::Delete { path: live_path::<K>(name) }, put(deleted_path::<K>(name), live.encode()?)];
    Ok((Decision { writes, version }, told))
}

/// One deleted object. Azure refuses a disabled secret here too.
pub(crate) async fn get_deleted<K: Kind>(desk: &impl Desk, name: &ObjectName) -> Result<K::Deleted> {
    let record =
        deleted_record::<K>(desk, name).await?.ok_or_else(|| errors::deleted_not_found::<K>(name))?;
    if !record.current.attributes.enabled && !K::DISABLED_IS_SHOWN {
        return Err(errors::disabled::<K>("get"));
    }
    record
        .deleted(recovery_level(desk.vault()))
        .ok_or_else(|| damaged(&deleted_path::<K>(name), "deleted without dates"))
}

/// The record of an object that can be recovered.
async fn deleted_record<K: Kind>(desk: &impl Desk, name: &ObjectName) -> Result<Option<Object<K>>> {
    let record = stored::<K>(desk, deleted_path::<K>(name)).await?;
    Ok(record.filter(|record| record.phase == Phase::Deleted))
}

/// Recovery: one commit, so that the object is never seen in between.
pub(crate) async fn recover<K: Kind>(
    desk: &impl Desk,
    context: &WriteContext,
    name: &ObjectName,
) -> Result<K::Item> {
    let decided = name.clone();
    let step = Step {
        operation: K::OPERATIONS.recover,
        needs: vec![Need::Record(live_path::<K>(name)), Need::Record(deleted_path::<K>(name))],
        decide: Box::new(move |view| decide_recover::<K>(view, &decided)),
    };
    match desk.submit(context, step).await? {
        Done::Fresh(told) => Ok(told),
        Done::Replayed(_) => match stored::<K>(desk, live_path::<K>(name)).await? {
            Some(record) => Ok(record.item(recovery_level(desk.vault()))),
            None => Err(errors::changed_since::<K>(name)),
        },
    }
}

fn decide_recover<K: Kind>(view: &dyn View, name: &ObjectName) -> Result<(Decision, K::Item)> {
    let deleted =
        record::<K>(view, &deleted_path::<K>(name))?.filter(|record| record.phase == Phase::Deleted);
    let mut record = deleted.ok_or_else(|| errors::deleted_not_found::<K>(name))?;
    if view.get(&live_path::<K>(name))?.is_some() {
        return Err(errors::recover_conflict::<K>(name));
    }
    record.phase = Phase::Live;
    record.deletion = None;
    let told = record.item(recovery_level(view.vault()));
    let version = Some(record.current.version.clone());
    let writes =
        vec![Write::Delete { path: deleted_path::<K>(name) }, put(live_path::<K>(name), record.encode()?)];
    Ok((Decision { writes, version }, told))
}

/// Why an object may be purged.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purge {
    /// Somebody asked, and the vault must allow it.
    Asked,
    /// It was begun.
    Begun,
    /// By itself at this time: begun, or its retention time has passed, or a restore was abandoned.
    Due(UnixSeconds),
}

/// How far a purge has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing to purge.
    Nothing,
    /// Versions are left.
    More,
    /// Nothing is left.
    Finished,
}

/// Purge. From the first commit on the object is gone for everybody; the others only make room.
pub(crate) async fn purge<K: Kind>(
    desk: &impl Desk,
    context: &WriteContext,
    name: &ObjectName,
) -> Result<()> {
    let progress = match desk.submit(context, purge_step::<K>(name.clone(), Purge::Asked)).await? {
        Done::Fresh(progress) => progress,
        Done::Replayed(_) => Progress::More,
    };
    if progress == Progress::More
        && let Err(error) = purge_all::<K>(desk, context, name, Purge::Begun).await
    {
        // The lifecycle goes on with it.
        tracing::warn!(name = name.as_str(), %error, "a purge was begun and not finished");
    }
    Ok(())
}

/// Commits step after step until nothing is left.
pub(crate) async fn purge_all<K: Kind>(
    desk: &impl Desk,
    context: &WriteContext,
    name: &ObjectName,
    why: Purge,
) -> Result<Progress> {
    // Each step is a request of its own.
    let context = WriteContext { request: None, ..context.clone() };
    let mut why = why;
    loop {
        match desk.submit(&context, purge_step::<K>(name.clone(), why)).await? {
            Done::Fresh(Progress::More) | Done::Replayed(_) => why = Purge::Begun,
            Done::Fresh(progress) => return Ok(progress),
        }
    }
}

fn purge_step<K: Kind>(name: ObjectName, why: Purge) -> Step<Progress> {
    Step {
        operation: K::OPERATIONS.purge,
        needs: vec![
            Need::Record(deleted_path::<K>(&name)),
            Need::Prefix { prefix: versions_prefix::<K>(&name), limit: PURGE_STEP + 1 },
        ],
        decide: Box::new(move |view| decide_purge::<K>(view, &name, why)),
    }
}

fn decide_purge<K: Kind>(view: &dyn View, name: &ObjectName, why: Purge) -> Result<(Decision, Progress)> {
    let path = deleted_path::<K>(name);
    let record = record::<K>(view, &path)?;
    let due = match (&record, why) {
        (None, Purge::Asked) => return Err(errors::deleted_not_found::<K>(name)),
        (None, _) => false,
        (Some(record), why) => match (record.phase, why) {
            (Phase::Purging, Purge::Begun | Purge::Due(_)) => true,
            (Phase::Deleted, Purge::Asked) if view.vault().properties.purge_protection => {
                return Err(errors::purge_protected(view.vault()));
            }
            (Phase::Deleted, Purge::Asked) => true,
            (_, Purge::Asked) => return Err(errors::deleted_not_found::<K>(name)),
            (_, Purge::Due(now)) => is_due(record, now),
            (_, Purge::Begun) => false,
        },
    };
    let Some(mut record) = record.filter(|_| due) else {
        return Ok((Decision::default(), Progress::Nothing));
    };
    let mut versions = view.paths(&versions_prefix::<K>(name));
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

/// Whether an object that is not live goes by itself at `now`.
pub(crate) fn is_due<K: Kind>(record: &Object<K>, now: UnixSeconds) -> bool {
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
