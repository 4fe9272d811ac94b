//! `valv dev`: a ready deployment on this machine, made of the same parts as a real one.

pub mod certificates;
pub mod environment;
mod example;
mod supervisor;

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use http::Method;
use serde_json::json;
use zeroize::Zeroizing;

use crate::args::DevArgs;
use crate::command;
use crate::output::{Problem, Result, line, progress};
use crate::remote::{Remote, exports};
use environment::Environment;
use supervisor::Node;

/// Where a deployment lives unless `--dir` says otherwise.
pub const DEFAULT_DIR: &str = ".valv-dev";
/// Vaults are below this name, which resolves to loopback wherever nss-myhostname or systemd-resolved is.
const DOMAIN: &str = "vault.localhost";
/// The region of the catalogue that the deployment plays.
const REGION: &str = "eastus";
/// The vault that is there from the start.
const VAULT: &str = "dev";
/// From start to ready.
const READY_DEADLINE: Duration = Duration::from_secs(20);

/// Starts everything, says so, and waits until it is stopped.
pub fn run(args: &DevArgs) -> Result<()> {
    let started = Instant::now();
    let dir = prepare_dir(&args.dir)?;
    let _sole = sole(&dir)?;
    let port = choose_port(args.port)?;
    let _ = fs::remove_file(environment::path(&dir));
    let (health_port, imds_port) = (free_port()?, kept_port(&dir)?);
    certificates::make(&dir, DOMAIN)?;
    let root_key = dir.join("root.key");
    if !root_key.is_file() {
        command::key::generate(Some(&root_key))?;
    }

    let tenant = tenant(&dir)?;
    let config = dir.join("eastus.toml");
    let client = first_client(&dir, &config, |client_id| {
        configuration(port, health_port, imds_port, &tenant, client_id)
    })?;
    let authority = format!("https://localhost:{port}");
    let resolves = loopback(&format!("{VAULT}.{DOMAIN}"), port);
    let environment = Environment {
        url: if resolves { format!("https://{VAULT}.{DOMAIN}:{port}") } else { authority.clone() },
        tenant,
        client_id: client.id,
        client_secret: client.secret,
        resource: format!("https://{DOMAIN}:{port}"),
        imds_url: format!("http://127.0.0.1:{imds_port}"),
        bundle: certificates::bundle_file(&dir),
        authority,
    };

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Problem::new(format!("the runtime does not start: {e}")))?;
    runtime.block_on(async {
        let mut node = Node::start(&config, &dir)?;
        let outcome = async {
            furnish(&dir, &environment, &mut node, started + READY_DEADLINE).await?;
            environment.write(&dir)?;
            announce(&dir, &environment, resolves, started.elapsed());
            node.watch().await
        }
        .await;
        node.stop().await;
        outcome
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

/// The port of the managed-identity endpoint: the same at every start, so that a shell that read dev.env
/// before goes on; another if somebody has taken it.
fn kept_port(dir: &Path) -> Result<u16> {
    let path = dir.join("imds-port");
    let kept: Option<u16> = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
    if let Some(port) = kept
        && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
    {
        return Ok(port);
    }
    let port = free_port()?;
    fs::write(&path, port.to_string())
        .map_err(|e| Problem::new(format!("{} cannot be written: {e}", path.display())))?;
    Ok(port)
}

/// Both loopback addresses, because a name may resolve to either.
fn choose_port(wanted: u16) -> Result<u16> {
    // A free port of one address may be taken on the other: a few tries find one that is free on both.
    for _ in 0..16 {
        let attempt = || -> std::io::Result<u16> {
            let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, wanted))?;
            let port = v4.local_addr()?.port();
            match TcpListener::bind((Ipv6Addr::LOCALHOST, port)) {
                // A machine without IPv6 is served on IPv4 alone.
                Err(e) if e.kind() == std::io::ErrorKind::AddrInUse => Err(e),
                _ => Ok(port),
            }
        };
        match attempt() {
            Ok(port) => return Ok(port),
            Err(e) if wanted != 0 => {
                return Err(Problem::new(format!("port {wanted} cannot be used: {e}"))
                    .way_out("stop what uses it (another `valv dev`?), or take a free one with --port 0"));
            }
            Err(_) => {}
        }
    }
    Err(Problem::new("no port is free on both 127.0.0.1 and ::1").way_out("name one with --port"))
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr());
    listener.map(|a| a.port()).map_err(|e| Problem::new(format!("no free port on 127.0.0.1: {e}")))
}

/// Does the name lead to this machine?
fn loopback(host: &str, port: u16) -> bool {
    match (host, port).to_socket_addrs() {
        Ok(found) => {
            let found: Vec<_> = found.collect();
            !found.is_empty() && found.iter().all(|a| a.ip().is_loopback())
        }
        Err(_) => false,
    }
}

fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

/// The tenant of the deployment, made once.
fn tenant(dir: &Path) -> Result<String> {
    let path = dir.join("tenant");
    if let Ok(tenant) = fs::read_to_string(&path) {
        return Ok(tenant.trim().to_owned());
    }
    let tenant = uuid::Uuid::new_v4().to_string();
    fs::write(&path, &tenant)
        .map_err(|e| Problem::new(format!("{} cannot be written: {e}", path.display())))?;
    Ok(tenant)
}

fn configuration(
    port: u16,
    health_port: u16,
    imds_port: u16,
    tenant: &str,
    client_id: Option<&str>,
) -> String {
    let v6 = if has_ipv6() { format!(", \"[::1]:{port}\"") } else { String::new() };
    let identity = match client_id {
        Some(id) => {
            format!("\n[managed_identity]\naddress = \"127.0.0.1:{imds_port}\"\nclient_id = \"{id}\"\n")
        }
        None => String::new(),
    };
    format!(
        r#"# Made by `valv dev` at every start; crates/valv/valv.example.toml explains the settings.
region = "{REGION}"
tenant_id = "{tenant}"
domain = "{DOMAIN}"
default_vault = "{VAULT}"
[store]
path = "{REGION}.redb"
[root_key]
sources = [{{ file = "root.key" }}]
[listen]
addresses = ["127.0.0.1:{port}"{v6}]
certificate = "tls.crt"
key = "tls.key"
health = "127.0.0.1:{health_port}"
[identity]
authority = "https://localhost:{port}"
{identity}[audit]
file = "audit.jsonl"
[limits]
rate = false
"#
    )
}

struct Client {
    id: String,
    secret: Zeroizing<String>,
}

/// The client that `init` made; makes the store the first time.
fn first_client(dir: &Path, config: &Path, configuration: impl Fn(Option<&str>) -> String) -> Result<Client> {
    let write = |text: String| {
        fs::write(config, text)
            .map_err(|e| Problem::new(format!("{} cannot be written: {e}", config.display())))
    };
    let kept = dir.join("admin.env");
    let client = match fs::read_to_string(&kept) {
        Ok(text) => {
            let mut found = exports(&Zeroizing::new(text));
            match (found.remove("AZURE_CLIENT_ID"), found.remove("AZURE_CLIENT_SECRET")) {
                (Some(id), Some(secret)) => Client { id, secret: Zeroizing::new(secret) },
                _ => return Err(damaged(dir, &kept)),
            }
        }
        Err(_) if dir.join(format!("{REGION}.redb")).exists() => return Err(damaged(dir, &kept)),
        Err(_) => {
            write(configuration(None))?;
            let made = command::init::init(config)?.client;
            let made = made.ok_or_else(|| Problem::new("the first region makes no client"))?;
            let secret = made.secret.ok_or_else(|| Problem::new("the first client has no secret"))?;
            let client = Client { id: made.id.to_string(), secret };
            let lines = Zeroizing::new(format!(
                "export AZURE_CLIENT_ID='{}'\nexport AZURE_CLIENT_SECRET='{}'\n",
                client.id, *client.secret
            ));
            command::key::write_private(&kept, lines.as_bytes())?;
            client
        }
    };
    write(configuration(Some(&client.id)))?;
    Ok(client)
}

fn damaged(dir: &Path, file: &Path) -> Problem {
    Problem::new(format!("{} is not whole: {} is missing or damaged", dir.display(), file.display()))
        .way_out(format!("start anew: rm -r {}", dir.display()))
}

/// Waits until the node answers, then gives the client its roles and makes the vault; all of it may be there already.
async fn furnish(dir: &Path, environment: &Environment, node: &mut Node, deadline: Instant) -> Result<()> {
    let credentials = environment.credentials(dir)?;
    let remote = loop {
        match Remote::sign_in(&credentials).await {
            Ok(remote) => break remote,
            Err(_) if Instant::now() < deadline => {
                node.still_running()?;
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
    if remote.call(Method::GET, &format!("/admin/vaults/{VAULT}"), None).await.is_err() {
        remote.call(Method::PUT, &format!("/admin/vaults/{VAULT}"), Some(json!({}))).await?;
    }
    Ok(())
}

fn announce(dir: &Path, environment: &Environment, resolves: bool, took: Duration) {
    line(format!("Valv is ready ({} ms): {}", took.as_millis(), environment.url));
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
