//! Azure's codes and words, a key's attributes, and what no answer ever shows.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use valv_model::{ErrorCode, InnerCode};

use super::super::*;
use super::bench::{Keys, START, all, ec, enabled, name, of, symmetric};

#[track_caller]
fn refused<T>(result: Result<T>, code: ErrorCode, inner: Option<InnerCode>, message: &str) {
    let error = result.err().expect("a refusal");
    assert_eq!((error.code, error.inner), (code, inner), "{error}");
    assert!(error.message.contains(message), "{error}");
}

#[test]
fn a_key_is_made_read_and_changed_in_azures_words() {
    let (keys, n) = (Keys::new(), name("Signing"));
    let not_found = "A key with (name/id) Signing was not found in this key vault. If you recently deleted this key you may be able to recover it using the correct recovery command. For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125182";
    refused(keys.get(&n, None), ErrorCode::KeyNotFound, None, not_found);
    refused(keys.update(&n, None, enabled(true)), ErrorCode::KeyNotFound, None, not_found);
    refused(keys.delete(&n), ErrorCode::KeyNotFound, None, not_found);
    refused(keys.backup(&n), ErrorCode::KeyNotFound, None, not_found);

    let first = keys.create(&n, ec()).unwrap();
    assert_eq!(first.item.attributes.created, UnixSeconds(START));
    assert_eq!(first.item.attributes.updated, UnixSeconds(START));
    assert!(first.item.attributes.enabled && !first.item.exportable);
    assert_eq!(first.item.recovery_level.as_str(), "CustomizedRecoverable+Purgeable");
    assert_eq!(first.key_ops, [KeyOperation::Sign, KeyOperation::Verify]);

    keys.advance(10);
    // Another spelling is the same key; the first spelling stays. The type may change.
    let second = keys.create(&name("SIGNING"), of(KeyType::OctHsm)).unwrap();
    assert_eq!(second.item.name.as_str(), "Signing");
    assert_eq!((second.kty, &second.public), (KeyType::OctHsm, &PublicJwk::default()));
    assert_eq!(keys.get(&name("signing"), None).unwrap().item.version, second.item.version);
    let old = keys.get(&n, Some(&first.item.version)).unwrap();
    assert_eq!((old.kty, old.public), (KeyType::Ec, first.public));
    let absent = VersionId::from_bytes([9; 16]);
    let absent_text = format!("A key with (name/id) Signing/{absent} was not found");
    refused(keys.get(&n, Some(&absent)), ErrorCode::KeyNotFound, None, &absent_text);
    refused(keys.update(&n, Some(&absent), enabled(true)), ErrorCode::KeyNotFound, None, &absent_text);
}

#[test]
fn an_update_keeps_what_it_does_not_name_and_the_key_stays_the_same() {
    let (keys, n) = (Keys::new(), name("a"));
    let mut made = ec();
    made.tags = Tags::from([("k".into(), "v".into())]);
    made.attributes.common.exp = Some(UnixSeconds(5));
    let first = keys.create(&n, made).unwrap();
    let stored = keys.open(&n, None).unwrap().to_stored().unwrap();
    keys.advance(60);
    let same = keys.update(&n, None, KeyUpdate::default()).unwrap();
    assert_eq!(same.item.attributes.updated, UnixSeconds(START + 60));
    assert_eq!(same.item.attributes.created, UnixSeconds(START));
    assert_eq!((&same.item.tags, same.item.attributes.exp), (&first.item.tags, Some(UnixSeconds(5))));
    assert_eq!((&same.key_ops, &same.public), (&first.key_ops, &first.public));

    let verify = vec![KeyOperation::Verify];
    let update = KeyUpdate { tags: Some(Tags::new()), key_ops: Some(verify.clone()), ..enabled(false) };
    let changed = keys.update(&n, None, update).unwrap();
    assert!(changed.item.tags.is_empty() && !changed.item.attributes.enabled);
    assert_eq!((&changed.key_ops, &changed.public), (&verify, &first.public));
    assert_eq!(keys.list(&all()).unwrap().items[0].attributes, changed.item.attributes);
    assert_eq!(keys.open(&n, None).unwrap().to_stored().unwrap(), stored);

    // What the type can not do is refused by the decision, which changes nothing.
    let wrap = KeyUpdate { key_ops: Some(vec![KeyOperation::WrapKey]), ..enabled(true) };
    let words = "keys of type EC can not do wrapKey";
    refused(keys.update(&n, None, wrap), ErrorCode::BadParameter, None, words);
    let still = keys.get(&n, None).unwrap();
    assert!(!still.item.attributes.enabled && still.key_ops == verify);

    // An older version changes alone.
    keys.create(&n, ec()).unwrap();
    keys.update(&n, Some(&first.item.version), enabled(true)).unwrap();
    assert!(keys.get(&n, Some(&first.item.version)).unwrap().item.attributes.enabled);
    assert_eq!(keys.get(&n, None).unwrap().key_ops.len(), 2);
}

#[test]
fn disabled_and_expired_keys_are_shown() {
    let (keys, n) = (Keys::new(), name("a"));
    let mut made = ec();
    made.attributes.common =
        AttributesPatch { enabled: Some(false), nbf: Some(UnixSeconds(1)), exp: Some(UnixSeconds(2)) };
    let version = keys.create(&n, made).unwrap().item.version;
    for version in [None, Some(&version)] {
        let attributes = keys.get(&n, version).unwrap().item.attributes;
        assert!(!attributes.enabled);
        assert_eq!((attributes.nbf, attributes.exp), (Some(UnixSeconds(1)), Some(UnixSeconds(2))));
    }
    assert_eq!(keys.list(&all()).unwrap().items.len(), 1);
    assert_eq!(keys.list_versions(&n, &all()).unwrap().items.len(), 1);
    keys.delete(&n).unwrap();
    assert!(!keys.get_deleted(&n).unwrap().bundle.item.attributes.enabled);
}

#[test]
fn deletion_takes_the_whole_key_and_recovery_brings_it_back() {
    let (keys, n) = (Keys::new(), name("a"));
    let first = keys.create(&n, ec()).unwrap().item.version;
    let second = keys.create(&n, ec()).unwrap();
    refused(keys.recover(&n), ErrorCode::KeyNotFound, None, "Deleted Key not found: a");
    refused(keys.get_deleted(&n), ErrorCode::KeyNotFound, None, "Deleted Key not found: a");
    refused(keys.purge(&n), ErrorCode::KeyNotFound, None, "Deleted Key not found: a");

    let deleted = keys.delete(&n).unwrap();
    assert_eq!(deleted.deleted, UnixSeconds(START));
    assert_eq!(deleted.scheduled_purge, UnixSeconds(START + 7 * 86_400));
    assert_eq!(deleted.bundle.public, second.public);
    assert!(keys.get(&n, Some(&first)).is_err() && keys.open(&n, None).is_err());
    assert!(keys.list(&all()).unwrap().items.is_empty());
    assert!(keys.list_versions(&n, &all()).unwrap().items.is_empty());
    let words = "Key a is currently in a deleted but recoverable state, and its name cannot be reused; in this state, the key can only be recovered or purged.";
    let inner = Some(InnerCode::ObjectIsDeletedButRecoverable);
    refused(keys.create(&n, ec()), ErrorCode::Conflict, inner, words);
    refused(keys.import(&n, symmetric(&[1; 32])), ErrorCode::Conflict, inner, words);
    assert_eq!(keys.get_deleted(&n).unwrap().bundle.public, second.public);

    assert_eq!(keys.recover(&n).unwrap().item.version, second.item.version);
    assert_eq!(keys.open(&n, None).unwrap().public(), second.public);
    assert!(keys.get(&n, Some(&first)).is_ok());
    keys.delete(&n).unwrap();
    keys.purge(&n).unwrap();
    assert!(keys.paths().is_empty());
    keys.create(&n, ec()).unwrap();
}

#[test]
fn purge_protection_leaves_the_purge_to_time() {
    let (mut keys, n) = (Keys::new(), name("a"));
    keys.bench.vault.properties.purge_protection = true;
    keys.create(&n, ec()).unwrap();
    keys.delete(&n).unwrap();
    refused(
        keys.purge(&n),
        ErrorCode::Forbidden,
        None,
        "Operation \"purge\" is not allowed because purge protection is enabled for this vault.",
    );
    keys.advance(7 * 86_400 - 1);
    assert_eq!(keys.round(), crate::objects::Tidied::default());
    keys.advance(1);
    assert_eq!(keys.round(), crate::objects::Tidied { purged: 1, failed: 0 });
    assert!(keys.paths().is_empty());
}

#[test]
fn a_restore_needs_its_name_to_be_free() {
    let (keys, n) = (Keys::new(), name("a"));
    let made = keys.create(&n, ec()).unwrap();
    let (version, stored) = (made.item.version, keys.open(&n, None).unwrap().to_stored().unwrap());
    let blob = keys.backup(&n).unwrap();
    let words = format!(
        "There was a conflict restoring the key 'keys/a/{version}'. This can happen if either: a second key with the same name was created after the first key was deleted"
    );
    refused(keys.restore(&blob), ErrorCode::Conflict, None, &words);
    keys.delete(&n).unwrap();
    refused(keys.restore(&blob), ErrorCode::Conflict, None, &words);
    keys.purge(&n).unwrap();
    assert_eq!(keys.restore(&blob).unwrap().public, made.public);
    assert_eq!(keys.open(&n, Some(&version)).unwrap().to_stored().unwrap(), stored);

    let elsewhere = Keys::new();
    elsewhere.restore(&blob).unwrap();
    assert_eq!(elsewhere.open(&n, None).unwrap().to_stored().unwrap(), stored);
    // Versions go on behind the restored ones, also in a vault whose clock is behind.
    elsewhere.advance(-86_400);
    assert!(elsewhere.create(&n, ec()).unwrap().item.version > version);
}

#[test]
fn an_import_keeps_its_operations_and_becomes_one_of_the_hsm_types_if_asked() {
    let (keys, n) = (Keys::new(), name("a"));
    let mut import = symmetric(&[7; 32]);
    import.hsm = true;
    import.key.key_ops = Some(vec!["wrapKey".into(), "unwrapKey".into()]);
    import.tags = Tags::from([("k".into(), "v".into())]);
    import.attributes.common.enabled = Some(false);
    let made = keys.import(&n, import).unwrap();
    assert_eq!((made.kty, made.key_ops.len()), (KeyType::OctHsm, 2));
    assert!(!made.item.attributes.enabled && made.item.tags.len() == 1);
    assert_eq!(keys.open(&n, None).unwrap().kty(), KeyType::OctHsm);
    // Azure's limit for keys is half of that for secrets.
    let mut long = symmetric(&[7; 32]);
    long.tags = Tags::from([("k".into(), "v".repeat(257))]);
    refused(keys.import(&n, long), ErrorCode::BadParameter, None, "at most 256 each");
    let mut without = symmetric(&[7; 32]);
    without.key.k = None;
    refused(keys.import(&n, without), ErrorCode::BadParameter, None, "Property k of the key is missing");
    assert_eq!(keys.list_versions(&n, &all()).unwrap().items.len(), 1, "a refusal changes nothing");
}

/// All names of fields in a JSON value, and all its texts.
fn walk(json: &serde_json::Value, names: &mut BTreeSet<String>, texts: &mut Vec<String>) {
    match json {
        serde_json::Value::Object(fields) => {
            for (name, field) in fields {
                names.insert(name.clone());
                walk(field, names, texts);
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| walk(item, names, texts)),
        serde_json::Value::String(text) => texts.push(text.clone()),
        _ => {}
    }
}

#[test]
fn r8_the_private_part_is_in_the_versions_record_alone() {
    let keys = Keys::new();
    let k = *b"planted: a key that nobody sees.";
    keys.import(&name("oct"), symmetric(&k)).unwrap();
    keys.create(&name("ec"), ec()).unwrap();
    keys.create(&name("rsa"), of(KeyType::RsaHsm)).unwrap();
    for text in ["oct", "ec", "rsa"] {
        let n = name(text);
        let private = keys.open(&n, None).unwrap().to_stored().unwrap();
        let version = keys.get(&n, None).unwrap().item.version;
        let mut answers = vec![
            format!("{:?}", keys.get(&n, None).unwrap()),
            format!("{:?}", keys.get(&n, Some(&version)).unwrap()),
            format!("{:?}", keys.update(&n, None, enabled(true)).unwrap()),
            format!("{:?}", keys.list_versions(&n, &all()).unwrap()),
            format!("{:?}", keys.list(&all()).unwrap()),
        ];
        let record = keys.records.lock().unwrap()[&format!("keys/{}", n.upper())].clone();
        let stored = keys.records.lock().unwrap()[&format!("keyversions/{}/{version}", n.upper())].clone();
        answers.push(format!("{:?}", keys.delete(&n).unwrap()));
        answers.push(format!("{:?}", keys.get_deleted(&n).unwrap()));
        answers.push(format!("{:?}", keys.list_deleted(&all()).unwrap()));
        answers.push(format!("{:?}", keys.recover(&n).unwrap()));
        answers.push(String::from_utf8(record.to_vec()).unwrap());

        // The object's record has no field that could hold it.
        let (mut names, mut texts) = (BTreeSet::new(), Vec::new());
        walk(&serde_json::from_slice(&record).unwrap(), &mut names, &mut texts);
        let public: &[&str] = match text {
            "oct" => &[],
            "ec" => &["crv", "x", "y"],
            _ => &["n", "e"],
        };
        let known = [
            "v",
            "name",
            "phase",
            "current",
            "changes",
            "version",
            "attributes",
            "enabled",
            "created",
            "updated",
            "kty",
            "bits",
            "keyOps",
            "exportable",
            "public",
        ];
        let known: BTreeSet<String> = known.iter().chain(public).map(|name| (*name).to_owned()).collect();
        assert_eq!(names, known, "{text}");
        // No long piece of the private part, but for what is public, stands in any answer.
        let whole = URL_SAFE_NO_PAD.encode(&private);
        assert!(String::from_utf8(stored.to_vec()).unwrap().contains(&whole), "there it is");
        for answer in &answers {
            assert!(!answer.contains(&whole), "{text}");
            assert!(!answer.contains("planted"), "{text}");
            assert!(!answer.contains(&URL_SAFE_NO_PAD.encode(k)), "{text}");
        }
    }
}
