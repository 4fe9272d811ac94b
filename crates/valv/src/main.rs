//! The program: arguments, configuration, wiring, start and stop.

#![allow(unreachable_pub, reason = "a program has no public items")]

use std::process::ExitCode;

use clap::Parser;

mod args;
mod command;
mod config;
mod dev;
mod handles;
mod node;
mod output;
mod rehearse;
mod remote;

fn main() -> ExitCode {
    // Several libraries can bring their own default; ours is aws-lc-rs. The only error is "already set".
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match command::run(args::Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            output::problem(&problem);
            ExitCode::from(problem.exit_code())
        }
    }
}
