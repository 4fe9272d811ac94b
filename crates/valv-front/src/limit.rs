//! How much is let in: requests at a time, requests per vault and ten seconds.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use tokio::sync::{Semaphore, SemaphorePermit};
use valv_model::{Error, ErrorCode, Operation, Result, VaultName};

use crate::Rates;

/// Bodies that may be under way for each request that is worked on.
const BODIES: usize = 16;

/// Requests worked on at a time. Waiting for a body is no work: slow clients do not take the places of quick
/// ones, and those without a permit none of those with one (F38).
pub(crate) struct InFlight {
    work: Semaphore,
    bodies: Semaphore,
    open_bodies: Semaphore,
}

impl InFlight {
    pub(crate) fn new(requests: usize) -> Self {
        let places = |count: usize| Semaphore::new(count.min(Semaphore::MAX_PERMITS));
        let bodies = requests.saturating_mul(BODIES);
        Self { work: places(requests), bodies: places(bodies), open_bodies: places(bodies) }
    }

    /// A place, given back when dropped; nobody waits for one (F39).
    pub(crate) fn enter(&self) -> Result<SemaphorePermit<'_>> {
        self.work.try_acquire().map_err(|_| throttled("ServerBusy", 1))
    }

    /// Leave to wait for a body, of an operation that is for everybody or of one that was permitted.
    pub(crate) fn wait_for_body(&self, is_open: bool) -> Result<SemaphorePermit<'_>> {
        let bodies = if is_open { &self.open_bodies } else { &self.bodies };
        bodies.try_acquire().map_err(|_| throttled("ServerBusy", 1))
    }
}

/// The rate limits of all vaults.
pub(crate) struct VaultRates(Option<Limiters>);

struct Limiters {
    create: DefaultKeyedRateLimiter<VaultName>,
    other: DefaultKeyedRateLimiter<VaultName>,
}

impl VaultRates {
    pub(crate) fn new(rates: Option<Rates>) -> Self {
        Self(rates.map(|r| Limiters { create: limiter(r.create), other: limiter(r.other) }))
    }

    /// Counts a call, or refuses it; refused calls do not count.
    pub(crate) fn count(&self, vault: &VaultName, operation: Operation) -> Result<()> {
        let Some(limiters) = &self.0 else { return Ok(()) };
        let limiter = match operation {
            Operation::SecretSet | Operation::SecretRestore => &limiters.create,
            _ => &limiters.other,
        };
        limiter.check_key(vault).map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now());
            throttled("VaultRequestTypeLimitReached", seconds_up(wait))
        })
    }
}

fn limiter(per_ten_seconds: u32) -> DefaultKeyedRateLimiter<VaultName> {
    let burst = NonZeroU32::new(per_ten_seconds).unwrap_or(NonZeroU32::MIN);
    let period = Duration::from_secs(10) / burst.get();
    let quota = Quota::with_period(period).unwrap_or(Quota::per_second(burst));
    RateLimiter::keyed(quota.allow_burst(burst))
}

fn seconds_up(wait: Duration) -> u32 {
    let whole = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    u32::try_from(whole).unwrap_or(u32::MAX).max(1)
}

fn throttled(reason: &'static str, after_s: u32) -> Error {
    metrics::counter!("valv_throttled_total", "reason" => reason).increment(1);
    Error::new(
        ErrorCode::Throttled,
        format!("Request was not processed because too many requests were received. Reason: {reason}"),
    )
    .retry_after(after_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vault_that_uses_up_its_rate_is_told_when_to_come_back_and_the_others_go_on() {
        let rates = VaultRates::new(Some(Rates { create: 3, other: 5 }));
        let (a, b) = (VaultName::parse("one").unwrap(), VaultName::parse("two").unwrap());
        for _ in 0..3 {
            rates.count(&a, Operation::SecretSet).unwrap();
        }
        let error = rates.count(&a, Operation::SecretRestore).unwrap_err();
        assert_eq!(error.code, ErrorCode::Throttled);
        assert!((1..=4).contains(&error.retry_after_s.unwrap()), "{error:?}");
        assert!(error.message.ends_with("Reason: VaultRequestTypeLimitReached"));
        rates.count(&a, Operation::SecretGet).unwrap();
        rates.count(&b, Operation::SecretSet).unwrap();
    }

    #[test]
    fn no_limit_lets_all_in() {
        let rates = VaultRates::new(None);
        let vault = VaultName::parse("one").unwrap();
        assert!((0..10_000).all(|_| rates.count(&vault, Operation::SecretSet).is_ok()));
    }

    #[test]
    fn f39_beyond_the_places_nobody_waits() {
        let gate = InFlight::new(2);
        let (_one, two) = (gate.enter().unwrap(), gate.enter().unwrap());
        assert_eq!(gate.enter().unwrap_err().retry_after_s, Some(1));
        drop(two);
        drop(gate.enter().unwrap());
    }

    #[test]
    fn f38_bodies_of_strangers_take_no_place_of_others() {
        let gate = InFlight::new(1);
        let _strangers: Vec<_> = (0..BODIES).map(|_| gate.wait_for_body(true).unwrap()).collect();
        assert!(gate.wait_for_body(true).is_err());
        drop((gate.wait_for_body(false).unwrap(), gate.enter().unwrap()));
    }
}
