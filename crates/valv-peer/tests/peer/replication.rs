//! What regions pull.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt as _;
use valv_engine::{Epoch, GroupId};
use valv_geo::source::{CopyEvent, HeadsEvent, LogAnswer, Source as _, SourceError};
use valv_model::VaultId;
use valv_peer::{ListenSettings, PeerSource};
use valv_sealing::{Chain, Head};

use crate::world::{Ca, Counting, Scripted, Server, client, peers, settings, soon, until};

fn vault() -> VaultId {
    VaultId::parse("00482a5a-887f-4fb3-b363-3b7fe8e74483").unwrap()
}

fn group() -> GroupId {
    GroupId::parse("eastus").unwrap()
}

async fn pair(source: Counting, settings: ListenSettings) -> (Server, Arc<PeerSource>) {
    let ca = Ca::new();
    let (east, west) = (ca.region("eastus"), ca.region("westus"));
    let server =
        Server::start_with("eastus", &east, Scripted::echo(), Arc::new(source), settings, None).await;
    let source = PeerSource::start(&west, &client(), [server.peer.clone()]);
    (server, source)
}

#[tokio::test]
async fn answers_and_streams_arrive_as_the_source_gave_them_failures_included() {
    let source = Counting { events: 500, pad: 200, fails: true, ..Counting::default() };
    let (_server, source) = pair(source, settings()).await;
    let mut heads = source.heads(&group()).await.unwrap();
    for number in 1..=500 {
        let Some(Ok(HeadsEvent::Heads { epoch, heads, .. })) = heads.next().await else { panic!("{number}") };
        assert_eq!((epoch, heads.len()), (Epoch(number), 200));
    }
    assert_eq!(heads.next().await.unwrap().unwrap_err(), SourceError::Damaged("as told".into()));
    assert!(heads.next().await.is_none());

    let after = Head { number: 41, chain: Chain([3; 32]) };
    let answer = source.log(&group(), &vault(), after).await.unwrap();
    assert_eq!(answer, LogAnswer::Behind { head: Head { number: 42, ..after } });
    let copy: Vec<_> = source.copy(&group(), &vault()).await.unwrap().collect().await;
    assert_eq!(copy, [Ok(CopyEvent::End { records: 0 })]);
    let error = source.buckets(&group(), &vault()).await.unwrap_err();
    assert_eq!(error, SourceError::Damaged("no buckets".into()));
    let page = source.bucket(&group(), &vault(), 9, "secrets/Ä").await.unwrap();
    assert_eq!(page.records[0].path, "secrets/Ä");
}

#[tokio::test]
async fn a_reader_that_is_slow_is_waited_for_and_one_that_stopped_is_left() {
    let source = Counting { events: 100_000, pad: 200, ..Counting::default() };
    let polled = Arc::clone(&source.polled);
    let limits = ListenSettings { frame: Duration::from_millis(300), ..settings() };
    let (_server, source) = pair(source, limits).await;
    let mut heads = source.heads(&group()).await.unwrap();
    heads.next().await.unwrap().unwrap();
    // Nobody reads: what is made ahead is bounded by the windows, far below the whole.
    let mut before = 0;
    until(async || {
        let now = polled.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(100)).await;
        (std::mem::replace(&mut before, now) == now && now > 0).then_some(())
    })
    .await;
    assert!(polled.load(Ordering::SeqCst) < 10_000, "{}", polled.load(Ordering::SeqCst));
    tokio::time::sleep(Duration::from_millis(600)).await;
    let rest: Vec<_> = heads.collect().await;
    // The listener gave it up, and that is no end of the stream.
    assert!(rest.len() < 10_000);
    assert!(matches!(rest.last(), Some(Err(SourceError::Unreachable(_)))), "{}", rest.len());
}

#[tokio::test]
async fn a_stream_of_a_node_that_stops_is_cut_and_not_ended() {
    let (server, source) =
        pair(Counting { events: 100_000, pad: 200, ..Counting::default() }, settings()).await;
    let mut heads = source.heads(&group()).await.unwrap();
    heads.next().await.unwrap().unwrap();
    let stopping = tokio::spawn(server.stop());
    let rest: Vec<_> = heads.collect().await;
    assert!(matches!(rest.last(), Some(Err(SourceError::Unreachable(_)))), "{}", rest.len());
    tokio::time::timeout(crate::world::DEADLINE, stopping).await.unwrap().unwrap();
    let error = source.log(&group(), &vault(), Head::START).await.unwrap_err();
    assert!(matches!(error, SourceError::Unreachable(_)), "{error:?}");
}

#[tokio::test]
async fn what_was_copied_is_told_to_regions() {
    let ca = Ca::new();
    let (east, west) = (ca.region("eastus"), ca.region("westus"));
    let server = Server::start("eastus", &east, Scripted::echo()).await;
    let copied = peers(&west, &[&server.peer]).copied(&server.peer, &group(), soon()).await.unwrap().unwrap();
    assert_eq!(copied.lineage.0.as_u128(), 9);
}

/// The first inputs of the fuzz targets are what is really sent; a seed that is missing is written.
#[test]
fn the_seeds_of_the_fuzz_target_are_messages_as_they_are_sent() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    for file in std::fs::read_dir(dir.join("forward_heads")).unwrap() {
        let seed = std::fs::read(file.unwrap().path()).unwrap();
        valv_peer::ForwardHead::parse(&seed).unwrap();
    }
    let event: Result<HeadsEvent, SourceError> = Ok(HeadsEvent::Heads {
        lineage: valv_engine::Lineage(uuid::Uuid::from_u128(3)),
        continues: None,
        epoch: Epoch(1),
        heads: vec![valv_geo::source::VaultHead { vault: vault(), head: Head::START }],
    });
    let end: Result<CopyEvent, SourceError> = Ok(CopyEvent::End { records: 1 });
    let failed: Result<CopyEvent, SourceError> = Err(SourceError::Damaged("it is".into()));
    let messages =
        [valv_geo::wire::encode(&event), valv_geo::wire::encode(&end), valv_geo::wire::encode(&failed)];
    let mut stream = Vec::new();
    for message in messages.map(Result::unwrap) {
        stream.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        stream.extend(message);
    }
    let path = dir.join("peer_messages/stream");
    if !path.exists() {
        std::fs::write(&path, &stream).unwrap();
    }
    assert_eq!(std::fs::read(path).unwrap(), stream, "remove the file and run this test to write it anew");
    valv_peer::read_everything(&stream).unwrap();
}
