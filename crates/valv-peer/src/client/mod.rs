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
use http::{HeaderMap, Method, Request, Response, Uri};
use serde::de::DeserializeOwned;
use valv_engine::GroupId;
use valv_model::VaultName;

use crate::listen::REFUSAL_HEADER;
use crate::tls::PeerTls;
use crate::{
    ClientSettings, Copied, FORWARD_HEADER, ForwardHead, Forwarder, Holding, Node, Probe, SendError,
    region_name,
};

mod link;
use link::Link;

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
    links: HashMap<Node, Link>,
    settings: ClientSettings,
}

impl Peers {
    /// Begins to connect to all nodes; needs a tokio runtime. Dropping it closes the connections.
    #[must_use]
    pub fn start(
        tls: &Arc<PeerTls>,
        settings: ClientSettings,
        nodes: impl IntoIterator<Item = Node>,
    ) -> Arc<Self> {
        let link = |node: Node| (node.clone(), Link::start(node, Arc::clone(tls), settings.clone()));
        Arc::new(Self { links: nodes.into_iter().map(link).collect(), settings })
    }

    /// How a node is.
    pub async fn probe(&self, node: &Node, deadline: Instant) -> Result<Probe, SendError> {
        let probe: Probe = self.ask(node, "/peer/v1/probe", deadline).await?;
        of_region(&probe.region, node)?;
        Ok(probe)
    }

    /// What a node's region knows of a vault's name.
    pub async fn holding(
        &self,
        node: &Node,
        name: &VaultName,
        deadline: Instant,
    ) -> Result<Holding, SendError> {
        let holding: Holding = self.ask(node, &format!("/peer/v1/vault/{name}"), deadline).await?;
        of_region(&holding.region, node)?;
        Ok(holding)
    }

    /// What a node's region copied of a group.
    pub async fn copied(&self, node: &Node, group: &GroupId, deadline: Instant) -> Result<Copied, SendError> {
        self.ask(node, &format!("/peer/v1/standing/{group}"), deadline).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        node: &Node,
        path: &str,
        deadline: Instant,
    ) -> Result<T, SendError> {
        let request = Request::builder()
            .uri(uri(node, path)?)
            .body(Bytes::new())
            .map_err(|e| SendError::NotSent(e.to_string()))?;
        let answer = self.link(node)?.call(request, ANSWER_BYTES, deadline).await?;
        let answer = refusal(answer)?;
        serde_json::from_slice(answer.body()).map_err(|e| SendError::Refused {
            status: answer.status().as_u16(),
            why: format!("unreadable: {e}"),
        })
    }

    fn link(&self, node: &Node) -> Result<&Link, SendError> {
        self.links
            .get(node)
            .ok_or_else(|| SendError::NotSent(format!("{node} is not a node of this deployment")))
    }
}

#[async_trait]
impl Forwarder for Peers {
    async fn forward(
        &self,
        node: &Node,
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
    let ours: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("x-valv-")).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
}

fn uri(node: &Node, path: &str) -> Result<Uri, SendError> {
    Uri::builder()
        .scheme("https")
        .authority(region_name(node.region()))
        .path_and_query(path)
        .build()
        .map_err(|e| SendError::NotSent(format!("no request target: {e}")))
}

/// A refusal of the peer's listener is told from an answer of its front.
fn refused_only(answer: Response<Bytes>) -> Result<Response<Bytes>, SendError> {
    if answer.headers().contains_key(REFUSAL_HEADER) {
        return Err(refused(&answer));
    }
    Ok(answer)
}

fn refusal(answer: Response<Bytes>) -> Result<Response<Bytes>, SendError> {
    if answer.status().is_success() { Ok(answer) } else { Err(refused(&answer)) }
}

fn refused(answer: &Response<Bytes>) -> SendError {
    let text = String::from_utf8_lossy(answer.body());
    let why = text.chars().filter(|c| !c.is_control()).take(300).collect();
    SendError::Refused { status: answer.status().as_u16(), why }
}

fn of_region(said: &valv_model::RegionName, node: &Node) -> Result<(), SendError> {
    if said == node.region() {
        return Ok(());
    }
    Err(SendError::Refused { status: 421, why: format!("{node} says that it is of region {said}") })
}
