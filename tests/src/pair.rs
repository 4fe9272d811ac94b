//! A pair of regions and a gateway, as `valv dev` starts them, and what is done to them.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{Api, Dev, Seen, agree, scan, until, until_async, valv};

/// The home of the vault `dev`, and of the system group.
pub const HOME: &str = "eastus";
/// Its pair.
pub const OTHER: &str = "westus";
const GATEWAY: &str = "gateway";

/// A status is so old at most: nodes are probed twice a second, each within a second.
const STATUS_AGE: Duration = Duration::from_millis(1_600);

/// A running pair.
pub struct Pair {
    dev: Dev,
    api: Api,
    plant: String,
}

impl Pair {
    /// Three processes on this machine.
    pub async fn start() -> Self {
        Self::of(Dev::start()).await
    }

    /// The same, each region on a host of its own, so that packets can vanish. Needs root.
    pub async fn separate() -> Self {
        Self::of(Dev::start_with(&["--separate-hosts"])).await
    }

    async fn of(dev: Dev) -> Self {
        let api = dev.api().await;
        let pair = Self { dev, api, plant: format!("planted-{}", uuid::Uuid::new_v4().simple()) };
        // Both regions have copied each other.
        pair.caught_up().await;
        pair
    }

    /// What every value of the test begins with.
    #[must_use]
    pub fn plant(&self) -> &str {
        &self.plant
    }

    /// The deployment.
    #[must_use]
    pub fn dev(&self) -> &Dev {
        &self.dev
    }

    /// An administrator at the gateway.
    #[must_use]
    pub fn gateway(&self) -> (&'static str, Api) {
        (GATEWAY, self.api.clone())
    }

    /// The same at a region's own door.
    #[must_use]
    pub fn door(&self, region: &'static str) -> (&'static str, Api) {
        let text = self.configuration(region);
        let line = text.lines().find_map(|line| line.strip_prefix("addresses = [\"")).expect("an address");
        let door: SocketAddr = line.split('"').next().and_then(|door| door.parse().ok()).expect("an address");
        (region, self.api.via(door))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dev.data().join(name)
    }

    /// The configuration of a region's node, or the gateway's.
    #[must_use]
    pub fn configuration(&self, name: &str) -> String {
        fs::read_to_string(self.file(&format!("{name}.toml"))).expect("a configuration")
    }

    /// Changes it; the process reads it when it starts again.
    pub fn configure(&self, name: &str, text: &str) {
        fs::write(self.file(&format!("{name}.toml")), text).expect("a configuration");
    }

    /// Adds sections to a region's configuration, and has the region started again with them.
    pub fn restart_with(&self, region: &str, sections: &str) {
        self.fail(region);
        self.configure(region, &format!("{}{sections}", self.configuration(region)));
        self.heal(region);
    }

    /// Runs a command of the program on this deployment.
    pub fn command(&self, words: &[&str]) -> Output {
        let mut command = Command::new(valv());
        command.args(words).current_dir(self.dev.root());
        command.output().unwrap_or_else(|e| panic!("valv {words:?}: {e}"))
    }

    /// The same with `--dir`; panics unless it ends well.
    pub fn order(&self, words: &[&str]) -> String {
        let dir = self.dev.data();
        let dir = dir.to_str().expect("a path in UTF-8");
        let output = self.command(&[words, &["--dir", dir]].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "valv {words:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Kills a region's processes.
    pub fn fail(&self, region: &str) {
        self.order(&["region", "fail", region]);
    }

    /// Gives a region back: its processes run, its packets pass.
    pub fn heal(&self, region: &str) {
        self.order(&["region", "heal", region]);
    }

    /// Makes a region's packets vanish.
    pub fn cut(&self, region: &str, words: &[&str]) {
        self.order(&[&["region", "cut", region], words].concat());
    }

    /// Waits until home answers a read at the gateway again.
    pub async fn until_home_answers(&self) {
        until_async("home's answer", async || {
            let answer = self.api.try_send("GET", "/secrets", None).await.ok()?;
            let home = answer.status == 200 && answer.header("x-valv-mode").is_none();
            (home && self.status().await["region"] == HOME).then_some(())
        })
        .await;
    }

    /// The process of a region, or of the gateway.
    #[must_use]
    pub fn pid(&self, name: &str) -> Pid {
        let file = self.file(&format!("{name}.pid"));
        // It may just be written anew.
        until("the number of a process", || {
            fs::read_to_string(&file).ok()?.trim().parse().ok().and_then(Pid::from_raw)
        })
    }

    /// Signals it.
    pub fn signal(&self, name: &str, signal: Signal) {
        let pid = self.pid(name);
        kill_process(pid, signal).unwrap_or_else(|e| panic!("cannot signal {name}: {e}"));
    }

    /// What the deployment says of itself.
    pub async fn status(&self) -> Value {
        self.api.send("GET", "/admin/status", None).await.expect(200).json()
    }

    /// What home's node sees of its pair's copies, by group.
    pub async fn copies(&self) -> BTreeMap<String, Value> {
        let Ok(answer) = self.api.try_send("GET", "/admin/status", None).await else {
            return BTreeMap::new();
        };
        if answer.status != 200 || answer.json()["region"] != HOME {
            return BTreeMap::new();
        }
        let status = answer.json();
        let regions = status["regions"].as_array().into_iter().flatten();
        let other = regions.filter(|region| region["name"] == OTHER);
        let nodes = other.flat_map(|region| region["nodes"].as_array().into_iter().flatten());
        let there = nodes.flat_map(|node| node["copies"].as_array().into_iter().flatten());
        let here = status["replicas"].as_array().into_iter().flatten();
        there
            .chain(here)
            .map(|copy| (copy["group"].as_str().unwrap_or_default().to_owned(), copy.clone()))
            .collect()
    }

    /// Waits until every copy holds all that was written before.
    pub async fn caught_up(&self) {
        let begun = Instant::now();
        until_async("every copy to hold everything", async || {
            let copies = self.copies().await;
            let complete = |copy: &Value| {
                let lag = copy["lagMs"].as_u64().map(Duration::from_millis);
                copy["state"] == "following"
                    && copy["behindCommits"] == 0
                    && lag.is_some_and(|lag| lag + STATUS_AGE < begun.elapsed())
            };
            (copies.len() == 3 && copies.values().all(complete)).then_some(())
        })
        .await;
    }

    /// The end of every test: what was acknowledged is there and what was refused is not; what clients saw has an order;
    /// both stores agree, commit by commit; no value is in a file or a log.
    pub async fn finish(mut self, seen: Seen) {
        seen.check_order();
        self.caught_up().await;
        seen.ledger.check(&self.api).await;
        assert!(seen.ledger.acknowledged() > 0, "nothing was written");
        let status = self.dev.stop();
        assert!(
            status.success(),
            "Ctrl-C ended the deployment with {status}\n{}",
            self.dev.process().output()
        );
        agree(&self.dev.data(), HOME, OTHER).await;
        let read = scan::assert_nowhere(self.dev.root(), &[&self.plant], &[]);
        assert!(read >= 10, "the search looked at {read} files only");
        let secret = self.dev.var("AZURE_CLIENT_SECRET").to_owned();
        scan::assert_nowhere(self.dev.root(), &[&secret], &["dev.env", "admin.env", "valv-dev.stdout"]);
    }

    /// Waits until the gateway's process is another than `before`, and takes connections.
    pub fn until_gateway_is_not(&self, before: Pid) {
        until("another gateway", || {
            let port = self.api.base().port_or_known_default().expect("a port");
            let there = std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
            (self.pid(GATEWAY) != before && there).then_some(())
        });
    }
}
