//! Measurements of Valv. Only ratios within one run mean something: absolute figures are the machine's.
//!
//! `cargo run --release -p valv-bench -- NAME`; without a name it lists what there is.

#![allow(clippy::print_stdout)]

mod commits;
mod tokens;

use std::process::ExitCode;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Name, what it measures, and the measurement.
type Bench = (&'static str, &'static str, fn() -> Outcome);

const BENCHES: [Bench; 2] = [
    ("commits", "durable commits of the embedded engine: one writer against 64", commits::run),
    ("tokens", "issuing a token, checking it, and checking it again", tokens::run),
];

fn main() -> ExitCode {
    let chosen = std::env::args().nth(1).unwrap_or_default();
    let Some((_, _, run)) = BENCHES.iter().find(|(name, ..)| *name == chosen) else {
        for (name, what, _) in BENCHES {
            println!("{name:10} {what}");
        }
        return ExitCode::FAILURE;
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}
