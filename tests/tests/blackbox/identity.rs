//! Tokens of other issuers, and access that is taken away: FAILURES F32, R7.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use valv_tests::{Api, Node, Oidc, Stranger, TENANT, VAULT, assign, until_async};

/// A node that trusts a provider, and someone of that provider who may read secrets of the vault.
struct Federated {
    oidc: Oidc,
    node: Node,
    admin: Api,
    /// The claims of a good token.
    claims: Value,
}

async fn federated() -> Federated {
    let mut node = Node::new();
    let oidc = Oidc::start(&node.root().join("issuer-ca.crt")).await;
    node.sections.push_str(&oidc.section("issuer-ca.crt"));
    node.init();
    node.start();
    node.furnish().await;
    let admin = node.api().await;
    admin.send("PUT", "/secrets/here", Some(json!({ "value": "a value" }))).await.expect(200);
    let principal = uuid::Uuid::new_v4().to_string();
    assign(&admin, &principal, "Key Vault Secrets User", &format!("/vaults/{VAULT}")).await;
    let claims = json!({
        "aud": admin.resource().await,
        "tid": TENANT,
        "oid": principal,
        "sub": principal,
        "appid": uuid::Uuid::new_v4().to_string(),
    });
    Federated { oidc, node, admin, claims }
}

impl Federated {
    /// Asks for a secret with this token.
    async fn get(&self, token: String) -> valv_tests::Answer {
        self.admin.with_token(Some(token)).send("GET", "/secrets/here", None).await
    }

    /// The claims with one of them changed or, by `null`, left out.
    fn with(&self, name: &str, value: Value) -> Value {
        let mut claims = self.claims.clone();
        claims[name] = value;
        claims
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f32_tokens_of_another_issuer_are_checked_like_our_own() {
    let all = federated().await;
    let answer = all.get(all.oidc.token(&all.claims)).await.expect(200);
    assert_eq!(answer.json()["value"], "a value");
    let reader = all.admin.with_token(Some(all.oidc.token(&all.claims)));
    let written = reader.send("PUT", "/secrets/here", Some(json!({ "value": "v" }))).await;
    written.refused(403, "Forbidden", Some("ForbiddenByRbac"));

    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    for (claim, value, code) in [
        ("aud", json!("https://vault.azure.net"), "AKV10022"),
        ("aud", json!(["https://a.example", "https://b.example"]), "AKV10022"),
        ("aud", Value::Null, ""),
        ("iss", json!("https://elsewhere.example"), "AKV10032"),
        ("iss", Value::Null, ""),
        ("exp", json!(now - 3600), ""),
        ("exp", Value::Null, ""),
        ("exp", json!("soon"), ""),
        ("nbf", json!(now + 3600), ""),
        ("tid", json!("11111111-2222-3333-4444-555555555555"), ""),
        ("oid", Value::Null, ""),
        ("oid", json!("no uuid"), ""),
    ] {
        let shown = format!("{claim} = {value}");
        let answer = all.get(all.oidc.token(&all.with(claim, value))).await;
        assert!([401, 403].contains(&answer.status.as_u16()), "{shown}: {answer:?}");
        let text = answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(text.contains(code), "{shown}: {text}");
    }
    // Signed by somebody else, with a name that is known and one that is not.
    for kid in ["first", "unknown", "", "../first"] {
        all.get(all.oidc.forged(kid, &all.claims)).await.refused(401, "Unauthorized", None);
    }
    // The same person through a group.
    let group = uuid::Uuid::new_v4().to_string();
    assign(&all.admin, &group, "Key Vault Secrets User", &format!("/vaults/{VAULT}")).await;
    let mut member = all.with("oid", json!(uuid::Uuid::new_v4()));
    all.get(all.oidc.token(&member)).await.refused(403, "Forbidden", Some("ForbiddenByRbac"));
    member["groups"] = json!([group]);
    all.get(all.oidc.token(&member)).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f32_an_issuers_outage_takes_nothing_down_and_lets_nothing_in() {
    let mut all = federated().await;
    let good = all.oidc.token(&all.claims);
    all.get(good.clone()).await.expect(200);
    all.oidc.stop().await;
    // Known keys go on working, for tokens that were seen and for new ones, also after a restart.
    for _ in 0..2 {
        all.get(good.clone()).await.expect(200);
        all.get(all.oidc.token(&all.with("jti", json!("another")))).await.expect(200);
        let started = Instant::now();
        all.get(all.oidc.forged("unknown", &all.claims)).await.refused(401, "Unauthorized", None);
        assert!(started.elapsed() < Duration::from_secs(10), "an unknown key took {:?}", started.elapsed());
        all.node.kill();
        all.node.start();
    }
    // A node that never saw the issuer lets nobody in, and says 401, not 500.
    let mut fresh = Node::new();
    std::fs::copy(all.node.root().join("issuer-ca.crt"), fresh.root().join("issuer-ca.crt")).expect("a copy");
    fresh.sections.push_str(&all.oidc.section("issuer-ca.crt"));
    fresh.init();
    fresh.start();
    fresh.furnish().await;
    let mut claims = all.claims.clone();
    claims["aud"] = json!(fresh.anonymous().resource().await);
    let stranger = fresh.anonymous().with_token(Some(all.oidc.token(&claims)));
    stranger.send("GET", "/secrets", None).await.refused(401, "Unauthorized", None);
    assert_eq!(fresh.health("/readyz").map(|(status, _)| status), Some(200));
    // Its own clients are served, and once the issuer is back so are the issuer's.
    fresh.api().await.send("GET", "/secrets", None).await.expect(200);
    all.oidc.resume().await;
    until_async("the issuer's keys", async || {
        let answer = stranger.send("GET", "/secrets", None).await;
        (answer.status == 403).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f32_rotated_keys_are_taken_up_and_unknown_ones_cost_one_fetch_a_minute() {
    let all = federated().await;
    let old = all.oidc.token(&all.claims);
    all.get(old.clone()).await.expect(200);
    all.oidc.add_key("second");
    // The last fetch may have been a moment ago: then the next one comes a minute later.
    let rotated = Instant::now();
    while all.get(all.oidc.token(&all.claims)).await.status != 200 {
        assert!(rotated.elapsed() < Duration::from_secs(150), "the new key is not taken up");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    all.get(old).await.expect(200);

    let (before, started) = (all.oidc.key_fetches(), Instant::now());
    let senders: Vec<_> = (0..16)
        .map(|sender| {
            let api = all.admin.clone();
            let tokens: Vec<_> = (0..crate::long(6250, 625))
                .map(|n| all.oidc.forged(&format!("random-{sender}-{n}"), &all.claims))
                .collect();
            tokio::spawn(async move {
                for token in tokens {
                    let answer = api.with_token(Some(token)).send("GET", "/secrets/here", None).await;
                    answer.refused(401, "Unauthorized", None);
                }
            })
        })
        .collect();
    for sender in senders {
        sender.await.expect("a sender");
    }
    let minutes = started.elapsed().as_secs() / 60 + 1;
    let fetches = (all.oidc.key_fetches() - before) as u64;
    assert!(fetches <= minutes, "{fetches} fetches in {:?}", started.elapsed());
    assert!(all.oidc.discovery_fetches() <= all.oidc.key_fetches() + 1);
    all.get(all.oidc.token(&all.claims)).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f35_access_that_is_taken_away_is_gone_at_once() {
    let node = Node::ready().await;
    let admin = node.api().await;
    admin.send("PUT", "/secrets/here", Some(json!({ "value": "v" }))).await.expect(200);
    for _ in 0..5 {
        let client = Stranger::register(&admin, "leaver").await;
        let get = async || client.api.send("GET", "/secrets/here", None).await;
        get().await.refused(403, "Forbidden", Some("ForbiddenByRbac"));
        let id = client.assign(&admin, "Key Vault Secrets User", &format!("/vaults/{VAULT}")).await;
        get().await.expect(200);
        admin.send("DELETE", &format!("/admin/roleassignments/{id}"), None).await.expect(204);
        get().await.refused(403, "Forbidden", Some("ForbiddenByRbac"));
        client.assign(&admin, "Key Vault Secrets User", "/").await;
        get().await.expect(200);
        admin.send("DELETE", &format!("/admin/clients/{}", client.client), None).await.expect(204);
        get().await.refused(401, "Unauthorized", None);
        let answer = node.anonymous().token_request(&client.client, &client.secret).await;
        assert!([400, 401].contains(&answer.status.as_u16()), "{answer:?}");
    }
    // A vault's access policy too.
    valv_tests::create_vault(&admin, "policies", json!({ "enableRbacAuthorization": false })).await;
    let client = Stranger::register(&admin, "leaver").await;
    let there = client.api.to(&node.vault_url("policies"));
    client.permit(&admin, "policies", "secrets", &["list", "get"]).await;
    there.send("GET", "/secrets", None).await.expect(200);
    client.permit(&admin, "policies", "secrets", &["get"]).await;
    there.send("GET", "/secrets", None).await.refused(403, "Forbidden", Some("AccessDenied"));
    let path = format!("/admin/vaults/policies/accesspolicies/{}", client.principal);
    admin.send("DELETE", &path, None).await.expect(204);
    there.send("GET", "/secrets/x", None).await.refused(403, "Forbidden", Some("AccessDenied"));
}
