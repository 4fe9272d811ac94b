//! Account of every write of a key: what was acknowledged must be there, and must still verify what it signed
//! before (FAILURES: R1, R2).

use std::collections::BTreeMap;

use aws_lc_rs::{hmac, rand};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::{Answer, Api, Broken};

/// The writes of one test.
#[derive(Default)]
pub struct KeyLedger {
    keys: BTreeMap<String, Key>,
}

/// What is known of one key.
#[derive(Default)]
struct Key {
    is_deleted: bool,
    /// In the order they were made.
    versions: Vec<Version>,
}

struct Version {
    id: String,
    tag: String,
    algorithm: &'static str,
    digest: String,
    /// What the version signed: asked for when it was made (EC), or computed here (`oct`).
    signature: String,
}

/// One write, with the request id that a retry repeats.
#[derive(Clone)]
pub struct KeyWrite {
    name: String,
    kind: Kind,
    request: String,
}

#[derive(Clone)]
enum Kind {
    Create,
    Import(Vec<u8>),
    Tag(String),
    Delete,
    Recover,
}

impl KeyWrite {
    /// The `turn`-th write of a writer to its key `name`: create, import of `material` (32 bytes), update, delete,
    /// recover, and again. All of them are valid in this order.
    #[must_use]
    pub fn turn(name: &str, turn: usize, material: &[u8]) -> Self {
        let kind = match turn % 5 {
            0 => Kind::Create,
            1 => Kind::Import(material.to_vec()),
            2 => Kind::Tag(format!("turn-{turn}")),
            3 => Kind::Delete,
            _ => Kind::Recover,
        };
        Self { name: name.to_owned(), kind, request: uuid::Uuid::new_v4().to_string() }
    }

    /// Sends it.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn send(&self, api: &Api) -> Result<Answer, Broken> {
        let name = &self.name;
        let (method, path, body) = match &self.kind {
            Kind::Create => {
                ("POST", format!("/keys/{name}/create"), Some(json!({ "kty": "EC", "crv": "P-256" })))
            }
            Kind::Import(k) => {
                let key = json!({ "kty": "oct", "k": BASE64URL.encode(k) });
                ("PUT", format!("/keys/{name}"), Some(json!({ "key": key })))
            }
            Kind::Tag(tag) => ("PATCH", format!("/keys/{name}/"), Some(json!({ "tags": { "tag": tag } }))),
            Kind::Delete => ("DELETE", format!("/keys/{name}"), None),
            Kind::Recover => ("POST", format!("/deletedkeys/{name}/recover"), None),
        };
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(format!("{path}?api-version=7.6"))
            .header(header::AUTHORIZATION, format!("Bearer {}", api.token().expect("a token")))
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-ms-client-request-id", &self.request)
            .body(Full::new(Bytes::from(body)))
            .expect("a request");
        api.request(request).await
    }
}

impl KeyLedger {
    /// Does a write and writes down what came of it. Nothing else than success is expected of a server that
    /// answers.
    ///
    /// # Errors
    /// The connection broke: the outcome is unknown, and nothing is written down.
    pub async fn write(&mut self, api: &Api, write: &KeyWrite) -> Result<(), Broken> {
        let answer = write.send(api).await?.expect(200).json();
        let key = self.keys.entry(write.name.clone()).or_default();
        match &write.kind {
            Kind::Create | Kind::Import(_) => {
                let kid = answer["key"]["kid"].as_str().expect("a key id");
                let id = kid.rsplit('/').next().expect("a version").to_owned();
                assert!(key.versions.iter().all(|v| v.id != id), "one version id was given twice: {kid}");
                key.versions.push(signed(api, &write.name, id, &write.kind).await?);
            }
            Kind::Tag(tag) => tag.clone_into(&mut key.versions.last_mut().expect("a version").tag),
            Kind::Delete => key.is_deleted = true,
            Kind::Recover => key.is_deleted = false,
        }
        Ok(())
    }

    /// A write that got no answer is sent again under its request id, twice: it is done once, whether it was done
    /// before or not, and both answers are the same.
    pub async fn retry(&mut self, api: &Api, write: &KeyWrite) {
        let first = write.send(api).await.expect("an answer").expect(200).json();
        let again = write.send(api).await.expect("an answer").expect(200).json();
        assert_eq!(first["key"]["kid"], again["key"]["kid"], "a retry made a second version");
        self.write(api, write).await.expect("an answer");
    }

    /// Adds the account of another writer, who had keys of its own.
    pub fn merge(&mut self, other: Self) {
        self.keys.extend(other.keys);
    }

    /// Takes the accounts of these keys out, for a writer to go on with.
    #[must_use]
    pub fn split(&mut self, name: &str) -> Self {
        Self { keys: self.keys.remove_entry(name).into_iter().collect() }
    }

    /// How many versions were acknowledged.
    #[must_use]
    pub fn versions(&self) -> usize {
        self.keys.values().map(|key| key.versions.len()).sum()
    }

    /// Compares with what the server has; panics with the first difference.
    pub async fn check(&self, api: &Api) {
        for (name, key) in &self.keys {
            let [here, gone] = if key.is_deleted { [404, 200] } else { [200, 404] };
            api.send("GET", &format!("/keys/{name}"), None).await.expect(here);
            api.send("GET", &format!("/deletedkeys/{name}"), None).await.expect(gone);
            if !key.is_deleted {
                key.check(api, name).await;
            }
        }
    }
}

impl Key {
    async fn check(&self, api: &Api, name: &str) {
        let mut found = versions(api, name).await;
        for version in &self.versions {
            let tags = found.remove(&version.id);
            let tags = tags.unwrap_or_else(|| panic!("{name}/{} was acknowledged and is lost", version.id));
            assert_eq!(tags["tag"].as_str().unwrap_or_default(), version.tag, "{name}/{}", version.id);
            let body =
                json!({ "alg": version.algorithm, "digest": version.digest, "value": version.signature });
            let path = format!("/keys/{name}/{}/verify", version.id);
            let answer = api.send("POST", &path, Some(body)).await.expect(200).json();
            assert_eq!(answer["value"], true, "{name}/{} does not verify what it signed", version.id);
        }
        assert!(found.is_empty(), "{name} has versions that nobody made: {found:?}");
    }
}

/// A new version with something it signed.
async fn signed(api: &Api, name: &str, id: String, kind: &Kind) -> Result<Version, Broken> {
    let mut digest = [0; 32];
    rand::fill(&mut digest).expect("random bytes");
    let text = BASE64URL.encode(digest);
    let (algorithm, signature) = match kind {
        Kind::Import(k) => {
            let code = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, k), &digest);
            ("HS256", BASE64URL.encode(code))
        }
        _ => {
            let path = format!("/keys/{name}/{id}/sign");
            let body = json!({ "alg": "ES256", "value": text });
            let answer = api.try_send("POST", &path, Some(body)).await?.expect(200).json();
            ("ES256", answer["value"].as_str().expect("a signature").to_owned())
        }
    };
    Ok(Version { id, tag: String::new(), algorithm, digest: text, signature })
}

/// Every version of a key with its tags, page by page.
async fn versions(api: &Api, name: &str) -> BTreeMap<String, Value> {
    let mut versions = BTreeMap::new();
    let mut path = Some(format!("/keys/{name}/versions"));
    while let Some(next) = path {
        let page = api.send("GET", &next, None).await.expect(200).json();
        for item in page["value"].as_array().expect("a page") {
            let id = item["kid"].as_str().and_then(|kid| kid.rsplit('/').next()).expect("a version");
            versions.insert(id.to_owned(), item["tags"].clone());
        }
        path = page["nextLink"].as_str().filter(|link| !link.is_empty()).map(|link| {
            let url = url::Url::parse(link).expect("nextLink is an address");
            format!("{}?{}", url.path(), url.query().unwrap_or_default())
        });
    }
    versions
}
