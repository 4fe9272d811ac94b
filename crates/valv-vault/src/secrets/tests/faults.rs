//! Retries, interruptions, damage, size.

use std::sync::atomic::Ordering;

use valv_model::{ErrorCode, InnerCode};
use zeroize::Zeroizing;

use super::super::*;
use super::bench::{Bench, all, name, value};

/// A secret with `versions` versions of the largest size.
fn large(bench: &Bench, name: &ObjectName, versions: usize) {
    for at in 0..versions {
        let text = format!("{at:03}{}", "\u{1}".repeat(MAX_VALUE_BYTES - 3));
        bench.set(name, value(&text)).unwrap();
    }
}

#[test]
fn f02_a_retry_gets_the_first_result() {
    let (bench, n) = (Bench::new(), name("a"));
    let first = bench.set_again(1, &n, value("one")).unwrap();
    bench.set(&n, value("two")).unwrap();
    let again = bench.set_again(1, &n, value("one")).unwrap();
    assert_eq!(again.item.version, first.item.version);
    assert_eq!(*again.value, "one");
    assert_eq!(bench.list_versions(&n, &all()).unwrap().items.len(), 2);

    let deleted = bench.delete_again(2, &n).unwrap();
    assert_eq!(bench.delete_again(2, &n).unwrap().scheduled_purge, deleted.scheduled_purge);
    // The version is there still, though its secret is deleted.
    assert_eq!(*bench.set_again(1, &n, value("one")).unwrap().value, "one");
    bench.purge_again(3, &n).unwrap();
    bench.purge_again(3, &n).unwrap();
    let error = bench.set_again(1, &n, value("one")).err().unwrap();
    assert_eq!(error.code, ErrorCode::Conflict);
    assert!(bench.paths().is_empty());
}

#[test]
fn f37_500_versions_of_25_kib_are_backed_up_purged_and_restored() {
    let (bench, n) = (Bench::new(), name("large"));
    large(&bench, &n, MAX_BACKUP_VERSIONS);
    let blob = bench.backup(&n).unwrap();
    assert!(blob.len() <= MAX_BACKUP_CHARS);
    bench.delete(&n).unwrap();
    bench.purge(&n).unwrap();
    assert!(bench.paths().is_empty());
    bench.restore(&blob).unwrap();
    let mut page = all();
    let mut seen = 0;
    loop {
        let got = bench.list_versions(&n, &page).unwrap();
        for item in &got.items {
            let value = bench.get(&n, Some(&item.version)).unwrap().value;
            assert_eq!(value[..3], format!("{seen:03}"));
            seen += 1;
        }
        match got.next {
            Some(next) => page.after = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, MAX_BACKUP_VERSIONS);

    bench.set(&n, value("one more")).unwrap();
    let error = bench.backup(&n).unwrap_err();
    assert_eq!(error.code, ErrorCode::BadParameter);
    assert!(error.message.contains("more than 500 versions"), "{error}");
}

#[test]
fn f37_a_secret_of_the_largest_size_fits_into_a_commit() {
    let (bench, n) = (Bench::new(), name(&"n".repeat(127)));
    // Characters that JSON writes in six bytes.
    let mut set = value(&"\u{1}".repeat(MAX_VALUE_BYTES));
    set.tags = (0..15)
        .map(|i| (format!("{i:02}{}", "\u{1}".repeat(MAX_TAG_CHARS - 2)), "\u{1}".repeat(MAX_TAG_CHARS)))
        .collect();
    set.content_type = Some("\u{1}".repeat(MAX_CONTENT_TYPE_CHARS));
    let tags = set.tags.clone();
    bench.set(&n, set).unwrap();
    bench.update(&n, None, SecretUpdate { tags: Some(tags), ..SecretUpdate::default() }).unwrap();
    let blob = bench.backup(&n).unwrap();
    bench.delete(&n).unwrap();
    bench.purge(&n).unwrap();
    bench.restore(&blob).unwrap();
}

#[test]
fn f02_an_interrupted_purge_is_never_seen_again_and_ends_by_itself() {
    for steps in 1..4 {
        let (bench, n) = (Bench::new(), name("a"));
        for at in 0..80 {
            bench.set(&n, value(&at.to_string())).unwrap();
        }
        bench.delete(&n).unwrap();
        bench.budget.store(steps, Ordering::SeqCst);
        bench.purge(&n).unwrap();
        bench.budget.store(usize::MAX, Ordering::SeqCst);
        assert!(!bench.paths().is_empty());
        assert_eq!(bench.get_deleted(&n).unwrap_err().code, ErrorCode::SecretNotFound);
        assert!(bench.list_deleted(&all()).unwrap().items.is_empty());
        assert_eq!(bench.recover(&n).unwrap_err().code, ErrorCode::SecretNotFound);
        assert_eq!(bench.purge(&n).unwrap_err().code, ErrorCode::SecretNotFound);
        let error = bench.set(&n, value("new")).err().unwrap();
        assert_eq!(error.inner, Some(InnerCode::ObjectIsBeingDeleted));
        assert_eq!(bench.round(), Tidied { purged: 1, failed: 0 });
        assert!(bench.paths().is_empty());
        bench.set(&n, value("new")).unwrap();
    }
}

#[test]
fn f02_an_unanswered_purge_is_told_so() {
    let (bench, n) = (Bench::new(), name("a"));
    bench.set(&n, value("one")).unwrap();
    bench.delete(&n).unwrap();
    bench.budget.store(0, Ordering::SeqCst);
    assert_eq!(bench.purge(&n).unwrap_err().code, ErrorCode::UnknownOutcome);
}

#[test]
fn f02_an_interrupted_restore_is_not_seen_and_is_taken_up_again_or_removed() {
    let (bench, n) = (Bench::new(), name("a"));
    for at in 0..130 {
        bench.set(&n, value(&at.to_string())).unwrap();
    }
    let blob = bench.backup(&n).unwrap();
    let other = bench.backup(&n).unwrap();
    bench.delete(&n).unwrap();
    bench.purge(&n).unwrap();
    let commits = bench.commits.load(Ordering::SeqCst);
    for (steps, code) in [
        (0, ErrorCode::ServiceUnavailable),
        (1, ErrorCode::ServiceUnavailable),
        (2, ErrorCode::UnknownOutcome),
    ] {
        bench.budget.store(steps, Ordering::SeqCst);
        assert_eq!(bench.restore_again(7, &blob).unwrap_err().code, code, "after {steps} steps");
        assert!(bench.get(&n, None).is_err() && bench.get_deleted(&n).is_err());
        assert!(bench.list(&all()).unwrap().items.is_empty());
        assert!(bench.list_deleted(&all()).unwrap().items.is_empty());
        assert!(bench.list_versions(&n, &all()).unwrap().items.is_empty());
        assert!(bench.recover(&n).is_err() && bench.purge(&n).is_err());
    }
    bench.budget.store(usize::MAX, Ordering::SeqCst);
    assert!(bench.commits.load(Ordering::SeqCst) > commits);
    let error = bench.set(&n, value("new")).err().unwrap();
    assert_eq!(error.inner, Some(InnerCode::ObjectIsBeingRecovered));
    assert_eq!(bench.restore(&other).unwrap_err().code, ErrorCode::Conflict);
    bench.advance(599);
    assert_eq!(bench.round(), Tidied::default());

    // The same backup goes on, and its retry is told of the success.
    let item = bench.restore_again(7, &blob).unwrap();
    assert_eq!(bench.restore_again(7, &blob).unwrap().version, item.version);
    assert_eq!(*bench.get(&n, None).unwrap().value, "129");
    assert_eq!(bench.paths().len(), 131);

    bench.delete(&n).unwrap();
    bench.purge(&n).unwrap();
    bench.budget.store(1, Ordering::SeqCst);
    assert!(bench.restore(&blob).is_err());
    bench.budget.store(usize::MAX, Ordering::SeqCst);
    bench.advance(600);
    assert_eq!(bench.round(), Tidied { purged: 1, failed: 0 });
    assert!(bench.paths().is_empty());
}

#[test]
fn a_restore_that_was_removed_while_it_stood_still_shows_nothing() {
    let (bench, n) = (Bench::new(), name("a"));
    for at in 0..130 {
        bench.set(&n, value(&at.to_string())).unwrap();
    }
    let blob = bench.backup(&n).unwrap();
    bench.delete(&n).unwrap();
    bench.purge(&n).unwrap();
    for late in 1..3 {
        let between = move |commit, bench: &Bench| {
            if commit == late {
                bench.advance(600);
                assert_eq!(bench.round(), Tidied { purged: 1, failed: 0 });
                bench.set(&name("b"), value("v")).unwrap();
            }
        };
        let error = bench.meddled(between, |bench| bench.restore(&blob)).unwrap_err();
        assert_eq!(error.code, ErrorCode::ServiceUnavailable);
        assert!(bench.paths().iter().all(|path| !path.contains("/A")), "{:?}", bench.paths());
    }
    // Two at once: one of them ends it, and both tell of one secret.
    let again = blob.clone();
    let between = move |commit, bench: &Bench| {
        if commit == 1 {
            bench.restore(&again).unwrap();
        }
    };
    let error = bench.meddled(between, |bench| bench.restore(&blob)).unwrap_err();
    assert_eq!(error.code, ErrorCode::Conflict);
    assert_eq!(bench.list_versions(&n, &all()).unwrap().items.len(), 25);
    assert_eq!(*bench.get(&n, None).unwrap().value, "129");
}

#[test]
fn f36_a_damaged_record_takes_no_neighbour_down() {
    let bench = Bench::new();
    for text in ["a", "b", "c"] {
        bench.set(&name(text), value(text)).unwrap();
        bench.set(&name(text), value(text)).unwrap();
    }
    let damage = |path: &str, with: &[u8]| {
        let old = bench.records.lock().unwrap().insert(path.into(), Zeroizing::new(with.to_vec()));
        assert!(old.is_some(), "{path}");
    };
    for with in [&b"damaged"[..], b"", b"{}", b"null", br#"{"v":2}"#] {
        damage("secrets/B", with);
        assert_eq!(bench.get(&name("b"), None).err().unwrap().code, ErrorCode::InternalError);
        let names = |page: &PageRequest| -> Vec<String> {
            bench.list(page).unwrap().items.iter().map(|item| item.name.to_string()).collect()
        };
        assert_eq!(names(&all()), ["a", "c"]);
        // It fills its place: the page that ends with it has a next one all the same.
        let second = PageRequest { max: 1, after: Some("A".into()) };
        assert_eq!(bench.list(&second).unwrap().next.as_deref(), Some("B"));
        assert!(names(&second).is_empty());
        assert_eq!(*bench.get(&name("c"), None).unwrap().value, "c");
    }
    let item = bench.get(&name("c"), None).unwrap().item;
    let previous = item.previous_version.unwrap();
    damage(&format!("secretversions/C/{}", item.version), b"damaged");
    assert_eq!(bench.get(&name("c"), None).err().unwrap().code, ErrorCode::InternalError);
    assert_eq!(*bench.get(&name("c"), Some(&previous)).unwrap().value, "c");
    assert_eq!(bench.list_versions(&name("c"), &all()).unwrap().items.len(), 1);
    assert_eq!(bench.backup(&name("c")).unwrap_err().code, ErrorCode::InternalError);
}

#[test]
fn f36_an_older_version_is_never_taken_for_the_current_one() {
    let (bench, n) = (Bench::new(), name("a"));
    bench.set(&n, value("old")).unwrap();
    let version = bench.set(&n, value("new")).unwrap().item.version;
    bench.records.lock().unwrap().remove(&format!("secretversions/A/{version}")).unwrap();
    assert_eq!(bench.get(&n, None).err().unwrap().code, ErrorCode::InternalError);
    assert_eq!(bench.update(&n, None, SecretUpdate::default()).unwrap_err().code, ErrorCode::InternalError);
    assert_eq!(bench.backup(&n).unwrap_err().code, ErrorCode::InternalError);
}

#[test]
fn f40_a_record_of_a_newer_format_is_refused_and_not_guessed() {
    let (bench, n) = (Bench::new(), name("a"));
    bench.set(&n, value("one")).unwrap();
    let stored = bench.records.lock().unwrap().clone();
    for path in stored.keys() {
        let mut json: serde_json::Value = serde_json::from_slice(&stored[path]).unwrap();
        json["v"] = 2.into();
        let newer = Zeroizing::new(serde_json::to_vec(&json).unwrap());
        bench.records.lock().unwrap().insert(path.clone(), newer);
        assert_eq!(bench.get(&n, None).err().unwrap().code, ErrorCode::InternalError, "{path}");
        bench.records.lock().unwrap().insert(path.clone(), stored[path].clone());
    }
    assert_eq!(*bench.get(&n, None).unwrap().value, "one");
}

#[test]
fn a_changed_backup_is_corrupt_at_every_byte() {
    let (bench, n) = (Bench::new(), name("a"));
    bench.set(&n, value("the value")).unwrap();
    let blob = bench.backup(&n).unwrap();
    bench.delete(&n).unwrap();
    bench.purge(&n).unwrap();
    assert!(blob.starts_with("VmFsdiBzZWNyZXQgYmFja3VwLCBzZWFsZWQ6"));
    let corrupt = |blob: &str, what: &str| {
        let error = bench.restore(blob).err().unwrap_or_else(|| panic!("{what} was restored"));
        assert_eq!(
            (error.code, error.message.as_str()),
            (ErrorCode::MalformedBackup, "Backup blob is corrupt.")
        );
        assert!(bench.open_any(blob).is_err());
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
    for garbage in
        ["", "AAAA", "a", "Backup", &format!("{blob}A"), &format!("{blob}AAAA"), &"A".repeat(100_000)]
    {
        corrupt(garbage, garbage);
    }
    // Clients that decode and encode again may pad.
    let padded = format!("{blob}{}", "=".repeat((4 - blob.len() % 4) % 4));
    bench.restore(&padded).unwrap();
    let error = bench.restore(&"A".repeat(MAX_BACKUP_CHARS + 1)).unwrap_err();
    assert_eq!(error.code, ErrorCode::BadParameter);
}

#[test]
fn a_backup_shows_one_moment_although_it_reads_many_times() {
    let (bench, n) = (Bench::new(), name("a"));
    let versions: Vec<VersionId> =
        (0..60).map(|at| bench.set(&n, value(&at.to_string())).unwrap().item.version).collect();
    let (first, last) = (versions[0].clone(), versions[59].clone());
    let mark = move |bench: &Bench, which: &VersionId| {
        let update = SecretUpdate { content_type: Some("marked".into()), ..SecretUpdate::default() };
        bench.update(&name("a"), Some(which), update).unwrap();
    };
    let between = move |read, bench: &Bench| {
        if read == 1 {
            mark(bench, &first);
            mark(bench, &last);
        }
    };
    let blob = bench.meddled(between, |bench| bench.backup(&n)).unwrap();
    let elsewhere = Bench::new();
    elsewhere.restore(&blob).unwrap();
    let marked = |which: &VersionId| elsewhere.get(&n, Some(which)).unwrap().item.content_type.is_some();
    assert_eq!((marked(&versions[0]), marked(&versions[59])), (true, true), "not one moment");

    // One that is changed before every read has no such moment.
    let busy = versions[30].clone();
    let error = bench.meddled(move |_, bench| mark(bench, &busy), |bench| bench.backup(&n)).unwrap_err();
    assert_eq!(error.code, ErrorCode::ServiceUnavailable);
}

#[test]
fn a_round_goes_through_all_that_is_deleted() {
    let bench = Bench::new();
    for at in 0..250 {
        let n = name(&format!("s{at}"));
        bench.set(&n, value("v")).unwrap();
        bench.delete(&n).unwrap();
    }
    // A damaged one in the way stays and is told of.
    bench.records.lock().unwrap().insert("deletedsecrets/S1".into(), Zeroizing::new(b"damaged".to_vec()));
    bench.advance(7 * 86_400);
    assert_eq!(bench.round(), Tidied { purged: 249, failed: 1 });
    assert_eq!(bench.paths().len(), 2);
}

#[test]
fn r8_no_error_holds_a_value() {
    let (bench, n) = (Bench::new(), name("a"));
    let planted = "planted-0b9c7d";
    bench.set(&n, value(planted)).unwrap();
    let path = bench.paths().into_iter().find(|path| path.starts_with("secretversions/")).unwrap();
    // A version whose JSON is cut or of another type, so that a parser would like to quote it.
    for broken in [format!(r#"{{"v":1,"value":"{planted}"}}"#), format!(r#"{{"v":"{planted}"}}"#)] {
        bench.records.lock().unwrap().insert(path.clone(), Zeroizing::new(broken.into_bytes()));
        let error = bench.get(&n, None).err().unwrap();
        assert_eq!(error.code, ErrorCode::InternalError);
        assert!(!error.to_string().contains(planted), "{error}");
    }
}

#[test]
fn fields_of_a_newer_program_survive_a_rewrite() {
    let (bench, n) = (Bench::new(), name("a"));
    bench.set(&n, value("one")).unwrap();
    for record in bench.records.lock().unwrap().values_mut() {
        let mut json: serde_json::Value = serde_json::from_slice(record).unwrap();
        json["newer"] = serde_json::json!({"nested": [1, 2]});
        *record = Zeroizing::new(serde_json::to_vec(&json).unwrap());
    }
    bench.update(&n, None, SecretUpdate::default()).unwrap();
    bench.delete(&n).unwrap();
    bench.recover(&n).unwrap();
    let blob = bench.backup(&n).unwrap();
    for record in bench.records.lock().unwrap().values() {
        let json: serde_json::Value = serde_json::from_slice(record).unwrap();
        assert_eq!(json["newer"]["nested"][1], 2);
    }
    let elsewhere = Bench::new();
    elsewhere.restore(&blob).unwrap();
    let records = elsewhere.records.lock().unwrap();
    let (_, version) = records.iter().find(|(path, _)| path.starts_with("secretversions/")).unwrap();
    assert_eq!(serde_json::from_slice::<serde_json::Value>(version).unwrap()["newer"]["nested"][1], 2);
}
