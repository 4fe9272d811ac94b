//! What is sent: requests as an SDK sends them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::Full;

use crate::Outcome;
use crate::load::{self, Make};
use crate::node::Dev;

/// Vaults of the row that writes to many.
pub(crate) const VAULTS: usize = 16;
/// Secrets that one connection writes, in turn.
const NAMES: u64 = 100;
/// What is kept: 64 bytes.
const VALUE: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Makes the requests of all rows.
pub(crate) struct Requests {
    hosts: Vec<String>,
    token: String,
    /// How many rows write; each has request ids of its own.
    rows: AtomicU32,
}

impl Requests {
    /// Makes the vaults, a secret to read and secrets to list. The first vault is the one of `valv dev`.
    pub(crate) async fn prepare(dev: &Dev) -> Outcome<Self> {
        let names: Vec<String> =
            std::iter::once("dev".to_owned()).chain((1..VAULTS).map(|n| format!("bench-{n:02}"))).collect();
        let hosts = names.iter().map(|name| dev.host(name)).collect::<Outcome<_>>()?;
        let this = Self { hosts, token: format!("Bearer {}", dev.token().await?), rows: AtomicU32::new(1) };
        let mut sender = load::connect(&dev.public()?).await?;
        let puts = names.iter().skip(1).map(|name| (format!("/admin/vaults/{name}"), "{}".to_owned()));
        let secrets = std::iter::once("read-me".to_owned()).chain((0..30).map(|n| format!("listed-{n:02}")));
        let secrets = secrets.map(|name| (format!("/secrets/{name}"), value()));
        for (n, (path, body)) in (0..).zip(puts.chain(secrets)) {
            let request = request(Method::PUT, &this.hosts[0], &path, "", Some(&this.token), (0, 0, n), body);
            let (status, body) = load::ask(&mut sender, request).await?;
            if status != StatusCode::OK && status != StatusCode::CREATED {
                return Err(format!("{path}: {status} {}", String::from_utf8_lossy(&body)).into());
            }
        }
        Ok(this)
    }

    /// Health, which both the node and the server that does nothing answer.
    pub(crate) fn health(&self) -> Arc<Make> {
        let host = self.hosts[0].clone();
        Arc::new(move |at, n| request(Method::GET, &host, "/healthz", "", None, (0, at, n), String::new()))
    }

    /// No token: an SDK's first request.
    pub(crate) fn anonymous(&self) -> Arc<Make> {
        let host = self.hosts[0].clone();
        Arc::new(move |at, n| {
            request(Method::GET, &host, "/secrets/read-me", "", None, (0, at, n), String::new())
        })
    }

    /// The current version of one secret.
    pub(crate) fn get(&self) -> Arc<Make> {
        self.reading("/secrets/read-me/", "")
    }

    /// The first 25 secrets of the vault.
    pub(crate) fn list(&self) -> Arc<Make> {
        self.reading("/secrets", "maxresults=25&")
    }

    fn reading(&self, path: &'static str, query: &'static str) -> Arc<Make> {
        let (host, token) = (self.hosts[0].clone(), self.token.clone());
        Arc::new(move |at, n| {
            request(Method::GET, &host, path, query, Some(&token), (0, at, n), String::new())
        })
    }

    /// New versions of secrets, no two connections the same ones, spread over so many vaults.
    pub(crate) fn set(&self, vaults: usize) -> Arc<Make> {
        let (hosts, token) = (self.hosts[..vaults].to_vec(), self.token.clone());
        let row = self.rows.fetch_add(1, Ordering::Relaxed);
        Arc::new(move |at, n| {
            let path = format!("/secrets/written-{at}-{}", n % NAMES);
            request(Method::PUT, &hosts[at % hosts.len()], &path, "", Some(&token), (row, at, n), value())
        })
    }
}

fn value() -> String {
    format!("{{\"value\":\"{VALUE}\"}}")
}

/// With the headers that the SDKs send.
fn request(
    method: Method,
    host: &str,
    path: &str,
    query: &str,
    token: Option<&str>,
    (row, connection, n): (u32, usize, u64),
    body: String,
) -> Request<Full<Bytes>> {
    // A write with an id that was there before is a retry, which gets the first result: no two of these are.
    let id = format!("{row:08x}-{connection:04x}-4000-8000-{n:012x}");
    let mut request = Request::builder()
        .method(method)
        .uri(format!("{path}?{query}api-version=7.6"))
        .header(header::HOST, host)
        .header(header::USER_AGENT, "azsdk-python-keyvault-secrets/4.10.0 Python/3.11.2 (Linux)")
        .header(header::ACCEPT, "application/json")
        .header("x-ms-client-request-id", id);
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, token);
    }
    if !body.is_empty() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    request.body(Full::new(Bytes::from(body))).unwrap_or_default()
}
