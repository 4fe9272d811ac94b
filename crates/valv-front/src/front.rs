//! The life of a request, from its head to its answer.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures::FutureExt as _;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use tokio::sync::SemaphorePermit;
use valv_access::{Authenticator, Challenge, Issuer, demand_bearer};
use valv_engine::GroupId;
use valv_geo::apply::ReplicaStatus;
use valv_geo::{PeerId, Plan, RegionMap, View};
use valv_model::{ClientId, Effect, Error, ErrorCode, ObjectType, Operation, Result, VaultName};
use valv_peer::{ForwardHead, Forwarder, Homes};
use valv_vault::{Clock, Service};

use crate::FrontSettings;
use crate::answer::{Audit, Metrics, Record, Reply, count, count_panic, event_line, finish};
use crate::forward::{refuses, strip};
use crate::limit::{InFlight, VaultRates};
use crate::perform::{body, unknown_vault};
use crate::resolve::{Asked, Door, resolve};
use crate::route::{Place, Subject, needs_body, refused, subject};
use crate::serve::{Serving, Taken};

/// Reads the root keys' sources again; called before a rotation.
pub type ReloadRootKeys = Arc<dyn Fn() -> Result<()> + Send + Sync>;

/// What a front door stands before.
pub struct Wiring {
    /// What this node can perform itself; None: a gateway.
    pub here: Option<Here>,
    /// The other nodes of the deployment; None: there are none.
    pub far: Option<Far>,
    /// For the times of audit records.
    pub clock: Arc<dyn Clock>,
    /// What a 401 tells the client to do.
    pub challenge: Challenge,
    /// Where audit records go.
    pub audit: Audit,
    /// The process's metrics.
    pub metrics: Metrics,
}

/// A node's own store and what it takes to answer from it.
pub struct Here {
    /// The vault logic.
    pub service: Arc<Service>,
    /// Checks tokens.
    pub authenticator: Arc<Authenticator>,
    /// The built-in token service; None: it is switched off.
    pub issuer: Option<Issuer>,
    /// Called before the root key is rotated.
    pub reload_root_keys: Option<ReloadRootKeys>,
    /// How far the store's copies are; None: it holds none.
    pub replicas: Option<Arc<dyn Replicas>>,
}

/// How far the copies in this node's store are.
pub trait Replicas: Send + Sync + 'static {
    /// The state of the copy of a group; None: no copy of it here.
    fn status(&self, group: &GroupId) -> Option<ReplicaStatus>;
}

/// Says what a node last said of itself.
pub type Seen = dyn Fn(&PeerId) -> serde_json::Map<String, serde_json::Value> + Send + Sync;

/// The other nodes, and what is known of them.
pub struct Far {
    /// Who holds what.
    pub regions: Arc<RegionMap>,
    /// Who is there, as last seen.
    pub view: Arc<ArcSwap<View>>,
    /// Sends requests to them.
    pub forwarder: Arc<dyn Forwarder>,
    /// Knows the homes of vaults.
    pub homes: Arc<dyn Homes>,
    /// When each attempt is made.
    pub hedge: valv_geo::hedge::Settings,
    /// The last changes of mode, for `StatusGet`: JSON objects, the newest first.
    pub history: Arc<dyn Fn() -> Vec<serde_json::Value> + Send + Sync>,
    /// What a node last said of itself, for `StatusGet`: a JSON object, empty before its first answer.
    pub seen: Arc<Seen>,
    /// Which root keys the other nodes hold, for `RootKeyRotate`.
    pub root_keys: Arc<dyn Fn() -> Vec<HeldRootKeys> + Send + Sync>,
}

/// The root keys of another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldRootKeys {
    /// The node.
    pub node: PeerId,
    /// Their ids; None: it has not answered lately.
    pub ids: Option<Vec<String>>,
}

/// Who sent a request, and through which listener.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The client's address.
    pub address: SocketAddr,
    /// The listener.
    pub door: Door,
    /// Whom a managed-identity listener stands for.
    pub identity: Option<ClientId>,
}

/// A request's head, and what is known of it.
pub(crate) struct Received<'a> {
    pub(crate) peer: &'a Peer,
    pub(crate) head: &'a Parts,
    pub(crate) asked: &'a Asked,
    /// A read from a copy must show this commit.
    pub(crate) minimum_commit: Option<u64>,
}

/// How a request ended.
pub(crate) enum Outcome {
    /// This node answers, and audits.
    Mine(Reply),
    /// Another node's answer, which that node has audited.
    Theirs(Box<Response<Bytes>>),
}

/// The front door of one node.
pub struct Front {
    pub(crate) wiring: Wiring,
    settings: FrontSettings,
    pub(crate) in_flight: InFlight,
    pub(crate) rates: VaultRates,
}

impl Front {
    /// A front door; opens no socket. What happens to keys by itself is audited from now on.
    #[must_use]
    pub fn new(wiring: Wiring, settings: FrontSettings) -> Self {
        let in_flight = InFlight::new(settings.limits.in_flight);
        let rates = VaultRates::new(settings.rates);
        if let Some(here) = &wiring.here {
            let (audit, of) = (wiring.audit.clone(), settings.clone());
            here.service.on_key_event(move |event| audit.note(event_line(event, &of)));
        }
        Self { wiring, settings, in_flight, rates }
    }

    /// What this node holds and knows.
    #[must_use]
    pub fn wiring(&self) -> &Wiring {
        &self.wiring
    }

    pub(crate) fn settings(&self) -> &FrontSettings {
        &self.settings
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.wiring.metrics
    }

    /// Nothing more is asked: what was audited is written out.
    pub(crate) async fn finish(&self) {
        self.wiring.audit.flush().await;
    }

    pub(crate) fn challenge(&self) -> &Challenge {
        &self.wiring.challenge
    }

    /// Answers a request, whatever it is. Every outcome is audited before the answer is handed back.
    pub async fn handle<B>(&self, peer: &Peer, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body + Unpin + Send,
    {
        let (mut head, mut body) = request.into_parts();
        let minimum_commit = strip(&mut head.headers);
        self.answer(peer, head, minimum_commit, &mut body, None).await.map(Full::new)
    }

    /// The same for a request of a client's, or of another door's (`from`).
    pub(crate) async fn answer<B>(
        &self,
        peer: &Peer,
        head: Parts,
        minimum_commit: Result<Option<u64>>,
        body: &mut B,
        from: Option<&ForwardHead>,
    ) -> Response<Bytes>
    where
        B: Body + Unpin + Send,
    {
        let mut record = Record::begin(&head, Instant::now(), self.wiring.clock.now_ms());
        if let Some(from) = from {
            record.request_id = from.request_id;
        }
        let outcome = self.bounded(peer, &mut record, &head, minimum_commit, body, from).await;
        let reply = match outcome {
            Ok(Outcome::Theirs(answer)) => {
                count(record.operation, answer.status().as_u16(), record.arrived.elapsed());
                return *answer;
            }
            Ok(Outcome::Mine(reply)) => reply,
            Err(error) => refuse(&record, &error, from.is_some()),
        };
        body::drain(&head.headers, body, reply.status).await;
        let reply = self.audited(peer, &record, reply).await;
        count(record.operation, reply.status.as_u16(), record.arrived.elapsed());
        finish(self, peer, &record, reply)
    }

    /// The steps.
    async fn process<B>(
        &self,
        peer: &Peer,
        record: &mut Record,
        head: &Parts,
        minimum_commit: Result<Option<u64>>,
        body: &mut B,
        from: Option<&ForwardHead>,
    ) -> Result<Outcome>
    where
        B: Body + Unpin + Send,
    {
        // resolve
        let asked = resolve(&self.settings, peer.door, head)?;
        record.asked(&asked);
        self.check_head(head)?;
        let request = Received { peer, head, asked: &asked, minimum_commit: minimum_commit? };
        // route; then authenticate, authorize, perform: here or elsewhere
        match (&self.wiring.far, &self.wiring.here, from) {
            (Some(far), _, Some(from)) => {
                let (operation, _) = asked.found()?;
                let body = self.read_body(operation, head, body, false).await?;
                self.serve_for(far, &request, from, record, body).await.map(Outcome::Mine)
            }
            (Some(far), here, None) if peer.door == Door::Public && !asked.is_of_service() => {
                self.serve_or_forward(far, here.as_ref(), &request, record, body).await
            }
            (_, Some(here), _) => {
                let body = Taken::Stream(body);
                self.serve(here, &request, &Serving::HOME, record, body).await.map(Outcome::Mine)
            }
            (_, None, _) => {
                let body = Taken::Stream(body);
                self.serve_open(None, &request, &Serving::HOME, record, body).await.map(Outcome::Mine)
            }
        }
    }

    /// In a deployment of several nodes: decides who answers, and goes on to the next where that one does not.
    async fn serve_or_forward<B>(
        &self,
        far: &Far,
        here: Option<&Here>,
        request: &Received<'_>,
        record: &mut Record,
        body: &mut B,
    ) -> Result<Outcome>
    where
        B: Body + Unpin + Send,
    {
        let (asked, head) = (request.asked, request.head);
        if !asked.is_open() {
            // Nothing is read, sent or looked up for somebody without a token.
            demand_bearer(head.headers.get(AUTHORIZATION).and_then(|token| token.to_str().ok()))?;
        }
        let mut held = Some(self.enter()?);
        let operation = asked.operation();
        let mut body = Taken::Stream(body);
        if let Some(operation) = operation.filter(|operation| needs_body(*operation)) {
            self.make_whole(operation, head, &mut body, &mut held).await?;
        }
        let Some(subject) = subject(asked, body.bytes()) else {
            drop(held);
            let serving = Serving::HOME;
            return match here {
                Some(here) => self.serve(here, request, &serving, record, body).await.map(Outcome::Mine),
                None => Err(nobodys(asked)),
            };
        };
        let (operation, _) = asked.found()?;
        let effect = operation.spec().effect;
        let schedule = far.schedule(operation, self.settings.limits.write);
        let until = record.arrived + if effect == Effect::Write { schedule.send } else { schedule.deadline };
        let Some(places) = far.places(&subject, until).await? else { return Err(not_found(asked, &subject)) };
        let mut outcome = Err(unknown_vault());
        for place in &places {
            let (body, held) = (&mut body, &mut held);
            outcome =
                self.serve_or_forward_at(far, here, place, request, record, operation, (body, held)).await;
            if !is_unknown(&outcome) {
                break;
            }
        }
        drop(held);
        let changed = operation.spec().object == ObjectType::Vault && effect == Effect::Write;
        if let Some(vault) = &asked.vault
            && (changed || is_unknown(&outcome) || is_misdirected(&outcome))
        {
            far.homes.forget(vault);
        }
        // That a node cannot take a part is between nodes: to the client nobody answered.
        outcome.map_err(|error| match error.code {
            ErrorCode::Misdirected => crate::route::nobody(operation),
            _ => error,
        })
    }

    /// The same at one of the places where the answer may be.
    #[allow(clippy::too_many_arguments, reason = "one call; a struct would only name them again")]
    async fn serve_or_forward_at<'a, B>(
        &'a self,
        far: &Far,
        here: Option<&Here>,
        place: &Place,
        request: &Received<'_>,
        record: &mut Record,
        operation: Operation,
        (body, held): (&mut Taken<'_, B>, &mut Option<SemaphorePermit<'a>>),
    ) -> Result<Outcome>
    where
        B: Body + Unpin + Send,
    {
        let effect = operation.spec().effect;
        let mut plan = far.plan(place, effect, false);
        if let (Plan::Serve | Plan::ServeReadOnly, Some(here)) = (&plan, here) {
            let mode = if plan == Plan::Serve {
                crate::route::Mode::Serve
            } else {
                crate::route::Mode::ServeReadOnly
            };
            let serving = Serving { mode, from: None, group: Some(&place.group), placed: true };
            if effect == Effect::Write {
                // Whoever is home is the only one who may do it: nothing to turn to. The body is read when it is permitted.
                *held = None;
                let serving = Serving { placed: false, ..serving };
                return self.serve(here, request, &serving, record, body.again()).await.map(Outcome::Mine);
            }
            self.make_whole(operation, request.head, body, held).await?;
            let served = self.serve(here, request, &serving, record, body.again());
            let served = tokio::time::timeout(far.hedge.replica, served).await;
            plan = far.plan(place, effect, true);
            match served {
                Ok(Err(error)) if refuses(&error, effect) && matches!(plan, Plan::Forward(_)) => {
                    tracing::info!(request = %record.request_id, %error, "this node cannot answer; others are asked");
                }
                Ok(served) => return served.map(Outcome::Mine),
                Err(_) => {}
            }
        }
        let forward = match plan {
            Plan::Forward(forward) => forward,
            Plan::Refuse(refusal) => return Err(refused(refusal, operation)),
            Plan::Serve | Plan::ServeReadOnly => return Err(crate::route::nobody(operation)),
        };
        let is_empty = body.is_empty();
        self.make_whole(operation, request.head, body, held).await?;
        // The schedule's time begins with the request, and with its body where that came later.
        let arrived = if is_empty { record.arrived } else { Instant::now() };
        self.forward(far, request, record, (place, &forward), operation, (body.bytes(), arrived)).await
    }

    /// Reads the body at the door, if that has not been done. Meanwhile the request's place is free for others (F38).
    async fn make_whole<'a, B>(
        &'a self,
        operation: Operation,
        head: &Parts,
        body: &mut Taken<'_, B>,
        held: &mut Option<SemaphorePermit<'a>>,
    ) -> Result<()>
    where
        B: Body + Unpin + Send,
    {
        let Taken::Stream(stream) = body else { return Ok(()) };
        let mut read = Bytes::new();
        if !stream.is_end_stream() {
            *held = None;
            read = self.read_body(operation, head, stream, true).await?;
            *held = Some(self.enter()?);
        }
        *body = Taken::Whole(read);
        Ok(())
    }

    /// Runs the steps within the request's deadline; a panic, which must not happen, ends this request only.
    async fn bounded<B>(
        &self,
        peer: &Peer,
        record: &mut Record,
        head: &Parts,
        minimum_commit: Result<Option<u64>>,
        body: &mut B,
        from: Option<&ForwardHead>,
    ) -> Result<Outcome>
    where
        B: Body + Unpin + Send,
    {
        let within = from.map_or(self.settings.limits.request, |from| {
            self.settings.limits.request.min(std::time::Duration::from_millis(from.deadline_ms.into()))
        });
        let steps = Box::pin(self.process(peer, record, head, minimum_commit, body, from));
        match tokio::time::timeout(within, AssertUnwindSafe(steps).catch_unwind()).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => {
                count_panic();
                Err(Error::internal("a handler panicked"))
            }
            Err(_) if record.may_have_written() => Err(Error::new(
                ErrorCode::UnknownOutcome,
                "The write did not finish in time. It may have happened, or may still happen, once.",
            )),
            Err(_) => {
                Err(Error::unavailable("The request could not be answered in time. Nothing was changed."))
            }
        }
    }

    /// The one place where a place among the requests in flight is given out; nothing is done that could not be audited.
    pub(crate) fn enter(&self) -> Result<SemaphorePermit<'_>> {
        if !self.wiring.audit.is_ready() {
            return Err(Error::unavailable(
                "The audit log cannot be written, and it is required. Nothing was changed.",
            ));
        }
        self.in_flight.enter()
    }

    /// Azure's own limits on a head are the gateway's; these are ours (F37).
    fn check_head(&self, head: &Parts) -> Result<()> {
        let limits = &self.settings.limits;
        let bytes: usize =
            head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        if head.headers.len() > limits.headers || bytes > limits.header_bytes {
            return Err(Error::new(
                ErrorCode::HeadersTooLarge,
                format!(
                    "A request may have {} header fields of {} bytes.",
                    limits.headers, limits.header_bytes
                ),
            ));
        }
        Ok(())
    }

    /// The one wrapper that no outcome escapes.
    async fn audited(&self, peer: &Peer, record: &Record, reply: Reply) -> Reply {
        // That a node could not take a part is no outcome: another one's answer is.
        if !record.is_audited() || reply.status == http::StatusCode::MISDIRECTED_REQUEST {
            return reply;
        }
        let line = record.line(&self.settings, peer, &reply);
        if self.wiring.audit.write(line).await || reply.refusal.is_some() {
            return reply;
        }
        // A refusal that promises "nothing was changed" would be a lie after a write (R2).
        Reply::refuse(&if record.may_have_written() {
            Error::new(
                ErrorCode::UnknownOutcome,
                "The audit log cannot be written, and it is required. The write was done; read before you repeat it.",
            )
        } else {
            Error::unavailable("The audit log cannot be written, and it is required. Nothing was changed.")
        })
    }
}

/// Does the place that was asked know nothing of it?
fn is_unknown(outcome: &Result<Outcome>) -> bool {
    match outcome {
        Ok(Outcome::Theirs(answer)) => {
            let code = answer.headers().get("x-ms-error-code").map(http::HeaderValue::as_bytes);
            code.is_some_and(|code| code == b"NotFound" || code == b"VaultNotFound")
        }
        Ok(Outcome::Mine(_)) => false,
        Err(error) => matches!(error.code, ErrorCode::NotFound | ErrorCode::VaultNotFound),
    }
}

fn is_misdirected(outcome: &Result<Outcome>) -> bool {
    outcome.as_ref().is_err_and(|error| error.code == ErrorCode::Misdirected)
}

fn refuse(record: &Record, error: &Error, is_forwarded: bool) -> Reply {
    if let Some(detail) = &error.detail {
        let (request, operation) = (record.request_id, record.operation.map_or("unknown", Operation::name));
        match error.code {
            ErrorCode::InternalError => tracing::error!(%request, operation, detail, "internal error"),
            ErrorCode::Misdirected if is_forwarded => {
                tracing::debug!(%request, operation, detail, "another node asked for a part that this one cannot take");
            }
            code => tracing::info!(%request, operation, ?code, detail, "refused"),
        }
    }
    Reply::refuse(error)
}

/// Why a request has no subject.
fn nobodys(asked: &Asked) -> Error {
    match asked.found() {
        Err(error) => error,
        // The vault's name in the path is none.
        Ok((operation, params)) if operation.spec().object == ObjectType::Vault => {
            VaultName::parse(params.get("vault")).err().unwrap_or_else(unknown_vault)
        }
        Ok(_) => unknown_vault(),
    }
}

/// 404 for a vault that no region has, in the words for where its name stands.
fn not_found(asked: &Asked, subject: &Subject) -> Error {
    match subject {
        Subject::Vault(name) | Subject::VaultToPut(name, _) if !asked.lives_in_vault() => {
            Error::new(ErrorCode::VaultNotFound, format!("The vault '{name}' was not found."))
        }
        _ => unknown_vault(),
    }
}
