//! How much is let in: requests at a time, requests per vault and ten seconds.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use quick_cache::sync::Cache;
use tokio::sync::{Semaphore, SemaphorePermit};
use valv_crypto::KeyType;
use valv_model::{Error, ErrorCode, ObjectName, ObjectType, Operation, Result, VaultName};

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
    key_create: DefaultKeyedRateLimiter<VaultName>,
    key: DefaultKeyedRateLimiter<VaultName>,
    /// What the keys that were used last cost. A key that is not among them costs the least until it was used.
    costs: Cache<(VaultName, String), Cost>,
}

/// Keys whose costs are remembered.
const COSTS: usize = 10_000;

/// What operations with a key count for, in halves of an RSA 2048 computation with a software key (azure docs:
/// key-vault/general/service-limits: 4,000; 2,000 with an HSM key; 1,000 and 500 at RSA 3072, 500 and 250 at 4096).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cost {
    create: NonZeroU32,
    other: NonZeroU32,
}

const UNITS: u32 = 2;

impl Cost {
    fn of(kty: KeyType, bits: u32) -> Self {
        let size = match (kty, bits) {
            (KeyType::Rsa | KeyType::RsaHsm, 4096..) => 8,
            (KeyType::Rsa | KeyType::RsaHsm, 3072..) => 4,
            _ => 1,
        };
        let protection = if kty.is_hsm() { 2 } else { 1 };
        let number = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        Self { create: number(protection), other: number(UNITS * size * protection) }
    }

    fn least() -> Self {
        Self::of(KeyType::Rsa, 2048)
    }
}

impl VaultRates {
    pub(crate) fn new(rates: Option<Rates>) -> Self {
        Self(rates.map(|r| Limiters {
            create: limiter(r.create),
            other: limiter(r.other),
            key_create: limiter(r.key_create),
            key: limiter(r.key.saturating_mul(UNITS)),
            costs: Cache::new(COSTS),
        }))
    }

    /// Counts a call, or refuses it; refused calls do not count. `KeyCreate` counts once its body was read.
    pub(crate) fn count(
        &self,
        vault: &VaultName,
        operation: Operation,
        object: Option<&ObjectName>,
    ) -> Result<()> {
        let Some(limiters) = &self.0 else { return Ok(()) };
        let cost = || {
            let known = object.and_then(|name| limiters.costs.get(&(vault.clone(), name.upper())));
            known.unwrap_or_else(Cost::least)
        };
        match operation {
            Operation::SecretSet
            | Operation::SecretRestore
            | Operation::KeyImport
            | Operation::KeyRestore => check(&limiters.create, vault, NonZeroU32::MIN),
            Operation::KeyCreate => Ok(()),
            Operation::KeyRotate => check(&limiters.key_create, vault, cost().create),
            _ if operation.spec().object == ObjectType::Key => check(&limiters.key, vault, cost().other),
            _ => check(&limiters.other, vault, NonZeroU32::MIN),
        }
    }

    /// Counts a `KeyCreate`, or refuses it.
    pub(crate) fn count_new_key(&self, vault: &VaultName, kty: KeyType) -> Result<()> {
        let Some(limiters) = &self.0 else { return Ok(()) };
        check(&limiters.key_create, vault, Cost::of(kty, 0).create)
    }

    /// Remembers what a key costs.
    pub(crate) fn learn(&self, vault: &VaultName, key: &ObjectName, kty: KeyType, bits: u32) {
        if let Some(limiters) = &self.0 {
            limiters.costs.insert((vault.clone(), key.upper()), Cost::of(kty, bits));
        }
    }
}

fn check(limiter: &DefaultKeyedRateLimiter<VaultName>, vault: &VaultName, cost: NonZeroU32) -> Result<()> {
    let reason = "VaultRequestTypeLimitReached";
    match limiter.check_key_n(vault, cost) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(until)) => {
            let wait = until.wait_time_from(DefaultClock::default().now());
            Err(throttled(reason, seconds_up(wait)))
        }
        // More than the whole rate: a setting of less than 16 or so.
        Err(_) => Err(throttled(reason, 10)),
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
        let rates = VaultRates::new(Some(Rates { create: 3, other: 5, ..Rates::default() }));
        let (a, b) = (VaultName::parse("one").unwrap(), VaultName::parse("two").unwrap());
        for _ in 0..3 {
            rates.count(&a, Operation::SecretSet, None).unwrap();
        }
        let error = rates.count(&a, Operation::SecretRestore, None).unwrap_err();
        assert_eq!(error.code, ErrorCode::Throttled);
        assert!((1..=4).contains(&error.retry_after_s.unwrap()), "{error:?}");
        assert!(error.message.ends_with("Reason: VaultRequestTypeLimitReached"));
        assert!(rates.count(&a, Operation::KeyImport, None).is_err(), "one rate for all that is taken in");
        rates.count(&a, Operation::SecretGet, None).unwrap();
        rates.count(&b, Operation::SecretSet, None).unwrap();
    }

    /// How many of these calls a fresh vault is let do at once.
    fn burst(name: &str, mut call: impl FnMut(&VaultName) -> Result<()>) -> usize {
        let vault = VaultName::parse(name).unwrap();
        (0..10_000).take_while(|_| call(&vault).is_ok()).count()
    }

    #[test]
    fn larger_and_hsm_keys_cost_more_once_they_are_known() {
        let rates = VaultRates::new(Some(Rates { key: 100, key_create: 20, create: 1, other: 1 }));
        let key = ObjectName::parse("key").unwrap();
        let about = |got: usize, expected: usize| (expected..=expected + expected / 10 + 1).contains(&got);
        for (at, (kty, bits, expected)) in [
            (KeyType::Rsa, 2048, 100),
            (KeyType::RsaHsm, 2048, 50),
            (KeyType::Rsa, 3072, 25),
            (KeyType::RsaHsm, 3072, 12),
            (KeyType::Rsa, 4096, 12),
            (KeyType::RsaHsm, 4096, 6),
            (KeyType::Ec, 521, 100),
            (KeyType::EcHsm, 256, 50),
            (KeyType::Oct, 256, 100),
            (KeyType::OctHsm, 256, 50),
        ]
        .into_iter()
        .enumerate()
        {
            let got = burst(&format!("vault-{at}"), |vault| {
                rates.learn(vault, &ObjectName::parse("KEY").unwrap(), kty, bits);
                rates.count(vault, Operation::KeySign, Some(&key))
            });
            assert!(about(got, expected), "{kty} {bits}: {got}, expected {expected}");
        }
        let unknown = burst("unknown", |v| rates.count(v, Operation::KeySign, Some(&key)));
        assert!(about(unknown, 100), "{unknown}");
    }

    #[test]
    fn new_keys_have_a_rate_of_their_own() {
        let rates = VaultRates::new(Some(Rates { create: 1, other: 1, ..Rates::default() }));
        assert_eq!(burst("software", |v| rates.count_new_key(v, KeyType::Rsa)), 20);
        assert_eq!(burst("in-hsm", |v| rates.count_new_key(v, KeyType::EcHsm)), 10);
        assert_eq!(burst("rotate", |v| rates.count(v, Operation::KeyRotate, None)), 20);
        let vault = VaultName::parse("rotate").unwrap();
        assert!(rates.count_new_key(&vault, KeyType::Ec).is_err(), "rotations are new keys, too");
        rates.count(&vault, Operation::KeyGet, None).unwrap();
        rates.count(&vault, Operation::SecretSet, None).unwrap();
    }

    #[test]
    fn no_limit_lets_all_in() {
        let rates = VaultRates::new(None);
        let vault = VaultName::parse("one").unwrap();
        assert!((0..10_000).all(|_| rates.count(&vault, Operation::SecretSet, None).is_ok()));
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
