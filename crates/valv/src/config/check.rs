//! From text to typed settings. Finds every mistake, not only the first.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;
use valv_access::ExternalIssuer;
use valv_model::{ClientId, RegionName, TenantId, VaultName};
use valv_sealing::{PinSource, RootKeySource};
use zeroize::Zeroizing;

use super::file::{self, File};
use super::regions::{
    Deployment, Failover, Peer, Replication, TestSwitches, check_deployment, check_failover, check_peering,
    check_replication,
};

/// A configuration that was checked.
pub struct Config {
    /// The file it was read from.
    pub path: PathBuf,
    /// This node's region; None: a gateway, which keeps nothing.
    pub region: Option<RegionName>,
    pub deployment: Deployment,
    /// None: a deployment of one region without gateways.
    pub peer: Option<Peer>,
    pub tenant: TenantId,
    pub domain: String,
    pub default_vault: Option<VaultName>,
    /// None: a gateway.
    pub store: Option<Store>,
    pub root_keys: Vec<RootKeyPlace>,
    pub addresses: Vec<SocketAddr>,
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub public_port: u16,
    /// Where health and metrics are served, in plain HTTP.
    pub health: Option<SocketAddr>,
    pub built_in_issuer: bool,
    pub authority: String,
    pub token_lifetime_s: i64,
    pub clock_skew_s: i64,
    pub issuers: Vec<ExternalIssuer>,
    pub managed_identity: Option<ManagedIdentity>,
    /// None: standard output.
    pub audit_file: Option<PathBuf>,
    pub audit_required: bool,
    pub log_level: tracing::Level,
    pub log_json: bool,
    pub limits: Limits,
    pub failover: Failover,
    pub replication: Replication,
    pub test: TestSwitches,
}

/// The embedded engine's file.
pub struct Store {
    pub path: PathBuf,
    pub quota_bytes: Option<u64>,
    pub cache_bytes: usize,
}

/// Limits and deadlines.
pub struct Limits {
    pub connections: usize,
    pub requests: usize,
    pub queue: usize,
    pub rate: bool,
    pub handshake: Duration,
    pub head: Duration,
    pub body: Duration,
    pub idle: Duration,
    pub write: Duration,
    pub shutdown: Duration,
}

/// The IMDS form of managed identity.
pub struct ManagedIdentity {
    pub address: SocketAddr,
    pub client: ClientId,
}

/// Where a root key is to be found; it is read when the node starts and when keys are rotated.
pub enum RootKeyPlace {
    File(PathBuf),
    Variable(String),
    Token { module: PathBuf, token: String, key: String, pin: PinPlace },
}

/// Where a token's PIN is to be found.
pub enum PinPlace {
    File(PathBuf),
    Variable(String),
}

impl Config {
    /// The root key sources, read anew.
    pub fn root_key_sources(&self) -> Vec<RootKeySource> {
        self.root_keys
            .iter()
            .map(|place| match place {
                RootKeyPlace::File(path) => RootKeySource::File(path.clone()),
                RootKeyPlace::Variable(name) => {
                    RootKeySource::Text { variable: name.clone(), line: variable(name) }
                }
                RootKeyPlace::Token { module, token, key, pin } => RootKeySource::Token {
                    module: module.clone(),
                    token: token.clone(),
                    key: key.clone(),
                    pin: match pin {
                        PinPlace::File(path) => PinSource::File(path.clone()),
                        PinPlace::Variable(name) => {
                            PinSource::Text { variable: name.clone(), pin: variable(name) }
                        }
                    },
                },
            })
            .collect()
    }

    /// `domain[:port]` as it stands in URLs.
    pub fn resource(&self) -> String {
        format!("https://{}{}", self.domain, port_suffix(self.public_port))
    }
}

/// An environment variable that holds a secret; empty if it is not set.
fn variable(name: &str) -> Zeroizing<String> {
    Zeroizing::new(std::env::var(name).unwrap_or_default())
}

fn port_suffix(port: u16) -> String {
    if port == 443 { String::new() } else { format!(":{port}") }
}

/// What was found wrong so far.
pub(super) struct Mistakes(Vec<String>);

impl Mistakes {
    pub(super) fn add(&mut self, mistake: impl Into<String>) {
        self.0.push(mistake.into());
    }

    /// The value, or a mistake with its place.
    pub(super) fn take<T>(&mut self, place: &str, value: Result<T, String>) -> Option<T> {
        value.map_err(|what| self.0.push(format!("{place}: {what}"))).ok()
    }

    pub(super) fn bounds<T: PartialOrd + std::fmt::Display + Copy>(
        &mut self,
        place: &str,
        value: T,
        least: T,
        most: T,
    ) -> T {
        if value < least || value > most {
            self.0.push(format!("{place}: {value} is out of bounds; it must be {least} to {most}"));
        }
        value
    }
}

/// Checks everything; relative paths are relative to the configuration file.
pub fn check(file: File, path: &Path) -> Result<Config, Vec<String>> {
    let base = path.parent().unwrap_or(Path::new("."));
    let mut found = Mistakes(Vec::new());
    let text = |e: valv_model::Error| e.message;

    let region = file.region.as_ref().map(|name| found.take("region", RegionName::parse(name).map_err(text)));
    let (gateway, region) = (region.is_none(), region.flatten());
    let deployment = check_deployment(&file, region.as_ref(), &mut found);
    let peer = match gateway || region.is_some() {
        true => check_peering(&file, region.as_ref(), deployment.as_ref(), base, &mut found),
        false => None,
    };
    let tenant = found.take("tenant_id", TenantId::parse(&file.tenant_id).map_err(text));
    let domain = found.take("domain", check_domain(&file.domain));
    let default_vault = match &file.default_vault {
        Some(name) => found.take("default_vault", VaultName::parse(name).map_err(text)),
        None => None,
    };

    let (store, root_keys) = check_store(&file, base, &mut found);
    let addresses = check_addresses(&file.listen, &mut found);
    let first_port = addresses.first().map_or(0, SocketAddr::port);
    let public_port = file.listen.public_port.unwrap_or(first_port);
    let health = file.listen.health.as_deref().and_then(|address| {
        let address = found.take("listen.health", one_address(address))?;
        if !address.ip().is_loopback() {
            found.0.push(format!("listen.health: {address} is not a loopback address; metrics are served there without a token and without TLS, so only loopback is possible"));
        }
        Some(address)
    });
    for (place, path) in [("listen.certificate", &file.listen.certificate), ("listen.key", &file.listen.key)]
    {
        let path = base.join(path);
        if !path.is_file() {
            found.0.push(format!("{place}: there is no file {}", path.display()));
        }
    }

    let authority = match &file.identity.authority {
        Some(url) => found.take("identity.authority", check_authority(url)),
        None => domain.as_ref().map(|domain| format!("https://login.{domain}{}", port_suffix(public_port))),
    };
    let token_lifetime_s =
        found.bounds("identity.token_lifetime_s", file.identity.token_lifetime_s, 600, 86_400);
    let clock_skew_s = found.bounds("identity.clock_skew_s", file.identity.clock_skew_s, 0, 300);
    let issuers = check_issuers(&file.identity, base, &mut found);
    let managed_identity = file.managed_identity.as_ref().and_then(|given| {
        let address = found.take("managed_identity.address", one_address(&given.address))?;
        let client = found.take("managed_identity.client_id", ClientId::parse(&given.client_id).map_err(text))?;
        if !address.ip().is_loopback() {
            found.0.push(format!("managed_identity.address: {address} is not a loopback address; whoever reaches it gets tokens, so only loopback is possible"));
        }
        if !file.identity.built_in {
            found.0.push("managed_identity: needs identity.built_in = true, since the built-in issuer makes its tokens".to_owned());
        }
        Some(ManagedIdentity { address, client })
    });

    let log_level = found.take(
        "log.level",
        file.log
            .level
            .parse()
            .map_err(|_| format!("'{}' is not error, warn, info, debug or trace", file.log.level)),
    );
    let limits = check_limits(&file.limits, &mut found);
    let failover = check_failover(&file.failover, &mut found);
    let replication = check_replication(&file.replication, &mut found);
    let test = TestSwitches {
        hedge: file.test.hedge,
        breaker: file.test.breaker,
        replication: file.test.replication,
    };

    let complete = (deployment, tenant, domain, authority, log_level);
    let (Some(deployment), Some(tenant), Some(domain), Some(authority), Some(log_level)) = complete else {
        return Err(found.0);
    };
    if !found.0.is_empty() {
        return Err(found.0);
    }
    Ok(Config {
        path: path.to_owned(),
        region,
        deployment,
        peer,
        tenant,
        domain,
        default_vault,
        store,
        root_keys,
        addresses,
        certificate: base.join(&file.listen.certificate),
        key: base.join(&file.listen.key),
        public_port,
        health,
        built_in_issuer: file.identity.built_in,
        authority,
        token_lifetime_s,
        clock_skew_s,
        issuers,
        managed_identity,
        audit_file: (file.audit.file != "stdout").then(|| base.join(&file.audit.file)),
        audit_required: file.audit.required,
        log_level,
        log_json: file.log.json,
        limits,
        failover,
        replication,
        test,
    })
}

/// What a region's node keeps, and a gateway does not.
fn check_store(file: &File, base: &Path, found: &mut Mistakes) -> (Option<Store>, Vec<RootKeyPlace>) {
    if file.region.is_none() {
        for (place, there) in [("store", file.store.is_some()), ("root_key", file.root_key.is_some())] {
            if there {
                found.add(format!("{place}: a gateway (no region) keeps nothing and opens nothing; leave the section out, or name the node's region"));
            }
        }
        if file.managed_identity.is_some() {
            found.add(
                "managed_identity: a gateway (no region) makes no tokens; configure it on a node of a region",
            );
        }
        return (None, Vec::new());
    }
    let root_keys = match &file.root_key {
        Some(given) => check_root_keys(given, base, found),
        None => {
            found.add("root_key: is missing; make a key with `valv key generate --out root.key` and name it: sources = [{ file = \"root.key\" }]");
            Vec::new()
        }
    };
    let Some(given) = &file.store else {
        found.add("store: is missing; path names the file that `valv init` makes");
        return (None, root_keys);
    };
    found.bounds("store.cache_mib", given.cache_mib, 1, 65_536);
    if given.quota_mib != 0 {
        found.bounds("store.quota_mib", given.quota_mib, 4, 1 << 24);
    }
    let store = Store {
        path: base.join(&given.path),
        quota_bytes: (given.quota_mib != 0).then(|| given.quota_mib.saturating_mul(1 << 20)),
        cache_bytes: given.cache_mib.saturating_mul(1 << 20),
    };
    (Some(store), root_keys)
}

fn check_domain(text: &str) -> Result<String, String> {
    let domain = text.to_ascii_lowercase();
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    if domain.len() <= 200 && domain.split('.').all(label) {
        Ok(domain)
    } else {
        Err(format!("'{text}' is not a domain name such as vault.example.com (no scheme, port or path)"))
    }
}

fn check_root_keys(given: &file::RootKey, base: &Path, found: &mut Mistakes) -> Vec<RootKeyPlace> {
    if given.sources.is_empty() {
        found.0.push("root_key.sources: is empty; make a key with `valv key generate --out root.key` and name it: sources = [{ file = \"root.key\" }]".to_owned());
    }
    let sources = given.sources.iter().enumerate();
    sources
        .filter_map(|(at, source)| found.take(&format!("root_key.sources[{at}]"), one_source(source, base)))
        .collect()
}

fn one_source(source: &file::RootKeySource, base: &Path) -> Result<RootKeyPlace, String> {
    let file::RootKeySource { file, variable, pkcs11, token, key, pin_variable, pin_file } = source;
    let of_token =
        [token.is_some(), key.is_some(), pin_variable.is_some(), pin_file.is_some()].contains(&true);
    match (file, variable, pkcs11) {
        (Some(path), None, None) if !of_token => Ok(RootKeyPlace::File(base.join(path))),
        (None, Some(name), None) if !of_token => Ok(RootKeyPlace::Variable(name.clone())),
        (None, None, Some(module)) => {
            let pin = match (pin_variable, pin_file) {
                (Some(name), None) => PinPlace::Variable(name.clone()),
                (None, Some(path)) => PinPlace::File(base.join(path)),
                _ => return Err("pkcs11 needs either pin_variable or pin_file".to_owned()),
            };
            let (Some(token), Some(key)) = (token.clone(), key.clone()) else {
                return Err(
                    "pkcs11 needs token and key, the labels of the token and of the key in it".to_owned()
                );
            };
            Ok(RootKeyPlace::Token { module: base.join(module), token, key, pin })
        }
        _ => Err("needs either file or variable, or pkcs11 with token, key and a PIN".to_owned()),
    }
}

fn check_addresses(given: &file::Listen, found: &mut Mistakes) -> Vec<SocketAddr> {
    if given.addresses.is_empty() {
        found.0.push("listen.addresses: is empty; one is \"0.0.0.0:8443\"".to_owned());
    }
    let parse = |text: &String| found.take("listen.addresses", one_address(text));
    given.addresses.iter().filter_map(parse).collect()
}

pub(super) fn one_address(text: &str) -> Result<SocketAddr, String> {
    let wrong = || {
        format!("'{text}' is not an address with a port such as 127.0.0.1:8443, [::1]:8443 or localhost:8443")
    };
    text.to_socket_addrs().ok().and_then(|mut found| found.next()).ok_or_else(wrong)
}

fn check_authority(text: &str) -> Result<String, String> {
    let wrong = |why: &str| {
        format!("'{text}' {why}; it has the form https://HOST[:PORT], because clients drop a path behind it")
    };
    let url = Url::parse(text).map_err(|_| wrong("is not a URL"))?;
    if url.scheme() != "https" {
        return Err(wrong("is not https"));
    }
    if url.path() != "/" || url.query().is_some() || url.host_str().is_none() {
        return Err(wrong("has a path or query, or no host"));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn check_issuers(given: &file::Identity, base: &Path, found: &mut Mistakes) -> Vec<ExternalIssuer> {
    if !given.built_in && given.issuers.is_empty() {
        found.0.push("identity: built_in = false and no [[identity.issuers]]: nobody could ever sign in; name an issuer".to_owned());
    }
    let mut issuers = Vec::new();
    for (at, issuer) in given.issuers.iter().enumerate() {
        let place = format!("identity.issuers[{at}]");
        for (name, url) in [("issuer", Some(&issuer.issuer)), ("discovery", issuer.discovery.as_ref())] {
            if url.is_some_and(|url| Url::parse(url).map_or(true, |u| u.scheme() != "https")) {
                found.0.push(format!("{place}.{name}: must be an https URL"));
            }
        }
        let ca_file = issuer.ca_file.as_ref().map(|path| base.join(path));
        if let Some(path) = ca_file.as_ref().filter(|path| !path.is_file()) {
            found.0.push(format!("{place}.ca_file: there is no file {}", path.display()));
        }
        issuers.push(ExternalIssuer {
            issuer: issuer.issuer.clone(),
            audiences: issuer.audiences.clone(),
            discovery: issuer.discovery.clone(),
            principal_claim: issuer.principal_claim.clone(),
            ca_file,
        });
    }
    issuers
}

fn check_limits(given: &file::Limits, found: &mut Mistakes) -> Limits {
    let mut ms = |place: &str, value: u64| {
        Duration::from_millis(found.bounds(&format!("limits.{place}"), value, 100, 600_000))
    };
    let (handshake, head, body) =
        (ms("handshake_ms", given.handshake_ms), ms("head_ms", given.head_ms), ms("body_ms", given.body_ms));
    let (idle, write, shutdown) =
        (ms("idle_ms", given.idle_ms), ms("write_ms", given.write_ms), ms("shutdown_ms", given.shutdown_ms));
    Limits {
        connections: found.bounds("limits.connections", given.connections, 1, 1_000_000),
        requests: found.bounds("limits.requests", given.requests, 1, 100_000),
        queue: found.bounds("limits.queue", given.queue, 1, 100_000),
        rate: given.rate,
        handshake,
        head,
        body,
        idle,
        write,
        shutdown,
    }
}
