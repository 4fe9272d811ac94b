//! What a request is about, as far as it decides who answers.

use serde_json::Value;
use valv_model::{ObjectType, Operation, VaultName};

use crate::resolve::Asked;

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A vault that exists, or something in it: its home.
    Vault(VaultName),
    /// A vault that may exist: its home; else the region that the body names, else this one.
    VaultToPut(VaultName, Option<String>),
    /// All that one region holds: this one, or the system home.
    Region,
    /// The deployment: the home of the system group.
    System,
    /// Tokens: whoever holds the system group, the nearest first.
    Anywhere,
    /// A role assignment by its id: it stands in the system group, or in the home of a vault.
    EachRegion,
}

/// Does the body decide?
pub(crate) fn needs_body(operation: Operation) -> bool {
    matches!(operation, Operation::VaultPut | Operation::RoleAssignmentPut)
}

/// The subject of a request. None: whoever got it answers (no such path, no such vault name, health).
pub(crate) fn subject(asked: &Asked, body: &[u8]) -> Option<Subject> {
    let operation = asked.operation()?;
    match operation {
        Operation::VaultPut => {
            let location = field(body, "location").map(|location| location.to_ascii_lowercase());
            return Some(Subject::VaultToPut(asked.vault.clone()?, location));
        }
        Operation::RoleAssignmentPut => {
            return Some(scope_vault(body).map_or(Subject::System, Subject::Vault));
        }
        Operation::RoleAssignmentDelete => return Some(Subject::EachRegion),
        Operation::VaultList | Operation::VaultListDeleted => return Some(Subject::Region),
        // Each region wraps its own vaults' data keys.
        Operation::RootKeyRotate => return Some(Subject::Region),
        // Each region sees the others with its own eyes.
        Operation::StatusGet => return Some(Subject::Anywhere),
        _ => {}
    }
    match operation.spec().object {
        ObjectType::Service => None,
        ObjectType::Token => Some(Subject::Anywhere),
        ObjectType::Deployment => Some(Subject::System),
        // Objects in a vault, and vaults by their name.
        _ => asked.vault.clone().map(Subject::Vault),
    }
}

/// The vault of a role assignment's scope; None also where the body or the scope is malformed: who performs refuses it.
fn scope_vault(body: &[u8]) -> Option<VaultName> {
    let scope = field(body, "scope")?;
    let mut parts = scope.split('/').filter(|part| !part.is_empty());
    let is_vaults = parts.next()?.eq_ignore_ascii_case("vaults");
    VaultName::parse(parts.next()?).ok().filter(|_| is_vaults)
}

fn field(body: &[u8], name: &str) -> Option<String> {
    match serde_json::from_slice::<Value>(body).ok()?.get_mut(name)?.take() {
        Value::String(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use valv_model::{Effect, OPERATIONS};

    use super::*;
    use crate::resolve::{Door, resolve, tests::settings};

    fn of(method: &str, path: &str, body: &str) -> Option<Subject> {
        let request =
            http::Request::builder().method(method).uri(path).header("host", "team.vault.localhost");
        let head = request.body(()).unwrap().into_parts().0;
        subject(&resolve(&settings(), Door::Public, &head).unwrap(), body.as_bytes())
    }

    fn vault(name: &str) -> VaultName {
        VaultName::parse(name).unwrap()
    }

    #[test]
    fn every_row_has_a_subject_and_writes_go_to_a_home() {
        for spec in OPERATIONS.iter().filter(|spec| spec.object != ObjectType::Service) {
            if spec.operation == Operation::ManagedIdentityToken {
                continue;
            }
            let path = spec.path.replace("/{version?}", "").replace(['{', '}'], "");
            let subject = of(spec.method.as_str(), &path, "{}");
            assert!(subject.is_some(), "{}", spec.name);
            if spec.effect == Effect::Write {
                assert_ne!(subject, Some(Subject::Anywhere), "{}", spec.name);
            }
        }
    }

    #[test]
    fn objects_go_to_their_vault_and_assignments_to_the_vault_of_their_scope() {
        assert_eq!(of("GET", "/secrets/a", ""), Some(Subject::Vault(vault("team"))));
        assert_eq!(of("DELETE", "/admin/vaults/other", ""), Some(Subject::Vault(vault("other"))));
        let put = |scope: &str| of("PUT", "/admin/roleassignments/x", &format!(r#"{{"scope":"{scope}"}}"#));
        assert_eq!(put("/"), Some(Subject::System));
        assert_eq!(put("/Vaults/Other/secrets/a"), Some(Subject::Vault(vault("other"))));
        assert_eq!(put("/blobs/other"), Some(Subject::System));
        assert_eq!(of("PUT", "/admin/roleassignments/x", "no json"), Some(Subject::System));
        let new = of("PUT", "/admin/vaults/new", r#"{"location":"WestUS"}"#);
        assert_eq!(new, Some(Subject::VaultToPut(vault("new"), Some("westus".into()))));
        assert_eq!(of("GET", "/no/such/path", ""), None);
    }
}
