//! `valv init`: makes a region's store. Nothing else ever does.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use valv_engine::{Engine, Epoch, GroupId, GroupMeta};
use valv_engine_embedded::{EmbeddedEngine, Settings};
use valv_geo::RegionMap;
use valv_model::{RegionName, TenantId};
use valv_sealing::{Barrier, Keyring, RootKeys};
use valv_vault::SystemClock;
use valv_vault::system::NewClient;

use crate::config;
use crate::output::{Problem, Result, line, progress};

/// Makes the store and, in the system home's region, prints the first client.
pub fn run(args: &crate::args::ConfigArgs) -> Result<()> {
    let shown = args.config.display();
    let Made { client, region, system_home } = init(&args.config)?;
    let Some(client) = client else {
        progress(format!(
            "The store of region {region} is made. Clients, roles and signing keys come from {system_home} once both regions run; the first client is the one that `valv init` printed there.\n\
             next: valv serve --config {shown}"
        ));
        return Ok(());
    };
    let secret = client.secret.ok_or_else(|| Problem::new("the first client has no secret"))?;
    progress(
        "The store is made. Its first client administers the deployment; the secret is not shown again:",
    );
    line(format!("export AZURE_CLIENT_ID='{}'", client.id));
    line(format!("export AZURE_CLIENT_SECRET='{}'", *secret));
    progress(format!(
        "next: valv serve --config {shown}\n      valv vault create app --config {shown}      (with the two variables exported)"
    ));
    Ok(())
}

/// What was made.
pub struct Made {
    /// The first client; None: another region is the system home, and makes it.
    pub client: Option<NewClient>,
    /// The store's region.
    pub region: RegionName,
    /// Where clients, roles and signing keys are written.
    pub system_home: RegionName,
}

/// Makes a region's store with its first content.
pub fn init(config: &Path) -> Result<Made> {
    let config = config::load(config)?;
    make(&config, |engine, region, root_keys| {
        let system_home = config.deployment.map.system_home().clone();
        let client = (system_home == *region).then(|| fill(engine, root_keys, region, &config.tenant));
        Ok(Made { client: client.transpose()?, region: region.clone(), system_home })
    })
}

/// Makes a store under a temporary name, has it filled, and moves it into place when it is complete, so that what
/// was interrupted leaves nothing that looks like a store.
pub fn make<T>(
    config: &config::Config,
    fill: impl FnOnce(Arc<dyn Engine>, &RegionName, RootKeys) -> Result<T>,
) -> Result<T> {
    let (Some(region), Some(store)) = (&config.region, config.store.as_ref().map(|store| &store.path)) else {
        return Err(Problem::usage(format!("{} is a gateway's (it names no region), and a gateway keeps nothing", config.path.display()))
            .way_out("start it with `valv serve`; run `valv init` once for each region, with the configuration of a node there"));
    };
    if store.exists() {
        return Err(Problem::usage(format!(
            "{} exists; a store is never made over an old one",
            store.display()
        ))
        .way_out("use it with `valv serve`, or name another file in store.path"));
    }
    let folder = store.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(Problem::usage(format!("there is no folder {} for the store", folder.display()))
            .way_out(
                "make it, owned by the user that runs `valv serve`, or name another file in store.path",
            ));
    }
    let root_keys = RootKeys::load(&config.root_key_sources()).map_err(|e| Problem::usage(e.to_string()))?;
    let root_key_record = Bytes::from(root_keys.current().id().0.clone());
    let unfinished = store.with_extension("unfinished");
    let _ = fs::remove_file(&unfinished);
    let groups = groups(&config.deployment.map, region);
    let engine = EmbeddedEngine::create(&unfinished, &groups, root_key_record, Settings::default())
        .map_err(|e| Problem::new(e.to_string()))?;
    let made = fill(Arc::new(engine), region, root_keys).and_then(|made| {
        put_in_place(&unfinished, store)?;
        Ok(made)
    });
    if made.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    made
}

/// The groups of a region's store: its own, and those that it holds copies of; each says who its home is, the same in
/// every store.
fn groups(map: &RegionMap, region: &RegionName) -> Vec<(GroupId, GroupMeta)> {
    let mut groups: Vec<(&GroupId, &RegionName)> = map.copies(region).collect();
    let own = map.groups().filter_map(|group| Some((group, map.home(group)?)));
    groups.extend(own.filter(|(_, home)| *home == region));
    let meta = |home: &RegionName| GroupMeta { home: home.clone(), epoch: Epoch(1) };
    groups.into_iter().map(|(group, home)| (group.clone(), meta(home))).collect()
}

fn fill(
    engine: Arc<dyn Engine>,
    root_keys: RootKeys,
    region: &RegionName,
    tenant: &TenantId,
) -> Result<NewClient> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|e| Problem::new(format!("the runtime does not start: {e}")))?.block_on(async {
        let barrier = Barrier::open(engine, Arc::new(Keyring::new(root_keys)))
            .await
            .map_err(|e| Problem::new(e.to_string()))?;
        Ok(valv_vault::system::init(&barrier, &SystemClock, region, tenant).await?)
    })
}

/// Gives the finished file its name; a file that appeared there meanwhile is left alone.
fn put_in_place(unfinished: &Path, store: &Path) -> Result<()> {
    let failed = |e: std::io::Error| Problem::new(format!("{} cannot be put in place: {e}", store.display()));
    fs::hard_link(unfinished, store).map_err(failed)?;
    fs::remove_file(unfinished).map_err(failed)?;
    let dir = store.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use valv_geo::{Declared, Pairing, catalogue};

    use super::*;

    #[test]
    fn a_store_has_its_own_group_and_those_it_copies_with_one_home_everywhere() {
        let name = |text: &str| RegionName::parse(text).unwrap();
        let declared = ["eastus", "westus", "polandcentral"].map(|text| Declared {
            region: catalogue::find(&name(text)).unwrap().region.clone(),
            pairing: Pairing::Default,
            allow_near: false,
            allow_foreign: false,
        });
        let map = RegionMap::new(&declared, None).unwrap();
        let of = |region: &str| {
            let mut groups: Vec<String> = groups(&map, &name(region))
                .into_iter()
                .map(|(group, meta)| format!("{group} at {}", meta.home))
                .collect();
            groups.sort();
            groups
        };
        assert_eq!(of("eastus"), ["$system at eastus", "eastus at eastus", "westus at westus"]);
        assert_eq!(of("westus"), ["$system at eastus", "eastus at eastus", "westus at westus"]);
        assert_eq!(of("polandcentral"), ["$system at eastus", "polandcentral at polandcentral"]);
        let single = super::groups(&RegionMap::single(&name("cellar")), &name("cellar"));
        assert_eq!(single.len(), 2);
    }
}
