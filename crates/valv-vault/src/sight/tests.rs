//! A store that also holds the pair's vaults: they are read, and nothing here writes to them.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use uuid::Uuid;
use valv_access::{AccessPolicy, RoleAssignment, Scope, VALV_ADMINISTRATOR};
use valv_engine::Engine;
use valv_model::{ClientId, ErrorCode, Operation, PrincipalId};
use valv_sealing::{Barrier, RecordKind};

use super::*;
use crate::queue::{Change, Decision, State, Write};
use crate::system::ClientPut;
use crate::testing::{
    START, TestEngine, World, both_root_keys, context, name, plaintext, root_key, settings,
};
use crate::vaults::VaultPut;
use crate::{ManualClock, NameCheck, ServiceSettings, WriteContext};

const DAY: i64 = 86_400;

/// The paired region of a world: the same root key, its own group, and what was copied so far.
struct Pair {
    home: World,
    engine: Arc<TestEngine>,
    clock: Arc<ManualClock>,
    service: Service,
}

fn west() -> RegionName {
    RegionName::parse("westus").unwrap()
}

impl Pair {
    async fn new() -> Self {
        let home = World::new().await;
        let engine = TestEngine::over(Arc::default());
        for (key, value) in home.engine.records() {
            if key.ends_with(b"/meta") || key == layout::root_key() {
                engine.put(key, value);
            }
        }
        let own = GroupId::of_region(&west());
        engine.put(layout::group_meta(&own), GroupMeta { home: west(), epoch: Epoch(1) }.encode());
        let over = Arc::clone(&engine) as Arc<dyn Engine>;
        let barrier = Barrier::open(over, Arc::clone(&home.keyring)).await.unwrap();
        let clock = Arc::new(ManualClock::at(START));
        let eastus = settings();
        let replica = ServiceSettings {
            region: west(),
            replicas: vec![eastus.region.clone()],
            system_home: eastus.region.clone(),
            ..eastus
        };
        let service = Service::open(barrier, clock.clone(), replica).await.unwrap();
        Self { home, engine, clock, service }
    }

    /// What replication brings.
    fn copy(&self) {
        for (key, value) in self.home.engine.records() {
            if key.starts_with(b"g/") {
                self.engine.put(key, value);
            }
        }
    }

    fn records(&self) -> BTreeMap<Bytes, Bytes> {
        self.engine.records()
    }

    /// What does not belong to this region.
    fn copied(&self) -> BTreeMap<Bytes, Bytes> {
        self.records().into_iter().filter(|(key, _)| !key.starts_with(b"g/westus/")).collect()
    }
}

async fn write(service: &Service, vault: &Vault, context: &WriteContext) -> Result<()> {
    let decide = Box::new(|_: &State<'_>| {
        let put =
            Write::Put { path: "secrets/A".into(), kind: RecordKind::Secret, plaintext: plaintext("x") };
        Ok(Decision { writes: vec![put], version: None })
    });
    let change = Change { operation: Operation::SecretSet, needs: Vec::new(), decide };
    service.submit(vault, context, change).await.map(drop)
}

#[tokio::test]
async fn a_copied_vault_is_seen_with_its_home_and_commit() {
    let pair = Pair::new().await;
    let vault = pair.home.vault("dev").await;
    write(&pair.home.service, &vault, &context()).await.unwrap();
    pair.copy();
    for (service, replica) in [(&*pair.home.service, false), (&pair.service, true)] {
        let holding = service.look(Some(&name("dev"))).await.unwrap().holding.unwrap();
        assert_eq!((holding.replica, holding.commit, holding.home.as_str()), (replica, 2, "eastus"));
    }
    write(&pair.home.service, &vault, &context()).await.unwrap();
    let commit = |sight: Sight| sight.holding.unwrap().commit;
    assert_eq!(commit(pair.service.look(Some(&name("dev"))).await.unwrap()), 2, "behind");
    assert_eq!(pair.home.service.commit_number(&vault).await.unwrap(), 3);
    pair.copy();
    assert_eq!(commit(pair.service.look(Some(&name("dev"))).await.unwrap()), 3);
}

#[tokio::test]
async fn a_replica_without_a_system_vault_is_not_ready_and_becomes_so() {
    let pair = Pair::new().await;
    for error in [pair.service.ready().await.unwrap_err(), pair.service.look(None).await.err().unwrap()] {
        assert_eq!(error.code, ErrorCode::ServiceUnavailable);
    }
    pair.service.lifecycle_round().await.unwrap();
    pair.copy();
    pair.service.ready().await.unwrap();
    let id = ClientId::parse(&Uuid::new_v4().to_string()).unwrap();
    let put = ClientPut { name: Some("app".into()), ..ClientPut::default() };
    pair.home.service.put_client(&context(), &id, put).await.unwrap();
    assert!(!pair.service.look(None).await.unwrap().registry.clients.contains_key(&id));
    pair.copy();
    assert!(pair.service.look(None).await.unwrap().registry.clients.contains_key(&id));
}

#[tokio::test(start_paused = true)]
async fn f28_no_write_and_nothing_that_happens_by_itself_touches_a_copy() {
    let pair = Pair::new().await;
    let vault = pair.home.vault("dev").await;
    write(&pair.home.service, &vault, &context()).await.unwrap();
    pair.home.vault("gone").await;
    pair.home.service.delete_vault(&context(), &name("gone")).await.unwrap();
    pair.copy();
    let before = pair.records();
    let (service, context) = (&pair.service, context());
    let vault = service.look(Some(&name("dev"))).await.unwrap().vault.unwrap();
    let id = ClientId::parse(&Uuid::new_v4().to_string()).unwrap();
    let principal = PrincipalId::parse(&Uuid::new_v4().to_string()).unwrap();
    let policy = AccessPolicy {
        object_id: principal.clone(),
        application_id: None,
        secrets: vec!["get".into()],
        keys: vec![],
        certificates: vec![],
    };
    let assignment = |scope| RoleAssignment {
        id: Uuid::new_v4(),
        role: VALV_ADMINISTRATOR,
        principal: principal.clone(),
        scope,
    };
    let put = || VaultPut { purge_protection: Some(true), ..VaultPut::default() };
    let client = ClientPut { name: Some("app".into()), ..ClientPut::default() };
    let refusals = [
        write(service, &vault, &context).await.err(),
        service.put_vault(&context, &name("dev"), put(), Ok(())).await.err(),
        service.delete_vault(&context, &name("dev")).await.err(),
        service.recover_vault(&context, &name("gone")).await.err(),
        service.rotate_data_key(&context, &name("dev")).await.err(),
        service.set_policy(&context, &name("dev"), policy).await.err(),
        service.assign(&context, assignment(Scope::Deployment)).await.err(),
        service.assign(&context, assignment(Scope::Vault { vault: name("dev") })).await.err(),
        service.put_client(&context, &id, client).await.err(),
    ];
    for (at, error) in refusals.into_iter().enumerate() {
        let error = error.unwrap_or_else(|| panic!("write {at} was done"));
        assert_eq!(error.code, ErrorCode::ServiceUnavailable, "{at}: {error}");
        assert!(error.message.ends_with("is currently in a read-only state."), "{at}: {error}");
    }
    assert_eq!(pair.records(), before);

    let copied = pair.copied();
    for _ in 0..30 {
        pair.clock.advance(10 * DAY);
        service.lifecycle_round().await.unwrap();
    }
    assert_eq!(pair.copied(), copied, "scheduled purges, the recorded time, the log's bounds");
}

#[tokio::test]
async fn a_region_lists_its_own_vaults_and_the_copies() {
    let pair = Pair::new().await;
    pair.home.vault("beta").await;
    pair.copy();
    for own in ["gamma", "alpha"] {
        pair.service.put_vault(&context(), &name(own), VaultPut::default(), Ok(())).await.unwrap();
    }
    let names = |vaults: Vec<Arc<Vault>>| -> Vec<String> {
        vaults.iter().map(|vault| vault.state.envelope.name.to_string()).collect()
    };
    assert_eq!(names(pair.service.held_vaults(false).await.unwrap()), ["alpha", "beta", "gamma"]);
    assert_eq!(names(pair.service.vaults(false).await.unwrap()), ["alpha", "gamma"]);
    let sight = pair.service.look(Some(&name("gamma"))).await.unwrap();
    assert_eq!(sight.holding.map(|holding| (holding.replica, holding.home)), Some((false, west())));
}

/// Another region with one vault, which can be away.
struct Other(Mutex<Option<&'static str>>);

#[async_trait]
impl NameCheck for Other {
    async fn taken(&self, wanted: &VaultName) -> Result<Option<RegionName>> {
        let taken = *self.0.lock().unwrap();
        let taken = taken.ok_or_else(|| Error::unavailable("a region does not answer"))?;
        Ok((wanted.as_str() == taken).then(|| RegionName::parse("northeurope").unwrap()))
    }
}

#[tokio::test]
async fn a_name_is_free_only_when_every_region_says_so() {
    let pair = Pair::new().await;
    pair.home.vault("dev").await;
    pair.copy();
    let other = Arc::new(Other(Mutex::new(Some("far"))));
    pair.service.check_names_with(other.clone());
    let put = async |wanted: &str| {
        let put = pair.service.put_vault(&context(), &name(wanted), VaultPut::default(), Ok(())).await;
        put.map(drop).map_err(|error| error.code)
    };
    assert_eq!(put("far").await, Err(ErrorCode::Conflict));
    assert_eq!(put("own").await, Ok(()));
    *other.0.lock().unwrap() = None;
    assert_eq!(put("new").await, Err(ErrorCode::ServiceUnavailable));
    assert_eq!(put("own").await, Ok(()), "a vault that is here needs nobody");
    assert!(pair.service.look(Some(&name("new"))).await.unwrap().vault.is_none());
}

#[tokio::test(start_paused = true)]
async fn the_old_root_key_is_needed_until_the_copies_are_under_the_new_one() {
    let pair = Pair::new().await;
    pair.home.vault("dev").await;
    pair.copy();
    pair.service.put_vault(&context(), &name("own"), VaultPut::default(), Ok(())).await.unwrap();
    let keyring = &pair.home.keyring;
    keyring.replace_root_keys(both_root_keys(&root_key(), keyring));
    let record = pair.records()[&layout::root_key()].clone();
    let refused = pair.service.rotate_root_key(&context()).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Conflict, "{refused}");
    assert_eq!(pair.records()[&layout::root_key()], record);
    assert_eq!(pair.home.service.rotate_root_key(&context()).await.unwrap(), 2);
    pair.copy();
    assert_eq!(pair.service.rotate_root_key(&context()).await.unwrap(), 0, "its own vault was done before");
    assert_ne!(pair.records()[&layout::root_key()], record);
}
