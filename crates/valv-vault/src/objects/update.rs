//! Changes of a version that is there.

use valv_model::{ObjectName, Operation, Result, Tags, VersionId};

use super::desk::{Desk, Done, Step, View, damaged, put};
use super::read::{made, record};
use super::records::{Version, live_path, recovery_level, version_path, versions_prefix};
use super::{AttributesPatch, Kind, errors};
use crate::WriteContext;
use crate::queue::{Decision, Need};

/// What a type of object changes of its own. Pure; an `Err` changes nothing.
pub(crate) type Edit<K> = Box<dyn Fn(&mut <K as Kind>::Detail) -> Result<()> + Send + Sync>;

/// What an update changes. `None` keeps what is there.
pub(crate) struct Update<K: Kind> {
    pub(crate) attributes: AttributesPatch,
    pub(crate) tags: Option<Tags>,
    pub(crate) edit: Edit<K>,
}

/// Changes a version: the current one, or the one asked for.
pub(crate) async fn update<K: Kind>(
    desk: &impl Desk,
    context: &WriteContext,
    operation: Operation,
    name: &ObjectName,
    version: Option<&VersionId>,
    update: Update<K>,
) -> Result<K::Item> {
    let (at, version) = (name.clone(), version.cloned());
    let step = Step {
        operation,
        needs: vec![
            Need::Record(live_path::<K>(name)),
            match &version {
                Some(version) => Need::Record(version_path::<K>(name, version)),
                None => Need::Last(versions_prefix::<K>(name)),
            },
        ],
        decide: Box::new(move |view| decide(view, &at, version.as_ref(), &update)),
    };
    match desk.submit(context, step).await? {
        Done::Fresh(item) => Ok(item),
        Done::Replayed(committed) => {
            let (record, stored) = made::<K>(desk, name, committed.version).await?;
            Ok(K::item(&record.name, &stored.head, recovery_level(desk.vault())))
        }
    }
}

fn decide<K: Kind>(
    view: &dyn View,
    name: &ObjectName,
    version: Option<&VersionId>,
    update: &Update<K>,
) -> Result<(Decision, K::Item)> {
    let not_found = || errors::not_found::<K>(name, version);
    let mut record = record::<K>(view, &live_path::<K>(name))?.ok_or_else(not_found)?;
    let current = record.current.version.clone();
    let (path, bytes) = match version {
        Some(version) => {
            let path = version_path::<K>(name, version);
            let bytes = view.get(&path)?.ok_or_else(not_found)?;
            (path, bytes)
        }
        None => {
            let path = version_path::<K>(name, &current);
            let last = view.last(&versions_prefix::<K>(name))?.filter(|(last, _)| *last == path);
            last.ok_or_else(|| damaged(&path, "the current version is not the last one"))?
        }
    };
    let version = version.cloned().unwrap_or(current);
    let mut stored = Version::<K>::decode(&bytes).map_err(|problem| damaged(&path, &problem))?;

    let head = &mut stored.head;
    (update.edit)(&mut head.detail)?;
    let patch = update.attributes;
    head.attributes.enabled = patch.enabled.unwrap_or(head.attributes.enabled);
    head.attributes.nbf = patch.nbf.or(head.attributes.nbf);
    head.attributes.exp = patch.exp.or(head.attributes.exp);
    // Never backwards, whatever the clock does.
    head.attributes.updated = view.now().max(head.attributes.updated);
    if let Some(tags) = &update.tags {
        head.tags.clone_from(tags);
    }
    if version == record.current.version {
        record.current = head.clone();
    }
    let told = K::item(&record.name, &stored.head, recovery_level(view.vault()));
    let writes = vec![put(path, stored.encode()?), put(live_path::<K>(name), record.encode()?)];
    Ok((Decision { writes, version: Some(version) }, told))
}
