//! Defences are proved by taking them away: with each planted bug, the test named for it must fail.
//!
//! The bugs stand in the sources behind the feature `planted-bugs` of `valv-engine` and are switched on
//! by the environment variable `VALV_PLANTED_BUG`, so one build serves all of them. Every bug
//! of `crates/valv-engine/src/planted.rs` has a row here.

use std::{collections::BTreeSet, fs, process::Command};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    test::{
        nextest::{Count, summary},
        run::Log,
    },
    workspace::Workspace,
};

/// A planted bug and the test that must notice it.
struct Row {
    bug: &'static str,
    package: &'static str,
    /// With its module, as `cargo nextest list` shows it.
    test: &'static str,
}

const ROWS: &[Row] = &[
    Row { bug: "no-fsync", package: "valv-engine-embedded", test: "power_loss::f03_power_loss" },
    Row {
        bug: "no-fsync",
        package: "valv-vault",
        test: "keys::tests::power_loss::f03_power_loss_while_keys_are_written",
    },
    Row { bug: "compare-left-out", package: "valv-engine-embedded", test: "compares_decide" },
    Row { bug: "stale-lease-taken", package: "valv-engine-embedded", test: "a_stale_lease_commits_nothing" },
    Row {
        bug: "sync-believed",
        package: "valv-engine-embedded",
        test: "syncs::f11_failed_sync_is_not_believed",
    },
    Row {
        bug: "plaintext-stored",
        package: "valv-sealing",
        test: "a_sealed_record_shows_nothing_of_its_plaintext",
    },
    Row {
        bug: "request-key-ignored",
        package: "valv-vault",
        test: "queue::memory::tests::a_request_is_remembered_for_its_time_and_no_longer",
    },
    Row {
        bug: "replica-takes-writes",
        package: "valv-engine-embedded",
        test: "a_lease_is_given_to_the_home_alone",
    },
    Row {
        bug: "home-takes-copies",
        package: "valv-engine-embedded",
        test: "a_replica_lease_is_given_to_others_alone",
    },
    Row {
        bug: "replica-head-not-compared",
        package: "valv-geo",
        test: "following::f24_late_transactions_change_nothing",
    },
    Row { bug: "commit-skipped", package: "valv-geo", test: "following::a_replica_takes_what_home_commits" },
    Row { bug: "chain-not-checked", package: "valv-geo", test: "stopping::a_broken_chain_is_not_applied" },
    Row {
        bug: "old-generation-left",
        package: "valv-geo",
        test: "following::f24_what_a_copy_replaced_is_removed_after_a_crash_too",
    },
    Row {
        bug: "lineage-ignored",
        package: "valv-geo",
        test: "stopping::f27_a_restored_home_is_not_followed",
    },
    Row {
        bug: "local-generation-ignored",
        package: "valv-geo",
        test: "following::f25_a_vault_behind_the_log_is_copied_anew_alone",
    },
];

/// Where the bugs are named.
const BUGS: &str = "crates/valv-engine/src/planted.rs";

/// Runs each row's test, or `only` one, without the bug and with it.
pub(crate) fn run(workspace: &Workspace, only: Option<&str>, log: &mut Log) -> Result<()> {
    let source = fs::read_to_string(workspace.root.join(BUGS))?;
    let without_row = without_row(&source, ROWS)?;
    ensure!(without_row.is_empty(), "{BUGS} and the rows differ: {}", without_row.join(", "));
    let rows: Vec<&Row> = ROWS.iter().filter(|row| only.is_none_or(|only| only == row.bug)).collect();
    if rows.is_empty() {
        let known: Vec<&str> = ROWS.iter().map(|row| row.bug).collect();
        bail!("there is no such planted bug; there are: {}", known.join(", "));
    }
    build(workspace, log, true)?;
    let result = notice(workspace, &rows, log);
    // Leave no program with planted bugs behind where the others are looked for.
    build(workspace, log, false)?;
    result
}

fn build(workspace: &Workspace, log: &mut Log, planted: bool) -> Result<()> {
    let mut command = Command::new("cargo");
    command.current_dir(&workspace.root).args(["build", "--workspace", "--all-targets", "--locked"]);
    if planted {
        command.args(["--features", "valv-engine/planted-bugs"]);
    }
    log.run(&mut command)
}

fn notice(workspace: &Workspace, rows: &[&Row], log: &mut Log) -> Result<()> {
    let filters: BTreeSet<String> = rows.iter().map(|row| row.filter()).collect();
    let all = filters.iter().map(String::as_str).collect::<Vec<_>>().join(" or ");
    let healthy = tests_run(workspace, &all, None, log)?;
    ensure!(
        healthy == Count { passed: filters.len() as u64, failed: 0 },
        "without a bug, {} of {} tests passed and {} failed",
        healthy.passed,
        filters.len(),
        healthy.failed
    );
    let mut unnoticed = Vec::new();
    for row in rows {
        let Row { bug, package, test } = row;
        let noticed = tests_run(workspace, &row.filter(), Some(bug), log)? == Count { passed: 0, failed: 1 };
        log.say(&format!(
            "{bug}: {package} {test} {}",
            if noticed { "fails, as it must" } else { "DOES NOT NOTICE" }
        ))?;
        if !noticed {
            unnoticed.push(*bug);
        }
    }
    ensure!(unnoticed.is_empty(), "no test noticed: {}", unnoticed.join(", "));
    Ok(())
}

impl Row {
    fn filter(&self) -> String {
        format!("(package(={}) & test(={}))", self.package, self.test)
    }
}

fn tests_run(workspace: &Workspace, filter: &str, bug: Option<&str>, log: &mut Log) -> Result<Count> {
    let mut command = Command::new("cargo");
    command.current_dir(&workspace.root).args([
        "nextest",
        "run",
        "--workspace",
        "--locked",
        "--color",
        "never",
    ]);
    command.args(["--features", "valv-engine/planted-bugs", "-E", filter]);
    if let Some(bug) = bug {
        command.env("VALV_PLANTED_BUG", bug);
    }
    let status = log.status(&mut command)?;
    // Tests that the filter leaves out are what nextest calls skipped.
    let count = summary(&log.tail(64 * 1024)).context("nextest ran no test")?.run;
    ensure!(status.success() == (count.failed == 0), "nextest ended with {status}");
    Ok(count)
}

/// The bugs that stand in the source without a row, and the rows without a bug.
fn without_row<'a>(source: &'a str, rows: &[Row]) -> Result<Vec<&'a str>> {
    let word = |line: &'a str| line.trim().split_once("=> \"")?.1.strip_suffix("\",");
    let bugs: BTreeSet<&str> = source.lines().filter_map(word).collect();
    ensure!(!bugs.is_empty(), "{BUGS} names no bug");
    let with_row: BTreeSet<&str> = rows.iter().map(|row| row.bug).collect();
    Ok(bugs.symmetric_difference(&with_row).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bug_without_a_row_and_a_row_without_a_bug_are_found() {
        let source = "match self {\n    Self::A => \"a\",\n    Self::B => \"b\",\n}\n";
        let row = |bug| Row { bug, package: "p", test: "t" };
        assert!(without_row(source, &[row("a"), row("b")]).unwrap().is_empty());
        assert_eq!(without_row(source, &[row("a"), row("c")]).unwrap(), ["b", "c"]);
        assert!(without_row("", &[row("a")]).is_err());
    }
}
