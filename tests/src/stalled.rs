//! Clients that stall: they say a part of what they should, slowly or no more, and wait.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{Api, DEADLINE};

/// Where a client stalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stall {
    /// In the TLS handshake.
    Handshake,
    /// After the handshake, without a request.
    Idle,
    /// In a request's head, which arrives byte by byte and never ends.
    Head,
    /// In the body of a token request, which arrives byte by byte and never ends.
    Body,
    /// In HTTP/2, after the preface, without a stream.
    Http2Idle,
    /// In HTTP/2, in a header block that is begun and never ended.
    Http2Head,
    /// Asks again and again, and never reads an answer.
    Unread,
}

impl Stall {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Handshake, Self::Idle, Self::Head, Self::Body, Self::Http2Idle, Self::Http2Head, Self::Unread];

    /// Stalls until the server ends it. Returns how long that took and what the server said; panics at the deadline.
    pub async fn wait(self, api: &Api, tenant: &str) -> (Duration, String) {
        let drip = Duration::from_millis(200);
        match self {
            Self::Handshake => {
                let port = api.base().port_or_known_default().expect("a port");
                let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
                // The head of a record that holds a ClientHello (RFC 8446, section 5.1), and no more.
                stream.write_all(&[22, 3, 1, 2, 0, 1, 0]).await.expect("a write");
                until_closed(stream, None, drip).await
            }
            Self::Idle => until_closed(api.connect().await.expect("a connection"), None, drip).await,
            Self::Head => {
                let mut stream = api.connect().await.expect("a connection");
                stream
                    .write_all(b"GET /secrets?api-version=7.4 HTTP/1.1\r\nx-slow: ")
                    .await
                    .expect("a write");
                until_closed(stream, Some(b'x'), drip).await
            }
            Self::Body => {
                let mut stream = api.connect().await.expect("a connection");
                let head = format!(
                    "POST /{tenant}/oauth2/v2.0/token HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: 60000\r\n\r\n"
                );
                stream.write_all(head.as_bytes()).await.expect("a write");
                until_closed(stream, Some(b'x'), drip).await
            }
            Self::Http2Idle => {
                let mut stream = api.connect_http2().await.expect("a connection");
                stream.write_all(PREFACE).await.expect("a write");
                until_closed(stream, None, drip).await
            }
            Self::Http2Head => {
                let mut stream = api.connect_http2().await.expect("a connection");
                stream.write_all(PREFACE).await.expect("a write");
                // HEADERS of stream 1 with END_STREAM and without END_HEADERS: more is to follow.
                stream.write_all(&[0, 0, 1, 1, 1, 0, 0, 0, 1, 0x82]).await.expect("a write");
                until_closed(stream, None, drip).await
            }
            Self::Unread => {
                let mut stream = api.connect().await.expect("a connection");
                let request = b"GET /secrets?api-version=7.4 HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(100);
                let start = Instant::now();
                while start.elapsed() < DEADLINE {
                    // Once the buffers between us are full, this waits; it fails when the server has closed.
                    if let Ok(Err(_)) = timeout(drip, stream.write_all(&request)).await {
                        return (start.elapsed(), String::new());
                    }
                }
                panic!("a connection whose answers nobody reads was left open");
            }
        }
    }
}

/// What an HTTP/2 connection begins with, and empty settings (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Sends a byte now and then and reads until the server closes.
async fn until_closed(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    byte: Option<u8>,
    drip: Duration,
) -> (Duration, String) {
    let start = Instant::now();
    let mut said = Vec::new();
    let mut part = [0; 1024];
    while start.elapsed() < DEADLINE {
        match timeout(drip, stream.read(&mut part)).await {
            Ok(Ok(0) | Err(_)) => return (start.elapsed(), String::from_utf8_lossy(&said).into_owned()),
            Ok(Ok(read)) => said.extend_from_slice(&part[..read]),
            Err(_) => {
                if let Some(byte) = byte
                    && said.is_empty()
                {
                    // A server that closed says so to the next read.
                    let _ = stream.write_all(&[byte]).await;
                    let _ = stream.flush().await;
                }
            }
        }
    }
    panic!("a stalled connection was left open for {} s", start.elapsed().as_secs());
}
