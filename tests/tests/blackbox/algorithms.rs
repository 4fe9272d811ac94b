//! Every algorithm against independent implementations, in both directions, through the REST API: the table says
//! which row is checked by whom, and fails if an algorithm of the service is not in it.

use std::collections::BTreeSet;

use valv_crypto::Algorithm;
use valv_tests::{Dev, clients};

use crate::{plant, stop_and_scan};

/// One algorithm, and how it is checked.
struct Row {
    algorithm: Algorithm,
    /// Every size or curve of key that does it.
    keys: &'static [&'static str],
    /// Where the keys come from, and what goes which way.
    ways: &'static [Way],
    /// Why the `openssl` command cannot check it; the Python package `cryptography` checks every row.
    not_openssl: Option<&'static str>,
}

/// Whose key, and the direction of what is checked.
type Way = (&'static str, &'static str);

const PEER_TO_SERVICE: &str = "peer-to-service";
const SERVICE_TO_PEER: &str = "service-to-peer";

/// Keys of the service show their public half alone: the peer can encrypt to them, not decrypt.
const RSA_ENCRYPTION: &[Way] = &[
    ("made", PEER_TO_SERVICE),
    ("whole", PEER_TO_SERVICE),
    ("whole", SERVICE_TO_PEER),
    ("least", PEER_TO_SERVICE),
    ("least", SERVICE_TO_PEER),
];
/// And verify, not sign.
const RSA_SIGNATURES: &[Way] = &[
    ("made", SERVICE_TO_PEER),
    ("whole", PEER_TO_SERVICE),
    ("whole", SERVICE_TO_PEER),
    ("least", PEER_TO_SERVICE),
    ("least", SERVICE_TO_PEER),
];
const EC_SIGNATURES: &[Way] =
    &[("made", SERVICE_TO_PEER), ("whole", PEER_TO_SERVICE), ("whole", SERVICE_TO_PEER)];
/// Symmetric keys that the service makes are never seen by a peer.
const OCT: &[Way] = &[("whole", PEER_TO_SERVICE), ("whole", SERVICE_TO_PEER)];

const RSA: &[&str] = &["2048", "3072", "4096"];

const fn row(algorithm: Algorithm, keys: &'static [&'static str], ways: &'static [Way]) -> Row {
    Row { algorithm, keys, ways, not_openssl: None }
}

const fn gcm(algorithm: Algorithm, keys: &'static [&'static str]) -> Row {
    let not_openssl = Some("`openssl enc` says: AEAD ciphers not supported");
    Row { algorithm, keys, ways: OCT, not_openssl }
}

const TABLE: &[Row] = &[
    row(Algorithm::Rsa15, RSA, RSA_ENCRYPTION),
    row(Algorithm::RsaOaep, RSA, RSA_ENCRYPTION),
    row(Algorithm::RsaOaep256, RSA, RSA_ENCRYPTION),
    row(Algorithm::Rs256, RSA, RSA_SIGNATURES),
    row(Algorithm::Rs384, RSA, RSA_SIGNATURES),
    row(Algorithm::Rs512, RSA, RSA_SIGNATURES),
    row(Algorithm::Ps256, RSA, RSA_SIGNATURES),
    row(Algorithm::Ps384, RSA, RSA_SIGNATURES),
    row(Algorithm::Ps512, RSA, RSA_SIGNATURES),
    // No key does it: that it is refused is checked in check_cryptography.py.
    row(Algorithm::RsNull, &[], &[]),
    row(Algorithm::Es256, &["P-256"], EC_SIGNATURES),
    row(Algorithm::Es384, &["P-384"], EC_SIGNATURES),
    row(Algorithm::Es512, &["P-521"], EC_SIGNATURES),
    row(Algorithm::Es256K, &["P-256K"], EC_SIGNATURES),
    row(Algorithm::A128Kw, &["128"], OCT),
    row(Algorithm::A192Kw, &["192"], OCT),
    row(Algorithm::A256Kw, &["256"], OCT),
    gcm(Algorithm::A128Gcm, &["128"]),
    gcm(Algorithm::A192Gcm, &["192"]),
    gcm(Algorithm::A256Gcm, &["256"]),
    row(Algorithm::A128Cbc, &["128"], OCT),
    row(Algorithm::A192Cbc, &["192"], OCT),
    row(Algorithm::A256Cbc, &["256"], OCT),
    row(Algorithm::A128CbcPad, &["128"], OCT),
    row(Algorithm::A192CbcPad, &["192"], OCT),
    row(Algorithm::A256CbcPad, &["256"], OCT),
    row(Algorithm::Hs256, &["256"], OCT),
    row(Algorithm::Hs384, &["256"], OCT),
    row(Algorithm::Hs512, &["256"], OCT),
];

/// The lines that the program must print.
fn expected() -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for row in TABLE {
        for key in row.keys {
            for (origin, direction) in row.ways {
                let peers = if row.not_openssl.is_some() { &["python"][..] } else { &["python", "openssl"] };
                lines.extend(
                    peers.iter().map(|peer| format!("{} {key} {origin} {peer} {direction}", row.algorithm)),
                );
            }
        }
    }
    lines
}

#[test]
fn no_algorithm_is_left_out_of_the_table() {
    for algorithm in Algorithm::ALL {
        let rows: Vec<&Row> = TABLE.iter().filter(|row| row.algorithm == algorithm).collect();
        assert_eq!(rows.len(), 1, "{algorithm} has {} rows", rows.len());
        assert_eq!(
            rows[0].keys.is_empty(),
            algorithm == Algorithm::RsNull,
            "{algorithm} is checked with no key"
        );
    }
    assert_eq!(TABLE.len(), Algorithm::ALL.len());
}

#[test]
fn every_algorithm_agrees_with_python_cryptography_and_openssl() {
    let dev = Dev::start();
    let plant = plant();
    let output = clients::python(&dev, "check_algorithms.py", &[("VALV_PLANT", &plant)]);
    let checked: BTreeSet<String> =
        output.lines().filter_map(|line| line.strip_prefix("checked ")).map(str::to_owned).collect();
    let expected = expected();
    let missing: Vec<_> = expected.difference(&checked).collect();
    assert!(missing.is_empty(), "not checked: {missing:#?}");
    let unknown: Vec<_> = checked.difference(&expected).collect();
    assert!(unknown.is_empty(), "checked, and not in the table: {unknown:#?}");
    stop_and_scan(dev, &[]);
}
