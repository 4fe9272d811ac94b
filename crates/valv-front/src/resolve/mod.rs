//! What a request asks for: the host names the vault, method and path name the operation.

use http::request::Parts;
use valv_access::Target;
use valv_model::{Admission, Error, ErrorCode, Method, ObjectName, ObjectType, Operation, Result, VaultName};

use crate::FrontSettings;

mod authority;
pub(crate) use authority::Authority;

mod table;
pub use table::Door;
pub(crate) use table::{Match, Params};

/// What a request asks for, read from its head. Faults of the path are kept: they are told only to those who
/// have shown who they are.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// For the URLs of the answer.
    pub(crate) authority: Authority,
    /// The vault that the host names, or for administration the path.
    pub(crate) vault: Option<VaultName>,
    /// What the table says.
    pub(crate) matched: Match,
}

/// Reads the head of a request.
pub(crate) fn resolve(settings: &FrontSettings, door: Door, head: &Parts) -> Result<Asked> {
    let matched = table::find(door, method(head), &table::segments(head.uri.path()));
    let authority = match Authority::of(head) {
        // Load balancers ask after health in HTTP/1.0, without a host.
        Err(_) if matches!(&matched, Match::Found(o, _) if o.spec().object == ObjectType::Service) => {
            Authority::none()
        }
        Err(_) if door == Door::Health => Authority::none(),
        authority => authority?,
    };
    let vault = match &matched {
        Match::Found(operation, params) => match operation.spec().object {
            kind if in_vault(kind) => authority.vault(settings),
            ObjectType::Vault => VaultName::parse(params.get("vault")).ok(),
            _ => None,
        },
        _ => None,
    };
    Ok(Asked { authority, vault, matched })
}

impl Asked {
    /// The operation, if there is one.
    pub(crate) fn operation(&self) -> Option<Operation> {
        match &self.matched {
            Match::Found(operation, _) => Some(*operation),
            _ => None,
        }
    }

    /// Is the operation for everybody?
    pub(crate) fn is_open(&self) -> bool {
        self.operation().is_some_and(|o| o.spec().admission == Admission::Anyone)
    }

    /// May whoever holds the system group answer, home or not? The answer says nothing of a vault then.
    pub(crate) fn is_anywhere(&self) -> bool {
        self.operation().is_some_and(|o| o.spec().object == ObjectType::Token || o == Operation::StatusGet)
    }

    /// Is it about this door itself? Then it takes no place among the requests in flight, and nobody else is asked.
    pub(crate) fn is_of_service(&self) -> bool {
        self.operation().is_some_and(|o| o.spec().object == ObjectType::Service)
    }

    /// Is it about something inside a vault?
    pub(crate) fn lives_in_vault(&self) -> bool {
        self.operation().is_some_and(|o| in_vault(o.spec().object))
    }

    /// The operation and its parameters; 404 or 405 where the table has none.
    pub(crate) fn found(&self) -> Result<(Operation, &Params)> {
        match &self.matched {
            Match::Found(operation, params) => Ok((*operation, params)),
            Match::OtherMethod(methods) => Err(Error::new(
                ErrorCode::MethodNotAllowed,
                format!("This path does not take this method. It takes {}.", words(methods)),
            )),
            Match::Unknown => Err(Error::new(
                ErrorCode::NotFound,
                "There is no such path. Paths of a vault begin with /secrets, /deletedsecrets, /keys, /deletedkeys or /rng, those of administration with /admin.",
            )),
        }
    }

    /// The methods of a path that was asked with another one.
    pub(crate) fn allow(&self) -> Option<String> {
        match &self.matched {
            Match::OtherMethod(methods) => Some(words(methods)),
            _ => None,
        }
    }

    /// The object that the path names. 400 where its name is none.
    pub(crate) fn object(&self) -> Result<Option<ObjectName>> {
        let (operation, params) = self.found()?;
        let named = in_vault(operation.spec().object) && operation.spec().path.contains("{name}");
        if named { ObjectName::parse(params.get("name")).map(Some) } else { Ok(None) }
    }
}

/// What authorization decides about.
pub(crate) fn target<'a>(
    vault: Option<&'a valv_vault::vaults::Vault>,
    operation: Operation,
    object: Option<&'a ObjectName>,
) -> Target<'a> {
    let object = object.map(|name| (operation.spec().object, name));
    Target { vault: vault.map(|v| &v.access), object }
}

/// Do objects of this type lie in a vault?
fn in_vault(kind: ObjectType) -> bool {
    matches!(kind, ObjectType::Secret | ObjectType::Key)
}

/// The path in the one form that all its spellings share, for comparison.
pub(crate) fn path_key(path: &str) -> String {
    table::segments(path).join("/").to_ascii_uppercase()
}

fn words(methods: &[Method]) -> String {
    methods.iter().map(|m| m.as_str()).collect::<Vec<_>>().join(", ")
}

/// The method; a POST may carry another one in `X-HTTP-METHOD` (azure docs: authentication, requests and responses).
fn method(head: &Parts) -> Option<Method> {
    let given = head.method.as_str();
    let named = match head.headers.get("x-http-method") {
        Some(other) if given == "POST" => other.to_str().unwrap_or(""),
        _ => given,
    };
    [Method::Get, Method::Put, Method::Post, Method::Patch, Method::Delete]
        .into_iter()
        .find(|m| m.as_str().eq_ignore_ascii_case(named))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use valv_model::{RegionName, TenantId};

    pub(crate) fn settings() -> FrontSettings {
        FrontSettings {
            domain: "vault.localhost".into(),
            port: 8443,
            default_vault: Some(VaultName::parse("dev").unwrap()),
            region: RegionName::parse("eastus").unwrap(),
            tenant: TenantId::parse("11111111-2222-3333-4444-555555555555").unwrap(),
            limits: crate::Limits::default(),
            rates: None,
        }
    }

    fn asked(method: &str, path: &str, override_with: Option<&str>) -> Asked {
        let mut request =
            http::Request::builder().method(method).uri(path).header("host", "team.vault.localhost");
        if let Some(other) = override_with {
            request = request.header("x-http-method", other);
        }
        resolve(&settings(), Door::Public, &request.body(()).unwrap().into_parts().0).unwrap()
    }

    #[test]
    fn a_post_may_stand_for_another_method_and_only_a_post() {
        assert_eq!(asked("POST", "/secrets/a", Some("delete")).operation(), Some(Operation::SecretDelete));
        assert_eq!(asked("GET", "/secrets/a", Some("DELETE")).operation(), Some(Operation::SecretGet));
        assert_eq!(asked("POST", "/keys/a", Some("PATCH")).operation(), Some(Operation::KeyUpdate));
        assert_eq!(asked("POST", "/keys/a/sign", Some("POST")).operation(), Some(Operation::KeySign));
        assert_eq!(asked("HEAD", "/secrets", None).allow().as_deref(), Some("GET"));
        assert_eq!(asked("HEAD", "/secrets", None).found().unwrap_err().code, ErrorCode::MethodNotAllowed);
    }

    #[test]
    fn the_vault_comes_from_the_host_or_for_administration_from_the_path() {
        assert_eq!(asked("GET", "/secrets", None).vault.unwrap().as_str(), "team");
        assert_eq!(asked("POST", "/keys/a/sign", None).vault.unwrap().as_str(), "team");
        assert_eq!(asked("POST", "/rng", None).vault.unwrap().as_str(), "team");
        assert_eq!(asked("GET", "/admin/vaults/Other", None).vault.unwrap().as_str(), "other");
        assert_eq!(asked("GET", "/admin/clients", None).vault, None);
    }

    proptest! {
        #[test]
        fn no_path_panics(path in "(/[a-zA-Z0-9%./{}?-]{0,12}){0,6}|\\PC*") {
            let segments = table::segments(&path);
            for door in [Door::Public, Door::Health, Door::ManagedIdentity] {
                for method in [None, Some(Method::Get), Some(Method::Post)] {
                    let _ = table::find(door, method, &segments);
                }
            }
            if let Ok(request) = http::Request::get(&path).header("host", "a.b").body(())
                && let Ok(asked) = resolve(&settings(), Door::Public, &request.into_parts().0)
            {
                let _ = (asked.object(), asked.found(), asked.is_open());
            }
        }
    }
}
