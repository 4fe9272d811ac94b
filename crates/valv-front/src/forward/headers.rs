//! Headers on their way: what clients may not send, what ends at a hop.

use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderName, PROXY_AUTHENTICATE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, Response};
use valv_model::{Error, Result};

/// The one header of Valv's own that a client may send: a read that a replica answers must show this commit of the
/// vault, or a later one.
pub(crate) const MINIMUM_COMMIT: &str = "x-valv-minimum-commit";

/// Headers that end at a hop (RFC 9110, section 7.6.1), and the length, which is made anew.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    CONTENT_LENGTH,
    PROXY_AUTHENTICATE,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
];

/// Takes away what only nodes may say to each other, and hands back the minimum commit. 400 where it is no number.
pub(crate) fn strip(headers: &mut HeaderMap) -> Result<Option<u64>> {
    let minimum = headers.get(MINIMUM_COMMIT).map(|value| {
        let text = value.to_str().unwrap_or_default();
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|_| digits).ok_or_else(|| {
            Error::bad(format!(
                "The header {MINIMUM_COMMIT} must be the number of a commit, as x-valv-last-commit answers it."
            ))
        })
    });
    let ours: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("x-valv-")).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
    minimum.transpose()
}

/// Another node's answer as it goes to the client.
pub(crate) fn given_back<T>(mut answer: Response<T>) -> Response<T> {
    let named: Vec<HeaderName> = answer
        .headers()
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        answer.headers_mut().remove(name);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_client_says_nothing_in_our_name_but_the_commit_it_has_seen() {
        let mut sent =
            headers(&[("x-valv-forward", "{}"), ("x-valv-minimum-commit", "17"), ("accept", "*/*")]);
        assert_eq!(strip(&mut sent).unwrap(), Some(17));
        assert_eq!(sent.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
        for bad in ["", "-1", "+1", "1.5", "x", "99999999999999999999999"] {
            let mut sent = headers(&[("x-valv-minimum-commit", bad)]);
            assert!(strip(&mut sent).is_err(), "{bad}");
            assert!(sent.is_empty());
        }
    }

    #[test]
    fn what_ends_at_a_hop_does_not_go_on() {
        let mut answer = Response::new(());
        *answer.headers_mut() = headers(&[
            ("connection", "close, X-Own"),
            ("x-own", "1"),
            ("keep-alive", "1"),
            ("x-ms-request-id", "1"),
        ]);
        let kept = given_back(answer);
        assert_eq!(kept.headers().keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-ms-request-id"]);
    }
}
