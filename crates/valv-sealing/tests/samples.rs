//! Samples of every released format, kept for ever: what an older valv wrote, this one reads (F40).
//!
//! A new format gets a folder of its own: `VALV_SAMPLES=tests/samples/N cargo test -p valv-sealing --test samples`
//! writes it. A folder that is there is never written again.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::{fs, path::Path};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use common::*;
use valv_engine::Op;
use valv_model::{VaultName, VersionId};
use valv_sealing::{
    Chain, Head, Keyring, LogRecord, Outcome, RecordKind, RequestKey, RootKeys, VaultEnvelope,
};

const PATH: &str = "secrets/API-KEY";
const VALUE: &[u8] = b"a sample value, no secret";

/// Writes one of each.
fn write(dir: &Path) {
    let root = root_line(7);
    let keyring = keyring(std::slice::from_ref(&root));
    let data_keys: Vec<_> =
        [1, 2].into_iter().map(|number| keyring.generate(&vault(7), number, NOW).unwrap()).collect();
    let old = keyring.unwrap(&vault(7), &data_keys[..1]).unwrap();
    let both = keyring.unwrap(&vault(7), &data_keys).unwrap();
    let sealed = old.seal(PATH, RecordKind::Secret, VALUE);
    let envelope = VaultEnvelope {
        id: vault(7),
        name: VaultName::parse("contoso").unwrap(),
        generation: 3,
        data_keys,
        body: URL_SAFE_NO_PAD.encode(both.seal("vault", RecordKind::Vault, VALUE)),
        extra: serde_json::Map::new(),
    };
    let log = record(&sealed).encode();
    let head = Head { number: 5, chain: Chain::START.next(&log) };

    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("root-key.txt"), format!("{root}\n")).unwrap();
    fs::write(dir.join("secret.sealed"), &sealed).unwrap();
    fs::write(dir.join("vault.json"), envelope.encode()).unwrap();
    fs::write(dir.join("log.cbor"), &log).unwrap();
    fs::write(dir.join("head.bin"), head.encode()).unwrap();
}

/// The log record of all samples.
fn record(sealed: &[u8]) -> LogRecord {
    LogRecord {
        number: 5,
        time: NOW,
        operation: "SecretSet".into(),
        caller: "00482a5a-887f-4fb3-b363-3b7fe8e74483".into(),
        request: Some(RequestKey([5; 32])),
        outcome: Outcome { version: Some(VersionId::from_bytes([6; 16])) },
        log_bytes: 0,
        ops: vec![Op::Put(PATH.into(), sealed.to_vec().into()), Op::Delete("gone".into())],
    }
}

/// Reads one of each and finds what was written.
fn read(dir: &Path) {
    let file = |name: &str| fs::read(dir.join(name)).unwrap();
    let root = String::from_utf8(file("root-key.txt")).unwrap();
    let keyring = Keyring::new(RootKeys::load(&[text(&root)]).unwrap());
    let envelope = VaultEnvelope::decode(&file("vault.json")).unwrap();
    assert_eq!((envelope.id, envelope.name.as_str(), envelope.generation), (vault(7), "contoso", 3));
    assert_eq!(envelope.data_keys.iter().map(|key| key.created).collect::<Vec<_>>(), [NOW, NOW]);
    assert!(envelope.extra.is_empty());

    let keys = keyring.unwrap(&vault(7), &envelope.data_keys).unwrap();
    assert_eq!(keys.current(), 2);
    let sealed = file("secret.sealed");
    assert_eq!(keys.open(PATH, RecordKind::Secret, &sealed).unwrap().as_slice(), VALUE);
    let body = URL_SAFE_NO_PAD.decode(&envelope.body).unwrap();
    assert_eq!(keys.open("vault", RecordKind::Vault, &body).unwrap().as_slice(), VALUE);

    let log = file("log.cbor");
    assert_eq!(LogRecord::decode(&log).unwrap(), record(&sealed));
    assert_eq!(Head::decode(&file("head.bin")).unwrap(), Head { number: 5, chain: Chain::START.next(&log) });
}

#[test]
fn f40_samples_of_every_format_are_read() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
    let mut formats = 0;
    for entry in fs::read_dir(samples).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            read(&entry);
            formats += 1;
        }
    }
    assert!(formats >= 1);
}

#[test]
fn this_program_reads_what_it_writes() {
    let temporary = tempfile::tempdir().unwrap();
    write(temporary.path());
    read(temporary.path());
    if let Some(dir) = std::env::var_os("VALV_SAMPLES").map(std::path::PathBuf::from) {
        assert!(!dir.exists(), "samples are never written again");
        write(&dir);
    }
}
