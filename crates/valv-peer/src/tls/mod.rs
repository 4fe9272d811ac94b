//! Mutual TLS between nodes: TLS 1.3, one authority for peers, no resumption (connections live long, and a
//! resumed one would not look at certificates again).

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, ServerName};
use valv_model::RegionName;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::{Role, region_name};

pub mod files;
use files::{CertificateError, Reload, Stamp, read_key_pair, read_roots};

/// A peer's certificate, its key and the authority it trusts, as they are now in their files. Bad new files
/// keep the old ones; open connections stay.
pub struct PeerTls {
    files: Files,
    role: Role,
    provider: Arc<CryptoProvider>,
    current: ArcSwap<Loaded>,
    seen: Mutex<Stamp>,
}

struct Files {
    certificate: PathBuf,
    key: PathBuf,
    ca: PathBuf,
}

impl Files {
    fn stamp(&self) -> Stamp {
        Stamp::of([&*self.certificate, &*self.key, &*self.ca])
    }
}

struct Loaded {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    not_after: i64,
}

impl PeerTls {
    /// Reads the certificate chain (leaf first), its key and the authority's certificate, all PEM. The
    /// certificate must name the role that this node has.
    pub fn load(
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
        ca: impl Into<PathBuf>,
        role: Role,
    ) -> Result<Arc<Self>, CertificateError> {
        let files = Files { certificate: certificate.into(), key: key.into(), ca: ca.into() };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let seen = Mutex::new(files.stamp());
        let current = ArcSwap::from_pointee(read(&files, &role, &provider)?);
        Ok(Arc::new(Self { files, role, provider, current, seen }))
    }

    /// What this node is.
    #[must_use]
    pub fn role(&self) -> &Role {
        &self.role
    }

    /// For a new connection that arrived.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().server)
    }

    /// For a new connection to a peer.
    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.current.load().client)
    }

    /// Looks at the files for ever, `every` so often. Run it as a task.
    pub async fn watch(self: Arc<Self>, every: Duration) {
        files::watch(self, every).await;
    }
}

impl Reload for PeerTls {
    fn reload_if_changed(&self) -> Result<bool, CertificateError> {
        let now = self.files.stamp();
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen == now {
                return Ok(false);
            }
            *seen = now;
        }
        self.current.store(Arc::new(read(&self.files, &self.role, &self.provider)?));
        Ok(true)
    }

    fn not_after(&self) -> i64 {
        self.current.load().not_after
    }

    fn shown(&self) -> (&Path, &'static str) {
        (&self.files.certificate, "peer")
    }
}

impl fmt::Debug for PeerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerTls").field("role", &self.role).finish_non_exhaustive()
    }
}

fn read(files: &Files, role: &Role, provider: &Arc<CryptoProvider>) -> Result<Loaded, CertificateError> {
    let pair = read_key_pair(&files.certificate, &files.key, provider)?;
    let unusable = |reason: String| CertificateError::Unusable {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        reason,
    };
    match pair.key.cert.first().and_then(|leaf| Shown::of(leaf)) {
        Some(Shown { role: Some(named), .. }) if named == *role => {}
        Some(Shown { role: Some(named), .. }) => {
            return Err(unusable(format!("it is for {named}, and this node is {role}")));
        }
        _ => {
            let wanted = role.region().map_or_else(|| crate::gateway_name().to_owned(), region_name);
            return Err(unusable(format!("it does not name exactly one peer; this node's is {wanted}")));
        }
    }
    let roots = Arc::new(read_roots(&files.ca)?);
    let server = server(&pair.key, &roots, provider).map_err(&unusable)?;
    let client = client(&pair.key, &roots, provider).map_err(&unusable)?;
    Ok(Loaded { server: Arc::new(server), client: Arc::new(client), not_after: pair.not_after })
}

fn server(
    key: &Arc<CertifiedKey>,
    roots: &Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> Result<ServerConfig, String> {
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider))
        .build()
        .map_err(|e| e.to_string())?;
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| e.to_string())?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(key))));
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn client(
    key: &Arc<CertifiedKey>,
    roots: &Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> Result<ClientConfig, String> {
    let mut config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| e.to_string())?
        .with_root_certificates(Arc::clone(roots))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(key))));
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The name that a node of `region` must prove to have.
pub(crate) fn server_name(region: &RegionName) -> Option<ServerName<'static>> {
    ServerName::try_from(region_name(region)).ok()
}

/// What a certificate says, after it was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// The one role in it.
    pub(crate) role: Option<Role>,
    /// When it ends, unix seconds.
    pub(crate) not_after: i64,
}

impl Shown {
    /// Reads a certificate.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let names = certificate.subject_alternative_name().ok()??;
        let dns = names.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(*name),
            _ => None,
        });
        Some(Self { role: Role::of_names(dns), not_after: certificate.validity().not_after.timestamp() })
    }
}

/// The longest life of a connection, so that sleeping until its end is within what timers can do.
const LONGEST: u64 = 30 * 86_400;

/// How long a connection may live that was made under certificates of which the first ends at `not_after`.
pub(crate) fn left(not_after: i64) -> Duration {
    let left = u64::try_from(not_after.saturating_sub(files::unix_now())).unwrap_or(0);
    Duration::from_secs(left.clamp(1, LONGEST))
}
