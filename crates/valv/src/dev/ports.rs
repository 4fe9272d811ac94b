//! Ports of the loopback addresses.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, ToSocketAddrs};
use std::path::Path;

use crate::output::{Problem, Result};

/// Below the range from which systems take the ports of outgoing connections: a process that is taken away for a while
/// must find its port free when it comes back, and whoever tries to reach it meanwhile must not connect to himself.
const RANGE: std::ops::Range<u16> = 10_240..32_768;

/// The port of the managed-identity endpoint: the same at every start, so that a shell that read dev.env
/// before goes on; another if somebody has taken it.
pub fn kept_port(dir: &Path) -> Result<u16> {
    let path = dir.join("imds-port");
    let kept: Option<u16> = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
    if let Some(port) = kept
        && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
    {
        return Ok(port);
    }
    let port = free_port()?;
    fs::write(&path, port.to_string())
        .map_err(|e| Problem::new(format!("{} cannot be written: {e}", path.display())))?;
    Ok(port)
}

/// Both loopback addresses, because a name may resolve to either.
pub fn choose_port(wanted: u16) -> Result<u16> {
    // A free port of one address may be taken on the other: a few tries find one that is free on both.
    for _ in 0..64 {
        let attempt = || -> std::io::Result<u16> {
            let wanted = if wanted == 0 { fastrand::u16(RANGE) } else { wanted };
            let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, wanted))?;
            let port = v4.local_addr()?.port();
            match TcpListener::bind((Ipv6Addr::LOCALHOST, port)) {
                // A machine without IPv6 is served on IPv4 alone.
                Err(e) if e.kind() == std::io::ErrorKind::AddrInUse => Err(e),
                _ => Ok(port),
            }
        };
        match attempt() {
            Ok(port) => return Ok(port),
            Err(e) if wanted != 0 => {
                return Err(Problem::new(format!("port {wanted} cannot be used: {e}"))
                    .way_out("stop what uses it (another `valv dev`?), or take a free one with --port 0"));
            }
            Err(_) => {}
        }
    }
    Err(Problem::new("no port is free on both 127.0.0.1 and ::1").way_out("name one with --port"))
}

/// A port that nobody uses, and that no outgoing connection will take.
pub fn free_port() -> Result<u16> {
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let tried = std::iter::repeat_with(|| fastrand::u16(RANGE)).take(1_000);
    { tried }.find(free).ok_or_else(|| Problem::new("no free port on 127.0.0.1"))
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
