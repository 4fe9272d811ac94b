//! A gateway before two regions: three front doors in this process, joined without sockets.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use http::{Request, Response};
use http_body_util::Full;
use serde_json::json;
use uuid::Uuid;
use valv_access::{Authenticator, AuthenticatorSettings, Challenge, Issuer, IssuerSettings};
use valv_engine::{Engine, Epoch, GroupId, GroupMeta, Op, Transaction, layout};
use valv_engine_embedded::{EmbeddedEngine, Settings};
use valv_front::{
    Audit, Door, Far, Front, FrontSettings, HeldRootKeys, Here, Metrics, Peer, Replicas, Wiring,
};
use valv_geo::apply::{ReplicaState, ReplicaStatus};
use valv_geo::{
    Declared, NodeView, Pairing, PeerId, RegionHealth, RegionMap, RegionView, Role, Standing, View,
};
use valv_model::{Effect, Error, OPERATIONS, ObjectType, Operation, RegionName, Result, TenantId, VaultName};
use valv_peer::{ForwardHead, Forwarded, Forwarder, Homes, Located, SendError};
use valv_sealing::{Barrier, Keyring, RootKeySource, RootKeys};
use valv_vault::{Service, ServiceSettings, SystemClock};

use crate::world::{AUTHORITY, Answer, RESOURCE, Sink, TENANT, request, settings, whole};

type Line = zeroize::Zeroizing<String>;

/// Root keys, the first one the current one.
fn roots(lines: &[&Line]) -> RootKeys {
    let source = |line: &&Line| RootKeySource::Text { variable: "TEST".into(), line: (*line).clone() };
    RootKeys::load(&lines.iter().map(source).collect::<Vec<_>>()).unwrap()
}

fn region(name: &str) -> RegionName {
    RegionName::parse(name).unwrap()
}

/// The wire between the nodes.
#[derive(Default)]
struct Wire {
    nodes: OnceLock<HashMap<String, Arc<Front>>>,
    away: Mutex<HashSet<&'static str>>,
    /// Every request that was sent: to whom, as what.
    sent: Mutex<Vec<(String, Role)>>,
}

#[async_trait]
impl Forwarder for Wire {
    async fn forward(
        &self,
        node: &PeerId,
        head: &ForwardHead,
        mut request: Request<Bytes>,
        _: Instant,
    ) -> Result<Response<Bytes>, SendError> {
        self.sent.lock().unwrap().push((node.region.to_string(), head.asked_as));
        if self.away.lock().unwrap().contains(node.region.as_str()) {
            return Err(SendError::NotSent("away".into()));
        }
        assert!(request.headers().keys().all(|name| !name.as_str().starts_with("x-valv-")));
        request.headers_mut().insert("host", head.authority.parse().unwrap());
        let front = Arc::clone(&self.nodes.get().unwrap()[node.region.as_str()]);
        Ok(received(&front, head.clone(), request).await)
    }
}

/// One vault, `dev`, at home in `eastus`.
struct OneVault;

#[async_trait]
impl Homes for OneVault {
    async fn locate(&self, name: &VaultName, _: Instant) -> Result<Option<Located>> {
        match name.as_str() {
            "dev" => Ok(Some(Located { home: region("eastus"), deleted: false })),
            "unsure" => Err(Error::unavailable("a region does not answer")),
            _ => Ok(None),
        }
    }
    fn forget(&self, _: &VaultName) {}
}

/// A copy that caught up so long ago.
struct Behind(Mutex<Duration>);

impl Replicas for Behind {
    fn status(&self, _: &GroupId) -> Option<ReplicaStatus> {
        let lag = Some(*self.0.lock().unwrap());
        Some(ReplicaStatus { state: ReplicaState::Following, lag, ..ReplicaStatus::NEW })
    }
}

struct Pair {
    gateway: Arc<Front>,
    east: Arc<Front>,
    west: Arc<Front>,
    wire: Arc<Wire>,
    lag: Arc<Behind>,
    audits: [Sink; 3],
    engines: [Arc<EmbeddedEngine>; 2],
    keyrings: [Arc<Keyring>; 2],
    root_key: Line,
    views: [Arc<ArcSwap<View>>; 3],
    admin: String,
    secret: (String, String),
    _dir: tempfile::TempDir,
}

fn map() -> Arc<RegionMap> {
    let declared = |name: &str| Declared {
        region: valv_geo::catalogue::find(&region(name)).unwrap().region.clone(),
        pairing: Pairing::Default,
        allow_near: false,
        allow_foreign: false,
    };
    Arc::new(RegionMap::new(&[declared("eastus"), declared("westus")], None).unwrap())
}

fn peer(name: &str) -> PeerId {
    PeerId { region: region(name), address: format!("{name}:1").into() }
}

/// What a node of `own` sees while all is well.
fn view(own: Option<&str>) -> View {
    let groups = |name: &str| match name {
        "westus" => vec![GroupId::system(), GroupId::of_region(&region("eastus"))],
        _ => vec![GroupId::of_region(&region("westus"))],
    };
    let of = |name: &str| RegionView {
        region: region(name),
        health: RegionHealth::Available,
        nodes: if own == Some(name) {
            vec![]
        } else {
            vec![NodeView {
                peer: peer(name),
                alive: true,
                home: true,
                replicas: groups(name),
                copies: vec![],
            }]
        },
    };
    let here = |name: &str| valv_geo::Here {
        region: region(name),
        standing: Standing::Good,
        engine: true,
        replicas: groups(name),
    };
    View { here: own.map(here), regions: vec![of("eastus"), of("westus")] }
}

async fn everything(engine: &EmbeddedEngine) -> Vec<(Bytes, Bytes)> {
    let snapshot = engine.snapshot(Bytes::from_static(b"g/")).await.unwrap();
    let entries: Vec<_> = snapshot.entries.collect().await;
    entries.into_iter().map(|entry| entry.map(|entry| (entry.key, entry.value)).unwrap()).collect()
}

fn far(view: &Arc<ArcSwap<View>>, wire: &Arc<Wire>) -> Far {
    Far {
        regions: map(),
        view: Arc::clone(view),
        forwarder: Arc::clone(wire) as Arc<dyn Forwarder>,
        homes: Arc::new(OneVault),
        hedge: valv_geo::hedge::Settings::default(),
        seen: Arc::new(|_| serde_json::Map::new()),
        history: Arc::new(Vec::new),
        root_keys: Arc::new(Vec::new),
    }
}

fn wiring(here: Option<Here>, far: Far, audit: &Sink) -> Wiring {
    Wiring {
        here,
        far: Some(far),
        clock: Arc::new(SystemClock),
        challenge: Challenge { authorization: format!("{AUTHORITY}/{TENANT}"), resource: RESOURCE.into() },
        audit: Audit::to(audit.clone(), true).unwrap(),
        metrics: Metrics::install().unwrap(),
    }
}

impl Pair {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root_key = RootKeys::generate().unwrap();
        let record = Bytes::from(roots(&[&root_key]).current().id().0.clone());
        let keyrings = [(), ()].map(|()| Arc::new(Keyring::new(roots(&[&root_key]))));
        let meta = |home: &str| GroupMeta { home: region(home), epoch: Epoch(1) };
        let groups = [
            (GroupId::system(), meta("eastus")),
            (GroupId::of_region(&region("eastus")), meta("eastus")),
            (GroupId::of_region(&region("westus")), meta("westus")),
        ];
        let engine = |name: &str| {
            let store = dir.path().join(format!("{name}.redb"));
            let engine = EmbeddedEngine::create(&store, &groups, record.clone(), Settings::default());
            Arc::new(engine.unwrap())
        };
        let engines = [engine("eastus"), engine("westus")];
        let tenant = TenantId::parse(TENANT).unwrap();
        let barriers = [
            Barrier::open(engines[0].clone(), Arc::clone(&keyrings[0])).await.unwrap(),
            Barrier::open(engines[1].clone(), Arc::clone(&keyrings[1])).await.unwrap(),
        ];
        let first =
            valv_vault::system::init(&barriers[0], &SystemClock, &region("eastus"), &tenant).await.unwrap();

        let (wire, lag) =
            (Arc::new(Wire::default()), Arc::new(Behind(Mutex::new(Duration::from_millis(50)))));
        let audits = [Sink::default(), Sink::default(), Sink::default()];
        let views =
            [Some("eastus"), Some("westus"), None].map(|own| Arc::new(ArcSwap::from_pointee(view(own))));
        let mut fronts = Vec::new();
        for at in 0..3 {
            let name = ["eastus", "westus", "gateway"][at];
            let issuer = Issuer::new(IssuerSettings {
                tenant: tenant.clone(),
                authority: AUTHORITY.into(),
                resource: RESOURCE.into(),
                lifetime_s: 3600,
            });
            let here = match barriers.get(at) {
                None => None,
                Some(barrier) => {
                    let other = ["westus", "eastus"][at];
                    let settings = ServiceSettings {
                        replicas: vec![region(other)],
                        system_home: region("eastus"),
                        ..ServiceSettings::defaults(&region(name), &tenant)
                    };
                    let service = Service::open(barrier.clone(), Arc::new(SystemClock), settings);
                    let authenticator = Authenticator::new(AuthenticatorSettings {
                        tenant: tenant.clone(),
                        resource: RESOURCE.into(),
                        built_in_issuer: Some(issuer.issuer().to_owned()),
                        issuers: vec![],
                        cache_dir: dir.path().join("issuers"),
                        skew_s: 60,
                    });
                    Some(Here {
                        service: Arc::new(service.await.unwrap()),
                        authenticator: Arc::new(authenticator.unwrap()),
                        issuer: Some(issuer),
                        reload_root_keys: None,
                        replicas: Some(Arc::clone(&lag) as Arc<dyn Replicas>),
                    })
                }
            };
            let (wire_seen, held) = (Arc::clone(&wire), keyrings.clone());
            let root_keys = move || {
                let others = ["eastus", "westus"].into_iter().zip(&held).filter(|(other, _)| *other != name);
                let ids = |keyring: &Keyring| keyring.root_keys().ids().map(|id| id.0.clone()).collect();
                let seen = |other| !wire_seen.away.lock().unwrap().contains(other);
                let of = |(other, keyring): (&'static str, &Arc<Keyring>)| HeldRootKeys {
                    node: peer(other),
                    ids: seen(other).then(|| ids(keyring)),
                };
                others.map(of).collect()
            };
            let far = Far { root_keys: Arc::new(root_keys), ..far(&views[at], &wire) };
            let wiring = wiring(here, far, &audits[at]);
            let settings = FrontSettings { region: region(name), ..settings() };
            fronts.push(Arc::new(Front::new(wiring, settings)));
        }
        let [east, west, gateway] = <[_; 3]>::try_from(fronts).ok().unwrap();
        let nodes = [("eastus".to_owned(), Arc::clone(&east)), ("westus".to_owned(), Arc::clone(&west))];
        wire.nodes.set(nodes.into()).ok().unwrap();
        let secret = (first.id.as_str().to_owned(), first.secret.unwrap().to_string());
        let mut pair = Self {
            gateway,
            east,
            west,
            wire,
            lag,
            audits,
            engines,
            keyrings,
            root_key,
            views,
            admin: String::new(),
            secret,
            _dir: dir,
        };
        pair.admin = pair.token().await.json()["access_token"].as_str().unwrap().to_owned();
        let roles = "/admin/roleassignments/00000000-0000-4000-8000-000000000001";
        let body = json!({"roleDefinition": "Key Vault Administrator", "principalId": first.principal.as_str(), "scope": "/"});
        pair.send("PUT", roles, body.to_string()).await.expect(200);
        pair.send("PUT", "/admin/vaults/dev", "").await.expect(200);
        pair.send("PUT", "/secrets/a", r#"{"value":"one"}"#).await.expect(200);
        pair.send("POST", "/keys/k/create", r#"{"kty":"EC"}"#).await.expect(200);
        pair.copy().await;
        pair
    }

    /// What replication does.
    async fn copy(&self) {
        let of = |name: &str| GroupId::of_region(&region(name));
        let copied = [(GroupId::system(), 0, 1), (of("eastus"), 0, 1), (of("westus"), 1, 0)];
        for (group, from, to) in copied {
            let own = region(["eastus", "westus"][to]);
            let lease = self.engines[to].replica_lease(&group, &own).await.unwrap();
            let (prefix, meta) = (layout::group(&group), layout::group_meta(&group));
            let ops = everything(&self.engines[from]).await.into_iter();
            let ops = ops.filter(|(key, _)| key.starts_with(&prefix) && *key != meta);
            let ops: Vec<_> = ops.map(|(key, value)| Op::Put(key, value)).collect();
            for ops in ops.chunks(100) {
                let transaction = Transaction { compares: vec![], ops: ops.to_vec() };
                self.engines[to].apply(&lease, transaction).await.unwrap();
            }
        }
    }

    /// The home region is gone; `noticed`: the probes have seen it.
    fn lose_home(&self, noticed: bool) {
        self.wire.away.lock().unwrap().insert("eastus");
        if noticed {
            for view in &self.views {
                let mut seen = (**view.load()).clone();
                for region in seen.regions.iter_mut().filter(|region| region.region.as_str() == "eastus") {
                    region.health = RegionHealth::Unavailable;
                    for node in &mut region.nodes {
                        (node.alive, node.home) = (false, false);
                    }
                }
                view.store(Arc::new(seen));
            }
        }
    }

    async fn token(&self) -> Answer {
        let (client, secret) = &self.secret;
        let form = format!(
            "grant_type=client_credentials&client_id={client}&client_secret={secret}&scope={RESOURCE}/.default"
        );
        let request = Request::post(format!("/{TENANT}/oauth2/v2.0/token"))
            .header("host", "login.vault.localhost:8443")
            .body(Full::from(form));
        at(&self.gateway, request.unwrap()).await.expect(200)
    }

    async fn send(&self, method: &str, path: &str, body: impl Into<Bytes>) -> Answer {
        at(&self.gateway, request(method, path, &self.admin, body)).await
    }

    fn sent(&self) -> Vec<(String, Role)> {
        std::mem::take(&mut *self.wire.sent.lock().unwrap())
    }
}

fn head(asked_as: Role) -> ForwardHead {
    ForwardHead {
        attempt: Uuid::new_v4(),
        deadline_ms: 1_000,
        asked_as,
        client: "192.0.2.7:5000".parse().unwrap(),
        authority: "dev.vault.localhost:8443".into(),
        request_id: Uuid::new_v4(),
        minimum_commit: None,
        doors: vec!["gateway".into()],
    }
}

/// What the inter-node listener hands over.
async fn received(front: &Front, head: ForwardHead, request: Request<Bytes>) -> Response<Bytes> {
    Forwarded::handle(front, valv_peer::Role::Gateway, head, request).await
}

async fn at(front: &Front, request: Request<Full<Bytes>>) -> Answer {
    let peer = Peer { address: "192.0.2.7:5000".parse().unwrap(), door: Door::Public, identity: None };
    whole(front.handle(&peer, request).await).await
}

#[tokio::test]
async fn a_gateway_forwards_home_and_one_node_audits_the_client() {
    let pair = Pair::new().await;
    pair.sent();
    let mut forged = request("GET", "/secrets/a", &pair.admin, "");
    forged.headers_mut().insert("x-valv-forward", "{}".parse().unwrap());
    let answer = at(&pair.gateway, forged).await.expect(200);
    assert_eq!(answer.json()["value"], "one");
    assert_eq!(answer.header("x-ms-keyvault-region"), "eastus");
    assert_eq!((answer.header("x-valv-mode"), answer.header("x-valv-last-commit")), ("", "3"));
    assert_eq!(pair.sent(), [("eastus".to_owned(), Role::Home)]);
    let id = answer.header("x-ms-request-id").to_owned();
    let of =
        |sink: &Sink| sink.events().into_iter().filter(|e| e["properties"]["requestId"] == *id).collect();
    let [east, west, gateway]: [Vec<serde_json::Value>; 3] =
        [of(&pair.audits[0]), of(&pair.audits[1]), of(&pair.audits[2])];
    assert_eq!((east.len(), west.len(), gateway.len()), (1, 0, 0));
    assert_eq!(
        (&east[0]["operationName"], &east[0]["callerIpAddress"]),
        (&json!("SecretGet"), &json!("192.0.2.7"))
    );

    let refused = at(&pair.gateway, request("GET", "/secrets/a", "", "")).await.expect(401);
    assert!(refused.header("www-authenticate").starts_with("Bearer "), "{refused:?}");
    assert_eq!(pair.sent(), [], "nothing is sent for somebody without a token");
    let bad = at(&pair.gateway, request("GET", "/secrets/a", "junk", "")).await.expect(401);
    assert_eq!(bad.header("x-ms-keyvault-region"), "eastus");
}

#[tokio::test]
async fn f28_a_lost_home_is_answered_for_by_the_pair_and_says_so() {
    for noticed in [false, true] {
        let pair = Pair::new().await;
        pair.lose_home(noticed);
        for front in [&pair.gateway, &pair.west] {
            let answer = at(front, request("GET", "/secrets/a", &pair.admin, "")).await.expect(200);
            assert_eq!(answer.json()["value"], "one");
            assert_eq!(answer.header("x-ms-keyvault-region"), "westus");
            assert_eq!(answer.header("x-valv-mode"), "read-only");
            assert_eq!(answer.header("x-valv-replica-lag-ms"), "50");
            assert_eq!(answer.header("x-valv-last-commit"), "3");
            let set = at(front, request("PUT", "/secrets/a", &pair.admin, r#"{"value":"two"}"#)).await;
            let set = set.expect(503);
            assert!(
                set.json()["error"]["message"].as_str().unwrap().contains("\"SecretSet\" is unavailable")
            );
            assert_eq!(set.header("retry-after"), "");
        }
        pair.token().await;
        let vaults = pair.send("GET", "/admin/vaults", "").await.expect(200);
        assert_eq!(vaults.json()["value"][0]["name"], "dev");
    }
}

/// A load balancer asks every door, without a token and whatever the host: may requests be sent here?
#[tokio::test]
async fn health_says_whether_reads_can_be_answered_and_nothing_else() {
    let pair = Pair::new().await;
    let audited = || pair.audits.each_ref().map(|audit| audit.events().len());
    let before = audited();
    pair.sent();
    let doors = [&pair.east, &pair.west, &pair.gateway];
    for host in [None, Some("10.1.0.4:8443"), Some("team.vault.localhost:8443")] {
        for (at_, door) in doors.into_iter().enumerate() {
            for (own, others) in [(true, true), (true, false), (false, true), (false, false)] {
                let mut seen = (**pair.views[at_].load()).clone();
                if let Some(here) = &mut seen.here {
                    here.engine = own;
                }
                for node in seen.regions.iter_mut().flat_map(|region| &mut region.nodes) {
                    (node.alive, node.home) = (others, others);
                }
                pair.views[at_].store(Arc::new(seen));
                let mut request = Request::get("/healthstatus");
                if let Some(host) = host {
                    request = request.header("host", host);
                }
                let answer = at(door, request.body(Full::default()).unwrap()).await;
                // A gateway has nothing of its own.
                if others || (own && at_ < 2) {
                    assert_eq!(answer.expect(200).json(), json!({ "status": "healthy" }));
                } else {
                    let text = answer.expect(503).json().to_string();
                    assert!(!text.contains("eastus") && !text.contains("westus"), "{text}");
                }
            }
        }
    }
    assert_eq!((audited(), pair.sent()), (before, vec![]), "not audited, not forwarded");
}

#[tokio::test]
async fn f39_health_is_answered_where_there_is_no_place_for_another_request() {
    let pair = Pair::new().await;
    let mut full = settings();
    full.limits.in_flight = 0;
    let door = Front::new(wiring(None, far(&pair.views[1], &pair.wire), &Sink::default()), full);
    at(&door, request("GET", "/secrets/a", &pair.admin, "")).await.expect(429);
    at(&door, request("GET", "/healthstatus", "", "")).await.expect(200);
}

/// Every row of the table at a lost home: reads are answered or refused for what they ask, writes are refused as
/// read-only, and no store changes.
#[tokio::test]
async fn f28_in_read_only_mode_exactly_the_writes_are_refused() {
    let pair = Pair::new().await;
    pair.lose_home(true);
    let before = [everything(&pair.engines[0]).await, everything(&pair.engines[1]).await];
    for spec in OPERATIONS {
        let skipped = spec.object == ObjectType::Service
            || spec.operation == Operation::ManagedIdentityToken
            // It is each region's own: asked here, it is the lost region's.
            || spec.operation == Operation::RootKeyRotate;
        if skipped {
            continue;
        }
        let path = spec.path.replace("/{version?}", "").replace("{vault}", "dev").replace("{name}", "a");
        let path = path.replace(['{', '}'], "").replace("/client", "/00482a5a-887f-4fb3-b363-3b7fe8e74483");
        let path = path.replace("/00482a5a-887f-4fb3-b363-3b7fe8e74483s", "/clients");
        let path = if spec.object == ObjectType::Key { path.replace("/a", "/k") } else { path };
        let answer = pair.send(spec.method.as_str(), &path, "{}").await;
        let message = answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
        let read_only = format!(
            "Operation \"{}\" is unavailable: the service is currently in a read-only state.",
            spec.name
        );
        if spec.effect == Effect::Write {
            assert_eq!((answer.status.as_u16(), message), (503, read_only.clone()), "{}", spec.name);
            // A door that believes the pair may write learns better.
            let write =
                request(spec.method.as_str(), &path, &pair.admin, "").map(|_| Bytes::from_static(b"{}"));
            let answer = received(&pair.west, head(Role::Replica), write).await.map(Full::new);
            let message = whole(answer).await.expect(503).json()["error"]["message"].clone();
            assert_eq!(message, read_only, "{}", spec.name);
        } else {
            assert!(answer.status.as_u16() < 500, "{} {path}: {} {message}", spec.name, answer.status);
        }
    }
    let after = [everything(&pair.engines[0]).await, everything(&pair.engines[1]).await];
    assert!(before == after, "a refused write changed something");
}

#[tokio::test]
async fn f35_a_copy_that_is_too_old_or_too_far_behind_does_not_answer() {
    let pair = Pair::new().await;
    let put = r#"{"properties":{"maximumReplicaAge":30}}"#;
    let vault = pair.send("PUT", "/admin/vaults/dev", put).await.expect(200);
    assert_eq!(vault.json()["properties"]["maximumReplicaAge"], 30);
    pair.copy().await;
    let get = async |minimum: &'static str| {
        let mut get = request("GET", "/secrets/a", &pair.admin, "");
        if !minimum.is_empty() {
            get.headers_mut().insert("x-valv-minimum-commit", minimum.parse().unwrap());
        }
        at(&pair.gateway, get).await
    };
    *pair.lag.0.lock().unwrap() = Duration::from_secs(31);
    get("99").await.expect(200);
    pair.lose_home(true);
    let refused = get("").await.expect(503);
    assert!(refused.json()["error"]["message"].as_str().unwrap().contains("30 s"), "{refused:?}");
    *pair.lag.0.lock().unwrap() = Duration::from_secs(29);
    get("").await.expect(200);
    get("4").await.expect(200);
    get("5").await.expect(503);
    get("x").await.expect(400);
}

/// F17, F23: what a node cannot do, it does not do, and it sends nobody on.
#[tokio::test]
async fn f17_a_forwarded_request_is_performed_or_handed_back_and_never_sent_on() {
    let pair = Pair::new().await;
    let ask = async |front: &Arc<Front>, asked_as| {
        let get = request("GET", "/secrets/a", &pair.admin, "").map(|_| Bytes::new());
        received(front, head(asked_as), get).await.status().as_u16()
    };
    pair.sent();
    assert_eq!(ask(&pair.east, Role::Home).await, 200);
    assert_eq!(ask(&pair.west, Role::Replica).await, 200);
    assert_eq!(ask(&pair.east, Role::Replica).await, 421);
    assert_eq!(ask(&pair.west, Role::Home).await, 421);
    assert_eq!(ask(&pair.gateway, Role::Home).await, 421);
    let mut masked = view(Some("eastus"));
    masked.here.as_mut().unwrap().standing = Standing::Checking;
    pair.views[0].store(Arc::new(masked));
    assert_eq!(ask(&pair.east, Role::Home).await, 421, "a home that may not serve");
    assert_eq!(pair.sent(), [], "nothing was sent on");
    let through = pair.send("GET", "/secrets/a", "").await.expect(200);
    assert_eq!(through.header("x-ms-keyvault-region"), "westus", "the door goes on to the copy at once");
    let refused = pair.send("PUT", "/secrets/a", r#"{"value":"x"}"#).await.expect(503);
    assert!(refused.json()["error"]["message"].as_str().unwrap().contains("read-only"), "{refused:?}");
}

#[tokio::test]
async fn a_write_is_done_once_whichever_way_its_door_sends_it_again() {
    let pair = Pair::new().await;
    let head = head(Role::Home);
    let put = async |head: &ForwardHead| {
        let body = Bytes::from_static(br#"{"value":"two"}"#);
        let put = request("PUT", "/secrets/b", &pair.admin, "").map(|_| body.clone());
        let answer = received(&pair.east, head.clone(), put).await;
        whole(answer.map(Full::new)).await.expect(200).json()["id"].as_str().unwrap().to_owned()
    };
    let first = put(&head).await;
    assert_eq!(put(&head).await, first, "the same attempt");
    let other = ForwardHead { attempt: Uuid::new_v4(), ..head.clone() };
    assert_ne!(put(&other).await, first, "another attempt is another request");
    let late = ForwardHead { deadline_ms: 0, attempt: Uuid::new_v4(), ..head };
    let put =
        request("PUT", "/secrets/late", &pair.admin, "").map(|_| Bytes::from_static(br#"{"value":"x"}"#));
    assert!(received(&pair.east, late, put).await.status().is_server_error());
    pair.send("GET", "/secrets/late", "").await.expect(404);
}

#[tokio::test]
async fn a_node_whose_engine_fails_asks_others_and_an_unknown_home_is_no_404() {
    let pair = Pair::new().await;
    let mut blind = view(Some("eastus"));
    blind.here.as_mut().unwrap().engine = false;
    pair.views[0].store(Arc::new(blind));
    let answer = at(&pair.east, request("GET", "/secrets/a", &pair.admin, "")).await.expect(200);
    assert_eq!(answer.header("x-ms-keyvault-region"), "westus");
    for (host, status) in [("nosuch", 404), ("unsure", 503)] {
        let mut get = request("GET", "/secrets/a", &pair.admin, "");
        get.headers_mut().insert("host", format!("{host}.vault.localhost:8443").parse().unwrap());
        at(&pair.gateway, get).await.expect(status);
    }
}

#[tokio::test]
async fn a_new_vault_is_made_where_its_location_says_and_an_old_one_stays() {
    let pair = Pair::new().await;
    let put = async |vault: &str, body: &'static str| {
        let answer = pair.send("PUT", &format!("/admin/vaults/{vault}"), body).await;
        (answer.status.as_u16(), answer.header("x-ms-keyvault-region").to_owned())
    };
    assert_eq!(put("new", r#"{"location":"WestUS"}"#).await, (200, "westus".to_owned()));
    assert_eq!(put("other", "").await, (200, "eastus".to_owned()), "the system home, behind a gateway");
    assert_eq!(put("dev", r#"{"location":"westus"}"#).await, (409, "eastus".to_owned()));
    assert_eq!(put("dev", r#"{"location":"eastus"}"#).await, (200, "eastus".to_owned()));
    assert_eq!(put("third", r#"{"location":"mars"}"#).await.0, 400);
    assert_eq!(put("third", r#"{"location":1}"#).await.0, 400);
}

impl Pair {
    /// Gives a region's node these root keys.
    fn hold(&self, at: usize, lines: &[&Line]) {
        self.keyrings[at].replace_root_keys(roots(lines));
    }

    /// Rotates the root key at the gateway, while replication runs.
    async fn rotate(&self) -> Answer {
        let replicate = async {
            loop {
                self.copy().await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::select! {
            answer = self.send("POST", "/admin/rootkey/rotate", "") => answer,
            () = replicate => unreachable!(),
        }
    }

    async fn stored(&self) -> [Vec<(Bytes, Bytes)>; 2] {
        [everything(&self.engines[0]).await, everything(&self.engines[1]).await]
    }
}

#[tokio::test]
async fn f33_the_root_key_is_not_rotated_before_every_node_holds_the_new_one() {
    let pair = Pair::new().await;
    let (new, old) = (RootKeys::generate().unwrap(), pair.root_key.clone());
    pair.hold(0, &[&new, &old]);
    let before = pair.stored().await;
    let refused = pair.rotate().await.expect(409);
    let message = refused.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("not held by every node: westus:1 in westus does not hold it"), "{message}");
    assert!(before == pair.stored().await, "a refused rotation changed something");

    pair.hold(1, &[&new, &old]);
    pair.wire.away.lock().unwrap().insert("westus");
    let refused = pair.rotate().await.expect(409);
    let message = refused.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("westus:1 in westus has not answered lately"), "{message}");
    assert!(before == pair.stored().await, "a refused rotation changed something");

    pair.wire.away.lock().unwrap().clear();
    assert_eq!(pair.rotate().await.expect(200).json()["vaultsChanged"], 2, "the system vault and dev");
    pair.send("GET", "/secrets/a", "").await.expect(200);
}
