//! The host a request is for, and the vault that it names.

use http::request::Parts;
use http::{header, uri};
use valv_model::{Error, Result, VaultName};

use crate::FrontSettings;

/// Host and port as the client named them, for the URLs of the answer: lower case, without port 443.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authority(String);

impl Authority {
    /// HTTP/2's `:authority` (or an absolute request target) first, `Host` second.
    pub(crate) fn of(head: &Parts) -> Result<Self> {
        if let Some(authority) = head.uri.authority() {
            return Self::read(authority);
        }
        let mut hosts = head.headers.get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return Err(Error::bad("The request must carry exactly one Host header."));
        };
        let authority = uri::Authority::try_from(host.as_bytes())
            .map_err(|_| Error::bad("The Host header is not a valid host name with an optional port."))?;
        Self::read(&authority)
    }

    fn read(authority: &uri::Authority) -> Result<Self> {
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(Error::bad("The Host header is not a valid host name with an optional port."));
        }
        let text = authority.as_str().to_ascii_lowercase();
        let text = text.strip_suffix(":443").or(text.strip_suffix(':')).unwrap_or(&text);
        Ok(Self(text.to_owned()))
    }

    /// Of a request that needs none.
    pub(crate) fn none() -> Self {
        Self(String::new())
    }

    /// As it stands in URLs.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    fn host(&self) -> &str {
        match self.0.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
            _ => &self.0,
        }
    }

    /// The vault: the label before the domain; the default vault for hosts outside the domain.
    pub(crate) fn vault(&self, settings: &FrontSettings) -> Option<VaultName> {
        let host = self.host();
        let outside = || settings.default_vault.clone();
        let Some(rest) = host.strip_suffix(settings.domain.as_str()) else { return outside() };
        match rest.strip_suffix('.') {
            Some(label) => VaultName::parse(label).ok(),
            None => outside(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::tests::settings;

    fn head(uri: &str, host: Option<&str>) -> Parts {
        let mut request = http::Request::get(uri);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn vault(host: &str) -> Option<String> {
        let authority = Authority::of(&head("/secrets", Some(host))).unwrap();
        authority.vault(&settings()).map(|v| v.as_str().to_owned())
    }

    #[test]
    fn the_host_names_the_vault() {
        assert_eq!(vault("my-vault.vault.localhost:8443").as_deref(), Some("my-vault"));
        assert_eq!(vault("MY-Vault.Vault.LocalHost").as_deref(), Some("my-vault"));
        assert_eq!(vault("a.b.vault.localhost"), None);
        assert_eq!(vault("-.vault.localhost"), None);
        assert_eq!(vault("localhost:8443").as_deref(), Some("dev"));
        assert_eq!(vault("[::1]:8443").as_deref(), Some("dev"));
        assert_eq!(vault("vault.localhost").as_deref(), Some("dev"));
        assert_eq!(vault("evilvault.localhost").as_deref(), Some("dev"));
    }

    #[test]
    fn urls_carry_the_port_unless_it_is_443() {
        let text = |host| Authority::of(&head("/", Some(host))).unwrap().as_str().to_owned();
        assert_eq!(text("a.vault.localhost:443"), "a.vault.localhost");
        assert_eq!(text("A.vault.localhost:8443"), "a.vault.localhost:8443");
        assert_eq!(text("a.vault.localhost:1443"), "a.vault.localhost:1443");
    }

    #[test]
    fn the_request_target_wins_over_the_host_header() {
        let authority = Authority::of(&head("https://one.vault.localhost/x", Some("two.vault.localhost")));
        assert_eq!(authority.unwrap().as_str(), "one.vault.localhost");
    }

    #[test]
    fn a_bad_host_is_refused() {
        for host in [Some(""), Some("a b"), Some("user@host"), Some("a/b"), None] {
            assert!(Authority::of(&head("/", host)).is_err(), "{host:?}");
        }
    }
}
