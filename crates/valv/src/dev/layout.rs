//! The files of the deployment: who runs where, written as configurations such as an operator writes.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use valv_model::RegionName;
use zeroize::Zeroizing;

use super::hosts::Hosts;
use super::ports::{Ports, has_ipv6, kept_port};
use super::supervisor::Program;
use super::{DOMAIN, VAULT};
use crate::command::{self, cert};
use crate::output::{Problem, Result};
use crate::remote::exports;

/// The regions of the catalogue that the deployment plays: the home of the vault `dev`, which is also the system home,
/// and its published pair.
pub const REGIONS: [&str; 2] = ["eastus", "westus"];
/// The front door without a region.
pub const GATEWAY: &str = "gateway";

/// Everything that configurations are made from.
pub struct Layout {
    dir: PathBuf,
    tenant: String,
    /// What clients use: the gateway's, or the only region's.
    port: u16,
    imds_port: u16,
    regions: Vec<Region>,
    /// The gateway's health port; None: one region, which is its own door.
    gateway: Option<u16>,
}

struct Region {
    name: &'static str,
    address: Ipv4Addr,
    /// What its program is started by.
    enter: Vec<String>,
    public_port: u16,
    health_port: u16,
    peer_port: u16,
}

/// The client that `init` made.
pub struct Client {
    pub id: String,
    pub secret: Zeroizing<String>,
}

impl Layout {
    /// Chooses ports; those that a shell remembers stay the same at every start.
    /// `hosts`: where the regions' programs run; None: all on this machine's loopback address.
    pub fn new(
        dir: &Path,
        port: u16,
        one_region: bool,
        hosts: Option<&Hosts>,
        ports: &mut Ports,
    ) -> Result<Self> {
        let regions = if one_region { &REGIONS[..1] } else { &REGIONS[..] };
        let mut region = |name: &&'static str| {
            let public_port = if one_region { port } else { ports.take()? };
            let address = hosts.and_then(|hosts| hosts.address(name)).unwrap_or(Ipv4Addr::LOCALHOST);
            let enter = hosts.map(|hosts| hosts.enter(name)).unwrap_or_default();
            let (health_port, peer_port) = (ports.take()?, ports.take()?);
            Ok(Region { name, address, enter, public_port, health_port, peer_port })
        };
        let regions = regions.iter().map(&mut region).collect::<Result<_>>()?;
        Ok(Self {
            dir: dir.to_owned(),
            tenant: tenant(dir)?,
            port,
            imds_port: kept_port(dir, ports)?,
            regions,
            gateway: if one_region { None } else { Some(ports.take()?) },
        })
    }

    /// The tenant of the deployment.
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// The port of the managed-identity endpoint.
    pub fn imds_port(&self) -> u16 {
        self.imds_port
    }

    /// The names of the regions.
    pub fn regions(&self) -> Vec<String> {
        self.regions.iter().map(|region| region.name.to_owned()).collect()
    }

    /// What is started, in this order.
    pub fn programs(&self) -> Vec<Program> {
        let program = |name: &str, address: Ipv4Addr, port: u16, enter: &[String]| Program {
            name: name.to_owned(),
            dir: self.dir.clone(),
            door: (address, port).into(),
            enter: enter.to_vec(),
        };
        let region = |region: &Region| {
            // On a host of its own nothing of its loopback address can be reached.
            let port = if region.enter.is_empty() { region.health_port } else { region.public_port };
            program(region.name, region.address, port, &region.enter)
        };
        let gateway = self.gateway.map(|port| program(GATEWAY, Ipv4Addr::LOCALHOST, port, &[]));
        self.regions.iter().map(region).chain(gateway).collect()
    }

    /// Makes the root key, the peers' certificates, the stores and the first client where they are missing, and writes
    /// all configurations.
    pub fn make(&self) -> Result<Client> {
        let root_key = self.dir.join("root.key");
        if !root_key.is_file() {
            command::key::generate(Some(&root_key))?;
        }
        if self.gateway.is_some() {
            self.peer_certificates()?;
        }
        self.write_configurations(None)?;
        let client = self.stores()?;
        self.write_configurations(Some(&client.id))?;
        Ok(client)
    }

    fn peer_certificates(&self) -> Result<()> {
        if !cert::authority_file(&self.dir).is_file() {
            cert::make_authority(&self.dir)?;
        }
        for region in &self.regions {
            let name = RegionName::parse(region.name)?;
            cert::issue(&cert::Subject::Region(&name), &self.dir, 397)?;
        }
        cert::issue(&cert::Subject::Gateway, &self.dir, 397)
    }

    /// Makes the stores that are missing. The client that the first one's making gave is kept.
    fn stores(&self) -> Result<Client> {
        let kept = self.dir.join("admin.env");
        let mut client = match fs::read_to_string(&kept) {
            Ok(text) => {
                let mut found = exports(&Zeroizing::new(text));
                match (found.remove("AZURE_CLIENT_ID"), found.remove("AZURE_CLIENT_SECRET")) {
                    (Some(id), Some(secret)) => Some(Client { id, secret: Zeroizing::new(secret) }),
                    _ => return Err(self.damaged(&kept)),
                }
            }
            Err(_) => None,
        };
        for region in &self.regions {
            let store = self.dir.join(format!("{}.redb", region.name));
            let first = region.name == REGIONS[0];
            match (store.exists(), first, &client) {
                (true, true, None) => return Err(self.damaged(&kept)),
                // A store that is gone is not made anew behind the deployment's back.
                (false, true, Some(_)) => return Err(self.damaged(&store)),
                (true, ..) => continue,
                (false, ..) => {}
            }
            let made = command::init::init(&self.config(region.name))?;
            if let Some(made) = made.client {
                let secret = made.secret.ok_or_else(|| Problem::new("the first client has no secret"))?;
                let made = Client { id: made.id.to_string(), secret };
                let lines = Zeroizing::new(format!(
                    "export AZURE_CLIENT_ID='{}'\nexport AZURE_CLIENT_SECRET='{}'\n",
                    made.id, *made.secret
                ));
                command::key::write_private(&kept, lines.as_bytes())?;
                client = Some(made);
            }
        }
        client.ok_or_else(|| self.damaged(&kept))
    }

    fn damaged(&self, file: &Path) -> Problem {
        Problem::new(format!("{} is not whole: {} is missing or damaged", self.dir.display(), file.display()))
            .way_out(format!("start anew: rm -r {}", self.dir.display()))
    }

    fn config(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.toml"))
    }

    fn write_configurations(&self, client_id: Option<&str>) -> Result<()> {
        let write = |name: &str, text: String| {
            let path = self.config(name);
            fs::write(&path, text)
                .map_err(|e| Problem::new(format!("{} cannot be written: {e}", path.display())))
        };
        for region in &self.regions {
            write(region.name, self.region_configuration(region, client_id))?;
        }
        match self.gateway {
            Some(health_port) => write(GATEWAY, self.gateway_configuration(health_port)),
            None => Ok(()),
        }
    }

    fn region_configuration(&self, region: &Region, client_id: Option<&str>) -> String {
        let Region { name, address, public_port, health_port, peer_port, .. } = region;
        let peer_listen = format!("listen = \"{address}:{peer_port}\"\n");
        let (deployment, peer) = self.deployment(name, &peer_listen);
        // The metadata address of a machine is one: the home region's node plays it.
        let identity = match client_id.filter(|_| *name == REGIONS[0]) {
            Some(id) => format!(
                "[managed_identity]\naddress = \"127.0.0.1:{}\"\nclient_id = \"{id}\"\n",
                self.imds_port
            ),
            None => String::new(),
        };
        let head = self.head(Some(name));
        let rest = self.rest(name, *address, *public_port, *health_port);
        format!(
            "{head}[store]\npath = \"{name}.redb\"\n[root_key]\nsources = [{{ file = \"root.key\" }}]\n{rest}{identity}{deployment}{peer}"
        )
    }

    fn gateway_configuration(&self, health_port: u16) -> String {
        let (deployment, peer) = self.deployment(GATEWAY, "");
        let rest = self.rest(GATEWAY, Ipv4Addr::LOCALHOST, self.port, health_port);
        format!("{}{rest}{deployment}{peer}", self.head(None))
    }

    fn head(&self, region: Option<&str>) -> String {
        let region = region.map(|name| format!("region = \"{name}\"\n")).unwrap_or_default();
        format!(
            "# Made by `valv dev` at every start; crates/valv/valv.example.toml explains the settings.\n{region}tenant_id = \"{}\"\ndomain = \"{DOMAIN}\"\ndefault_vault = \"{VAULT}\"\n",
            self.tenant
        )
    }

    fn rest(&self, name: &str, address: Ipv4Addr, port: u16, health_port: u16) -> String {
        let v6 = if has_ipv6() && port == self.port { format!(", \"[::1]:{port}\"") } else { String::new() };
        let public_port = self.port;
        format!(
            r#"[listen]
addresses = ["{address}:{port}"{v6}]
certificate = "tls.crt"
key = "tls.key"
public_port = {public_port}
health = "127.0.0.1:{health_port}"
[identity]
authority = "https://localhost:{public_port}"
[audit]
file = "{name}.audit.jsonl"
[limits]
rate = false
"#
        )
    }

    /// The regions and the inter-node side; nothing in a deployment of one region.
    fn deployment(&self, name: &str, listen: &str) -> (String, String) {
        if self.gateway.is_none() {
            return (String::new(), String::new());
        }
        let region = |region: &Region| {
            let Region { name, address, peer_port, .. } = region;
            format!("[[regions]]\nname = \"{name}\"\npeers = [\"{address}:{peer_port}\"]\n")
        };
        let peer = format!(
            "[peer]\n{listen}certificate = \"peer-{name}.crt\"\nkey = \"peer-{name}.key\"\nca = \"peer-ca.crt\"\n"
        );
        (self.regions.iter().map(region).collect(), peer)
    }
}

/// The tenant of the deployment, made once.
fn tenant(dir: &Path) -> Result<String> {
    let path = dir.join("tenant");
    if let Ok(tenant) = fs::read_to_string(&path) {
        return Ok(tenant.trim().to_owned());
    }
    let tenant = uuid::Uuid::new_v4().to_string();
    fs::write(&path, &tenant)
        .map_err(|e| Problem::new(format!("{} cannot be written: {e}", path.display())))?;
    Ok(tenant)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    /// What is written is what the program reads, and the three agree.
    #[test]
    fn a_pair_and_one_region_are_configurations() {
        for one_region in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            super::super::certificates::make(dir.path(), DOMAIN).unwrap();
            let layout =
                Layout::new(dir.path(), 8443, one_region, None, &mut Ports::claim().unwrap()).unwrap();
            let client = layout.make().unwrap();
            let names: Vec<String> = layout.programs().into_iter().map(|program| program.name).collect();
            let expected: &[&str] = if one_region { &["eastus"] } else { &["eastus", "westus", "gateway"] };
            assert_eq!(names, expected);
            for program in layout.programs() {
                let config = config::load(&program.config()).map_err(|e| e.to_string()).unwrap();
                assert_eq!(config.resource(), "https://vault.localhost:8443");
                assert_eq!(config.authority, "https://localhost:8443");
                let region = config.region.as_ref().map_or("gateway", |region| region.as_str());
                assert_eq!(region, program.name);
                assert_eq!(config.store.is_some_and(|store| store.path.is_file()), region != "gateway");
                let [first, second] = REGIONS.map(|name| RegionName::parse(name).unwrap());
                assert_eq!(config.deployment.map.pair(&first), (!one_region).then_some(&second));
                assert_eq!(config.deployment.map.warnings().is_empty(), !one_region);
                assert_eq!(config.managed_identity.is_some(), region == REGIONS[0]);
            }
            // A second start finds what the first made.
            assert_eq!(
                Layout::new(dir.path(), 8443, one_region, None, &mut Ports::claim().unwrap())
                    .unwrap()
                    .make()
                    .unwrap()
                    .id,
                client.id
            );
            // A store that is gone is not made anew.
            fs::remove_file(dir.path().join("eastus.redb")).unwrap();
            let refused = Layout::new(dir.path(), 8443, one_region, None, &mut Ports::claim().unwrap())
                .unwrap()
                .make()
                .err()
                .unwrap()
                .to_string();
            assert!(refused.contains("eastus.redb is missing"), "{refused}");
        }
    }
}
