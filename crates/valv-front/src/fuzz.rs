//! An entry for fuzzing: everything that is read of a request before anything is done.

use http::Request;
use valv_model::{Result, VersionId};

use crate::FrontSettings;
use crate::perform::{self, Query};
use crate::resolve::{Door, resolve};

/// Reads `raw` (head, blank line, body) as a request through every listener and forgets it. Never panics;
/// an error says what is wrong with the request.
pub fn parse_raw_request(settings: &FrontSettings, raw: &[u8]) -> Result<()> {
    let end = raw.windows(4).position(|w| w == b"\r\n\r\n");
    let (head, body) = end.map_or((raw, &[][..]), |at| (&raw[..at], &raw[at + 4..]));
    let head = String::from_utf8_lossy(head);
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (method, uri) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        request = request.header(name, value.trim());
    }
    // What the HTTP library refuses never comes further.
    let Ok(request) = request.body(()) else { return Ok(()) };
    let (head, ()) = request.into_parts();
    for door in [Door::Public, Door::Health, Door::ManagedIdentity] {
        let asked = resolve(settings, door, &head)?;
        let (operation, params) = asked.found()?;
        asked.object()?;
        VersionId::parse(params.get("version")).ok();
        Query::parse(head.uri.query().unwrap_or_default())?.page()?;
        perform::parse_body(operation, body)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::resolve::tests::settings;

    #[test]
    fn a_good_request_is_read_to_its_end() {
        let raw =
            b"PUT /secrets/a?api-version=7.4 HTTP/1.1\r\nHost: dev.vault.localhost\r\n\r\n{\"value\":1}";
        let error = parse_raw_request(&settings(), raw).unwrap_err();
        assert_eq!(error.message, "Property 'value' has invalid value. It must be a string.");
    }

    /// A seed that is refused early teaches the fuzzer nothing of what comes after.
    #[test]
    fn the_seeds_of_keys_are_good_requests() {
        let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/requests");
        let mut read = 0;
        for seed in std::fs::read_dir(seeds).unwrap() {
            let seed = seed.unwrap();
            let name = seed.file_name().into_string().unwrap();
            if !(name.starts_with("key_") || name == "random_bytes") {
                continue;
            }
            let error = parse_raw_request(&settings(), &std::fs::read(seed.path()).unwrap()).unwrap_err();
            // Only the listener of health, which is asked next, does not know it.
            assert_eq!(error.code, valv_model::ErrorCode::NotFound, "{name}: {error}");
            read += 1;
        }
        assert!(read >= 14, "{read} seeds");
    }

    proptest! {
        #[test]
        fn no_request_panics(raw in proptest::collection::vec(any::<u8>(), 0..300), path in "[/a-z0-9%?=&$-]*") {
            let _ = parse_raw_request(&settings(), &raw);
            let raw = [format!("GET /{path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes(), &raw].concat();
            let _ = parse_raw_request(&settings(), &raw);
        }
    }
}
