use std::sync::Arc;

use valv_crypto::{Curve, Generate, generate};
use valv_model::{ErrorCode, InnerCode};

use super::*;
use crate::ServiceSettings;
use crate::keys::site::{Site, ec};
use crate::keys::{AttributesPatch, PoolSettings};
use crate::testing::{START, context, settings};

const USES: [KeyOperation; 6] = [
    KeyOperation::Encrypt,
    KeyOperation::Decrypt,
    KeyOperation::Sign,
    KeyOperation::Verify,
    KeyOperation::WrapKey,
    KeyOperation::UnwrapKey,
];

#[test]
fn the_table_of_dates_and_switches_is_azures() {
    use KeyOperation::{Encrypt, Sign, WrapKey};
    let now = UnixSeconds(1_000);
    let dates = [None, Some(999), Some(1_000), Some(1_001)].map(|date| date.map(UnixSeconds));
    let mut rows = 0;
    for operation in USES {
        for (enabled, listed) in [(true, true), (true, false), (false, true), (false, false)] {
            for nbf in dates {
                for exp in dates {
                    let attributes = Attributes { enabled, nbf, exp, created: now, updated: now };
                    let ops: Vec<_> =
                        USES.into_iter().filter(|use_| (*use_ == operation) == listed).collect();
                    let makes_new = matches!(operation, Encrypt | WrapKey | Sign);
                    let early = nbf == Some(UnixSeconds(1_001));
                    let late = matches!(exp, Some(UnixSeconds(999 | 1_000)));
                    let word = operation.as_str();
                    let expected = match () {
                        () if !enabled => Err(Error::key_disabled(word)),
                        () if !listed => Err(Error::key_operation_forbidden(word)),
                        () if makes_new && early => Err(Error::key_not_yet_valid(word)),
                        () if makes_new && late => Err(Error::key_expired(word)),
                        () => Ok(()),
                    };
                    let got = may(operation, &ops, &attributes, now);
                    assert_eq!(got, expected, "{operation} {attributes:?} {ops:?}");
                    if let Err(error) = got {
                        assert_eq!(error.code, ErrorCode::Forbidden);
                    }
                    rows += 1;
                }
            }
        }
    }
    assert_eq!(rows, 6 * 4 * 16);
    let attributes = Attributes { enabled: true, nbf: None, exp: None, created: now, updated: now };
    for operation in [KeyOperation::Import, KeyOperation::Export] {
        let error = may(operation, &KeyOperation::ALL, &attributes, now).unwrap_err();
        assert_eq!(error.inner, Some(InnerCode::KeyOperationForbidden), "no computation");
    }
}

#[test]
fn only_rsas_private_operations_and_its_opening_go_to_the_pool() {
    for kty in KeyType::ALL {
        let rsa = matches!(kty, KeyType::Rsa | KeyType::RsaHsm);
        for operation in USES {
            use KeyOperation::{Decrypt, Sign, UnwrapKey};
            let private = matches!(operation, Decrypt | Sign | UnwrapKey);
            assert_eq!(on_pool(kty, operation, true), rsa && private);
            assert_eq!(on_pool(kty, operation, false), rsa);
        }
    }
}

#[test]
fn random_bytes_are_as_many_as_asked_for_and_not_the_same_twice() {
    for count in [1, 32, 128] {
        assert_eq!(random_bytes(count).unwrap().len(), count as usize);
    }
    assert_ne!(*random_bytes(32).unwrap(), *random_bytes(32).unwrap());
    for count in [0, 129, u32::MAX] {
        assert!(random_bytes(count).unwrap_err().message.contains("count"));
    }
}

impl Site {
    async fn run(&self, name: &str, version: Option<&VersionId>, what: Computation) -> Result<KeyResult> {
        run(&self.desk(), None, &ObjectName::parse(name).unwrap(), version, what).await
    }

    async fn value(&self, name: &str, what: Computation) -> Result<Vec<u8>> {
        match self.run(name, None, what).await?.computed {
            Computed::Value { value, .. } => Ok(value.to_vec()),
            Computed::Verified(_) => panic!("not a value"),
        }
    }
}

fn sign(algorithm: Algorithm) -> Computation {
    Computation::Sign { algorithm, digest: vec![7; algorithm.digest_bytes().unwrap_or(32)] }
}

fn encrypt(algorithm: Algorithm) -> Computation {
    Computation::Encrypt { algorithm, value: Zeroizing::new(b"text".to_vec()), iv: None, aad: None }
}

fn decrypt(algorithm: Algorithm, value: Vec<u8>) -> Computation {
    Computation::Decrypt { algorithm, value, iv: None, tag: None, aad: None }
}

#[tokio::test(start_paused = true)]
async fn what_one_operation_makes_the_other_takes_back() {
    let site = Site::new().await;
    site.key("rsa", Generate::new(KeyType::Rsa)).await;
    site.key("oct", Generate::new(KeyType::OctHsm)).await;
    let version = site.key("ec", ec(Curve::P256K)).await;

    let sealed = site.value("rsa", encrypt(Algorithm::RsaOaep256)).await.unwrap();
    assert_eq!(site.value("RSA", decrypt(Algorithm::RsaOaep256, sealed)).await.unwrap(), b"text");

    let wrap = Computation::Wrap { algorithm: Algorithm::A256Kw, value: Zeroizing::new(vec![9; 32]) };
    let wrapped = site.value("oct", wrap).await.unwrap();
    let unwrap = Computation::Unwrap { algorithm: Algorithm::A256Kw, value: wrapped };
    assert_eq!(site.value("oct", unwrap).await.unwrap(), [9; 32]);

    let gcm = Computation::Encrypt {
        algorithm: Algorithm::A256Gcm,
        value: Zeroizing::new(b"text".to_vec()),
        iv: None,
        aad: Some(b"with".to_vec()),
    };
    let Computed::Value { value, iv, tag, aad } = site.run("oct", None, gcm).await.unwrap().computed else {
        panic!("not a value")
    };
    assert_eq!(aad.as_deref(), Some(&b"with"[..]));
    let back = Computation::Decrypt { algorithm: Algorithm::A256Gcm, value: value.to_vec(), iv, tag, aad };
    assert_eq!(site.value("oct", back).await.unwrap(), b"text");

    let signature = site.value("ec", sign(Algorithm::Es256K)).await.unwrap();
    for (digest, valid) in [(vec![7; 32], true), (vec![8; 32], false)] {
        let verify =
            Computation::Verify { algorithm: Algorithm::Es256K, digest, signature: signature.clone() };
        let done = site.run("EC", Some(&version), verify).await.unwrap();
        assert!(matches!(done.computed, Computed::Verified(is) if is == valid));
        assert_eq!((done.name.as_str(), &done.version), ("ec", &version));
        assert_eq!((done.kty, done.bits), (KeyType::Ec, 256));
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_not_exist_or_fit_is_refused() {
    let site = Site::new().await;
    let version = site.key("ec", ec(Curve::P256)).await;
    let refused = async |name: &str, version: Option<&VersionId>, what| {
        site.run(name, version, what).await.map(drop).unwrap_err()
    };
    assert_eq!(refused("none", None, sign(Algorithm::Es256)).await.code, ErrorCode::KeyNotFound);
    let unknown = VersionId::from_bytes([1; 16]);
    let error = refused("ec", Some(&unknown), sign(Algorithm::Es256)).await;
    assert_eq!(error.code, ErrorCode::KeyNotFound);
    assert!(error.message.contains(unknown.as_str()));
    let error = refused("ec", Some(&version), sign(Algorithm::Es384)).await;
    assert!(error.message.contains("curve 'P-384'"), "{error}");
    assert_eq!(
        refused("ec", None, encrypt(Algorithm::RsaOaep)).await.inner,
        Some(InnerCode::KeyOperationForbidden)
    );
    let short = Computation::Sign { algorithm: Algorithm::Es256, digest: vec![1] };
    let error = refused("ec", None, short).await;
    assert_eq!(
        error.message,
        "Invalid length of 'value': 1 bytes. ES256 requires 32 bytes, encoded with base64url."
    );

    site.key("oct", Generate::new(KeyType::Oct)).await;
    let refusal = Error::new(ErrorCode::Forbidden, "the public half only");
    let name = |text| ObjectName::parse(text).unwrap();
    let error =
        run(&site.desk(), Some(refusal.clone()), &name("oct"), None, encrypt(Algorithm::A256Gcm)).await;
    assert_eq!(error.map(drop).unwrap_err(), refusal);
    let verify =
        Computation::Verify { algorithm: Algorithm::Es256, digest: vec![7; 32], signature: vec![1; 64] };
    assert!(run(&site.desk(), Some(refusal), &name("ec"), None, verify).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_disabled_expires_or_is_deleted_is_so_at_once_although_it_is_cached() {
    let site = Site::new().await;
    site.key("rsa", Generate::new(KeyType::Rsa)).await;
    let sealed = site.value("rsa", encrypt(Algorithm::RsaOaep)).await.unwrap();
    let both = async || {
        let code = |result: Result<Vec<u8>>| result.map(drop).map_err(|error| error.inner);
        let signed = code(site.value("rsa", sign(Algorithm::Ps256)).await);
        (signed, code(site.value("rsa", decrypt(Algorithm::RsaOaep, sealed.clone())).await))
    };
    assert_eq!(both().await, (Ok(()), Ok(())));
    assert_eq!(site.world.service.keys.len(), 1);
    site.patch("rsa", AttributesPatch { enabled: Some(false), ..AttributesPatch::default() }).await;
    assert_eq!(both().await, (Err(Some(InnerCode::KeyDisabled)), Err(Some(InnerCode::KeyDisabled))));
    let exp = Some(UnixSeconds(START + 60));
    site.patch("rsa", AttributesPatch { enabled: Some(true), exp, nbf: None }).await;
    assert_eq!(both().await, (Ok(()), Ok(())));
    site.world.clock.advance(60);
    assert_eq!(both().await, (Err(None), Ok(())), "expired: decrypts, does not sign");
    let name = ObjectName::parse("rsa").unwrap();
    crate::objects::delete::delete::<Key>(&site.desk(), &context(), &name).await.unwrap();
    assert_eq!(site.value("rsa", sign(Algorithm::Ps256)).await.unwrap_err().code, ErrorCode::KeyNotFound);
}

#[tokio::test(start_paused = true)]
async fn f36_a_record_that_is_damaged_after_its_key_was_cached_is_reported() {
    let site = Site::new().await;
    site.key("ec", ec(Curve::P256)).await;
    site.value("ec", sign(Algorithm::Es256)).await.unwrap();
    let records = site.world.engine.records();
    let is_version = |key: &&bytes::Bytes| String::from_utf8_lossy(key).contains("keyversions/");
    let (key, stored) = records.iter().find(|(key, _)| is_version(key)).unwrap();
    for at in [0, stored.len() / 2, stored.len() - 1] {
        let mut damaged = stored.to_vec();
        damaged[at] ^= 1;
        site.world.engine.put(key.clone(), damaged.into());
        let error = site.value("ec", sign(Algorithm::Es256)).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::InternalError, "byte {at}");
    }
    site.world.engine.put(key.clone(), stored.clone());
    site.value("ec", sign(Algorithm::Es256)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn all_that_does_not_decrypt_gets_the_same_answer() {
    let site = Site::new().await;
    site.key("rsa", Generate::new(KeyType::Rsa)).await;
    site.key("other", Generate::new(KeyType::Rsa)).await;
    site.key("oct", Generate::new(KeyType::Oct)).await;
    let mut answers = std::collections::HashSet::new();
    for algorithm in [Algorithm::Rsa15, Algorithm::RsaOaep, Algorithm::RsaOaep256] {
        let good = site.value("rsa", encrypt(algorithm)).await.unwrap();
        let foreign = site.value("other", encrypt(algorithm)).await.unwrap();
        let mut flipped = good.clone();
        flipped[100] ^= 1;
        for bad in [vec![0; 256], vec![1; 256], vec![255; 256], foreign, flipped] {
            let error = site.value("rsa", decrypt(algorithm, bad.clone())).await.unwrap_err();
            answers.insert(format!("{error:?}"));
            let unwrap = Computation::Unwrap { algorithm, value: bad };
            answers.insert(format!("{:?}", site.value("rsa", unwrap).await.unwrap_err()));
        }
    }
    for tail in [0, 1, 15, 16, 17, 255] {
        let value = vec![tail; 32];
        let what = Computation::Decrypt {
            algorithm: Algorithm::A256CbcPad,
            value,
            iv: Some(vec![tail; 16]),
            tag: None,
            aad: None,
        };
        if let Err(error) = site.value("oct", what).await {
            answers.insert(format!("{error:?}"));
        }
        let (iv, tag) = (Some(vec![tail; 12]), Some(vec![tail; 16]));
        let what =
            Computation::Decrypt { algorithm: Algorithm::A256Gcm, value: vec![tail; 32], iv, tag, aad: None };
        answers.insert(format!("{:?}", site.value("oct", what).await.unwrap_err()));
        let unwrap = Computation::Unwrap { algorithm: Algorithm::A256Kw, value: vec![tail; 40] };
        answers.insert(format!("{:?}", site.value("oct", unwrap).await.unwrap_err()));
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
}

/// A pool with one thread of each kind, and room for one that waits.
fn narrow() -> ServiceSettings {
    ServiceSettings { pool: PoolSettings { threads: 1, short_waiting: 1, long_waiting: 1 }, ..settings() }
}

#[tokio::test]
async fn while_the_pool_makes_rsa_keys_and_is_full_other_requests_are_answered() {
    let site = Site::with(narrow()).await;
    site.key("rsa", Generate::new(KeyType::Rsa)).await;
    site.key("ec", ec(Curve::P256)).await;
    let world = &site.world;
    let (stop, deadline) = (Arc::new(std::sync::atomic::AtomicBool::new(false)), context().deadline);
    let busy = |stop: Arc<std::sync::atomic::AtomicBool>| {
        let service = Arc::clone(&world.service);
        tokio::spawn(async move {
            let work = move || {
                while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                    generate(&Generate { size: Some(4096), ..Generate::new(KeyType::Rsa) })?;
                }
                Ok(())
            };
            service.pool.run(Length::Long, deadline, work).await
        })
    };
    let making = [busy(Arc::clone(&stop)), busy(Arc::clone(&stop))];
    crate::testing::until(|| world.service.pool.is_full(Length::Long)).await;
    let refused = world.service.pool.run(Length::Long, deadline, || Ok(())).await.unwrap_err();
    assert_eq!((refused.code, refused.retry_after_s), (ErrorCode::Throttled, Some(1)));
    for _ in 0..20 {
        site.value("rsa", sign(Algorithm::Rs256)).await.unwrap();
        site.value("ec", sign(Algorithm::Es256)).await.unwrap();
    }
    assert!(making.iter().all(|task| !task.is_finished()));
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    for task in making {
        task.await.unwrap().unwrap();
    }
}
