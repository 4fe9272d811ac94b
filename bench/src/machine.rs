//! The machine: which cores do what, what a process used, how fast the disk syncs.

use std::io::{Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Outcome;
use crate::figures;

/// The cores this process may use, divided: the first ones for the server, the others for the load.
pub(crate) struct Cores {
    pub(crate) server: Vec<usize>,
    pub(crate) load: Vec<usize>,
}

impl Cores {
    /// Gives the server this many cores. On a machine that has no more they share all of them.
    pub(crate) fn divide(server: usize) -> Outcome<Self> {
        let allowed = sched_getaffinity(None)?;
        let mut cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
        if cores.len() <= server {
            return Ok(Self { server: cores.clone(), load: cores });
        }
        let load = cores.split_off(server);
        Ok(Self { server: cores, load })
    }
}

/// From now on this thread, and the threads and processes it starts, run on these cores only.
pub(crate) fn stay_on(cores: &[usize]) -> Outcome {
    let mut set = CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    Ok(sched_setaffinity(None, &set)?)
}

/// The CPU time that a process has used, user and system, all threads.
pub(crate) fn cpu(process: u32) -> Outcome<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let ticks = figures::ticks(&stat).ok_or("/proc/PID/stat is not what the manual says")?;
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// The memory of a process that is in RAM, KiB.
pub(crate) fn resident(process: u32) -> Outcome<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    figures::kibibytes(&status, "VmRSS").ok_or_else(|| "/proc/PID/status has no VmRSS".into())
}

/// How many processes wanted a core in the last minute, on average, and how many cores there are.
pub(crate) fn busy() -> (f64, usize) {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(f64::NAN);
    (load, std::thread::available_parallelism().map_or(1, usize::from))
}

/// Appends of 4 KiB, each with `fdatasync`, a second: what bounds durable writes.
pub(crate) fn syncs_per_second(folder: &Path) -> Outcome<f64> {
    const FILE: u64 = 16 << 20;
    let mut file = tempfile::tempfile_in(folder)?;
    file.write_all(&vec![0; FILE as usize])?;
    file.sync_all()?;
    file.rewind()?;
    let (begin, mut syncs) = (Instant::now(), 0);
    while begin.elapsed() < Duration::from_secs(1) {
        if file.stream_position()? >= FILE {
            file.rewind()?;
        }
        file.write_all(&[1; 4096])?;
        file.sync_data()?;
        syncs += 1;
    }
    Ok(f64::from(syncs) / begin.elapsed().as_secs_f64())
}
