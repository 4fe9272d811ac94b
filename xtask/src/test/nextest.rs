//! Running tests with cargo-nextest and counting them. A skipped test counts as failed.

use std::{fmt, ops::AddAssign, process::Command};

use anyhow::Result;

use super::Context;

/// How many tests passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Count {
    /// A step that failed without saying how many tests did.
    pub(super) fn one_failed() -> Self {
        Self { passed: 0, failed: 1 }
    }
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// Tests failed, or were skipped, which is the same.
#[derive(Debug)]
pub(super) struct Failed(pub(super) Count);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tests failed or were skipped, {} passed", self.0.failed, self.0.passed)
    }
}

impl std::error::Error for Failed {}

/// What nextest says at the end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Summary {
    /// The tests that ran, or should have.
    pub(crate) run: Count,
    /// Tests that were marked as ignored or left out by a filter.
    pub(crate) skipped: u64,
}

impl Summary {
    /// Where no test may be left out.
    fn all_counted(self) -> Count {
        Count { failed: self.run.failed + self.skipped, ..self.run }
    }
}

/// Runs a nextest command and counts.
pub(super) fn run(context: &mut Context<'_>, mut command: Command) -> Result<Count> {
    command.env("NEXTEST_HIDE_PROGRESS_BAR", "1").args(["--color", "never"]);
    let status = context.log.status(&mut command)?;
    let Some(count) = summary(&context.log.tail(64 * 1024)).map(Summary::all_counted) else {
        anyhow::bail!("cargo nextest ended with {status} before it ran a test");
    };
    if count.failed > 0 {
        return Err(Failed(count).into());
    }
    anyhow::ensure!(status.success(), "cargo nextest ended with {status}");
    Ok(count)
}

/// Reads nextest's line `Summary [ 1.2s] 5 tests run: 4 passed (1 slow), 1 failed, 0 skipped`.
pub(crate) fn summary(output: &str) -> Option<Summary> {
    let line = output.lines().rev().find(|line| line.trim_start().starts_with("Summary ["))?;
    let (run, results) = line.split_once("run:")?;
    let run = run.rsplit(']').next()?.trim();
    // `3/5 tests` when the run was cut short: what never ran did not pass.
    let (began, all) = match run.split_whitespace().next()?.split_once('/') {
        Some((began, all)) => (began.parse::<u64>().ok()?, all.parse::<u64>().ok()?),
        None => (0, 0),
    };
    let mut count = Count { passed: 0, failed: all - began.min(all) };
    let mut skipped = 0;
    for part in without_parentheses(results).split(',') {
        let mut words = part.split_whitespace();
        let number: u64 = words.next()?.parse().ok()?;
        match words.next()? {
            "passed" => count.passed += number,
            "skipped" => skipped += number,
            // Failed, timed out, could not be started, left something behind.
            _ => count.failed += number,
        }
    }
    Some(Summary { run: count, skipped })
}

/// `5 passed (1 slow, 1 leaky), 3 failed`: what stands in parentheses is counted before them already.
fn without_parentheses(text: &str) -> String {
    let mut depth = 0_u32;
    text.chars()
        .filter(|c| {
            match c {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => return depth == 0,
            }
            false
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_counted_and_skipped_counts_as_failed() {
        let count = |line: &str| summary(line).map(Summary::all_counted).map(|c| (c.passed, c.failed));
        assert_eq!(count("     Summary [   0.006s] 1 test run: 1 passed, 0 skipped\n"), Some((1, 0)));
        assert_eq!(
            count(
                "x\n     Summary [ 1.2s] 9 tests run: 5 passed (1 slow, 1 leaky), 3 failed, 1 timed out, 2 skipped\n"
            ),
            Some((5, 6))
        );
        assert_eq!(
            count("     Summary [ 1.2s] 3/5 tests run: 2 passed, 1 failed, 0 skipped\n"),
            Some((2, 3))
        );
        assert_eq!(count("error: could not compile\n"), None);
    }
}
