//! `cargo xtask`: the one test command of Valv and the checks that are not tests.

#![allow(clippy::print_stdout, reason = "a program for a terminal")]

mod arrows;
#[cfg(test)]
mod documents;
mod operations;
mod planted;
mod test;
mod workspace;

use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};

use crate::{test::run::Log, workspace::Workspace};

/// The one test command of Valv and the checks that are not tests.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what the tests need and run every check and every test.
    #[command(after_help = test::EXAMPLES)]
    Test(test::Options),
    /// Check the rules between crates: who may depend on whom, who may read the environment.
    #[command(after_help = "Example:\n  cargo xtask arrows")]
    Arrows,
    /// Write docs/operations.md from the operation table.
    #[command(
        after_help = "Examples:\n  cargo xtask operations            write the page\n  cargo xtask operations --check    fail if the page is not what the table says"
    )]
    Operations {
        /// Write nothing; fail if the page is stale.
        #[arg(long)]
        check: bool,
    },
    /// Measure Valv: runs the program `valv-bench`, built with optimisations.
    #[command(
        after_help = "Examples:\n  cargo xtask bench\n  cargo xtask bench -- --help    what the program can measure"
    )]
    Bench {
        /// Handed to `valv-bench` as they are.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Plant each known bug and check that the test named for it fails.
    #[command(
        after_help = "Examples:\n  cargo xtask planted                  every bug of the table\n  cargo xtask planted --only no-fsync  one bug"
    )]
    Planted {
        /// Only this bug.
        #[arg(long, value_name = "BUG")]
        only: Option<String>,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<ExitCode> {
    let workspace = Workspace::load()?;
    match task {
        Task::Test(options) => return test::run(&workspace, &options),
        Task::Arrows => println!("{}", arrows::check(&workspace)?),
        Task::Operations { check } => println!("{}", operations::run(&workspace, check)?),
        Task::Bench { arguments } => bench(&workspace, &arguments)?,
        Task::Planted { only } => {
            let mut log = Log::create(&workspace.target.join("test-logs"), "planted")?;
            planted::run(&workspace, only.as_deref(), &mut log)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn bench(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let cargo = |before: &[&str], arguments: &[String]| {
        let mut command = Command::new("cargo");
        let status = command.current_dir(&workspace.root).args(before).args(arguments).status();
        let status = status.context("cannot start cargo")?;
        if !status.success() {
            bail!("`cargo {}` ended with {status}", before.join(" "));
        }
        Ok(())
    };
    // What is measured is the program itself, as users build it.
    cargo(&["build", "--release", "--package", "valv"], &[])?;
    cargo(&["run", "--release", "--package", "valv-bench", "--"], arguments)
}
