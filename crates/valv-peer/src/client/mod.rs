//! The client: one pooled connection to each node, made and kept in the background.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{
    CONNECTION, HOST, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE,
};
use http::{HeaderMap, Method, Request, Response};
use serde::de::DeserializeOwned;
use valv_engine::GroupId;
use valv_geo::PeerId;
use valv_geo::apply::Copied;
use valv_model::{RegionName, VaultName};

use crate::listen::REFUSAL_HEADER;
use crate::tls::PeerTls;
use crate::wire::cbor;
use crate::{ClientSettings, FORWARD_HEADER, ForwardHead, Forwarder, Holding, Probe, SendError};

mod link;
pub(crate) use link::{Link, uri};

/// The longest answer to a question of this crate's own that is read.
const ANSWER_BYTES: usize = 32 << 20;
/// Headers that end at a hop (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HOST,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
];

/// The connections of this node to all others.
pub struct Peers {
    links: HashMap<PeerId, Link>,
    settings: ClientSettings,
}

impl Peers {
    /// Begins to connect to all nodes; needs a tokio runtime. Dropping it closes the connections.
    #[must_use]
    pub fn start(
        tls: &Arc<PeerTls>,
        settings: ClientSettings,
        nodes: impl IntoIterator<Item = PeerId>,
    ) -> Arc<Self> {
        let link = |node: PeerId| (node.clone(), Link::start(node, Arc::clone(tls), settings.clone()));
        Arc::new(Self { links: nodes.into_iter().map(link).collect(), settings })
    }

    /// How a node is.
    pub async fn probe(&self, node: &PeerId, deadline: Instant) -> Result<Probe, SendError> {
        let probe: Probe = self.ask(node, "/peer/v1/probe", deadline).await?;
        of_region(&probe.region, node)?;
        Ok(probe)
    }

    /// What a node's region knows of a vault's name.
    pub async fn holding(
        &self,
        node: &PeerId,
        name: &VaultName,
        deadline: Instant,
    ) -> Result<Holding, SendError> {
        let holding: Holding = self.ask(node, &format!("/peer/v1/vault/{name}"), deadline).await?;
        of_region(&holding.region, node)?;
        Ok(holding)
    }

    /// What a node's region copied of a group; None: nothing yet.
    pub async fn copied(
        &self,
        node: &PeerId,
        group: &GroupId,
        deadline: Instant,
    ) -> Result<Option<Copied>, SendError> {
        let answer = self.get(node, &format!("/peer/v1/standing/{group}"), deadline).await?;
        cbor::read(answer.body()).map_err(|why| unreadable(&answer, &why))
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        node: &PeerId,
        path: &str,
        deadline: Instant,
    ) -> Result<T, SendError> {
        let answer = self.get(node, path, deadline).await?;
        serde_json::from_slice(answer.body()).map_err(|e| unreadable(&answer, &e.to_string()))
    }

    async fn get(&self, node: &PeerId, path: &str, deadline: Instant) -> Result<Response<Bytes>, SendError> {
        self.link(node)?.get(path, ANSWER_BYTES, deadline).await
    }

    fn link(&self, node: &PeerId) -> Result<&Link, SendError> {
        self.links
            .get(node)
            .ok_or_else(|| SendError::NotSent(format!("{} is no node of this deployment", node.address)))
    }
}

#[async_trait]
impl Forwarder for Peers {
    async fn forward(
        &self,
        node: &PeerId,
        head: &ForwardHead,
        request: Request<Bytes>,
        deadline: Instant,
    ) -> Result<Response<Bytes>, SendError> {
        let (mut parts, body) = request.into_parts();
        if parts.method == Method::CONNECT {
            return Err(SendError::NotSent("CONNECT is not forwarded".into()));
        }
        strip(&mut parts.headers);
        let value = head.encode().map_err(|e| SendError::NotSent(e.to_string()))?;
        parts.headers.insert(FORWARD_HEADER, value);
        parts.uri = uri(node, parts.uri.path_and_query().map_or("/", |p| p.as_str()))?;
        parts.version = http::Version::HTTP_2;
        let request = Request::from_parts(parts, body);
        let mut answer =
            refused_only(self.link(node)?.call(request, self.settings.answer_bytes, deadline).await?)?;
        for name in &HOP_BY_HOP {
            answer.headers_mut().remove(name);
        }
        Ok(answer)
    }
}

/// Leaves what is the client's: no hop-by-hop header (also those that `connection` names), nothing that only
/// doors may say.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
    crate::forward::strip(headers);
}

/// A refusal of the peer's listener is told from an answer of its front.
fn refused_only(answer: Response<Bytes>) -> Result<Response<Bytes>, SendError> {
    if answer.headers().contains_key(REFUSAL_HEADER) {
        return Err(link::refused(answer.status(), answer.body()));
    }
    Ok(answer)
}

fn unreadable(answer: &Response<Bytes>, why: &str) -> SendError {
    SendError::Refused { status: answer.status().as_u16(), why: format!("unreadable: {why}") }
}

fn of_region(said: &RegionName, node: &PeerId) -> Result<(), SendError> {
    if *said == node.region {
        return Ok(());
    }
    let why = format!("{} says that it is of region {said}, not {}", node.address, node.region);
    Err(SendError::Refused { status: 421, why })
}
