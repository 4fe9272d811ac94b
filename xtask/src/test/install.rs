//! Installing what the tests need, by package name and only what is missing.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::{
    Context,
    run::{Log, shown},
};

/// A Debian package, and how to see that it, or its like from elsewhere, is there.
struct Package {
    name: &'static str,
    /// A command that succeeds if nothing has to be installed.
    probe: &'static [&'static str],
    why: &'static str,
}

const PACKAGES: &[Package] = &[
    Package { name: "g++", probe: &["c++", "--version"], why: "fuzz targets link libFuzzer" },
    Package {
        name: "libnss-myhostname",
        probe: &["getent", "hosts", "dev.vault.localhost"],
        why: "vault names below localhost resolve",
    },
    Package { name: "faketime", probe: &["faketime", "--version"], why: "tests move a node's clock" },
    Package { name: "iproute2", probe: &["ip", "-V"], why: "tests give each region a host of its own" },
    Package { name: "nftables", probe: &["nft", "--version"], why: "tests make packets vanish" },
    Package { name: "strace", probe: &["strace", "--version"], why: "tests make system calls fail" },
    Package { name: "softhsm2", probe: &["softhsm2-util", "--version"], why: "root keys in a PKCS#11 token" },
    Package {
        name: "opensc",
        // Its other commands need a module, or end with an error.
        probe: &["sh", "-c", "command -v pkcs11-tool"],
        why: "it makes keys in a PKCS#11 token",
    },
    Package {
        name: "openssl",
        probe: &["openssl", "version"],
        why: "another implementation of every algorithm",
    },
    Package {
        name: "python3-venv",
        probe: &["python3", "-c", "import venv, ensurepip"],
        why: "the Python SDK",
    },
    Package { name: "nodejs", probe: &["node", "--version"], why: "the JavaScript SDK" },
    Package { name: "npm", probe: &["npm", "--version"], why: "the JavaScript SDK" },
];

/// Debian packages.
pub(super) fn packages(context: &mut Context<'_>) -> Result<()> {
    let missing: Vec<&Package> = PACKAGES.iter().filter(|p| !succeeds(p.probe)).collect();
    if missing.is_empty() {
        return context.log.line("no Debian package is missing");
    }
    for package in &missing {
        context.log.say(&format!("installing {} ({})", package.name, package.why))?;
    }
    let names: Vec<&str> = missing.iter().map(|p| p.name).collect();
    let by_hand = format!("install it by hand: apt-get install {}", names.join(" "));
    if !succeeds(&["apt-get", "--version"]) {
        bail!("this is no Debian, {by_hand} (or what your system calls it)");
    }
    let root = output(&["id", "-u"]).is_some_and(|id| id == "0");
    if !root && !succeeds(&["sudo", "--version"]) {
        bail!("you are not root and there is no sudo; {by_hand}");
    }
    let prefix: &[&str] = if root { &[] } else { &["sudo"] };
    let install = ["apt-get", "install", "--yes", "--no-install-recommends"];
    for words in [&["apt-get", "update"][..], &[&install[..], &names].concat()] {
        let words = [prefix, &["env", "DEBIAN_FRONTEND=noninteractive"], words].concat();
        context.log.run(&mut context.command(words[0], &words[1..])).with_context(|| by_hand.clone())?;
    }
    let still: Vec<&str> = missing.iter().filter(|p| !succeeds(p.probe)).map(|p| p.name).collect();
    if !still.is_empty() {
        bail!("{} installed, and still not usable", still.join(", "));
    }
    Ok(())
}

/// A cargo subcommand and the version that is installed where it, or a later one, is missing.
struct Tool {
    name: &'static str,
    version: (u64, u64, u64),
}

const TOOLS: &[Tool] = &[
    Tool { name: "nextest", version: (0, 9, 143) },
    Tool { name: "deny", version: (0, 20, 2) },
    Tool { name: "fuzz", version: (0, 13, 2) },
];

/// Cargo tools being compiled beside the first steps.
pub(super) struct Tools {
    child: Child,
    log: Log,
}

impl Tools {
    /// Starts installing the tools that are missing or old; `None` if there are none.
    pub(super) fn start(context: &mut Context<'_>) -> Result<Option<Self>> {
        let missing: Vec<String> = TOOLS
            .iter()
            .filter(|tool| {
                let found = output(&["cargo", tool.name, "--version"]).and_then(|text| version(&text));
                found.is_none_or(|found| found < tool.version)
            })
            .map(|Tool { name, version: (major, minor, patch) }| {
                format!("cargo-{name}@{major}.{minor}.{patch}")
            })
            .collect();
        if missing.is_empty() {
            context.log.line("no cargo tool is missing")?;
            return Ok(None);
        }
        context.log.say(&format!("installing {} beside the next steps", missing.join(", ")))?;
        let logs = context.workspace.target.join("test-logs");
        let mut log = Log::create(&logs, "cargo-install")?;
        let mut command = context.cargo(&["install", "--locked"]);
        command.args(missing);
        // One target directory, so that the tools share what they have in common; quick to compile, fast enough.
        command.env("CARGO_TARGET_DIR", context.workspace.target.join("tools"));
        for (key, value) in [
            ("OPT_LEVEL", "1"),
            ("LTO", "off"),
            ("CODEGEN_UNITS", "16"),
            ("DEBUG", "0"),
            ("STRIP", "symbols"),
        ] {
            command.env(format!("CARGO_PROFILE_RELEASE_{key}"), value);
        }
        let child = log.spawn(&mut command)?;
        Ok(Some(Self { child, log }))
    }

    /// Waits until they are installed.
    pub(super) fn wait(mut self, log: &mut Log) -> Result<()> {
        let status = self.log.wait(&mut self.child)?;
        log.line(&self.log.tail(8 * 1024))?;
        if !status.success() {
            bail!("cargo install ended with {status}, see {}", self.log.path().display());
        }
        Ok(())
    }
}

impl Drop for Tools {
    fn drop(&mut self) {
        // Nothing goes on after the test command has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The SDK for Python, in an environment of its own.
pub(super) fn python_clients(context: &mut Context<'_>) -> Result<()> {
    let wanted = context.workspace.root.join("tests/clients/python/requirements.txt");
    let place = context.workspace.target.join("test-clients/python");
    once(context, &place, &[&wanted], |context| {
        let place = place.to_str().context("the target directory is not UTF-8")?;
        let python = format!("{place}/bin/python");
        let wanted = wanted.to_str().context("the workspace's path is not UTF-8")?;
        context.log.run(&mut context.command("python3", &["-m", "venv", "--clear", place]))?;
        context.log.run(&mut context.command(
            &python,
            &["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--requirement", wanted],
        ))
    })
}

/// The SDK for JavaScript.
pub(super) fn js_clients(context: &mut Context<'_>) -> Result<()> {
    let from = context.workspace.root.join("tests/clients/js");
    let place = context.workspace.target.join("test-clients/js");
    let files = [from.join("package.json"), from.join("package-lock.json")];
    once(context, &place, &[&files[0], &files[1]], |context| {
        fs::create_dir_all(&place)?;
        for file in &files {
            fs::copy(file, place.join(file.file_name().unwrap_or_default()))
                .with_context(|| format!("cannot copy {}", file.display()))?;
        }
        let mut command = context.command("npm", &["ci", "--no-audit", "--no-fund"]);
        context.log.run(command.current_dir(&place))
    })
}

/// Does `install` unless it was done before with the same `inputs`.
fn once(
    context: &mut Context<'_>,
    place: &Path,
    inputs: &[&Path],
    install: impl FnOnce(&mut Context<'_>) -> Result<()>,
) -> Result<()> {
    let mut wanted = String::new();
    for input in inputs {
        wanted += &fs::read_to_string(input).with_context(|| format!("cannot read {}", input.display()))?;
    }
    let stamp = place.join("installed");
    if fs::read_to_string(&stamp).is_ok_and(|done| done == wanted) {
        return context.log.line(&format!("{} is up to date", place.display()));
    }
    let start = std::time::Instant::now();
    install(context)?;
    fs::write(&stamp, wanted)?;
    context.log.say(&format!("{} made in {}", place.display(), shown(start.elapsed())))
}

fn succeeds(words: &[&str]) -> bool {
    let [program, arguments @ ..] = words else { return false };
    let quiet = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

fn output(words: &[&str]) -> Option<String> {
    let [program, arguments @ ..] = words else { return None };
    let output = Command::new(program).args(arguments).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The first thing in a text that looks like `1.2.3`.
fn version(text: &str) -> Option<(u64, u64, u64)> {
    text.split_whitespace().find_map(|word| {
        let mut numbers = word.split('-').next()?.split('.').map(|part| part.parse::<u64>().ok());
        Some((numbers.next()??, numbers.next()??, numbers.next()??))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_compared_as_numbers() {
        assert_eq!(
            version("cargo-nextest 0.9.143 (60fa45f63 2026-08-04)\nrelease: 1.0.0"),
            Some((0, 9, 143))
        );
        assert_eq!(version("cargo-deny 0.20.2"), Some((0, 20, 2)));
        assert_eq!(version("error: no such command"), None);
        assert!(version("x 0.9.99") < version("x 0.9.143"));
    }

    #[test]
    fn every_package_can_be_looked_for() {
        assert!(PACKAGES.iter().all(|p| !p.probe.is_empty() && !p.name.is_empty() && !p.why.is_empty()));
        assert!(!succeeds(&[]) && !succeeds(&["no-such-program-here"]) && succeeds(&["true"]));
    }
}
