//! A link between home and replica that loses, delays, repeats and mixes up what passes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, stream};
use valv_engine::GroupId;
use valv_geo::source::{BucketPage, Buckets, CopyStream, HeadsStream, LogAnswer, Source, SourceError};
use valv_model::VaultId;
use valv_sealing::Head;

/// How bad the link is; shared by all who use it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    /// Percent of calls and events that are lost.
    pub(crate) loss: u32,
    /// The longest delay, in milliseconds.
    pub(crate) delay_ms: u64,
    /// Nothing passes.
    pub(crate) cut: bool,
}

#[derive(Clone)]
pub(crate) struct Flaky {
    inner: Arc<dyn Source>,
    weather: Arc<Mutex<Weather>>,
    dice: Arc<Mutex<fastrand::Rng>>,
    /// The last answer about each vault, to be given once more.
    last: Arc<Mutex<BTreeMap<VaultId, LogAnswer>>>,
}

impl Flaky {
    pub(crate) fn new(inner: Arc<dyn Source>, weather: Arc<Mutex<Weather>>, seed: u64) -> Self {
        let dice = Arc::new(Mutex::new(fastrand::Rng::with_seed(seed)));
        Self { inner, weather, dice, last: Arc::default() }
    }

    fn roll(&self, percent: u32) -> bool {
        self.dice.lock().unwrap().u32(0..100) < percent
    }

    /// Something passes the link, or not.
    async fn pass(&self) -> Result<(), SourceError> {
        let weather = *self.weather.lock().unwrap();
        let delay = self.dice.lock().unwrap().u64(0..=weather.delay_ms);
        tokio::time::sleep(Duration::from_millis(delay)).await;
        if weather.cut || self.roll(weather.loss) {
            // Half of what is lost is lost in silence.
            if self.roll(50) {
                std::future::pending::<()>().await;
            }
            return Err(SourceError::Unreachable("lost".into()));
        }
        Ok(())
    }

    /// Asks, unless the question or the answer is lost.
    async fn ask<T>(&self, answer: impl Future<Output = Result<T, SourceError>>) -> Result<T, SourceError> {
        self.pass().await?;
        let answer = answer.await;
        self.pass().await?;
        answer
    }

    fn stream<T: Clone + Send + 'static>(
        &self,
        events: stream::BoxStream<'static, Result<T, SourceError>>,
        repeats: bool,
    ) -> stream::BoxStream<'static, Result<T, SourceError>> {
        let link = self.clone();
        stream::unfold(Some((link, events, None::<T>)), move |state| async move {
            let (link, mut events, again) = state?;
            if let Some(event) = again {
                return Some((Ok(event), Some((link, events, None))));
            }
            let event = events.next().await?;
            if let Err(lost) = link.pass().await {
                return Some((Err(lost), None));
            }
            let again = event.as_ref().ok().filter(|_| repeats && link.roll(5)).cloned();
            Some((event, Some((link, events, again))))
        })
        .boxed()
    }
}

#[async_trait]
impl Source for Flaky {
    async fn heads(&self, group: &GroupId) -> Result<HeadsStream, SourceError> {
        let events = self.ask(self.inner.heads(group)).await?;
        Ok(self.stream(events, true))
    }
    async fn log(&self, group: &GroupId, vault: &VaultId, after: Head) -> Result<LogAnswer, SourceError> {
        let answer = self.ask(self.inner.log(group, vault, after)).await?;
        let before = self.last.lock().unwrap().insert(vault.clone(), answer.clone());
        let bad = self.weather.lock().unwrap().loss > 0;
        Ok(before.filter(|_| bad && self.roll(3)).unwrap_or(answer))
    }
    async fn copy(&self, group: &GroupId, vault: &VaultId) -> Result<CopyStream, SourceError> {
        let events = self.ask(self.inner.copy(group, vault)).await?;
        Ok(self.stream(events, false))
    }
    async fn buckets(&self, group: &GroupId, vault: &VaultId) -> Result<Buckets, SourceError> {
        self.ask(self.inner.buckets(group, vault)).await
    }
    async fn bucket(
        &self,
        group: &GroupId,
        vault: &VaultId,
        bucket: u8,
        after: &str,
    ) -> Result<BucketPage, SourceError> {
        self.ask(self.inner.bucket(group, vault, bucket, after)).await
    }
}
