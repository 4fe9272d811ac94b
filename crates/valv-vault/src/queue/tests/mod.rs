//! The queue over an engine in memory.

mod faults;
mod gather;
mod model;
mod requests;

use std::sync::Arc;

use valv_model::{Operation, Result, VersionId};
use valv_sealing::RecordKind;

use super::{Change, Committed, Decision, Need, State, Write};
use crate::WriteContext;
use crate::testing::{World, plaintext};
use crate::vaults::Vault;

/// Appends a word to the list at `path`; the version says how many words stood there before.
fn append(path: &str, word: &str) -> Change {
    let (path, word) = (path.to_owned(), word.to_owned());
    let needs = vec![Need::Record(path.clone())];
    let decide = Box::new(move |state: &State<'_>| {
        let known = state.get(&path, RecordKind::Secret)?;
        let known = known.map(|list| String::from_utf8(list.to_vec()).unwrap()).unwrap_or_default();
        let version = Some(VersionId::from_bytes((words(&known).len() as u128).to_be_bytes()));
        let list = plaintext(&format!("{known}{word} "));
        Ok(Decision {
            writes: vec![Write::Put { path: path.clone(), kind: RecordKind::Secret, plaintext: list }],
            version,
        })
    });
    Change { operation: Operation::SecretSet, needs, decide }
}

fn words(list: &str) -> Vec<&str> {
    list.split_whitespace().collect()
}

/// The position that [`append`] reported.
fn position(committed: &Committed) -> usize {
    usize::from_str_radix(committed.version.as_ref().unwrap().as_str(), 16).unwrap()
}

/// A change that writes as told and looks at nothing.
fn blind(operation: Operation, writes: impl Fn() -> Vec<Write> + Send + Sync + 'static) -> Change {
    let decide = Box::new(move |_: &State<'_>| Ok(Decision { writes: writes(), version: None }));
    Change { operation, needs: Vec::new(), decide }
}

fn put(path: &str, text: &str) -> Write {
    Write::Put { path: path.into(), kind: RecordKind::Secret, plaintext: plaintext(text) }
}

/// Submits without waiting.
fn spawn(
    world: &World,
    vault: &Arc<Vault>,
    context: WriteContext,
    change: Change,
) -> tokio::task::JoinHandle<Result<Committed>> {
    let (service, vault) = (Arc::clone(&world.service), Arc::clone(vault));
    tokio::spawn(async move { service.submit(&vault, &context, change).await })
}

/// What stands at `path`.
async fn stored(world: &World, vault: &Vault, path: &str) -> Option<String> {
    let mut key = valv_engine::layout::data(&vault.group, &vault.state.envelope.id, 1).to_vec();
    key.extend_from_slice(path.as_bytes());
    let sealed = world.engine.records().get(&key[..]).cloned()?;
    let text = vault.keys.open(path, RecordKind::Secret, &sealed).unwrap();
    Some(String::from_utf8(text.to_vec()).unwrap())
}

/// The vault's log is whole: numbers without a gap, the chain leads to the head.
fn check_log(world: &World, vault: &Vault) -> u64 {
    use valv_engine::layout;
    use valv_sealing::{Head, LogRecord};
    let (records, id) = (world.engine.records(), &vault.state.envelope.id);
    let mut head = Head::START;
    for (key, value) in &records {
        if key.starts_with(&layout::logs(&vault.group, id)) {
            let record = LogRecord::decode(value).unwrap();
            assert_eq!(record.number, head.number + 1);
            head = Head { number: record.number, chain: head.chain.next(value) };
        }
    }
    assert_eq!(Head::decode(&records[&layout::head(&vault.group, id)]), Ok(head));
    head.number
}
