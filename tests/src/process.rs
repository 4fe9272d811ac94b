//! A program under test: its output goes to files, and it does not outlive its owner.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{DEADLINE, within};

/// A started program. Dropping it ends it: first politely (`SIGTERM`), then not.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    /// Starts `command`; its output is appended to `logs/NAME.stdout` and `logs/NAME.stderr`.
    pub fn spawn(mut command: Command, name: &str, logs: &Path) -> Self {
        fs::create_dir_all(logs).expect("the directory for logs");
        let (stdout, stderr) = (logs.join(format!("{name}.stdout")), logs.join(format!("{name}.stderr")));
        let append = |path: &Path| {
            File::options().create(true).append(true).open(path).expect("a file for a program's output")
        };
        let child = command
            .stdin(Stdio::null())
            .stdout(append(&stdout))
            .stderr(append(&stderr))
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
        Self { child, name: name.to_owned(), stdout, stderr }
    }

    /// Sends a signal; to a process that has ended already, nothing.
    pub fn signal(&mut self, signal: Signal) {
        if self.exited().is_none() {
            let pid = Pid::from_child(&self.child);
            kill_process(pid, signal).unwrap_or_else(|e| panic!("cannot signal {}: {e}", self.name));
        }
    }

    /// Its exit status, once it has ended.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the state of a child")
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.wait_within(DEADLINE)
    }

    /// Waits for its end, for what takes long.
    pub fn wait_within(&mut self, deadline: Duration) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        within(deadline, &what, || self.exited())
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The most memory it has held at once so far, in KiB (proc(5): `VmHWM`).
    #[must_use]
    pub fn peak_memory_kib(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.id())).expect("a running process");
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// All that it printed so far, for the message of a failed test.
    #[must_use]
    pub fn output(&self) -> String {
        let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        format!(
            "--- {0}, stdout\n{1}\n--- {0}, stderr\n{2}",
            self.name,
            read(&self.stdout),
            read(&self.stderr)
        )
    }

    /// Where its standard output goes.
    #[must_use]
    pub fn stdout(&self) -> &Path {
        &self.stdout
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.exited().is_some() {
            return;
        }
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        for _ in 0..300 {
            if self.exited().is_some() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
