//! The open records: round trips, unknown fields, and bytes that are no record.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use bytes::Bytes;
use common::*;
use proptest::prelude::*;
use serde_json::json;
use valv_engine::Op;
use valv_model::{UnixSeconds, VaultName, VersionId};
use valv_sealing::{Chain, Head, LogRecord, Outcome, RequestKey, VaultEnvelope};

fn bytes() -> impl Strategy<Value = Bytes> {
    any::<Vec<u8>>().prop_map(Bytes::from)
}

prop_compose! {
    fn head()(number: u64, chain: [u8; 32]) -> Head {
        Head { number, chain: Chain(chain) }
    }
}

prop_compose! {
    fn record()(
        number: u64, time: i64, operation: String, caller: String, request: Option<[u8; 32]>,
        version: Option<[u8; 16]>,
        ops in proptest::collection::vec((bytes(), proptest::option::of(bytes())), 0..20),
    ) -> LogRecord {
        let op = |(key, value)| match value {
            Some(value) => Op::Put(key, value),
            None => Op::Delete(key),
        };
        LogRecord {
            number, time: UnixSeconds(time), operation, caller, request: request.map(RequestKey),
            outcome: Outcome { version: version.map(VersionId::from_bytes) },
            log_bytes: u64::from(number as u32),
            ops: ops.into_iter().map(op).collect(),
        }
    }
}

proptest! {
    #[test]
    fn a_head_reads_back(head in head()) {
        prop_assert_eq!(head.encode().len(), 41);
        prop_assert_eq!(Head::decode(&head.encode()), Ok(head));
    }

    #[test]
    fn a_log_record_reads_back(record in record()) {
        prop_assert_eq!(LogRecord::decode(&record.encode()).unwrap(), record);
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(garbage: Vec<u8>) {
        // 41 bytes that begin with the format byte are a head, whatever they say.
        if let Ok(head) = Head::decode(&garbage) {
            prop_assert_eq!(head.encode(), &garbage);
        }
        prop_assert!(LogRecord::decode(&garbage).is_err());
        prop_assert!(VaultEnvelope::decode(&garbage).is_err());
    }

    #[test]
    fn no_damage_makes_a_decoder_panic(record in record(), at: prop::sample::Index, value: u8, cut: prop::sample::Index) {
        let mut damaged = record.encode().to_vec();
        let at = at.index(damaged.len());
        damaged[at] = value;
        let _ = LogRecord::decode(&damaged);
        let cut = cut.index(damaged.len());
        prop_assert!(LogRecord::decode(&record.encode()[..cut]).is_err());
        let mut longer = record.encode().to_vec();
        longer.push(value);
        prop_assert!(LogRecord::decode(&longer).is_err());

        let mut damaged = envelope().encode().to_vec();
        let at = at % damaged.len();
        damaged[at] = value;
        let _ = VaultEnvelope::decode(&damaged);
    }

    #[test]
    fn the_chain_tells_records_and_their_order_apart(a: Vec<u8>, b: Vec<u8>) {
        prop_assert_eq!(a == b, Chain::START.next(&a) == Chain::START.next(&b));
        prop_assert_eq!(a == b, Chain::START.next(&a).next(&b) == Chain::START.next(&b).next(&a));
    }
}

fn envelope() -> VaultEnvelope {
    let key = keyring(&[root_line(1)]).generate(&vault(1), 1, NOW).unwrap();
    VaultEnvelope {
        id: vault(1),
        name: VaultName::parse("contoso").unwrap(),
        generation: 3,
        data_keys: vec![key],
        body: "c2VhbGVk".into(),
        extra: serde_json::Map::new(),
    }
}

#[test]
fn the_chain_is_sha_256_over_the_previous_value_and_the_record() {
    // Computed with another program.
    let known = "365aa7d8f7f9402c4b9434502b4cc89ddb09fe50d7cd95b493b834c62d5a5370";
    let hex: String = Chain::START.next(b"abc").0.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, known);
}

#[test]
fn a_value_costs_the_log_its_own_length() {
    let record = |len: usize| LogRecord {
        number: 1,
        time: NOW,
        operation: "SecretSet".into(),
        caller: "valv".into(),
        request: None,
        outcome: Outcome::default(),
        log_bytes: 0,
        ops: vec![Op::Put("key".into(), vec![0xff; len].into())],
    };
    // A byte string, not an array of numbers, which would take two bytes for each.
    assert!(record(25_000).encode().len() < 25_000 + 150);
}

#[test]
fn unknown_fields_of_a_vault_record_survive_a_rewrite() {
    let mut newer: serde_json::Value = serde_json::from_slice(&envelope().encode()).unwrap();
    newer["cell"] = json!({ "of": ["a", 1] });
    newer["data_keys"][0]["algorithm"] = json!("AES-256-GCM");
    let mut decoded = VaultEnvelope::decode(newer.to_string().as_bytes()).unwrap();
    decoded.generation += 1;
    newer["generation"] = json!(4);
    let rewritten: serde_json::Value = serde_json::from_slice(&decoded.encode()).unwrap();
    assert_eq!(rewritten, newer);
}

fn log_record() -> LogRecord {
    LogRecord {
        number: 7,
        time: NOW,
        operation: "SecretSet".into(),
        caller: "valv".into(),
        request: Some(RequestKey([9; 32])),
        outcome: Outcome { version: Some(VersionId::from_bytes([1; 16])) },
        log_bytes: 1000,
        ops: vec![Op::Put("k".into(), "v".into()), Op::Delete("d".into())],
    }
}

#[test]
fn unknown_fields_of_a_log_record_are_no_obstacle() {
    let record = log_record();
    let mut newer: ciborium::Value = ciborium::from_reader(&*record.encode()).unwrap();
    newer.as_map_mut().unwrap().push(("shape".into(), ciborium::Value::Array(vec![1.into(), true.into()])));
    let mut bytes = Vec::new();
    ciborium::into_writer(&newer, &mut bytes).unwrap();
    assert_eq!(LogRecord::decode(&bytes).unwrap(), record);
}

#[test]
fn a_newer_format_is_named() {
    let mut head = Head::START.encode().to_vec();
    head[0] = 2;
    assert_eq!(Head::decode(&head).unwrap_err().to_string(), "damaged record: head: unknown format 2");

    let mut newer: serde_json::Value = serde_json::from_slice(&envelope().encode()).unwrap();
    newer["format"] = json!(2);
    let told = VaultEnvelope::decode(newer.to_string().as_bytes()).unwrap_err().to_string();
    assert!(told.contains("unknown format 2, written by a newer valv"), "{told}");

    // The same log record but for its format, which is its first field.
    let mut log = log_record().encode().to_vec();
    let at = 1 + 1 + "format".len();
    assert_eq!(log[at], 1);
    log[at] = 2;
    let told = LogRecord::decode(&log).unwrap_err().to_string();
    assert!(told.contains("unknown format 2, written by a newer valv"), "{told}");
}

#[test]
fn claimed_lengths_take_no_memory() {
    // A map of 2^63 entries, an array of them, and a byte string of 2^62 bytes.
    for claim in [
        &[0xbb, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..],
        b"\xa1\x63ops\x9b\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\xa1\x63ops\x81\x82\x5b\x3f\xff\xff\xff\xff\xff\xff\xff",
        &[0x81; 100_000],
    ] {
        assert!(LogRecord::decode(claim).is_err());
    }
}
