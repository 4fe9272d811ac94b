//! The pair under rehearsal: real processes of `valv dev` in a folder of their own, and what is done to them.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::dev::environment::{self, Environment};
use crate::output::{Problem, Result};

/// From start to ready.
const READY_DEADLINE: Duration = Duration::from_secs(30);
/// How long `valv region` may take.
const COMMAND_DEADLINE: Duration = Duration::from_secs(15);

/// What is done to the home region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// SIGKILL to its processes; they are started again.
    Kill,
    /// SIGSTOP to its processes: they accept connections and answer nothing; then SIGCONT.
    Freeze,
    /// Packets to and from it vanish; nothing is reset. Needs root (network namespaces, nftables).
    Partition,
}

impl Fault {
    /// The word of the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Freeze => "freeze",
            Self::Partition => "partition",
        }
    }
}

/// A running pair.
pub struct Ground {
    dir: PathBuf,
    child: Child,
    fault: Fault,
    /// How programs reach it.
    pub environment: Environment,
    /// The gateway's address.
    pub gateway: SocketAddr,
}

impl Ground {
    /// Starts a pair in `dir`, which must be empty, and waits until it is ready.
    pub async fn start(dir: &Path, fault: Fault) -> Result<Self> {
        let failed = |e: std::io::Error| Problem::new(format!("the pair cannot be started: {e}"));
        let log = fs::File::create(dir.join("dev.log")).map_err(failed)?;
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.args(["dev", "--port", "0", "--dir"]).arg(dir);
        if fault == Fault::Partition {
            command.arg("--separate-hosts");
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let deadline = Instant::now() + READY_DEADLINE;
        let environment = loop {
            if let Ok(environment) = environment::read(dir) {
                break environment;
            }
            let ended = child.try_wait().map_err(failed)?;
            if ended.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(dir.join("dev.log")).unwrap_or_default();
                return Err(Problem::new(format!("the pair did not become ready:\n{log}")));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let port = environment.authority.rsplit(':').next().and_then(|port| port.parse().ok());
        let port: u16 = port.ok_or_else(|| Problem::new("the gateway has no port"))?;
        Ok(Self { dir: dir.to_owned(), child, fault, environment, gateway: ([127, 0, 0, 1], port).into() })
    }

    /// Where the pair's files are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Takes a region away.
    pub async fn take(&self, region: &str) -> Result<()> {
        match self.fault {
            Fault::Kill => self.region("fail", region).await,
            Fault::Freeze => self.signal(region, Signal::STOP),
            Fault::Partition => self.region("cut", region).await,
        }
    }

    /// Gives it back.
    pub async fn give_back(&self, region: &str) -> Result<()> {
        match self.fault {
            Fault::Kill | Fault::Partition => self.region("heal", region).await,
            Fault::Freeze => self.signal(region, Signal::CONT),
        }
    }

    async fn region(&self, word: &str, region: &str) -> Result<()> {
        let failed = |e: std::io::Error| Problem::new(format!("valv region {word}: {e}"));
        let run = Command::new(std::env::current_exe().map_err(failed)?)
            .args(["region", word, region, "--dir"])
            .arg(&self.dir)
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(COMMAND_DEADLINE, run).await;
        let output =
            output.map_err(|_| Problem::new(format!("valv region {word} does not end")))?.map_err(failed)?;
        if output.status.success() {
            return Ok(());
        }
        Err(Problem::new(format!("valv region {word}: {}", String::from_utf8_lossy(&output.stderr))))
    }

    fn signal(&self, region: &str, signal: Signal) -> Result<()> {
        let file = self.dir.join(format!("{region}.pid"));
        let pid =
            fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok()).and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| Problem::new(format!("{} names no process", file.display())))?;
        kill_process(pid, signal).map_err(|e| Problem::new(format!("process {pid:?} of {region}: {e}")))
    }

    /// Stops everything, in order.
    pub async fn stop(mut self) {
        if let Some(pid) = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = tokio::time::timeout(Duration::from_secs(30), self.child.wait()).await;
    }
}
