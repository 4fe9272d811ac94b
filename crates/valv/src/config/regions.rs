//! The deployment's regions, this node's part in it, and the inter-node side.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use valv_geo::{Coordinates, Declared, Pairing, Region, RegionMap, catalogue, health, hedge};
use valv_model::RegionName;

use super::check::{Mistakes, one_address};
use super::file::{self, File};

/// The word for a region without a pair.
const NO_PAIR: &str = "none";

/// The regions of the deployment.
pub struct Deployment {
    /// Who is whose pair, and what is held where.
    pub map: RegionMap,
    /// The peer listeners of each region's nodes, `host:port`. Empty in a deployment of one region.
    pub peers: BTreeMap<RegionName, Vec<String>>,
}

/// The inter-node side.
pub struct Peer {
    /// Where the node listens for its peers; None: a gateway, which only asks.
    pub listen: Option<SocketAddr>,
    /// How the other nodes name this one in `peers`; None: a gateway.
    pub address: Option<String>,
    /// PEM: the certificate that names the region or the gateway.
    pub certificate: PathBuf,
    /// PEM: its key.
    pub key: PathBuf,
    /// PEM: the authority of all peer certificates.
    pub ca: PathBuf,
}

/// When nodes are given up, and how long requests wait for which of them.
pub struct Failover {
    /// Probes and breakers.
    pub health: health::Settings,
    /// Forwarded requests.
    pub hedge: hedge::Settings,
    /// How long a home that starts waits for an unreachable pair.
    pub wait_for_pair: Duration,
}

/// What is kept for the pair, and how often it is looked whether its copy is right.
pub struct Replication {
    /// Between two comparisons of a vault with home's.
    pub compare: Duration,
    /// The most commits of a vault that its log keeps.
    pub log_commits_max: u64,
    /// The most bytes.
    pub log_bytes_max: u64,
}

/// Defences that a rehearsal of ours switches off, to see that it notices. All on, but in tests.
#[derive(Clone, Copy, Debug)]
pub struct TestSwitches {
    /// Silent nodes are hedged.
    pub hedge: bool,
    /// Breakers open.
    pub breaker: bool,
    /// The pair copies.
    pub replication: bool,
}

/// The regions, checked by the rules of pairs. `own`: this node's region; None: a gateway, or a mistake told already.
pub fn check_deployment(file: &File, own: Option<&RegionName>, found: &mut Mistakes) -> Option<Deployment> {
    let system_home = match &file.system_home {
        Some(name) => Some(found.take("system_home", RegionName::parse(name).map_err(|e| e.message))?),
        None => None,
    };
    if file.regions.is_empty() {
        if file.region.is_none() {
            found.add("region: is missing, and there are no [[regions]]; name the node's region, or, for a gateway, the regions of the deployment");
        }
        if system_home.is_some() && system_home.as_ref() != own {
            found.add("system_home: names another region, but there are no [[regions]]; declare them, or leave it out");
        }
        return own.map(|own| Deployment { map: RegionMap::single(own), peers: BTreeMap::new() });
    }
    let rows = file.regions.iter().enumerate();
    let declared: Vec<Option<Declared>> =
        rows.map(|(at, row)| declare(&format!("regions[{at}]"), row, found)).collect();
    let declared: Vec<Declared> = declared.into_iter().collect::<Option<_>>()?;
    let map = RegionMap::new(&declared, system_home.as_ref())
        .map_err(|e| found.add(format!("regions: {e}")))
        .ok()?;
    if let Some(own) = own.filter(|own| !map.contains(own)) {
        found.add(format!(
            "region: '{own}' is not one of the [[regions]]; declare it there, or correct the name"
        ));
    }
    let mut peers = BTreeMap::new();
    for (at, (row, one)) in file.regions.iter().zip(&declared).enumerate() {
        if row.peers.is_empty() && declared.len() > 1 {
            found.add(format!("regions[{at}].peers: is empty; name the peer listeners of the region's nodes, such as [\"10.1.0.4:8444\"]"));
        }
        for address in &row.peers {
            if let Err(what) = check_peer(address) {
                found.add(format!("regions[{at}].peers: {what}"));
            }
        }
        peers.insert(one.region.name.clone(), row.peers.clone());
    }
    Some(Deployment { map, peers })
}

fn declare(place: &str, row: &file::Region, found: &mut Mistakes) -> Option<Declared> {
    let text = |e: valv_model::Error| e.message;
    let name = found.take(&format!("{place}.name"), RegionName::parse(&row.name).map_err(text))?;
    let known = catalogue::find(&name).map(|known| &known.region);
    let geography = row.geography.as_deref().or(known.map(|known| &*known.geography));
    let Some(geography) = geography.filter(|text| !text.trim().is_empty()) else {
        found.add(format!("{place}.geography: is missing; the catalogue has no region '{name}', so declare geography, latitude and longitude"));
        return None;
    };
    let coordinates = match (row.latitude, row.longitude) {
        (None, None) => known.and_then(|known| known.coordinates),
        (Some(latitude), Some(longitude)) => {
            let there = Coordinates::new(latitude, longitude).ok_or_else(|| {
                format!("{latitude}, {longitude} is no place; latitude is -90 to 90 degrees, longitude -180 to 180")
            });
            Some(found.take(&format!("{place}.latitude"), there)?)
        }
        _ => {
            found.add(format!("{place}: latitude and longitude go together; declare both or neither"));
            return None;
        }
    };
    let pairing = match row.pair.as_deref() {
        None => Pairing::Default,
        Some(NO_PAIR) => Pairing::Alone,
        Some(pair) => {
            Pairing::With(found.take(&format!("{place}.pair"), RegionName::parse(pair).map_err(text))?)
        }
    };
    Some(Declared {
        region: Region { name, geography: geography.into(), coordinates },
        pairing,
        allow_near: row.allow_near_pair,
        allow_foreign: row.allow_foreign_pair,
    })
}

/// `host:port`; the host is resolved when it is asked, so that a deployment starts without its name service.
fn check_peer(text: &str) -> Result<(), String> {
    let wrong = || format!("'{text}' is not host:port, such as 10.1.0.4:8444 or valv-west.example.com:8444");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port_legal = port.parse::<u16>().is_ok_and(|port| port != 0);
    let host_legal = !host.is_empty() && !host.contains(['/', ' ', '@']);
    if port_legal && host_legal { Ok(()) } else { Err(wrong()) }
}

/// The inter-node side; needed as soon as there is another region.
pub fn check_peering(
    file: &File,
    own: Option<&RegionName>,
    deployment: Option<&Deployment>,
    base: &Path,
    found: &mut Mistakes,
) -> Option<Peer> {
    let Some(given) = &file.peer else {
        if file.regions.len() > 1 || own.is_none() {
            found.add("peer: is missing; nodes speak to other regions with certificates of their own. `valv cert` makes them, and [peer] names them");
        }
        return None;
    };
    for (name, path) in [("certificate", &given.certificate), ("key", &given.key), ("ca", &given.ca)] {
        let path = base.join(path);
        if !path.is_file() {
            found.add(format!(
                "peer.{name}: there is no file {}; `valv cert` makes certificates for peers",
                path.display()
            ));
        }
    }
    let listen = match (&given.listen, own) {
        (Some(_), None) => {
            found.add(
                "peer.listen: a gateway (no region) only asks and does not listen for peers; leave it out",
            );
            None
        }
        (None, Some(_)) => {
            found.add("peer.listen: is missing; the address where the nodes of other regions and gateways reach this one, such as \"0.0.0.0:8444\"");
            None
        }
        (Some(address), Some(_)) => found.take("peer.listen", one_address(address)),
        (None, None) => None,
    };
    let ours = own.and_then(|own| deployment?.peers.get(own));
    let address = match (&given.address, ours) {
        (Some(address), Some(ours)) if !ours.contains(address) => {
            found.add(format!("peer.address: '{address}' is not one of the peers of this node's region; use the same words in both places"));
            None
        }
        (Some(address), _) => Some(address.clone()),
        (None, Some(ours)) if ours.len() > 1 => {
            found.add("peer.address: is missing; the region has several nodes, so say which of its peers this one is");
            None
        }
        (None, ours) => ours.and_then(|ours| ours.first().cloned()),
    };
    let [certificate, key, ca] = [&given.certificate, &given.key, &given.ca].map(|path| base.join(path));
    Some(Peer { listen, address, certificate, key, ca })
}

/// The bounds of the log, and the comparison.
pub fn check_replication(given: &file::Replication, found: &mut Mistakes) -> Replication {
    let file::Replication { compare_s, log_commits, log_mib } = *given;
    Replication {
        compare: Duration::from_secs(found.bounds("replication.compare_s", compare_s, 1, 86_400)),
        log_commits_max: found.bounds("replication.log_commits", log_commits, 100, 100_000_000),
        log_bytes_max: found.bounds("replication.log_mib", log_mib, 1, 1 << 20) << 20,
    }
}

/// The figures of failover.
pub fn check_failover(given: &file::Failover, found: &mut Mistakes) -> Failover {
    let mut ms = |place: &str, value: u64, least: u64, most: u64| {
        Duration::from_millis(found.bounds(&format!("failover.{place}"), value, least, most))
    };
    let health = health::Settings {
        probe_each: ms("probe_ms", given.probe_ms, 50, 10_000),
        probe_deadline: ms("probe_deadline_ms", given.probe_deadline_ms, 50, 10_000),
        good_for: ms("good_for_ms", given.good_for_ms, 0, 600_000),
        stay_min: ms("stay_min_ms", given.stay_min_ms, 0, 600_000),
        misses: 0,
        goods: 0,
        step_max: Duration::ZERO,
    };
    let hedge = hedge::Settings {
        second: ms("second_ms", given.second_ms, 10, 60_000),
        replica: ms("replica_ms", given.replica_ms, 10, 60_000),
        send: ms("send_ms", given.send_ms, 10, 60_000),
        deadline: ms("deadline_ms", given.deadline_ms, 100, 60_000),
        ..hedge::Settings::default()
    };
    let wait_for_pair = ms("wait_for_pair_ms", given.wait_for_pair_ms, 0, 600_000);
    if hedge.replica >= hedge.deadline || hedge.send > hedge.deadline {
        found.add(
            "failover: replica_ms and send_ms must be below deadline_ms, or the replica would never be asked",
        );
    }
    let health = health::Settings {
        misses: found.bounds("failover.misses", given.misses, 1, 100),
        goods: found.bounds("failover.goods", given.goods, 1, 100),
        // A probe that is late by all it may be, and the pause before it, still counts whole.
        step_max: health.probe_each + health.probe_deadline,
        ..health
    };
    Failover { health, hedge, wait_for_pair }
}
