//! Who is let in, for every row of the table of operations: a new row is tested without a word here, or fails.

use std::collections::BTreeSet;

use serde_json::json;
use valv_model::{Admission, OPERATIONS, ObjectType, Operation, Spec};
use valv_tests::{Answer, Api, Node, Stranger, TENANT, VAULT, create_vault};

/// A vault that uses access policies.
const POLICIES: &str = "words";
/// Words that Azure has (azure docs: key-vault/general/assign-access-policy), but `release`, which opens nothing here.
const WORDS: [(&str, ObjectType, &[&str]); 2] = [
    (
        "secrets",
        ObjectType::Secret,
        &["get", "list", "set", "delete", "recover", "backup", "restore", "purge"],
    ),
    (
        "keys",
        ObjectType::Key,
        &[
            "get",
            "list",
            "update",
            "create",
            "import",
            "delete",
            "recover",
            "backup",
            "restore",
            "decrypt",
            "encrypt",
            "unwrapKey",
            "wrapKey",
            "verify",
            "sign",
            "purge",
            "rotate",
            "getrotationpolicy",
            "setrotationpolicy",
        ],
    ),
];

/// The collection that objects of this type lie in.
fn collection(kind: ObjectType) -> &'static str {
    WORDS.iter().find(|(_, of, _)| *of == kind).map_or("", |(name, ..)| name)
}

/// The path of a row, with something in each place.
fn path(spec: &Spec) -> String {
    let uuid = uuid::Uuid::new_v4().to_string();
    spec.path
        .replace("{name}", "some-name")
        .replace("{version?}", "0123456789abcdef0123456789abcdef")
        .replace("{vault}", VAULT)
        .replace("{tenant}", TENANT)
        .replace("{principal}", &uuid)
        .replace("{assignment}", &uuid)
        .replace("{client}", &uuid)
}

async fn ask(api: &Api, spec: &Spec) -> Answer {
    api.send(spec.method.as_str(), &path(spec), None).await
}

fn message(answer: &Answer) -> String {
    answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned()
}

fn guarded() -> impl Iterator<Item = &'static Spec> {
    OPERATIONS.iter().filter(|spec| spec.admission != Admission::Anyone)
}

/// A node with a role vault and a policy vault: its administrator, and how to call the policy vault.
async fn two_vaults() -> (Node, Api, Api) {
    let node = Node::ready().await;
    let admin = node.api().await;
    create_vault(&admin, POLICIES, json!({ "enableRbacAuthorization": false })).await;
    let policies = admin.to(&node.vault_url(POLICIES));
    (node, admin, policies)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_guarded_row_challenges_callers_without_a_token_or_with_a_bad_one() {
    let node = Node::ready().await;
    let (anonymous, api) = (node.anonymous(), node.api().await);
    let port = node.port();
    let challenge = format!(
        "Bearer authorization=\"https://localhost:{port}/{TENANT}\", resource=\"https://vault.localhost:{port}\""
    );
    let good = api.token().expect("a token");
    let (signed, signature) = good.rsplit_once('.').expect("a JWT");
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    let tampered = format!("{signed}.{first}{}", &signature[1..]);
    // Another deployment's token: well made, for another audience, by another key.
    let other = Node::ready().await;
    let foreign = other.api().await.token().expect("a token").to_owned();
    for spec in guarded() {
        for (why, token) in
            [("no token", None), ("tampered", Some(tampered.clone())), ("foreign", Some(foreign.clone()))]
        {
            let answer = ask(&anonymous.with_token(token), spec).await;
            assert_eq!(answer.status, 401, "{} with {why}: {answer:?}", spec.name);
            assert_eq!(answer.header("www-authenticate"), Some(challenge.as_str()), "{} {why}", spec.name);
            assert_eq!(answer.code().as_deref(), Some("Unauthorized"), "{} {why}", spec.name);
            assert!(message(&answer).starts_with("AKV10"), "{} {why}: {answer:?}", spec.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_guarded_row_is_forbidden_to_a_caller_without_any_permission() {
    let (node, admin, policies) = two_vaults().await;
    let nobody = Stranger::register(&admin, "nobody").await;
    let caller = format!("appid={};oid={}", nobody.client, nobody.principal);
    for spec in guarded() {
        let (action, word) = match spec.admission {
            Admission::Vault { policy, action } => (action, Some(policy)),
            Admission::Control { action } => (action, None),
            Admission::Anyone => continue,
        };
        let answer = ask(&nobody.api, spec).await;
        let answer = answer.refused(403, "Forbidden", Some("ForbiddenByRbac"));
        let words = message(&answer);
        assert!(
            words.starts_with("Caller is not authorized to perform action on resource."),
            "{}: {words}",
            spec.name
        );
        for part in
            [format!("Caller: {caller}"), format!("Action: '{action}'"), "Assignment: (not found)".into()]
        {
            assert!(words.contains(&part), "{} does not say {part}: {words}", spec.name);
        }
        if spec.path.contains("{vault}") || word.is_some() {
            assert!(words.contains(&format!("Vault: {VAULT};location=eastus")), "{}: {words}", spec.name);
        }
        assert!(answer.header("www-authenticate").is_none(), "a new token would not help: {}", spec.name);
        if let Some(word) = word {
            let answer = ask(&policies.with_token(nobody.api.token().map(str::to_owned)), spec).await;
            let answer = answer.refused(403, "Forbidden", Some("AccessDenied"));
            assert_eq!(message(&answer), access_denied(&node, &nobody, spec.object, word), "{}", spec.name);
        }
    }
}

/// Azure's words.
fn access_denied(node: &Node, who: &Stranger, kind: ObjectType, word: &str) -> String {
    format!(
        "The user, group or application 'appid={};oid={};numgroups=0;iss=https://localhost:{}/{TENANT}/v2.0' does not have {} {word} permission on key vault '{POLICIES};location=eastus'. For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125287",
        who.client,
        who.principal,
        node.port(),
        collection(kind),
    )
}

/// What is not there, and what one may not see, look the same to who may not see it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_without_permission_cannot_tell_what_exists() {
    let (_node, admin, _) = two_vaults().await;
    let nobody = Stranger::register(&admin, "nobody").await;
    admin.send("PUT", "/secrets/there", Some(json!({ "value": "v" }))).await.expect(200);
    admin.send("POST", "/keys/there/create", Some(json!({ "kty": "EC" }))).await.expect(200);
    for spec in guarded() {
        let mut said = Vec::new();
        for (object, vault) in [("there", VAULT), ("absent", "absent")] {
            let path =
                path(spec).replace("some-name", object).replace(&format!("/{VAULT}"), &format!("/{vault}"));
            let answer = nobody.api.send(spec.method.as_str(), &path, None).await;
            said.push((answer.status, answer.code()));
        }
        assert_eq!(said[0], said[1], "{} tells what exists", spec.name);
    }
}

/// Each word of an access policy opens its rows and no others, those of other types included.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_access_policy_word_opens_its_rows_and_no_others() {
    let (node, admin, policies) = two_vaults().await;
    let at = |who: &Stranger| policies.with_token(who.api.token().map(str::to_owned));
    for (kind, object, words) in WORDS {
        let used: BTreeSet<_> = guarded()
            .filter(|spec| spec.object == object)
            .filter_map(|spec| match spec.admission {
                Admission::Vault { policy, .. } => Some(policy),
                _ => None,
            })
            .collect();
        assert_eq!(used, words.iter().copied().collect(), "the words of {kind} are Azure's");
        for word in words {
            let (only, but) =
                (Stranger::register(&admin, "only").await, Stranger::register(&admin, "but").await);
            only.permit(&admin, POLICIES, kind, &[word]).await;
            let others: Vec<_> = words.iter().copied().filter(|w| w != word).collect();
            but.permit(&admin, POLICIES, kind, &others).await;
            let (only_api, but_api) = (at(&only), at(&but));
            for spec in guarded() {
                let Admission::Vault { policy, .. } = spec.admission else { continue };
                let right = spec.object == object;
                if !right {
                    for (api, who) in [(&only_api, &only), (&but_api, &but)] {
                        let answer = ask(api, spec).await.refused(403, "Forbidden", Some("AccessDenied"));
                        assert_eq!(message(&answer), access_denied(&node, who, spec.object, policy));
                    }
                    continue;
                }
                let (allowed, refused) = if policy == *word {
                    (&only_api, (&but_api, &but))
                } else {
                    (&but_api, (&only_api, &only))
                };
                let answer = ask(allowed, spec).await;
                assert!(let_in(&answer), "{} is not open to '{policy}': {answer:?}", spec.name);
                let answer = ask(refused.0, spec).await.refused(403, "Forbidden", Some("AccessDenied"));
                let words = access_denied(&node, refused.1, spec.object, policy);
                assert_eq!(message(&answer), words, "{}", spec.name);
            }
            // A policy on one vault opens no other.
            let elsewhere = admin.with_token(only.api.token().map(str::to_owned));
            let answer = elsewhere.send("GET", &format!("/{kind}"), None).await;
            answer.refused(403, "Forbidden", Some("ForbiddenByRbac"));
        }
        // `all` stands for every word, and words compare without case.
        let cases: Vec<String> = words
            .iter()
            .enumerate()
            .map(|(at, word)| if at % 2 == 0 { word.to_uppercase() } else { word.to_lowercase() })
            .collect();
        for words in [vec!["all"], cases.iter().map(String::as_str).collect()] {
            let everything = Stranger::register(&admin, "everything").await;
            everything.permit(&admin, POLICIES, kind, &words).await;
            let api = at(&everything);
            for spec in guarded().filter(|spec| spec.object == object) {
                assert!(let_in(&ask(&api, spec).await), "{} is not open to {words:?}", spec.name);
            }
        }
    }
}

fn let_in(answer: &Answer) -> bool {
    answer.status != 403 && answer.status != 401 && !answer.status.is_server_error()
}

/// Each built-in role opens what Azure's documentation says, at its scope, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_opens_its_rows_and_no_others() {
    let (node, admin, _) = two_vaults().await;
    create_vault(&admin, "elsewhere", json!({})).await;
    // dataActions below Microsoft.KeyVault/vaults/ (azure docs: role-based-access-control/built-in-roles/security).
    let secrets: &[&str] = &[
        "secrets/setSecret/action",
        "secrets/getSecret/action",
        "secrets/update/action",
        "secrets/readMetadata/action",
        "secrets/delete",
        "secrets/backup/action",
        "secrets/restore/action",
        "secrets/recover/action",
        "secrets/purge/action",
    ];
    let public: &[&str] = &["keys/read", "keys/encrypt/action", "keys/wrap/action", "keys/verify/action"];
    let keys: &[&str] = &[
        "keys/create/action",
        "keys/import/action",
        "keys/update/action",
        "keys/decrypt/action",
        "keys/unwrap/action",
        "keys/sign/action",
        "keys/rotate/action",
        "keyrotationpolicies/read",
        "keyrotationpolicies/write",
        "keys/delete",
        "keys/backup/action",
        "keys/restore/action",
        "keys/recover/action",
        "keys/purge/action",
        "keys/rng/action",
    ];
    let used: BTreeSet<_> = guarded().filter_map(data_action).collect();
    let named: BTreeSet<_> = [secrets, public, keys].concat().into_iter().collect();
    assert_eq!(used, named, "a new action: say here who may");
    let user: &[&str] = &[
        "keys/update/action",
        "keys/backup/action",
        "keys/decrypt/action",
        "keys/unwrap/action",
        "keys/sign/action",
        "keys/rng/action",
    ];
    let read_secrets: &[&str] = &["secrets/getSecret/action", "secrets/readMetadata/action"];
    let reader: &[&str] = &["secrets/readMetadata/action", "keyrotationpolicies/read"];
    let roles: [(&str, &[&[&str]]); 14] = [
        ("Key Vault Administrator", &[secrets, public, keys]),
        ("Key Vault Secrets Officer", &[secrets]),
        ("Key Vault Secrets User", &[read_secrets]),
        ("Key Vault Certificate User", &[read_secrets, public]),
        ("Key Vault Reader", &[reader, public]),
        ("Key Vault Crypto Officer", &[public, keys]),
        ("Key Vault Crypto User", &[public, user]),
        ("Key Vault Crypto Service Encryption User", &[public, &["keys/unwrap/action"]]),
        ("Key Vault Crypto Service Release User", &[]),
        ("Key Vault Certificates Officer", &[]),
        ("Key Vault Contributor", &[]),
        ("Key Vault Data Access Administrator", &[]),
        ("Key Vault Purge Operator", &[]),
        ("Valv Administrator", &[]),
    ];
    for (role, opens) in roles {
        let opens = opens.concat();
        let holder = Stranger::register(&admin, "holder").await;
        holder.assign(&admin, role, &format!("/vaults/{VAULT}")).await;
        let elsewhere = holder.api.to(&node.vault_url("elsewhere"));
        for spec in guarded() {
            let Some(action) = data_action(spec) else { continue };
            let answer = ask(&holder.api, spec).await;
            if opens.contains(&action) {
                assert!(let_in(&answer), "{} is not open to {role}: {answer:?}", spec.name);
            } else {
                answer.refused(403, "Forbidden", Some("ForbiddenByRbac"));
            }
            ask(&elsewhere, spec).await.refused(403, "Forbidden", Some("ForbiddenByRbac"));
        }
    }
    // Down to one object: its rows, not those of the vault, not those of its neighbour, not those of other types.
    for (kind, object, role) in [
        ("secrets", ObjectType::Secret, "Key Vault Secrets Officer"),
        ("keys", ObjectType::Key, "Key Vault Crypto Officer"),
    ] {
        let holder = Stranger::register(&admin, "of-one-object").await;
        holder.assign(&admin, role, &format!("/vaults/{VAULT}/{kind}/Some-NAME")).await;
        for spec in guarded().filter(|spec| data_action(spec).is_some()) {
            let answer = ask(&holder.api, spec).await;
            let its_own = spec.object == object && spec.path.contains("{name}");
            assert_eq!(answer.status != 403, its_own, "{}: {answer:?}", spec.name);
            let path = path(spec).replace("some-name", "some-name-2");
            let answer = holder.api.send(spec.method.as_str(), &path, None).await;
            answer.refused(403, "Forbidden", Some("ForbiddenByRbac"));
        }
    }
}

/// A row's dataAction, below what all have in common.
fn data_action(spec: &Spec) -> Option<&'static str> {
    match spec.admission {
        Admission::Vault { action, .. } => {
            Some(action.strip_prefix("Microsoft.KeyVault/vaults/").expect("an action in a vault"))
        }
        _ => None,
    }
}

/// A row for everybody must be named here with what strangers get.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_everybody_may_ask_gives_nothing_away() {
    let node = Node::ready().await;
    let api = node.anonymous();
    for spec in OPERATIONS.iter().filter(|spec| spec.admission == Admission::Anyone) {
        let answer = ask(&api, spec).await;
        let status = answer.status.as_u16();
        match spec.operation {
            // No credentials, no token, in the token service's own form.
            Operation::TokenIssue => {
                assert_eq!((status, &answer.json()["error"]), (400, &json!("invalid_request")), "{answer:?}");
            }
            Operation::AppServiceToken => assert!([400, 401, 403].contains(&status), "{answer:?}"),
            // Public by their nature.
            Operation::OpenidConfigurationGet | Operation::InstanceDiscoveryGet => assert_eq!(status, 200),
            Operation::JwksGet => {
                let keys = answer.expect(200).json();
                for key in keys["keys"].as_array().expect("keys") {
                    assert!(key.get("d").is_none() && key["kid"].is_string(), "{key}");
                }
                continue;
            }
            // Only on loopback listeners of their own: here these paths are unknown, which strangers are not told.
            Operation::ManagedIdentityToken | Operation::MetricsGet => assert_eq!(status, 401, "{answer:?}"),
            // Nothing but that it is there.
            Operation::HealthStatusGet => {
                assert_eq!((status, answer.json()), (200, json!({ "status": "healthy" })), "{answer:?}");
            }
            Operation::HealthGet | Operation::ReadyGet => {
                assert!([200, 401].contains(&status), "{answer:?}");
                assert_eq!(node.health(spec.path).map(|(status, _)| status), Some(200));
            }
            other => panic!("{other} is for everybody: say here what strangers get from it"),
        }
        let text = String::from_utf8_lossy(&answer.body);
        assert!(!text.contains("access_token"), "{} gives a token to strangers", spec.name);
    }
    let (status, metrics) = node.health("/metrics").expect("metrics");
    assert_eq!(status, 200);
    assert!(!metrics.contains(node.client().1), "a secret among the metrics");
}
