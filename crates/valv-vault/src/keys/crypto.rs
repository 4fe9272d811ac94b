//! Computations with keys: which are allowed, where they run, and what they give.

use std::sync::Arc;
use std::time::{Duration, Instant};

use valv_access::{Permit, symmetric_key_forbidden};
use valv_crypto::{Algorithm, Decrypt, Encrypt, KeyOperation, KeyType, PrivateKey};
use valv_engine::KeyRange;
use valv_model::{Attributes, Error, ObjectName, Operation, Result, UnixSeconds, VersionId};
use zeroize::Zeroizing;

use super::cache::Opened;
use super::{Computation, Computed, Key, KeyResult, Length};
use crate::objects::desk::{Live, Sealed, damaged};
use crate::objects::errors;
use crate::objects::records::{Head, Object, Version, live_path, version_path, versions_prefix};

/// How long a computation may take, its wait for the pool included.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The most bytes that one request draws.
const RANDOM_BYTES_MAX: u32 = 128;

impl Computation {
    /// The word of `key_ops` that allows it.
    #[must_use]
    pub fn key_operation(&self) -> KeyOperation {
        match self {
            Self::Encrypt { .. } => KeyOperation::Encrypt,
            Self::Decrypt { .. } => KeyOperation::Decrypt,
            Self::Wrap { .. } => KeyOperation::WrapKey,
            Self::Unwrap { .. } => KeyOperation::UnwrapKey,
            Self::Sign { .. } => KeyOperation::Sign,
            Self::Verify { .. } => KeyOperation::Verify,
        }
    }

    /// The operation that a permit must be for.
    #[must_use]
    pub fn operation(&self) -> Operation {
        match self {
            Self::Encrypt { .. } => Operation::KeyEncrypt,
            Self::Decrypt { .. } => Operation::KeyDecrypt,
            Self::Wrap { .. } => Operation::KeyWrap,
            Self::Unwrap { .. } => Operation::KeyUnwrap,
            Self::Sign { .. } => Operation::KeySign,
            Self::Verify { .. } => Operation::KeyVerify,
        }
    }

    fn algorithm(&self) -> Algorithm {
        match self {
            Self::Encrypt { algorithm, .. }
            | Self::Decrypt { algorithm, .. }
            | Self::Wrap { algorithm, .. }
            | Self::Unwrap { algorithm, .. }
            | Self::Sign { algorithm, .. }
            | Self::Verify { algorithm, .. } => *algorithm,
        }
    }
}

/// May a version with these attributes and `key_ops` do `operation` at `now`?
///
/// A version that is switched off does nothing. Outside its dates it goes on to decrypt, unwrap and verify what was
/// made before, and makes nothing new (azure docs: key-vault/keys/about-keys-details, "Date-time controlled operations").
///
/// Errors: 403 `KeyDisabled`, `KeyOperationForbidden`, or without an inner code for the dates.
fn may(
    operation: KeyOperation,
    key_ops: &[KeyOperation],
    attributes: &Attributes,
    now: UnixSeconds,
) -> Result<()> {
    let makes_new = match operation {
        KeyOperation::Encrypt | KeyOperation::WrapKey | KeyOperation::Sign => true,
        KeyOperation::Decrypt | KeyOperation::UnwrapKey | KeyOperation::Verify => false,
        KeyOperation::Import | KeyOperation::Export => {
            return Err(Error::key_operation_forbidden(operation.as_str()));
        }
    };
    if !attributes.enabled {
        Err(Error::key_disabled(operation.as_str()))
    } else if !key_ops.contains(&operation) {
        Err(Error::key_operation_forbidden(operation.as_str()))
    } else if makes_new && attributes.nbf.is_some_and(|nbf| now < nbf) {
        Err(Error::key_not_yet_valid(operation.as_str()))
    } else if makes_new && attributes.exp.is_some_and(|exp| exp <= now) {
        Err(Error::key_expired(operation.as_str()))
    } else {
        Ok(())
    }
}

/// Does it belong on the pool? An RSA key's private operations take 0.2 to 5 ms, and to open such a key takes 0.1 to
/// 0.5 ms: at a few thousand a second they would keep the threads that answer requests from everything else. All
/// else (RSA's public operations, curves, AES, HMAC) takes 1 to 250 us, hardly more than to hand it over and wait.
fn on_pool(kty: KeyType, operation: KeyOperation, opened: bool) -> bool {
    let private = matches!(operation, KeyOperation::Decrypt | KeyOperation::UnwrapKey | KeyOperation::Sign);
    matches!(kty, KeyType::Rsa | KeyType::RsaHsm) && (private || !opened)
}

/// `KeyEncrypt`, `KeyDecrypt`, `KeyWrap`, `KeyUnwrap`, `KeySign`, `KeyVerify`.
pub(super) async fn key_compute(
    desk: &Live<'_>,
    permit: &Permit,
    name: &ObjectName,
    version: Option<&VersionId>,
    computation: Computation,
) -> Result<KeyResult> {
    let refuse_symmetric =
        permit.public_half_only().then(|| symmetric_key_forbidden(permit, &desk.vault.access));
    run(desk, refuse_symmetric, name, version, computation).await
}

/// A version that may be opened already.
enum Found {
    Opened(Arc<Opened>),
    Stored(Box<Version<Key>>),
}

impl Found {
    fn head(&self) -> &Head<Key> {
        match self {
            Self::Opened(opened) => &opened.head,
            Self::Stored(stored) => &stored.head,
        }
    }

    fn open(self) -> Result<Arc<Opened>> {
        match self {
            Self::Opened(opened) => Ok(opened),
            Self::Stored(stored) => {
                let key = PrivateKey::from_stored(&stored.value.0)?;
                Ok(Arc::new(Opened { head: stored.head, key }))
            }
        }
    }
}

async fn run(
    desk: &Live<'_>,
    refuse_symmetric: Option<Error>,
    name: &ObjectName,
    version: Option<&VersionId>,
    computation: Computation,
) -> Result<KeyResult> {
    let service = desk.service;
    let vault = &desk.vault.state.envelope.id;
    let (name, sealed, found) = find(desk, name, version).await?;

    let operation = computation.key_operation();
    let Head { version, attributes, detail, .. } = found.head();
    let (version, kty, bits) = (version.clone(), detail.kty, detail.bits);
    if let (Some(refusal), KeyType::Oct | KeyType::OctHsm) = (refuse_symmetric, kty) {
        return Err(refusal);
    }
    may(operation, &detail.key_ops, attributes, service.clock.now())?;
    computation.algorithm().check(operation, kty, bits, detail.public.crv)?;

    let on_pool = on_pool(kty, operation, matches!(found, Found::Opened(_)));
    let cache = Arc::clone(&service.keys);
    let vault = vault.clone();
    let work = move || {
        let fresh = matches!(found, Found::Stored(_));
        let opened = found.open()?;
        if fresh {
            cache.insert(&vault, &sealed.path, &sealed.bytes, Arc::clone(&opened));
        }
        compute(&opened.key, &computation)
    };
    let computed = if on_pool {
        service.pool.run(Length::Short, Instant::now() + TIMEOUT, work).await?
    } else {
        work()?
    };
    Ok(KeyResult { name, version, kty, bits, computed })
}

/// A live key's name as it is spelled, and one of its versions, all of one linearizable read.
async fn find(
    desk: &Live<'_>,
    name: &ObjectName,
    version: Option<&VersionId>,
) -> Result<(ObjectName, Sealed, Found)> {
    let not_found = || errors::not_found::<Key>(name, version);
    let live = live_path::<Key>(name);
    let wanted = match version {
        Some(version) => KeyRange::key(version_path::<Key>(name, version)),
        None => KeyRange::prefix(versions_prefix::<Key>(name)).reversed().limit(1),
    };
    let read = desk.read_sealed(vec![KeyRange::key(live.clone()), wanted]).await?;
    let mut read = read.into_iter().map(|range| range.into_iter().next());
    let (object, sealed) = (read.next().flatten(), read.next().flatten());
    let mut newer = None;
    let object = desk.open(&object.ok_or_else(not_found)?, &mut newer).await?;
    let object = object.decode(Object::<Key>::decode)?;
    let sealed = match (sealed, version) {
        (Some(sealed), _) => sealed,
        (None, Some(_)) => return Err(not_found()),
        (None, None) => return Err(damaged(&live, "it has no versions")),
    };
    let known = desk.service.keys.get(&desk.vault.state.envelope.id, &sealed.path, &sealed.bytes);
    let found = match known {
        Some(opened) => Found::Opened(opened),
        None => {
            let stored = desk.open(&sealed, &mut newer).await?;
            Found::Stored(Box::new(stored.decode(Version::<Key>::decode)?))
        }
    };
    let expected = version.unwrap_or(&object.current.version);
    if found.head().version != *expected {
        return Err(damaged(&sealed.path, &format!("it should be version {expected}")));
    }
    Ok((object.name, sealed, found))
}

/// `RandomBytesGet`: from AWS-LC's generator, which the operating system seeds.
pub(super) fn random_bytes(count: u32) -> Result<Zeroizing<Vec<u8>>> {
    if !(1..=RANDOM_BYTES_MAX).contains(&count) {
        return Err(Error::bad(format!(
            "Property count has invalid value: it must be between 1 and {RANDOM_BYTES_MAX}."
        )));
    }
    let mut bytes = Zeroizing::new(vec![0; count as usize]);
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| Error::internal("the operating system gave no random bytes"))?;
    Ok(bytes)
}

/// Computes.
fn compute(key: &PrivateKey, computation: &Computation) -> Result<Computed> {
    let value = |value| Computed::Value { value, iv: None, tag: None, aad: None };
    Ok(match computation {
        Computation::Encrypt { algorithm, value, iv, aad } => {
            let with = Encrypt { iv: iv.as_deref(), aad: aad.as_deref() };
            let done = key.encrypt(*algorithm, value, &with)?;
            Computed::Value { value: Zeroizing::new(done.value), iv: done.iv, tag: done.tag, aad: done.aad }
        }
        Computation::Decrypt { algorithm, value: sealed, iv, tag, aad } => {
            let with = Decrypt { iv: iv.as_deref(), tag: tag.as_deref(), aad: aad.as_deref() };
            value(key.decrypt(*algorithm, sealed, &with)?)
        }
        Computation::Wrap { algorithm, value: wrapped } => {
            value(Zeroizing::new(key.wrap_key(*algorithm, wrapped)?))
        }
        Computation::Unwrap { algorithm, value: wrapped } => value(key.unwrap_key(*algorithm, wrapped)?),
        Computation::Sign { algorithm, digest } => value(Zeroizing::new(key.sign(*algorithm, digest)?)),
        Computation::Verify { algorithm, digest, signature } => {
            Computed::Verified(key.verify(*algorithm, digest, signature)?)
        }
    })
}

#[cfg(test)]
#[path = "crypto/tests.rs"]
mod tests;
