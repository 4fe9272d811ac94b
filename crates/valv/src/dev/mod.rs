//! `valv dev`: a ready deployment on this machine, made of the same parts as a real one: a pair of regions and a gateway,
//! each a process of its own.

pub mod certificates;
pub mod control;
pub mod environment;
mod example;
pub mod hosts;
mod layout;
mod ports;
mod supervisor;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::DevArgs;
use crate::output::{Problem, Result, line, progress};
use crate::remote::Remote;
use environment::Environment;
use hosts::Hosts;
use layout::Layout;
use supervisor::{Process, Processes};

/// Where a deployment lives unless `--dir` says otherwise.
pub const DEFAULT_DIR: &str = ".valv-dev";
/// Vaults are below this name, which resolves to loopback wherever nss-myhostname or systemd-resolved is.
const DOMAIN: &str = "vault.localhost";
/// The vault that is there from the start.
const VAULT: &str = "dev";
/// How long the first copies are waited for.
const COPIES_DEADLINE: Duration = Duration::from_secs(5);
/// From start to ready.
const READY_DEADLINE: Duration = Duration::from_secs(20);

/// Starts everything, says so, and waits until it is stopped.
pub fn run(args: &DevArgs) -> Result<()> {
    let started = Instant::now();
    let dir = prepare_dir(&args.dir)?;
    let _sole = sole(&dir)?;
    let mut ports = ports::Ports::claim()?;
    let port = ports::choose_port(args.port, &mut ports)?;
    let _ = fs::remove_file(environment::path(&dir));
    certificates::make(&dir, DOMAIN)?;
    let hosts = args.separate_hosts.then(|| Hosts::make(&dir, &layout::REGIONS)).transpose()?.map(Arc::new);
    let layout = Layout::new(&dir, port, args.one_region, hosts.as_deref(), &mut ports)?;
    let client = layout.make()?;
    let authority = format!("https://localhost:{port}");
    let resolves = ports::loopback(&format!("{VAULT}.{DOMAIN}"), port);
    let environment = Environment {
        url: if resolves { format!("https://{VAULT}.{DOMAIN}:{port}") } else { authority.clone() },
        tenant: layout.tenant().to_owned(),
        client_id: client.id,
        client_secret: client.secret,
        resource: format!("https://{DOMAIN}:{port}"),
        imds_url: format!("http://127.0.0.1:{}", layout.imds_port()),
        bundle: certificates::bundle_file(&dir),
        authority,
    };

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Problem::new(format!("the runtime does not start: {e}")))?;
    runtime.block_on(async {
        let told = until_told()?;
        let processes: Vec<Process> =
            layout.programs().into_iter().map(Process::start).collect::<Result<_>>()?;
        let processes = Arc::new(Processes(processes));
        let ground = control::Ground { processes: Arc::clone(&processes), regions: layout.regions(), hosts };
        let orders = tokio::spawn(control::serve(control::listen(&dir)?, Arc::new(ground)));
        let made_ready = async {
            processes.up().await?;
            let remote = furnish(&dir, &environment, started + READY_DEADLINE).await?;
            copied(&remote, &layout).await;
            environment.write(&dir)?;
            announce(&dir, &environment, &layout, resolves, started.elapsed());
            // Until we are told, in the other branch.
            std::future::pending().await
        };
        let outcome = tokio::select! {
            () = told => { progress("stopping"); Ok(()) }
            outcome = made_ready => outcome,
        };
        orders.abort();
        processes.stop().await;
        outcome
    })
}

/// Ctrl-C or SIGTERM.
fn until_told() -> Result<impl Future<Output = ()>> {
    let failed = |e: std::io::Error| Problem::new(format!("signals cannot be received: {e}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

fn prepare_dir(dir: &Path) -> Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let failed = |e: std::io::Error| {
        Problem::new(format!("the folder {} cannot be used: {e}", dir.display()))
            .way_out("name another with --dir")
    };
    if !dir.is_dir() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    }
    dir.canonicalize().map_err(failed)
}

/// A lock on the folder, held while it is used: a second start must not change the files of the first.
fn sole(dir: &Path) -> Result<fs::File> {
    let path = dir.join("lock");
    let failed = |e: std::io::Error| Problem::new(format!("{} cannot be used: {e}", path.display()));
    let file = fs::File::options().create(true).append(true).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            Err(Problem::new(format!("another `valv dev` runs in {}", dir.display())).way_out(
                "stop that one (Ctrl-C), or name another folder with --dir and a port with --port 0",
            ))
        }
        Err(fs::TryLockError::Error(e)) => Err(failed(e)),
    }
}

/// Waits until the deployment answers, then gives the client its roles and makes the vault; all of it may be there already.
async fn furnish(dir: &Path, environment: &Environment, deadline: Instant) -> Result<Remote> {
    let credentials = environment.credentials(dir)?;
    let remote = loop {
        match Remote::sign_in(&credentials).await {
            Ok(remote) => break remote,
            Err(_) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(problem) => return Err(problem),
        }
    };
    let clients = remote.call(Method::GET, "/admin/clients", None).await?;
    let principal = clients["value"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|c| c["clientId"] == environment.client_id.as_str())
        .and_then(|c| c["objectId"].as_str())
        .ok_or_else(|| Problem::new("the deployment does not know its own first client"))?
        .to_owned();
    let assignments = remote.call(Method::GET, "/admin/roleassignments", None).await?;
    let granted = assignments["value"].as_array().into_iter().flatten().any(|a| {
        a["principalId"] == principal.as_str() && a["roleDefinitionName"] == "Key Vault Administrator"
    });
    if !granted {
        let path = format!("/admin/roleassignments/{}", uuid::Uuid::new_v4());
        let grant =
            json!({ "roleDefinition": "Key Vault Administrator", "principalId": principal, "scope": "/" });
        remote.call(Method::PUT, &path, Some(grant)).await?;
    }
    // The regions may still be finding each other; until they have, nothing is created.
    loop {
        let vault = format!("/admin/vaults/{VAULT}");
        if remote.call(Method::GET, &vault, None).await.is_ok() {
            return Ok(remote);
        }
        match remote.call(Method::PUT, &vault, Some(json!({}))).await {
            Ok(_) => return Ok(remote),
            Err(_) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(problem) => return Err(problem),
        }
    }
}

/// Waits until every region has its copies, so that the first region that is taken away is not missed. What a copy lacks
/// is no reason not to begin.
async fn copied(remote: &Remote, layout: &Layout) {
    let deadline = Instant::now() + COPIES_DEADLINE;
    // Each of two regions copies the other, and one of them the system group.
    let expected = match layout.regions().len() {
        1 => 0,
        regions => regions + 1,
    };
    while Instant::now() < deadline {
        if let Ok(status) = remote.call(Method::GET, "/admin/status", None).await {
            let nodes =
                status["regions"].as_array().into_iter().flatten().flat_map(|r| r["nodes"].as_array());
            let theirs = nodes.flatten().flat_map(|node| node["copies"].as_array()).flatten();
            let copies = theirs.chain(status["replicas"].as_array().into_iter().flatten());
            if copies.filter(|copy| copy["state"] == "following").count() >= expected {
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    progress("note: the regions have not copied each other yet; `valv status` shows how far they are");
}

fn announce(dir: &Path, environment: &Environment, layout: &Layout, resolves: bool, took: Duration) {
    line(format!("Valv is ready ({} ms): {}", took.as_millis(), environment.url));
    if let [home, pair] = &layout.regions()[..] {
        line(format!(
            "A pair of regions and a gateway, three processes: {home} is the home of the vault {VAULT}, {pair} holds its copy.\n\
             Take a region away and give it back:  valv region fail {home}   valv region heal {home}   (and look: valv status)"
        ));
    }
    line(format!("Everything it keeps is in {}; Ctrl-C stops it.\n", dir.display()));
    line("For programs in another shell:\n");
    line(format!("  . {}\n", environment::path(dir).display()));
    line("which sets:\n");
    for export in environment.lines().lines() {
        line(format!("  {export}"));
    }
    line(example::text(environment, resolves));
    if !resolves {
        progress(format!(
            "note: the name {VAULT}.{DOMAIN} does not resolve here, so the vault is at {} and the SDKs' check of the host\n\
             name must be switched off, as the example does. Better: apt-get install libnss-myhostname (or add the line\n\
             `127.0.0.1 {VAULT}.{DOMAIN}` to /etc/hosts), then start `valv dev` again.",
            environment.url
        ));
    }
}
