//! A closed loop: each connection sends its next request when the answer to the last one is there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::figures::percentile;
use crate::{Outcome, machine};

/// Runs before a measurement, uncounted: handshakes, caches, the first pages of a file.
const WARM_UP: Duration = Duration::from_millis(500);
/// No answer may take longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where requests go; always an address of this machine.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) port: u16,
    /// The roots trusted and the name expected. None: plain HTTP.
    pub(crate) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

/// A client configuration that trusts the certificates in this file only.
pub(crate) fn trusting(roots: &std::path::Path) -> Outcome<Arc<ClientConfig>> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(roots)? {
        store.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(config.with_root_certificates(store).with_no_client_auth()))
}

pub(crate) type Sender = SendRequest<Full<Bytes>>;

/// Opens a connection, with its handshake.
pub(crate) async fn connect(place: &Place) -> Outcome<Sender> {
    let stream = TcpStream::connect(("127.0.0.1", place.port)).await?;
    stream.set_nodelay(true)?;
    Ok(match &place.tls {
        None => {
            let (sender, connection) = handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            sender
        }
        Some((config, name)) => {
            let stream = TlsConnector::from(Arc::clone(config)).connect(name.clone(), stream).await?;
            let (sender, connection) = handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            sender
        }
    })
}

/// One request and its whole answer.
pub(crate) async fn ask(sender: &mut Sender, request: Request<Full<Bytes>>) -> Outcome<(StatusCode, Bytes)> {
    let exchange = async {
        sender.ready().await?;
        let answer: Response<Incoming> = sender.send_request(request).await?;
        let status = answer.status();
        Ok::<_, hyper::Error>((status, answer.into_body().collect().await?.to_bytes()))
    };
    Ok(tokio::time::timeout(PATIENCE, exchange).await.map_err(|_| "no answer in time")??)
}

/// The n-th request of a connection.
pub(crate) type Make = dyn Fn(usize, u64) -> Request<Full<Bytes>> + Send + Sync;

/// What to send, over how many connections, and what must be answered.
pub(crate) struct Load {
    pub(crate) place: Place,
    pub(crate) connections: usize,
    pub(crate) expect: StatusCode,
    pub(crate) make: Arc<Make>,
}

/// What was measured.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Measured {
    pub(crate) connections: usize,
    pub(crate) per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// CPU time of the server, all threads, divided by the answers.
    pub(crate) server_cpu_us: f64,
    /// The share of the time in which the server was on a core; more than 1 with several cores.
    pub(crate) server_busy: f64,
}

/// Runs a load for a while and looks at the CPU time of `server` around it. Any other answer is an error.
pub(crate) async fn run(load: &Load, span: Duration, server: u32) -> Outcome<Measured> {
    let (begin, end) = (Instant::now() + WARM_UP, Instant::now() + WARM_UP + span);
    let mut tasks = tokio::task::JoinSet::new();
    for at in 0..load.connections {
        let (place, make, expect) = (load.place.clone(), Arc::clone(&load.make), load.expect);
        tasks.spawn(async move {
            let mut sender = connect(&place).await?;
            let (mut took, mut n) = (Vec::with_capacity(100_000), 0);
            loop {
                let sent = Instant::now();
                if sent >= end {
                    return Ok::<_, Box<dyn std::error::Error + Send + Sync>>(took);
                }
                let (status, body) = ask(&mut sender, make(at, n)).await?;
                n += 1;
                if status != expect {
                    let text = String::from_utf8_lossy(&body).into_owned();
                    return Err(format!("{status} instead of {expect}: {text}").into());
                }
                let now = Instant::now();
                if now >= begin && now < end {
                    took.push(now - sent);
                }
            }
        });
    }
    tokio::time::sleep_until(begin.into()).await;
    let (from, cpu_before) = (Instant::now(), machine::cpu(server)?);
    tokio::time::sleep_until(end.into()).await;
    let (seconds, cpu) = (from.elapsed().as_secs_f64(), machine::cpu(server)? - cpu_before);
    let mut took = Vec::new();
    while let Some(joined) = tasks.join_next().await {
        took.extend(joined??);
    }
    took.sort_unstable();
    let micros = |share| percentile(&took, share).as_secs_f64() * 1e6;
    Ok(Measured {
        connections: load.connections,
        per_second: took.len() as f64 / seconds,
        p50_us: micros(0.5),
        p99_us: micros(0.99),
        server_cpu_us: cpu.as_secs_f64() * 1e6 / took.len().max(1) as f64,
        server_busy: cpu.as_secs_f64() / seconds,
    })
}
