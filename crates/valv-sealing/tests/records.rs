//! A sealed record opens in its place, under its vault's keys, and nowhere else (F36).
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::sync::Arc;

use bytes::Bytes;
use common::*;
use proptest::prelude::*;
use valv_engine::Op;
use valv_model::VaultId;
use valv_sealing::{DataKeys, RecordKind, SealError};

fn kind() -> impl Strategy<Value = RecordKind> {
    proptest::sample::select(RecordKind::ALL.to_vec())
}

fn vault_id() -> impl Strategy<Value = VaultId> {
    "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}".prop_map(|id| VaultId::parse(&id).unwrap())
}

fn keys_of(vault: &VaultId) -> Arc<DataKeys> {
    let keyring = keyring(&[root_line(1)]);
    let key = keyring.generate(vault, 1, NOW).unwrap();
    keyring.unwrap(vault, &[key]).unwrap()
}

proptest! {
    #[test]
    fn what_was_sealed_opens_in_its_place(vault in vault_id(), path: String, kind in kind(), plaintext: Vec<u8>) {
        let keys = keys_of(&vault);
        let sealed = keys.seal(&path, kind, &plaintext);
        prop_assert_eq!(sealed.len(), plaintext.len() + 33);
        let opened = keys.open(&path, kind, &sealed).unwrap();
        prop_assert_eq!(opened.as_slice(), plaintext.as_slice());
    }

    #[test]
    fn what_was_moved_does_not_open(
        path: String, other_path: String, kind in kind(), other_kind in kind(), plaintext: Vec<u8>,
    ) {
        let keys = keys_of(&vault(1));
        let sealed = keys.seal(&path, kind, &plaintext);
        if path != other_path {
            prop_assert_eq!(keys.open(&other_path, kind, &sealed), Err(SealError::Damaged));
        }
        if kind != other_kind {
            prop_assert_eq!(keys.open(&path, other_kind, &sealed), Err(SealError::Damaged));
        }
    }

    #[test]
    fn garbage_does_not_open(mut garbage: Vec<u8>, path: String, kind in kind(), header: bool) {
        let keys = keys_of(&vault(1));
        if header {
            garbage.splice(0..0, [1, 0, 0, 0, 1]);
        }
        prop_assert!(keys.open(&path, kind, &garbage).is_err());
    }
}

/// A keyring, two data keys of one vault, and what the first sealed before the second was made.
fn rotated() -> (Arc<DataKeys>, Bytes) {
    let keyring = keyring(&[root_line(1)]);
    let mut wrapped = vec![keyring.generate(&vault(1), 1, NOW).unwrap()];
    let old = keyring.unwrap(&vault(1), &wrapped).unwrap().seal("secrets/A", RecordKind::Secret, b"before");
    wrapped.push(keyring.generate(&vault(1), 2, NOW).unwrap());
    (keyring.unwrap(&vault(1), &wrapped).unwrap(), old)
}

#[test]
fn f36_each_flipped_bit_is_noticed() {
    let (keys, sealed) = rotated();
    for at in 0..sealed.len() {
        for bit in 0..8 {
            let mut damaged = sealed.to_vec();
            damaged[at] ^= 1 << bit;
            let error = keys.open("secrets/A", RecordKind::Secret, &damaged).unwrap_err();
            // The number of a data key that the vault has not is damage with a name of its own.
            let expected = match u32::from_be_bytes(damaged[1..5].try_into().unwrap()) {
                1 | 2 => SealError::Damaged,
                other => SealError::NoSuchDataKey(other),
            };
            assert_eq!(error, expected, "byte {at}, bit {bit}");
        }
    }
    for length in 0..sealed.len() {
        assert_eq!(
            keys.open("secrets/A", RecordKind::Secret, &sealed[..length]),
            Err(SealError::Damaged),
            "cut to {length} bytes"
        );
    }
}

#[test]
fn f36_another_vaults_record_does_not_open_even_under_the_same_data_key() {
    let keyring = keyring(&[root_line(1)]);
    let (a, b) = (vault(1), vault(2));
    let key = keyring.generate(&a, 1, NOW).unwrap();
    let sealed =
        keyring.unwrap(&a, std::slice::from_ref(&key)).unwrap().seal("p", RecordKind::Secret, b"of a");

    // Its own keys do not open the record ...
    let own = keyring.unwrap(&b, &[keyring.generate(&b, 1, NOW).unwrap()]).unwrap();
    assert_eq!(own.open("p", RecordKind::Secret, &sealed), Err(SealError::Damaged));
    // ... and the other vault's data key cannot be brought along.
    assert_eq!(keyring.unwrap(&b, &[key]).unwrap_err(), SealError::Damaged);
}

#[test]
fn an_older_data_key_opens_and_the_newest_seals() {
    let (keys, old) = rotated();
    assert_eq!(keys.current(), 2);
    assert_eq!(keys.open("secrets/A", RecordKind::Secret, &old).unwrap().as_slice(), b"before");
    let new = keys.seal("secrets/A", RecordKind::Secret, b"after");
    assert_eq!((&old[..5], &new[..5]), (&[1, 0, 0, 0, 1][..], &[1, 0, 0, 0, 2][..]));
    assert_eq!(keys.open("secrets/A", RecordKind::Secret, &new).unwrap().as_slice(), b"after");
}

#[test]
fn a_sealed_record_shows_nothing_of_its_plaintext() {
    let (keys, _) = rotated();
    let secret = b"a value that must not be seen";
    let shows = |bytes: &[u8]| bytes.windows(8).any(|part| secret.windows(8).any(|of| of == part));
    assert!(shows(secret));
    assert!(!shows(&keys.seal("secrets/A", RecordKind::Secret, secret)));
    let Op::Put(_, value) = keys.put("k".into(), "secrets/A", RecordKind::Secret, secret).op().clone() else {
        panic!("a put is a put")
    };
    assert!(!shows(&value));
}

#[test]
fn the_words_of_all_kinds_differ() {
    let (keys, _) = rotated();
    for kind in RecordKind::ALL {
        let sealed = keys.seal("p", kind, b"x");
        for other in RecordKind::ALL {
            assert_eq!(keys.open("p", other, &sealed).is_ok(), kind == other, "{kind:?} as {other:?}");
        }
    }
}
