//! The file as it is written; `valv.example.toml` explains it.

use std::path::PathBuf;

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    pub region: String,
    pub tenant_id: String,
    pub domain: String,
    pub default_vault: Option<String>,
    pub store: Store,
    pub root_key: RootKey,
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
