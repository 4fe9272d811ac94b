//! A whole node in this process, over a store in a temporary directory.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use valv_access::{Authenticator, AuthenticatorSettings, Challenge, Issuer, IssuerSettings};
use valv_engine::{Epoch, GroupId, GroupMeta};
use valv_engine_embedded::{EmbeddedEngine, Settings};
use valv_front::{Audit, Door, Front, FrontSettings, Here, Limits, Metrics, Peer, Wiring};
use valv_model::{RegionName, TenantId, VaultName};
use valv_sealing::{Barrier, Keyring, RootKeySource, RootKeys};
use valv_vault::{Clock, Service, ServiceSettings, SystemClock};

pub(crate) const TENANT: &str = "11111111-2222-3333-4444-555555555555";
pub(crate) const AUTHORITY: &str = "https://login.vault.localhost:8443";
pub(crate) const RESOURCE: &str = "https://vault.localhost:8443";
pub(crate) const HOST: &str = "dev.vault.localhost:8443";

/// Audit lines, kept; fails while told to.
#[derive(Clone, Default)]
pub(crate) struct Sink {
    pub(crate) lines: Arc<Mutex<Vec<u8>>>,
    pub(crate) fails: Arc<AtomicBool>,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.lines.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.lines.lock().unwrap().clone()).unwrap()
    }

    /// All events so far.
    pub(crate) fn events(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

pub(crate) struct World {
    pub(crate) service: Arc<Service>,
    pub(crate) front: Arc<Front>,
    pub(crate) audit: Sink,
    /// Administers, and may do everything with secrets.
    pub(crate) admin: String,
    pub(crate) admin_id: (String, String),
    _dir: tempfile::TempDir,
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.body));
        self
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
}

pub(crate) fn settings() -> FrontSettings {
    FrontSettings {
        domain: "vault.localhost".into(),
        port: 8443,
        default_vault: Some(VaultName::parse("dev").unwrap()),
        region: RegionName::parse("eastus").unwrap(),
        tenant: TenantId::parse(TENANT).unwrap(),
        limits: Limits::default(),
        rates: None,
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(settings(), true).await
    }

    pub(crate) async fn with(settings: FrontSettings, audit_required: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let key = dir.path().join("root.key");
        write_private(&key, RootKeys::generate().unwrap().as_bytes());
        let roots = RootKeys::load(&[RootKeySource::File(key)]).unwrap();
        let record = Bytes::from(roots.current().id().0.clone());
        let meta = GroupMeta { home: settings.region.clone(), epoch: Epoch(1) };
        let groups = [GroupId::system(), GroupId::of_region(&settings.region)].map(|g| (g, meta.clone()));
        let store = dir.path().join("store.redb");
        let engine = EmbeddedEngine::create(&store, &groups, record, Settings::default()).unwrap();
        let barrier = Barrier::open(Arc::new(engine), Arc::new(Keyring::new(roots))).await.unwrap();
        let first =
            valv_vault::system::init(&barrier, &*clock, &settings.region, &settings.tenant).await.unwrap();
        let defaults = ServiceSettings::defaults(&settings.region, &settings.tenant);
        let service = Arc::new(Service::open(barrier, clock, defaults).await.unwrap());
        let issuer = Issuer::new(IssuerSettings {
            tenant: settings.tenant.clone(),
            authority: AUTHORITY.into(),
            resource: RESOURCE.into(),
            lifetime_s: 3600,
        });
        let authenticator = Authenticator::new(AuthenticatorSettings {
            tenant: settings.tenant.clone(),
            resource: RESOURCE.into(),
            built_in_issuer: Some(issuer.issuer().to_owned()),
            issuers: vec![],
            cache_dir: dir.path().join("issuers"),
            skew_s: 60,
        });
        let audit = Sink::default();
        let here = Here {
            service: Arc::clone(&service),
            authenticator: Arc::new(authenticator.unwrap()),
            issuer: Some(issuer),
            reload_root_keys: None,
            replicas: None,
        };
        let wiring = Wiring {
            here: Some(here),
            far: None,
            clock: Arc::new(SystemClock),
            challenge: Challenge {
                authorization: format!("{AUTHORITY}/{TENANT}"),
                resource: RESOURCE.into(),
            },
            audit: Audit::to(audit.clone(), audit_required).unwrap(),
            metrics: Metrics::install().unwrap(),
        };
        let front = Arc::new(Front::new(wiring, settings));
        let mut world =
            Self { front, service, audit, admin: String::new(), admin_id: Default::default(), _dir: dir };
        world.admin_id = (first.id.as_str().to_owned(), first.secret.unwrap().to_string());
        world.admin = world.token(&world.admin_id.0, &world.admin_id.1).await;
        let roles = "/admin/roleassignments/00000000-0000-4000-8000-000000000001";
        let body = json!({"roleDefinition": "Key Vault Administrator", "principalId": first.principal.as_str(), "scope": "/"});
        world.send("PUT", roles, &world.admin, body.to_string()).await.expect(200);
        world.send("PUT", "/admin/vaults/dev", &world.admin, "").await.expect(200);
        world
    }

    /// A token of the built-in issuer.
    pub(crate) async fn token(&self, client: &str, secret: &str) -> String {
        let form = format!(
            "grant_type=client_credentials&client_id={client}&client_secret={secret}&scope={RESOURCE}/.default"
        );
        let request = Request::post(format!("/{TENANT}/oauth2/v2.0/token"))
            .header("host", "login.vault.localhost:8443")
            .body(Full::from(form))
            .unwrap();
        let answer = self.handle(request).await.expect(200);
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// A client that may do nothing yet: its object id and a token.
    pub(crate) async fn stranger(&self) -> (String, String) {
        let id = uuid::Uuid::new_v4();
        let body = json!({"displayName": "stranger", "generateSecret": true}).to_string();
        let made = self.send("PUT", &format!("/admin/clients/{id}"), &self.admin, body).await.expect(200);
        let made = made.json();
        let token = self.token(made["clientId"].as_str().unwrap(), made["secret"].as_str().unwrap()).await;
        (made["objectId"].as_str().unwrap().to_owned(), token)
    }

    /// A request as clients send it; an empty token is none.
    pub(crate) async fn send(&self, method: &str, path: &str, token: &str, body: impl Into<Bytes>) -> Answer {
        self.handle(request(method, path, token, body)).await
    }

    pub(crate) async fn handle(&self, request: Request<Full<Bytes>>) -> Answer {
        let address = "127.0.0.1:5000".parse().unwrap();
        let peer = Peer { address, door: Door::Public, identity: None };
        whole(self.front.handle(&peer, request).await).await
    }
}

pub(crate) fn request(method: &str, path: &str, token: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let mark = if path.contains('?') { '&' } else { '?' };
    let mut request =
        Request::builder().method(method).uri(format!("{path}{mark}api-version=7.6")).header("host", HOST);
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    request.body(Full::new(body.into())).unwrap()
}

pub(crate) async fn whole(response: http::Response<Full<Bytes>>) -> Answer {
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: head.status, headers: head.headers, body }
}

fn write_private(path: &std::path::Path, text: &[u8]) {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path).unwrap().write_all(text).unwrap();
}
