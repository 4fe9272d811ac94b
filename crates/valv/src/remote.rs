//! Speaks to a running deployment: a token, then administration operations.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::args::Target;
use crate::config;
use crate::dev;
use crate::output::{Problem, Result};

/// The version of the administration operations that this program speaks.
const API_VERSION: &str = "2026-04-01";
/// Every request ends by then.
const DEADLINE: Duration = Duration::from_secs(15);
/// Answers are never larger: lists of vaults and clients.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Where a deployment is and who asks.
pub struct Credentials {
    /// Base URL, without a trailing slash.
    pub url: String,
    /// The tenant.
    pub tenant: String,
    /// The resource to get a token for.
    pub resource: String,
    /// The client.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Zeroizing<String>,
    /// Trusted roots beside the system's; None: the system's only.
    pub roots: Option<PathBuf>,
}

impl Credentials {
    /// Of a `dev` deployment (`--dir`) or of a node's configuration and the environment (`--config`).
    pub fn of(target: &Target) -> Result<Self> {
        match &target.config {
            None => dev::environment::read(&target.dir)?.credentials(&target.dir),
            Some(path) => Self::of_config(path),
        }
    }

    fn of_config(path: &Path) -> Result<Self> {
        let config = config::load(path)?;
        let variable = |name: &str| {
            std::env::var(name).ok().filter(|v| !v.is_empty()).ok_or_else(|| {
                Problem::usage(format!("{name} is not set"))
                    .way_out("export AZURE_CLIENT_ID and AZURE_CLIENT_SECRET of a client that administers the deployment; `valv init` printed the first one")
            })
        };
        Ok(Self {
            url: config.authority.clone(),
            tenant: config.tenant.to_string(),
            resource: config.resource(),
            client_id: variable("AZURE_CLIENT_ID")?,
            client_secret: Zeroizing::new(variable("AZURE_CLIENT_SECRET")?),
            roots: None,
        })
    }
}

/// A connection to a deployment, with a token.
pub struct Remote {
    client: Client<hyper_rustls::HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: String,
    token: Zeroizing<String>,
}

impl Remote {
    /// Gets a token.
    pub async fn sign_in(credentials: &Credentials) -> Result<Self> {
        let client = https_client(credentials.roots.as_deref())?;
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", &credentials.client_id)
            .append_pair("client_secret", &credentials.client_secret)
            .append_pair("scope", &format!("{}/.default", credentials.resource))
            .finish();
        let request = Request::post(format!("{}/{}/oauth2/v2.0/token", credentials.url, credentials.tenant))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Full::from(form))
            .map_err(|e| Problem::new(format!("{} is not a usable address: {e}", credentials.url)))?;
        let mut this = Self { client, url: credentials.url.clone(), token: Zeroizing::default() };
        let (status, body) = this.exchange(request).await?;
        let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
        match text("access_token").filter(|_| status == StatusCode::OK) {
            Some(token) => this.token = Zeroizing::new(token),
            None => {
                let why = text("error_description").unwrap_or_else(|| status.to_string());
                return Err(Problem::new(format!("no token for client {}: {why}", credentials.client_id)));
            }
        }
        Ok(this)
    }

    /// The token, for requests that are no administration.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// One administration operation; `path` begins with `/admin/`.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        let body = body.map(|b| b.to_string()).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}?api-version={API_VERSION}", self.url))
            .header("authorization", format!("Bearer {}", *self.token))
            .header("content-type", "application/json")
            .header("x-ms-client-request-id", uuid::Uuid::new_v4().to_string())
            .body(Full::from(body))
            .map_err(|e| Problem::new(format!("{path} is not a usable path: {e}")))?;
        let (status, body) = self.exchange(request).await?;
        if status.is_success() {
            return Ok(body);
        }
        let error = body.get("error").cloned().unwrap_or_default();
        let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let problem = Problem::new(format!("{} ({}): {}", status.as_u16(), text("code"), text("message")));
        Err(if status == StatusCode::FORBIDDEN {
            problem.way_out("this needs a client with the role \"Valv Administrator\"; `valv init` and `valv dev` make one")
        } else {
            problem
        })
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Value)> {
        let unreachable = |why: String| {
            let way_out = if why.contains("certificate") {
                "for a certificate of your own CA, export SSL_CERT_FILE with the file of the CA's certificate (PEM)"
            } else {
                "is `valv dev` (or `valv serve`) running? --dir or --config names the deployment"
            };
            Problem::new(format!("{} does not answer: {why}", self.url)).way_out(way_out)
        };
        let exchange = async {
            let answer = self.client.request(request).await.map_err(|e| unreachable(with_causes(&e)))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|e| unreachable(e.to_string()))?.to_bytes();
            if body.is_empty() {
                return Ok((status, Value::Null));
            }
            let body = serde_json::from_slice(&body).map_err(|_| {
                Problem::new(format!("{} answered {status} without JSON; is it Valv?", self.url))
            })?;
            Ok((status, body))
        };
        let late = || unreachable(format!("no answer within {} s", DEADLINE.as_secs()));
        tokio::time::timeout(DEADLINE, exchange).await.map_err(|_| late())?
    }
}

/// Percent-encodes one segment of a path.
pub fn segment(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

fn https_client(
    roots: Option<&Path>,
) -> Result<Client<hyper_rustls::HttpsConnector<HttpConnector>, Full<Bytes>>> {
    let mut store = rustls::RootCertStore::empty();
    match roots {
        Some(path) => {
            let unreadable =
                |e: String| Problem::new(format!("the roots in {} cannot be read: {e}", path.display()));
            for certificate in CertificateDer::pem_file_iter(path).map_err(|e| unreadable(e.to_string()))? {
                let certificate = certificate.map_err(|e| unreadable(e.to_string()))?;
                store.add(certificate).map_err(|e| unreadable(e.to_string()))?;
            }
        }
        // The system's roots, or SSL_CERT_FILE's.
        None => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let tls = rustls::ClientConfig::builder().with_root_certificates(store).with_no_client_auth();
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(Duration::from_secs(5)));
    let https = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_only()
        .enable_http1()
        .wrap_connector(tcp);
    Ok(Client::builder(TokioExecutor::new()).build(https))
}

/// The value of a line `export NAME='value'` in a file of such lines.
pub fn exports(text: &str) -> BTreeMap<String, String> {
    let pair = |line: &str| {
        let (name, value) = line.trim().strip_prefix("export ")?.split_once('=')?;
        Some((name.to_owned(), value.trim_matches('\'').to_owned()))
    };
    text.lines().filter_map(pair).collect()
}
