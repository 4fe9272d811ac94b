//! Another implementation of AES-256-GCM reads what this crate seals, from the format's description alone.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{Aead, Payload},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use common::*;
use proptest::prelude::*;
use valv_model::VaultId;
use valv_sealing::{RecordKind, WrappedDataKey};

/// Each part behind its length as a big-endian u64.
fn prefixed(parts: &[&[u8]]) -> Vec<u8> {
    parts.iter().flat_map(|part| [&(part.len() as u64).to_be_bytes(), *part].concat()).collect()
}

/// Nonce (12 bytes), ciphertext, tag (16 bytes).
fn decrypt(key: &[u8], aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, msg) = sealed.split_first_chunk::<12>().unwrap();
    let cipher = Aes256Gcm::new_from_slice(key).unwrap();
    cipher.decrypt(&(*nonce).into(), Payload { msg, aad }).ok()
}

/// The data key: format byte 1, then sealed by the root key for its vault and number.
fn data_key(root: &[u8; 32], vault: &VaultId, key: &WrappedDataKey) -> Vec<u8> {
    let wrapped = URL_SAFE_NO_PAD.decode(&key.wrapped).unwrap();
    assert_eq!((wrapped.len(), wrapped[0]), (1 + 12 + 32 + 16, 1));
    let aad = prefixed(&[b"valv data key", vault.as_str().as_bytes(), &key.number.to_be_bytes()]);
    decrypt(root, &aad, &wrapped[1..]).unwrap()
}

proptest! {
    #[test]
    fn a_record_decrypts_elsewhere(path: String, plaintext: Vec<u8>, root: u8, number in 1u32..) {
        let keyring = keyring(&[root_line(root)]);
        let wrapped = keyring.generate(&vault(1), number, NOW).unwrap();
        let keys = keyring.unwrap(&vault(1), std::slice::from_ref(&wrapped)).unwrap();
        let sealed = keys.seal(&path, RecordKind::SecretVersion, &plaintext);

        let data_key = data_key(&[root; 32], &vault(1), &wrapped);
        prop_assert_eq!(sealed[0], 1);
        prop_assert_eq!(&sealed[1..5], &number.to_be_bytes());
        let aad = prefixed(&[vault(1).as_str().as_bytes(), path.as_bytes(), b"secret-version"]);
        prop_assert_eq!(decrypt(&data_key, &aad, &sealed[5..]), Some(plaintext));
    }
}
