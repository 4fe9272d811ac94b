//! `cargo xtask test`: install what the tests need, run every check and every test, say how it went.

mod fuzz;
mod install;
pub(crate) mod nextest;
pub(crate) mod run;

use std::{
    fs,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use anyhow::Result;
use clap::Args;

use self::{
    nextest::Count,
    run::{Log, shown},
};
use crate::{arrows, operations, planted, workspace::Workspace};

/// Shown below `--help`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  cargo xtask test                              everything, in less than an hour on two cores
  cargo xtask test --only clippy --only tests   two steps
  cargo xtask test --long                       everything with the full counts, for hours

What a step prints is kept in target/test-logs/STEP.log and shown when the step fails.
Missing Debian packages are installed with apt-get, by root or through sudo.";

/// What to run.
#[derive(Args)]
pub(crate) struct Options {
    /// The full counts: more simulated power losses, more kills, more fuzzing.
    #[arg(long)]
    long: bool,
    /// Only this step (and the installation); may be given several times.
    #[arg(long, value_name = "STEP", value_parser = clap::builder::PossibleValuesParser::new(STEPS.iter().map(|s| s.name)))]
    only: Vec<String>,
}

/// What a step gets.
struct Context<'a> {
    workspace: &'a Workspace,
    long: bool,
    log: Log,
    tools: Option<install::Tools>,
}

/// One step of the test command.
struct Step {
    name: &'static str,
    about: &'static str,
    run: fn(&mut Context<'_>) -> Result<Count>,
}

/// The steps in order: what is quick and fails often comes first.
const STEPS: &[Step] = &[
    Step { name: "install", about: "install what the tests need", run: install },
    Step { name: "fmt", about: "sources are formatted", run: fmt },
    Step { name: "arrows", about: "rules between crates", run: arrows },
    Step { name: "operations", about: "docs/operations.md is what the table says", run: operations },
    Step { name: "clippy", about: "no warning of clippy", run: clippy },
    Step { name: "build", about: "the program and the tests", run: build },
    Step { name: "tools", about: "wait for the tools to be installed", run: tools },
    Step { name: "deny", about: "licenses, bans and sources of dependencies", run: deny },
    Step { name: "tests", about: "every test", run: tests },
    Step { name: "doctests", about: "every example in the documentation", run: doctests },
    Step { name: "doc", about: "the documentation builds without a warning", run: doc },
    Step { name: "fuzz", about: "every fuzz target for a while", run: fuzz::run },
    Step { name: "planted", about: "every planted bug makes its test fail", run: planted_bugs },
];

/// The steps without which the chosen ones cannot run.
const ALWAYS: &[&str] = &["install", "tools"];

/// Runs the steps; the exit code says whether all went well.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let chosen: Vec<&Step> = STEPS
        .iter()
        .filter(|s| {
            options.only.is_empty() || ALWAYS.contains(&s.name) || options.only.iter().any(|o| o == s.name)
        })
        .collect();
    let logs = workspace.target.join("test-logs");
    fs::create_dir_all(&logs)?;
    let start = Instant::now();
    let mut rows = Vec::new();
    let mut total = Count::default();
    let log = Log::create(&logs, "install")?;
    let mut context = Context { workspace, long: options.long, log, tools: None };
    for (at, step) in chosen.iter().enumerate() {
        println!("[{:>2}/{}] {}: {}", at + 1, chosen.len(), step.name, step.about);
        let begin = Instant::now();
        context.log = Log::create(&logs, step.name)?;
        let result = (step.run)(&mut context);
        let took = begin.elapsed();
        match &result {
            Ok(count) => {
                total += *count;
                println!("        ok, {} ({} in all)", shown(took), shown(start.elapsed()));
            }
            Err(failure) => {
                context.log.show_tail();
                println!("        FAILED, {}: {failure:#}", shown(took));
                println!("        everything it printed: {}", context.log.path().display());
                total += failure.downcast_ref::<nextest::Failed>().map_or(Count::one_failed(), |f| f.0);
            }
        }
        rows.push((step.name, result.is_ok(), took));
        if result.is_err() && step.name == "install" {
            println!("        without it the other steps make no sense");
            break;
        }
    }
    println!("{}", table(&rows, start.elapsed()));
    println!("{} passed, {} failed", total.passed, total.failed);
    Ok(if rows.iter().all(|(_, ok, _)| *ok) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn table(rows: &[(&str, bool, Duration)], all: Duration) -> String {
    let mut table = String::from("\n  step          result        time\n");
    for (name, ok, took) in rows {
        table.push_str(&format!(
            "  {name:<12}  {:<8}  {:>8}\n",
            if *ok { "ok" } else { "FAILED" },
            shown(*took)
        ));
    }
    table.push_str(&format!("  {:<12}  {:<8}  {:>8}\n", "all", "", shown(all)));
    table
}

impl Context<'_> {
    /// Cargo, at the workspace root.
    fn cargo(&self, arguments: &[&str]) -> Command {
        self.command("cargo", arguments)
    }

    /// Any program, at the workspace root.
    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.workspace.root).args(arguments);
        command
    }
}

fn checked(context: &mut Context<'_>, mut command: Command) -> Result<Count> {
    context.log.run(&mut command)?;
    Ok(Count::default())
}

fn install(context: &mut Context<'_>) -> Result<Count> {
    install::packages(context)?;
    // Compiling the tools fills the gaps of the steps up to the one that waits for them.
    context.tools = install::Tools::start(context)?;
    install::python_clients(context)?;
    install::js_clients(context)?;
    Ok(Count::default())
}

fn tools(context: &mut Context<'_>) -> Result<Count> {
    if let Some(tools) = context.tools.take() {
        tools.wait(&mut context.log)?;
    }
    Ok(Count::default())
}

fn fmt(context: &mut Context<'_>) -> Result<Count> {
    context.log.run(&mut context.cargo(&["fmt", "--all", "--check"]))?;
    checked(context, context.cargo(&["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"]))
}

fn arrows(context: &mut Context<'_>) -> Result<Count> {
    context.log.line(&arrows::check(context.workspace)?)?;
    Ok(Count::default())
}

fn operations(context: &mut Context<'_>) -> Result<Count> {
    context.log.line(&operations::run(context.workspace, true)?)?;
    Ok(Count::default())
}

fn clippy(context: &mut Context<'_>) -> Result<Count> {
    checked(
        context,
        context.cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--keep-going",
            "--",
            "-D",
            "warnings",
        ]),
    )
}

/// The program and the tests in one go: built apart, dependencies that tests want with more features would be
/// built twice.
fn build(context: &mut Context<'_>) -> Result<Count> {
    checked(context, context.cargo(&["build", "--workspace", "--all-targets", "--locked"]))
}

fn deny(context: &mut Context<'_>) -> Result<Count> {
    checked(context, context.cargo(&["deny", "--locked", "check", "licenses", "bans", "sources"]))
}

fn tests(context: &mut Context<'_>) -> Result<Count> {
    // Black-box tests run the program that lies beside them: it must not be yesterday's.
    build(context)?;
    let profile = if context.long { "long" } else { "default" };
    let mut command = context.cargo(&["nextest", "run", "--workspace", "--locked", "--profile", profile]);
    if context.long {
        command.env("VALV_POWER_LOSSES", "200000").env("VALV_KILLS", "200");
        command.env("VALV_SIMULATION_SEEDS", "50000");
    }
    nextest::run(context, command)
}

fn doctests(context: &mut Context<'_>) -> Result<Count> {
    checked(context, context.cargo(&["test", "--doc", "--workspace", "--locked"]))
}

fn doc(context: &mut Context<'_>) -> Result<Count> {
    let mut command = context.cargo(&["doc", "--no-deps", "--workspace", "--locked", "--keep-going"]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    checked(context, command)
}

fn planted_bugs(context: &mut Context<'_>) -> Result<Count> {
    planted::run(context.workspace, None, &mut context.log)?;
    Ok(Count::default())
}
