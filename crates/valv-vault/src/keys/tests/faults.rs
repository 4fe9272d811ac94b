//! Retries, interruptions, damage, backups that somebody changed.

use std::sync::atomic::Ordering;

use valv_model::{ErrorCode, InnerCode};
use zeroize::Zeroizing;

use super::super::rotation::SetPolicy;
use super::super::*;
use super::bench::{Keys, all, ec, enabled, name, of, symmetric};
use crate::objects::bench::{context, keyring, run};
use crate::objects::limits::{MAX_BACKUP_CHARS, MAX_BACKUP_VERSIONS};
use crate::objects::records::Object;
use crate::objects::{Tidied, backup, restore};
use crate::secrets::{Secret, open_any as open_secret};

#[test]
fn f02_a_retry_gets_the_first_key() {
    let (keys, n) = (Keys::new(), name("a"));
    let first = keys.create_as(Some(1), &n, ec()).unwrap();
    keys.create(&n, ec()).unwrap();
    let again = keys.create_as(Some(1), &n, ec()).unwrap();
    assert_eq!((&again.item.version, &again.public), (&first.item.version, &first.public));
    assert_eq!(keys.list_versions(&n, &all()).unwrap().items.len(), 2);
    assert_eq!(keys.open(&n, Some(&first.item.version)).unwrap().public(), first.public);

    let only = KeyUpdate { key_ops: Some(vec![KeyOperation::Sign]), ..KeyUpdate::default() };
    let changed = keys.update_as(Some(2), &n, None, only.clone()).unwrap();
    let again = keys.update_as(Some(2), &n, None, only).unwrap();
    assert_eq!((&again.item.version, &again.key_ops), (&changed.item.version, &changed.key_ops));

    // The version is there still, though its key is deleted.
    keys.delete(&n).unwrap();
    assert_eq!(keys.create_as(Some(1), &n, ec()).unwrap().public, first.public);
    keys.purge(&n).unwrap();
    assert_eq!(keys.create_as(Some(1), &n, ec()).unwrap_err().code, ErrorCode::Conflict);
    assert!(keys.paths().is_empty());
}

#[test]
fn f02_an_unanswered_creation_is_told_so_and_leaves_nothing_half() {
    let (keys, n) = (Keys::new(), name("a"));
    keys.budget.store(0, Ordering::SeqCst);
    assert_eq!(keys.create(&n, ec()).unwrap_err().code, ErrorCode::UnknownOutcome);
    assert!(keys.paths().is_empty());
}

#[test]
fn f02_an_interrupted_purge_is_never_seen_again_and_ends_by_itself() {
    for steps in 1..4 {
        let (keys, n) = (Keys::new(), name("a"));
        for _ in 0..80 {
            keys.create(&n, of(KeyType::Oct)).unwrap();
        }
        keys.delete(&n).unwrap();
        keys.budget.store(steps, Ordering::SeqCst);
        keys.purge(&n).unwrap();
        keys.budget.store(usize::MAX, Ordering::SeqCst);
        assert!(!keys.paths().is_empty());
        assert_eq!(keys.get_deleted(&n).unwrap_err().code, ErrorCode::KeyNotFound);
        assert!(keys.list_deleted(&all()).unwrap().items.is_empty());
        assert_eq!(keys.recover(&n).unwrap_err().code, ErrorCode::KeyNotFound);
        assert_eq!(keys.purge(&n).unwrap_err().code, ErrorCode::KeyNotFound);
        let error = keys.create(&n, ec()).unwrap_err();
        assert_eq!(error.inner, Some(InnerCode::ObjectIsBeingDeleted));
        assert_eq!(error.message, "Key is currently being deleted.");
        assert_eq!(keys.round(), Tidied { purged: 1, failed: 0 });
        assert!(keys.paths().is_empty());
        keys.create(&n, ec()).unwrap();
    }
}

#[test]
fn f02_an_interrupted_restore_is_not_seen_and_is_taken_up_again_or_removed() {
    let (keys, n) = (Keys::new(), name("a"));
    for _ in 0..130 {
        keys.create(&n, of(KeyType::Oct)).unwrap();
    }
    let blob = keys.backup(&n).unwrap();
    keys.delete(&n).unwrap();
    keys.purge(&n).unwrap();
    for (steps, code) in [
        (0, ErrorCode::ServiceUnavailable),
        (1, ErrorCode::ServiceUnavailable),
        (2, ErrorCode::UnknownOutcome),
    ] {
        keys.budget.store(steps, Ordering::SeqCst);
        assert_eq!(keys.restore_as(7, &blob).unwrap_err().code, code, "after {steps} steps");
        assert!(keys.get(&n, None).is_err() && keys.get_deleted(&n).is_err() && keys.open(&n, None).is_err());
        assert!(keys.list(&all()).unwrap().items.is_empty());
        assert!(keys.list_deleted(&all()).unwrap().items.is_empty());
        assert!(keys.list_versions(&n, &all()).unwrap().items.is_empty());
    }
    keys.budget.store(usize::MAX, Ordering::SeqCst);
    let error = keys.create(&n, ec()).unwrap_err();
    assert_eq!(error.inner, Some(InnerCode::ObjectIsBeingRecovered));
    keys.advance(599);
    assert_eq!(keys.round(), Tidied::default());
    let bundle = keys.restore_as(7, &blob).unwrap();
    assert_eq!(keys.restore_as(7, &blob).unwrap().item.version, bundle.item.version);
    assert_eq!(keys.paths().len(), 131);

    keys.delete(&n).unwrap();
    keys.purge(&n).unwrap();
    keys.budget.store(1, Ordering::SeqCst);
    assert!(keys.restore(&blob).is_err());
    keys.budget.store(usize::MAX, Ordering::SeqCst);
    keys.advance(600);
    assert_eq!(keys.round(), Tidied { purged: 1, failed: 0 });
    assert!(keys.paths().is_empty());
}

#[test]
fn f37_500_versions_with_the_largest_tags_are_backed_up_purged_and_restored() {
    let (keys, n) = (Keys::new(), name(&"n".repeat(127)));
    let tag = |i: usize| {
        // Characters that JSON writes in six bytes.
        (format!("{i:02}{}", "\u{1}".repeat(MAX_TAG_CHARS - 2)), "\u{1}".repeat(MAX_TAG_CHARS))
    };
    let largest = KeyCreate { tags: (0..15).map(tag).collect(), ..of(KeyType::Oct) };
    for _ in 0..MAX_BACKUP_VERSIONS {
        keys.create(&n, largest.clone()).unwrap();
    }
    let last = keys.open(&n, None).unwrap().to_stored().unwrap();
    let blob = keys.backup(&n).unwrap();
    assert!(blob.len() <= MAX_BACKUP_CHARS);
    keys.delete(&n).unwrap();
    keys.purge(&n).unwrap();
    assert!(keys.paths().is_empty());
    assert_eq!(keys.restore(&blob).unwrap().item.tags.len(), 15);
    assert_eq!(keys.paths().len(), MAX_BACKUP_VERSIONS + 1);
    assert_eq!(keys.open(&n, None).unwrap().to_stored().unwrap(), last);
    keys.create(&n, ec()).unwrap();
    let error = keys.backup(&n).err().unwrap();
    assert!(error.message.contains("has more than 500 versions"), "{error}");
}

#[test]
fn a_changed_backup_is_corrupt_at_every_byte() {
    let (keys, n) = (Keys::new(), name("a"));
    keys.create(&n, ec()).unwrap();
    let blob = keys.backup(&n).unwrap();
    keys.delete(&n).unwrap();
    keys.purge(&n).unwrap();
    assert!(blob.starts_with("VmFsdiBrZXkgYmFja3VwLCBzZWFsZWQ6"));
    let corrupt = |blob: &str, what: &str| {
        let error = keys.restore(blob).err().unwrap_or_else(|| panic!("{what} was restored"));
        assert_eq!(
            (error.code, error.message.as_str()),
            (ErrorCode::MalformedBackup, "Backup blob is corrupt.")
        );
        assert!(open_any(keyring(), blob).is_err());
    };
    for at in 0..blob.len() {
        for with in ["A", "z", "_", "=", " ", "ü"] {
            if &blob[at..=at] != with {
                let changed = format!("{}{with}{}", &blob[..at], &blob[at + 1..]);
                corrupt(&changed, &format!("{with} at {at}"));
            }
        }
        corrupt(&blob[..at], &format!("the first {at}"));
    }
    for garbage in ["", "AAAA", "Backup", &format!("{blob}A"), &format!("{blob}AAAA")] {
        corrupt(garbage, garbage);
    }
    assert!(keys.paths().is_empty());
    open_any(keyring(), &blob).unwrap();
    keys.restore(&blob).unwrap();
}

#[test]
fn a_secrets_backup_is_refused_as_a_keys_and_the_reverse() {
    let (keys, n) = (Keys::new(), name("a"));
    keys.create(&n, ec()).unwrap();
    let key = keys.backup(&n).unwrap();
    // The sealed part of each under the other's beginning too: what it is bound to decides, not what it says.
    let sealed_key = backup::unwrap::<Key>(&key).unwrap();
    let key_as_secret = backup::wrap::<Secret>(&sealed_key);
    // Even a key's inside: sealed as a secret's it is none of a key.
    let inside = keyring().open_backup("key", &sealed_key).unwrap();
    let sealed = keyring().seal_backup("secret", &inside).unwrap();
    let (secret, secret_as_key) = (backup::wrap::<Secret>(&sealed), backup::wrap::<Key>(&sealed));
    let vault = Keys::new();
    for blob in [&key, &key_as_secret] {
        let error = run(restore::restore::<Secret>(&vault.bench, &context(None), blob)).err().unwrap();
        assert_eq!(error.code, ErrorCode::MalformedBackup);
        assert!(open_secret(keyring(), blob).is_err());
    }
    for blob in [&secret, &secret_as_key] {
        assert_eq!(vault.restore(blob).unwrap_err().code, ErrorCode::MalformedBackup);
        assert!(open_any(keyring(), blob).is_err());
    }
    assert!(vault.paths().is_empty());
    vault.restore(&key).unwrap();
}

#[test]
fn a_backup_holds_the_rotation_policy_and_a_new_version_keeps_it() {
    let (keys, n) = (Keys::new(), name("a"));
    keys.create(&n, ec()).unwrap();
    let policy = SetPolicy {
        policy: RotationPolicy { lifetime_actions: Vec::new(), expiry_time: Some("P90D".into()) },
        created: UnixSeconds(1),
        updated: UnixSeconds(2),
    };
    let mut record = Object::<Key>::decode(&keys.records.lock().unwrap()["keys/A"]).unwrap();
    record.own.rotation.policy = Some(policy.clone());
    keys.records.lock().unwrap().insert("keys/A".into(), record.encode().unwrap());
    keys.create(&n, ec()).unwrap();
    keys.update(&n, None, enabled(true)).unwrap();
    let blob = keys.backup(&n).unwrap();
    keys.delete(&n).unwrap();
    keys.recover(&n).unwrap();
    let elsewhere = Keys::new();
    elsewhere.restore(&blob).unwrap();
    for keys in [&keys, &elsewhere] {
        let record = Object::<Key>::decode(&keys.records.lock().unwrap()["keys/A"]).unwrap();
        assert_eq!(record.own.rotation.policy.as_ref(), Some(&policy));
    }
}

#[test]
fn f36_a_damaged_record_takes_no_neighbour_down() {
    let keys = Keys::new();
    for text in ["a", "b", "c"] {
        keys.create(&name(text), ec()).unwrap();
        keys.create(&name(text), ec()).unwrap();
    }
    let damage = |path: &str, with: &[u8]| {
        let old = keys.records.lock().unwrap().insert(path.into(), Zeroizing::new(with.to_vec()));
        assert!(old.is_some(), "{path}");
    };
    let older = keys.list_versions(&name("c"), &all()).unwrap().items[0].version.clone();
    let newer = keys.get(&name("c"), None).unwrap().item.version;
    for with in [&b"damaged"[..], b"", b"{}", b"null", br#"{"v":2}"#] {
        damage("keys/B", with);
        assert_eq!(keys.get(&name("b"), None).err().unwrap().code, ErrorCode::InternalError);
        assert_eq!(keys.update(&name("b"), None, enabled(true)).unwrap_err().code, ErrorCode::InternalError);
        let listed = keys.list(&all()).unwrap().items;
        assert_eq!(listed.iter().map(|item| item.name.as_str()).collect::<Vec<_>>(), ["a", "c"]);
        damage(&format!("keyversions/C/{newer}"), with);
        assert_eq!(keys.open(&name("c"), None).err().unwrap().code, ErrorCode::InternalError);
        assert_eq!(keys.get(&name("c"), Some(&newer)).err().unwrap().code, ErrorCode::InternalError);
        assert_eq!(keys.backup(&name("c")).unwrap_err().code, ErrorCode::InternalError);
        keys.open(&name("c"), Some(&older)).unwrap();
        assert_eq!(keys.list_versions(&name("c"), &all()).unwrap().items.len(), 1);
    }
}

#[test]
fn f36_an_older_version_is_never_taken_for_the_current_one() {
    let (keys, n) = (Keys::new(), name("a"));
    keys.create(&n, ec()).unwrap();
    let version = keys.create(&n, ec()).unwrap().item.version;
    keys.records.lock().unwrap().remove(&format!("keyversions/A/{version}")).unwrap();
    assert_eq!(keys.open(&n, None).err().unwrap().code, ErrorCode::InternalError);
    assert_eq!(keys.update(&n, None, KeyUpdate::default()).unwrap_err().code, ErrorCode::InternalError);
    assert_eq!(keys.backup(&n).unwrap_err().code, ErrorCode::InternalError);
}

#[test]
fn r8_no_error_holds_a_private_part() {
    let (keys, n) = (Keys::new(), name("a"));
    keys.import(&n, symmetric(b"planted: a key that nobody sees.")).unwrap();
    let path = keys.paths().into_iter().find(|path| path.starts_with("keyversions/")).unwrap();
    let stored = String::from_utf8(keys.records.lock().unwrap()[&path].to_vec()).unwrap();
    let json: serde_json::Value = serde_json::from_str(&stored).unwrap();
    let value = json["value"].as_str().unwrap();
    // A version whose JSON is of another type, so that a parser would like to quote it.
    for broken in [
        format!(r#"{{"v":1,"value":"{value}"}}"#),
        format!(r#"{{"v":"{value}"}}"#),
        stored.replace(value, &format!("{value}!")),
    ] {
        keys.records.lock().unwrap().insert(path.clone(), Zeroizing::new(broken.into_bytes()));
        let error = keys.open(&n, None).err().unwrap();
        assert_eq!(error.code, ErrorCode::InternalError);
        assert!(!error.to_string().contains(value), "{error}");
    }
    assert!(!format!("{:?}", symmetric(&[1; 32]).key).contains("AQEB"));
}

#[test]
fn fields_of_a_newer_program_survive_a_rewrite() {
    let (keys, n) = (Keys::new(), name("a"));
    keys.create(&n, ec()).unwrap();
    for record in keys.records.lock().unwrap().values_mut() {
        let mut json: serde_json::Value = serde_json::from_slice(record).unwrap();
        json["newer"] = serde_json::json!({"nested": [1, 2]});
        *record = Zeroizing::new(serde_json::to_vec(&json).unwrap());
        assert!(decode_any(record));
    }
    keys.update(&n, None, KeyUpdate::default()).unwrap();
    keys.delete(&n).unwrap();
    keys.recover(&n).unwrap();
    for record in keys.records.lock().unwrap().values() {
        let json: serde_json::Value = serde_json::from_slice(record).unwrap();
        assert_eq!(json["newer"]["nested"][1], 2);
    }
}
