//! Certificates and keys in files: read, told from others, watched until they change (F34).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// From this many seconds before the end on, the log warns.
const WARN_S: i64 = 30 * 86_400;
/// How often the log warns.
const WARN_AGAIN: Duration = Duration::from_secs(86_400);

/// Why a certificate or its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The file cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds nothing of the kind.
    #[error("{} holds no {what} in PEM form", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// The two do not belong together, or are of a kind that is not supported.
    #[error("the certificate {} and the key {} cannot be used: {reason}", certificate.display(), key.display())]
    Unusable {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        reason: String,
    },
}

/// A certificate chain with its private key.
pub struct KeyPair {
    /// For rustls.
    pub key: Arc<CertifiedKey>,
    /// When the certificate ends, unix seconds.
    pub not_after: i64,
}

/// Reads a certificate chain (leaf first) and its private key, both PEM.
pub fn read_key_pair(
    certificate: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<KeyPair, CertificateError> {
    let chain = read_chain(certificate)?;
    let private = zeroize::Zeroizing::new(read(key)?);
    let private = PrivateKeyDer::from_pem_slice(&private)
        .map_err(|_| CertificateError::Empty { path: key.to_owned(), what: "private key" })?;
    let unusable = |reason: String| CertificateError::Unusable {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        reason,
    };
    let leaf = chain.first().map(|c| c.as_ref()).unwrap_or_default();
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(|e| unusable(e.to_string()))?;
    let not_after = leaf.validity().not_after.timestamp();
    let key = CertifiedKey::from_der(chain, private, provider).map_err(|e| unusable(e.to_string()))?;
    Ok(KeyPair { key: Arc::new(key), not_after })
}

/// Reads the certificates of authorities, PEM.
pub(super) fn read_roots(ca: &Path) -> Result<RootCertStore, CertificateError> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(read_chain(ca)?);
    if added == 0 {
        return Err(CertificateError::Empty { path: ca.to_owned(), what: "authority's certificate" });
    }
    Ok(roots)
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect();
    chain
        .ok()
        .filter(|c| !c.is_empty())
        .ok_or_else(|| CertificateError::Empty { path: path.to_owned(), what: "certificate" })
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    fs::read(path).map_err(|source| CertificateError::Unreadable { path: path.to_owned(), source })
}

/// What tells changed files from unchanged ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp(Vec<Option<(SystemTime, u64)>>);

impl Stamp {
    /// The files as they are now.
    pub fn of<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Self {
        let stamp = |path: &Path| {
            let data = fs::metadata(path).ok()?;
            Some((data.modified().ok()?, data.len()))
        };
        Self(paths.into_iter().map(stamp).collect())
    }
}

/// Something in files that is read again when they change.
pub trait Reload: Send + Sync + 'static {
    /// Reads the files again if they changed since they were last looked at. On an error the old ones stay.
    fn reload_if_changed(&self) -> Result<bool, CertificateError>;
    /// When the certificate ends, unix seconds.
    fn not_after(&self) -> i64;
    /// Its file, and what it is for: the metric's label.
    fn shown(&self) -> (&Path, &'static str);
}

/// Looks at the files for ever, `every` so often: takes up new ones, warns of an end that is near.
pub async fn watch<R: Reload>(files: Arc<R>, every: Duration) {
    let mut warned: Option<Instant> = None;
    loop {
        let this = Arc::clone(&files);
        let (path, listener) = files.shown();
        let path = path.display();
        match tokio::task::spawn_blocking(move || this.reload_if_changed()).await {
            Ok(Ok(true)) => {
                tracing::info!(%path, "a new certificate is in use");
                warned = None;
            }
            Ok(Err(error)) => {
                metrics::counter!("valv_certificate_reload_failures_total", "listener" => listener)
                    .increment(1);
                tracing::error!(%error, "the new certificate is not used; the old one stays");
            }
            Ok(Ok(false)) | Err(_) => {}
        }
        let left_s = files.not_after() - unix_now();
        #[allow(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!("valv_certificate_expires_in_seconds", "listener" => listener).set(left_s as f64);
        if left_s < WARN_S && warned.is_none_or(|at| at.elapsed() >= WARN_AGAIN) {
            tracing::warn!(%path, days = left_s.div_euclid(86_400), "the certificate ends soon: replace its file");
            warned = Some(Instant::now());
        }
        tokio::time::sleep(every).await;
    }
}

/// Now, unix seconds: certificates know no other clock.
#[must_use]
pub fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
