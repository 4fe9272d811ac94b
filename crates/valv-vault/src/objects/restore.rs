//! Restore: a backup becomes an object again, under its own name.
//!
//! One commit where the versions fit into one. Otherwise the first commit takes the name and the last one
//! shows the object; in between nobody sees it. A restore of the same backup takes up one that stopped.

use std::sync::Arc;

use valv_model::{Error, ErrorCode, ObjectName, Result};
use zeroize::Zeroizing;

use super::desk::{Desk, Done, Step, View, put};
use super::read::{self, record};
use super::records::{
    Object, Phase, Plaintext, Restoration, Version, deleted_path, live_path, recovery_level, version_path,
};
use super::{Kind, backup, errors};
use crate::WriteContext;
use crate::queue::{Decision, Need, Write};

/// The most bytes of versions in one commit. The log record repeats them, and others share the transaction.
const STEP_BYTES: usize = 300 * 1024;
/// The most versions in one commit.
const STEP_VERSIONS: usize = 48;

/// One version, ready to be written.
struct Stored {
    path: String,
    plaintext: Plaintext,
}

/// What every step of a restore knows.
struct Plan<K: Kind> {
    name: ObjectName,
    backup: String,
    /// The record at the end, still to be given its phase.
    record: Object<K>,
    /// The versions by step.
    steps: Vec<Vec<Stored>>,
}

/// Brings a backup back under its own name.
pub(crate) async fn restore<K: Kind>(
    desk: &impl Desk,
    context: &WriteContext,
    blob: &str,
) -> Result<K::Item> {
    let sealed = backup::unwrap::<K>(blob)?;
    let plaintext = desk.open_backup(K::WORD, sealed).await?;
    let plan = Arc::new(plan::<K>(backup::read(&plaintext)?)?);
    drop(plaintext);

    // The first step carries the request's identity. A retry of a restore that is done answers it; one of
    // a restore that stopped begins again, which writes the same records at the same places.
    let quiet = WriteContext { request: None, ..context.clone() };
    let mut context = context;
    let mut at = 0;
    loop {
        let last = at + 1 == plan.steps.len();
        match desk.submit(context, step(plan.clone(), at)).await {
            Ok(Done::Fresh(Some(item))) => return Ok(item),
            Ok(Done::Fresh(None)) => at += 1,
            Ok(Done::Replayed(_)) => {
                if let Some(record) = read::stored::<K>(desk, live_path::<K>(&plan.name)).await? {
                    return Ok(record.item(recovery_level(desk.vault())));
                }
                if plan.steps.len() == 1 {
                    return Err(errors::changed_since::<K>(&plan.name));
                }
            }
            // Only the last step shows the object: before it, nothing happened for anybody.
            Err(error) if error.code == ErrorCode::UnknownOutcome && !last => {
                return Err(unfinished().detail(error.to_string()));
            }
            Err(error) => return Err(error),
        }
        context = &quiet;
    }
}

fn unfinished() -> Error {
    Error::unavailable("The restore was not finished in time, and nothing of it can be seen. Try it again.")
}

fn plan<K: Kind>(backup: backup::Backup<K>) -> Result<Plan<K>> {
    let backup::Backup { id, name, versions, own, .. } = backup;
    let current = versions.last().map(|version| version.head.clone());
    let current = current.ok_or_else(|| errors::malformed_backup("no versions"))?;
    let mut steps: Vec<Vec<Stored>> = vec![Vec::new()];
    let mut bytes = 0;
    for version in versions {
        let stored = stored(&name, &version)?;
        let full = steps.last().is_some_and(|step| step.len() == STEP_VERSIONS);
        if full || (bytes > 0 && bytes + stored.plaintext.len() > STEP_BYTES) {
            steps.push(Vec::new());
            bytes = 0;
        }
        bytes += stored.plaintext.len();
        if let Some(step) = steps.last_mut() {
            step.push(stored);
        }
    }
    let mut record = Object::new(name.clone(), current);
    record.own = own;
    Ok(Plan { record, name, backup: id, steps })
}

fn stored<K: Kind>(name: &ObjectName, version: &Version<K>) -> Result<Stored> {
    Ok(Stored { path: version_path::<K>(name, &version.head.version), plaintext: version.encode()? })
}

/// The step's answer: the object, once it can be seen.
fn step<K: Kind>(plan: Arc<Plan<K>>, at: usize) -> Step<Option<K::Item>> {
    Step {
        operation: K::OPERATIONS.restore,
        needs: vec![Need::Record(live_path::<K>(&plan.name)), Need::Record(deleted_path::<K>(&plan.name))],
        decide: Box::new(move |view| decide(view, &plan, at)),
    }
}

fn decide<K: Kind>(view: &dyn View, plan: &Plan<K>, at: usize) -> Result<(Decision, Option<K::Item>)> {
    let (live, deleted) = (live_path::<K>(&plan.name), deleted_path::<K>(&plan.name));
    let conflict = || errors::restore_conflict::<K>(&plan.name, &plan.record.current.version);
    if view.get(&live)?.is_some() {
        return Err(conflict());
    }
    let ours = |record: &Object<K>| {
        record.phase == Phase::Restoring
            && record.restoration.as_ref().is_some_and(|restoration| restoration.backup == plan.backup)
    };
    let begun = match record(view, &deleted)? {
        Some(record) if ours(&record) => true,
        Some(_) => return Err(conflict()),
        None => false,
    };
    if at > 0 && !begun {
        // It stood still for so long that the lifecycle removed it.
        return Err(unfinished());
    }
    let versions = plan.steps.get(at).into_iter().flatten();
    let mut writes: Vec<Write> =
        versions.map(|stored| put(stored.path.clone(), Zeroizing::new(stored.plaintext.to_vec()))).collect();
    let mut record = plan.record.clone();
    if at + 1 < plan.steps.len() {
        record.phase = Phase::Restoring;
        record.restoration = Some(Restoration { backup: plan.backup.clone(), since: view.now() });
        writes.push(put(deleted, record.encode()?));
        return Ok((Decision { writes, version: None }, None));
    }
    if begun {
        writes.push(Write::Delete { path: deleted });
    }
    let item = record.item(recovery_level(view.vault()));
    let version = Some(record.current.version.clone());
    writes.push(put(live, record.encode()?));
    Ok((Decision { writes, version }, Some(item)))
}
