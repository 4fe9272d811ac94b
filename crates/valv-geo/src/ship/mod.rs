//! Home's side: answers from its store what a replica asks.
//!
//! A replica's store answers the same questions about its copy: so a home that lost its store is rebuilt.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use valv_engine::{Engine, GroupId, Lineage, ReadError};
use valv_model::VaultId;
use valv_sealing::Head;

use crate::bucket::{Hashes, VAULT_PLACE, bucket_of, vault_value};
use crate::source::{
    BucketPage, Buckets, CopyEvent, CopyStream, HeadsStream, LogAnswer, PAGE_BYTES, Record, Source,
    SourceError,
};
use crate::view::{self, Names, View, ViewError};

mod heads;
pub(crate) use heads::digest;
mod log;

/// The most bytes of records in one event of a copy.
const COPY_BYTES: usize = 256 * 1024;

/// Answers from a store.
pub struct Shipper {
    engine: Arc<dyn Engine>,
    names: Names,
    trusted: log::Trusted,
}

impl Shipper {
    /// For all groups of a store.
    #[must_use]
    pub fn new(engine: Arc<dyn Engine>) -> Self {
        Self { engine, names: Names::default(), trusted: log::Trusted::default() }
    }

    /// The lineage whose history the store's content of a group continues, if it was rebuilt from a replica.
    pub async fn continues(&self, group: &GroupId) -> Result<Option<Lineage>, SourceError> {
        continues(&*self.engine, group).await
    }

    async fn view(&self, group: &GroupId, vault: &VaultId) -> Result<View, SourceError> {
        Ok(view::view(&*self.engine, group, vault, &self.names).await?)
    }
}

#[async_trait]
impl Source for Shipper {
    async fn heads(&self, group: &GroupId) -> Result<HeadsStream, SourceError> {
        Ok(heads::stream(Arc::clone(&self.engine), group.clone()))
    }

    async fn log(&self, group: &GroupId, vault: &VaultId, after: Head) -> Result<LogAnswer, SourceError> {
        Ok(log::log(&*self.engine, &self.trusted, group, vault, after).await?)
    }

    async fn copy(&self, group: &GroupId, vault: &VaultId) -> Result<CopyStream, SourceError> {
        let View { head, record, records } = self.view(group, vault).await?;
        let begin = CopyEvent::Begin { lineage: self.engine.lineage(), head, record };
        let mut sent = 0;
        // The last place of a stream has no other way to know that it is one.
        let records = records.map(Some).chain(stream::iter([None]));
        let events = records.scan((Vec::new(), 0_usize), move |(chunk, bytes), record| {
            let events = match record {
                Some(Ok((path, value))) => {
                    *bytes += path.len() + value.len();
                    chunk.push(Record { path, value });
                    sent += 1;
                    if *bytes < COPY_BYTES {
                        Vec::new()
                    } else {
                        *bytes = 0;
                        vec![Ok(CopyEvent::Records(std::mem::take(chunk)))]
                    }
                }
                Some(Err(error)) => vec![Err(SourceError::from(error))],
                None => {
                    vec![Ok(CopyEvent::Records(std::mem::take(chunk))), Ok(CopyEvent::End { records: sent })]
                }
            };
            std::future::ready(Some(stream::iter(events)))
        });
        Ok(stream::iter([Ok(begin)]).chain(events.flatten()).boxed())
    }

    async fn buckets(&self, group: &GroupId, vault: &VaultId) -> Result<Buckets, SourceError> {
        hashes(self.view(group, vault).await?).await
    }

    async fn bucket(
        &self,
        group: &GroupId,
        vault: &VaultId,
        bucket: u8,
        after: &str,
    ) -> Result<BucketPage, SourceError> {
        page(self.view(group, vault).await?, bucket, after, PAGE_BYTES).await
    }
}

/// The heads of a group's vaults in a store; those that are damaged are left out.
pub async fn own_heads(engine: &dyn Engine, group: &GroupId) -> Result<BTreeMap<VaultId, Head>, SourceError> {
    let (_, heads) = view::heads(engine, group).await.map_err(ViewError::from)?;
    Ok(heads.into_iter().filter_map(|(vault, head)| Some((vault, head.ok()?))).collect())
}

/// The lineage whose history a store's content of a group continues, if it was rebuilt from a replica.
pub async fn continues(engine: &dyn Engine, group: &GroupId) -> Result<Option<Lineage>, SourceError> {
    Ok(crate::apply::copied_record(engine, group).await?.map(|record| record.lineage))
}

/// The hashes of a view's buckets.
pub(crate) async fn hashes(mut view: View) -> Result<Buckets, SourceError> {
    let mut hashes = Hashes::new();
    if let Some(record) = &view.record {
        hashes.add(VAULT_PLACE, &vault_value(record));
    }
    while let Some((path, value)) = view.records.try_next().await? {
        hashes.add(&path, &value);
    }
    Ok(Buckets { head: view.head.unwrap_or(Head::START), hashes: hashes.finish() })
}

/// The records of one bucket of a view that follow a place, at most so many bytes of them.
pub(crate) async fn page(
    mut view: View,
    bucket: u8,
    after: &str,
    bytes_max: usize,
) -> Result<BucketPage, SourceError> {
    let mut page = BucketPage { head: view.head.unwrap_or(Head::START), records: Vec::new(), last: true };
    let mut bytes = 0;
    if bucket_of(VAULT_PLACE) == bucket
        && after < VAULT_PLACE
        && let Some(record) = &view.record
    {
        // As it is stored: whoever takes it up needs all of it.
        let mut value = vec![u8::from(record.deleted)];
        value.extend_from_slice(&record.envelope);
        bytes += value.len();
        page.records.push(Record { path: VAULT_PLACE.into(), value: value.into() });
    }
    while let Some((path, value)) = view.records.try_next().await? {
        if *path <= *after || bucket_of(&path) != bucket {
            continue;
        }
        if bytes > 0 && bytes + path.len() + value.len() > bytes_max {
            page.last = false;
            break;
        }
        bytes += path.len() + value.len();
        page.records.push(Record { path, value });
    }
    Ok(page)
}

impl From<ViewError> for SourceError {
    fn from(error: ViewError) -> Self {
        match error {
            ViewError::Read(error) => error.into(),
            ViewError::Busy => Self::Unreachable(error.to_string()),
            ViewError::Damaged(why) => Self::Damaged(why),
        }
    }
}

impl From<ReadError> for SourceError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unavailable(why) => Self::Unreachable(why),
            ReadError::Damaged(why) => Self::Damaged(why),
        }
    }
}
