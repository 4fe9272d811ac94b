//! The life of a request, from its head to its answer.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::FutureExt as _;
use http::request::Parts;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use tokio::sync::SemaphorePermit;
use valv_access::{Authenticator, Challenge, Issuer, authorize};
use valv_model::{Admission, ClientId, Effect, Error, ErrorCode, Operation, Result};
use valv_vault::{RequestKey, Service, WriteContext};

use crate::FrontSettings;
use crate::answer::{Audit, Metrics, Record, Reply, count, count_panic, event_line, finish};
use crate::authenticate::authenticate;
use crate::limit::{InFlight, VaultRates};
use crate::perform::open::{self, OpenCall};
use crate::perform::{Call, Query, body, perform, unknown_vault};
use crate::resolve::{Asked, Door, resolve, target};
use crate::route::route;

/// Reads the root keys' sources again; called before a rotation.
pub type ReloadRootKeys = Arc<dyn Fn() -> Result<()> + Send + Sync>;

/// What a front door stands before.
pub struct Wiring {
    /// The vault logic.
    pub service: Arc<Service>,
    /// Checks tokens.
    pub authenticator: Arc<Authenticator>,
    /// The built-in token service; None: it is switched off.
    pub issuer: Option<Issuer>,
    /// What a 401 tells the client to do.
    pub challenge: Challenge,
    /// Where audit records go.
    pub audit: Audit,
    /// The process's metrics.
    pub metrics: Metrics,
    /// Called before the root key is rotated.
    pub reload_root_keys: Option<ReloadRootKeys>,
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

/// The front door of one node.
pub struct Front {
    wiring: Wiring,
    settings: FrontSettings,
    in_flight: InFlight,
    rates: VaultRates,
}

impl Front {
    /// A front door; opens no socket. What happens to keys by itself is audited from now on.
    #[must_use]
    pub fn new(wiring: Wiring, settings: FrontSettings) -> Self {
        let in_flight = InFlight::new(settings.limits.in_flight);
        let rates = VaultRates::new(settings.rates);
        let (audit, of) = (wiring.audit.clone(), settings.clone());
        wiring.service.on_key_event(move |event| audit.note(event_line(event, &of)));
        Self { wiring, settings, in_flight, rates }
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
        let (head, mut body) = request.into_parts();
        let mut record = Record::begin(&head, Instant::now(), self.wiring.service.clock().now_ms());
        let outcome = self.bounded(peer, &mut record, &head, &mut body).await;
        let reply = outcome.unwrap_or_else(|error| refuse(&record, &error));
        body::drain(&head.headers, &mut body, reply.status).await;
        let reply = self.audited(peer, &record, reply).await;
        count(record.operation, reply.status.as_u16(), record.arrived.elapsed());
        finish(self, peer, &record, reply)
    }

    /// The steps.
    async fn process<B>(&self, peer: &Peer, record: &mut Record, head: &Parts, body: &mut B) -> Result<Reply>
    where
        B: Body + Unpin + Send,
    {
        // resolve
        let asked = resolve(&self.settings, peer.door, head)?;
        record.asked(&asked);
        self.check_head(head)?;
        // route
        let mode = route();
        if asked.is_open() || peer.door != Door::Public {
            return self.process_open(peer, record, head, body, &asked).await;
        }
        let place = self.enter()?;
        // authenticate
        let service = &*self.wiring.service;
        let vault = asked.vault.as_ref();
        let (sight, caller) = authenticate(service, &self.wiring.authenticator, vault, &head.headers).await?;
        record.caller(&caller);
        // authorize
        let (operation, params) = asked.found()?;
        let query = Query::parse(head.uri.query().unwrap_or_default())?;
        record.version(query.version.as_str());
        if asked.lives_in_vault() && sight.vault.is_none() {
            return Err(unknown_vault());
        }
        let object = asked.object()?;
        let target = target(sight.vault.as_deref(), operation, object.as_ref());
        let permit = authorize(caller, operation, target, &sight.registry)?;
        mode.allow(operation)?;
        if let Some(vault) = vault {
            self.rates.count(vault, operation, object.as_ref())?;
        }
        // perform
        let (_place, body) = self.read(Some(place), operation, head, body).await?;
        let principal = permit.caller().principal().as_str().to_owned();
        let context = WriteContext {
            request: request_key(&principal, operation, &asked, head, &body),
            caller: principal,
            deadline: record.arrived + self.settings.limits.write,
        };
        if operation.spec().effect == Effect::Write {
            record.writes();
        }
        let call = Call {
            service,
            settings: &self.settings,
            rates: &self.rates,
            reload_root_keys: self.wiring.reload_root_keys.as_ref(),
            permit: &permit,
            vault: sight.vault.as_ref(),
            authority: &asked.authority,
            params,
            object: object.as_ref(),
            query: &query,
            body: &body,
            context: &context,
        };
        perform(&call).await
    }

    /// The steps of what is for everybody: the token service, health.
    async fn process_open<B>(
        &self,
        peer: &Peer,
        record: &mut Record,
        head: &Parts,
        body: &mut B,
        asked: &Asked,
    ) -> Result<Reply>
    where
        B: Body + Unpin + Send,
    {
        let (operation, params) = asked.found()?;
        // Health is answered under overload, too.
        let place = if peer.door == Door::Health { None } else { Some(self.enter()?) };
        let (_place, body) = self.read(place, operation, head, body).await?;
        let call = OpenCall {
            service: &self.wiring.service,
            issuer: self.wiring.issuer.as_ref(),
            identity: peer.identity.as_ref(),
            metrics: &self.wiring.metrics,
            operation,
            params,
            head,
            body: &body,
        };
        let (reply, client) = open::perform(&call).await?;
        if let Some(client) = client {
            record.client(&client);
        }
        Ok(reply)
    }

    /// Runs the steps within the request's deadline; a panic, which must not happen, ends this request only.
    async fn bounded<B>(&self, peer: &Peer, record: &mut Record, head: &Parts, body: &mut B) -> Result<Reply>
    where
        B: Body + Unpin + Send,
    {
        let steps = AssertUnwindSafe(Box::pin(self.process(peer, record, head, body))).catch_unwind();
        match tokio::time::timeout(self.settings.limits.request, steps).await {
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
    fn enter(&self) -> Result<SemaphorePermit<'_>> {
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

    /// Reads the body. Meanwhile the request's place, if it has one, is free for others.
    async fn read<'a, B>(
        &'a self,
        place: Option<SemaphorePermit<'a>>,
        operation: Operation,
        head: &Parts,
        body: &mut B,
    ) -> Result<(Option<SemaphorePermit<'a>>, zeroize::Zeroizing<Vec<u8>>)>
    where
        B: Body + Unpin + Send,
    {
        if body.is_end_stream() {
            return Ok((place, zeroize::Zeroizing::default()));
        }
        let limits = &self.settings.limits;
        let is_open = operation.spec().admission == Admission::Anyone;
        let max = match operation {
            Operation::SecretRestore | Operation::KeyRestore => limits.restore_bytes,
            _ if is_open => limits.open_bytes.min(limits.body_bytes),
            _ => limits.body_bytes,
        };
        let had_place = place.is_some();
        drop(place);
        let waiting = self.in_flight.wait_for_body(is_open)?;
        let read = body::read(&head.headers, body, max, limits.body_read).await?;
        drop(waiting);
        let place = if had_place { Some(self.enter()?) } else { None };
        Ok((place, read))
    }

    /// The one wrapper that no outcome escapes.
    async fn audited(&self, peer: &Peer, record: &Record, reply: Reply) -> Reply {
        if !record.is_audited() {
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

fn refuse(record: &Record, error: &Error) -> Reply {
    if let Some(detail) = &error.detail {
        let (request, operation) = (record.request_id, record.operation.map_or("unknown", Operation::name));
        match error.code {
            ErrorCode::InternalError => tracing::error!(%request, operation, detail, "internal error"),
            code => tracing::info!(%request, operation, ?code, detail, "refused"),
        }
    }
    Reply::refuse(error)
}

/// What makes a retry a retry. One id may come with many different requests, so all that tells them apart
/// goes in, each part with its length.
fn request_key(
    caller: &str,
    operation: Operation,
    asked: &Asked,
    head: &Parts,
    body: &[u8],
) -> Option<RequestKey> {
    if operation.spec().effect == Effect::Read {
        return None;
    }
    let id = head.headers.get("x-ms-client-request-id").filter(|id| !id.is_empty())?;
    let mut digest = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let vault = asked.vault.as_ref().map_or("", |v| v.as_str());
    let path = crate::resolve::path_key(head.uri.path());
    for part in [
        caller.as_bytes(),
        operation.name().as_bytes(),
        vault.as_bytes(),
        path.as_bytes(),
        body,
        id.as_bytes(),
    ] {
        digest.update(&(part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finish().as_ref().try_into().ok().map(RequestKey)
}
