//! What the front asks of this crate. Traits, so that its decisions can be tested without a socket.

use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use valv_geo::PeerId;
use valv_model::{RegionName, Result, VaultName};

use crate::{ForwardHead, SendError};

/// Sends a client's request to another node. [`crate::Peers`] is the real one.
#[async_trait]
pub trait Forwarder: Send + Sync + 'static {
    /// The answer, read whole, or why there is none; in any case before `deadline`.
    ///
    /// Of the request goes out: method, path and query, headers without the hop-by-hop ones and without
    /// `x-valv-*`, body. 421 and 429 are answers like any other.
    async fn forward(
        &self,
        node: &PeerId,
        head: &ForwardHead,
        request: Request<Bytes>,
        deadline: Instant,
    ) -> Result<Response<Bytes>, SendError>;
}

/// Where a vault lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The region that takes its writes.
    pub home: RegionName,
    /// It is soft-deleted.
    pub deleted: bool,
}

/// Finds the home of a vault.
#[async_trait]
pub trait Homes: Send + Sync + 'static {
    /// Where the vault `name` lives, from the cache or from the regions, before `deadline`.
    ///
    /// None: every region that could hold the name has answered that there is no such vault. Errors:
    /// 503 `ServiceUnavailable`, not every such region answered.
    async fn locate(&self, name: &VaultName, deadline: Instant) -> Result<Option<Located>>;

    /// What is cached of `name` was wrong, or has just changed: the next one asks the regions.
    fn forget(&self, name: &VaultName);
}
