//! An authority, nodes with certificates, and a listener before services that say what a test wants.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use http::{Request, Response};
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use valv_engine::{Epoch, GroupId, Lineage};
use valv_geo::apply::Copied;
use valv_geo::source::{
    BucketPage, Buckets, CopyEvent, CopyStream, HeadsEvent, HeadsStream, LogAnswer, Source, SourceError,
};
use valv_geo::{Declared, Here, Pairing, PeerId, RegionMap, Standing, catalogue};
use valv_model::{RegionName, VaultId, VaultName};
use valv_peer::listen::{Services, serve};
use valv_peer::{
    ClientSettings, ForwardHead, Forwarded, Held, HeldGroup, Holding, ListenSettings, Local, PeerTls, Peers,
    Probe, ProbedStanding, Rights, Role, region_name,
};
use valv_sealing::Head;

pub const DEADLINE: Duration = Duration::from_secs(10);

pub fn region(name: &str) -> RegionName {
    RegionName::parse(name).unwrap()
}

pub fn map() -> RegionMap {
    let declared = |name: &str, pairing: Pairing| Declared {
        region: catalogue::find(&region(name)).unwrap().region.clone(),
        pairing,
        allow_near: false,
        allow_foreign: false,
    };
    let declared = [
        declared("eastus", Pairing::Default),
        declared("westus", Pairing::Default),
        declared("northeurope", Pairing::Alone),
    ];
    RegionMap::new(&declared, None).unwrap()
}

/// An authority for peers.
pub struct Ca {
    dir: TempDir,
    params: CertificateParams,
    key: KeyPair,
}

impl Ca {
    pub fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let key = KeyPair::generate().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(dir.path().join("ca.pem"), certificate.pem()).unwrap();
        Self { dir, params, key }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes `{file}.pem` and `{file}.key`, valid for so long.
    pub fn write(&self, file: &str, name: &str, valid: Duration) {
        let mut leaf = CertificateParams::new([name.to_owned()]).unwrap();
        leaf.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        leaf.not_before = time::OffsetDateTime::now_utc() - time::Duration::hours(1);
        leaf.not_after = time::OffsetDateTime::now_utc() + valid;
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = leaf.signed_by(&key, &issuer).unwrap();
        std::fs::write(self.file(&format!("{file}.key")), key.serialize_pem()).unwrap();
        std::fs::write(self.file(&format!("{file}.pem")), certificate.pem()).unwrap();
    }

    pub fn load(&self, file: &str, role: Role) -> Arc<PeerTls> {
        let [certificate, key] = ["pem", "key"].map(|end| self.file(&format!("{file}.{end}")));
        PeerTls::load(certificate, key, self.file("ca.pem"), role).unwrap()
    }

    pub fn region(&self, name: &str) -> Arc<PeerTls> {
        self.write(name, &region_name(&region(name)), Duration::from_secs(86_400));
        self.load(name, Role::Region(region(name)))
    }

    pub fn gateway(&self) -> Arc<PeerTls> {
        self.write("gateway", valv_peer::gateway_name(), Duration::from_secs(86_400));
        self.load("gateway", Role::Gateway)
    }

    /// For servers that do what no listener of ours does.
    pub fn raw_server(&self, name: &str) -> tokio_rustls::TlsAcceptor {
        self.write("raw", &region_name(&region(name)), Duration::from_secs(86_400));
        let chain = CertificateDer::pem_file_iter(self.file("raw.pem")).unwrap();
        let chain: Vec<_> = chain.map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(self.file("raw.key")).unwrap();
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(config).into()
    }
}

/// A connection that says what no client of ours says.
pub async fn raw_client(ca: &Ca, node: &PeerId) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
    ca.write("raw", valv_peer::gateway_name(), Duration::from_secs(3_600));
    let chain = CertificateDer::pem_file_iter(ca.file("raw.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(ca.file("raw.key")).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca.file("ca.pem")).unwrap()).unwrap();
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = tokio::net::TcpStream::connect(&*node.address).await.unwrap();
    let name = rustls_pki_types::ServerName::try_from(region_name(&node.region)).unwrap();
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

type Handler = Box<dyn Fn(Role, ForwardHead, Request<Bytes>) -> Answer + Send + Sync>;
type Answer = std::pin::Pin<Box<dyn Future<Output = Response<Bytes>> + Send>>;

/// Answers as the test says.
pub struct Scripted {
    pub handler: Handler,
    pub seen: Mutex<Vec<(Role, ForwardHead, Request<Bytes>)>>,
}

impl Scripted {
    pub fn new<F>(
        handler: impl Fn(Role, ForwardHead, Request<Bytes>) -> F + Send + Sync + 'static,
    ) -> Arc<Self>
    where
        F: Future<Output = Response<Bytes>> + Send + 'static,
    {
        let handler: Handler = Box::new(move |role, head, request| Box::pin(handler(role, head, request)));
        Arc::new(Self { handler, seen: Mutex::default() })
    }

    /// Says what arrived.
    pub fn echo() -> Arc<Self> {
        Self::new(|_, _, request| async move {
            Response::builder().header("x-ms-request-id", "echo").body(request.into_body()).unwrap()
        })
    }
}

#[async_trait]
impl Forwarded for Scripted {
    async fn handle(&self, role: Role, head: ForwardHead, request: Request<Bytes>) -> Response<Bytes> {
        self.seen.lock().unwrap().push((role.clone(), head.clone(), request.clone()));
        (self.handler)(role, head, request).await
    }
}

/// A node that says what the test wants.
pub struct Fake {
    pub region: RegionName,
    pub probe: Mutex<Probe>,
    pub holding: Mutex<Holding>,
    pub copied: Mutex<Option<Copied>>,
    /// Questions for vaults that arrived.
    pub asked: AtomicU64,
    /// Answers to them wait for this.
    pub gate: Semaphore,
}

impl Fake {
    /// In good standing, with the vault `dev` of its own, and with the groups of which it says that it holds them
    /// whole.
    pub fn new(name: &str, groups: &[&str]) -> Arc<Self> {
        let probe = Probe {
            region: region(name),
            node: "one".into(),
            instance: Uuid::new_v4(),
            version: "0".into(),
            lineage: Uuid::from_u128(7),
            engine_ok: true,
            standing: ProbedStanding::Good,
            replicas: Default::default(),
            root_keys: Vec::new(),
            clock_ms: 0,
        };
        let part = |group: &&str| HeldGroup {
            group: (*group).into(),
            home: region(group),
            epoch: 1,
            complete: true,
        };
        let holding = Holding { region: region(name), held: None, groups: groups.iter().map(part).collect() };
        let copied = Copied { lineage: Lineage(Uuid::from_u128(9)), complete: true, heads: Vec::new() };
        Arc::new(Self {
            region: region(name),
            probe: Mutex::new(probe),
            holding: Mutex::new(holding),
            copied: Mutex::new(Some(copied)),
            asked: AtomicU64::new(0),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
        })
    }

    pub fn holds(&self, group: Option<&str>) {
        self.holding.lock().unwrap().held = group.map(|group| Held { group: group.into(), deleted: false });
    }

    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Local for Fake {
    async fn here(&self) -> Here {
        let engine = self.probe.lock().unwrap().engine_ok;
        Here { region: self.region.clone(), standing: Standing::Good, engine, replicas: Vec::new() }
    }

    async fn probe(&self) -> Probe {
        self.probe.lock().unwrap().clone()
    }

    async fn holding(&self, _: &VaultName) -> valv_model::Result<Holding> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let _permit = self.gate.acquire().await;
        Ok(self.holding.lock().unwrap().clone())
    }

    async fn copied(&self, _: &GroupId) -> valv_model::Result<Option<Copied>> {
        Ok(self.copied.lock().unwrap().clone())
    }
}

/// A source of which the stream of heads tells its revision once for each number, and then fails or ends.
#[derive(Default)]
pub struct Counting {
    pub events: u64,
    pub pad: usize,
    pub fails: bool,
    pub polled: Arc<AtomicU64>,
}

#[async_trait]
impl Source for Counting {
    async fn heads(&self, _: &GroupId) -> Result<HeadsStream, SourceError> {
        let polled = Arc::clone(&self.polled);
        let pad = self.pad;
        let one = move |number| {
            polled.store(number, Ordering::SeqCst);
            let vault = VaultId::parse("00482a5a-887f-4fb3-b363-3b7fe8e74483").unwrap();
            let head = valv_geo::source::VaultHead { vault, head: Head::START };
            let lineage = Lineage(Uuid::from_u128(3));
            Ok(HeadsEvent::Heads { lineage, continues: None, epoch: Epoch(number), heads: vec![head; pad] })
        };
        let events = stream::iter(1..=self.events).map(one);
        let end = self.fails.then(|| Err(SourceError::Damaged("as told".into())));
        Ok(events.chain(stream::iter(end)).boxed())
    }

    async fn log(&self, _: &GroupId, _: &VaultId, after: Head) -> Result<LogAnswer, SourceError> {
        Ok(LogAnswer::Behind { head: Head { number: after.number + 1, chain: after.chain } })
    }

    async fn copy(&self, _: &GroupId, _: &VaultId) -> Result<CopyStream, SourceError> {
        Ok(stream::iter([Ok(CopyEvent::End { records: 0 })]).boxed())
    }

    async fn buckets(&self, _: &GroupId, _: &VaultId) -> Result<Buckets, SourceError> {
        Err(SourceError::Damaged("no buckets".into()))
    }

    async fn bucket(&self, _: &GroupId, _: &VaultId, _: u8, after: &str) -> Result<BucketPage, SourceError> {
        let record = valv_geo::source::Record { path: after.to_owned(), value: Bytes::new() };
        Ok(BucketPage { head: Head::START, records: vec![record], last: true })
    }
}

/// A node with a listener.
pub struct Server {
    pub peer: PeerId,
    stop: CancellationToken,
    done: tokio::task::JoinHandle<()>,
}

impl Server {
    pub async fn start(name: &str, tls: &Arc<PeerTls>, forwarded: Arc<dyn Forwarded>) -> Self {
        let source = Arc::new(Counting { events: 3, pad: 1, ..Counting::default() });
        Self::start_with(name, tls, forwarded, source, settings(), None).await
    }

    pub async fn start_with(
        name: &str,
        tls: &Arc<PeerTls>,
        forwarded: Arc<dyn Forwarded>,
        source: Arc<dyn Source>,
        settings: ListenSettings,
        at: Option<SocketAddr>,
    ) -> Self {
        let local = Fake::new(name, &[name]);
        local.holds(Some(name));
        Self::of(local, tls, forwarded, source, settings, at).await
    }

    /// The node that `local` plays.
    pub async fn fake(local: &Arc<Fake>, ca: &Ca, at: Option<SocketAddr>) -> Self {
        let tls = ca.region(local.region.as_str());
        let source = Arc::new(Counting::default());
        Self::of(local.clone(), &tls, Scripted::echo(), source, settings(), at).await
    }

    async fn of(
        local: Arc<Fake>,
        tls: &Arc<PeerTls>,
        forwarded: Arc<dyn Forwarded>,
        source: Arc<dyn Source>,
        settings: ListenSettings,
        at: Option<SocketAddr>,
    ) -> Self {
        let at = at.unwrap_or_else(|| "127.0.0.1:0".parse().unwrap());
        let listener = TcpListener::bind(at).await.unwrap();
        let peer = peer(local.region.as_str(), listener.local_addr().unwrap());
        let rights = Rights::of(&map(), &local.region);
        let services = Services { forwarded, local, source, rights };
        let stop = CancellationToken::new();
        let until = stop.clone().cancelled_owned();
        let done = tokio::spawn(serve(services, Arc::clone(tls), settings, listener, until));
        Self { peer, stop, done }
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.done.await.unwrap();
    }
}

pub fn settings() -> ListenSettings {
    ListenSettings { drain: Duration::from_secs(2), ..ListenSettings::default() }
}

/// Patient: a slow machine is no node that is away.
pub fn client() -> ClientSettings {
    ClientSettings {
        connect: DEADLINE,
        reconnect: Duration::from_millis(200),
        ping: Duration::from_millis(100),
        ping_timeout: DEADLINE,
        frame: DEADLINE,
        ..ClientSettings::default()
    }
}

/// For nodes that do not answer.
pub fn hasty(tls: &Arc<PeerTls>, nodes: &[&PeerId]) -> Arc<Peers> {
    let (connect, ping_timeout) = (Duration::from_millis(500), Duration::from_millis(500));
    let settings = ClientSettings { connect, ping_timeout, ..client() };
    Peers::start(tls, settings, nodes.iter().map(|node| (*node).clone()))
}

pub fn peer(name: &str, address: SocketAddr) -> PeerId {
    PeerId { region: region(name), address: address.to_string().into() }
}

pub fn peers(tls: &Arc<PeerTls>, nodes: &[&PeerId]) -> Arc<Peers> {
    Peers::start(tls, client(), nodes.iter().map(|node| (*node).clone()))
}

pub fn head() -> ForwardHead {
    ForwardHead {
        attempt: Uuid::from_u128(1),
        deadline_ms: 5_000,
        asked_as: valv_geo::Role::Home,
        client: "192.0.2.1:5000".parse().unwrap(),
        authority: "dev.vault.localhost:8443".into(),
        request_id: Uuid::from_u128(2),
        minimum_commit: None,
        doors: vec!["gateway".into()],
    }
}

pub fn get(path: &str) -> Request<Bytes> {
    Request::get(path).body(Bytes::new()).unwrap()
}

pub fn soon() -> Instant {
    Instant::now() + DEADLINE
}

/// An address where nobody listens.
pub async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// Waits until `check` gives something; at most the deadline.
pub async fn until<T>(mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(Instant::now() < end, "it did not come about in time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
