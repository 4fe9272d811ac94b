//! Who may speak, and who may ask what.

use std::time::Duration;

use valv_engine::GroupId;
use valv_geo::source::{Source as _, SourceError};
use valv_model::{VaultId, VaultName};
use valv_peer::{Forwarder as _, PeerSource, Role, SendError, region_name};
use valv_sealing::Head;

use crate::world::{Ca, Scripted, Server, client, get, head, peers, region, soon};

fn vault() -> VaultId {
    VaultId::parse("00482a5a-887f-4fb3-b363-3b7fe8e74483").unwrap()
}

#[tokio::test]
async fn a_gateway_forwards_probes_and_asks_for_vaults_and_is_refused_everything_else() {
    let ca = Ca::new();
    let (east, gateway) = (ca.region("eastus"), ca.gateway());
    let server = Server::start("eastus", &east, Scripted::echo()).await;
    let peers = peers(&gateway, &[&server.peer]);
    assert_eq!(peers.probe(&server.peer, soon()).await.unwrap().region, region("eastus"));
    let dev = VaultName::parse("dev").unwrap();
    assert!(peers.holding(&server.peer, &dev, soon()).await.unwrap().held.is_some());
    assert_eq!(peers.forward(&server.peer, &head(), get("/"), soon()).await.unwrap().status(), 200);

    let forbidden = |error: &SendError| matches!(error, SendError::Refused { status: 403, .. });
    let group = GroupId::system();
    let error = peers.copied(&server.peer, &group, soon()).await.unwrap_err();
    assert!(forbidden(&error), "{error:?}");
    let source = PeerSource::start(&gateway, &client(), [server.peer.clone()]);
    let refusals = [
        source.heads(&group).await.err(),
        source.log(&group, &vault(), Head::START).await.err(),
        source.copy(&group, &vault()).await.err(),
        source.buckets(&group, &vault()).await.err(),
        source.bucket(&group, &vault(), 0, "").await.err(),
    ];
    for refusal in refusals {
        assert!(matches!(&refusal, Some(SourceError::Refused(why)) if why.starts_with("403")), "{refusal:?}");
    }
}

#[tokio::test]
async fn a_region_pulls_the_groups_that_both_hold_and_no_others() {
    let ca = Ca::new();
    let (east, west, europe) = (ca.region("eastus"), ca.region("westus"), ca.region("northeurope"));
    let server = Server::start("eastus", &east, Scripted::echo()).await;
    let own = GroupId::of_region(&region("eastus"));
    let west = PeerSource::start(&west, &client(), [server.peer.clone()]);
    assert!(west.heads(&own).await.is_ok());
    let europe = PeerSource::start(&europe, &client(), [server.peer.clone()]);
    assert!(europe.heads(&GroupId::system()).await.is_ok());
    assert!(matches!(europe.heads(&own).await, Err(SourceError::Refused(_))));
}

/// The client is refused: it gets no answer whatever it tries.
async fn refused(tls: &std::sync::Arc<valv_peer::PeerTls>, server: &Server) {
    let peers = peers(tls, &[&server.peer]);
    for _ in 0..3 {
        let error = peers.probe(&server.peer, soon()).await.unwrap_err();
        assert!(matches!(error, SendError::NotSent(_) | SendError::Sent(_)), "{error:?}");
    }
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_by_both_sides() {
    let (ours, theirs) = (Ca::new(), Ca::new());
    let forwarded = Scripted::echo();
    let server = Server::start("eastus", &ours.region("eastus"), forwarded.clone()).await;
    // The stranger trusts us, we do not trust the stranger.
    std::fs::copy(ours.file("ca.pem"), theirs.file("both.pem")).unwrap();
    theirs.write("west", &region_name(&region("westus")), Duration::from_secs(3_600));
    let stranger = valv_peer::PeerTls::load(
        theirs.file("west.pem"),
        theirs.file("west.key"),
        theirs.file("both.pem"),
        Role::Region(region("westus")),
    );
    refused(&stranger.unwrap(), &server).await;
    // And one that we would let in does not speak to us.
    ours.write("west", &region_name(&region("westus")), Duration::from_secs(3_600));
    let distrustful = valv_peer::PeerTls::load(
        ours.file("west.pem"),
        ours.file("west.key"),
        theirs.file("ca.pem"),
        Role::Region(region("westus")),
    );
    refused(&distrustful.unwrap(), &server).await;
    assert!(forwarded.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_node_that_shows_another_region_is_not_spoken_to() {
    let ca = Ca::new();
    let forwarded = Scripted::echo();
    // At the address of eastus there is a node of westus.
    let mut server = Server::start("eastus", &ca.region("westus"), forwarded.clone()).await;
    let peers = peers(&ca.gateway(), &[&server.peer]);
    let error = peers.forward(&server.peer, &head(), get("/"), soon()).await.unwrap_err();
    assert!(matches!(&error, SendError::NotSent(why) if why.contains("certificate")), "{error:?}");
    assert!(forwarded.seen.lock().unwrap().is_empty());
    server.peer.region = region("westus");
    let peers = crate::world::peers(&ca.gateway(), &[&server.peer]);
    let error = peers.probe(&server.peer, soon()).await.unwrap_err();
    // Its certificate is right now, and its own word is not.
    assert!(matches!(error, SendError::Refused { status: 421, .. }), "{error:?}");
}

#[tokio::test]
async fn a_region_that_the_deployment_does_not_have_is_refused() {
    let ca = Ca::new();
    let server = Server::start("eastus", &ca.region("eastus"), Scripted::echo()).await;
    refused(&ca.region("brazilsouth"), &server).await;
}

#[tokio::test]
async fn a_certificate_that_does_not_name_the_nodes_own_role_is_refused_at_start() {
    let ca = Ca::new();
    ca.write("plain", "localhost", Duration::from_secs(3_600));
    ca.write("west", &region_name(&region("westus")), Duration::from_secs(3_600));
    for (file, role, words) in [
        ("plain", Role::Gateway, "gateway.valv.internal"),
        ("west", Role::Gateway, "region westus"),
        ("west", Role::Region(region("eastus")), "region eastus"),
    ] {
        let [certificate, key] = ["pem", "key"].map(|end| ca.file(&format!("{file}.{end}")));
        let error = valv_peer::PeerTls::load(certificate, key, ca.file("ca.pem"), role).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn without_a_certificate_nobody_is_heard() {
    let ca = Ca::new();
    let forwarded = Scripted::echo();
    let server = Server::start("eastus", &ca.region("eastus"), forwarded.clone()).await;
    let mut roots = rustls::RootCertStore::empty();
    use rustls_pki_types::pem::PemObject as _;
    roots.add(rustls_pki_types::CertificateDer::from_pem_file(ca.file("ca.pem")).unwrap()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = tokio::net::TcpStream::connect(&*server.peer.address).await.unwrap();
    let name = rustls_pki_types::ServerName::try_from("eastus.region.valv.internal").unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    // TLS 1.3 lets the client think that it is in until it reads.
    let Ok(mut stream) = connector.connect(name, stream).await else { return };
    let mut bytes = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut bytes);
    let read = tokio::time::timeout(crate::world::DEADLINE, read).await.unwrap();
    assert!(read.is_err_and(|e| e.to_string().contains("CertificateRequired")));
    assert!(forwarded.seen.lock().unwrap().is_empty());
}
