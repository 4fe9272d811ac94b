//! An OpenID provider of the test's own: real HTTPS on loopback, a discovery document, signing keys that can be
//! rotated, and counters of what was asked.

use std::{
    convert::Infallible,
    net::Ipv4Addr,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::TlsAcceptor;

/// The provider.
pub struct Oidc {
    port: u16,
    tls: Arc<rustls::ServerConfig>,
    state: Arc<State>,
    tasks: Option<tokio::task::JoinHandle<()>>,
    /// Signs what is forged.
    stranger: Key,
}

#[derive(Default)]
struct State {
    port: AtomicUsize,
    keys: Mutex<Vec<Key>>,
    discovery_fetches: AtomicUsize,
    key_fetches: AtomicUsize,
}

/// A signing key, ECDSA on P-256.
struct Key {
    id: String,
    pair: EcdsaKeyPair,
}

impl Key {
    fn new(id: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        Self { id: id.to_owned(), pair }
    }

    fn jwk(&self) -> Value {
        // An uncompressed point: 4, x, y (SEC 1, section 2.3.3).
        let point = self.pair.public_key().as_ref();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..65]));
        json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.id, "x": x, "y": y })
    }
}

impl Oidc {
    /// A provider that runs; the roots that vouch for it are written to `roots`.
    pub async fn start(roots: &Path) -> Self {
        let mut authority = CertificateParams::new([]).expect("parameters");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate().expect("a key");
        let root = authority.self_signed(&authority_key).expect("a certificate");
        std::fs::write(roots, root.pem()).expect("a writable directory");
        let issuer = Issuer::new(authority, authority_key);
        let leaf = CertificateParams::new(["localhost".to_owned()]).expect("parameters");
        let key = KeyPair::generate().expect("a key");
        let leaf = leaf.signed_by(&key, &issuer).expect("a certificate");
        let chain = vec![CertificateDer::from(leaf.der().to_vec())];
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a certificate");
        let state = Arc::new(State::default());
        state.lock().push(Key::new("first"));
        let mut oidc = Self { port: 0, tls: Arc::new(tls), state, tasks: None, stranger: Key::new("") };
        oidc.resume().await;
        oidc
    }

    /// Stops answering: connections are refused.
    pub async fn stop(&mut self) {
        if let Some(task) = self.tasks.take() {
            task.abort();
            let _ = task.await;
        }
    }

    /// Answers again, at the same address.
    pub async fn resume(&mut self) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).await.expect("the port");
        self.port = listener.local_addr().expect("an address").port();
        self.state.port.store(self.port.into(), Ordering::Relaxed);
        let (acceptor, state) = (TlsAcceptor::from(Arc::clone(&self.tls)), Arc::clone(&self.state));
        self.tasks = Some(tokio::spawn(async move {
            // Dropped with this task, and then all connections end.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, state) = (acceptor.clone(), Arc::clone(&state));
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request| {
                        let answer = state.answer(&request);
                        async move { Ok::<_, Infallible>(answer) }
                    });
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        }));
    }

    /// The `iss` of its tokens.
    #[must_use]
    pub fn issuer(&self) -> String {
        self.state.issuer()
    }

    /// A section of a node's configuration that trusts it.
    #[must_use]
    pub fn section(&self, ca_file: &str) -> String {
        format!("[[identity.issuers]]\nissuer = \"{}\"\nca_file = \"{ca_file}\"\n", self.issuer())
    }

    /// Adds a key, which signs from now on.
    pub fn add_key(&self, id: &str) {
        self.state.lock().push(Key::new(id));
    }

    /// Removes a key from what it publishes.
    pub fn remove_key(&self, id: &str) {
        self.state.lock().retain(|key| key.id != id);
    }

    /// How often its keys were fetched.
    #[must_use]
    pub fn key_fetches(&self) -> usize {
        self.state.key_fetches.load(Ordering::Relaxed)
    }

    /// How often its discovery document was fetched.
    #[must_use]
    pub fn discovery_fetches(&self) -> usize {
        self.state.discovery_fetches.load(Ordering::Relaxed)
    }

    /// A token with these claims besides `iss`, `iat`, `nbf`, `exp` (in an hour), which they may replace,
    /// or leave out by `null`; signed
    /// with the newest key.
    #[must_use]
    pub fn token(&self, claims: &Value) -> String {
        let keys = self.state.lock();
        let key = keys.last().expect("a key");
        self.signed(&key.id, &key.pair, claims)
    }

    /// A token that names this key and is signed by a stranger's.
    #[must_use]
    pub fn forged(&self, kid: &str, claims: &Value) -> String {
        self.signed(kid, &self.stranger.pair, claims)
    }

    fn signed(&self, kid: &str, pair: &EcdsaKeyPair, claims: &Value) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs();
        let mut all = json!({ "iss": self.issuer(), "iat": now, "nbf": now, "exp": now + 3600 });
        for (name, value) in claims.as_object().expect("claims") {
            all[name] = value.clone();
        }
        if let Some(all) = all.as_object_mut() {
            all.retain(|_, value| !value.is_null());
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(&json!({ "typ": "JWT", "alg": "ES256", "kid": kid })), part(&all));
        let signature = pair.sign(&SystemRandom::new(), text.as_bytes()).expect("a signature");
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

impl Drop for Oidc {
    fn drop(&mut self) {
        if let Some(task) = &self.tasks {
            task.abort();
        }
    }
}

impl State {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Key>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn issuer(&self) -> String {
        format!("https://localhost:{}", self.port.load(Ordering::Relaxed))
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let issuer = self.issuer();
        let document = match request.uri().path() {
            "/.well-known/openid-configuration" => {
                self.discovery_fetches.fetch_add(1, Ordering::Relaxed);
                json!({
                    "issuer": issuer,
                    "jwks_uri": format!("{issuer}/keys"),
                    "authorization_endpoint": format!("{issuer}/authorize"),
                    "token_endpoint": format!("{issuer}/token"),
                    "response_types_supported": ["id_token"],
                    "subject_types_supported": ["public"],
                    "id_token_signing_alg_values_supported": ["ES256"],
                })
            }
            "/keys" => {
                self.key_fetches.fetch_add(1, Ordering::Relaxed);
                json!({ "keys": self.lock().iter().map(Key::jwk).collect::<Vec<_>>() })
            }
            _ => {
                let answer = Response::builder().status(404).body(Full::default());
                return answer.expect("an answer");
            }
        };
        let answer = Response::builder().header("content-type", "application/json");
        answer.body(Full::from(document.to_string())).expect("an answer")
    }
}
