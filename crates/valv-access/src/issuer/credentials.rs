//! Is this the secret of a registered client?

use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Semaphore;
use valv_model::{ClientId, UnixSeconds};
use zeroize::Zeroizing;

use super::{TokenError, plain};
use crate::{ClientRecord, ClientSecret, Registry};

/// How many Argon2 computations run at once; each takes 19 MiB and tens of milliseconds.
const SLOW_AT_ONCE: usize = 2;
/// How many may run or wait; more are refused at once.
const SLOW_AT_MOST: usize = 16;

/// Checks secrets, the slow ones off the request threads and few at a time.
#[derive(Debug)]
pub(crate) struct SecretCheck {
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl SecretCheck {
    pub(crate) fn new() -> Self {
        Self { slots: Arc::new(Semaphore::new(SLOW_AT_ONCE)), waiting: AtomicUsize::new(0) }
    }

    /// The client with this id, if the secret is one of its unexpired ones.
    pub(crate) async fn client<'a>(
        &self,
        id: &str,
        secret: &str,
        registry: &'a Registry,
        now: UnixSeconds,
    ) -> Result<&'a ClientRecord, TokenError> {
        let client = ClientId::parse(id).ok().and_then(|id| registry.clients.get(&id));
        let Some(client) = client else {
            // As much work as a wrong secret takes. (The answer names the unknown client, as Entra's does:
            // client ids are no secrets. It is the secrets that must not be measurable.)
            let _ = NOBODY.as_ref().is_some_and(|nobody| nobody.matches(secret));
            let text = format!("Application with identifier {} was not found in the directory.", plain(id));
            return Err(TokenError::new(400, "unauthorized_client", "AADSTS700016", &text, now));
        };
        let (fast, slow): (Vec<_>, Vec<_>) = client.secrets.iter().partition(|s| !s.is_slow());
        let found = match fast.into_iter().find(|s| s.matches(secret)) {
            Some(found) => Some(found),
            None if slow.is_empty() => None,
            None => self.find_slow(&slow, secret, now).await?,
        };
        match found {
            Some(found) if !found.is_expired(now) => Ok(client),
            Some(_) => {
                let text = "The provided client secret keys are expired. Create a new secret for the client.";
                Err(TokenError::new(401, "invalid_client", "AADSTS7000222", text, now))
            }
            None => {
                let text = format!(
                    "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app {}.",
                    client.id
                );
                Err(TokenError::new(401, "invalid_client", "AADSTS7000215", &text, now))
            }
        }
    }

    async fn find_slow<'a>(
        &self,
        secrets: &[&'a ClientSecret],
        text: &str,
        now: UnixSeconds,
    ) -> Result<Option<&'a ClientSecret>, TokenError> {
        let busy = || {
            TokenError::new(
                429,
                "temporarily_unavailable",
                "AADSTS90055",
                "Too many client secrets are being checked; try again in a second.",
                now,
            )
        };
        let _place = Place::take(&self.waiting).ok_or_else(busy)?;
        // The permit goes with the computation, which ends even if the client has left.
        let permit = Arc::clone(&self.slots).acquire_owned().await.map_err(|_| busy())?;
        let (text, candidates) =
            (Zeroizing::new(text.to_owned()), secrets.iter().map(|s| (*s).clone()).collect::<Vec<_>>());
        let found = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            candidates.iter().position(|secret| secret.matches(&text))
        });
        Ok(found.await.map_err(|_| busy())?.and_then(|at| secrets.get(at).copied()))
    }
}

/// A secret that nobody knows.
static NOBODY: LazyLock<Option<ClientSecret>> =
    LazyLock::new(|| ClientSecret::generate(UnixSeconds(0), None).ok().map(|(secret, _)| secret));

/// A place among those who run or wait; given back when dropped.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Option<Self> {
        let place = Self(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < SLOW_AT_MOST).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
