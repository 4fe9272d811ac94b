//! `valv-bench startup`: from the start of a process to its first answer.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use http::{Request, StatusCode, header};
use http_body_util::Full;

use crate::Outcome;
use crate::figures::median;
use crate::load;
use crate::node::{Dev, Process, program};

pub(crate) const EXAMPLES: &str = "\
Example:
  cargo build --release -p valv && cargo run --release -p valv-bench -- startup";

/// No start may take longer.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(clap::Args)]
pub(crate) struct Options {
    /// How often each is started.
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// The program to measure [default: `valv` beside this one].
    #[arg(long, value_name = "FILE")]
    valv: Option<PathBuf>,
    /// Where the store goes.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Self { rounds: 10, valv: None, dir: ".".into() }
    }
}

pub(crate) fn run(options: &Options) -> Outcome {
    let program = program(options.valv.as_deref())?;
    let folder = tempfile::tempdir_in(&options.dir)?;
    let (mut first, mut again, mut serve) = (Vec::new(), Vec::new(), Vec::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for round in 0..options.rounds.max(1) {
        let dir = folder.path().join(format!("dev-{round}"));
        first.push(Dev::start(&program, &dir)?.ready_after);
        let dev = Dev::start(&program, &dir)?;
        again.push(dev.ready_after);
        let (token, place, config) = (runtime.block_on(dev.token())?, dev.public()?, dev.config_file());
        let host = dev.host("dev")?;
        drop(dev);

        let begun = Instant::now();
        let child = Command::new(&program)
            .args(["serve", "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let _process = Process(child);
        runtime.block_on(async {
            let mut sender = loop {
                match load::connect(&place).await {
                    Ok(sender) => break sender,
                    Err(error) if begun.elapsed() > PATIENCE => return Err(error),
                    Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
                }
            };
            // An answer of the store, not only of the socket: the list of an empty vault.
            let request = Request::get("/secrets?api-version=7.6")
                .header(header::HOST, host)
                .header(header::AUTHORIZATION, format!("Bearer {token}"))
                .body(Full::default())?;
            match load::ask(&mut sender, request).await? {
                (StatusCode::OK, _) => Ok(()),
                (status, body) => Err(format!("{status} {}", String::from_utf8_lossy(&body)).into()),
            }
        })?;
        serve.push(begun.elapsed());
    }
    println!("start to                              median ms   worst ms");
    for (what, took) in [
        ("valv dev ready, new folder", first),
        ("valv dev ready, again", again),
        ("valv serve, first answer", serve),
    ] {
        let worst = took.iter().max().copied().unwrap_or_default();
        println!("{what:36} {:10.0} {:10.0}", median(took).as_secs_f64() * 1e3, worst.as_secs_f64() * 1e3);
    }
    Ok(())
}
