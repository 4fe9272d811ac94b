//! `valv rehearse` itself: it holds for every fault, and it sees when a defence is missing.

use std::{fs, process::Command};

use serde_json::Value;
use tempfile::TempDir;
use valv_tests::{DEADLINE, Process, valv};

use crate::long;

/// Runs a rehearsal with these settings of the nodes; gives whether it exited with 0, what it printed, and its figures.
fn rehearse(fault: &str, settings: &[(&str, &str)]) -> (bool, String, Value) {
    let root = TempDir::with_prefix("valv-rehearsal-").expect("a temporary directory");
    let (json, page) = (root.path().join("figures.json"), root.path().join("report.html"));
    let mut command = Command::new(valv());
    command.args(["rehearse", "--fault", fault, "--seconds", "15", "--json"]).arg(&json);
    // Its files lie below, so that they are gone with the test.
    command.arg("--report").arg(&page).env("TMPDIR", root.path()).envs(settings.iter().copied());
    let mut process = Process::spawn(command, "valv-rehearse", root.path());
    let status = process.wait_within(4 * DEADLINE);
    let output = process.output();
    let figures =
        fs::read(&json).ok().and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default();
    if let Ok(page) = fs::read_to_string(&page) {
        assert!(page.contains("<svg") && page.contains("region lost"), "the page has no timeline");
        assert!(!page.contains("src=") && !page.contains("href="), "the page needs other files");
    }
    (status.success(), output, figures)
}

/// Held is not enough to know: the figures must say that something happened.
fn holds(fault: &str) {
    for round in 0..long(10, 1) {
        let (held, output, figures) = rehearse(fault, &[]);
        assert!(held, "{fault}, round {round}:\n{output}");
        let at = |name: &str| figures[name].as_u64().unwrap_or_else(|| panic!("no {name}:\n{output}"));
        assert!(at("firstReplicaAnswerMs") <= 2_000 && at("writesAgainMs") <= 10_000, "{output}");
        assert!(figures["total"]["pair"].as_u64() > Some(100), "{output}");
        assert_eq!(figures["total"]["failed"], 0, "{output}");
        println!(
            "{fault}: first answer {} ms, writes again {} ms",
            at("firstReplicaAnswerMs"),
            at("writesAgainMs")
        );
    }
}

/// The rehearsal must exit with 1, and say at which point of the promise.
fn breaks(switch: &str, points: &[&str]) {
    let (held, output, figures) = rehearse("freeze", &[(switch, "false")]);
    assert!(!held, "with {switch} off the rehearsal held:\n{output}");
    assert!(output.contains("the promise was broken"), "it did not come to its verdict:\n{output}");
    let promise = figures["promise"].as_array().cloned().unwrap_or_default();
    for point in points {
        let found = promise.iter().find(|p| p["promise"].as_str().is_some_and(|text| text.contains(point)));
        let found = found.unwrap_or_else(|| panic!("the promise has no point {point:?}:\n{output}"));
        assert_eq!(found["held"], false, "{point}, with {switch} off:\n{output}");
    }
}

#[test]
fn f28_f29_the_promise_holds_for_a_killed_region() {
    holds("kill");
}

#[test]
fn f28_f29_the_promise_holds_for_a_frozen_region() {
    holds("freeze");
}

#[test]
fn f20_f28_f29_the_promise_holds_for_a_region_that_is_cut_off() {
    holds("partition");
}

#[test]
fn without_replication_the_rehearsal_fails() {
    breaks("VALV_TEST__REPLICATION", &["the replica follows home", "no read fails"]);
}

#[test]
fn without_hedging_the_rehearsal_fails() {
    breaks("VALV_TEST__HEDGE", &["no read fails"]);
}

#[test]
fn without_the_breaker_the_rehearsal_fails() {
    breaks("VALV_TEST__BREAKER", &["exactly the operations that change nothing are answered"]);
}
