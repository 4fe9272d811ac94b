//! The replica's side of the wire.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt as _};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use valv_engine::GroupId;
use valv_geo::PeerId;
use valv_geo::source::{BucketPage, Buckets, CopyStream, HeadsStream, LogAnswer, Source, SourceError};
use valv_geo::wire::{MESSAGE_BYTES_MAX, decode};
use valv_model::VaultId;
use valv_sealing::Head;

use super::{Frames, Pull};
use crate::client::Link;
use crate::{ClientSettings, PeerTls, SendError};

/// Another region's store, read over its nodes' inter-node listeners. It has connections of its own, so that a
/// long copy does not stand before requests.
pub struct PeerSource {
    links: Vec<Link>,
    /// The node that answered last.
    current: AtomicUsize,
    patience: Duration,
}

impl PeerSource {
    /// Begins to connect to the nodes of one region; needs a tokio runtime.
    #[must_use]
    pub fn start(
        tls: &Arc<PeerTls>,
        settings: &ClientSettings,
        nodes: impl IntoIterator<Item = PeerId>,
    ) -> Arc<Self> {
        let link = |node| Link::start(node, Arc::clone(tls), settings.clone());
        let links = nodes.into_iter().map(link).collect();
        Arc::new(Self { links, current: AtomicUsize::new(0), patience: settings.frame })
    }

    /// Asks the node that answered last, and the others after it, for the beginning of an answer.
    async fn open(&self, question: &Pull) -> Result<Incoming, SourceError> {
        let path = question.to_string();
        let first = self.current.load(Ordering::Relaxed);
        let mut why = SourceError::Unreachable("the region has no node".into());
        for step in 0..self.links.len() {
            let at = (first + step) % self.links.len();
            let Some(link) = self.links.get(at) else { continue };
            match link.open(&path, Instant::now() + self.patience).await {
                Ok(body) => {
                    self.current.store(at, Ordering::Relaxed);
                    return Ok(body);
                }
                Err(SendError::Refused { status, why: words }) if status != 503 => {
                    why = SourceError::Refused(format!("{status}: {words}"));
                }
                Err(error) => why = SourceError::Unreachable(error.to_string()),
            }
        }
        Err(why)
    }

    async fn one<T: DeserializeOwned>(&self, question: Pull) -> Result<T, SourceError> {
        let body = Limited::new(self.open(&question).await?, MESSAGE_BYTES_MAX);
        let cut = |why: String| SourceError::Unreachable(format!("the answer was cut: {why}"));
        match tokio::time::timeout(self.patience, body.collect()).await {
            Ok(Ok(body)) => decode::<Result<T, SourceError>>(&body.to_bytes())?,
            Ok(Err(error)) => Err(cut(error.to_string())),
            Err(_) => Err(cut(format!("it was not whole after {:?}", self.patience))),
        }
    }

    async fn stream<T: DeserializeOwned + Send + 'static>(
        &self,
        question: Pull,
    ) -> Result<BoxStream<'static, Result<T, SourceError>>, SourceError> {
        Ok(events(self.open(&question).await?, self.patience))
    }
}

/// The events of a stream. It ends where the source ended it, and with an error where it was cut or nothing came
/// for too long.
fn events<T: DeserializeOwned + Send + 'static>(
    body: Incoming,
    patience: Duration,
) -> BoxStream<'static, Result<T, SourceError>> {
    let begin = Some((body, Frames::new()));
    futures::stream::unfold(begin, move |reading| async move {
        let (mut body, mut frames) = reading?;
        match next(&mut body, &mut frames, patience).await {
            Ok(None) => None,
            Ok(Some(event)) => Some((Ok(event), Some((body, frames)))),
            Err(error) => Some((Err(error), None)),
        }
    })
    .boxed()
}

async fn next<T: DeserializeOwned>(
    body: &mut Incoming,
    frames: &mut Frames,
    patience: Duration,
) -> Result<Option<T>, SourceError> {
    let deadline = tokio::time::Instant::now() + patience;
    loop {
        if let Some(message) = frames.next_message().map_err(SourceError::Refused)? {
            return decode::<Result<T, SourceError>>(&message)?.map(Some);
        }
        let cut = |why: String| SourceError::Unreachable(format!("the stream was cut: {why}"));
        match tokio::time::timeout_at(deadline, body.frame()).await {
            Ok(Some(Ok(part))) => {
                if let Some(bytes) = part.data_ref() {
                    frames.push(bytes);
                }
            }
            Ok(Some(Err(error))) => return Err(cut(error.to_string())),
            Ok(None) if frames.is_cut() => return Err(cut("within a message".into())),
            Ok(None) => return Ok(None),
            Err(_) => return Err(cut(format!("nothing came for {patience:?}"))),
        }
    }
}

#[async_trait]
impl Source for PeerSource {
    async fn heads(&self, group: &GroupId) -> Result<HeadsStream, SourceError> {
        self.stream(Pull::Heads(group.clone())).await
    }

    async fn log(&self, group: &GroupId, vault: &VaultId, after: Head) -> Result<LogAnswer, SourceError> {
        self.one(Pull::Log(group.clone(), vault.clone(), after)).await
    }

    async fn copy(&self, group: &GroupId, vault: &VaultId) -> Result<CopyStream, SourceError> {
        self.stream(Pull::Copy(group.clone(), vault.clone())).await
    }

    async fn buckets(&self, group: &GroupId, vault: &VaultId) -> Result<Buckets, SourceError> {
        self.one(Pull::Buckets(group.clone(), vault.clone())).await
    }

    async fn bucket(
        &self,
        group: &GroupId,
        vault: &VaultId,
        bucket: u8,
        after: &str,
    ) -> Result<BucketPage, SourceError> {
        self.one(Pull::Bucket(group.clone(), vault.clone(), bucket, after.to_owned())).await
    }
}
