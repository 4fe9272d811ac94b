//! Measurements of Valv. Only ratios within one run mean something: absolute figures are the machine's.

#![allow(clippy::print_stdout, reason = "a program for a terminal")]

mod commits;
mod figures;
mod load;
mod machine;
mod node;
mod requests;
mod startup;
mod tokens;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Measures Valv. Without a name it measures everything.
#[derive(Parser)]
#[command(name = "valv-bench", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    bench: Option<Bench>,
}

#[derive(Subcommand)]
enum Bench {
    /// Durable commits of the embedded engine: one writer against 64.
    Commits,
    /// Requests over HTTPS against a real node: rate, latency, CPU per request, memory.
    #[command(after_help = requests::EXAMPLES)]
    Requests(requests::Options),
    /// Issuing a token, checking it, and checking it again.
    Tokens,
    /// From the start of a process to its first answer.
    #[command(after_help = startup::EXAMPLES)]
    Startup(startup::Options),
    /// The server that does nothing, to compare with. Started by `requests`.
    #[command(hide = true)]
    Floor(requests::floor::Options),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match &arguments.bench {
        Some(Bench::Commits) => commits::run(),
        Some(Bench::Requests(options)) => requests::run(options),
        Some(Bench::Startup(options)) => startup::run(options),
        Some(Bench::Tokens) => tokens::run(),
        Some(Bench::Floor(options)) => requests::floor::run(options),
        None => commits::run()
            .and_then(|()| tokens::run())
            .and_then(|()| requests::run(&requests::Options::default()))
            .and_then(|()| startup::run(&startup::Options::default())),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
