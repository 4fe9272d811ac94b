//! The `Authorization` header (RFC 6750 section 2.1).

use valv_model::Result;

use super::refuse;

/// The longest header that is looked at, in bytes.
const HEADER_MAX: usize = 16 * 1024;

/// Refuses a request that brings no Bearer token, as far as that can be told without checking it: 401.
pub fn demand_bearer(header: Option<&str>) -> Result<()> {
    bearer(header).map(drop)
}

/// The token of a Bearer header. Nothing of the header is repeated in an error.
pub(crate) fn bearer(header: Option<&str>) -> Result<&str> {
    let missing = || refuse("AKV10000", "Request is missing a Bearer or PoP token.");
    let header = header.ok_or_else(missing)?;
    if header.len() > HEADER_MAX {
        return Err(refuse(
            "AKV10000",
            format_args!(
                "The Authorization header has {} bytes; at most {HEADER_MAX} are accepted.",
                header.len()
            ),
        ));
    }
    let header = header.trim_matches(' ');
    let (scheme, token) = header.split_once(' ').unwrap_or((header, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(missing());
    }
    let token = token.trim_start_matches(' ');
    if token.is_empty() {
        return Err(missing());
    }
    if !token.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        return Err(refuse(
            "AKV10000",
            "The Authorization header must hold one Bearer token in the compact form of a JWT: three parts of letters, digits, hyphens and underscores, joined by dots.",
        ));
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_token_in_any_case_of_the_scheme() {
        for header in ["Bearer a.b.c", "bearer a.b.c", "BEARER   a.b.c", " Bearer a.b.c "] {
            assert_eq!(bearer(Some(header)).unwrap(), "a.b.c", "{header:?}");
        }
    }

    #[test]
    fn anything_else_is_refused_and_not_repeated() {
        let long = format!("Bearer {}", "a".repeat(HEADER_MAX));
        for header in [
            None,
            Some(""),
            Some(" "),
            Some("Bearer"),
            Some("Bearer "),
            Some("Basic c2VjcmV0"),
            Some("Bearera.b.c"),
            Some("Bearer\ta.b.c"),
            Some("Bearer s3cr3t, Bearer s3cr3t"),
            Some("Bearer s3cr3t s3cr3t"),
            Some("Bearer s3cr3t\u{e9}"),
            Some("Bearer s3cr3t="),
            Some(&long),
        ] {
            let error = bearer(header).unwrap_err();
            assert_eq!(error.code, valv_model::ErrorCode::Unauthorized);
            assert!(error.message.starts_with("AKV10000: ") && error.detail.is_none(), "{header:?}");
            assert!(!error.message.contains("s3cr3t") && !error.message.contains("c2VjcmV0"));
        }
    }
}
