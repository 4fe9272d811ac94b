//! Defences are proved by taking them away: with each planted bug, the test named for it must fail.
//!
//! The bugs stand in the sources behind the feature `planted-bugs` of `valv-engine` and are switched on
//! by the environment variable `VALV_PLANTED_BUG`, so one build serves all of them.

use std::process::Command;

use anyhow::{Result, bail};

use crate::{test::run::Log, workspace::Workspace};

/// A planted bug and the test that must notice it.
struct Row {
    bug: &'static str,
    package: &'static str,
    test: &'static str,
}

const ROWS: &[Row] = &[
    Row { bug: "no-fsync", package: "valv-engine-embedded", test: "power_loss::f03_power_loss" },
    Row { bug: "compare-left-out", package: "valv-engine-embedded", test: "compares_decide" },
    Row { bug: "stale-lease-taken", package: "valv-engine-embedded", test: "a_stale_lease_commits_nothing" },
    Row {
        bug: "sync-believed",
        package: "valv-engine-embedded",
        test: "syncs::f11_failed_sync_is_not_believed",
    },
];

/// What nextest says when tests ran and some failed.
const TESTS_FAILED: i32 = 100;

/// Runs each row, or `only` one, with and without the bug.
pub(crate) fn run(workspace: &Workspace, only: Option<&str>, log: &mut Log) -> Result<()> {
    let rows: Vec<&Row> = ROWS.iter().filter(|row| only.is_none_or(|only| only == row.bug)).collect();
    if rows.is_empty() {
        let known: Vec<&str> = ROWS.iter().map(|row| row.bug).collect();
        bail!("no such planted bug; there are: {}", known.join(", "));
    }
    let mut unnoticed = Vec::new();
    for Row { bug, package, test } in rows {
        let mut nextest = |planted: Option<&str>| -> Result<Option<i32>> {
            let mut command = Command::new("cargo");
            command.current_dir(&workspace.root);
            command.args([
                "nextest",
                "run",
                "--workspace",
                "--locked",
                "--color",
                "never",
                "--no-tests",
                "fail",
            ]);
            command.args(["--features", "valv-engine/planted-bugs"]);
            command.args(["-E", &format!("package(={package}) and test(={test})")]);
            if let Some(bug) = planted {
                command.env("VALV_PLANTED_BUG", bug);
            }
            Ok(log.status(&mut command)?.code())
        };
        let verdict = match (nextest(None)?, nextest(Some(bug))?) {
            (Some(0), Some(TESTS_FAILED)) => "noticed",
            (Some(0), Some(0)) => "NOT NOTICED: the test passes with the bug",
            (Some(0), _) => "NOT NOTICED: the test did not run with the bug",
            _ => "the test fails without the bug, or there is no such test",
        };
        if verdict != "noticed" {
            unnoticed.push(*bug);
        }
        log.say(&format!("{bug}: {package} {test}: {verdict}"))?;
    }
    if !unnoticed.is_empty() {
        bail!("planted bugs that no test noticed: {}", unnoticed.join(", "));
    }
    Ok(())
}
