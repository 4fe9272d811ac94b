//! What this node knows of itself, of the other nodes and of the copies (docs/admin-api.md).

use serde_json::{Value, json};
use valv_engine::GroupId;
use valv_geo::apply::{ReplicaState, ReplicaStatus};
use valv_geo::{CopyView, NodeView, RegionHealth, Standing, View};
use valv_model::RegionName;

use super::Call;
use crate::Far;

pub(super) async fn status(call: &Call<'_>) -> Value {
    let settings = call.settings;
    let ready = call.service.ready().await;
    let mut status = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "domain": settings.domain,
        "tenant": settings.tenant,
        "region": settings.region,
    });
    match call.far {
        None => {
            status["regions"] = json!([{
                "name": settings.region,
                "mode": "Serve",
                "available": ready.is_ok(),
                "reason": ready.err().map(|e| e.message),
            }]);
        }
        Some(far) => {
            let view = far.view.load();
            let engine = ready.is_ok();
            let regions = far.regions.regions().map(|of| region(call, far, &view, &of.name, engine));
            status["regions"] = regions.collect();
            status["systemHome"] = json!(far.regions.system_home());
            status["warnings"] =
                far.regions.warnings().iter().map(|warning| json!(warning.to_string())).collect();
            status["replicas"] = copies(call, far);
            status["history"] = (far.history)().into();
        }
    }
    status
}

/// One region as this node sees it.
fn region(call: &Call<'_>, far: &Far, view: &View, name: &RegionName, engine: bool) -> Value {
    let seen = view.regions.iter().find(|region| region.region == *name);
    let own = view.here.as_ref().filter(|here| here.region == *name);
    let others = seen.map_or(RegionHealth::Unavailable, |region| region.health);
    let health = match own.map(|here| &here.standing) {
        Some(Standing::Good) if engine => RegionHealth::Available,
        Some(_) if engine && others != RegionHealth::Available => RegionHealth::Masked,
        _ => others,
    };
    let available = health == RegionHealth::Available;
    let pair = far.regions.pair(name);
    let reason = match own.map(|here| &here.standing) {
        Some(Standing::Masked(reason)) => Some(reason.to_string()),
        Some(Standing::Checking) => Some("this node compares its store with its pair's copy".to_owned()),
        _ if !engine && own.is_some() => Some("this node's engine does not answer".to_owned()),
        _ => None,
    };
    let mut nodes: Vec<Value> =
        seen.map_or(&[][..], |region| &region.nodes).iter().map(|one| node(far, one)).collect();
    if own.is_some() {
        nodes.push(json!({ "here": true, "alive": engine, "home": available }));
    }
    json!({
        "name": name,
        "pair": pair,
        // How a request for a vault of this region is treated: by its home, by its pair, or not at all.
        "mode": match (available, pair) {
            (true, _) => "Serve",
            (false, Some(_)) => "ServeReadOnly",
            (false, None) => "Unavailable",
        },
        "health": health.as_str(),
        "available": available,
        "reason": reason,
        "answersHere": *name == call.settings.region,
        "nodes": nodes,
    })
}

fn node(far: &Far, node: &NodeView) -> Value {
    let replicas: Vec<&str> = node.replicas.iter().map(GroupId::as_str).collect();
    let copy = |copy: &CopyView| {
        json!({
            "group": copy.group.as_str(),
            "state": copy.state,
            "lagMs": copy.lag.map(|lag| u64::try_from(lag.as_millis()).unwrap_or(u64::MAX)),
            "behindCommits": copy.behind_commits,
        })
    };
    let copies: Vec<Value> = node.copies.iter().map(copy).collect();
    let mut shown = (far.seen)(&node.peer);
    shown.insert("address".into(), json!(&*node.peer.address));
    shown.insert("alive".into(), json!(node.alive));
    shown.insert("home".into(), json!(node.home));
    shown.insert("replicas".into(), json!(replicas));
    shown.insert("copies".into(), copies.into());
    Value::Object(shown)
}

/// The copies in this node's store.
fn copies(call: &Call<'_>, far: &Far) -> Value {
    let of = |(group, home): (&GroupId, &RegionName)| {
        let status = call.replicas?.status(group)?;
        Some(copy(group, home, &status))
    };
    far.regions.copies(&call.settings.region).filter_map(of).collect()
}

fn copy(group: &GroupId, home: &RegionName, status: &ReplicaStatus) -> Value {
    let (state, reason) = match &status.state {
        ReplicaState::CopyingFirst => ("copyingFirst", None),
        ReplicaState::Following => ("following", None),
        ReplicaState::Stopped(why) => ("stopped", Some(why.to_string())),
        ReplicaState::Unreachable(why) => ("unreachable", Some(why.clone()).filter(|why| !why.is_empty())),
        ReplicaState::StoreFails(why) => ("storeFails", Some(why.clone())),
    };
    json!({
        "group": group.as_str(),
        "home": home,
        "state": state,
        "reason": reason,
        "lagMs": status.lag.map(|lag| u64::try_from(lag.as_millis()).unwrap_or(u64::MAX)),
        "behindCommits": status.behind_commits,
        "behindVaults": status.behind_vaults,
        "appliedCommits": status.applied_commits,
        "copiedVaults": status.copied_vaults,
        "repairedRecords": status.repaired_records,
        "damagedAtHome": status.damaged_at_home,
        "lineage": status.lineage.map(|lineage| lineage.to_string()),
    })
}
