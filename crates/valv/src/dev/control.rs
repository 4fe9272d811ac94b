//! How `valv region` reaches a running `valv dev`: a socket in its folder, one line there, one line back.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::hosts::{Cut, Hosts};
use super::supervisor::{Order, Processes};
use crate::output::{Problem, Result};

const SOCKET: &str = "control.sock";
/// The longest line.
const LINE_BYTES_MAX: u64 = 4_096;
/// For the line of who asks.
const LINE_DEADLINE: Duration = Duration::from_secs(5);
/// For the answer: a start may take some time.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// What is done to a region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// Its processes are killed.
    Fail,
    /// They are started again, and no packet of theirs vanishes any more.
    Heal,
    /// Packets from and to them vanish.
    Cut(Cut),
}

/// What orders are carried out on.
pub struct Ground {
    /// All processes.
    pub processes: Arc<Processes>,
    /// The regions' names.
    pub regions: Vec<String>,
    /// None: all run on this machine.
    pub hosts: Option<Arc<Hosts>>,
}

#[derive(Serialize, Deserialize)]
struct Ask {
    action: Action,
    region: String,
}

#[derive(Serialize, Deserialize)]
struct Answer {
    done: Option<String>,
    problem: Option<String>,
}

/// The socket's name through its folder's descriptor: a path of any length fits into a socket's address that way.
fn with_socket<T>(dir: &Path, use_it: impl FnOnce(PathBuf) -> std::io::Result<T>) -> std::io::Result<T> {
    let folder = fs::File::open(dir)?;
    use_it(PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd())))
}

/// Opens the socket; what a former run left is removed.
pub fn listen(dir: &Path) -> Result<UnixListener> {
    let _ = fs::remove_file(dir.join(SOCKET));
    with_socket(dir, UnixListener::bind)
        .map_err(|e| Problem::new(format!("{} cannot be opened: {e}", dir.join(SOCKET).display())))
}

/// Serves orders for ever.
pub async fn serve(listener: UnixListener, ground: Arc<Ground>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let ground = Arc::clone(&ground);
        tokio::spawn(async move {
            let answer = match read_ask(stream).await {
                Err(_) => return,
                Ok((stream, ask)) => (stream, carry_out(&ground, ask).await),
            };
            let (mut stream, outcome) = answer;
            let answer = match outcome {
                Ok(done) => Answer { done: Some(done), problem: None },
                Err(problem) => Answer { done: None, problem: Some(problem.plain()) },
            };
            let mut line = serde_json::to_vec(&answer).unwrap_or_default();
            line.push(b'\n');
            // Who asked may have gone away.
            let _ = stream.write_all(&line).await;
        });
    }
}

async fn read_ask(stream: UnixStream) -> std::io::Result<(UnixStream, Ask)> {
    let mut reader = BufReader::new(stream);
    let line = tokio::time::timeout(LINE_DEADLINE, read_line(&mut reader)).await??;
    let ask = serde_json::from_str(&line)?;
    Ok((reader.into_inner(), ask))
}

async fn read_line(reader: &mut BufReader<UnixStream>) -> std::io::Result<String> {
    let mut line = String::new();
    reader.take(LINE_BYTES_MAX).read_line(&mut line).await?;
    Ok(line)
}

async fn carry_out(ground: &Ground, ask: Ask) -> Result<String> {
    let Ask { action, region } = ask;
    let known = ground.regions.contains(&region);
    let process = ground.processes.find(&region).filter(|_| known).ok_or_else(|| {
        Problem::usage(format!(
            "there is no region '{region}'; the regions are {}",
            ground.regions.join(", ")
        ))
    })?;
    match (action, &ground.hosts) {
        (Action::Fail, _) => process.order(Order::Fail).await,
        (Action::Heal, None) => process.order(Order::Heal).await,
        (Action::Heal, Some(hosts)) => {
            hosts.heal(&region)?;
            process.order(Order::Heal).await
        }
        (Action::Cut(cut), Some(hosts)) => {
            hosts.cut(&region, &cut)?;
            Ok(format!("{region} is cut off"))
        }
        (Action::Cut(_), None) => {
            Err(Problem::usage("all regions run on this machine; start it with `valv dev --separate-hosts`"))
        }
    }
}

/// Asks a running `valv dev`; its words on what was done.
pub async fn ask(dir: &Path, action: Action, region: &str) -> Result<String> {
    let nobody = |e: std::io::Error| {
        Problem::usage(format!("no `valv dev` runs in {}: {e}", dir.display()))
            .way_out("start one with `valv dev` in another shell, or name its folder with --dir")
    };
    let exchange = async {
        let stream = with_socket(dir, std::os::unix::net::UnixStream::connect).map_err(nobody)?;
        stream.set_nonblocking(true).map_err(nobody)?;
        let mut stream = UnixStream::from_std(stream).map_err(nobody)?;
        let mut line = serde_json::to_vec(&Ask { action, region: region.to_owned() })
            .map_err(|e| Problem::new(e.to_string()))?;
        line.push(b'\n');
        stream.write_all(&line).await.map_err(nobody)?;
        let answer = read_line(&mut BufReader::new(stream)).await.map_err(nobody)?;
        let cut = || Problem::new("`valv dev` ended before it answered").way_out("look at what it printed");
        let answer: Answer = serde_json::from_str(&answer).map_err(|_| cut())?;
        match (answer.done, answer.problem) {
            (Some(done), _) => Ok(done),
            (None, Some(problem)) => Err(Problem::new(problem).way_out("`valv status` shows the regions")),
            (None, None) => Err(cut()),
        }
    };
    let late = || {
        Problem::new(format!("`valv dev` did not answer within {} s", ANSWER_DEADLINE.as_secs()))
            .way_out("look at what it printed, and at the logs in its folder")
    };
    tokio::time::timeout(ANSWER_DEADLINE, exchange).await.map_err(|_| late())?
}
