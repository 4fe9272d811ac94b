//! Lists: pages in key order, each one range read.

use valv_engine::KeyRange;
use valv_model::{Error, ObjectName, Result, VersionId};

use super::Kind;
use super::desk::{Desk, Found};
use super::records::{Object, Phase, Version, live_path, recovery_level, version_path, versions_prefix};
use crate::{Page, PageRequest};

/// Azure's bound on `maxresults`.
const MAX_PAGE: usize = 25;

/// Live objects.
pub(crate) async fn live<K: Kind>(desk: &impl Desk, page: &PageRequest) -> Result<Page<K::Listed>> {
    let level = recovery_level(desk.vault());
    let show = |record: &Object<K>| (record.phase == Phase::Live).then(|| K::listed(record.item(level)));
    names(desk, K::LIVE, page, show).await
}

/// Deleted objects. What is being purged or restored is not seen.
pub(crate) async fn deleted<K: Kind>(desk: &impl Desk, page: &PageRequest) -> Result<Page<K::Deleted>> {
    let level = recovery_level(desk.vault());
    let show = |record: &Object<K>| match record.phase {
        Phase::Deleted => record.deleted(level),
        _ => None,
    };
    names(desk, K::DELETED, page, show).await
}

async fn names<K: Kind, T>(
    desk: &impl Desk,
    prefix: &str,
    page: &PageRequest,
    show: impl Fn(&Object<K>) -> Option<T>,
) -> Result<Page<T>> {
    let mut range = KeyRange::prefix(prefix.to_owned());
    if let Some(marker) = &page.after {
        let name = ObjectName::parse(marker).ok().filter(|name| name.upper() == *marker);
        let name = name.ok_or_else(bad_marker)?;
        range = range.after(format!("{prefix}{}", name.upper()).as_bytes());
    }
    let max = size(page)?;
    let read = desk.read(vec![range.limit(max + 1)]).await?;
    let found = read.into_iter().next().unwrap_or_default();
    Ok(cut(found, max, |found| found.decode(Object::decode).ok().as_ref().and_then(&show)))
}

/// Versions, oldest first; a name without a live object has none.
pub(crate) async fn versions<K: Kind>(
    desk: &impl Desk,
    name: &ObjectName,
    page: &PageRequest,
) -> Result<Page<K::Listed>> {
    let mut range = KeyRange::prefix(versions_prefix::<K>(name));
    if let Some(marker) = &page.after {
        let version = VersionId::parse(marker).ok().filter(|version| version.as_str() == marker);
        let version = version.ok_or_else(bad_marker)?;
        range = range.after(version_path::<K>(name, &version).as_bytes());
    }
    let max = size(page)?;
    let read = desk.read(vec![KeyRange::key(live_path::<K>(name)), range.limit(max + 1)]).await?;
    let mut read = read.into_iter();
    let (record, found) = (read.next().unwrap_or_default(), read.next().unwrap_or_default());
    let Some(record) = record.into_iter().next() else {
        return Ok(Page { items: Vec::new(), next: None });
    };
    let spelling = record.decode(Object::<K>::decode)?.name;
    let level = recovery_level(desk.vault());
    Ok(cut(found, max, |found| {
        let stored = found.decode(Version::<K>::decode).ok()?;
        Some(K::listed(K::item(&spelling, &stored.head, level)))
    }))
}

/// The page out of what was read, at most one record more than it holds. What shows nothing (hidden, or
/// damaged and reported) is left out and counts all the same: a page can be short and still have a next one.
fn cut<T>(mut found: Vec<Found>, max: usize, show: impl Fn(Found) -> Option<T>) -> Page<T> {
    let more = found.len() > max;
    found.truncate(max);
    let last = found.last().and_then(|found| found.path.rsplit('/').next()).map(str::to_owned);
    Page { items: found.into_iter().filter_map(show).collect(), next: last.filter(|_| more) }
}

fn size(page: &PageRequest) -> Result<usize> {
    if (1..=MAX_PAGE).contains(&page.max) {
        Ok(page.max)
    } else {
        Err(Error::bad(format!("maxresults is {}; it must be between 1 and {MAX_PAGE}.", page.max)))
    }
}

fn bad_marker() -> Error {
    Error::bad("The $skiptoken is not one that this list gave out. Begin the list again without it.")
}
