//! What bytes from outside reach first, for the fuzz targets.

use valv_geo::source::{BucketPage, Buckets, CopyEvent, HeadsEvent, LogAnswer, SourceError};
use valv_geo::wire::decode;

use crate::replication::Pull;
use crate::{Frames, Holding, Probe};

/// Reads bytes as everything that a peer may send; what is read twice, is read alike.
///
/// Errors: a reader does not agree with itself, which is a fault of ours.
pub fn read_everything(bytes: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(bytes);
    if let Some((what, rest)) = text.split_once('/')
        && let Ok(question) = Pull::parse(what, rest)
    {
        let path = question.to_string();
        let again = path.strip_prefix("/peer/v1/").and_then(|path| path.split_once('/'));
        let again = again.map(|(what, rest)| Pull::parse(what, rest));
        if again != Some(Ok(question)) {
            return Err(format!("the question {path} does not read back"));
        }
    }
    let _ = (serde_json::from_slice::<Probe>(bytes), serde_json::from_slice::<Holding>(bytes));

    // However the bytes are cut, the same messages come out.
    let whole = messages(bytes, bytes.len().max(1));
    if whole != messages(bytes, 1) || whole != messages(bytes, 7) {
        return Err("the messages of a stream depend on how it is cut".into());
    }
    for message in &whole.0 {
        let _ = decode::<Result<HeadsEvent, SourceError>>(message);
        let _ = decode::<Result<CopyEvent, SourceError>>(message);
        let _ = decode::<Result<LogAnswer, SourceError>>(message);
        let _ = decode::<Result<Buckets, SourceError>>(message);
        let _ = decode::<Result<BucketPage, SourceError>>(message);
        let _ = crate::wire::cbor::read::<Option<valv_geo::apply::Copied>>(message);
    }
    Ok(())
}

/// The messages in a stream that arrives in parts of `step` bytes, and why no more of them came.
fn messages(bytes: &[u8], step: usize) -> (Vec<bytes::Bytes>, Option<String>) {
    let (mut frames, mut messages) = (Frames::new(), Vec::new());
    for part in bytes.chunks(step) {
        frames.push(part);
        loop {
            match frames.next_message() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(why) => return (messages, Some(why)),
            }
        }
    }
    (messages, frames.is_cut().then(|| "cut".to_owned()))
}
