//! One file per command.

mod access;
pub mod cert;
mod client;
pub mod init;
pub mod key;
mod region;
mod serve;
mod status;
mod vault;

use std::future::Future;

use crate::args::{Args, Command, KeyCommand};
use crate::output::{Problem, Result};

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    match args.command {
        Command::Dev(args) => crate::dev::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Status(args) => block_on(status::run(&args.target)),
        Command::Rehearse(args) => crate::rehearse::run(&args),
        Command::Region(command) => region::run(&command),
        Command::Vault(command) => block_on(vault::run(command)),
        Command::Client(command) => block_on(client::run(command)),
        Command::Access(command) => block_on(access::run(command)),
        Command::Cert(command) => cert::run(&command),
        Command::Key(KeyCommand::Generate { out }) => key::generate(out.as_deref()),
        Command::Key(KeyCommand::Rotate { data_key, target }) => block_on(key::rotate(data_key, target)),
    }
}

fn block_on(work: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|e| Problem::new(format!("the runtime does not start: {e}")))?.block_on(work)
}
