//! Ports of the loopback addresses.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, ToSocketAddrs};
use std::path::Path;

use crate::output::{Problem, Result};

/// Below the range from which systems take the ports of outgoing connections: a process that is taken away for a while
/// must find its port free when it comes back, and whoever tries to reach it meanwhile must not connect to himself.
const RANGE: std::ops::Range<u16> = 10_240..32_768;

/// Ports that are taken together.
const BLOCK: u16 = 32;

/// Ports for one deployment: a block of its own, so that deployments that start at one moment do not choose the same ones
/// before either has opened them. Dropping it gives the block back.
pub struct Ports {
    first: u16,
    /// How many were given.
    taken: u16,
    /// Nobody else can have the block while its first port is listened on. Nothing is ever accepted there.
    _claim: TcpListener,
}

impl Ports {
    /// Claims a block.
    pub fn claim() -> Result<Self> {
        let block = || {
            let first = RANGE.start + BLOCK * fastrand::u16(..(RANGE.end - RANGE.start) / BLOCK);
            Some(Self { first, taken: 0, _claim: TcpListener::bind((Ipv4Addr::LOCALHOST, first)).ok()? })
        };
        let none = || Problem::new("no free ports on 127.0.0.1").way_out("stop what is not needed there");
        (0..1_000).find_map(|_| block()).ok_or_else(none)
    }

    /// A port of the block that nobody uses: the same number is never given twice.
    pub fn take(&mut self) -> Result<u16> {
        self.find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
    }

    fn find(&mut self, free: impl Fn(u16) -> bool) -> Result<u16> {
        loop {
            self.taken += 1;
            if self.taken >= BLOCK {
                return Err(Problem::new("no free port on 127.0.0.1").way_out("try again"));
            }
            if free(self.first + self.taken) {
                return Ok(self.first + self.taken);
            }
        }
    }
}

/// The port of the managed-identity endpoint: the same at every start, so that a shell that read dev.env
/// before goes on; another if somebody has taken it.
pub fn kept_port(dir: &Path, ports: &mut Ports) -> Result<u16> {
    let path = dir.join("imds-port");
    let kept: Option<u16> = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
    if let Some(port) = kept
        && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
    {
        return Ok(port);
    }
    let port = ports.take()?;
    fs::write(&path, port.to_string())
        .map_err(|e| Problem::new(format!("{} cannot be written: {e}", path.display())))?;
    Ok(port)
}

/// What clients use; 0: a free one. On both loopback addresses, because a name may resolve to either.
pub fn choose_port(wanted: u16, ports: &mut Ports) -> Result<u16> {
    if wanted == 0 {
        return ports.find(|port| on_both(port).is_ok());
    }
    on_both(wanted).map_err(|e| {
        Problem::new(format!("port {wanted} cannot be used: {e}"))
            .way_out("stop what uses it (another `valv dev`?), or take a free one with --port 0")
    })?;
    Ok(wanted)
}

fn on_both(port: u16) -> std::io::Result<()> {
    let _v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    match TcpListener::bind((Ipv6Addr::LOCALHOST, port)) {
        // A machine without IPv6 is served on IPv4 alone.
        Err(e) if e.kind() == std::io::ErrorKind::AddrInUse => Err(e),
        _ => Ok(()),
    }
}

/// Does the name lead to this machine?
pub fn loopback(host: &str, port: u16) -> bool {
    match (host, port).to_socket_addrs() {
        Ok(found) => {
            let found: Vec<_> = found.collect();
            !found.is_empty() && found.iter().all(|a| a.ip().is_loopback())
        }
        Err(_) => false,
    }
}

pub fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice_also_not_to_another_deployment_and_a_block_is_given_back() {
        let mut blocks: Vec<Ports> = (0..20).map(|_| Ports::claim().unwrap()).collect();
        let mut given: Vec<u16> =
            blocks.iter_mut().flat_map(|block| [block.take(), block.take()]).map(Result::unwrap).collect();
        let chosen = choose_port(0, &mut blocks[0]).unwrap();
        given.push(chosen);
        given.sort_unstable();
        given.dedup();
        assert_eq!(given.len(), 41);
        assert!(given.iter().all(|port| RANGE.contains(port)));
        let first = blocks[0].first;
        drop(blocks);
        assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, first)).is_ok());
    }
}
