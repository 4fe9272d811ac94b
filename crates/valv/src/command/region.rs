//! `valv region`: takes a region of a `valv dev` deployment away and gives it back.

use crate::args::RegionCommand;
use crate::dev::control::{Action, ask};
use crate::output::{Result, line};

/// Runs one of them.
pub async fn run(command: RegionCommand) -> Result<()> {
    let (action, region, dir) = match &command {
        RegionCommand::Fail { name, dir } => (Action::Fail, name, dir),
        RegionCommand::Heal { name, dir } => (Action::Heal, name, dir),
    };
    line(ask(dir, action, region).await?);
    Ok(())
}
