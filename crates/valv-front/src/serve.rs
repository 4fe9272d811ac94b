//! The steps of a request that this node performs: authenticate, authorize, perform.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::request::Parts;
use http_body::Body;
use tokio::sync::SemaphorePermit;
use valv_access::authorize;
use valv_engine::GroupId;
use valv_model::{Admission, Effect, Error, Operation, Result};
use valv_peer::ForwardHead;
use valv_vault::{RequestKey, Sight, WriteContext};

use crate::answer::{Record, Reply, Seen};
use crate::authenticate::authenticate;
use crate::front::Received;
use crate::perform::open::{self, OpenCall};
use crate::perform::{Call, Query, body, perform, unknown_vault};
use crate::resolve::{Asked, Door, target};
use crate::route::{Mode, misdirected};
use crate::{Front, Here};

/// How this node performs a request.
pub(crate) struct Serving<'a> {
    pub(crate) mode: Mode,
    /// What another door says about it; None: the client sent it here.
    pub(crate) from: Option<&'a ForwardHead>,
    /// The group that it is about, as far as the request alone says it.
    pub(crate) group: Option<&'a GroupId>,
    /// The door holds a place among the requests in flight for it already.
    pub(crate) placed: bool,
}

impl Serving<'_> {
    /// As home, for a client of this node's own.
    pub(crate) const HOME: Self = Self { mode: Mode::Serve, from: None, group: None, placed: false };
}

/// A request's body: still to be read, or read at the door.
pub(crate) enum Taken<'a, B> {
    Stream(&'a mut B),
    Whole(Bytes),
}

impl<B: Body> Taken<'_, B> {
    /// The same body once more: a whole one stays, one that is still to be read is lent.
    pub(crate) fn again(&mut self) -> Taken<'_, B> {
        match self {
            Self::Stream(body) => Taken::Stream(body),
            Self::Whole(bytes) => Taken::Whole(bytes.clone()),
        }
    }

    /// What is read of it.
    pub(crate) fn bytes(&self) -> &Bytes {
        static NOTHING: Bytes = Bytes::new();
        match self {
            Self::Stream(_) => &NOTHING,
            Self::Whole(bytes) => bytes,
        }
    }

    /// Is nothing to be waited for, or kept?
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Stream(body) => body.is_end_stream(),
            Self::Whole(bytes) => bytes.is_empty(),
        }
    }
}

impl Front {
    /// Performs a request that needs a permit.
    pub(crate) async fn serve<B>(
        &self,
        here: &Here,
        request: &Received<'_>,
        serving: &Serving<'_>,
        record: &mut Record,
        body: Taken<'_, B>,
    ) -> Result<Reply>
    where
        B: Body + Unpin + Send,
    {
        let (asked, head) = (request.asked, request.head);
        if asked.is_open() || request.peer.door != Door::Public {
            return self.serve_open(Some(here), request, serving, record, body).await;
        }
        let place = if serving.placed { None } else { Some(self.enter()?) };
        // authenticate
        let (service, vault) = (&*here.service, asked.vault.as_ref());
        let (sight, caller) = authenticate(service, &here.authenticator, vault, &head.headers).await?;
        record.caller(&caller);
        // authorize
        let (operation, params) = asked.found()?;
        let query = Query::parse(head.uri.query().unwrap_or_default())?;
        record.version(query.version.as_str());
        see(here, request, serving, &sight, record)?;
        if asked.lives_in_vault() && sight.vault.is_none() {
            return Err(unknown_vault());
        }
        let object = asked.object()?;
        let target = target(sight.vault.as_deref(), operation, object.as_ref());
        let permit = authorize(caller, operation, target, &sight.registry)?;
        serving.mode.allow(operation)?;
        if let Some(vault) = vault {
            self.rates.count(vault, operation, object.as_ref())?;
        }
        // perform
        let (_place, body) = self.take(place, operation, head, body).await?;
        let principal = permit.caller().principal().as_str().to_owned();
        let context = WriteContext {
            request: request_key(&principal, operation, request, serving.from, &body),
            caller: principal,
            deadline: self.write_deadline(record, serving.from),
        };
        if operation.spec().effect == Effect::Write {
            record.writes();
        }
        let call = Call {
            service,
            settings: self.settings(),
            rates: &self.rates,
            reload_root_keys: here.reload_root_keys.as_ref(),
            far: self.wiring.far.as_ref(),
            replicas: here.replicas.as_deref(),
            permit: &permit,
            vault: sight.vault.as_ref(),
            authority: &asked.authority,
            params,
            object: object.as_ref(),
            query: &query,
            body: &body,
            context: &context,
        };
        let reply = perform(&call).await?;
        if let (Effect::Write, Some(vault)) = (operation.spec().effect, &sight.vault)
            && let Ok(commit) = service.commit_number(vault).await
        {
            record.seen.commit = Some(commit);
        }
        Ok(reply)
    }

    /// Performs what is for everybody: the token service, health.
    pub(crate) async fn serve_open<B>(
        &self,
        here: Option<&Here>,
        request: &Received<'_>,
        serving: &Serving<'_>,
        record: &mut Record,
        body: Taken<'_, B>,
    ) -> Result<Reply>
    where
        B: Body + Unpin + Send,
    {
        let (operation, params) = request.asked.found()?;
        // Health is answered under overload, too.
        let free = serving.placed || request.asked.is_of_service();
        let place = if free { None } else { Some(self.enter()?) };
        let (_place, body) = self.take(place, operation, request.head, body).await?;
        let call = OpenCall {
            service: here.map(|here| &*here.service),
            issuer: here.and_then(|here| here.issuer.as_ref()),
            far: self.wiring.far.as_ref(),
            now: self.wiring.clock.now(),
            identity: request.peer.identity.as_ref(),
            metrics: self.metrics(),
            audited: self.wiring.audit.is_ready(),
            operation,
            params,
            head: request.head,
            body: &body,
        };
        let (reply, client) = open::perform(&call).await?;
        if let Some(client) = client {
            record.client(&client);
        }
        Ok(reply)
    }

    /// Reads the body. Meanwhile the request's place, if it has one, is free for others.
    pub(crate) async fn take<'a, B>(
        &'a self,
        place: Option<SemaphorePermit<'a>>,
        operation: Operation,
        head: &Parts,
        body: Taken<'_, B>,
    ) -> Result<(Option<SemaphorePermit<'a>>, Bytes)>
    where
        B: Body + Unpin + Send,
    {
        let body = match body {
            Taken::Whole(bytes) => return Ok((place, bytes)),
            Taken::Stream(body) if body.is_end_stream() => return Ok((place, Bytes::new())),
            Taken::Stream(body) => body,
        };
        let had_place = place.is_some();
        drop(place);
        let read =
            self.read_body(operation, head, body, operation.spec().admission == Admission::Anyone).await?;
        let place = if had_place { Some(self.enter()?) } else { None };
        Ok((place, read))
    }

    /// Reads a whole body within its limits. `is_open`: of somebody who has not shown yet who they are.
    pub(crate) async fn read_body<B>(
        &self,
        operation: Operation,
        head: &Parts,
        body: &mut B,
        is_open: bool,
    ) -> Result<Bytes>
    where
        B: Body + Unpin + Send,
    {
        let limits = &self.settings().limits;
        let max = match operation {
            Operation::SecretRestore | Operation::KeyRestore => limits.restore_bytes,
            _ if operation.spec().admission == Admission::Anyone => limits.open_bytes.min(limits.body_bytes),
            _ => limits.body_bytes,
        };
        let _waiting = self.in_flight.wait_for_body(is_open)?;
        // Wiped when the last who holds it lets go.
        Ok(Bytes::from_owner(body::read(&head.headers, body, max, limits.body_read).await?))
    }

    /// A write's time ends here, or at the door that sent it, whichever is sooner.
    fn write_deadline(&self, record: &Record, from: Option<&ForwardHead>) -> Instant {
        let own = record.arrived + self.settings().limits.write;
        from.map_or(own, |from| own.min(record.arrived + Duration::from_millis(from.deadline_ms.into())))
    }
}

/// What the store holds of the vault decides whether this node may answer in its mode, and what the answer says of itself.
fn see(
    here: &Here,
    request: &Received<'_>,
    serving: &Serving<'_>,
    sight: &Sight,
    record: &mut Record,
) -> Result<()> {
    if request.asked.is_anywhere() {
        return Ok(());
    }
    let holding = sight.holding.as_ref();
    record.seen.commit = holding.map(|holding| holding.commit);
    match (serving.mode, holding) {
        (Mode::Serve, Some(holding)) if holding.replica => {
            return Err(misdirected("this is the vault's replica"));
        }
        (Mode::Serve, _) => return Ok(()),
        (Mode::ServeReadOnly, Some(holding)) if !holding.replica => {
            return Err(misdirected("this is the vault's home"));
        }
        // Home has it, says the door; the copy does not have it yet.
        (Mode::ServeReadOnly, None) if request.asked.vault.is_some() => {
            return Err(misdirected("the vault is not in the copy"));
        }
        (Mode::ServeReadOnly, _) => {}
    }
    let group = holding.map(|holding| &holding.group).or(serving.group);
    let status = here.replicas.as_ref().zip(group).and_then(|(replicas, group)| replicas.status(group));
    let lag = status.and_then(|status| status.lag);
    record.seen = Seen { read_only: true, lag, ..record.seen };
    if let (Some(holding), Some(asked)) = (holding, request.minimum_commit)
        && holding.commit < asked
    {
        return Err(Error::unavailable(format!(
            "The vault's home region is not reached, and the copy here shows commit {}, not commit {asked}, which the request asks for. Nothing was changed. Try again.",
            holding.commit
        )));
    }
    let max = sight.vault.as_ref().and_then(|vault| vault.state.properties.replica_age_max_s);
    if let Some(max) = max
        && lag.is_none_or(|lag| lag > Duration::from_secs(max.into()))
    {
        return Err(Error::unavailable(format!(
            "The vault's home region is not reached, and the copy here is older than the {max} s that the vault allows. Nothing was changed. Try again."
        )));
    }
    Ok(())
}

/// What makes a retry a retry. One id may come with many different requests, so all that tells them apart
/// goes in, each part with its length. The door's own attempt id makes its retries safe where the client sends no id.
fn request_key(
    caller: &str,
    operation: Operation,
    request: &Received<'_>,
    from: Option<&ForwardHead>,
    body: &[u8],
) -> Option<RequestKey> {
    if operation.spec().effect == Effect::Read {
        return None;
    }
    let of_client = request.head.headers.get("x-ms-client-request-id").filter(|id| !id.is_empty());
    let of_client = of_client.map(|id| id.as_bytes().to_vec());
    let id = of_client.or_else(|| from.map(|from| from.attempt.as_bytes().to_vec()))?;
    let mut digest = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let Asked { vault, .. } = request.asked;
    let vault = vault.as_ref().map_or("", |v| v.as_str());
    let path = crate::resolve::path_key(request.head.uri.path());
    for part in
        [caller.as_bytes(), operation.name().as_bytes(), vault.as_bytes(), path.as_bytes(), body, &id[..]]
    {
        digest.update(&(part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finish().as_ref().try_into().ok().map(RequestKey)
}
