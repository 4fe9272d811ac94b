//! An issuer's keys over HTTPS: OpenID Connect Discovery 1.0 section 4, then RFC 7517.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs::default_provider};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use serde::Deserialize;
use serde_json::Value;
use tokio::{net::TcpStream, task::JoinSet};
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use crate::ExternalIssuer;

/// The largest document that is read, in bytes.
const DOCUMENT_MAX: usize = 1024 * 1024;

/// Why keys could not be fetched; for the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("{0} is no https URL")]
    Url(String),
    #[error("the CA bundle cannot be used: {0}")]
    Roots(String),
    #[error("{0}: {1}")]
    Connection(String, String),
    #[error("{0} answered with status {1}")]
    Status(String, u16),
    #[error("{0} is not what it should be: {1}")]
    Document(String, String),
    #[error("there is no usable signing key among the published ones")]
    NoKey,
    #[error("no answer in time")]
    Time,
}

/// Where keys come from; tests have a source of their own.
#[async_trait]
pub(crate) trait FetchKeys: Send + Sync {
    /// The keys that an issuer publishes now, as they stand in its JWKS.
    async fn fetch(&self, issuer: &ExternalIssuer) -> Result<Vec<Value>, FetchError>;
}

/// The network.
pub(crate) struct HttpsFetch;

#[async_trait]
impl FetchKeys for HttpsFetch {
    async fn fetch(&self, issuer: &ExternalIssuer) -> Result<Vec<Value>, FetchError> {
        #[derive(Deserialize)]
        struct Discovery {
            issuer: String,
            jwks_uri: String,
        }
        #[derive(Deserialize)]
        struct Jwks {
            keys: Vec<Value>,
        }
        // Roots are read each time, so that a renewed bundle needs no restart; that blocks for milliseconds.
        let ca_file = issuer.ca_file.clone();
        let tls = tokio::task::spawn_blocking(move || connector(ca_file.as_deref()))
            .await
            .map_err(|error| FetchError::Roots(error.to_string()))??;
        let usual = || format!("{}/.well-known/openid-configuration", issuer.issuer.trim_end_matches('/'));
        let url = issuer.discovery.clone().unwrap_or_else(usual);
        let discovery: Discovery = get(&tls, &url).await?;
        if discovery.issuer != issuer.issuer {
            return Err(FetchError::Document(url, "it names another issuer than the configuration".into()));
        }
        Ok(get::<Jwks>(&tls, &discovery.jwks_uri).await?.keys)
    }
}

fn connector(ca_file: Option<&std::path::Path>) -> Result<TlsConnector, FetchError> {
    let failed = |error: &dyn std::fmt::Display| FetchError::Roots(error.to_string());
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(file) => {
            for certificate in CertificateDer::pem_file_iter(file).map_err(|error| failed(&error))? {
                roots.add(certificate.map_err(|error| failed(&error))?).map_err(|error| failed(&error))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(failed(&"it holds no certificate"));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// One document. Redirects are not followed: the configuration and the issuer name the places.
async fn get<T: for<'de> Deserialize<'de>>(tls: &TlsConnector, url: &str) -> Result<T, FetchError> {
    let connection =
        |error: &dyn std::fmt::Display| FetchError::Connection(url.to_owned(), error.to_string());
    let no_url = || FetchError::Url(url.to_owned());
    let parsed = Url::parse(url).ok().filter(|parsed| parsed.scheme() == "https").ok_or_else(no_url)?;
    let host = match parsed.host().ok_or_else(no_url)? {
        Host::Domain(name) => name.to_owned(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    };
    let port = parsed.port_or_known_default().ok_or_else(no_url)?;
    let name = ServerName::try_from(host.clone()).map_err(|_| no_url())?;
    let stream = TcpStream::connect((host.as_str(), port)).await.map_err(|error| connection(&error))?;
    let stream = tls.connect(name, stream).await.map_err(|error| connection(&error))?;
    let (mut sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| connection(&error))?;
    // Dropped, and with it the connection, when this returns.
    let mut drivers = JoinSet::new();
    drivers.spawn(driver);
    let authority = &parsed[url::Position::BeforeHost..url::Position::AfterPort];
    let request = http::Request::get(&parsed[url::Position::BeforePath..url::Position::AfterQuery])
        .header(http::header::HOST, authority)
        .header(http::header::ACCEPT, "application/json")
        .body(Empty::<Bytes>::new())
        .map_err(|_| no_url())?;
    let response = sender.send_request(request).await.map_err(|error| connection(&error))?;
    if response.status() != http::StatusCode::OK {
        return Err(FetchError::Status(url.to_owned(), response.status().as_u16()));
    }
    let document = |error: &dyn std::fmt::Display| FetchError::Document(url.to_owned(), error.to_string());
    let body =
        Limited::new(response.into_body(), DOCUMENT_MAX).collect().await.map_err(|error| document(&error))?;
    serde_json::from_slice(&body.to_bytes()).map_err(|error| document(&error))
}
