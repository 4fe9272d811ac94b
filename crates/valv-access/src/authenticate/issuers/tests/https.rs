//! The real thing: a local HTTPS server with a CA of its own.

use std::{collections::HashMap, convert::Infallible};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::{ServerConfig, crypto::aws_lc_rs::default_provider};
use rustls_pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

type Pages = HashMap<String, (u16, Vec<u8>)>;

struct Server {
    url: String,
    ca_file: PathBuf,
    pages: Arc<Mutex<Pages>>,
    _dir: tempfile::TempDir,
}

async fn server() -> Server {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, made.cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let pages: Arc<Mutex<Pages>> = Arc::default();
    let served = Arc::clone(&pages);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, pages) = (acceptor.clone(), Arc::clone(&served));
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    let page = pages.lock().unwrap().get(request.uri().path()).cloned();
                    async move {
                        let (status, body) = match page {
                            Some((0, _)) => std::future::pending().await,
                            Some(page) => page,
                            None => (404, vec![]),
                        };
                        let mut response = Response::new(Full::new(Bytes::from(body)));
                        *response.status_mut() = StatusCode::from_u16(status).unwrap();
                        Ok::<_, Infallible>(response)
                    }
                });
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Server { url, ca_file, pages, _dir: dir }
}

const DISCOVERY: &str = "/realms/main/.well-known/openid-configuration";

impl Server {
    fn issuer(&self) -> ExternalIssuer {
        let issuer = format!("{}/realms/main", self.url);
        ExternalIssuer { ca_file: Some(self.ca_file.clone()), ..external(&issuer) }
    }

    fn serve(&self, path: &str, status: u16, body: impl Into<Vec<u8>>) {
        self.pages.lock().unwrap().insert(path.into(), (status, body.into()));
    }

    fn serve_keys(&self, keys: &[&SigningKey]) {
        let discovery =
            json!({ "issuer": self.issuer().issuer, "jwks_uri": format!("{}/keys", self.url), "more": 1 });
        self.serve(DISCOVERY, 200, discovery.to_string());
        let keys: Vec<Value> = keys.iter().map(|key| jwk(key)).collect();
        self.serve("/keys", 200, json!({ "keys": keys }).to_string());
    }
}

#[tokio::test]
async fn keys_come_over_https_and_check_a_token() {
    let (server, key, dir) = (server().await, new_key(), tempfile::tempdir().unwrap());
    server.serve_keys(&[&key]);
    let settings = AuthenticatorSettings {
        tenant: TenantId::parse(TENANT).unwrap(),
        resource: RESOURCE.into(),
        built_in_issuer: None,
        issuers: vec![server.issuer()],
        cache_dir: dir.path().to_owned(),
        skew_s: 60,
    };
    let clock = || UnixSeconds(NOW);
    let authenticator = Authenticator::with(settings, Box::new(HttpsFetch), Arc::new(clock)).unwrap();
    let mut claims = claims();
    claims["iss"] = json!(server.issuer().issuer);
    let token = token_of(&key, &key.id, &claims);
    let asked = async {
        loop {
            let answer =
                authenticator.authenticate(Some(&token), &Registry::default(), UnixSeconds(NOW)).await;
            if let Ok(caller) = answer {
                break caller;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = authenticator.refresh_forever() => unreachable!(),
        caller = timeout(Duration::from_secs(30), asked) => assert_eq!(caller.unwrap().principal().as_str(), USER),
    }
}

#[tokio::test]
async fn what_is_wrong_with_an_issuer_is_named() {
    let (server, key) = (server().await, new_key());
    server.serve_keys(&[&key]);
    let issuer = server.issuer();
    assert_eq!(HttpsFetch.fetch(&issuer).await.unwrap().len(), 1);

    let fails = async |issuer: &ExternalIssuer, text: &str| {
        let error = HttpsFetch.fetch(issuer).await.unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    };
    fails(&ExternalIssuer { ca_file: None, ..issuer.clone() }, "certificate").await;
    fails(&ExternalIssuer { ca_file: Some("/nonexistent".into()), ..issuer.clone() }, "CA bundle").await;
    let other_name = server.url.replace("localhost", "127.0.0.1");
    fails(
        &ExternalIssuer { discovery: Some(format!("{other_name}{DISCOVERY}")), ..issuer.clone() },
        "certificate",
    )
    .await;
    fails(&ExternalIssuer { discovery: Some("http://localhost/x".into()), ..issuer.clone() }, "no https URL")
        .await;
    fails(
        &ExternalIssuer { discovery: Some(format!("{}/absent", server.url)), ..issuer.clone() },
        "status 404",
    )
    .await;

    server.serve(DISCOVERY, 302, "");
    fails(&issuer, "status 302").await;
    server.serve(DISCOVERY, 200, "no json");
    fails(&issuer, "not what it should be").await;
    server.serve(
        DISCOVERY,
        200,
        json!({ "issuer": "https://evil.example", "jwks_uri": "https://evil.example/" }).to_string(),
    );
    fails(&issuer, "another issuer").await;
    server.serve(
        DISCOVERY,
        200,
        json!({ "issuer": issuer.issuer, "jwks_uri": server.url.replace("https", "http") }).to_string(),
    );
    fails(&issuer, "no https URL").await;
    server.serve_keys(&[&key]);
    server.serve("/keys", 200, vec![b' '; 1024 * 1024 + 1]);
    fails(&issuer, "length limit").await;
    server.serve("/keys", 0, "");
    let hung = timeout(Duration::from_millis(300), HttpsFetch.fetch(&issuer)).await;
    assert!(hung.is_err(), "the caller's deadline ends it");
}
