//! `valv region`: takes a region of a `valv dev` deployment away and gives it back; rebuilds one that lost its store.

use std::path::Path;
use std::sync::Arc;

use valv_engine::{Engine, GroupId};
use valv_geo::PeerId;
use valv_geo::apply::{RebuildError, rebuild};
use valv_geo::source::Source;
use valv_model::RegionName;
use valv_peer::{ClientSettings, PeerSource};
use valv_sealing::{Keyring, RootKeys};

use super::init;
use crate::args::RegionCommand;
use crate::config::{self, Config};
use crate::dev::control::{Action, ask};
use crate::dev::hosts::Cut;
use crate::node::peer_tls;
use crate::output::{Problem, Result, line, progress};

/// Runs one of them.
pub fn run(command: &RegionCommand) -> Result<()> {
    match command {
        RegionCommand::Fail { name, dir } => super::block_on(tell(dir, Action::Fail, name)),
        RegionCommand::Heal { name, dir } => super::block_on(tell(dir, Action::Heal, name)),
        RegionCommand::Cut { name, from, one_way, loss, dir } => {
            let cut = Cut { from: from.clone(), one_way: *one_way, loss: *loss };
            super::block_on(tell(dir, Action::Cut(cut), name))
        }
        RegionCommand::Rebuild { config, .. } => rebuild_region(config),
    }
}

async fn tell(dir: &Path, action: Action, region: &str) -> Result<()> {
    line(ask(dir, action, region).await?);
    Ok(())
}

/// Makes the store and fills every group whose home the region is from a copy.
fn rebuild_region(path: &Path) -> Result<()> {
    let config = config::load(path)?;
    let rebuilt = init::make(&config, |engine, region, root_keys| {
        // A runtime of its own, dropped with everything that holds the store, before the store gets its name.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|e| Problem::new(format!("the runtime does not start: {e}")))?;
        runtime.block_on(fill(&config, engine, region, root_keys))
    })?;
    for said in rebuilt {
        line(said);
    }
    progress(format!("The store is made. next: valv serve --config {}", path.display()));
    Ok(())
}

async fn fill(
    config: &Config,
    engine: Arc<dyn Engine>,
    region: &RegionName,
    root_keys: RootKeys,
) -> Result<Vec<String>> {
    let map = &config.deployment.map;
    let peer = config.peer.as_ref().ok_or_else(|| no_copy(region))?;
    let tls = peer_tls(config, peer)?;
    let keyring = Keyring::new(root_keys);
    let mut said = Vec::new();
    for group in map.groups().filter(|group| map.home(group) == Some(region)) {
        let mut outcome = Err(no_copy(region));
        for replica in map.replicas(group) {
            let addresses = config.deployment.peers.get(replica).into_iter().flatten();
            let nodes =
                addresses.map(|address| PeerId { region: replica.clone(), address: address.as_str().into() });
            let source: Arc<dyn Source> = PeerSource::start(&tls, &ClientSettings::default(), nodes);
            outcome = match rebuild(&*engine, &keyring, &source, group, region).await {
                Ok(done) => {
                    Ok(format!("{group}: {} vaults, {} records, from {replica}", done.vaults, done.records))
                }
                // A region whose vaults nobody had copied yet begins empty.
                Err(RebuildError::NothingCopied) if *group != GroupId::system() => {
                    Ok(format!("{group}: {replica} has no copy; the group is empty"))
                }
                Err(error) => Err(Problem::new(format!("group {group} cannot be rebuilt from {replica}: {error}"))
                    .way_out("see that the pair's node runs and answers (`valv status`), then try again; nothing was left behind")),
            };
            if outcome.is_ok() {
                break;
            }
        }
        said.push(outcome?);
    }
    Ok(said)
}

fn no_copy(region: &RegionName) -> Problem {
    Problem::usage(format!("region {region} has no pair in this deployment, so nobody holds a copy"))
        .way_out("bring its store back from a backup, or make a new one with `valv init`")
}
