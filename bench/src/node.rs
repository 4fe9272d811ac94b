//! A real deployment to measure: `valv dev` in a folder of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use rustix::process::{Pid, Signal, kill_process};
use rustls_pki_types::ServerName;
use serde_json::Value;

use crate::Outcome;
use crate::load::{self, Place};

/// From the start to ready, and from SIGTERM to the end.
const PATIENCE: Duration = Duration::from_secs(30);

/// The program to measure: as told, or the one beside this program.
pub(crate) fn program(told: Option<&Path>) -> Outcome<PathBuf> {
    let beside = || Some(std::env::current_exe().ok()?.with_file_name("valv"));
    let path = told.map(Path::to_owned).or_else(beside).ok_or("this program does not know where it is")?;
    if path.is_file() {
        return Ok(path);
    }
    let path = path.display();
    Err(format!(
        "{path} is not there: build it with `cargo build --release -p valv`, or name one with --valv"
    )
    .into())
}

/// A process that is told to stop when this is dropped.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    /// Waits until `ready` says yes; the process must go on meanwhile.
    pub(crate) fn until(&mut self, what: &str, ready: impl Fn() -> bool) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        while !ready() {
            if let Some(status) = self.0.try_wait()? {
                return Err(format!("{what}: the process ended with {status}").into());
            }
            if Instant::now() > deadline {
                return Err(format!("{what}: not within {} s", PATIENCE.as_secs()).into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.0.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.0.kill();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// A running `valv dev`.
pub(crate) struct Dev {
    pub(crate) dir: PathBuf,
    pub(crate) ready_after: Duration,
    exports: BTreeMap<String, String>,
    _process: Process,
}

impl Dev {
    /// Starts one in `dir` and waits until it says that it is ready.
    pub(crate) fn start(program: &Path, dir: &Path) -> Outcome<Self> {
        let file = dir.join("dev.env");
        // That of the last start would be taken for the sign that this one is ready.
        let _ = fs::remove_file(&file);
        let begun = Instant::now();
        let child = Command::new(program)
            .args(["dev", "--one-region", "--port", "0", "--dir"])
            .arg(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.with_extension("log"))?)
            .spawn()?;
        let mut process = Process(child);
        process.until("valv dev", || file.is_file())?;
        let ready_after = begun.elapsed();
        let exports = fs::read_to_string(file)?
            .lines()
            .filter_map(|line| line.strip_prefix("export ")?.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned()))
            .collect();
        Ok(Self { dir: dir.to_owned(), ready_after, exports, _process: process })
    }

    fn value(&self, name: &str) -> Outcome<&str> {
        self.exports.get(name).map(String::as_str).ok_or_else(|| format!("dev.env has no {name}").into())
    }

    /// The process id of the node itself.
    pub(crate) fn node(&self) -> Outcome<u32> {
        Ok(fs::read_to_string(self.dir.join("eastus.pid"))?.trim().parse()?)
    }

    fn config(&self) -> Outcome<toml::Table> {
        Ok(fs::read_to_string(self.config_file())?.parse()?)
    }

    /// The node's configuration.
    pub(crate) fn config_file(&self) -> PathBuf {
        self.dir.join("eastus.toml")
    }

    /// HTTPS.
    pub(crate) fn public(&self) -> Outcome<Place> {
        let port = url::Url::parse(self.value("AZURE_AUTHORITY_HOST")?)?.port().ok_or("no port")?;
        let trust = load::trusting(&self.dir.join("ca.crt"))?;
        Ok(Place { port, tls: Some((trust, ServerName::try_from("localhost")?)) })
    }

    /// Health and metrics, plain HTTP.
    pub(crate) fn health(&self) -> Outcome<Place> {
        let config = self.config()?;
        let address =
            config.get("listen").and_then(|l| l.get("health")?.as_str()).ok_or("no listen.health")?;
        Ok(Place { port: address.parse::<std::net::SocketAddr>()?.port(), tls: None })
    }

    /// The host of a vault, with the port.
    pub(crate) fn host(&self, vault: &str) -> Outcome<String> {
        Ok(format!("{vault}.vault.localhost:{}", self.public()?.port))
    }

    /// A token for everything.
    pub(crate) async fn token(&self) -> Outcome<String> {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("client_id", self.value("AZURE_CLIENT_ID")?)
            .append_pair("client_secret", self.value("AZURE_CLIENT_SECRET")?)
            .append_pair("grant_type", "client_credentials")
            .append_pair("scope", &format!("{}/.default", self.value("VALV_RESOURCE")?))
            .finish();
        let request = Request::post(format!("/{}/oauth2/v2.0/token", self.value("AZURE_TENANT_ID")?))
            .header(header::HOST, format!("localhost:{}", self.public()?.port))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::new(Bytes::from(form)))?;
        let (status, body) = once(&self.public()?, request).await?;
        let body: Value = serde_json::from_slice(&body)?;
        let token = body["access_token"].as_str().filter(|_| status == StatusCode::OK);
        token.map(str::to_owned).ok_or_else(|| format!("no token: {status} {body}").into())
    }

    /// The metrics, as text.
    pub(crate) async fn metrics(&self) -> Outcome<String> {
        let request = Request::get("/metrics").header(header::HOST, "localhost").body(Full::default())?;
        let (_, body) = once(&self.health()?, request).await?;
        Ok(String::from_utf8(body.into())?)
    }
}

/// One request over a connection of its own.
pub(crate) async fn once(place: &Place, request: Request<Full<Bytes>>) -> Outcome<(StatusCode, Bytes)> {
    load::ask(&mut load::connect(place).await?, request).await
}
