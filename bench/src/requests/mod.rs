//! `valv-bench requests`: one node with secrets, over HTTPS, as a client meets it.

pub(crate) mod floor;
mod report;
mod rows;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::Outcome;
use crate::figures::metric;
use crate::load::{self, Load, Make, Place};
use crate::machine::{self, Cores};
use crate::node::{Dev, Process, program};
use report::{Report, Row};
use rows::Requests;

pub(crate) const EXAMPLES: &str = "\
Examples:
  cargo build --release -p valv && cargo run --release -p valv-bench -- requests
  cargo run --release -p valv-bench -- requests --seconds 2 --only get
  cargo run --release -p valv-bench -- requests --json > figures.json

Rates and latencies depend on who else uses the machine. CPU per request does so much less; the ratios
between rows of one run are what to compare.";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long each row is measured.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Cores for the server; the load takes the others.
    #[arg(long, default_value_t = 1)]
    server_cores: usize,
    /// Only rows whose name contains this; the first row is always measured.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// The program to measure [default: `valv` beside this one].
    #[arg(long, value_name = "FILE")]
    valv: Option<PathBuf>,
    /// Where the store goes: on the disk to measure, not in memory.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { seconds: 4.0, server_cores: 1, only: None, valv: None, dir: ".".into(), json: false }
    }
}

/// A row: its name, who answers, at how many connections, and with what.
struct Plan {
    name: &'static str,
    place: Place,
    connections: usize,
    expect: StatusCode,
    make: Arc<Make>,
    /// The floor's own process, not the node's.
    floor: bool,
}

pub(crate) fn run(options: &Options) -> Outcome {
    let program = program(options.valv.as_deref())?;
    let folder = tempfile::tempdir_in(&options.dir)?;
    let cores = Cores::divide(options.server_cores)?;
    let (busy, present) = machine::busy();
    let syncs = machine::syncs_per_second(folder.path())?;
    machine::stay_on(&cores.server)?;
    let dev = Dev::start(&program, &folder.path().join("dev"))?;
    let port_file = folder.path().join("floor.port");
    let mut floor = Process(
        Command::new(std::env::current_exe()?)
            .args(["floor", "--certificate"])
            .arg(dev.dir.join("tls.crt"))
            .arg("--key")
            .arg(dev.dir.join("tls.key"))
            .arg("--port-file")
            .arg(&port_file)
            .stdin(Stdio::null())
            .spawn()?,
    );
    floor.until("the server that does nothing", || port_file.is_file())?;
    let floor_port = std::fs::read_to_string(&port_file)?.parse()?;
    machine::stay_on(&cores.load)?;
    let threads = cores.load.len().min(2);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let rows = runtime.block_on(async {
        let idle_kib = machine::resident(dev.node()?)?;
        let requests = Requests::prepare(&dev).await?;
        let mut rows = Vec::new();
        for plan in plans(&dev, &requests, floor_port)? {
            let asked_for = options.only.as_ref().is_none_or(|text| plan.name.contains(text.as_str()));
            if asked_for || rows.is_empty() {
                rows.push(measure(&dev, &plan, options, floor.0.id()).await?);
            }
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>((rows, idle_kib, machine::resident(dev.node()?)?))
    });
    let (rows, idle_kib, after_kib) = rows?;
    let report = Report {
        cores: present,
        server_cores: cores.server.len(),
        load_average: busy,
        syncs_per_second: syncs,
        ready_after_ms: dev.ready_after.as_secs_f64() * 1e3,
        idle_kib,
        after_kib,
        rows,
    };
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", report.table());
    }
    Ok(())
}

fn plans(dev: &Dev, requests: &Requests, floor_port: u16) -> Outcome<Vec<Plan>> {
    let (public, health) = (dev.public()?, dev.health()?);
    let nothing = Place { port: floor_port, ..public.clone() };
    let (ok, refused) = (StatusCode::OK, StatusCode::UNAUTHORIZED);
    let mut plans = vec![
        Plan {
            name: report::FLOOR,
            place: nothing,
            connections: 16,
            expect: ok,
            make: requests.health(),
            floor: true,
        },
        Plan {
            name: "/healthz (plain HTTP)",
            place: health,
            connections: 16,
            expect: ok,
            make: requests.health(),
            floor: false,
        },
    ];
    let mut add = |name, connections, expect, make| {
        plans.push(Plan { name, place: public.clone(), connections, expect, make, floor: false });
    };
    add("401 handshake", 16, refused, requests.anonymous());
    for connections in [1, 16, 64] {
        add("get", connections, ok, requests.get());
    }
    add("list of 25", 16, ok, requests.list());
    for connections in [1, 16, 64] {
        add("set, one vault", connections, ok, requests.set(1));
    }
    add("set, 16 vaults", 64, ok, requests.set(rows::VAULTS));
    Ok(plans)
}

async fn measure(dev: &Dev, plan: &Plan, options: &Options, floor: u32) -> Outcome<Row> {
    let node = dev.node()?;
    let process = if plan.floor { floor } else { node };
    let load = Load {
        place: plan.place.clone(),
        connections: plan.connections,
        expect: plan.expect,
        make: Arc::clone(&plan.make),
    };
    let before = dev.metrics().await?;
    let measured = load::run(&load, Duration::from_secs_f64(options.seconds), process)
        .await
        .map_err(|e| format!("{} at {} connections: {e}", plan.name, plan.connections))?;
    let after = dev.metrics().await?;
    let since = |name| metric(&after, name) - metric(&before, name);
    let commits = since("valv_commit_changes_count");
    let gathered = (commits > 0.0).then(|| since("valv_commit_changes_sum") / commits);
    Ok(Row { name: plan.name, measured, gathered, resident_kib: machine::resident(process)? })
}
