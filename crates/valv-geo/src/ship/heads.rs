//! The stream of a group's heads.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use futures::{FutureExt, StreamExt, stream};
use tokio::time::Instant;
use valv_engine::{
    Change, ChangeStream, ChangesError, Engine, Epoch, GroupId, Lineage, Op, Revision, layout,
};
use valv_model::VaultId;
use valv_sealing::Head;

use crate::source::{HeadsDigest, HeadsEvent, HeadsStream, SourceError, VaultHead};
use crate::view;

/// Between two readings of whether the reader has heard of everything.
const CAUGHT_UP_EVERY: Duration = Duration::from_secs(1);

/// The most heads of one event.
const EVENT_HEADS: usize = 4096;

/// The most changes of the store that one event gathers.
const GATHER_MAX: usize = 1024;

/// The digest of all heads of a group.
pub(crate) fn digest(heads: &BTreeMap<VaultId, Head>) -> HeadsDigest {
    let mut hash = digest::Context::new(&digest::SHA256);
    for (vault, head) in heads {
        hash.update(vault.as_str().as_bytes());
        hash.update(&head.encode());
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(hash.finish().as_ref());
    HeadsDigest(bytes)
}

pub(super) fn stream(engine: Arc<dyn Engine>, group: GroupId) -> HeadsStream {
    let heads = Heads { engine, group, following: None, pending: VecDeque::new() };
    stream::unfold(Some(heads), |heads| async {
        let mut heads = heads?;
        match heads.next().await {
            Ok(event) => Some((Ok(event), Some(heads))),
            Err(error) => Some((Err(error), None)),
        }
    })
    .boxed()
}

struct Heads {
    engine: Arc<dyn Engine>,
    group: GroupId,
    following: Option<Following>,
    pending: VecDeque<HeadsEvent>,
}

struct Following {
    changes: ChangeStream,
    continues: Option<Lineage>,
    epoch: Epoch,
    known: BTreeMap<VaultId, Head>,
    /// Everything up to here was taken up.
    seen: Revision,
    /// The reader has heard of everything once this is seen.
    marked: Option<Revision>,
    next_mark: Instant,
}

impl Heads {
    async fn next(&mut self) -> Result<HeadsEvent, SourceError> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Ok(event);
            }
            let lineage = self.engine.lineage();
            let Some(following) = &mut self.following else {
                self.begin().await?;
                continue;
            };
            if following.marked.is_some_and(|marked| following.seen >= marked) {
                following.marked = None;
                return Ok(HeadsEvent::CaughtUp { lineage, digest: digest(&following.known) });
            }
            if following.marked.is_none() && Instant::now() >= following.next_mark {
                following.next_mark = Instant::now() + CAUGHT_UP_EVERY;
                following.marked = Some(self.engine.read(&[]).await?.revision);
                continue;
            }
            let sleep = tokio::time::sleep_until(following.next_mark);
            let change = tokio::select! {
                biased;
                change = following.changes.next() => change,
                () = sleep, if following.marked.is_none() => continue,
            };
            match change {
                Some(Ok(change)) => self.take_up(change),
                // Too slow, or the store forgot: all heads once more.
                Some(Err(ChangesError::Compacted { .. })) | None => self.following = None,
                Some(Err(error)) => return Err(SourceError::Unreachable(error.to_string())),
            }
        }
    }

    /// Reads all heads and follows the store from there.
    async fn begin(&mut self) -> Result<(), SourceError> {
        let lineage = self.engine.lineage();
        let meta = view::meta(&*self.engine, &self.group).await?;
        let epoch =
            meta.ok_or_else(|| SourceError::Refused(format!("there is no group {}", self.group)))?.epoch;
        let copied = crate::apply::copied_record(&*self.engine, &self.group).await?;
        if copied.as_ref().is_some_and(|record| record.rebuilding) {
            return Err(SourceError::Refused(format!("group {} is being rebuilt here", self.group)));
        }
        let continues = copied.map(|record| record.lineage);
        let (revision, heads) = view::heads(&*self.engine, &self.group).await?;
        let mut known = BTreeMap::new();
        for (vault, head) in heads {
            match head {
                Ok(head) => drop(known.insert(vault, head)),
                // The vault is not replicated until it is repaired; the others are.
                Err(error) => tracing::error!(%vault, error, "a vault's head is damaged"),
            }
        }
        let changes = match self.engine.changes(lineage, revision).await {
            Ok(changes) => changes,
            Err(ChangesError::Compacted { .. }) => return Ok(()),
            Err(error) => return Err(SourceError::Unreachable(error.to_string())),
        };
        let heads: Vec<VaultHead> =
            known.iter().map(|(vault, head)| VaultHead { vault: vault.clone(), head: *head }).collect();
        let mut pages: Vec<Vec<VaultHead>> = heads.chunks(EVENT_HEADS).map(<[_]>::to_vec).collect();
        if pages.is_empty() {
            pages.push(Vec::new());
        }
        self.pending.extend(pages.into_iter().map(|heads| HeadsEvent::Heads {
            lineage,
            continues,
            epoch,
            heads,
        }));
        self.pending.push_back(HeadsEvent::CaughtUp { lineage, digest: digest(&known) });
        let next_mark = Instant::now() + CAUGHT_UP_EVERY;
        let (seen, marked) = (revision, None);
        self.following = Some(Following { changes, continues, epoch, known, seen, marked, next_mark });
        Ok(())
    }

    /// Takes up a change and those that wait behind it.
    fn take_up(&mut self, first: Change) {
        let Some(following) = &mut self.following else { return };
        let (prefix, meta) = (layout::heads(&self.group), layout::group_meta(&self.group));
        let mut news = BTreeMap::new();
        let mut next = Some(first);
        let mut gathered = 0;
        let mut again = false;
        while let Some(change) = next.take() {
            following.seen = change.revision;
            gathered += 1;
            for op in &change.ops {
                again |= *op.key() == meta;
                let Op::Put(key, value) = op else { continue };
                if !key.starts_with(&prefix) {
                    continue;
                }
                match (view::id_at(key, prefix.len()), Head::decode(value)) {
                    (Some(vault), Ok(head)) => drop(news.insert(vault, head)),
                    _ => tracing::error!(group = %self.group, "a vault's head is damaged"),
                }
            }
            if gathered < GATHER_MAX && !again {
                match following.changes.next().now_or_never() {
                    Some(Some(Ok(change))) => next = Some(change),
                    // Begin anew: what failed is found out then.
                    Some(_) => again = true,
                    None => {}
                }
            }
        }
        following.known.extend(news.iter().map(|(vault, head)| (vault.clone(), *head)));
        let lineage = self.engine.lineage();
        let (continues, epoch) = (following.continues, following.epoch);
        let heads: Vec<VaultHead> = news.into_iter().map(|(vault, head)| VaultHead { vault, head }).collect();
        if !heads.is_empty() {
            self.pending.push_back(HeadsEvent::Heads { lineage, continues, epoch, heads });
        }
        if again {
            self.following = None;
        }
    }
}
