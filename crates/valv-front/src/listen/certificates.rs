//! The certificate that clients see: read from files, replaced without a restart (F34).

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, crypto::aws_lc_rs};
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

/// A certificate with its key, as it is now in its files. A bad new file keeps the old one.
pub struct Certificates {
    certificate: PathBuf,
    key: PathBuf,
    current: ArcSwap<Loaded>,
    seen: Mutex<Stamp>,
    tls: Arc<ServerConfig>,
}

struct Loaded {
    key: Arc<CertifiedKey>,
    /// Unix seconds.
    not_after: i64,
}

/// What tells a changed file from an unchanged one.
type Stamp = [Option<(SystemTime, u64)>; 2];

impl Certificates {
    /// Reads a certificate chain (leaf first) and its private key, both PEM.
    pub fn load(
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Result<Arc<Self>, CertificateError> {
        let (certificate, key) = (certificate.into(), key.into());
        let provider = Arc::new(aws_lc_rs::default_provider());
        let seen = Mutex::new(stamp(&certificate, &key));
        let current = ArcSwap::from_pointee(read(&certificate, &key, &provider)?);
        let unusable = |e: rustls::Error| CertificateError::Unusable {
            certificate: certificate.clone(),
            key: key.clone(),
            reason: e.to_string(),
        };
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(unusable)?;
        // The configuration asks this very object which certificate to show.
        let ticketer = aws_lc_rs::Ticketer::new().map_err(unusable)?;
        Ok(Arc::new_cyclic(|this| {
            let mut tls = builder
                .with_no_client_auth()
                .with_cert_resolver(Arc::new(Resolver(std::sync::Weak::clone(this))));
            tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            tls.ticketer = ticketer;
            Self { certificate, key, current, seen, tls: Arc::new(tls) }
        }))
    }

    /// The TLS configuration of a listener; it always shows the current certificate.
    pub(super) fn tls(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.tls)
    }

    /// Reads the files again. On an error the old certificate stays.
    pub fn reload(&self) -> Result<(), CertificateError> {
        let loaded = read(&self.certificate, &self.key, self.tls.crypto_provider())?;
        self.current.store(Arc::new(loaded));
        Ok(())
    }

    /// Reads the files again if they changed since they were last looked at.
    pub fn reload_if_changed(&self) -> Result<bool, CertificateError> {
        let now = stamp(&self.certificate, &self.key);
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen == now {
                return Ok(false);
            }
            *seen = now;
        }
        self.reload().map(|()| true)
    }

    /// When the certificate ends, unix seconds.
    #[must_use]
    pub fn not_after(&self) -> i64 {
        self.current.load().not_after
    }

    /// Looks at the files for ever, `every` so often: takes up new ones, warns of an end that is near. Run it
    /// as a task.
    pub async fn watch(self: Arc<Self>, every: Duration) {
        let mut warned: Option<std::time::Instant> = None;
        loop {
            let this = Arc::clone(&self);
            let path = self.certificate.display();
            match tokio::task::spawn_blocking(move || this.reload_if_changed()).await {
                Ok(Ok(true)) => {
                    tracing::info!(%path, "a new certificate is in use");
                    warned = None;
                }
                Ok(Err(error)) => {
                    metrics::counter!("valv_certificate_reload_failures_total").increment(1);
                    tracing::error!(%error, "the new certificate is not used; the old one stays");
                }
                Ok(Ok(false)) | Err(_) => {}
            }
            let left_s = self.not_after() - unix_now();
            #[allow(clippy::cast_precision_loss, reason = "a gauge")]
            metrics::gauge!("valv_certificate_expires_in_seconds").set(left_s as f64);
            if left_s < WARN_S && warned.is_none_or(|at| at.elapsed() >= WARN_AGAIN) {
                tracing::warn!(%path, days = left_s.div_euclid(86_400), "the certificate ends soon: replace its file");
                warned = Some(std::time::Instant::now());
            }
            tokio::time::sleep(every).await;
        }
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Resolver(std::sync::Weak<Certificates>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.upgrade().map(|of| Arc::clone(&of.current.load().key))
    }
}

fn read(certificate: &Path, key: &Path, provider: &CryptoProvider) -> Result<Loaded, CertificateError> {
    let text = |path: &Path| {
        fs::read(path).map_err(|source| CertificateError::Unreadable { path: path.to_owned(), source })
    };
    let empty = |path: &Path, what| CertificateError::Empty { path: path.to_owned(), what };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text(certificate)?).collect();
    let chain = chain.ok().filter(|c| !c.is_empty()).ok_or_else(|| empty(certificate, "certificate"))?;
    let private = zeroize::Zeroizing::new(text(key)?);
    let private = PrivateKeyDer::from_pem_slice(&private).map_err(|_| empty(key, "private key"))?;
    let unusable = |reason: String| CertificateError::Unusable {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        reason,
    };
    let leaf = chain.first().map(|c| c.as_ref()).unwrap_or_default();
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(|e| unusable(e.to_string()))?;
    let not_after = leaf.validity().not_after.timestamp();
    let key = CertifiedKey::from_der(chain, private, provider).map_err(|e| unusable(e.to_string()))?;
    Ok(Loaded { key: Arc::new(key), not_after })
}

fn stamp(certificate: &Path, key: &Path) -> Stamp {
    [certificate, key].map(|path| {
        let data = fs::metadata(path).ok()?;
        Some((data.modified().ok()?, data.len()))
    })
}

fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, name: &str) {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
        fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    }

    fn shown(certificates: &Certificates) -> Vec<u8> {
        certificates.current.load().key.cert[0].to_vec()
    }

    #[test]
    fn f34_a_new_file_is_taken_up_and_a_bad_one_keeps_the_old() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "one.example");
        let certificates =
            Certificates::load(dir.path().join("cert.pem"), dir.path().join("key.pem")).unwrap();
        let one = shown(&certificates);
        assert!(certificates.not_after() > unix_now());
        assert!(!certificates.reload_if_changed().unwrap());

        fs::write(dir.path().join("cert.pem"), "no certificate at all").unwrap();
        assert!(matches!(certificates.reload_if_changed(), Err(CertificateError::Empty { .. })));
        assert_eq!(shown(&certificates), one);

        write(dir.path(), "two.example.with.a.longer.name");
        assert!(certificates.reload_if_changed().unwrap());
        let two = shown(&certificates);
        assert_ne!(two, one);

        let other = rcgen::generate_simple_self_signed(vec!["x".to_owned()]).unwrap();
        fs::write(dir.path().join("key.pem"), other.signing_key.serialize_pem()).unwrap();
        assert!(matches!(certificates.reload(), Err(CertificateError::Unusable { .. })));
        assert_eq!(shown(&certificates), two);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = Certificates::load(dir.path().join("none.pem"), dir.path().join("key.pem")).unwrap_err();
        assert!(error.to_string().contains("none.pem"), "{error}");
    }
}
