//! Root keys: where they come from, what is refused and in which words, and what they wrap (F33).
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, sync::Arc};

use common::*;
use valv_sealing::{
    Keyring, RecordKind, RootKey, RootKeyError, RootKeyId, RootKeySource, RootKeys, SealError,
};
use zeroize::Zeroizing;

/// A key file of that content and mode.
fn file(dir: &tempfile::TempDir, content: &[u8], mode: u32) -> PathBuf {
    let path = dir.path().join("root.key");
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn load(path: &std::path::Path) -> Result<RootKeys, RootKeyError> {
    RootKeys::load(&[RootKeySource::File(path.into())])
}

#[test]
fn a_generated_line_loads_from_a_file_and_from_text() {
    let dir = tempfile::tempdir().unwrap();
    let line = RootKeys::generate().unwrap();
    assert_eq!(line.len(), 64);
    for mode in [0o600, 0o400] {
        let path = file(&dir, format!("{}\n", *line).as_bytes(), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let from_file = load(&path).unwrap();
        assert_eq!(from_file.current().id(), root_keys(&[line.to_string()]).current().id());
        fs::remove_file(&path).unwrap();
    }
    assert_ne!(*RootKeys::generate().unwrap(), *line);
}

#[test]
fn f33_a_file_that_others_can_reach_is_refused_with_the_command_to_run() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir, root_line(1).as_bytes(), 0o600);
    for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644, 0o777] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = load(&path).unwrap_err();
        assert!(matches!(error, RootKeyError::Permissions { .. }), "{error}");
        let told = error.to_string();
        assert!(told.contains(&format!("mode {mode:04o}")), "{told}");
        assert!(told.ends_with(&format!("chmod 600 {}", path.display())), "{told}");
    }
}

#[test]
fn f33_a_missing_or_garbled_key_is_refused_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let good = root_line(1);
    let mut slip = good.clone().into_bytes();
    slip[20] = if slip[20] == b'A' { b'B' } else { b'A' };
    let cases: [(&str, Vec<u8>, &str); 11] = [
        ("empty", vec![], "is empty"),
        ("blank", b" \n\n".to_vec(), "is empty"),
        ("binary", vec![0xff; 32], "is not text"),
        ("foreign", b"hunter2".to_vec(), "does not hold a root key"),
        ("two lines", format!("{good}\n{good}").into_bytes(), "has more than one line"),
        ("newer", b"valv-root-2:x:y".to_vec(), "was written by a newer valv"),
        ("cut", good.as_bytes()[..50].to_vec(), "is cut off"),
        ("cut sum", good.as_bytes()[..60].to_vec(), "check sum is not right"),
        ("slip", slip, "check sum is not right"),
        ("short key", short_line().into_bytes(), "does not hold 32 bytes"),
        ("long", vec![b'a'; 5000], "is too long"),
    ];
    for (what, content, told) in cases {
        let path = file(&dir, &content, 0o600);
        let error = load(&path).unwrap_err().to_string();
        assert!(error.contains(told), "{what}: {error}");
        assert!(error.contains(path.to_str().unwrap()), "{what}: {error}");
        assert!(error.contains("restore the root key"), "{what}: {error}");
        assert!(!error.contains("hunter2") && !error.contains(&good[12..40]), "{what}: {error}");
    }
    let error = load(&dir.path().join("none")).unwrap_err().to_string();
    assert!(error.contains("none does not exist; restore the root key"), "{error}");
    let error = load(dir.path()).unwrap_err().to_string();
    assert!(error.contains("not a regular file"), "{error}");
    let error = RootKeys::load(&[text("")]).unwrap_err().to_string();
    assert!(error.contains("environment variable VALV_ROOT_KEY is empty"), "{error}");
    let error = RootKeys::load(&[]).unwrap_err().to_string();
    assert!(error.contains("no root key is configured"), "{error}");
}

/// A line whose check sum is right and whose key has 16 bytes.
fn short_line() -> String {
    let start = "valv-root-1:AAAAAAAAAAAAAAAAAAAAAA";
    let sum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, start.as_bytes());
    let sum: String = sum.as_ref()[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{start}:{sum}")
}

#[test]
fn a_key_configured_twice_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir, root_line(1).as_bytes(), 0o600);
    let sources = [RootKeySource::File(path.clone()), text(&root_line(2)), text(&root_line(1))];
    let error = RootKeys::load(&sources).unwrap_err().to_string();
    assert!(error.contains(path.to_str().unwrap()) && error.contains("VALV_ROOT_KEY"), "{error}");
}

#[test]
fn ids_are_stable_and_differ() {
    // HMAC-SHA256 of the label under 32 bytes of 1, computed with another program.
    assert_eq!(root_keys(&[root_line(1)]).current().id(), &RootKeyId("ab6ceef578d13af3".into()));
    assert_ne!(root_keys(&[root_line(1)]).current().id(), root_keys(&[root_line(2)]).current().id());
}

#[test]
fn a_rotated_root_key_opens_what_the_old_one_wrapped() {
    let (old, new) = (root_line(1), root_line(2));
    let before = keyring(std::slice::from_ref(&old));
    let mut wrapped = vec![before.generate(&vault(1), 1, NOW).unwrap()];
    wrapped[0].extra.insert("usage".into(), 7.into());
    let sealed = before.unwrap(&vault(1), &wrapped).unwrap().seal("p", RecordKind::Secret, b"kept");

    let during = keyring(&[new.clone(), old]);
    let rewrapped = during.rewrap(&vault(1), &wrapped).unwrap();
    assert_eq!(&rewrapped[0].root_key, during.root_keys().current().id());
    assert_eq!((rewrapped[0].number, rewrapped[0].created), (1, NOW));
    assert_eq!(rewrapped[0].extra, wrapped[0].extra, "what a newer program wrote survives");
    assert_eq!(during.rewrap(&vault(1), &rewrapped).unwrap(), rewrapped, "nothing left to do");

    let after = keyring(&[new]);
    let opened = after.unwrap(&vault(1), &rewrapped).unwrap().open("p", RecordKind::Secret, &sealed).unwrap();
    assert_eq!(opened.as_slice(), b"kept");
    let error = after.unwrap(&vault(1), &wrapped).unwrap_err();
    assert_eq!(error, SealError::NoSuchRootKey(wrapped[0].root_key.clone()));
}

#[test]
fn a_wrapped_key_opens_only_for_its_vault_and_number() {
    let keyring = keyring(&[root_line(1)]);
    let wrapped = keyring.generate(&vault(1), 1, NOW).unwrap();
    assert!(keyring.unwrap(&vault(1), std::slice::from_ref(&wrapped)).is_ok());
    assert_eq!(keyring.unwrap(&vault(2), std::slice::from_ref(&wrapped)).unwrap_err(), SealError::Damaged);
    let mut renumbered = wrapped.clone();
    renumbered.number = 2;
    assert_eq!(keyring.unwrap(&vault(1), &[renumbered]).unwrap_err(), SealError::Damaged);
    // Another root key under this one's name: the id decides nothing, the key does.
    let mut renamed = self::keyring(&[root_line(2)]).generate(&vault(1), 1, NOW).unwrap();
    renamed.root_key = wrapped.root_key.clone();
    assert_eq!(keyring.unwrap(&vault(1), &[renamed]).unwrap_err(), SealError::Damaged);
    // No key, and one number twice, make no vault.
    assert_eq!(keyring.unwrap(&vault(1), &[]).unwrap_err(), SealError::Damaged);
    assert_eq!(
        keyring.unwrap(&vault(1), &[wrapped.clone(), wrapped.clone()]).unwrap_err(),
        SealError::Damaged
    );
    for damage in ["", "!", "AAAA", &wrapped.wrapped[1..]] {
        let damaged = valv_sealing::WrappedDataKey { wrapped: damage.into(), ..wrapped.clone() };
        assert_eq!(keyring.unwrap(&vault(1), &[damaged]).unwrap_err(), SealError::Damaged, "{damage}");
    }
}

#[test]
fn unwrapped_keys_are_kept_until_the_root_key_goes() {
    let keyring = keyring(&[root_line(1)]);
    let wrapped = [keyring.generate(&vault(1), 1, NOW).unwrap()];
    let first = keyring.unwrap(&vault(1), &wrapped).unwrap();
    assert!(Arc::ptr_eq(&first, &keyring.unwrap(&vault(1), &wrapped).unwrap()), "kept");
    keyring.replace_root_keys(root_keys(&[root_line(2)]));
    let error = keyring.unwrap(&vault(1), &wrapped).unwrap_err();
    assert_eq!(error, SealError::NoSuchRootKey(wrapped[0].root_key.clone()));
}

#[test]
fn debug_shows_no_key() {
    let line = root_line(0x41);
    let keyring = keyring(std::slice::from_ref(&line));
    let data_keys = keyring.unwrap(&vault(1), &[keyring.generate(&vault(1), 1, NOW).unwrap()]).unwrap();
    let shown = format!("{:?} {:#?} {data_keys:?} {:?}", keyring, keyring.root_keys(), text(&line));
    let encoded = &line["valv-root-1:".len()..][..43];
    for hidden in [encoded, "AAAAAAAA", "65, 65, 65", "41414141", "41, 41, 41"] {
        assert!(!shown.contains(hidden), "{shown}");
    }
    assert!(shown.contains(&keyring.root_keys().current().id().0), "{shown}");
}

/// A token that is not connected.
struct Unplugged(RootKeyId);

impl RootKey for Unplugged {
    fn id(&self) -> &RootKeyId {
        &self.0
    }
    fn wrap(&self, _: &[u8], _: &[u8; 32]) -> Result<Vec<u8>, RootKeyError> {
        Err(RootKeyError::Token("no slot".into()))
    }
    fn unwrap(&self, _: &[u8], _: &[u8]) -> Result<Zeroizing<[u8; 32]>, RootKeyError> {
        Err(RootKeyError::Token("no slot".into()))
    }
}

#[test]
fn a_token_that_fails_is_not_taken_for_damage() {
    let wrapped = keyring(&[root_line(1)]).generate(&vault(1), 1, NOW).unwrap();
    let token = RootKeys::new(vec![Arc::new(Unplugged(wrapped.root_key.clone()))]).unwrap();
    let keyring = Keyring::new(token);
    let error = keyring.unwrap(&vault(1), &[wrapped]).unwrap_err();
    assert!(matches!(&error, SealError::RootKey(told) if told.contains("no slot")), "{error}");
    assert!(keyring.generate(&vault(1), 2, NOW).is_err());
}
