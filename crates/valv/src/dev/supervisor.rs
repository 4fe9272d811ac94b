//! One node as a child process, which ends with us: it watches its standard input.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, ChildStdin, Command};
use tokio::signal::unix::{SignalKind, signal};

use crate::output::{Problem, Result, progress};

/// After that a node that was asked to stop is killed.
const STOP_DEADLINE: Duration = Duration::from_secs(25);

/// A running node.
pub struct Node {
    child: Child,
    /// Kept apart, because waiting for a child closes the end that it still holds.
    stdin: Option<ChildStdin>,
    log: PathBuf,
}

impl Node {
    /// Starts `valv serve`; its log goes to `DIR/node.log`.
    pub fn start(config: &Path, dir: &Path) -> Result<Self> {
        let log = dir.join("node.log");
        let failed = |e: std::io::Error| Problem::new(format!("the node cannot be started: {e}"));
        let open = || std::fs::OpenOptions::new().create(true).append(true).open(&log);
        let mut child = Command::new(std::env::current_exe().map_err(failed)?)
            .args(["serve", "--stop-with-stdin", "--config"])
            .arg(config)
            .stdin(Stdio::piped())
            .stdout(open().map_err(failed)?)
            .stderr(open().map_err(failed)?)
            .process_group(0) // Ctrl-C reaches us alone, and we stop the node in order.
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        if let Some(id) = child.id() {
            std::fs::write(dir.join("node.pid"), id.to_string()).map_err(failed)?;
        }
        let stdin = child.stdin.take();
        Ok(Self { child, stdin, log })
    }

    /// An error with the end of the log if the node is gone.
    pub fn still_running(&mut self) -> Result<()> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.gone(&status.to_string())),
            Err(e) => Err(self.gone(&e.to_string())),
        }
    }

    fn gone(&self, how: &str) -> Problem {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(10).collect();
        let end = lines.into_iter().rev().collect::<Vec<_>>().join("\n  ");
        Problem::new(format!("the node ended ({how}). The end of {}:\n  {end}", self.log.display()))
    }

    /// Until Ctrl-C or SIGTERM, or until the node is gone.
    pub async fn watch(&mut self) -> Result<()> {
        let failed = |e: std::io::Error| Problem::new(format!("signals cannot be received: {e}"));
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        tokio::select! {
            status = self.child.wait() => {
                let how = status.map_or_else(|e| e.to_string(), |s| s.to_string());
                Err(self.gone(&how))
            }
            _ = interrupt.recv() => { progress("stopping"); Ok(()) }
            _ = terminate.recv() => { progress("stopping"); Ok(()) }
        }
    }

    /// Asks the node to finish what it is doing, and waits.
    pub async fn stop(&mut self) {
        drop(self.stdin.take());
        if tokio::time::timeout(STOP_DEADLINE, self.child.wait()).await.is_err() {
            progress("the node does not stop; killing it");
            let _ = self.child.kill().await;
        }
    }
}
