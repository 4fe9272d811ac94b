//! The certificate that clients see: read from files, replaced without a restart (F34).

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, crypto::aws_lc_rs};
pub use valv_peer::files::CertificateError;
use valv_peer::files::{self, KeyPair, Reload, Stamp, read_key_pair};

/// A certificate with its key, as it is now in its files. A bad new file keeps the old one.
pub struct Certificates {
    certificate: PathBuf,
    key: PathBuf,
    current: ArcSwap<KeyPair>,
    seen: Mutex<Stamp>,
    tls: Arc<ServerConfig>,
}

impl Certificates {
    /// Reads a certificate chain (leaf first) and its private key, both PEM.
    pub fn load(
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Result<Arc<Self>, CertificateError> {
        let (certificate, key) = (certificate.into(), key.into());
        let provider = Arc::new(aws_lc_rs::default_provider());
        let seen = Mutex::new(Stamp::of([&*certificate, &*key]));
        let current = ArcSwap::from_pointee(read_key_pair(&certificate, &key, &provider)?);
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
        let loaded = read_key_pair(&self.certificate, &self.key, self.tls.crypto_provider())?;
        self.current.store(Arc::new(loaded));
        Ok(())
    }

    /// Looks at the files for ever, `every` so often: takes up new ones, warns of an end that is near. Run it
    /// as a task.
    pub async fn watch(self: Arc<Self>, every: Duration) {
        files::watch(self, every).await;
    }
}

impl Reload for Certificates {
    fn reload_if_changed(&self) -> Result<bool, CertificateError> {
        let now = Stamp::of([&*self.certificate, &*self.key]);
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen == now {
                return Ok(false);
            }
            *seen = now;
        }
        self.reload().map(|()| true)
    }

    fn not_after(&self) -> i64 {
        self.current.load().not_after
    }

    fn shown(&self) -> (&Path, &'static str) {
        (&self.certificate, "public")
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

#[cfg(test)]
mod tests {
    use std::fs;

    use valv_peer::files::unix_now;

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
