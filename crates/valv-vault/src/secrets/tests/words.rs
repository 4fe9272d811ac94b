//! Azure's codes and words, and its attributes, one operation after the other.

use valv_model::{ErrorCode, InnerCode};

use super::super::*;
use super::bench::{Bench, START, all, name, value};

fn patch(enabled: bool) -> SecretUpdate {
    let attributes = AttributesPatch { enabled: Some(enabled), ..AttributesPatch::default() };
    SecretUpdate { attributes, ..SecretUpdate::default() }
}

#[track_caller]
fn refused<T>(result: Result<T>, code: ErrorCode, inner: Option<InnerCode>, message: &str) {
    let error = result.err().expect("a refusal");
    assert_eq!((error.code, error.inner), (code, inner), "{error}");
    assert!(error.message.contains(message), "{error}");
}

#[test]
fn a_secret_is_made_read_and_changed_in_azures_words() {
    let (bench, n) = (Bench::new(), name("Api-Key"));
    let not_found = "A secret with (name/id) Api-Key was not found in this key vault. If you recently deleted this secret you may be able to recover it using the correct recovery command.";
    refused(bench.get(&n, None), ErrorCode::SecretNotFound, None, not_found);
    refused(bench.update(&n, None, patch(true)), ErrorCode::SecretNotFound, None, not_found);
    refused(bench.delete(&n), ErrorCode::SecretNotFound, None, not_found);
    refused(bench.backup(&n), ErrorCode::SecretNotFound, None, not_found);

    let first = bench.set(&n, value("one")).unwrap().item;
    assert_eq!(first.attributes.created, UnixSeconds(START));
    assert_eq!(first.attributes.updated, UnixSeconds(START));
    assert!(first.attributes.enabled && first.previous_version.is_none());
    assert_eq!(first.recovery_level.as_str(), "CustomizedRecoverable+Purgeable");

    bench.advance(10);
    // Another spelling is the same secret; the first spelling stays.
    let second = bench.set(&name("API-KEY"), value("two")).unwrap().item;
    assert_eq!(second.name.as_str(), "Api-Key");
    assert_eq!(second.previous_version.as_ref(), Some(&first.version));
    assert_eq!(*bench.get(&name("api-key"), None).unwrap().value, "two");
    assert_eq!(*bench.get(&n, Some(&first.version)).unwrap().value, "one");
    let absent = VersionId::from_bytes([9; 16]);
    let absent_text = format!("A secret with (name/id) Api-Key/{absent} was not found");
    refused(bench.get(&n, Some(&absent)), ErrorCode::SecretNotFound, None, &absent_text);
    refused(bench.update(&n, Some(&absent), patch(true)), ErrorCode::SecretNotFound, None, &absent_text);
}

#[test]
fn an_update_keeps_what_it_does_not_name_and_the_list_follows() {
    let (bench, n) = (Bench::new(), name("a"));
    let mut made = value("v");
    made.content_type = Some("text/plain".into());
    made.tags = Tags::from([("k".into(), "v".into())]);
    made.attributes.exp = Some(UnixSeconds(5));
    let first = bench.set(&n, made).unwrap().item;
    bench.advance(60);
    let item = bench.update(&n, None, SecretUpdate::default()).unwrap();
    assert_eq!(item.attributes.updated, UnixSeconds(START + 60));
    assert_eq!(item.attributes.created, UnixSeconds(START));
    assert_eq!(item.content_type.as_deref(), Some("text/plain"));
    assert_eq!((&item.tags, item.attributes.exp), (&first.tags, Some(UnixSeconds(5))));

    bench.advance(-120);
    let update = SecretUpdate { tags: Some(Tags::new()), content_type: Some("x".into()), ..patch(false) };
    let item = bench.update(&n, None, update).unwrap();
    assert_eq!(item.attributes.updated, UnixSeconds(START + 60), "a date never goes back");
    assert!(item.tags.is_empty() && !item.attributes.enabled);
    let listed = bench.list(&all()).unwrap().items.remove(0);
    assert_eq!(listed.attributes, item.attributes);
    assert_eq!(listed.content_type.as_deref(), Some("x"));

    // An older version changes alone.
    bench.set(&n, value("w")).unwrap();
    bench.update(&n, Some(&first.version), patch(true)).unwrap();
    assert_eq!(bench.list(&all()).unwrap().items[0].content_type, None);
    assert_eq!(*bench.get(&n, Some(&first.version)).unwrap().value, "v");
    assert_eq!(*bench.get(&n, None).unwrap().value, "w");
}

#[test]
fn a_disabled_secret_is_listed_and_not_read_and_dates_are_advisory() {
    let (bench, n) = (Bench::new(), name("a"));
    let mut made = value("v");
    made.attributes.enabled = Some(false);
    assert!(!bench.set(&n, made).unwrap().item.attributes.enabled);
    assert!(bench.get(&n, None).is_err());
    let mut made = value("v");
    made.attributes = AttributesPatch {
        enabled: None,
        nbf: Some(UnixSeconds(START + 1000)),
        exp: Some(UnixSeconds(START - 1000)),
    };
    bench.set(&n, made).unwrap();
    assert_eq!(*bench.get(&n, None).unwrap().value, "v");
    bench.update(&n, None, patch(false)).unwrap();
    let words = "Operation get is not allowed on a disabled secret.";
    refused(bench.get(&n, None), ErrorCode::Forbidden, Some(InnerCode::SecretDisabled), words);
    assert_eq!(bench.list(&all()).unwrap().items.len(), 1);
    assert_eq!(bench.list_versions(&n, &all()).unwrap().items.len(), 2);
    bench.delete(&n).unwrap();
    refused(bench.get_deleted(&n), ErrorCode::Forbidden, Some(InnerCode::SecretDisabled), words);
    assert_eq!(bench.list_deleted(&all()).unwrap().items.len(), 1);
}

#[test]
fn deletion_takes_the_whole_secret_and_recovery_brings_it_back() {
    let (bench, n) = (Bench::new(), name("a"));
    let first = bench.set(&n, value("one")).unwrap().item.version;
    bench.set(&n, value("two")).unwrap();
    refused(bench.recover(&n), ErrorCode::SecretNotFound, None, "Deleted Secret not found: a");
    refused(bench.get_deleted(&n), ErrorCode::SecretNotFound, None, "Deleted Secret not found: a");
    refused(bench.purge(&n), ErrorCode::SecretNotFound, None, "Deleted Secret not found: a");

    let deleted = bench.delete(&n).unwrap();
    assert_eq!(deleted.deleted, UnixSeconds(START));
    assert_eq!(deleted.scheduled_purge, UnixSeconds(START + 7 * 86_400));
    assert!(bench.get(&n, Some(&first)).is_err() && bench.list(&all()).unwrap().items.is_empty());
    assert!(bench.list_versions(&n, &all()).unwrap().items.is_empty());
    refused(
        bench.set(&n, value("three")),
        ErrorCode::Conflict,
        Some(InnerCode::ObjectIsDeletedButRecoverable),
        "Secret a is currently in a deleted but recoverable state, and its name cannot be reused; in this state, the secret can only be recovered or purged.",
    );
    assert_eq!(bench.get_deleted(&n).unwrap().deleted, deleted.deleted);

    assert_eq!(bench.recover(&n).unwrap().version, deleted.item.version);
    assert_eq!(*bench.get(&n, None).unwrap().value, "two");
    assert_eq!(*bench.get(&n, Some(&first)).unwrap().value, "one");
    bench.delete(&n).unwrap();
    bench.purge(&n).unwrap();
    assert!(bench.paths().is_empty());
    bench.set(&n, value("four")).unwrap();
}

#[test]
fn purge_protection_leaves_the_purge_to_time() {
    let (mut bench, n) = (Bench::new(), name("a"));
    bench.vault.properties.purge_protection = true;
    bench.set(&n, value("one")).unwrap();
    bench.delete(&n).unwrap();
    refused(
        bench.purge(&n),
        ErrorCode::Forbidden,
        None,
        "Operation \"purge\" is not allowed because purge protection is enabled for this vault. Key Vault service will automatically purge it after the retention period has passed.\r\nVault: bench;location=eastus",
    );
    bench.advance(7 * 86_400 - 1);
    assert_eq!(bench.round(), Tidied::default());
    bench.advance(1);
    assert_eq!(bench.round(), Tidied { purged: 1, failed: 0 });
    assert!(bench.paths().is_empty());
}

#[test]
fn f31_an_earlier_time_purges_nothing() {
    let (bench, n) = (Bench::new(), name("a"));
    bench.set(&n, value("one")).unwrap();
    bench.delete(&n).unwrap();
    bench.advance(-3 * 86_400);
    assert_eq!(bench.round(), Tidied::default());
    bench.recover(&n).unwrap();
}

#[test]
fn a_restore_needs_its_name_to_be_free() {
    let (bench, n) = (Bench::new(), name("a"));
    let version = bench.set(&n, value("one")).unwrap().item.version;
    let blob = bench.backup(&n).unwrap();
    let words = format!(
        "There was a conflict restoring the secret 'secrets/a/{version}'. This can happen if either: a second secret with the same name was created"
    );
    refused(bench.restore(&blob), ErrorCode::Conflict, None, &words);
    bench.delete(&n).unwrap();
    refused(bench.restore(&blob), ErrorCode::Conflict, None, &words);
    bench.purge(&n).unwrap();
    bench.restore(&blob).unwrap();
    assert_eq!(*bench.get(&n, Some(&version)).unwrap().value, "one");

    let elsewhere = Bench::new();
    elsewhere.restore(&blob).unwrap();
    assert_eq!(*elsewhere.get(&n, None).unwrap().value, "one");
    // Versions go on behind the restored ones, also in a vault whose clock is behind.
    elsewhere.advance(-86_400);
    assert!(elsewhere.set(&n, value("two")).unwrap().item.version > version);
    assert_eq!(*elsewhere.get(&n, None).unwrap().value, "two");
}
