//! Every fuzz target for a while, on the stable compiler.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};

use super::{Context, nextest::Count};

/// Builds and runs the targets of `fuzz/`.
pub(super) fn run(context: &mut Context<'_>) -> Result<Count> {
    let seconds = if context.long { 600 } else { 15 };
    context.log.set_deadline(Duration::from_secs(seconds + 30 * 60));
    let listed = cargo_fuzz(context, "list", &[]).output().context("cannot start cargo fuzz")?;
    ensure!(listed.status.success(), "cargo fuzz list: {}", String::from_utf8_lossy(&listed.stderr));
    let listed = String::from_utf8(listed.stdout)?;
    let targets: Vec<&str> = listed.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    ensure!(!targets.is_empty(), "fuzz/Cargo.toml has no targets");

    let target_dir = context.workspace.target.join("fuzz");
    let target_dir = target_dir.to_str().context("the target directory is not UTF-8")?;
    // The project has no unsafe code, so the address sanitizer would find nothing of ours.
    let options = ["--sanitizer", "none", "--target-dir", target_dir];
    let mut command = cargo_fuzz(context, "build", &options);
    context.log.run(&mut command)?;
    for target in &targets {
        let corpus = context.workspace.target.join("fuzz-corpus").join(target);
        fs::create_dir_all(&corpus)?;
        let seeds = context.workspace.root.join("fuzz/seeds").join(target);
        ensure!(seeds.is_dir(), "fuzz target {target} has no seeds: {} is missing", seeds.display());
        let mut command = cargo_fuzz(context, "run", &options);
        command.arg(target).args([&corpus, &seeds]);
        // A single input that takes 10 s or 1 GiB is a finding.
        command.args(["--", &format!("-max_total_time={seconds}"), "-timeout=10", "-rss_limit_mb=1024"]);
        context.log.line(&format!("== {target}"))?;
        context.log.run(&mut command).with_context(|| format!("target {target}"))?;
    }
    context.log.say(&format!("{} targets, {seconds} s each: {}", targets.len(), targets.join(", ")))?;
    Ok(Count::default())
}

fn cargo_fuzz(context: &Context<'_>, verb: &str, options: &[&str]) -> Command {
    let mut command = context.cargo(&["fuzz", verb]);
    // The compiler's coverage options are marked unstable; this asks the stable compiler for them.
    command.env("RUSTC_BOOTSTRAP", "1").args(options);
    command
}
