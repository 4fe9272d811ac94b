//! Every operation of the table, tried before the loss, during it, and after the return.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::{Value, json};
use valv_model::{Effect, OPERATIONS, ObjectType, Operation, Spec};

use super::figures::{Connection, Tried};
use super::wire::{Answer, Wire};
use crate::output::{Problem, Result};

/// The version of every request.
const API: &str = "api-version=2025-07-01";
/// SHA-256 of nothing in particular: 32 bytes.
const DIGEST: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

/// Who asks.
pub struct Asker {
    /// Its token.
    pub token: String,
    /// For token requests.
    pub tenant: String,
    /// Its client id.
    pub client_id: String,
    /// Its secret.
    pub client_secret: zeroize::Zeroizing<String>,
    /// What tokens are for.
    pub resource: String,
}

/// Is the operation one that clients reach through a front door? What is asked on loopback listeners is each
/// machine's own.
fn through_the_door(spec: &Spec) -> bool {
    (spec.object != ObjectType::Service || spec.operation == Operation::HealthStatusGet)
        && !matches!(spec.operation, Operation::ManagedIdentityToken | Operation::AppServiceToken)
}

/// One try of all operations.
pub struct Tries {
    /// What came, by operation.
    pub came: HashMap<Operation, String>,
}

/// What the operations work on in one phase, and what earlier answers gave.
pub struct Stage {
    name: &'static str,
    blobs: [Value; 2],
    ciphertext: Value,
    wrapped: Value,
    signature: Value,
    assignment: String,
    client: String,
    principal: String,
}

struct Asked {
    path: String,
    body: Value,
}

impl Stage {
    /// Makes everything that the operations need: objects that are there, that are deleted, that can be recovered,
    /// purged and restored.
    pub async fn set(wire: &Wire, asker: &Asker, name: &'static str) -> Result<Self> {
        let go = async |method: &str, path: String, body: Value| -> Result<Value> {
            let answer = send(wire, Some(&asker.token), method, &path, &body).await?;
            if answer.status.is_success() {
                return Ok(answer.json());
            }
            Err(Problem::new(format!(
                "preparing the table of operations: {method} {path} was answered with {}: {}",
                answer.status,
                String::from_utf8_lossy(&answer.body)
            )))
        };
        let mut blobs = [Value::Null, Value::Null];
        for (at, collection) in ["secrets", "keys"].into_iter().enumerate() {
            let make = async |suffix: &str| {
                let path = format!("/{collection}/probe-{name}{suffix}");
                match collection {
                    "secrets" => go("PUT", path, json!({ "value": "probed" })).await,
                    _ => go("POST", format!("{path}/create"), json!({ "kty": "EC" })).await,
                }
            };
            let delete = async |suffix: &str| {
                go("DELETE", format!("/{collection}/probe-{name}{suffix}"), Value::Null).await
            };
            for suffix in ["-deleted", "-recover", "-purge", "-delete", "-restore"] {
                make(suffix).await?;
            }
            let backup = format!("/{collection}/probe-{name}-restore/backup");
            if let Some(blob) = blobs.get_mut(at) {
                *blob = go("POST", backup, Value::Null).await?["value"].take();
            }
            for suffix in ["-deleted", "-recover", "-purge", "-restore"] {
                delete(suffix).await?;
            }
            go("DELETE", format!("/deleted{collection}/probe-{name}-restore"), Value::Null).await?;
        }
        go("PUT", format!("/secrets/probe-{name}"), json!({ "value": "probed" })).await?;
        let key = format!("/keys/probe-{name}");
        go("POST", format!("{key}/create"), json!({ "kty": "RSA", "key_size": 2048 })).await?;
        let compute = async |word: &str, body: Value| go("POST", format!("{key}/{word}"), body).await;
        let ciphertext =
            compute("encrypt", json!({ "alg": "RSA-OAEP-256", "value": DIGEST })).await?["value"].take();
        let wrapped =
            compute("wrapkey", json!({ "alg": "RSA-OAEP-256", "value": DIGEST })).await?["value"].take();
        let signature = compute("sign", json!({ "alg": "RS256", "value": DIGEST })).await?["value"].take();
        for suffix in ["", "-words", "-del", "-delete", "-recover", "-purge"] {
            let rbac = suffix != "-words";
            let properties = json!({ "properties": { "enableRbacAuthorization": rbac } });
            go("PUT", format!("/admin/vaults/probe-{name}{suffix}"), properties).await?;
        }
        for suffix in ["-del", "-recover", "-purge"] {
            go("DELETE", format!("/admin/vaults/probe-{name}{suffix}"), Value::Null).await?;
        }
        let uuid = || uuid::Uuid::new_v4().to_string();
        Ok(Self {
            name,
            blobs,
            ciphertext,
            wrapped,
            signature,
            assignment: uuid(),
            client: uuid(),
            principal: uuid(),
        })
    }

    /// The request of an operation. None: the operation is not known here, which is a failure.
    fn asked(&self, operation: Operation, asker: &Asker) -> Option<Asked> {
        use Operation as O;
        let p = self.name;
        let probe = |collection: &str, suffix: &str| format!("/{collection}/probe-{p}{suffix}");
        let (secret, key, vault) = (probe("secrets", ""), probe("keys", ""), probe("admin/vaults", ""));
        let plain = |path: String| Some(Asked { path, body: Value::Null });
        let with = |path: String, body: Value| Some(Asked { path, body });
        let notify = json!([{ "trigger": { "timeBeforeExpiry": "P30D" }, "action": { "type": "Notify" } }]);
        match operation {
            O::SecretSet => with(secret, json!({ "value": "probed again" })),
            O::SecretGet => plain(secret),
            O::SecretUpdate => with(secret, json!({ "tags": { "probed": "yes" } })),
            O::SecretList => plain("/secrets".into()),
            O::SecretListVersions => plain(format!("{secret}/versions")),
            O::SecretDelete => plain(probe("secrets", "-delete")),
            O::SecretBackup => plain(format!("{secret}/backup")),
            O::SecretRestore => with("/secrets/restore".into(), json!({ "value": self.blobs[0] })),
            O::SecretListDeleted => plain("/deletedsecrets".into()),
            O::SecretGetDeleted => plain(probe("deletedsecrets", "-deleted")),
            O::SecretRecover => plain(format!("{}/recover", probe("deletedsecrets", "-recover"))),
            O::SecretPurge => plain(probe("deletedsecrets", "-purge")),
            O::KeyCreate => with(format!("{}/create", probe("keys", "-made")), json!({ "kty": "EC" })),
            O::KeyImport => with(probe("keys", "-taken"), json!({ "key": { "kty": "oct", "k": DIGEST } })),
            O::KeyGet => plain(key),
            O::KeyUpdate => with(key, json!({ "tags": { "probed": "yes" } })),
            O::KeyList => plain("/keys".into()),
            O::KeyListVersions => plain(format!("{key}/versions")),
            O::KeyEncrypt => with(format!("{key}/encrypt"), json!({ "alg": "RSA-OAEP", "value": DIGEST })),
            O::KeyDecrypt => {
                with(format!("{key}/decrypt"), json!({ "alg": "RSA-OAEP-256", "value": self.ciphertext }))
            }
            O::KeyWrap => with(format!("{key}/wrapkey"), json!({ "alg": "RSA-OAEP", "value": DIGEST })),
            O::KeyUnwrap => {
                with(format!("{key}/unwrapkey"), json!({ "alg": "RSA-OAEP-256", "value": self.wrapped }))
            }
            O::KeySign => with(format!("{key}/sign"), json!({ "alg": "PS256", "value": DIGEST })),
            O::KeyVerify => with(
                format!("{key}/verify"),
                json!({ "alg": "RS256", "digest": DIGEST, "value": self.signature }),
            ),
            O::KeyRotate => plain(format!("{}/rotate", probe("keys", "-delete"))),
            O::KeyRotationPolicyGet => plain(format!("{key}/rotationpolicy")),
            O::KeyRotationPolicySet => with(
                format!("{key}/rotationpolicy"),
                json!({ "lifetimeActions": notify, "attributes": { "expiryTime": "P1Y" } }),
            ),
            O::KeyDelete => plain(probe("keys", "-delete")),
            O::KeyBackup => plain(format!("{key}/backup")),
            O::KeyRestore => with("/keys/restore".into(), json!({ "value": self.blobs[1] })),
            O::KeyListDeleted => plain("/deletedkeys".into()),
            O::KeyGetDeleted => plain(probe("deletedkeys", "-deleted")),
            O::KeyRecover => plain(format!("{}/recover", probe("deletedkeys", "-recover"))),
            O::KeyPurge => plain(probe("deletedkeys", "-purge")),
            O::RandomBytesGet => with("/rng".into(), json!({ "count": 16 })),
            O::VaultPut => with(vault, json!({ "tags": { "probed": "yes" } })),
            O::VaultGet => plain(vault),
            O::VaultList => plain("/admin/vaults".into()),
            O::VaultDelete => plain(probe("admin/vaults", "-delete")),
            O::VaultListDeleted => plain("/admin/deletedvaults".into()),
            O::VaultRecover => plain(format!("{}/recover", probe("admin/deletedvaults", "-recover"))),
            O::VaultPurge => plain(probe("admin/deletedvaults", "-purge")),
            O::VaultAccessPolicySet => with(
                format!("{}/accesspolicies/{}", probe("admin/vaults", "-words"), self.principal),
                json!({ "permissions": { "secrets": ["get"] } }),
            ),
            O::VaultAccessPolicyDelete => {
                plain(format!("{}/accesspolicies/{}", probe("admin/vaults", "-words"), self.principal))
            }
            O::VaultDataKeyRotate => plain(format!("{vault}/datakey/rotate")),
            O::RoleAssignmentPut => with(
                format!("/admin/roleassignments/{}", self.assignment),
                json!({ "roleDefinition": "Key Vault Reader", "principalId": self.principal, "scope": "/" }),
            ),
            O::RoleAssignmentList => plain("/admin/roleassignments".into()),
            O::RoleAssignmentDelete => plain(format!("/admin/roleassignments/{}", self.assignment)),
            O::ClientPut => with(
                format!("/admin/clients/{}", self.client),
                json!({ "displayName": format!("probe-{p}"), "generateSecret": true }),
            ),
            O::ClientList => plain("/admin/clients".into()),
            O::ClientDelete => plain(format!("/admin/clients/{}", self.client)),
            O::RootKeyRotate => plain("/admin/rootkey/rotate".into()),
            O::StatusGet => plain("/admin/status".into()),
            O::TokenIssue => plain(format!("/{}/oauth2/v2.0/token", asker.tenant)),
            O::OpenidConfigurationGet => {
                plain(format!("/{}/v2.0/.well-known/openid-configuration", asker.tenant))
            }
            O::JwksGet => plain(format!("/{}/discovery/v2.0/keys", asker.tenant)),
            O::InstanceDiscoveryGet => plain("/common/discovery/instance".into()),
            O::HealthStatusGet => plain("/healthstatus".into()),
            O::ManagedIdentityToken | O::AppServiceToken | O::HealthGet | O::ReadyGet | O::MetricsGet => None,
        }
    }

    /// Tries every operation once. An operation that ends what another one needs comes after it.
    pub async fn try_all(&self, wire: &Wire, asker: &Asker) -> Tries {
        let mut rows: Vec<&Spec> = OPERATIONS.iter().filter(|spec| through_the_door(spec)).collect();
        let late = |spec: &Spec| spec.name.ends_with("Delete") || spec.name.ends_with("Purge");
        rows.sort_by_key(|spec| late(spec));
        let mut came = HashMap::new();
        for spec in rows {
            let Some(asked) = self.asked(spec.operation, asker) else {
                came.insert(spec.operation, "not tried".to_owned());
                continue;
            };
            let answer = match spec.operation {
                Operation::TokenIssue => token(wire, asker, &asked.path).await,
                _ => send(wire, Some(&asker.token), spec.method.as_str(), &asked.path, &asked.body).await,
            };
            came.insert(
                spec.operation,
                match answer {
                    Ok(answer) => described(spec, &answer),
                    Err(problem) => problem.to_string(),
                },
            );
        }
        Tries { came }
    }
}

/// The answer in short: its status, and whether a refusal is the one of read-only mode.
fn described(spec: &Spec, answer: &Answer) -> String {
    let status = answer.status.as_u16();
    let error = &answer.json()["error"];
    let text =
        format!("Operation \"{}\" is unavailable: the service is currently in a read-only state.", spec.name);
    match error["code"].as_str() {
        Some("ServiceUnavailable") if status == 503 && error["message"] == text.as_str() => {
            READ_ONLY.to_owned()
        }
        Some(code) => format!("{status} {code}"),
        None => status.to_string(),
    }
}

/// A refusal in the words of read-only mode.
const READ_ONLY: &str = "503 read-only";

/// The table of what was expected and what came.
pub fn compared(before: &Tries, lost: &Tries, after: &Tries) -> Vec<Tried> {
    let came = |tries: &Tries, spec: &Spec| tries.came.get(&spec.operation).cloned().unwrap_or_default();
    let rows = OPERATIONS.iter().filter(|spec| through_the_door(spec));
    rows.map(|spec| {
        let writes = spec.effect == Effect::Write;
        let success = spec.success.to_string();
        let expected = if writes { READ_ONLY.to_owned() } else { success.clone() };
        let (before, lost, after) = (came(before, spec), came(lost, spec), came(after, spec));
        let right = before == success && lost == expected && after == success;
        Tried { operation: spec.name, writes, expected, before, lost, after, right }
    })
    .collect()
}

async fn token(wire: &Wire, asker: &Asker, path: &str) -> Result<Answer> {
    let form = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "client_credentials")
        .append_pair("client_id", &asker.client_id)
        .append_pair("client_secret", &asker.client_secret)
        .append_pair("scope", &format!("{}/.default", asker.resource))
        .finish();
    let answer = wire.send(Connection::New, "POST", path, None, Bytes::from(form)).await;
    answer.map_err(|e| Problem::new(e.why))
}

/// One request of the table.
pub async fn send(
    wire: &Wire,
    token: Option<&str>,
    method: &str,
    path: &str,
    body: &Value,
) -> Result<Answer> {
    let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    let path = format!("{path}?{API}");
    wire.send(Connection::New, method, &path, token, body).await.map_err(|e| Problem::new(e.why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_its_request() {
        let stage = Stage {
            name: "before",
            blobs: [Value::Null, Value::Null],
            ciphertext: Value::Null,
            wrapped: Value::Null,
            signature: Value::Null,
            assignment: String::new(),
            client: String::new(),
            principal: String::new(),
        };
        let asker = Asker {
            token: String::new(),
            tenant: "tenant".into(),
            client_id: String::new(),
            client_secret: zeroize::Zeroizing::default(),
            resource: String::new(),
        };
        for spec in OPERATIONS {
            assert_eq!(
                stage.asked(spec.operation, &asker).is_some(),
                through_the_door(spec),
                "{} is not tried",
                spec.name
            );
        }
    }

    #[test]
    fn a_write_must_be_refused_and_a_read_answered() {
        let all = |write: &str, read: &str| Tries {
            came: OPERATIONS
                .iter()
                .map(|spec| {
                    let text = if spec.effect == Effect::Write { write } else { read };
                    (spec.operation, if text == "ok" { spec.success.to_string() } else { text.to_owned() })
                })
                .collect(),
        };
        let good = all("ok", "ok");
        assert!(compared(&good, &all(READ_ONLY, "ok"), &good).iter().all(|tried| tried.right));
        for (write, read) in [("ok", "ok"), ("503 ServiceUnavailable", "ok"), (READ_ONLY, READ_ONLY)] {
            assert!(compared(&good, &all(write, read), &good).iter().any(|tried| !tried.right));
        }
        assert!(
            compared(&good, &all(READ_ONLY, "ok"), &all(READ_ONLY, "ok")).iter().any(|tried| !tried.right)
        );
    }
}
