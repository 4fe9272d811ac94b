//! The query of a request.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};
use valv_model::{Error, RegionName, Result};
use valv_vault::PageRequest;

/// Every accepted `api-version`, oldest first. The newest stable one is recommended to those who ask for another.
const VERSIONS: [&str; 12] = [
    "2016-10-01",
    "7.0",
    "7.1",
    "7.2",
    "7.3",
    "7.4",
    "7.5",
    "7.6-preview.2",
    "7.6",
    "2025-07-01",
    "2026-03-01-preview",
    "2026-04-01",
];
const LATEST: &str = "2026-04-01";

/// base64url that is written without padding and read with or without.
pub(crate) const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A version of the API that the service speaks. Ordered by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ApiVersion(usize);

impl ApiVersion {
    fn parse(text: &str) -> Result<Self> {
        VERSIONS.iter().position(|v| v.eq_ignore_ascii_case(text)).map(Self).ok_or_else(|| {
            Error::bad(format!(
                "The specified version ({}) is not recognized. Consider using the latest supported version ({LATEST}).",
                shown(text)
            ))
        })
    }

    /// As the client writes it.
    pub(crate) fn as_str(self) -> &'static str {
        VERSIONS.get(self.0).copied().unwrap_or(LATEST)
    }

    /// `previousVersion` came with 2025-07-01.
    pub(crate) fn has_previous_version(self) -> bool {
        VERSIONS.iter().position(|v| *v == "2025-07-01").is_some_and(|at| self.0 >= at)
    }
}

/// What the service reads of a query.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    /// Required everywhere but at the token service.
    pub(crate) version: ApiVersion,
    max_results: Option<String>,
    skip_token: Option<String>,
}

/// The continuation of a list, as Azure's looks.
#[derive(Serialize, Deserialize)]
struct SkipToken {
    #[serde(rename = "NextMarker")]
    marker: String,
    #[serde(rename = "TargetLocation")]
    location: String,
}

impl Query {
    /// Reads a query. Names of parameters may be percent-encoded and compare without case; of a repeated one
    /// the first counts.
    pub(crate) fn parse(query: &str) -> Result<Self> {
        let parameter = |name: &str| {
            url::form_urlencoded::parse(query.as_bytes())
                .find(|(n, _)| n.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.into_owned())
        };
        let version = parameter("api-version").ok_or_else(|| {
            Error::bad(format!("The query parameter 'api-version' is missing. Add ?api-version={LATEST}."))
        })?;
        Ok(Self {
            version: ApiVersion::parse(&version)?,
            max_results: parameter("maxresults"),
            skip_token: parameter("$skiptoken"),
        })
    }

    /// Which page of a list.
    pub(crate) fn page(&self) -> Result<PageRequest> {
        let max = match &self.max_results {
            None => 25,
            Some(text) => number(text).filter(|max| (1..=25).contains(max)).ok_or_else(|| {
                Error::bad(
                    "The query parameter 'maxresults' has an invalid value. It is a number from 1 to 25.",
                )
            })?,
        };
        Ok(PageRequest { max, after: self.skip_token.as_deref().map(marker).transpose()? })
    }

    /// Where the next page is.
    pub(crate) fn next_link(&self, list: &str, marker: &str, region: &RegionName) -> String {
        let token = SkipToken { marker: marker.to_owned(), location: region.as_str().to_owned() };
        let token = BASE64URL.encode(serde_json::to_vec(&token).unwrap_or_default());
        let mut link = format!("{list}?api-version={}&$skiptoken={token}", self.version.as_str());
        if let Some(max) = &self.max_results {
            link = format!("{link}&maxresults={max}");
        }
        link
    }
}

/// Digits only: `parse` would take a sign.
fn number(text: &str) -> Option<usize> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn marker(token: &str) -> Result<String> {
    BASE64URL
        .decode(token)
        .ok()
        .and_then(|json| serde_json::from_slice::<SkipToken>(&json).ok())
        .map(|token| token.marker)
        .filter(|m| (1..=256).contains(&m.len()) && m.bytes().all(|b| b.is_ascii_graphic()))
        .ok_or_else(|| {
            Error::bad(
                "The query parameter '$skiptoken' has an invalid value. Take it from a nextLink, unchanged.",
            )
        })
}

/// Foreign text as it may stand in a message.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(40).map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn page(query: &str) -> Result<PageRequest> {
        Query::parse(query)?.page()
    }

    #[test]
    fn the_version_is_required_and_known() {
        for version in VERSIONS {
            assert_eq!(Query::parse(&format!("api-version={version}")).unwrap().version.as_str(), version);
        }
        assert_eq!(Query::parse("api%2Dversion=7.4").unwrap().version.as_str(), "7.4");
        assert_eq!(Query::parse("x=y&API-Version=7.4").unwrap().version.as_str(), "7.4");
        assert_eq!(
            Query::parse("api-version=9.9").unwrap_err().message,
            "The specified version (9.9) is not recognized. Consider using the latest supported version (2026-04-01)."
        );
        assert!(Query::parse("").unwrap_err().message.contains("'api-version'"));
        let has = |v: &str| Query::parse(&format!("api-version={v}")).unwrap().version.has_previous_version();
        assert!(!has("7.6") && has("2025-07-01") && has("2026-04-01"));
    }

    #[test]
    fn a_page_has_1_to_25_items() {
        assert_eq!(page("api-version=7.4").unwrap().max, 25);
        assert_eq!(page("api-version=7.4&maxresults=1").unwrap().max, 1);
        for bad in ["0", "26", "-1", "x", "", "1.5", "%2B5", "99999999999999999999"] {
            let error = page(&format!("api-version=7.4&maxresults={bad}")).unwrap_err();
            assert!(error.message.contains("'maxresults'"), "{bad}");
        }
    }

    #[test]
    fn a_foreign_continuation_is_refused() {
        for bad in ["", "x", "AAAA", "%00", "eyJ9", "%2e%2e", "bnVsbA", "e30"] {
            let error = page(&format!("api-version=7.4&$skiptoken={bad}")).unwrap_err();
            assert!(error.message.contains("'$skiptoken'"), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn the_next_link_leads_on(marker in "[!-~]{1,256}", max in 1..=25_usize, padded: bool) {
            let query = Query::parse(&format!("api-version=7.6&maxresults={max}")).unwrap();
            let region = RegionName::parse("eastus").unwrap();
            let link = query.next_link("https://a.vault.localhost:1/secrets", &marker, &region);
            let mut link = url::Url::parse(&link).unwrap().query().unwrap().to_owned();
            if padded {
                // Clients quote what they follow.
                link = link.replace('$', "%24");
            }
            let page = page(&link).unwrap();
            prop_assert_eq!((page.max, page.after), (max, Some(marker)));
        }

        #[test]
        fn no_query_panics(query in "\\PC*") {
            let _ = page(&query);
            let _ = page(&format!("api-version=7.4&$skiptoken={query}"));
        }
    }
}
