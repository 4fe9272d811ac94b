//! Records of one object: as a request reads them, and as a decision sees them.

use valv_engine::KeyRange;
use valv_model::{ObjectName, Result, VersionId};

use super::desk::{Desk, Found, View, damaged};
use super::records::{Object, Version, deleted_path, live_path, version_path, versions_prefix};
use super::{Kind, errors};

/// A live object and one of its versions: the current one, or the one asked for.
///
/// Errors: 404.
pub(crate) async fn version<K: Kind>(
    desk: &impl Desk,
    name: &ObjectName,
    version: Option<&VersionId>,
) -> Result<(Object<K>, Version<K>)> {
    let wanted = match version {
        Some(version) => KeyRange::key(version_path::<K>(name, version)),
        None => KeyRange::prefix(versions_prefix::<K>(name)).reversed().limit(1),
    };
    let [record, stored] = two(desk.read(vec![KeyRange::key(live_path::<K>(name)), wanted]).await?);
    let not_found = || errors::not_found::<K>(name, version);
    let record = record.ok_or_else(not_found)?.decode(Object::<K>::decode)?;
    let stored = match (stored, version) {
        (Some(stored), _) => stored,
        (None, Some(_)) => return Err(not_found()),
        (None, None) => return Err(damaged(&live_path::<K>(name), "it has no versions")),
    };
    let path = stored.path.clone();
    let stored = stored.decode(Version::<K>::decode)?;
    let expected = version.unwrap_or(&record.current.version);
    if stored.head.version != *expected {
        return Err(damaged(&path, &format!("it should be version {expected}")));
    }
    Ok((record, stored))
}

/// What a retry of a write answers: the version that its first try made, wherever the object is now.
pub(crate) async fn made<K: Kind>(
    desk: &impl Desk,
    name: &ObjectName,
    version: Option<VersionId>,
) -> Result<(Object<K>, Version<K>)> {
    let changed_since = || errors::changed_since::<K>(name);
    let version = version.ok_or_else(changed_since)?;
    let paths = [live_path::<K>(name), deleted_path::<K>(name), version_path::<K>(name, &version)];
    let ranges = paths.map(KeyRange::key);
    let mut found = desk.read(ranges.into()).await?.into_iter().map(|range| range.into_iter().next());
    let mut next = || found.next().flatten();
    let (live, deleted, stored) = (next(), next(), next());
    let (Some(record), Some(stored)) = (live.or(deleted), stored) else {
        return Err(changed_since());
    };
    Ok((record.decode(Object::decode)?, stored.decode(Version::decode)?))
}

/// The record at a path, as a request reads it.
pub(crate) async fn stored<K: Kind>(desk: &impl Desk, path: String) -> Result<Option<Object<K>>> {
    let read = desk.read(vec![KeyRange::key(path)]).await?;
    read.into_iter().flatten().next().map(|found| found.decode(Object::decode)).transpose()
}

/// The record at a path, as a decision sees it.
pub(crate) fn record<K: Kind>(view: &dyn View, path: &str) -> Result<Option<Object<K>>> {
    view.get(path)?.map(|bytes| Object::decode(&bytes).map_err(|problem| damaged(path, &problem))).transpose()
}

/// The first record of each of two ranges.
fn two(ranges: Vec<Vec<Found>>) -> [Option<Found>; 2] {
    let mut ranges = ranges.into_iter().map(|range| range.into_iter().next());
    [ranges.next().flatten(), ranges.next().flatten()]
}
