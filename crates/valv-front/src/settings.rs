use std::time::Duration;

use valv_model::{RegionName, TenantId, VaultName};

/// What a front door must know.
#[derive(Clone, Debug)]
pub struct FrontSettings {
    /// Vaults are `{vault}.{domain}`, such as `vault.localhost`.
    pub domain: String,
    /// The port that clients use; left out of URLs where it is 443.
    pub port: u16,
    /// The vault meant by hosts that do not end with the domain, such as `localhost`.
    pub default_vault: Option<VaultName>,
    /// This node's region, named in every answer.
    pub region: RegionName,
    /// The deployment's tenant.
    pub tenant: TenantId,
    /// Sizes, numbers, deadlines.
    pub limits: Limits,
    /// Rates per vault; None: no limit.
    pub rates: Option<Rates>,
}

/// What one client may take of the server.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of a body.
    pub body_bytes: usize,
    /// Bytes of the body of a restore.
    pub restore_bytes: usize,
    /// Bytes of a body that anybody may send: to the token service.
    pub open_bytes: usize,
    /// Bytes of all header names and values.
    pub header_bytes: usize,
    /// Number of header fields.
    pub headers: usize,
    /// Open connections; further ones are closed at once.
    pub connections: usize,
    /// Requests worked on at a time; further ones are answered with 429.
    pub in_flight: usize,
    /// Streams of one HTTP/2 connection at a time.
    pub streams: u32,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For a request's head, from its first byte.
    pub header_read: Duration,
    /// For a request's body.
    pub body_read: Duration,
    /// For a connection without a request.
    pub idle: Duration,
    /// For a write, from the request's arrival: then it is refused, or answered with 504.
    pub write: Duration,
    /// For a whole request, its body's reading included.
    pub request: Duration,
    /// For requests in flight when the server stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 1 << 20,
            restore_bytes: 32 << 20,
            open_bytes: 64 << 10,
            header_bytes: 64 << 10,
            headers: 100,
            connections: 10_000,
            in_flight: 1_024,
            streams: 128,
            handshake: Duration::from_secs(10),
            header_read: Duration::from_secs(10),
            body_read: Duration::from_secs(20),
            idle: Duration::from_secs(120),
            write: Duration::from_secs(10),
            request: Duration::from_secs(30),
            drain: Duration::from_secs(20),
        }
    }
}

/// Requests per vault in ten seconds (azure docs: key-vault/general/service-limits).
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// Operations that take something in: `SecretSet`, `KeyImport`, restores.
    pub create: u32,
    /// All others on secrets.
    pub other: u32,
    /// New keys, made here: `KeyCreate`, `KeyRotate`. One of an `-HSM` type counts twice.
    pub key_create: u32,
    /// All others on keys. A computation with a larger or an `-HSM` key counts for up to 16.
    pub key: u32,
}

impl Default for Rates {
    fn default() -> Self {
        Self { create: 300, other: 4_000, key_create: 20, key: 4_000 }
    }
}
