//! Account of every write: what was acknowledged must be there, what was refused must not, and what got no
//! answer may be there once (FAILURES: R1, R2).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::{Api, Broken};

/// The writes of one test.
#[derive(Debug, Default)]
pub struct Ledger {
    names: BTreeMap<String, Name>,
}

#[derive(Debug, Default)]
struct Name {
    acknowledged: BTreeMap<String, String>,
    refused: BTreeSet<String>,
    unknown: BTreeSet<String>,
}

impl Ledger {
    /// Sets a secret and writes down what came of it. Values must be distinct for each name. Returns
    /// whether the write was acknowledged.
    pub async fn set(&mut self, api: &Api, name: &str, value: &str) -> bool {
        let answer = api.try_send("PUT", &format!("/secrets/{name}"), Some(json!({ "value": value }))).await;
        self.note(name, value, answer)
    }

    /// Writes down what came of setting `name` to `value`.
    pub fn note(&mut self, name: &str, value: &str, answer: Result<crate::Answer, Broken>) -> bool {
        let entry = self.names.entry(name.to_owned()).or_default();
        match answer {
            Ok(answer) if answer.status == 200 => {
                let id = answer.json()["id"].as_str().expect("an id").to_owned();
                let version = id.rsplit('/').next().expect("a version").to_owned();
                let before = entry.acknowledged.insert(version, value.to_owned());
                assert!(before.is_none(), "one version id was given twice: {id}");
                true
            }
            // 504 promises nothing, like silence.
            Ok(answer) if answer.status != 504 => {
                entry.refused.insert(value.to_owned());
                false
            }
            _ => {
                entry.unknown.insert(value.to_owned());
                false
            }
        }
    }

    /// Adds the account of another writer.
    pub fn merge(&mut self, other: Self) {
        for (name, theirs) in other.names {
            let ours = self.names.entry(name).or_default();
            ours.acknowledged.extend(theirs.acknowledged);
            ours.refused.extend(theirs.refused);
            ours.unknown.extend(theirs.unknown);
        }
    }

    /// How many writes were acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.names.values().map(|n| n.acknowledged.len()).sum()
    }

    /// Reads all back; panics with the first difference.
    pub async fn check(&self, api: &Api) {
        for (name, account) in &self.names {
            for (version, value) in &account.acknowledged {
                let answer = api.send("GET", &format!("/secrets/{name}/{version}"), None).await;
                assert_eq!(answer.status, 200, "{name}/{version} was acknowledged: {answer:?}");
                assert_eq!(answer.json()["value"], **value, "{name}/{version} holds another value");
            }
            let mut found = BTreeSet::new();
            for version in versions(api, name).await {
                if account.acknowledged.contains_key(&version) {
                    continue;
                }
                let answer = api.send("GET", &format!("/secrets/{name}/{version}"), None).await.expect(200);
                let value = answer.json()["value"].as_str().expect("a value").to_owned();
                assert!(!account.refused.contains(&value), "{name}/{version} was refused, and is there");
                assert!(account.unknown.contains(&value), "{name}/{version} holds what nobody wrote");
                assert!(found.insert(value), "{name}/{version}: one write without an answer was done twice");
            }
        }
    }
}

/// Every version of a secret, page by page.
async fn versions(api: &Api, name: &str) -> Vec<String> {
    let mut versions = Vec::new();
    let mut path = Some(format!("/secrets/{name}/versions"));
    while let Some(next) = path {
        let page = api.send("GET", &next, None).await.expect(200).json();
        let items = page["value"].as_array().expect("a page");
        let ids = items.iter().filter_map(|item| item["id"].as_str()?.rsplit('/').next());
        versions.extend(ids.map(str::to_owned));
        path = page["nextLink"].as_str().filter(|link| !link.is_empty()).map(|link| {
            let url = url::Url::parse(link).expect("nextLink is an address");
            format!("{}?{}", url.path(), url.query().unwrap_or_default())
        });
    }
    versions
}
