//! A sealed record opens in its place, under its vault's keys, and nowhere else (F36).
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::*;
use proptest::prelude::*;
use valv_model::VaultId;
use valv_sealing::{DataKeys, RecordKind, SealError};

fn kind() -> impl Strategy<Value = RecordKind> {
    proptest::sample::select(RecordKind::ALL.to_vec())
}

fn vault_id() -> impl Strategy<Value = VaultId> {
    "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}".prop_map(|id| VaultId::parse(&id).unwrap())
}

fn keys_of(vault: &VaultId) -> std::sync::Arc<DataKeys> {
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
