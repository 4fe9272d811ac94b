//! The file as it is written; `valv.example.toml` explains it.

use std::path::PathBuf;

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    pub region: Option<String>,
    pub system_home: Option<String>,
    #[serde(default)]
    pub regions: Vec<Region>,
    pub peer: Option<Peer>,
    pub tenant_id: String,
    pub domain: String,
    pub default_vault: Option<String>,
    pub store: Option<Store>,
    pub root_key: Option<RootKey>,
    pub listen: Listen,
    #[serde(default)]
    pub identity: Identity,
    pub managed_identity: Option<ManagedIdentity>,
    #[serde(default)]
    pub audit: Audit,
    #[serde(default)]
    pub log: Log,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default)]
    pub failover: Failover,
    #[serde(default)]
    pub replication: Replication,
    #[serde(default)]
    pub test: Test,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    pub name: String,
    #[serde(default)]
    pub peers: Vec<String>,
    pub pair: Option<String>,
    pub geography: Option<String>,
    pub latitude: Option<f64>,
    pub longitude: Option<f64>,
    #[serde(default, rename = "allow-near-pair")]
    pub allow_near_pair: bool,
    #[serde(default, rename = "allow-foreign-pair")]
    pub allow_foreign_pair: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    pub listen: Option<String>,
    pub address: Option<String>,
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub ca: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Failover {
    pub probe_ms: u64,
    pub probe_deadline_ms: u64,
    pub misses: u32,
    pub goods: u32,
    pub good_for_ms: u64,
    pub stay_min_ms: u64,
    pub second_ms: u64,
    pub replica_ms: u64,
    pub send_ms: u64,
    pub deadline_ms: u64,
    pub wait_for_pair_ms: u64,
}

impl Default for Failover {
    fn default() -> Self {
        Self {
            probe_ms: 500,
            probe_deadline_ms: 1_000,
            misses: 2,
            goods: 3,
            good_for_ms: 1_500,
            stay_min_ms: 2_000,
            second_ms: 300,
            replica_ms: 900,
            send_ms: 1_000,
            deadline_ms: 2_000,
            wait_for_pair_ms: 2_000,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Replication {
    pub compare_s: u64,
    pub log_commits: u64,
    pub log_mib: u64,
}

impl Default for Replication {
    fn default() -> Self {
        Self { compare_s: 600, log_commits: 100_000, log_mib: 256 }
    }
}

/// Defences that can be switched off, in tests only.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Test {
    pub hedge: bool,
    pub breaker: bool,
    pub replication: bool,
}

impl Default for Test {
    fn default() -> Self {
        Self { hedge: true, breaker: true, replication: true }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    pub path: PathBuf,
    #[serde(default)]
    pub quota_mib: u64,
    #[serde(default = "cache_mib")]
    pub cache_mib: usize,
}

fn cache_mib() -> usize {
    8
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootKey {
    pub sources: Vec<RootKeySource>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootKeySource {
    pub file: Option<PathBuf>,
    pub variable: Option<String>,
    pub pkcs11: Option<PathBuf>,
    pub token: Option<String>,
    pub key: Option<String>,
    pub pin_variable: Option<String>,
    pub pin_file: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    pub addresses: Vec<String>,
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub public_port: Option<u16>,
    pub health: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Identity {
    pub built_in: bool,
    pub authority: Option<String>,
    pub token_lifetime_s: i64,
    pub clock_skew_s: i64,
    pub issuers: Vec<Issuer>,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            built_in: true,
            authority: None,
            token_lifetime_s: 3600,
            clock_skew_s: 60,
            issuers: Vec::new(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    pub issuer: String,
    #[serde(default)]
    pub audiences: Vec<String>,
    pub discovery: Option<String>,
    #[serde(default = "principal_claim")]
    pub principal_claim: String,
    pub ca_file: Option<PathBuf>,
}

fn principal_claim() -> String {
    "oid".to_owned()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManagedIdentity {
    pub address: String,
    pub client_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    pub file: String,
    pub required: bool,
}

impl Default for Audit {
    fn default() -> Self {
        Self { file: "stdout".to_owned(), required: false }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    pub level: String,
    pub json: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), json: false }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    pub connections: usize,
    pub requests: usize,
    pub queue: usize,
    pub rate: bool,
    pub handshake_ms: u64,
    pub head_ms: u64,
    pub body_ms: u64,
    pub idle_ms: u64,
    pub write_ms: u64,
    pub shutdown_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            requests: 512,
            queue: 1024,
            rate: true,
            handshake_ms: 10_000,
            head_ms: 10_000,
            body_ms: 30_000,
            idle_ms: 75_000,
            write_ms: 10_000,
            shutdown_ms: 20_000,
        }
    }
}
