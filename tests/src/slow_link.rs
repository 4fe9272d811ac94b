//! A TCP proxy that passes everything on, later.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// A listener on loopback before somebody else's address. It ends with the test's runtime.
#[derive(Debug)]
pub struct SlowLink {
    address: SocketAddr,
    delay: Arc<AtomicU64>,
}

impl SlowLink {
    /// Passes on to `target`, without delay at first.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let delay = Arc::new(AtomicU64::new(0));
        let shared = Arc::clone(&delay);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let delay = Arc::clone(&shared);
                tokio::spawn(async move {
                    let Ok(far) = TcpStream::connect(target).await else { return };
                    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                    tokio::join!(pass(near_in, far_out, &delay), pass(far_in, near_out, &delay));
                });
            }
        });
        Self { address, delay }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What passes from now on takes so much longer, each way.
    pub fn delay(&self, time: Duration) {
        self.delay.store(u64::try_from(time.as_millis()).expect("a short time"), Ordering::Relaxed);
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: &AtomicU64) {
    // Bounded: who sends faster than is passed on has to wait.
    let (sender, mut waiting) = mpsc::channel::<(Instant, Vec<u8>)>(1_024);
    let read = async move {
        let mut part = vec![0; 16 * 1024];
        while let Ok(length @ 1..) = from.read(&mut part).await {
            let due = Instant::now() + Duration::from_millis(delay.load(Ordering::Relaxed));
            if sender.send((due, part[..length].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((due, part)) = waiting.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&part).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write);
}
