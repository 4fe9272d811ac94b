//! The processes of the deployment: started, watched, started again when they end by themselves, taken away and given
//! back when somebody asks. They end with us, because each watches its standard input.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::output::{Problem, Result, progress};

/// After that a process that was asked to stop is killed.
const STOP_DEADLINE: Duration = Duration::from_secs(25);
/// From start to the first answer of its health listener.
const UP_DEADLINE: Duration = Duration::from_secs(20);
/// Before a process that ended by itself is started again: twice this, and twice that the next time, up to the most.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A process that ran for so long was well: the pause begins anew.
const WELL_AFTER: Duration = Duration::from_secs(60);

/// What a process is started from.
#[derive(Clone, Debug)]
pub struct Program {
    /// The region's name, or `gateway`; also the name of its files.
    pub name: String,
    /// The folder of its files.
    pub dir: PathBuf,
    /// Where it takes connections once it serves.
    pub door: SocketAddr,
    /// What it is started by, to run on a host of its own; empty: directly.
    pub enter: Vec<String>,
}

impl Program {
    fn file(&self, ending: &str) -> PathBuf {
        self.dir.join(format!("{}.{ending}", self.name))
    }

    /// Its configuration.
    pub fn config(&self) -> PathBuf {
        self.file("toml")
    }

    fn start(&self) -> Result<Running> {
        let failed = |e: std::io::Error| Problem::new(format!("{} cannot be started: {e}", self.name));
        let log = || fs::OpenOptions::new().create(true).append(true).open(self.file("log"));
        let program = std::env::current_exe().map_err(failed)?;
        let mut command = match self.enter.split_first() {
            None => Command::new(&program),
            Some((enter, arguments)) => {
                let mut command = Command::new(enter);
                command.args(arguments).arg(&program);
                command
            }
        };
        let mut child = command
            .args(["serve", "--stop-with-stdin", "--config"])
            .arg(self.config())
            .stdin(Stdio::piped())
            .stdout(log().map_err(failed)?)
            .stderr(log().map_err(failed)?)
            .process_group(0) // Ctrl-C reaches us alone, and we stop the processes in order.
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        if let Some(id) = child.id() {
            fs::write(self.file("pid.new"), id.to_string()).map_err(failed)?;
            fs::rename(self.file("pid.new"), self.file("pid")).map_err(failed)?;
        }
        let stdin = child.stdin.take();
        Ok(Running { child, stdin, since: Instant::now() })
    }

    fn ended(&self, how: &str) -> Problem {
        let log = fs::read(self.file("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().rev().take(10).collect();
        let end = lines.into_iter().rev().collect::<Vec<_>>().join("\n  ");
        Problem::new(format!(
            "{} ended ({how}). The end of {}:\n  {end}",
            self.name,
            self.file("log").display()
        ))
    }
}

struct Running {
    child: Child,
    /// Kept apart, because waiting for a child closes the end that it still holds.
    stdin: Option<ChildStdin>,
    since: Instant,
}

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// SIGKILL, and stay away.
    Fail,
    /// Start again, and wait until it serves.
    Heal,
    /// Finish what is in flight, and end.
    Stop,
}

/// What was done: words for the person who asked.
type Outcome = Result<String>;

/// A supervised process. Dropping it kills the process.
pub struct Process {
    name: String,
    orders: mpsc::Sender<(Order, oneshot::Sender<Outcome>)>,
    keeper: JoinHandle<()>,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Process {
    /// Starts it and goes on; [`Process::order`] with [`Order::Heal`] waits until it serves.
    pub fn start(program: Program) -> Result<Self> {
        let running = program.start()?;
        let (orders, inbox) = mpsc::channel(8);
        let name = program.name.clone();
        let keeper =
            tokio::spawn(Keeper { program, running: Some(running), wanted: false, pause: PAUSE }.keep(inbox));
        Ok(Self { name, orders, keeper })
    }

    /// The region's name, or `gateway`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Has an order carried out.
    pub async fn order(&self, order: Order) -> Outcome {
        let gone = || Problem::new(format!("{} is not supervised any more", self.name));
        let (answer, answered) = oneshot::channel();
        self.orders.send((order, answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

/// One process and what is wanted of it.
struct Keeper {
    program: Program,
    running: Option<Running>,
    /// It is started again when it ends: it served once, and nobody took it away since.
    wanted: bool,
    pause: Duration,
}

impl Keeper {
    async fn keep(mut self, mut inbox: mpsc::Receiver<(Order, oneshot::Sender<Outcome>)>) {
        loop {
            let wanted = self.wanted;
            let pause = self.pause;
            tokio::select! {
                order = inbox.recv() => {
                    let Some((order, answer)) = order else { return };
                    // Who asked may have gone away.
                    let _ = answer.send(self.carry_out(order).await);
                    if order == Order::Stop {
                        return;
                    }
                }
                status = ended(&mut self.running) => {
                    if wanted {
                        progress(format!("{}\nIt is started again.", self.program.ended(&shown(status))));
                    }
                    let well = self.running.take().is_some_and(|was| was.since.elapsed() > WELL_AFTER);
                    self.pause = (if well { PAUSE } else { self.pause } * 2).min(PAUSE_MAX);
                }
                () = tokio::time::sleep(pause), if wanted && self.running.is_none() => {
                    match self.program.start() {
                        Ok(running) => self.running = Some(running),
                        Err(problem) => progress(problem),
                    }
                }
            }
        }
    }

    async fn carry_out(&mut self, order: Order) -> Outcome {
        let name = self.program.name.clone();
        match order {
            Order::Fail => {
                self.wanted = false;
                let Some(mut running) = self.running.take() else {
                    return Ok(format!("{name} is away already; valv region heal {name} starts it"));
                };
                let killed = running.child.kill().await;
                killed.map_err(|e| Problem::new(format!("{name} cannot be killed: {e}")))?;
                Ok(format!("{name} is killed"))
            }
            Order::Heal => {
                self.wanted = true;
                let was_there = self.running.is_some();
                if let Some(running) = &self.running {
                    // Somebody may have stopped it with a signal.
                    signal(running, Signal::CONT);
                } else {
                    self.running = Some(self.program.start()?);
                }
                self.up().await?;
                Ok(if was_there { format!("{name} runs") } else { format!("{name} is started") })
            }
            Order::Stop => {
                self.wanted = false;
                let Some(mut running) = self.running.take() else { return Ok(format!("{name} was away")) };
                signal(&running, Signal::CONT);
                drop(running.stdin.take());
                if tokio::time::timeout(STOP_DEADLINE, running.child.wait()).await.is_err() {
                    progress(format!("{name} does not stop; killing it"));
                    let _ = running.child.kill().await;
                }
                Ok(format!("{name} is stopped"))
            }
        }
    }

    /// Waits until it takes connections: it does so after everything else.
    async fn up(&mut self) -> Result<()> {
        let deadline = Instant::now() + UP_DEADLINE;
        while !answers(self.program.door).await {
            let exited = self.running.as_mut().and_then(|running| running.child.try_wait().ok().flatten());
            if let Some(status) = exited {
                self.running = None;
                self.wanted = false;
                return Err(self.program.ended(&status.to_string()));
            }
            if Instant::now() >= deadline {
                return Err(Problem::new(format!(
                    "{} does not serve after {} s",
                    self.program.name,
                    UP_DEADLINE.as_secs()
                ))
                .way_out(format!("its log says why: {}", self.program.file("log").display())));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

async fn answers(door: SocketAddr) -> bool {
    matches!(tokio::time::timeout(Duration::from_secs(1), TcpStream::connect(door)).await, Ok(Ok(_)))
}

/// The end of a process that runs; never, if none does.
async fn ended(running: &mut Option<Running>) -> std::io::Result<ExitStatus> {
    match running {
        Some(running) => running.child.wait().await,
        None => std::future::pending().await,
    }
}

fn shown(status: std::io::Result<ExitStatus>) -> String {
    status.map_or_else(|e| e.to_string(), |status| status.to_string())
}

fn signal(running: &Running, signal: Signal) {
    let pid = running.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // A process that has just ended needs no signal.
        let _ = kill_process(pid, signal);
    }
}

/// All processes of a deployment.
pub struct Processes(pub Vec<Process>);

impl Processes {
    /// The process of that name.
    pub fn find(&self, name: &str) -> Option<&Process> {
        self.0.iter().find(|process| process.name() == name)
    }

    /// Waits until all serve.
    pub async fn up(&self) -> Result<()> {
        for process in &self.0 {
            process.order(Order::Heal).await?;
        }
        Ok(())
    }

    /// Stops all, the last one started first, so that the door goes before what is behind it.
    pub async fn stop(&self) {
        for process in self.0.iter().rev() {
            if let Err(problem) = process.order(Order::Stop).await {
                progress(problem);
            }
        }
    }
}
