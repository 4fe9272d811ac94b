//! `valv init`: makes a region's store. Nothing else ever does.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use valv_engine::{Engine, Epoch, GroupId, GroupMeta};
use valv_engine_embedded::{EmbeddedEngine, Settings};
use valv_sealing::{Barrier, Keyring, RootKeys};
use valv_vault::SystemClock;
use valv_vault::system::NewClient;

use crate::config;
use crate::output::{Problem, Result, line, progress};

/// Makes the store and prints the first client.
pub fn run(args: &crate::args::ConfigArgs) -> Result<()> {
    let client = init(&args.config)?;
    let secret = client.secret.ok_or_else(|| Problem::new("the first client has no secret"))?;
    progress(
        "The store is made. Its first client administers the deployment; the secret is not shown again:",
    );
    line(format!("export AZURE_CLIENT_ID='{}'", client.id));
    line(format!("export AZURE_CLIENT_SECRET='{}'", *secret));
    progress(format!(
        "next: valv serve --config {0}\n      valv vault create app --config {0}      (with the two variables exported)",
        args.config.display()
    ));
    Ok(())
}

/// Makes the store under a temporary name and moves it into place when it is complete, so that an
/// interrupted `init` leaves nothing that looks like a store.
pub fn init(config: &Path) -> Result<NewClient> {
    let config = config::load(config)?;
    if config.store.exists() {
        return Err(Problem::usage(format!(
            "{} exists; a store is never made over an old one",
            config.store.display()
        ))
        .way_out("use it with `valv serve`, or name another file in store.path"));
    }
    let folder = config.store.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(Problem::usage(format!("there is no folder {} for the store", folder.display()))
            .way_out(
                "make it, owned by the user that runs `valv serve`, or name another file in store.path",
            ));
    }
    let root_keys = RootKeys::load(&config.root_key_sources()).map_err(|e| Problem::usage(e.to_string()))?;
    let root_key_record = Bytes::from(root_keys.current().id().0.clone());
    let unfinished = config.store.with_extension("unfinished");
    let _ = fs::remove_file(&unfinished);
    let groups = [GroupId::system(), GroupId::of_region(&config.region)]
        .map(|group| (group, GroupMeta { home: config.region.clone(), epoch: Epoch(1) }));
    let engine = EmbeddedEngine::create(&unfinished, &groups, root_key_record, Settings::default())
        .map_err(|e| Problem::new(e.to_string()))?;
    let client = fill(Arc::new(engine), root_keys, &config);
    let client = client.and_then(|client| {
        put_in_place(&unfinished, &config.store)?;
        Ok(client)
    });
    if client.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    client
}

fn fill(engine: Arc<dyn Engine>, root_keys: RootKeys, config: &config::Config) -> Result<NewClient> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|e| Problem::new(format!("the runtime does not start: {e}")))?.block_on(async {
        let barrier = Barrier::open(engine, Arc::new(Keyring::new(root_keys)))
            .await
            .map_err(|e| Problem::new(e.to_string()))?;
        Ok(valv_vault::system::init(&barrier, &SystemClock, &config.region, &config.tenant).await?)
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
