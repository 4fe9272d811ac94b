//! Running programs: their output goes to a file, a sign of life to the terminal, and each has a deadline.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// How often a long step says that it is alive.
const SIGN_OF_LIFE: Duration = Duration::from_secs(30);

/// How long a program that is told to end may take.
const GRACE: Duration = Duration::from_secs(10);

/// The most of a failed step's output that is shown, in bytes from its end.
const SHOWN_BYTES_MAX: u64 = 24 * 1024;

/// A file that takes what a step prints.
pub(crate) struct Log {
    path: PathBuf,
    file: File,
    deadline: Duration,
}

impl Log {
    /// Makes `name.log` in `dir`, empty.
    pub(crate) fn create(dir: &Path, name: &str) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let path = dir.join(format!("{name}.log"));
        File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        let file = OpenOptions::new().append(true).open(&path)?;
        Ok(Self { path, file, deadline: Duration::from_secs(45 * 60) })
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Sets how long one program may run.
    pub(crate) fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    /// Writes a line to the file.
    pub(crate) fn line(&mut self, line: &str) -> Result<()> {
        writeln!(self.file, "{line}").with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Writes a line to the file and shows it.
    pub(crate) fn say(&mut self, line: &str) -> Result<()> {
        println!("        {line}");
        self.line(line)
    }

    /// Starts a program that writes to the file.
    pub(crate) fn spawn(&mut self, command: &mut Command) -> Result<Child> {
        self.line(&format!("$ {}", spoken(command)))?;
        command
            .stdin(Stdio::null())
            .stdout(self.file.try_clone()?)
            .stderr(self.file.try_clone()?)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))
    }

    /// Waits for a program that writes to the file; ends it at the deadline.
    pub(crate) fn wait(&self, child: &mut Child) -> Result<ExitStatus> {
        let start = Instant::now();
        let mut spoke = start;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if start.elapsed() > self.deadline {
                // SIGTERM, so that a test runner ends the tests that it has started.
                let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
                let killed = Instant::now();
                while child.try_wait()?.is_none() && killed.elapsed() < GRACE {
                    thread::sleep(Duration::from_millis(50));
                }
                let _ = child.kill();
                child.wait()?;
                bail!("did not end within {}", shown(self.deadline));
            }
            if spoke.elapsed() >= SIGN_OF_LIFE {
                spoke = Instant::now();
                println!("        … {} {}", shown(start.elapsed()), self.last_line());
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Runs a program; the exit status is the caller's to judge.
    pub(crate) fn status(&mut self, command: &mut Command) -> Result<ExitStatus> {
        let mut child = self.spawn(command)?;
        self.wait(&mut child)
    }

    /// Runs a program that must succeed.
    pub(crate) fn run(&mut self, command: &mut Command) -> Result<()> {
        let status = self.status(command)?;
        if !status.success() {
            bail!("`{}` ended with {status}", spoken(command));
        }
        Ok(())
    }

    /// What has been written so far, or its end when it is long.
    pub(crate) fn tail(&self, bytes_max: u64) -> String {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = File::open(&self.path)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(bytes_max)))?;
            let mut tail = Vec::new();
            file.read_to_end(&mut tail)?;
            Ok(tail)
        };
        String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
    }

    /// Shows the end of what was written.
    pub(crate) fn show_tail(&self) {
        for line in self.tail(SHOWN_BYTES_MAX).lines() {
            println!("        | {line}");
        }
    }

    fn last_line(&self) -> String {
        let tail = self.tail(400);
        let line = tail.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        line.trim().chars().take(100).collect()
    }
}

/// A command as a person would type it.
fn spoken(command: &Command) -> String {
    let set = command.get_envs().filter_map(|(key, value)| {
        value.map(|value| format!("{}={}", key.to_string_lossy(), value.to_string_lossy()))
    });
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    set.chain(words.map(|word| word.to_string_lossy().into_owned())).collect::<Vec<_>>().join(" ")
}

/// A time as a person reads it.
pub(crate) fn shown(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(name: &str) -> Log {
        Log::create(&std::env::temp_dir().join(format!("valv-xtask-{}", std::process::id())), name).unwrap()
    }

    #[test]
    fn a_program_that_fails_fails_the_step_and_its_output_is_kept() {
        let mut log = log("fails");
        let failure =
            log.run(Command::new("sh").args(["-c", "echo seen; echo too >&2; exit 3"])).unwrap_err();
        assert!(failure.to_string().contains("exit status: 3"), "{failure}");
        assert!(log.tail(1000).ends_with("exit 3\nseen\ntoo\n"), "{}", log.tail(1000));
        assert_eq!(log.tail(4), "too\n");
    }

    #[test]
    fn a_program_that_hangs_is_ended() {
        let mut log = log("hangs");
        log.set_deadline(Duration::from_millis(100));
        let failure = log.run(Command::new("sh").args(["-c", "exec sleep 600"])).unwrap_err();
        assert!(failure.to_string().contains("did not end"), "{failure}");
    }

    #[test]
    fn times_read_well() {
        assert_eq!(shown(Duration::from_millis(1540)), "1.5 s");
        assert_eq!(shown(Duration::from_secs(61)), "1 min 01 s");
        assert_eq!(shown(Duration::from_secs(3700)), "1 h 01 min");
    }
}
