//! Keys on Azure's wire, where no SDK looks: members of every answer, errors, states, limits.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use valv_tests::{Answer, Api, Node};

mod computing;
mod imports;
mod objects;
mod overload;
mod rotation;
mod states;

/// Names that only a private or symmetric key has (RFC 7518, section 6), and Azure's of a wrapped one.
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "k", "key_hsm"];

/// A caller that looks through each answer for what must never leave a vault.
struct Keys {
    node: Node,
    api: Api,
}

impl Keys {
    async fn start() -> Self {
        let node = Node::ready().await;
        let api = node.api().await;
        Self { node, api }
    }

    async fn send(&self, method: &str, path: &str, body: Value) -> Answer {
        let answer = self.api.send(method, path, Some(body).filter(|b| !b.is_null())).await;
        shows_nothing_private(&answer);
        answer
    }

    async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, Value::Null).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, body).await
    }

    /// Makes a key; what the answer says of it.
    async fn create(&self, name: &str, body: Value) -> Value {
        self.post(&format!("/keys/{name}/create"), body).await.expect(200).json()
    }

    async fn import(&self, name: &str, key: &Value) -> Answer {
        self.send("PUT", &format!("/keys/{name}"), json!({ "key": key })).await
    }

    /// One of the keys that `openssl` made for the tests.
    async fn import_sample(&self, name: &str, file: &str) -> Value {
        self.import(name, &sample(file)).await.expect(200).json()
    }

    async fn update(&self, name: &str, body: Value) -> Answer {
        self.send("PATCH", &format!("/keys/{name}/"), body).await
    }
}

/// A key in the tests of the library.
fn sample(file: &str) -> Value {
    let path = format!("{}/../crates/valv-crypto/tests/samples/{file}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn shows_nothing_private(answer: &Answer) {
    fn walk(value: &Value, shown: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => members.iter().for_each(|(name, value)| {
                if PRIVATE.contains(&name.as_str()) {
                    shown.insert(name.clone());
                }
                walk(value, shown);
            }),
            Value::Array(items) => items.iter().for_each(|value| walk(value, shown)),
            _ => {}
        }
    }
    if let Ok(value) = serde_json::from_slice(&answer.body) {
        let mut shown = BTreeSet::new();
        walk(&value, &mut shown);
        assert!(shown.is_empty(), "an answer shows {shown:?}");
    }
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decode(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} is no text"));
    URL_SAFE_NO_PAD.decode(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn message(answer: &Answer) -> String {
    answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned()
}

fn members(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap_or_else(|| panic!("{value} is no object")).keys().map(String::as_str).collect()
}
