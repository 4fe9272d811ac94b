//! What a key may do when it is switched off, too young, too old, or made for something else.

use super::*;

/// Every operation with a key, with a body that an RSA key takes; `sealed` and `signature` are its own work.
fn operations(
    sealed: &Value,
    wrapped: &Value,
    signature: &Value,
) -> [(&'static str, &'static str, Value); 6] {
    let data = encode(&[5; 32]);
    [
        ("encrypt", "encrypt", json!({ "alg": "RSA-OAEP", "value": data })),
        ("wrapkey", "wrapKey", json!({ "alg": "RSA-OAEP", "value": data })),
        ("sign", "sign", json!({ "alg": "PS256", "value": data })),
        ("decrypt", "decrypt", json!({ "alg": "RSA-OAEP", "value": sealed })),
        ("unwrapkey", "unwrapKey", json!({ "alg": "RSA-OAEP", "value": wrapped })),
        ("verify", "verify", json!({ "alg": "PS256", "digest": data, "value": signature })),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disabled_key_does_nothing_and_one_out_of_its_dates_only_undoes() {
    let keys = Keys::start().await;
    let made = keys.import_sample("state", "rsa-2048").await;
    let value = async |path: &str, body: Value| {
        keys.post(&format!("/keys/state/{path}"), body).await.expect(200).json()["value"].clone()
    };
    let data = encode(&[5; 32]);
    let sealed = value("encrypt", json!({ "alg": "RSA-OAEP", "value": data })).await;
    let wrapped = value("wrapkey", json!({ "alg": "RSA-OAEP", "value": data })).await;
    let signature = value("sign", json!({ "alg": "PS256", "value": data })).await;
    let operations = operations(&sealed, &wrapped, &signature);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs();
    let (past, future) = (now - 1000, now + 1000);
    let expired = |word: &str| format!("Operation {word} is not allowed on an expired key.");
    let young = |word: &str| format!("Operation {word} is not allowed on a key that is not yet valid.");
    for (attributes, undoes, inner, words) in [
        (json!({ "enabled": true, "exp": future, "nbf": past }), true, None, None),
        (
            json!({ "enabled": false }),
            false,
            Some("KeyDisabled"),
            Some(Box::new(|word: &str| format!("Operation {word} is not allowed on a disabled key."))
                as Box<dyn Fn(&str) -> String>),
        ),
        (json!({ "enabled": true, "exp": now - 1 }), true, None, Some(Box::new(expired))),
        (json!({ "exp": future, "nbf": future }), true, None, Some(Box::new(young))),
    ] {
        keys.update("state", json!({ "attributes": attributes })).await.expect(200);
        for (at, (path, word, body)) in operations.iter().enumerate() {
            let answer = keys.post(&format!("/keys/state/{path}"), body.clone()).await;
            match &words {
                Some(words) if at < 3 || !undoes => {
                    let answer = answer.refused(403, "Forbidden", inner);
                    assert_eq!(message(&answer), words(word), "{attributes}");
                }
                _ => drop(answer.expect(200)),
            }
        }
        // It is shown, listed and kept all the same.
        let shown = keys.get("/keys/state").await.expect(200).json();
        assert_eq!(shown["key"], made["key"]);
        keys.post("/keys/state/backup", Value::Null).await.expect(200);
    }
    keys.update("state", json!({ "attributes": { "nbf": past, "exp": future, "enabled": true } }))
        .await
        .expect(200);
    for (path, _, body) in &operations {
        keys.post(&format!("/keys/state/{path}"), body.clone()).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_ops_allow_what_they_name_and_nothing_else() {
    let keys = Keys::start().await;
    keys.import_sample("ops", "rsa-2048").await;
    let nothing = json!(encode(&[0; 256]));
    for (allowed, _, _) in operations(&nothing, &nothing, &nothing) {
        let word = match allowed {
            "wrapkey" => "wrapKey",
            "unwrapkey" => "unwrapKey",
            word => word,
        };
        keys.update("ops", json!({ "key_ops": [word] })).await.expect(200);
        for (path, word, body) in operations(&nothing, &nothing, &nothing) {
            let answer = keys.post(&format!("/keys/ops/{path}"), body).await;
            if path == allowed {
                assert_ne!(answer.status, 403, "{path}: {answer:?}");
            } else {
                let answer = answer.refused(403, "Forbidden", Some("KeyOperationForbidden"));
                assert_eq!(message(&answer), format!("Operation {word} is not permitted on this key."));
            }
        }
    }
    keys.update("ops", json!({ "key_ops": [] })).await.expect(200);
    for (path, _, body) in operations(&nothing, &nothing, &nothing) {
        let answer = keys.post(&format!("/keys/ops/{path}"), body).await;
        answer.refused(403, "Forbidden", Some("KeyOperationForbidden"));
    }
}

/// The state is that of the version asked for; the current one is meant where none is named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_version_has_its_own_state() {
    let keys = Keys::start().await;
    let version = |made: &Value| {
        made["key"]["kid"].as_str().expect("a kid").rsplit('/').next().expect("a version").to_owned()
    };
    let old = version(&keys.create("two", json!({ "kty": "oct" })).await);
    let new = version(&keys.create("two", json!({ "kty": "oct" })).await);
    let body = json!({ "alg": "A256KW", "value": encode(&[1; 16]) });
    let used = async |path: &str| {
        let answer = keys.post(path, body.clone()).await;
        match answer.status.as_u16() {
            200 => answer.json()["kid"].as_str().expect("a kid").rsplit('/').next().map(str::to_owned),
            _ => None,
        }
    };
    assert_eq!(used("/keys/two/wrapkey").await.as_ref(), Some(&new));
    assert_eq!(used("/keys/two//wrapkey").await.as_ref(), Some(&new));
    assert_eq!(used(&format!("/keys/two/{old}/wrapkey")).await.as_ref(), Some(&old));
    assert_eq!(used(&format!("/keys/two/{}/wrapKey", old.to_uppercase())).await.as_ref(), Some(&old));
    keys.update("two", json!({ "attributes": { "enabled": false } })).await.expect(200);
    assert_eq!(used("/keys/two/wrapkey").await, None);
    assert_eq!(used(&format!("/keys/two/{old}/wrapkey")).await.as_ref(), Some(&old));
    let absent = format!("/keys/two/{}/wrapkey", "0".repeat(32));
    keys.post(&absent, body.clone()).await.refused(404, "KeyNotFound", None);
    keys.post("/keys/two/latest/wrapkey", body.clone()).await.refused(400, "BadParameter", None);
}

/// Under roles `keys/read` opens the public half: not symmetric keys, not the private half.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_read_keys_may_use_their_public_half_only() {
    let keys = Keys::start().await;
    keys.import_sample("public", "rsa-2048").await;
    keys.create("secret", json!({ "kty": "oct" })).await;
    let reader = valv_tests::Stranger::register(&keys.api, "reader").await;
    reader.assign(&keys.api, "Key Vault Reader", &format!("/vaults/{}", valv_tests::VAULT)).await;
    let nothing = json!(encode(&[0; 256]));
    for (at, (path, _, body)) in operations(&nothing, &nothing, &nothing).into_iter().enumerate() {
        let answer = reader.api.send("POST", &format!("/keys/public/{path}"), Some(body)).await;
        if [0, 1, 5].contains(&at) {
            answer.expect(200);
        } else {
            answer.refused(403, "Forbidden", Some("ForbiddenByRbac"));
        }
    }
    let nobody = valv_tests::Stranger::register(&keys.api, "nobody").await;
    for (path, body) in [
        ("encrypt", json!({ "alg": "A256GCM", "value": encode(b"x") })),
        ("wrapkey", json!({ "alg": "A256KW", "value": encode(&[1; 16]) })),
        ("verify", json!({ "alg": "HS256", "digest": encode(&[1; 32]), "value": encode(&[1; 32]) })),
    ] {
        let path = format!("/keys/secret/{path}");
        keys.post(&path, body.clone()).await.expect(200);
        let answer = reader.api.send("POST", &path, Some(body.clone())).await;
        let words = message(&answer.refused(403, "Forbidden", Some("ForbiddenByRbac")));
        // The refusal is the one of somebody who may do nothing, but for whom it names.
        let answer = nobody.api.send("POST", &path, Some(body)).await;
        let expected = message(&answer).replace(&nobody.client, &reader.client);
        assert_eq!(words, expected.replace(&nobody.principal, &reader.principal));
    }
}
