//! Certificates that change and that end (F34).

use std::sync::Arc;
use std::time::Duration;

use valv_peer::files::Reload as _;
use valv_peer::{Forwarder as _, Role, SendError, region_name};

use crate::world::{Ca, Scripted, Server, get, head, peers, region, soon, until};

#[tokio::test]
async fn f34_a_new_certificate_is_taken_up_and_open_connections_stay() {
    let ca = Ca::new();
    let (east, gateway) = (ca.region("eastus"), ca.gateway());
    let server = Server::start("eastus", &east, Scripted::echo()).await;
    let before = peers(&gateway, &[&server.peer]);
    before.forward(&server.peer, &head(), get("/"), soon()).await.unwrap();
    assert!(!east.reload_if_changed().unwrap());

    // Another authority: who connects now must have a certificate of it.
    let next = Ca::new();
    for end in ["pem", "key"] {
        next.write("eastus", &region_name(&region("eastus")), Duration::from_secs(7_200));
        std::fs::copy(next.file(&format!("eastus.{end}")), ca.file(&format!("eastus.{end}"))).unwrap();
    }
    // A certificate without its key keeps the old ones.
    assert!(east.reload_if_changed().is_err());
    let still = peers(&gateway, &[&server.peer]);
    still.forward(&server.peer, &head(), get("/"), soon()).await.unwrap();

    for file in ["eastus.pem", "eastus.key", "ca.pem"] {
        std::fs::copy(next.file(file), ca.file(file)).unwrap();
    }
    assert!(east.reload_if_changed().unwrap());
    before.forward(&server.peer, &head(), get("/"), soon()).await.unwrap();
    let old = peers(&gateway, &[&server.peer]);
    assert!(old.forward(&server.peer, &head(), get("/"), soon()).await.is_err());
    let new = peers(&next.gateway(), &[&server.peer]);
    new.forward(&server.peer, &head(), get("/"), soon()).await.unwrap();
}

#[tokio::test]
async fn f34_a_certificate_that_ends_ends_its_connections_and_a_renewed_one_goes_on() {
    let ca = Ca::new();
    let east = ca.region("eastus");
    let server = Server::start("eastus", &east, Scripted::echo()).await;
    ca.write("short", valv_peer::gateway_name(), Duration::from_secs(5));
    let (renewed, left) = (ca.load("short", Role::Gateway), ca.load("short", Role::Gateway));
    let (renewed_peers, left_peers) = (peers(&renewed, &[&server.peer]), peers(&left, &[&server.peer]));
    for peers in [&renewed_peers, &left_peers] {
        peers.forward(&server.peer, &head(), get("/"), soon()).await.unwrap();
    }
    ca.write("short", valv_peer::gateway_name(), Duration::from_secs(3_600));
    assert!(renewed.reload_if_changed().unwrap());
    let (peers, node) = (Arc::clone(&renewed_peers), server.peer.clone());
    let traffic = tokio::spawn(async move {
        let mut answered = 0_u32;
        loop {
            match peers.forward(&node, &head(), get("/"), soon()).await {
                Ok(_) => answered += 1,
                Err(error) => return (answered, error),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    // Not renewed: as if the node were not there.
    until(async || {
        let error = left_peers.forward(&server.peer, &head(), get("/"), soon()).await.err()?;
        matches!(error, SendError::NotSent(_) | SendError::Sent(_)).then_some(())
    })
    .await;
    renewed_peers.forward(&server.peer, &head(), get("/"), soon()).await.unwrap();
    assert!(!traffic.is_finished(), "{:?}", traffic.await);
    traffic.abort();
}
