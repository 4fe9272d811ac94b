//! A plain HTTPS caller: speaks JSON, can say anything an SDK would not, and keeps one connection.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{
    http1::{SendRequest, handshake},
    http2,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Mutex,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use url::Url;

/// The version that [`Api::send`] asks for.
const API_VERSION: &str = "7.6";
/// No single request may take longer.
const REQUEST: Duration = Duration::from_secs(30);

/// The connection broke or fell silent before the answer was complete: the outcome is unknown.
#[derive(Debug)]
pub struct Broken(pub String);

/// One caller. A clone shares its token, not its connection.
pub struct Api {
    base: Url,
    authority: Url,
    tenant: String,
    tls: Arc<ClientConfig>,
    token: Option<String>,
    /// Where it connects, whatever its base says.
    door: Option<SocketAddr>,
    idle: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl Clone for Api {
    fn clone(&self) -> Self {
        Self {
            base: self.base.clone(),
            authority: self.authority.clone(),
            tenant: self.tenant.clone(),
            tls: Arc::clone(&self.tls),
            token: self.token.clone(),
            door: self.door,
            idle: Mutex::default(),
        }
    }
}

impl Api {
    /// A caller of `base` that trusts the certificates in the file `roots` and no others.
    #[must_use]
    pub fn new(base: &str, authority: &str, tenant: &str, roots: &Path) -> Self {
        let mut store = RootCertStore::empty();
        let certificates = CertificateDer::pem_file_iter(roots)
            .unwrap_or_else(|e| panic!("cannot read the roots {}: {e}", roots.display()));
        store.add_parsable_certificates(certificates.filter_map(Result::ok));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS 1.2 and 1.3")
            .with_root_certificates(store)
            .with_no_client_auth();
        let url = |text: &str| Url::parse(text).unwrap_or_else(|e| panic!("{text} is no address: {e}"));
        Self {
            base: url(base),
            authority: url(authority),
            tenant: tenant.to_owned(),
            tls: Arc::new(tls),
            token: None,
            door: None,
            idle: Mutex::default(),
        }
    }

    /// The same caller with a token of the deployment's own issuer.
    pub async fn sign_in(&self, client: &str, secret: &str) -> Self {
        let answer = self.token_request(client, secret).await.expect(200);
        let token = answer.json()["access_token"].as_str().expect("a token").to_owned();
        self.with_token(Some(token))
    }

    /// Asks the token endpoint for a token to the challenge's resource.
    pub async fn token_request(&self, client: &str, secret: &str) -> Answer {
        let resource = self.resource().await;
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("client_id", client)
            .append_pair("client_secret", secret)
            .append_pair("grant_type", "client_credentials")
            .append_pair("scope", &format!("{resource}/.default"))
            .finish();
        let request = Request::post(format!("/{}/oauth2/v2.0/token", self.tenant))
            .header(header::HOST, authority(&self.authority))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::new(Bytes::from(form)))
            .expect("a token request");
        self.to(&self.authority).request(request).await.expect("an answer from the token endpoint")
    }

    /// What the challenge of a request without a token names as its resource.
    pub async fn resource(&self) -> String {
        let anonymous = self.with_token(None);
        let answer = anonymous.send("GET", "/secrets", None).await.expect(401);
        let challenge = answer.header("www-authenticate").expect("a challenge").to_owned();
        let after = challenge.split_once("resource=\"").map(|(_, rest)| rest);
        after.and_then(|rest| rest.split('"').next()).expect("a resource in the challenge").to_owned()
    }

    /// The same caller with this token, or without.
    #[must_use]
    pub fn with_token(&self, token: Option<String>) -> Self {
        Self { token, ..self.clone() }
    }

    /// The token in use.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The same caller at another address of the deployment.
    #[must_use]
    pub fn to(&self, base: &Url) -> Self {
        Self { base: base.clone(), ..self.clone() }
    }

    /// The same caller at another door of the deployment: everything is as before but where it connects.
    #[must_use]
    pub fn via(&self, door: SocketAddr) -> Self {
        Self { door: Some(door), ..self.clone() }
    }

    /// Where it connects.
    #[must_use]
    pub fn connects_to(&self) -> SocketAddr {
        let port = self.base.port_or_known_default().expect("a port");
        self.door.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// The address called.
    #[must_use]
    pub fn base(&self) -> &Url {
        &self.base
    }

    /// Sends a request as an SDK would: token, api-version, JSON. Panics when no answer comes.
    pub async fn send(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.try_send(method, path, body)
            .await
            .unwrap_or_else(|Broken(why)| panic!("no answer to {method} {path}: {why}"))
    }

    /// The same where the server may be killed meanwhile.
    pub async fn try_send(&self, method: &str, path: &str, body: Option<Value>) -> Result<Answer, Broken> {
        let mark = if path.contains('?') { '&' } else { '?' };
        let path = if path.contains("api-version=") {
            path.to_owned()
        } else {
            format!("{path}{mark}api-version={API_VERSION}")
        };
        let mut request = Request::builder().method(method).uri(&path);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let bytes = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Bytes::from(body.to_string())
            }
            None => Bytes::new(),
        };
        let request = request.body(Full::new(bytes)).unwrap_or_else(|e| panic!("{method} {path}: {e}"));
        self.request(request).await
    }

    /// Sends a request exactly as it is given; only a missing `Host` is filled in.
    pub async fn request(&self, mut request: Request<Full<Bytes>>) -> Result<Answer, Broken> {
        let host = authority(&self.base).parse().expect("a host");
        request.headers_mut().entry(header::HOST).or_insert(host);
        let exchange = async {
            let mut sender = self.sender().await?;
            let answer = sender.send_request(request).await.map_err(broken)?;
            let (head, body) = answer.into_parts();
            let body = body.collect().await.map_err(broken)?.to_bytes();
            *self.idle.lock().await = Some(sender);
            Ok(Answer { status: head.status, headers: head.headers, body })
        };
        timeout(REQUEST, exchange).await.unwrap_or_else(|_| Err(Broken("silence for 30 s".to_owned())))
    }

    async fn sender(&self) -> Result<SendRequest<Full<Bytes>>, Broken> {
        if let Some(mut sender) = self.idle.lock().await.take()
            && sender.ready().await.is_ok()
        {
            return Ok(sender);
        }
        let (sender, connection) = handshake(TokioIo::new(self.connect().await?)).await.map_err(broken)?;
        tokio::spawn(connection);
        Ok(sender)
    }

    /// Sends a request over HTTP/2, where the host stands in the target and no `Host` header exists.
    pub async fn http2(&self, method: &str, path: &str) -> Result<Answer, Broken> {
        let stream = self.connect_http2().await?;
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(broken)?;
        tokio::spawn(connection);
        let target = self.base.join(path).expect("an address");
        let mut request = Request::builder().method(method).uri(target.as_str());
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(Bytes::new())).expect("a request");
        let answer = sender.send_request(request).await.map_err(broken)?;
        let (head, body) = answer.into_parts();
        let body = body.collect().await.map_err(broken)?.to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    /// A TLS connection to the server's loopback address, for tests that speak no proper HTTP.
    pub async fn connect(&self) -> Result<TlsStream<TcpStream>, Broken> {
        self.connect_with(Arc::clone(&self.tls)).await
    }

    /// The same, agreed to be HTTP/2.
    pub async fn connect_http2(&self) -> Result<TlsStream<TcpStream>, Broken> {
        let mut tls = ClientConfig::clone(&self.tls);
        tls.alpn_protocols = vec![b"h2".to_vec()];
        self.connect_with(Arc::new(tls)).await
    }

    async fn connect_with(&self, tls: Arc<ClientConfig>) -> Result<TlsStream<TcpStream>, Broken> {
        let stream = TcpStream::connect(self.connects_to()).await.map_err(broken)?;
        stream.set_nodelay(true).map_err(broken)?;
        let host = self.base.host_str().expect("a host").to_owned();
        let name = ServerName::try_from(host).expect("a server name");
        TlsConnector::from(tls).connect(name, stream).await.map_err(broken)
    }

    /// Sends these bytes and reads until the server closes or falls silent for `patience`.
    pub async fn raw(&self, bytes: &[u8], patience: Duration) -> Result<Vec<u8>, Broken> {
        let mut stream = self.connect().await?;
        // The server may refuse and close before it has read all: its answer counts.
        let _ = timeout(patience, stream.write_all(bytes)).await;
        let mut answer = Vec::new();
        let mut part = [0; 16 * 1024];
        while let Ok(Ok(read)) = timeout(patience, stream.read(&mut part)).await {
            if read == 0 {
                break;
            }
            answer.extend_from_slice(&part[..read]);
        }
        Ok(answer)
    }
}

fn broken(error: impl std::error::Error) -> Broken {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    Broken(text)
}

fn authority(url: &Url) -> String {
    let host = url.host_str().expect("a host");
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// A complete answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// All headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Answer {
    /// The answer, if its status is this one; panics with the whole of it otherwise.
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.shown());
        self
    }

    /// The answer, if it is an error with this status, code and inner code.
    pub fn refused(self, status: u16, code: &str, inner: Option<&str>) -> Self {
        let answer = self.expect(status);
        let json = answer.json();
        assert_eq!(json["error"]["code"], code, "{}", answer.shown());
        assert_eq!(json["error"]["innererror"]["code"].as_str(), inner, "{}", answer.shown());
        let words = json["error"]["message"].as_str().unwrap_or_default();
        assert!(!words.is_empty(), "an error says what is wrong: {}", answer.shown());
        answer
    }

    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("no JSON ({e}): {}", self.shown()))
    }

    /// A header's text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// `error.code`.
    #[must_use]
    pub fn code(&self) -> Option<String> {
        let json: Value = serde_json::from_slice(&self.body).ok()?;
        json["error"]["code"].as_str().map(str::to_owned)
    }

    fn shown(&self) -> String {
        format!("{} {:?} {}", self.status, self.headers, String::from_utf8_lossy(&self.body))
    }
}
