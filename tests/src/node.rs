//! One node as an operator runs it: `valv key generate`, `valv init`, `valv serve`, with a configuration of the
//! test's own. Where a test needs no more than a ready vault, [`crate::Dev`] is simpler.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
};

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustix::process::Signal;
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};
use url::Url;

use crate::{Api, Process, until, valv};

/// The tenant of every such deployment.
pub const TENANT: &str = "6a2f3c6e-6a0f-4d0c-9a43-6a1f0e9a7b11";
/// Its domain.
pub const DOMAIN: &str = "vault.localhost";
/// The vault that [`Node::furnish`] makes; the default vault of the node.
pub const VAULT: &str = "app";

/// A node and everything it needs, in a directory of its own.
pub struct Node {
    process: Option<Process>,
    root: TempDir,
    store: PathBuf,
    port: u16,
    health_port: u16,
    client: String,
    secret: String,
    authority: Authority,
    /// Added to the configuration file: whole sections.
    pub sections: String,
    /// Added to its section `[limits]`.
    pub limits: String,
    /// Added to its section `[store]`.
    pub store_settings: String,
    /// Root key files, or whole sources in TOML (`{ .. }`), in the order of the configuration.
    pub root_keys: Vec<String>,
    /// Environment of `init` and `serve`.
    pub variables: Vec<(String, String)>,
    /// What `serve` is started by, such as `strace -f ...`; empty: directly.
    pub wrapper: Vec<String>,
}

/// A certificate authority of the test's own.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(dir: &Path) -> Self {
        let mut params = CertificateParams::new([]).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        fs::write(dir.join("ca.crt"), certificate.pem()).expect("a writable directory");
        Self { issuer: Issuer::new(params, key) }
    }

    fn sign(&self, dir: &Path, valid_for: Duration) {
        let names =
            [format!("*.{DOMAIN}"), DOMAIN.to_owned(), "localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("parameters");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.not_before = OffsetDateTime::now_utc() - Duration::hours(1);
        params.not_after = OffsetDateTime::now_utc() + valid_for;
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        for (name, text) in [("tls.key", key.serialize_pem()), ("tls.crt", certificate.pem())] {
            let new = dir.join(format!("{name}.new"));
            fs::write(&new, text).expect("a writable directory");
            fs::rename(new, dir.join(name)).expect("a writable directory");
        }
    }
}

impl Default for Node {
    fn default() -> Self {
        Self::new()
    }
}

impl Node {
    /// A node that is configured and not yet started; its store lies in its own directory.
    #[must_use]
    pub fn new() -> Self {
        let root = TempDir::with_prefix("valv-node-").expect("a temporary directory");
        let authority = Authority::new(root.path());
        authority.sign(root.path(), Duration::days(90));
        let store = root.path().join("store.redb");
        let node = Self {
            process: None,
            store,
            port: free_port(),
            health_port: free_port(),
            client: String::new(),
            secret: String::new(),
            authority,
            sections: String::new(),
            limits: "rate = false\n".to_owned(),
            store_settings: String::new(),
            root_keys: vec!["root.key".to_owned()],
            variables: Vec::new(),
            wrapper: Vec::new(),
            root,
        };
        node.generate_root_key("root.key");
        node
    }

    /// The same with the store elsewhere, such as on a small file system.
    #[must_use]
    pub fn with_store(path: &Path) -> Self {
        let mut node = Self::new();
        node.store = path.to_owned();
        node
    }

    /// A node with a store, running and ready, with the vault [`VAULT`] and its client let in.
    pub async fn ready() -> Self {
        let mut node = Self::new();
        node.init();
        node.start();
        node.furnish().await;
        node
    }

    /// Makes a root key file in the node's directory.
    pub fn generate_root_key(&self, name: &str) {
        let status = self.command(&["key", "generate", "--out", name]).status().expect("valv runs");
        assert!(status.success(), "valv key generate: {status}");
    }

    /// Runs `valv init` and keeps the client it prints.
    pub fn init(&mut self) {
        self.configure();
        let variables = self.variables.iter().map(|(n, v)| (n, v));
        let init = &mut self.command(&["init", "--config", "valv.toml"]);
        let output = init.envs(variables).output().expect("valv runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "valv init: {}", String::from_utf8_lossy(&output.stderr));
        let value = |name: &str| {
            let line = text.lines().find_map(|l| l.strip_prefix(&format!("export {name}=")));
            line.unwrap_or_else(|| panic!("valv init prints no {name}")).trim_matches('\'').to_owned()
        };
        self.client = value("AZURE_CLIENT_ID");
        self.secret = value("AZURE_CLIENT_SECRET");
    }

    /// Starts `valv serve` and waits until it can serve.
    pub fn start(&mut self) {
        self.spawn();
        let process = self.process.as_mut().expect("just started");
        let health = self.health_port;
        until("/readyz", || {
            if let Some(status) = process.exited() {
                panic!("`valv serve` ended ({status}) before it was ready:\n{}", process.output());
            }
            plain_get(health, "/readyz").filter(|(status, _)| *status == 200)
        });
    }

    /// Starts `valv serve` and waits for nothing.
    pub fn spawn(&mut self) {
        self.configure();
        let serve = self.command(&["serve", "--config", "valv.toml"]);
        let mut command = match self.wrapper.split_first() {
            None => serve,
            Some((program, arguments)) => {
                let mut wrapped = Command::new(program);
                wrapped.args(arguments).arg(serve.get_program()).args(serve.get_args());
                wrapped.current_dir(self.root.path());
                wrapped
            }
        };
        command.envs(self.variables.iter().map(|(n, v)| (n, v)));
        self.process = Some(Process::spawn(command, "node", &self.root.path().join("logs")));
    }

    /// Runs another command of the program beside the node, as its administrator. Returns standard output.
    pub fn administer(&self, arguments: &[&str]) -> String {
        let mut command = self.command(arguments);
        command.args(["--config", "valv.toml"]);
        let output = command.output().expect("valv runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "valv {arguments:?}: {stderr}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A command of the program in the node's directory, with the first client's variables and the roots to trust.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(valv());
        command.args(arguments).current_dir(self.root.path());
        command.env("AZURE_CLIENT_ID", &self.client).env("AZURE_CLIENT_SECRET", &self.secret);
        command.env("SSL_CERT_FILE", self.root.path().join("ca.crt"));
        command
    }

    /// Lets the first client into content, and makes the vault.
    pub async fn furnish(&self) {
        self.administer(&["access", "grant", "admin", "--role", "Key Vault Administrator"]);
        self.administer(&["vault", "create", VAULT]);
    }

    /// Writes the configuration from the node's fields.
    pub fn configure(&self) {
        let (port, health) = (self.port, self.health_port);
        let source = |key: &String| match key.starts_with('{') {
            true => key.clone(),
            false => format!("{{ file = \"{key}\" }}"),
        };
        let keys: Vec<String> = self.root_keys.iter().map(source).collect();
        let text = format!(
            "region = \"eastus\"\ntenant_id = \"{TENANT}\"\ndomain = \"{DOMAIN}\"\ndefault_vault = \"{VAULT}\"\n\
             [store]\npath = \"{store}\"\n{store_settings}\
             [root_key]\nsources = [{keys}]\n\
             [listen]\naddresses = [\"127.0.0.1:{port}\"]\ncertificate = \"tls.crt\"\nkey = \"tls.key\"\nhealth = \"127.0.0.1:{health}\"\n\
             [identity]\nauthority = \"https://localhost:{port}\"\n\
             [audit]\nfile = \"audit.jsonl\"\n\
             [limits]\n{limits}{sections}",
            store = self.store.display(),
            store_settings = self.store_settings,
            keys = keys.join(", "),
            limits = self.limits,
            sections = self.sections,
        );
        fs::write(self.root.path().join("valv.toml"), text).expect("a writable directory");
    }

    /// Kills the node with SIGKILL and waits for its end.
    pub fn kill(&mut self) {
        let process = self.process.as_mut().expect("a started node");
        process.signal(Signal::KILL);
        process.wait();
    }

    /// Stops it in order (SIGTERM) and waits for its end.
    pub fn stop(&mut self) -> ExitStatus {
        let process = self.process.as_mut().expect("a started node");
        process.signal(Signal::TERM);
        process.wait()
    }

    /// Replaces the server's certificate by one that is valid for so long.
    pub fn renew_certificate(&self, valid_for: Duration) {
        self.authority.sign(self.root.path(), valid_for);
    }

    /// The running process.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("a started node")
    }

    /// The node's directory: configuration, keys, logs, and the store unless it lies elsewhere.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The store's file.
    #[must_use]
    pub fn store(&self) -> &Path {
        &self.store
    }

    /// The HTTPS port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The first client's id and secret.
    #[must_use]
    pub fn client(&self) -> (&str, &str) {
        (&self.client, &self.secret)
    }

    /// A caller without a token, of the vault [`VAULT`].
    #[must_use]
    pub fn anonymous(&self) -> Api {
        let base = format!("https://localhost:{}", self.port);
        Api::new(&base, &base, TENANT, &self.root.path().join("ca.crt"))
    }

    /// A caller with a fresh token of the first client.
    pub async fn api(&self) -> Api {
        self.anonymous().sign_in(&self.client, &self.secret).await
    }

    /// A caller of another vault, by its own name: connects to this machine whatever the resolver says.
    #[must_use]
    pub fn vault_url(&self, vault: &str) -> Url {
        Url::parse(&format!("https://{vault}.{DOMAIN}:{}", self.port)).expect("an address")
    }

    /// A plain request to the health listener: status and body.
    #[must_use]
    pub fn health(&self, path: &str) -> Option<(u16, String)> {
        plain_get(self.health_port, path)
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// HTTP/1.0 by hand: the answer ends with the connection.
fn plain_get(port: u16, path: &str) -> Option<(u16, String)> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(std::time::Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}
