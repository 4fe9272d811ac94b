//! `valv rehearse`: takes a home region away under load, gives it back, and proves what happened meanwhile.

mod compare;
mod figures;
mod ground;
mod load;
mod operations;
mod report;
mod wire;

pub use ground::Fault;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::args::RehearseArgs;
use crate::output::{Problem, Result, line, progress};
use crate::remote::Remote;
use figures::{Figures, Known, Moments, Second};
use ground::Ground;
use load::{LAST_READS, Load};
use operations::{Asker, Stage};
use wire::Wire;

/// The regions that `valv dev` plays.
const HOME: &str = "eastus";
const PAIR: &str = "westus";
/// The replica must have caught up before the region is taken away.
const CAUGHT_UP_DEADLINE: Duration = Duration::from_secs(15);
/// After the return everything must be as before within this time, or the last tries say what is not.
const RETURN_DEADLINE: Duration = Duration::from_secs(20);

/// Runs the rehearsal; an error if the promise did not hold.
pub fn run(args: &RehearseArgs) -> Result<()> {
    if args.fault == Fault::Partition && !rustix::process::geteuid().is_root() {
        return Err(Problem::usage("--fault partition makes network namespaces, which needs root")
            .way_out("run it as root (sudo), or rehearse --fault kill or --fault freeze"));
    }
    let dir = std::env::temp_dir().join(format!("valv-rehearsal-{}", uuid::Uuid::new_v4().simple()));
    private_dir(&dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|e| Problem::new(format!("the runtime does not start: {e}")))?;
    let figures = runtime.block_on(rehearse(args, &dir));
    let held = figures.as_ref().is_ok_and(Figures::held);
    if held && !args.keep {
        let _ = fs::remove_dir_all(&dir);
    } else {
        progress(format!("the pair's files and logs are in {}", dir.display()));
    }
    let figures = figures?;
    line(report::text(&figures));
    write(args.report.as_deref(), &report::page(&figures))?;
    let json = serde_json::to_string_pretty(&figures).unwrap_or_default();
    write(args.json.as_deref(), &json)?;
    if held {
        line("The promise held.");
        return Ok(());
    }
    Err(Problem::new("the promise was broken")
        .way_out(format!("the lines above that say BROKEN say where; the logs in {} say why", dir.display())))
}

fn private_dir(dir: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .mode(0o700)
        .create(dir)
        .map_err(|e| Problem::new(format!("the folder {} cannot be made: {e}", dir.display())))
}

fn write(path: Option<&Path>, text: &str) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    fs::write(path, text).map_err(|e| Problem::new(format!("{} cannot be written: {e}", path.display())))?;
    progress(format!("written: {}", path.display()));
    Ok(())
}

async fn rehearse(args: &RehearseArgs, dir: &Path) -> Result<Figures> {
    progress(format!("starting a pair: {HOME} (home) and {PAIR}, and a gateway"));
    let ground = Ground::start(dir, args.fault).await?;
    let figures = act(args, &ground).await;
    ground.stop().await;
    figures
}

/// The play, scene by scene.
async fn act(args: &RehearseArgs, ground: &Ground) -> Result<Figures> {
    let environment = &ground.environment;
    let roots = crate::dev::certificates::ca_file(ground.dir());
    let credentials = environment.credentials(ground.dir())?;
    let remote = Remote::sign_in(&credentials).await?;
    let asker = Arc::new(Asker {
        token: remote.token().to_owned(),
        tenant: environment.tenant.clone(),
        client_id: environment.client_id.clone(),
        client_secret: environment.client_secret.clone(),
        resource: environment.resource.clone(),
    });
    let wire = Arc::new(Wire::new(&environment.url, ground.gateway, &roots)?);

    progress("seeding secrets and keys, trying every operation");
    let load = Load::seed(Arc::clone(&wire), Arc::clone(&asker), HOME).await?;
    let stage = Stage::set(&wire, &asker, "before").await?;
    let before = stage.try_all(&wire, &asker).await;
    // What is tried while the region is lost must be there, and must be on the replica.
    let stage = Stage::set(&wire, &asker, "lost").await?;
    let caught_up = caught_up(&remote).await?;

    progress(format!("\n{}", report::HEADING));
    let stop = CancellationToken::new();
    let running = tokio::spawn(Arc::clone(&load).run(args.rate, stop.clone()));
    let shown = tokio::spawn(show(Arc::clone(&load), stop.clone()));
    let part = Duration::from_secs(args.seconds.max(9)) / 3;
    tokio::time::sleep(part).await;
    let lag_at_loss_ms = lag(&remote.call(Method::GET, "/admin/status", None).await?);

    let lost_ms = load.elapsed_ms();
    ground.take(HOME).await?;
    progress(format!("     -- {HOME} is lost ({}) --", args.fault.word()));
    let since = Instant::now();
    tokio::time::sleep(part.min(Duration::from_secs(3))).await;
    let lost = stage.try_all(&wire, &asker).await;
    tokio::time::sleep(part.saturating_sub(since.elapsed())).await;

    ground.give_back(HOME).await?;
    let returned_ms = load.elapsed_ms();
    progress(format!("     -- {HOME} is given back --"));
    tokio::time::sleep(part.max(Duration::from_millis(figures::RETURN_MAX_MS + 2_000))).await;
    stop.cancel();
    let _ = tokio::time::timeout(LAST_READS + Duration::from_secs(10), running).await;
    let _ = shown.await;
    let end_ms = load.elapsed_ms();

    progress("trying every operation again, comparing all writes");
    let after = after(&wire, &asker).await?.try_all(&wire, &asker).await;
    let compared = compare::compare(&load.written(), &load::versions(&wire, &asker).await?);
    let known = Known {
        fault: args.fault.word().into(),
        home: HOME.into(),
        pair: PAIR.into(),
        rate: args.rate,
        moments: Moments { lost_ms, returned_ms, end_ms },
        caught_up,
        lag_at_loss_ms,
        compared,
        operations: operations::compared(&before, &lost, &after),
    };
    Ok(figures::figures(known, &load.samples()))
}

/// The last preparation is itself a proof that writes work again; a region that is slow to return gets its time.
async fn after(wire: &Wire, asker: &Asker) -> Result<Stage> {
    let deadline = Instant::now() + RETURN_DEADLINE;
    let probe = "/secrets/returned";
    loop {
        let body = serde_json::json!({ "value": "back" });
        let answer = operations::send(wire, Some(&asker.token), "PUT", probe, &body).await;
        match answer {
            Ok(answer) if answer.status.is_success() => return Stage::set(wire, asker, "after").await,
            _ if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(100)).await,
            Ok(answer) => return Err(Problem::new(format!("writes do not work again: {}", answer.status))),
            Err(problem) => return Err(problem),
        }
    }
}

/// Waits until the replica has all that was written so far: until its lag is shorter than the wait. False: it did
/// not catch up in time, which the promise counts, and the rehearsal goes on to show what that means.
async fn caught_up(remote: &Remote) -> Result<bool> {
    let begun = Instant::now();
    loop {
        let waited = begun.elapsed();
        let lag = lag(&remote.call(Method::GET, "/admin/status", None).await?).map(Duration::from_millis);
        if lag.is_some_and(|lag| lag < waited) {
            return Ok(true);
        }
        if waited > CAUGHT_UP_DEADLINE {
            progress(
                "the replica does not catch up; `valv status` and the log of the paired region's node say why",
            );
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The replica's lag, as the status says.
fn lag(status: &Value) -> Option<u64> {
    let regions = status["regions"].as_array()?;
    let pair = regions.iter().find(|region| region["name"] == PAIR)?;
    let copies = pair["nodes"].as_array()?.iter().filter_map(|node| node["copies"].as_array());
    copies.flatten().find(|copy| copy["group"] == HOME)?["lagMs"].as_u64()
}

/// One line a second, of the requests that ended in it.
async fn show(load: Arc<Load>, stop: CancellationToken) {
    let mut seen = 0;
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.tick().await;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let samples = load.samples();
        let (mut second, mut slowest) = (Second::default(), 0);
        for sample in samples.iter().skip(seen) {
            figures::count(&mut second, &sample.outcome);
            if sample.kind == figures::Kind::Read {
                slowest = slowest.max(sample.took_ms);
            }
        }
        seen = samples.len();
        progress(report::second(load.elapsed_ms() / 1000, &second, &report::slow(slowest)));
    }
}
