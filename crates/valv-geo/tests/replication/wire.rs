//! The messages between regions keep their form, and the fuzz target begins with real ones.

use std::path::PathBuf;

use futures::StreamExt;
use valv_engine::layout;
use valv_geo::apply::fuzzing::{read_any, take_page, take_record};
use valv_geo::source::LogAnswer;
use valv_geo::wire;
use valv_sealing::Head;

use crate::home::{group, id};
use crate::world::World;

/// With `VALV_SEEDS=fuzz/seeds/replication` the messages are written there.
#[tokio::test(start_paused = true)]
async fn real_messages_are_read_and_taken() {
    let mut world = World::new(1);
    let a = world.home.create("alpha").await;
    world.home.put(a, &[("secrets/A", b"1"), ("secrets/B", b"2")]).await;
    world.home.remove(a, &["secrets/B"]).await;
    let source = world.shipper();
    let heads: Vec<_> = source.heads(&group()).await.unwrap().take(2).collect().await;
    let copy: Vec<_> = source.copy(&group(), &id(a)).await.unwrap().collect().await;
    let log = source.log(&group(), &id(a), Head::START).await.unwrap();
    let LogAnswer::Page(page) = &log else { panic!("{log:?}") };
    assert!(take_page(&group(), &id(a), None, page) && take_page(&group(), &id(a), Some(7), page));
    let mut messages = vec![wire::encode(&log).unwrap()];
    messages.extend(heads.iter().map(|event| wire::encode(event.as_ref().unwrap()).unwrap()));
    messages.extend(copy.iter().map(|event| wire::encode(event.as_ref().unwrap()).unwrap()));
    messages.push(wire::encode(&source.buckets(&group(), &id(a)).await.unwrap()).unwrap());
    let bucket = valv_geo::bucket::bucket_of("secrets/A");
    messages.push(wire::encode(&source.bucket(&group(), &id(a), bucket, "").await.unwrap()).unwrap());
    assert!(messages.iter().all(|message| read_any(message)));
    for message in &messages {
        assert!(wire::decode::<LogAnswer>(&message[..message.len() - 1]).is_err());
        assert!(wire::decode::<LogAnswer>(&[&message[..], &[0]].concat()).is_err());
    }
    let record = world.home.disk.memory().records[&layout::log(&group(), &id(a), 2)].clone();
    assert!(take_record(&group(), &id(a), Some(7), &record));
    messages.push(record);
    if let Some(folder) = std::env::var_os("VALV_SEEDS").map(PathBuf::from) {
        std::fs::create_dir_all(&folder).unwrap();
        for (n, message) in messages.iter().enumerate() {
            std::fs::write(folder.join(format!("{n}")), message).unwrap();
        }
    }
}

/// What is no commit of the vault's own is refused whole.
#[test]
fn a_record_that_reaches_beyond_its_vault_is_refused() {
    use valv_engine::Op;
    use valv_sealing::{LogRecord, Outcome};
    let record = |key: String| LogRecord {
        number: 1,
        time: crate::home::NOW,
        operation: "SecretSet".into(),
        caller: "tester".into(),
        request: None,
        outcome: Outcome::default(),
        log_bytes: 0,
        ops: vec![Op::Put(key.into(), "x".into())],
    };
    let (own, other) = (id(1), id(2));
    let take = |key: String| take_record(&group(), &own, Some(3), &record(key).encode());
    assert!(take(format!("g/eastus/data/{own}/00000001/secrets/A")));
    assert!(take(format!("g/eastus/data/{own}/00000000/purged")));
    let foreign = [
        format!("g/eastus/data/{other}/00000001/secrets/A"),
        format!("g/eastus/data/{own}"),
        format!("g/eastus/data/{own}/x/secrets/A"),
        format!("g/eastus/heads/{own}"),
        format!("g/eastus/log/{own}/0000000000000001"),
        format!("g/eastus/local/{own}"),
        "g/eastus/vaults/ALPHA".into(),
        "g/eastus/vaults/".into(),
        "g/eastus/meta".into(),
        "g/eastus/copied".into(),
        "g/westus/meta".into(),
        "rootkey".into(),
    ];
    for key in foreign {
        assert!(!take(key.clone()), "{key}");
    }
}
