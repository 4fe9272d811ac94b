//! F39 for keys: too many long computations are told to come back, and nobody else waits for them.

use std::time::{Duration, Instant};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn f39_a_full_computation_pool_answers_429_with_retry_after_and_the_rest_goes_on() {
    let keys = Keys::start().await;
    keys.import_sample("ready", "rsa-2048").await;
    keys.send("PUT", "/secrets/ready", json!({ "value": "v" })).await.expect(200);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    // More than may run and wait, many times over.
    let (sender, mut answers) = tokio::sync::mpsc::unbounded_channel();
    let mut creations = tokio::task::JoinSet::new();
    for n in 0..16 * cores + 16 {
        let (api, sender) = (keys.api.clone(), sender.clone());
        creations.spawn(async move {
            let body = json!({ "kty": "RSA", "key_size": 4096 });
            if let Ok(answer) = api.try_send("POST", &format!("/keys/many-{n}/create"), Some(body)).await {
                let _ = sender.send(answer);
            }
        });
    }
    let refused = async {
        loop {
            let answer: Answer = answers.recv().await.expect("an answer");
            if answer.status != 200 {
                return answer;
            }
        }
    };
    let refused = tokio::time::timeout(valv_tests::DEADLINE, refused).await.expect("an answer in time");
    let refused = refused.refused(429, "Throttled", None);
    let after: u64 = refused.header("retry-after").and_then(|s| s.parse().ok()).expect("when to come back");
    assert!((1..=10).contains(&after));
    assert!(
        message(&refused).starts_with("Request was not processed because too many requests were received.")
    );

    // Reads, writes and signatures go on while the pool is full of long work.
    let begun = Instant::now();
    for _ in 0..5 {
        keys.get("/secrets/ready").await.expect(200);
        keys.post("/keys/ready/sign", json!({ "alg": "RS256", "value": encode(&[1; 32]) })).await.expect(200);
        keys.send("PUT", "/secrets/ready", json!({ "value": "w" })).await.expect(200);
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    // Callers that go away take their waiting work with them; who comes back is served.
    creations.shutdown().await;
    let end = Instant::now() + valv_tests::DEADLINE;
    loop {
        let answer = keys.post("/keys/again/create", json!({ "kty": "RSA" })).await;
        if answer.status == 200 {
            break;
        }
        answer.refused(429, "Throttled", None);
        assert!(Instant::now() < end, "still full");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
