//! Making, reading and changing versions.

use std::sync::Arc;

use valv_engine::KeyRange;
use valv_model::{Attributes, ObjectName, Operation, Result, VersionId};
use zeroize::Zeroizing;

use super::desk::{Desk, Done, Found, Step, View, damaged, put};
use super::records::{
    Head, Phase, SecretRecord, VersionRecord, deleted_path, item, live_path, recovery_level, version_path,
    versions_prefix,
};
use super::version::Random;
use super::{SecretBundle, SecretItem, SecretSet, SecretUpdate, errors, limits, version};
use crate::WriteContext;
use crate::queue::{Decision, Need};

/// `SecretSet`.
pub(super) async fn set(
    desk: &impl Desk,
    context: &WriteContext,
    name: &ObjectName,
    set: SecretSet,
) -> Result<SecretBundle> {
    limits::check_set(&set)?;
    let set = Arc::new(set);
    match desk.submit(context, set_step(name.clone(), set.clone(), version::draw()?)).await? {
        Done::Fresh(item) => Ok(SecretBundle { item, value: Zeroizing::new(set.value.to_string()) }),
        Done::Replayed(committed) => stored(desk, name, committed.version).await,
    }
}

fn set_step(name: ObjectName, set: Arc<SecretSet>, random: Random) -> Step<SecretItem> {
    Step {
        operation: Operation::SecretSet,
        needs: vec![Need::Record(live_path(&name)), Need::Record(deleted_path(&name))],
        decide: Box::new(move |view| decide_set(view, &name, &set, random)),
    }
}

fn decide_set(
    view: &dyn View,
    name: &ObjectName,
    set: &SecretSet,
    random: Random,
) -> Result<(Decision, SecretItem)> {
    if let Some(record) = record(view, &deleted_path(name))? {
        return Err(match record.phase {
            Phase::Purging => errors::name_is_purging(),
            Phase::Restoring => errors::name_is_restoring(name),
            Phase::Deleted | Phase::Live => errors::name_is_deleted(name),
        });
    }
    let before = record(view, &live_path(name))?;
    let previous_version = before.as_ref().map(|record| record.current.version.clone());
    let head = Head {
        version: version::next(view.now_ms(), random, previous_version.as_ref())?,
        attributes: Attributes {
            enabled: set.attributes.enabled.unwrap_or(true),
            nbf: set.attributes.nbf,
            exp: set.attributes.exp,
            created: view.now(),
            updated: view.now(),
        },
        tags: set.tags.clone(),
        content_type: set.content_type.clone(),
        previous_version,
    };
    let stored = VersionRecord::new(head.clone(), &set.value);
    let mut record = match before {
        Some(mut record) => {
            record.current = head;
            record
        }
        None => SecretRecord::new(name.clone(), head),
    };
    let version = record.current.version.clone();
    let decision = Decision {
        writes: vec![
            put(version_path(name, &version), stored.encode()?),
            put(live_path(name), record.encode()?),
        ],
        version: Some(version),
    };
    Ok((decision, record.item(recovery_level(view.vault()))))
}

/// `SecretGet`. Dates are advisory: an expired secret is answered, a disabled one is not.
pub(super) async fn get(
    desk: &impl Desk,
    name: &ObjectName,
    version: Option<&VersionId>,
) -> Result<SecretBundle> {
    let wanted = match version {
        Some(version) => KeyRange::key(version_path(name, version)),
        None => KeyRange::prefix(versions_prefix(name)).reversed().limit(1),
    };
    let [record, stored] = two(desk.read(vec![KeyRange::key(live_path(name)), wanted]).await?);
    let not_found = || errors::not_found(name, version);
    let record = record.ok_or_else(not_found)?.decode(SecretRecord::decode)?;
    let stored = match (stored, version) {
        (Some(stored), _) => stored,
        (None, Some(_)) => return Err(not_found()),
        (None, None) => return Err(damaged(&live_path(name), "it has no versions")),
    };
    let path = stored.path.clone();
    let stored = stored.decode(VersionRecord::decode)?;
    let expected = version.unwrap_or(&record.current.version);
    if stored.head.version != *expected {
        return Err(damaged(&path, &format!("it should be version {expected}")));
    }
    if !stored.head.attributes.enabled {
        return Err(errors::disabled());
    }
    Ok(bundle(desk, &record.name, stored))
}

/// What a retry of a write answers: the version that its first try made, wherever the secret is now.
async fn stored(desk: &impl Desk, name: &ObjectName, version: Option<VersionId>) -> Result<SecretBundle> {
    let version = version.ok_or_else(|| errors::changed_since(name))?;
    let ranges = [live_path(name), deleted_path(name), version_path(name, &version)].map(KeyRange::key);
    let mut found = desk.read(ranges.into()).await?.into_iter().map(|range| range.into_iter().next());
    let mut next = || found.next().flatten();
    let (live, deleted, stored) = (next(), next(), next());
    let (Some(record), Some(stored)) = (live.or(deleted), stored) else {
        return Err(errors::changed_since(name));
    };
    let record = record.decode(SecretRecord::decode)?;
    Ok(bundle(desk, &record.name, stored.decode(VersionRecord::decode)?))
}

fn bundle(desk: &impl Desk, name: &ObjectName, stored: VersionRecord) -> SecretBundle {
    SecretBundle { item: item(name, &stored.head, recovery_level(desk.vault())), value: stored.value.0 }
}

/// `SecretUpdate`.
pub(super) async fn update(
    desk: &impl Desk,
    context: &WriteContext,
    name: &ObjectName,
    version: Option<&VersionId>,
    update: SecretUpdate,
) -> Result<SecretItem> {
    limits::check_update(&update)?;
    match desk.submit(context, update_step(name.clone(), version.cloned(), update)).await? {
        Done::Fresh(item) => Ok(item),
        Done::Replayed(committed) => Ok(stored(desk, name, committed.version).await?.item),
    }
}

fn update_step(name: ObjectName, version: Option<VersionId>, update: SecretUpdate) -> Step<SecretItem> {
    Step {
        operation: Operation::SecretUpdate,
        needs: vec![
            Need::Record(live_path(&name)),
            match &version {
                Some(version) => Need::Record(version_path(&name, version)),
                None => Need::Last(versions_prefix(&name)),
            },
        ],
        decide: Box::new(move |view| decide_update(view, &name, version.as_ref(), &update)),
    }
}

fn decide_update(
    view: &dyn View,
    name: &ObjectName,
    version: Option<&VersionId>,
    update: &SecretUpdate,
) -> Result<(Decision, SecretItem)> {
    let not_found = || errors::not_found(name, version);
    let mut record = record(view, &live_path(name))?.ok_or_else(not_found)?;
    let current = record.current.version.clone();
    let (path, bytes) = match version {
        Some(version) => {
            let path = version_path(name, version);
            let bytes = view.get(&path)?.ok_or_else(not_found)?;
            (path, bytes)
        }
        None => {
            let path = version_path(name, &current);
            let last = view.last(&versions_prefix(name))?.filter(|(last, _)| *last == path);
            last.ok_or_else(|| damaged(&path, "the current version is not the last one"))?
        }
    };
    let version = version.cloned().unwrap_or(current);
    let mut stored = VersionRecord::decode(&bytes).map_err(|problem| damaged(&path, &problem))?;

    let head = &mut stored.head;
    let patch = update.attributes;
    head.attributes.enabled = patch.enabled.unwrap_or(head.attributes.enabled);
    head.attributes.nbf = patch.nbf.or(head.attributes.nbf);
    head.attributes.exp = patch.exp.or(head.attributes.exp);
    // Never backwards, whatever the clock does.
    head.attributes.updated = view.now().max(head.attributes.updated);
    if let Some(tags) = &update.tags {
        head.tags.clone_from(tags);
    }
    if update.content_type.is_some() {
        head.content_type.clone_from(&update.content_type);
    }
    if version == record.current.version {
        record.current = head.clone();
    }
    let told = item(&record.name, &stored.head, recovery_level(view.vault()));
    let writes = vec![put(path, stored.encode()?), put(live_path(name), record.encode()?)];
    Ok((Decision { writes, version: Some(version) }, told))
}

/// The record at a path, as a decision sees it.
pub(super) fn record(view: &dyn View, path: &str) -> Result<Option<SecretRecord>> {
    view.get(path)?
        .map(|bytes| SecretRecord::decode(&bytes).map_err(|problem| damaged(path, &problem)))
        .transpose()
}

/// The first record of each of two ranges.
pub(super) fn two(ranges: Vec<Vec<Found>>) -> [Option<Found>; 2] {
    let mut ranges = ranges.into_iter().map(|range| range.into_iter().next());
    [ranges.next().flatten(), ranges.next().flatten()]
}
