//! Real clients: programs in other languages and the Rust SDK, each started with what `dev.env` names and
//! nothing else of this shell, so that no setting of the machine helps or hinders.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{DEADLINE, Dev, Process, valv, within};

/// Runs a Python program of `tests/clients/python` with these further variables. Returns what it prints.
pub fn python(dev: &Dev, program: &str, variables: &[(&str, &str)]) -> String {
    run(dev, python_command(program), program, variables)
}

/// Starts it, for tests that do something meanwhile; see [`passed`].
#[must_use]
pub fn python_begun(dev: &Dev, program: &str, variables: &[(&str, &str)]) -> Process {
    begin(dev, python_command(program), program, variables)
}

fn python_command(program: &str) -> Command {
    let interpreter = installed("VALV_TEST_PYTHON", "python/bin/python");
    let mut command = Command::new(interpreter);
    // No .pyc beside the sources; every line at once.
    command.args(["-B", "-u"]).arg(sources().join("python").join(program));
    command
}

/// Runs a JavaScript program of `tests/clients/js`.
pub fn javascript(dev: &Dev, program: &str, variables: &[(&str, &str)]) {
    run(dev, javascript_command(dev, program), program, variables);
}

/// Starts it, for tests that do something meanwhile; see [`passed`].
#[must_use]
pub fn javascript_begun(dev: &Dev, program: &str, variables: &[(&str, &str)]) -> Process {
    begin(dev, javascript_command(dev, program), program, variables)
}

fn javascript_command(dev: &Dev, program: &str) -> Command {
    let modules = installed("VALV_TEST_NODE_MODULES_DIR", "js/node_modules");
    // Node finds modules only above a program's own place: put a copy beside them.
    let home = dev.root().join("js");
    std::fs::create_dir_all(&home).expect("a directory for the program");
    for source in std::fs::read_dir(sources().join("js")).expect("the programs") {
        let source = source.expect("a program").path();
        if source.extension().is_some_and(|e| e == "mjs") {
            std::fs::copy(&source, home.join(source.file_name().expect("a name"))).expect("a copy");
        }
    }
    let link = home.join("node_modules");
    if !link.exists() {
        std::os::unix::fs::symlink(&modules, &link).expect("a link to node_modules");
    }
    let mut command = Command::new("node");
    if node_major() < 20 {
        // Debian 12 has Node 18, where the SDK wants 20. What it misses is there, behind this switch.
        command.arg("--experimental-global-webcrypto");
    }
    command.arg(home.join(program));
    command
}

fn node_major() -> u32 {
    let output = Command::new("node").arg("--version").output();
    let output = output.unwrap_or_else(|e| panic!("cannot run node ({e}): `cargo xtask test` installs it"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let major = text.trim_start_matches('v').split('.').next().and_then(|major| major.parse().ok());
    major.unwrap_or_else(|| panic!("`node --version` says {text:?}"))
}

/// Runs the Rust SDK's program.
pub fn rust(dev: &Dev, program: &str, variables: &[(&str, &str)]) {
    run(dev, Command::new(program), "rust-sdk", variables);
}

/// Starts it, for tests that do something meanwhile; see [`passed`].
#[must_use]
pub fn rust_begun(dev: &Dev, program: &str, variables: &[(&str, &str)]) -> Process {
    begin(dev, Command::new(program), "rust-sdk", variables)
}

fn begin(dev: &Dev, mut command: Command, name: &str, variables: &[(&str, &str)]) -> Process {
    plain(&mut command, dev).envs(dev.environment()).envs(variables.iter().copied());
    Process::spawn(command, name, &dev.logs())
}

/// Waits until a started program has printed a line.
pub fn printed(process: &mut Process, line: &str) {
    within(4 * DEADLINE, line, || {
        let output = std::fs::read_to_string(process.stdout()).unwrap_or_default();
        if output.lines().any(|printed| printed.starts_with(line)) {
            return Some(());
        }
        assert!(process.exited().is_none(), "ended before {line:?}\n{}", process.output());
        None
    });
}

/// Waits for the end of a started program, which must be a success.
pub fn passed(process: &mut Process) {
    let status = process.wait_within(4 * DEADLINE);
    assert!(status.success(), "failed ({status})\n{}", process.output());
    let output = std::fs::read_to_string(process.stdout()).unwrap_or_default();
    assert!(output.lines().any(|line| line.starts_with("passed: ")), "{}", process.output());
}

/// Runs lines of shell as a user pastes them: every line must succeed. `python3` is the one with the SDKs and
/// `valv` the program under test; nothing of `dev.env` is set. Returns what they print.
pub fn shell(dev: &Dev, name: &str, lines: &str) -> String {
    let python = installed("VALV_TEST_PYTHON", "python/bin/python");
    let mut path: Vec<PathBuf> = [python, valv()].iter().filter_map(|p| Some(p.parent()?.into())).collect();
    path.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    let mut command = Command::new("sh");
    command.args(["-e", "-c", lines]).current_dir(dev.root());
    plain(&mut command, dev).env("PATH", env::join_paths(path).expect("a search path"));
    finish(dev, command, name)
}

fn run(dev: &Dev, mut command: Command, name: &str, variables: &[(&str, &str)]) -> String {
    plain(&mut command, dev).envs(dev.environment()).envs(variables.iter().copied());
    let output = finish(dev, command, name);
    let last = output.lines().last().unwrap_or_default();
    assert!(last.starts_with("passed: "), "{name} did not come to its end\n{output}");
    println!("{name} {last}");
    output
}

/// Clears the environment but for what finds programs.
fn plain<'a>(command: &'a mut Command, dev: &Dev) -> &'a mut Command {
    let kept = ["PATH", "LD_LIBRARY_PATH", "TMPDIR"].map(|name| (name, env::var_os(name)));
    command.env_clear().env("HOME", dev.root());
    command.envs(kept.into_iter().filter_map(|(name, value)| Some((name, value?))))
}

/// Runs to the end, which must be a success; returns the standard output.
fn finish(dev: &Dev, command: Command, name: &str) -> String {
    let mut process = Process::spawn(command, name, &dev.logs());
    // Many requests one after another: long enough for a slow machine.
    let status = process.wait_within(4 * DEADLINE);
    assert!(status.success(), "{name} failed ({status})\n{}", process.output());
    std::fs::read_to_string(process.stdout()).unwrap_or_default()
}

/// What `cargo xtask test` installed below `target/test-clients`, or what the variable names.
fn installed(variable: &str, place: &str) -> PathBuf {
    let path = env::var_os(variable).map_or_else(
        || {
            // The test lies in target/debug/deps.
            let test = env::current_exe().expect("a test has a path");
            let target = test.ancestors().nth(3).expect("a test lies in the target directory");
            target.join("test-clients").join(place)
        },
        PathBuf::from,
    );
    assert!(
        path.exists(),
        "{} is not there: `cargo xtask test` installs the clients; {variable} may name another place",
        path.display()
    );
    path
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}
