//! Raw requests to the gateway, over kept and over new connections. Nothing is retried.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use super::figures::Connection;
use crate::output::{Problem, Result};

/// Longer than any answer may take: what is later counts as no answer.
const PATIENCE: Duration = Duration::from_secs(8);
/// Answers are small; backups are the largest.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Kept connections at most.
const KEPT_MAX: usize = 64;

/// An answer, whole.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON; null where it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub struct NoAnswer {
    /// In words.
    pub why: String,
}

type Sender = http1::SendRequest<Full<Bytes>>;

/// A client of one gateway.
pub struct Wire {
    address: SocketAddr,
    name: ServerName<'static>,
    /// The value of `Host`: it names the vault.
    host: String,
    tls: TlsConnector,
    kept: Mutex<Vec<Sender>>,
}

impl Wire {
    /// A client that trusts the roots in a file; `url` is the vault's.
    pub fn new(url: &str, address: SocketAddr, roots: &Path) -> Result<Self> {
        let unreadable =
            |e: String| Problem::new(format!("the roots in {} cannot be read: {e}", roots.display()));
        let mut store = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(roots).map_err(|e| unreadable(e.to_string()))? {
            let certificate = certificate.map_err(|e| unreadable(e.to_string()))?;
            store.add(certificate).map_err(|e| unreadable(e.to_string()))?;
        }
        let config = rustls::ClientConfig::builder().with_root_certificates(store).with_no_client_auth();
        let url: http::Uri = url.parse().map_err(|e| Problem::new(format!("{url} is no address: {e}")))?;
        let host = url.host().unwrap_or_default().to_owned();
        let name = ServerName::try_from(host.clone()).map_err(|e| Problem::new(format!("{host}: {e}")))?;
        let host = url.authority().map(ToString::to_string).unwrap_or(host);
        Ok(Self { address, name, host, tls: TlsConnector::from(Arc::new(config)), kept: Mutex::default() })
    }

    /// Sends one request, over a kept connection if there is one and `connection` says so.
    pub async fn send(
        &self,
        connection: Connection,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Bytes,
    ) -> std::result::Result<Answer, NoAnswer> {
        let exchange = async {
            let mut sender = match connection {
                Connection::Old => match self.take() {
                    Some(kept) => kept,
                    None => self.connect().await?,
                },
                Connection::New => self.connect().await?,
            };
            let json = !body.is_empty();
            let mut request = Request::builder().method(method).uri(path).header("host", &self.host);
            if let Some(token) = token {
                request = request.header("authorization", Zeroizing::new(format!("Bearer {token}")).as_str());
            }
            if json {
                request = request.header("content-type", "application/json");
            }
            let request = request
                .header("x-ms-client-request-id", uuid::Uuid::new_v4().to_string())
                .body(Full::new(body))
                .map_err(|e| no_answer("not a request", &e))?;
            let answer = sender.send_request(request).await.map_err(|e| no_answer("broken off", &e))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|e| NoAnswer { why: format!("cut short: {e}") })?.to_bytes();
            if connection == Connection::Old {
                self.keep(sender);
            }
            Ok(Answer { status: head.status, headers: head.headers, body })
        };
        let late = || NoAnswer { why: format!("no answer within {} s", PATIENCE.as_secs()) };
        tokio::time::timeout(PATIENCE, exchange).await.map_err(|_| late())?
    }

    fn take(&self) -> Option<Sender> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(sender) = kept.pop() {
            if sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }

    fn keep(&self, sender: Sender) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_MAX {
            kept.push(sender);
        }
    }

    async fn connect(&self) -> std::result::Result<Sender, NoAnswer> {
        let stream = TcpStream::connect(self.address).await.map_err(|e| no_answer("no connection", &e))?;
        let _ = stream.set_nodelay(true);
        let stream = self.tls.connect(self.name.clone(), stream).await;
        let stream = stream.map_err(|e| no_answer("no TLS", &e))?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|e| no_answer("no HTTP", &e))?;
        // Its end shows at the sender.
        tokio::spawn(connection);
        Ok(sender)
    }
}

fn no_answer(what: &str, why: &dyn std::error::Error) -> NoAnswer {
    NoAnswer { why: format!("{what}: {why}") }
}
