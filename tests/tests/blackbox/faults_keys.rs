//! The node's process dies while keys are written: FAILURES F02, F03; and no private part is ever seen: R8.

use aws_lc_rs::rand;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use serde_json::json;
use valv_tests::{Api, KeyLedger, KeyWrite, Node, scan, until_async};

const WRITERS: usize = 6;

/// How often the process is killed; `VALV_KILLS` sets more for a long run.
fn kills() -> usize {
    std::env::var("VALV_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(12)
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).expect("random bytes");
    bytes
}

/// One writer: writes its own key until the server is gone. Returns its account, the turn that comes next, and the
/// write that got no answer.
async fn write_until_gone(
    api: Api,
    mut ledger: KeyLedger,
    name: String,
    mut turn: usize,
    material: [u8; 32],
) -> (KeyLedger, String, usize, KeyWrite) {
    loop {
        let write = KeyWrite::turn(&name, turn, &material);
        turn += 1;
        if ledger.write(&api, &write).await.is_err() {
            return (ledger, name, turn, write);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f02_f03_killed_while_keys_are_written_loses_none_and_each_verifies_what_it_signed() {
    let material = random();
    let mut node = Node::ready().await;
    let mut ledger = KeyLedger::default();
    let mut turns: Vec<(String, usize)> = (0..WRITERS).map(|w| (format!("k{w}"), 0)).collect();
    for round in 0..kills() {
        let api = node.api().await;
        let writers: Vec<_> = turns
            .drain(..)
            .map(|(name, turn)| {
                tokio::spawn(write_until_gone(api.clone(), ledger.split(&name), name, turn, material))
            })
            .collect();
        // Kill after some more writes, a different number each round, so that it hits different moments.
        let goal = writes(&node) + 20 + 13 * (round % 12) as u64;
        until_async("writes under load", async || (writes(&node) >= goal).then_some(())).await;
        node.kill();
        let mut unanswered = Vec::new();
        for writer in writers {
            let (account, name, turn, write) = writer.await.expect("a writer");
            ledger.merge(account);
            turns.push((name, turn));
            unanswered.push(write);
        }
        node.start();
        let api = node.api().await;
        for write in &unanswered {
            ledger.retry(&api, write).await;
        }
        ledger.check(&api).await;
    }
    assert!(ledger.versions() > kills() * 10, "only {} versions were acknowledged", ledger.versions());
    assert!(node.stop().success(), "SIGTERM ends the node in order");
    scan::assert_nowhere(node.root(), &[material], &[]);
}

/// Acknowledged writes of keys so far, as the metrics count them.
fn writes(node: &Node) -> u64 {
    let words = ["KeyCreate", "KeyImport", "KeyUpdate", "KeyDelete", "KeyRecover"];
    let Some((200, text)) = node.health("/metrics") else { return 0 };
    let lines = text.lines().filter(|line| {
        line.starts_with("valv_requests_total")
            && line.contains("\"200\"")
            && words.iter().any(|word| line.contains(&format!("\"{word}\"")))
    });
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// Everything that a client can do with a key, right and wrong, and then a look into every file and log.
#[tokio::test]
async fn r8_private_parts_of_keys_are_in_no_file_and_no_log() {
    let mut node = Node::ready().await;
    let api = node.api().await;
    let k = random();
    // A private key of P-256 is any number that is not too large; the point comes from the library.
    let pair =
        aws_lc_rs::signature::EcdsaKeyPair::generate(&aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING)
            .expect("a key");
    let d = private(&pair);
    let point = aws_lc_rs::signature::KeyPair::public_key(&pair).as_ref().to_vec();
    let text = |bytes: &[u8]| BASE64URL.encode(bytes);
    let ec = json!({ "kty": "EC", "crv": "P-256", "x": text(&point[1..33]), "y": text(&point[33..]), "d": text(&d) });
    for (name, key) in [("ec", ec.clone()), ("oct", json!({ "kty": "oct", "k": text(&k) }))] {
        for hsm in [false, true] {
            let body = json!({ "key": key, "Hsm": hsm, "attributes": {}, "tags": { "a": "b" } });
            api.send("PUT", &format!("/keys/{name}"), Some(body)).await.expect(200);
        }
        let blob = api.send("POST", &format!("/keys/{name}/backup"), None).await.expect(200).json();
        api.send("GET", &format!("/keys/{name}"), None).await.expect(200);
        api.send("PATCH", &format!("/keys/{name}/"), Some(json!({ "tags": {} }))).await.expect(200);
        api.send("POST", &format!("/keys/{name}/rotate"), None).await.expect(200);
        let alg = if name == "ec" { "ES256" } else { "HS256" };
        let body = json!({ "alg": alg, "value": text(&[7; 32]) });
        api.send("POST", &format!("/keys/{name}/sign"), Some(body)).await.expect(200);
        api.send("DELETE", &format!("/keys/{name}"), None).await.expect(200);
        api.send("DELETE", &format!("/deletedkeys/{name}"), None).await.expect(204);
        api.send("POST", "/keys/restore", Some(json!({ "value": blob["value"] }))).await.expect(200);
    }
    // Refusals must not quote what they refuse.
    let mut wrong = ec;
    wrong["x"] = wrong["y"].clone();
    for key in [
        wrong,
        json!({ "kty": "oct", "k": format!("{}*", text(&k)) }),
        json!({ "kty": "oct", "k": [text(&k)] }),
        json!({ "kty": text(&k) }),
        json!({ "kty": "RSA", "n": text(&k), "e": "AQAB", "d": text(&d) }),
    ] {
        let answer = api.send("PUT", "/keys/wrong", Some(json!({ "key": key }))).await.expect(400);
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(
            !said.contains(&text(&k)) && !said.contains(&text(&d)),
            "an error quotes a private part: {said}"
        );
    }
    // Once with the process killed, so that nothing is tidied up, and once after a stop in order.
    node.kill();
    assert!(scan::assert_nowhere(node.root(), &[k.to_vec(), d.clone()], &[]) >= 3);
    node.start();
    assert!(node.stop().success());
    scan::assert_nowhere(node.root(), &[k.to_vec(), d], &[]);
}

/// The private number of a key pair.
fn private(pair: &aws_lc_rs::signature::EcdsaKeyPair) -> Vec<u8> {
    use aws_lc_rs::encoding::{AsBigEndian as _, EcPrivateKeyBin};
    let number: EcPrivateKeyBin<'_> = pair.private_key().as_be_bytes().expect("a private key");
    number.as_ref().to_vec()
}
