//! A host of its own for each region, on one machine: network namespaces joined by a bridge, so that packets between
//! them can be made to vanish. The gateway stays where clients are, on the machine itself.
//!
//! The bridge lies in a namespace too: packet filters of the machine do not see what passes it, and everything goes
//! with its namespace.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde::{Deserialize, Serialize};

use super::layout::GATEWAY;
use crate::output::{Problem, Result};

/// The folder's file that names what was made, so that the next start can remove what a crash left.
const FILE: &str = "hosts";
/// How many networks are tried: others may be in use by other deployments.
const TRIES: usize = 64;
/// The machine's own address in the network; the regions' follow.
const GATEWAY_PART: u8 = 1;
const FIRST_PART: u8 = 11;

/// Which packets of a region vanish.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// Only those from and to this host: a region, or the gateway. None: all.
    pub from: Option<String>,
    /// None: both.
    pub one_way: Option<Way>,
    /// So many of a hundred, at random. None: all.
    pub loss: Option<u8>,
}

/// A direction, seen from the region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "camelCase")]
pub enum Way {
    /// It does not hear.
    In,
    /// It is not heard.
    Out,
}

/// A network of 254 addresses from those set aside for measurements between devices (RFC 2544: 198.18.0.0/15), which no
/// real network uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    second: u8,
    third: u8,
}

impl Network {
    fn random() -> Self {
        Self { second: 18 + fastrand::u8(..2), third: fastrand::u8(..) }
    }

    /// Names of namespaces and of the machine's interface begin with it; the longest is within the 15 bytes of an
    /// interface's name.
    fn id(self) -> String {
        format!("valv-{}-{}", self.second, self.third)
    }

    fn address(self, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(198, self.second, self.third, last)
    }

    /// Does nobody use it? `addresses` is what `ip -o -4 address show` printed.
    fn free(self, addresses: &str) -> bool {
        !addresses.contains(&format!(" 198.{}.{}.", self.second, self.third))
    }

    fn namespace(self, host: &str) -> String {
        format!("{}-{host}", self.id())
    }
}

/// The hosts of one deployment. Dropping removes them.
#[derive(Debug)]
pub struct Hosts {
    network: Network,
    regions: Vec<String>,
    file: PathBuf,
}

impl Hosts {
    /// Removes what a crash left, and makes a host for each region.
    pub fn make(dir: &Path, regions: &[&str]) -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Err(Problem::usage("--separate-hosts makes network namespaces, which needs root")
                .way_out("run it as root (sudo), or without --separate-hosts"));
        }
        let file = dir.join(FILE);
        remove(&file);
        let regions: Vec<String> = regions.iter().map(|&name| name.to_owned()).collect();
        for _ in 0..TRIES {
            let network = Network::random();
            let used = run(&words("ip -o -4 address show"), None)?;
            if !network.free(&String::from_utf8_lossy(&used.stdout)) {
                continue;
            }
            // A namespace's name is taken once: this is what makes the network ours.
            let mut steps = plan(network, &regions).into_iter();
            let Some(claim) = steps.next() else { break };
            if !run(&claim, None)?.status.success() {
                continue;
            }
            let hosts = Self { network, regions, file };
            let names: Vec<String> = hosts.namespaces().collect();
            fs::write(&hosts.file, format!("{}\n{}\n", network.id(), names.join("\n")))
                .map_err(|e| Problem::new(format!("{} cannot be written: {e}", hosts.file.display())))?;
            for step in steps {
                must(&step, None)?;
            }
            // Now, and not when a cut is asked for.
            for region in &hosts.regions {
                hosts.filter(region, "flush ruleset\n")?;
            }
            return Ok(hosts);
        }
        Err(Problem::new("no network of 198.18.0.0/15 is free for the hosts")
            .way_out("`ip netns list` shows what is left of others; `ip netns del NAME` removes one"))
    }

    fn namespaces(&self) -> impl Iterator<Item = String> {
        let hosts = self.regions.iter().map(String::as_str).chain([SWITCH]);
        hosts.map(|host| self.network.namespace(host))
    }

    /// Where a region, or the gateway, is reached.
    pub fn address(&self, name: &str) -> Option<Ipv4Addr> {
        address(self.network, &self.regions, name)
    }

    /// What a program is started by, to run on the region's host.
    pub fn enter(&self, region: &str) -> Vec<String> {
        words(&format!("ip netns exec {}", self.network.namespace(region)))
    }

    /// Makes packets vanish, in addition to those that vanish already.
    pub fn cut(&self, region: &str, cut: &Cut) -> Result<()> {
        let from = match &cut.from {
            None => None,
            Some(name) => Some(self.address(name).filter(|_| name != region).ok_or_else(|| {
                Problem::usage(format!(
                    "'{name}' is not another host; the hosts are {} and {GATEWAY}",
                    self.regions.join(", ")
                ))
            })?),
        };
        self.filter(region, &rules(cut, from))
    }

    /// Lets all packets pass again.
    pub fn heal(&self, region: &str) -> Result<()> {
        self.filter(region, "flush ruleset\n")
    }

    fn filter(&self, region: &str, script: &str) -> Result<()> {
        let mut command = self.enter(region);
        command.extend(words("nft -f -"));
        must(&command, Some(script))
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        remove(&self.file);
    }
}

/// The host of the bridge.
const SWITCH: &str = "switch";

fn address(network: Network, regions: &[String], name: &str) -> Option<Ipv4Addr> {
    if name == GATEWAY {
        return Some(network.address(GATEWAY_PART));
    }
    let at = regions.iter().position(|region| region == name)?;
    Some(network.address(FIRST_PART + u8::try_from(at).ok()?))
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// The commands that make everything, in order. The first one claims the network.
fn plan(network: Network, regions: &[String]) -> Vec<Vec<String>> {
    let (switch, door) = (network.namespace(SWITCH), network.id());
    let mut lines = vec![
        format!("ip netns add {switch}"),
        format!("ip -n {switch} link add name bridge type bridge"),
        format!("ip -n {switch} link set bridge up"),
    ];
    for (at, region) in regions.iter().enumerate() {
        let host = network.namespace(region);
        let address = address(network, regions, region).map(|found| found.to_string()).unwrap_or_default();
        lines.extend([
            format!("ip netns add {host}"),
            format!("ip link add port{at} netns {switch} type veth peer name eth0 netns {host}"),
            format!("ip -n {switch} link set port{at} master bridge up"),
            format!("ip -n {host} address add {address}/24 dev eth0"),
            format!("ip -n {host} link set lo up"),
            format!("ip -n {host} link set eth0 up"),
        ]);
    }
    lines.extend([
        format!("ip link add {door} type veth peer name door netns {switch}"),
        format!("ip -n {switch} link set door master bridge up"),
        format!("ip address add {}/24 dev {door}", network.address(GATEWAY_PART)),
        format!("ip link set {door} up"),
    ]);
    lines.iter().map(|line| words(line)).collect()
}

/// The filter of a cut (nft(8)): packets are dropped, never refused, and the host's own loopback stays.
fn rules(cut: &Cut, from: Option<Ipv4Addr>) -> String {
    let share = cut.loss.map(|percent| format!("numgen random mod 100 < {percent} ")).unwrap_or_default();
    let chain = |name: &str, hook: &str, interface: &str, end: &str| {
        let host = from.map(|from| format!("ip {end} {from} ")).unwrap_or_default();
        format!(
            "table inet valv {{\n chain {name} {{\n  type filter hook {hook} priority 0;\n  {interface} != \"lo\" {host}{share}drop\n }}\n}}\n"
        )
    };
    let hears = cut.one_way == Some(Way::Out);
    let heard = cut.one_way == Some(Way::In);
    let into = if hears { String::new() } else { chain("hear", "input", "iifname", "saddr") };
    let out = if heard { String::new() } else { chain("say", "output", "oifname", "daddr") };
    into + &out
}

/// Removes what the file names; of some of it nothing may be left.
fn remove(file: &Path) {
    let Ok(text) = fs::read_to_string(file) else { return };
    let mut lines = text.lines();
    let Some(door) = lines.next() else { return };
    // A namespace lives on while a process is in it; the cable is what others would notice.
    let cable = words(&format!("ip link del {door}"));
    let removals = lines.map(|name| words(&format!("ip netns del {name}")));
    for step in std::iter::once(cable).chain(removals) {
        let _ = run(&step, None);
    }
    let _ = fs::remove_file(file);
}

fn run(command: &[String], input: Option<&str>) -> Result<Output> {
    use std::io::Write;
    let shown = command.join(" ");
    let failed = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound => Problem::usage(format!("{shown}: there is no such program"))
            .way_out("--separate-hosts needs ip and nft: apt-get install iproute2 nftables"),
        _ => Problem::new(format!("{shown}: {e}")),
    };
    let Some((program, arguments)) = command.split_first() else {
        return Err(Problem::new("an empty command"));
    };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        // One that ends before it has read says why in its output.
        let _ = stdin.write_all(input.as_bytes());
    }
    child.wait_with_output().map_err(failed)
}

fn must(command: &[String], input: Option<&str>) -> Result<()> {
    let output = run(command, input)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Problem::new(format!("{} failed ({}): {}", command.join(" "), output.status, said.trim()))
        .way_out("--separate-hosts needs ip and nft (apt-get install iproute2 nftables) and a kernel with network namespaces, bridges and nftables"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: Network = Network { second: 18, third: 7 };

    fn regions() -> Vec<String> {
        ["eastus", "westus"].map(str::to_owned).to_vec()
    }

    #[test]
    fn the_plan_joins_every_region_and_the_machine_by_one_bridge() {
        let lines: Vec<String> = plan(NETWORK, &regions()).iter().map(|step| step.join(" ")).collect();
        assert_eq!(lines[0], "ip netns add valv-18-7-switch", "the claim comes first");
        for line in [
            "ip netns add valv-18-7-eastus",
            "ip link add port1 netns valv-18-7-switch type veth peer name eth0 netns valv-18-7-westus",
            "ip -n valv-18-7-switch link set port0 master bridge up",
            "ip -n valv-18-7-switch link set door master bridge up",
            "ip -n valv-18-7-eastus address add 198.18.7.11/24 dev eth0",
            "ip -n valv-18-7-westus address add 198.18.7.12/24 dev eth0",
            "ip -n valv-18-7-westus link set lo up",
            "ip address add 198.18.7.1/24 dev valv-18-7",
        ] {
            assert!(lines.iter().any(|step| step == line), "{line} is not in {lines:#?}");
        }
        assert!(Network { second: 19, third: 255 }.id().len() <= 15, "a name of an interface");
    }

    #[test]
    fn a_network_that_somebody_uses_is_not_taken() {
        let used = "2: eth0    inet 10.0.0.5/24 scope global eth0\n9: valv-18-7    inet 198.18.7.1/24 scope global valv-18-7\n";
        assert!(!NETWORK.free(used));
        assert!(Network { second: 18, third: 70 }.free(used));
        assert!(Network { second: 19, third: 7 }.free(used));
    }

    #[test]
    fn a_cut_drops_what_is_asked_for_and_never_refuses() {
        let all = rules(&Cut::default(), None);
        assert!(all.contains("hook input priority 0;\n  iifname != \"lo\" drop"), "{all}");
        assert!(all.contains("hook output priority 0;\n  oifname != \"lo\" drop"), "{all}");
        let pair = address(NETWORK, &regions(), "westus");
        let deaf = Cut { from: Some("westus".into()), one_way: Some(Way::In), loss: Some(20) };
        let deaf = rules(&deaf, pair);
        assert!(
            deaf.contains("iifname != \"lo\" ip saddr 198.18.7.12 numgen random mod 100 < 20 drop"),
            "{deaf}"
        );
        assert!(!deaf.contains("output"), "{deaf}");
        let mute = rules(&Cut { one_way: Some(Way::Out), ..Cut::default() }, None);
        assert!(!mute.contains("input") && mute.contains("output") && !mute.contains("reject"), "{mute}");
        assert_eq!(address(NETWORK, &regions(), GATEWAY), Some(Ipv4Addr::new(198, 18, 7, 1)));
        assert_eq!(address(NETWORK, &regions(), "elsewhere"), None);
    }
}
