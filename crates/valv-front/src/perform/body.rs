//! The body of a request: reading it within its limits, and its JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use bytes::Buf;
use http::header::{CONTENT_LENGTH, EXPECT};
use http::{HeaderMap, StatusCode};
use http_body::Body;
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use valv_model::{Error, ErrorCode, Result, Tags, UnixSeconds};
use zeroize::Zeroizing;

use super::query::BASE64URL;

const BASE64URL_TEXT: &str = "base64url text";

/// No more than this is set aside on a client's word.
const BELIEVED: usize = 64 << 10;

/// What is left of a refused body is taken, and thrown away, up to this size and time: a client such as Python's
/// writes all it has before it reads, and would see a broken connection instead of the reason.
const DRAINED: usize = 4 << 20;
const DRAIN: Duration = Duration::from_secs(1);

/// Reads a whole body. Memory follows what has arrived, not what `Content-Length` claims (F37).
pub(crate) async fn read<B>(
    headers: &HeaderMap,
    body: &mut B,
    max: usize,
    within: Duration,
) -> Result<Zeroizing<Vec<u8>>>
where
    B: Body + Unpin,
{
    let claimed: Option<u64> =
        headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    if claimed.is_some_and(|length| length > max as u64) {
        return Err(too_large(max));
    }
    tokio::time::timeout(within, collect(body, max)).await.unwrap_or_else(|_| {
        let words = format!("The request's body did not arrive within {} s.", within.as_secs_f32());
        Err(Error::new(ErrorCode::RequestTimeout, words))
    })
}

async fn collect<B: Body + Unpin>(body: &mut B, max: usize) -> Result<Zeroizing<Vec<u8>>> {
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(0).min(BELIEVED).min(max);
    let mut all = Zeroizing::new(Vec::with_capacity(expected));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Error::bad("The request's body ended before it was complete."))?;
        let Ok(mut data) = frame.into_data() else { continue };
        if all.len() + data.remaining() > max {
            return Err(too_large(max));
        }
        while data.has_remaining() {
            let chunk = data.chunk();
            let length = chunk.len();
            all.extend_from_slice(chunk);
            data.advance(length);
        }
    }
    Ok(all)
}

/// Takes what little is left of the body of a refused request, so that the connection can be used again and
/// the client, still writing, is not cut off before it reads why.
pub(crate) async fn drain<B: Body + Unpin>(headers: &HeaderMap, body: &mut B, status: StatusCode) {
    let is_over = status == StatusCode::REQUEST_TIMEOUT;
    // Who expects a word before the body is told to keep it.
    if body.is_end_stream() || is_over || headers.contains_key(EXPECT) {
        return;
    }
    let rest = async {
        let mut left = DRAINED;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Buf::remaining);
            let Some(rest) = left.checked_sub(length) else { return };
            left = rest;
        }
    };
    // The deadline passing or not: the answer goes out either way.
    let _ = tokio::time::timeout(DRAIN, rest).await;
}

fn too_large(max: usize) -> Error {
    Error::new(ErrorCode::PayloadTooLarge, format!("The request's body is larger than {max} bytes."))
}

/// A JSON object whose properties are read one by one: unknown ones are ignored, of a repeated one the last
/// counts, `null` is absent. No message holds a value.
pub(crate) struct Object<'a> {
    path: String,
    properties: BTreeMap<String, &'a RawValue>,
}

impl<'a> Object<'a> {
    /// The body as an object.
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self> {
        let text =
            std::str::from_utf8(body).map_err(|_| Error::bad("The request's body is not valid UTF-8."))?;
        if text.trim().is_empty() {
            return Err(Error::bad("The request has no body. It must be a JSON object."));
        }
        let properties = serde_json::from_str(text).map_err(|e| match e.classify() {
            serde_json::error::Category::Data => Error::bad("The request's body must be a JSON object."),
            _ => Error::bad(format!(
                "The request's body is not valid JSON: see line {}, column {}.",
                e.line(),
                e.column()
            )),
        })?;
        Ok(Self { path: String::new(), properties })
    }

    /// The body as an object; none is an empty one.
    pub(crate) fn parse_optional(body: &'a [u8]) -> Result<Self> {
        if body.trim_ascii().is_empty() {
            Ok(Self { path: String::new(), properties: BTreeMap::new() })
        } else {
            Self::parse(body)
        }
    }

    /// A property; `expected` says what it must be.
    pub(crate) fn take<T: DeserializeOwned>(&self, name: &str, expected: &str) -> Result<Option<T>> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        let value = serde_json::from_str(raw.get());
        value.map(Some).map_err(|_| self.wrong(name, expected))
    }

    /// A property that must be there.
    pub(crate) fn require<T: DeserializeOwned>(&self, name: &str, expected: &str) -> Result<T> {
        self.take(name, expected)?.ok_or_else(|| self.missing(name, expected))
    }

    /// A property that is a list of objects.
    pub(crate) fn objects(&self, name: &str) -> Result<Option<Vec<Object<'a>>>> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        let items: Vec<&'a RawValue> =
            serde_json::from_str(raw.get()).map_err(|_| self.wrong(name, "a list of objects"))?;
        let object = |(at, item): (usize, &&'a RawValue)| {
            let properties =
                serde_json::from_str(item.get()).map_err(|_| self.wrong(name, "a list of objects"))?;
            Ok(Object { path: format!("{}{name}[{at}].", self.path), properties })
        };
        items.iter().enumerate().map(object).collect::<Result<_>>().map(Some)
    }

    /// A property that must be there and be an object.
    pub(crate) fn require_object(&self, name: &str) -> Result<Object<'a>> {
        self.object(name)?.ok_or_else(|| self.missing(name, "an object"))
    }

    /// A property that is an object.
    pub(crate) fn object(&self, name: &str) -> Result<Option<Object<'a>>> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        let properties = serde_json::from_str(raw.get()).map_err(|_| self.wrong(name, "an object"))?;
        Ok(Some(Object { path: format!("{}{name}.", self.path), properties }))
    }

    /// A date.
    pub(crate) fn date(&self, name: &str) -> Result<Option<UnixSeconds>> {
        Ok(self.take(name, "a whole number of seconds since 1970")?.map(UnixSeconds))
    }

    /// `tags`.
    pub(crate) fn tags(&self) -> Result<Option<Tags>> {
        self.take("tags", "an object of strings")
    }

    /// Bytes, written in base64url with or without padding.
    pub(crate) fn bytes(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        let wrong = || self.wrong(name, BASE64URL_TEXT);
        // Nothing of base64url needs an escape; so the text is read where it lies, and no copy of it is left behind.
        let text: &str = serde_json::from_str(raw.get()).map_err(|_| wrong())?;
        // Room for whole groups of three, so that the buffer never moves.
        let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() + 3));
        BASE64URL.decode_vec(text, &mut bytes).map_err(|_| wrong())?;
        Ok(Some(bytes))
    }

    /// Bytes that must be there.
    pub(crate) fn require_bytes(&self, name: &str) -> Result<Zeroizing<Vec<u8>>> {
        self.bytes(name)?.ok_or_else(|| self.missing(name, BASE64URL_TEXT))
    }

    /// Is the property there?
    pub(crate) fn has(&self, name: &str) -> bool {
        self.raw(name).is_some()
    }

    /// The refusal of a property's value.
    pub(crate) fn wrong(&self, name: &str, expected: &str) -> Error {
        Error::bad(format!("Property '{}{name}' has invalid value. It must be {expected}.", self.path))
    }

    fn missing(&self, name: &str, expected: &str) -> Error {
        Error::bad(format!("Property '{}{name}' is missing. It must be {expected}.", self.path))
    }

    fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.properties.get(name).copied().filter(|raw| raw.get() != "null")
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use proptest::prelude::*;

    use super::*;

    fn refusal(body: &str) -> String {
        let parse = || -> Result<()> {
            let object = Object::parse(body.as_bytes())?;
            object.require::<Zeroizing<String>>("value", "a string")?;
            object.tags()?;
            if let Some(attributes) = object.object("attributes")? {
                attributes.take::<bool>("enabled", "true or false")?;
                attributes.date("exp")?;
            }
            Ok(())
        };
        parse().err().map(|e| e.message).unwrap_or_default()
    }

    #[test]
    fn a_refusal_names_the_property_and_not_its_value() {
        for (body, part) in [
            ("", "no body"),
            ("null", "must be a JSON object"),
            ("[]", "must be a JSON object"),
            ("{}", "Property 'value' is missing"),
            ("{\"value\":null}", "Property 'value' is missing"),
            ("{\"value\":\"s3cret\"", "not valid JSON: see line 1"),
            ("{\"value\":\"s3cret\"} s3cret", "not valid JSON"),
            ("{\"value\":[\"s3cret\"]}", "Property 'value' has invalid value. It must be a string."),
            ("{\"value\":\"s3cret\\ud800\"}", "Property 'value'"),
            ("{\"value\":\"v\",\"tags\":\"s3cret\"}", "Property 'tags'"),
            ("{\"value\":\"v\",\"tags\":{\"a\":1}}", "Property 'tags'"),
            (
                "{\"value\":\"v\",\"attributes\":7}",
                "Property 'attributes' has invalid value. It must be an object.",
            ),
            ("{\"value\":\"v\",\"attributes\":{\"enabled\":\"s3cret\"}}", "Property 'attributes.enabled'"),
            ("{\"value\":\"v\",\"attributes\":{\"exp\":1.5}}", "Property 'attributes.exp'"),
            ("{\"value\":\"v\",\"attributes\":{\"exp\":1e300}}", "Property 'attributes.exp'"),
        ] {
            let message = refusal(body);
            assert!(message.contains(part), "{body}: {message}");
            assert!(!message.contains("s3cret"), "{message}");
        }
        assert!(!refusal(&"[".repeat(100_000)).is_empty());
    }

    #[test]
    fn unknown_and_repeated_properties_are_taken_as_they_come() {
        assert_eq!(
            refusal("{\"value\":\"a\",\"x\":{\"y\":[]},\"value\":\"b\",\"attributes\":{\"exp\":null}}"),
            ""
        );
        let object = Object::parse(b"{\"value\":\"a\",\"value\":\"b\"}").unwrap();
        assert_eq!(object.require::<String>("value", "").unwrap(), "b");
    }

    #[test]
    fn bytes_are_base64url_with_or_without_padding() {
        let read = |value: &str| {
            let body = format!("{{\"value\":{value}}}");
            let object = Object::parse(body.as_bytes()).unwrap();
            object.require_bytes("value").map(|b| b.to_vec()).map_err(|e| e.message)
        };
        for (text, bytes) in [
            ("\"\"", &b""[..]),
            ("\"AA\"", b"\0"),
            ("\"AA==\"", b"\0"),
            ("\"-_8\"", b"\xfb\xff"),
            ("\"-_8=\"", b"\xfb\xff"),
        ] {
            assert_eq!(read(text).unwrap(), bytes, "{text}");
        }
        let wrong = "Property 'value' has invalid value. It must be base64url text.";
        for text in ["\"+/8=\"", "\"A\"", "\"AB\"", "\"AA=A\"", "\"A A\"", "\"\\u0041A\"", "7", "[]", "\"å\""]
        {
            assert_eq!(read(text).unwrap_err(), wrong, "{text}");
        }
        let missing = "Property 'value' is missing. It must be base64url text.";
        assert_eq!(read("null").unwrap_err(), missing);
    }

    #[tokio::test]
    async fn f37_a_body_is_read_up_to_its_limit_whatever_it_claims() {
        let read = async |claim: Option<&str>, bytes: usize| {
            let mut headers = HeaderMap::new();
            if let Some(claim) = claim {
                headers.insert(CONTENT_LENGTH, claim.parse().unwrap());
            }
            let mut body = Full::new(bytes::Bytes::from(vec![b'x'; bytes]));
            super::read(&headers, &mut body, 1000, Duration::from_secs(10)).await.map(|b| b.len())
        };
        assert_eq!(read(None, 1000).await, Ok(1000));
        assert_eq!(read(None, 1001).await.unwrap_err().code, ErrorCode::PayloadTooLarge);
        assert_eq!(read(Some("99999999999"), 1).await.unwrap_err().code, ErrorCode::PayloadTooLarge);
    }

    proptest! {
        #[test]
        fn no_body_panics(body in "\\PC*|[{}\\[\\]\":,a-z0-9\\\\]*") {
            let _ = refusal(&body);
        }
    }
}
