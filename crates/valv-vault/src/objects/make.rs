//! New versions.

use std::sync::Arc;

use valv_model::{Attributes, ObjectName, Operation, Result, Tags};

use super::desk::{Desk, Done, Step, View, put};
use super::read::record;
use super::records::{Head, Object, Phase, Version, deleted_path, live_path, recovery_level, version_path};
use super::version::{self, Random};
use super::{AttributesPatch, Kind, errors};
use crate::WriteContext;
use crate::queue::{Decision, Need};

/// A version that is not decided yet. No `Debug`: it would show the value.
pub(crate) struct Draft<K: Kind> {
    pub(crate) attributes: AttributesPatch,
    pub(crate) tags: Tags,
    pub(crate) detail: K::Detail,
    pub(crate) value: K::Value,
}

/// Makes a version, and the object if it is the first one.
pub(crate) async fn make<K: Kind>(
    desk: &impl Desk,
    context: &WriteContext,
    operation: Operation,
    name: &ObjectName,
    draft: Arc<Draft<K>>,
) -> Result<Done<K::Item>> {
    let (name, random) = (name.clone(), version::draw()?);
    let step = Step {
        operation,
        needs: needs::<K>(&name),
        decide: Box::new(move |view| decide(view, &name, &draft, random)),
    };
    desk.submit(context, step).await
}

/// What a decision that makes a version looks at.
pub(crate) fn needs<K: Kind>(name: &ObjectName) -> Vec<Need> {
    vec![Need::Record(live_path::<K>(name)), Need::Record(deleted_path::<K>(name))]
}

/// The object's record as it is before a version is made; None: there is none yet.
///
/// Errors: 409 for a name that belongs to an object that is not live.
pub(crate) fn before<K: Kind>(view: &dyn View, name: &ObjectName) -> Result<Option<Object<K>>> {
    if let Some(record) = record::<K>(view, &deleted_path::<K>(name))? {
        return Err(match record.phase {
            Phase::Purging => errors::name_is_purging::<K>(),
            Phase::Restoring => errors::name_is_restoring::<K>(name),
            Phase::Deleted | Phase::Live => errors::name_is_deleted::<K>(name),
        });
    }
    record(view, &live_path::<K>(name))
}

fn decide<K: Kind>(
    view: &dyn View,
    name: &ObjectName,
    draft: &Draft<K>,
    random: Random,
) -> Result<(Decision, K::Item)> {
    let before = before(view, name)?;
    let (decision, record) = add(view, name, before, draft, random)?;
    Ok((decision, record.item(recovery_level(view.vault()))))
}

/// The writes that add a version to an object, and the object's record after them.
pub(crate) fn add<K: Kind>(
    view: &dyn View,
    name: &ObjectName,
    before: Option<Object<K>>,
    draft: &Draft<K>,
    random: Random,
) -> Result<(Decision, Object<K>)> {
    let previous_version = before.as_ref().map(|record| record.current.version.clone());
    let head = Head {
        version: version::next(view.now_ms(), random, previous_version.as_ref())?,
        attributes: Attributes {
            enabled: draft.attributes.enabled.unwrap_or(true),
            nbf: draft.attributes.nbf,
            exp: draft.attributes.exp,
            created: view.now(),
            updated: view.now(),
        },
        tags: draft.tags.clone(),
        detail: draft.detail.clone(),
        previous_version,
    };
    let stored = Version::<K>::new(head.clone(), draft.value.clone());
    let mut record = match before {
        Some(mut record) => {
            record.current = head;
            record
        }
        None => Object::new(name.clone(), head),
    };
    let version = record.current.version.clone();
    let decision = Decision {
        writes: vec![
            put(version_path::<K>(name, &version), stored.encode()?),
            put(live_path::<K>(name), record.encode()?),
        ],
        version: Some(version),
    };
    Ok((decision, record))
}
