//! `valv dev` as a user starts it.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{Api, Process, until};

/// The program under test: `VALV_BIN`, or the one that was built beside this test.
#[must_use]
pub fn valv() -> PathBuf {
    let path = match env::var_os("VALV_BIN") {
        Some(path) => PathBuf::from(path),
        // The test lies in target/debug/deps, the program one above.
        None => env::current_exe()
            .ok()
            .and_then(|test| Some(test.parent()?.parent()?.join("valv")))
            .expect("a test has a path"),
    };
    assert!(
        path.is_file(),
        "there is no program {}: build it first (`cargo build -p valv`) or name it in VALV_BIN",
        path.display()
    );
    path
}

/// A running `valv dev` in a directory of its own, on a free port. Dropping it stops it.
#[derive(Debug)]
pub struct Dev {
    process: Process,
    environment: BTreeMap<String, String>,
    arguments: Vec<String>,
    root: TempDir,
}

impl Dev {
    /// Starts it and waits until it is ready.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with further arguments.
    #[must_use]
    pub fn start_with(arguments: &[&str]) -> Self {
        let root = TempDir::with_prefix("valv-test-").expect("a temporary directory");
        let arguments: Vec<String> = arguments.iter().map(|&a| a.to_owned()).collect();
        let process = spawn(root.path(), "0", &arguments);
        let mut dev = Self { process, environment: BTreeMap::new(), arguments, root };
        dev.ready();
        dev
    }

    fn ready(&mut self) {
        let file = self.data().join("dev.env");
        let process = &mut self.process;
        let text = until("dev.env, which `valv dev` writes once it is ready", || {
            if let Some(status) = process.exited() {
                panic!("`valv dev` ended ({status}) before it was ready:\n{}", process.output());
            }
            // Written whole or not at all: the last line ends.
            fs::read_to_string(&file).ok().filter(|text| text.ends_with('\n'))
        });
        self.environment = environment(&text);
        assert!(self.environment.contains_key("VALV_URL"), "dev.env names no VALV_URL:\n{text}");
    }

    /// Stops it as Ctrl-C does, which finishes requests in flight, and waits for its end.
    pub fn stop(&mut self) -> ExitStatus {
        self.process.signal(Signal::INT);
        self.process.wait()
    }

    /// Kills all its processes, as a power cut would, and waits for their end.
    pub fn kill(&mut self) {
        // Stopped first, so that it neither starts again nor stops in order what ends.
        self.process.signal(Signal::STOP);
        for pid in self.processes() {
            kill_process(pid, Signal::KILL).unwrap_or_else(|e| panic!("cannot kill process {pid:?}: {e}"));
        }
        self.process.signal(Signal::KILL);
        self.process.wait();
    }

    /// The process of the home region of the vault `dev`: a child of `valv dev`.
    #[must_use]
    pub fn node(&self) -> Pid {
        read_pid(&self.data().join("eastus.pid"))
    }

    /// All processes that `valv dev` started.
    #[must_use]
    pub fn processes(&self) -> Vec<Pid> {
        let files = fs::read_dir(self.data()).expect("the folder of its data");
        let files = files.map(|entry| entry.expect("an entry").path());
        files
            .filter(|path| path.extension().is_some_and(|e| e == "pid"))
            .map(|path| read_pid(&path))
            .collect()
    }

    /// The process of one region (`eastus`, `westus`) or of the `gateway`.
    #[must_use]
    pub fn pid(&self, name: &str) -> Pid {
        let file = self.data().join(format!("{name}.pid"));
        let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        text.trim().parse().ok().and_then(Pid::from_raw).expect("the number of a process")
    }

    /// `valv region fail|heal|cut REGION`, which must succeed.
    pub fn region(&self, word: &str, region: &str) {
        let mut command = Command::new(valv());
        command.args(["region", word, region, "--dir"]).arg(self.data());
        let output = command.output().expect("valv region runs");
        assert!(
            output.status.success(),
            "valv region {word} {region}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Does `fault` (kill, freeze, partition) to a region.
    pub fn take(&self, fault: &str, region: &str) {
        match fault {
            "kill" => self.region("fail", region),
            "partition" => self.region("cut", region),
            _ => kill_process(self.pid(region), Signal::STOP).expect("a process to stop"),
        }
    }

    /// Undoes it.
    pub fn give_back(&self, fault: &str, region: &str) {
        match fault {
            "kill" | "partition" => self.region("heal", region),
            _ => kill_process(self.pid(region), Signal::CONT).expect("a process to continue"),
        }
    }

    /// Starts it again after [`Dev::stop`] or [`Dev::kill`]: same directory, same port.
    pub fn restart(&mut self) {
        assert!(self.process.exited().is_some(), "stop it before you restart it");
        let port = url::Url::parse(self.var("VALV_URL")).ok().and_then(|url| url.port()).expect("a port");
        // Gone or not: only one that is written anew says that it is ready.
        let _ = fs::remove_file(self.data().join("dev.env"));
        self.process = spawn(self.root.path(), &port.to_string(), &self.arguments);
        self.ready();
    }

    /// A line of `dev.env`.
    #[must_use]
    pub fn var(&self, name: &str) -> &str {
        self.environment
            .get(name)
            .unwrap_or_else(|| panic!("dev.env names no {name}: {:?}", self.environment))
    }

    /// All lines of `dev.env`.
    #[must_use]
    pub fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    /// The directory of its data, configuration and `dev.env`.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.root.path().join("dev")
    }

    /// The directory above, which also holds the output of all programs started for this test.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Where the output of programs goes.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        logs(self.root.path())
    }

    /// A caller with a fresh token of the client in `dev.env`.
    pub async fn api(&self) -> Api {
        self.anonymous().sign_in(self.var("AZURE_CLIENT_ID"), self.var("AZURE_CLIENT_SECRET")).await
    }

    /// A caller without a token.
    #[must_use]
    pub fn anonymous(&self) -> Api {
        let (authority, tenant) = (self.var("AZURE_AUTHORITY_HOST"), self.var("AZURE_TENANT_ID"));
        Api::new(self.var("VALV_URL"), authority, tenant, Path::new(self.var("SSL_CERT_FILE")))
    }

    /// The process itself.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

fn read_pid(file: &Path) -> Pid {
    let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    text.trim().parse().ok().and_then(Pid::from_raw).expect("the number of a process")
}

fn logs(root: &Path) -> PathBuf {
    root.join("logs")
}

fn spawn(root: &Path, port: &str, arguments: &[String]) -> Process {
    let mut command = Command::new(valv());
    command.arg("dev").arg("--dir").arg(root.join("dev")).args(["--port", port]).args(arguments);
    command.current_dir(root);
    Process::spawn(command, "valv-dev", &logs(root))
}

/// Reads shell lines `export NAME=value`, the value bare or in quotes; a `#` before `export` is ignored,
/// so that settings which are offered but not switched on can be read too.
fn environment(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().map(|line| line.trim_start_matches(['#', ' ']));
    lines
        .filter_map(|line| line.strip_prefix("export ").unwrap_or(line).split_once('='))
        .filter(|(name, _)| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b"_0123456789".contains(&b))
        })
        .map(|(name, value)| (name.to_owned(), value.trim().trim_matches(['"', '\'']).to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_lines_are_read_with_and_without_quotes() {
        let read = environment(
            "# words, x=y\nexport VALV_URL='https://dev.vault.localhost:1'\nexport A=b\n# export VALV_IMDS_URL=\"http://127.0.0.1:2\"\n",
        );
        assert_eq!(read["VALV_URL"], "https://dev.vault.localhost:1");
        assert_eq!(read["A"], "b");
        assert_eq!(read["VALV_IMDS_URL"], "http://127.0.0.1:2");
        assert_eq!(read.len(), 3);
    }
}
