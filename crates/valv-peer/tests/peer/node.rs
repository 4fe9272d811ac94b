//! What a node says of its store.

use std::sync::Arc;
use std::time::Duration;

use valv_engine::{Engine, GroupId, Op, Transaction, layout};
use valv_engine_embedded::EmbeddedEngine;
use valv_model::{ErrorCode, VaultName};
use valv_peer::{Held, HomeStanding, Local as _, Node, NodeSettings, ProbedStanding, StandingSettings};

use crate::standing::{pair, store};
use crate::world::region;

fn node(engine: &Arc<EmbeddedEngine>) -> Node {
    let engine: Arc<dyn Engine> = engine.clone();
    let map = Arc::new(pair());
    let standing = HomeStanding::new(engine.clone(), &map, &region("eastus"), StandingSettings::default());
    let settings = NodeSettings {
        region: region("eastus"),
        name: "one".into(),
        version: "1".into(),
        engine: Duration::from_secs(5),
        root_keys: Box::new(|| vec!["00".into()]),
    };
    Node::new(engine, map, Vec::new(), standing, settings)
}

async fn put(engine: &EmbeddedEngine, group: &GroupId, key: bytes::Bytes, value: &str) {
    let transaction = Transaction { compares: Vec::new(), ops: vec![Op::Put(key, value.to_owned().into())] };
    if *group == GroupId::parse("eastus").unwrap() {
        let lease = engine.lease(group, &region("eastus")).await.unwrap();
        engine.commit(&lease, transaction).await.unwrap();
    } else {
        let lease = engine.replica_lease(group, &region("eastus")).await.unwrap();
        engine.apply(&lease, transaction).await.unwrap();
    }
}

#[tokio::test]
async fn a_node_speaks_for_its_own_group_at_once_and_for_a_copy_when_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let engine = store(&dir, &[("$system", "eastus"), ("eastus", "eastus"), ("westus", "westus")]);
    let node = node(&engine);
    let [own, copy] = ["eastus", "westus"].map(|g| GroupId::parse(g).unwrap());
    let [here, there, gone] = ["here", "there", "gone"].map(|n| VaultName::parse(n).unwrap());
    put(&engine, &own, layout::vault(&own, &here), "x").await;
    put(&engine, &own, layout::deleted_vault(&own, &gone), "x").await;
    put(&engine, &copy, layout::vault(&copy, &there), "x").await;

    let held = async |name| node.holding(name).await.unwrap().held;
    assert_eq!(held(&here).await, Some(Held { group: "eastus".into(), deleted: false }));
    assert_eq!(held(&gone).await, Some(Held { group: "eastus".into(), deleted: true }));
    assert_eq!(held(&there).await, Some(Held { group: "westus".into(), deleted: false }));
    assert_eq!(held(&VaultName::parse("none").unwrap()).await, None);

    let parts = async || {
        let groups = node.holding(&here).await.unwrap().groups;
        groups.into_iter().map(|g| (g.group, g.home.to_string(), g.complete)).collect::<Vec<_>>()
    };
    let part = |name: &str, complete| (name.to_owned(), name.to_owned(), complete);
    assert_eq!(parts().await, [part("eastus", true), part("westus", false)]);
    assert!(node.here().await.replicas.is_empty());
    let lineage = uuid::Uuid::from_u128(4);
    let record = format!(r#"{{"lineage":"{lineage}","complete":true}}"#);
    put(&engine, &copy, layout::copied(&copy), &record).await;
    assert_eq!(parts().await, [part("eastus", true), part("westus", true)]);
    assert_eq!(node.here().await.replicas, std::slice::from_ref(&copy));

    let copied = node.copied(&copy).await.unwrap().unwrap();
    assert_eq!(copied.lineage.0, lineage);
    assert_eq!(node.copied(&own).await.unwrap_err().code, ErrorCode::BadParameter);

    let probe = node.probe().await;
    assert!(probe.engine_ok && probe.standing == ProbedStanding::Checking);
    assert_eq!((probe.lineage, probe.root_keys), (engine.lineage().0, vec!["00".to_owned()]));
}
