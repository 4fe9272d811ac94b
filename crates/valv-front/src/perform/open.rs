//! Operations for everybody: the token service, which checks its own credentials, and health.

use std::sync::Arc;

use http::request::Parts;
use serde_json::json;
use valv_access::{Issuer, TokenError, TokenGrant};
use valv_geo::{RegionHealth, Standing, View};
use valv_model::{ClientId, Error, ErrorCode, Operation, Result, UnixSeconds};
use valv_vault::Service;

use super::misplaced;
use crate::Far;
use crate::answer::{Metrics, Refusal, Reply};
use crate::resolve::Params;
use crate::route::misdirected;

/// A request that needs no permit.
pub(crate) struct OpenCall<'a> {
    pub(crate) service: Option<&'a Service>,
    pub(crate) issuer: Option<&'a Issuer>,
    pub(crate) far: Option<&'a Far>,
    pub(crate) now: UnixSeconds,
    pub(crate) identity: Option<&'a ClientId>,
    pub(crate) metrics: &'a Metrics,
    /// Can requests be audited, as far as they must be?
    pub(crate) audited: bool,
    pub(crate) operation: Operation,
    pub(crate) params: &'a Params,
    pub(crate) head: &'a Parts,
    pub(crate) body: &'a [u8],
}

/// Does what was asked. Also answers for whom, for the audit record.
pub(crate) async fn perform(call: &OpenCall<'_>) -> Result<(Reply, Option<ClientId>)> {
    let query = call.head.uri.query().unwrap_or_default();
    let (now, tenant) = (call.now, call.params.get("tenant"));
    let header = |name: &str| call.head.headers.get(name).and_then(|v| v.to_str().ok());
    Ok(match call.operation {
        Operation::TokenIssue => {
            let registry = service(call)?.look(None).await?.registry;
            granted(issuer(call)?.token(tenant, call.body, header("authorization"), &registry, now).await)
        }
        Operation::AppServiceToken => {
            let (issuer, registry) = (issuer(call)?, service(call)?.look(None).await?.registry);
            granted(issuer.app_service_token(query, header("x-identity-header"), &registry, now).await)
        }
        Operation::ManagedIdentityToken => {
            let (issuer, registry) = (issuer(call)?, service(call)?.look(None).await?.registry);
            let identity = call.identity.ok_or_else(no_such_path)?;
            granted(issuer.managed_identity_token(query, header("metadata"), identity, &registry, now).await)
        }
        Operation::OpenidConfigurationGet => (
            match issuer(call)?.openid_configuration(tenant, now) {
                Ok(document) => Reply::json(200, &document, 1024),
                Err(error) => refused(error),
            },
            None,
        ),
        Operation::JwksGet => {
            let registry = service(call)?.look(None).await?.registry;
            (Reply::json(200, &issuer(call)?.jwks(&registry), 1024), None)
        }
        Operation::InstanceDiscoveryGet => {
            (Reply::json(200, &issuer(call)?.instance_discovery(), 1024), None)
        }
        Operation::HealthStatusGet => {
            let view = call.far.map(|far| far.view.load_full());
            let others = view.as_deref().is_some_and(reaches_a_node);
            if !call.audited || !(others || answers(call.service, view.as_deref()).await) {
                return Err(Error::unavailable("Requests cannot be answered here."));
            }
            (Reply::json(200, &json!({ "status": "healthy" }), 32), None)
        }
        Operation::HealthGet => (Reply::new(200, TEXT, "live\n".into()), None),
        Operation::ReadyGet => {
            ready(call).await?;
            (Reply::new(200, TEXT, "ready\n".into()), None)
        }
        Operation::MetricsGet => (Reply::new(200, PROMETHEUS, call.metrics.render().into()), None),
        other => return Err(misplaced(other)),
    })
}

/// Does the node's own store answer a read? Where the watch over the nodes asks that all the time, by what it saw last.
async fn answers(service: Option<&Service>, view: Option<&View>) -> bool {
    match (service, view) {
        (Some(_), Some(view)) => view.here.as_ref().is_some_and(|here| here.engine),
        (Some(service), None) => service.ready().await.is_ok(),
        (None, _) => false,
    }
}

/// Is any other node there to ask?
fn reaches_a_node(view: &View) -> bool {
    view.regions.iter().flat_map(|region| &region.nodes).any(|node| node.alive)
}

/// Can this node do its work? A node of a region: its engine answers a read, and it may speak for its vaults. A gateway:
/// some region is there.
async fn ready(call: &OpenCall<'_>) -> Result<()> {
    let view = call.far.map(|far| far.view.load_full());
    if let Some(service) = call.service {
        service.ready().await?;
        let standing = view.as_ref().and_then(|view| view.here.as_ref()).map(|here| &here.standing);
        return match standing {
            None | Some(Standing::Good) => Ok(()),
            Some(Standing::Checking) => {
                Err(Error::unavailable("This node compares its store with its pair's copy and serves after that."))
            }
            Some(Standing::Masked(reason)) => {
                Err(Error::unavailable("This region's store is older than its pair's copy, or another one: its pair answers reads. See valv status.")
                    .detail(reason.to_string()))
            }
        };
    }
    let is_there =
        |view: Arc<View>| view.regions.iter().any(|region| region.health == RegionHealth::Available);
    if view.is_some_and(is_there) { Ok(()) } else { Err(Error::unavailable("No region is there.")) }
}

const TEXT: &str = "text/plain; charset=utf-8";
/// The text format of Prometheus.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

fn service<'a>(call: &OpenCall<'a>) -> Result<&'a Service> {
    call.service.ok_or_else(|| misdirected("a gateway holds nothing"))
}

fn issuer<'a>(call: &OpenCall<'a>) -> Result<&'a Issuer> {
    call.issuer.ok_or_else(no_such_path)
}

fn no_such_path() -> Error {
    Error::new(ErrorCode::NotFound, "There is no token service here: the built-in issuer is switched off.")
}

fn granted(outcome: Result<TokenGrant, TokenError>) -> (Reply, Option<ClientId>) {
    match outcome {
        Ok(grant) => (Reply::json(200, &grant.body, 2048), Some(grant.client)),
        Err(error) => (refused(error), None),
    }
}

/// The token service's own form of a refusal; no challenge with it.
fn refused(error: TokenError) -> Reply {
    let mut reply = Reply::json(error.status, &error.body, 1024);
    let message = error.body["error_description"].as_str().unwrap_or_default().to_owned();
    let retry_after_s = (error.status == 429).then_some(1);
    reply.refusal = Some(Refusal { code: None, message, retry_after_s, challenge: false });
    reply
}
