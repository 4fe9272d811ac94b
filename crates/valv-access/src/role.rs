//! Azure's built-in Key Vault roles, the administrator's role, and their assignment.

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use valv_model::{ObjectName, ObjectType, PrincipalId, VaultName};

mod built_in;
pub use built_in::{
    BUILT_IN_ROLES, KEY_VAULT_ADMINISTRATOR, KEY_VAULT_DATA_ACCESS_ADMINISTRATOR, VALV_ADMINISTRATOR,
};

/// A role: which control-plane actions and which dataActions it allows. `*` at the end or in the middle
/// of an action stands for any text (azure docs: role-based-access-control/role-definitions).
#[derive(Clone, Copy, Debug)]
pub struct Role {
    /// Azure's role definition id.
    pub id: Uuid,
    /// Azure's name.
    pub name: &'static str,
    /// Control plane.
    pub actions: &'static [&'static str],
    /// What is taken away from `actions`.
    pub not_actions: &'static [&'static str],
    /// Data plane.
    pub data_actions: &'static [&'static str],
}

impl Role {
    /// The role with this definition id.
    #[must_use]
    pub fn find(id: Uuid) -> Option<&'static Self> {
        BUILT_IN_ROLES.iter().find(|role| role.id == id)
    }

    /// The role with this name, in any case.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        BUILT_IN_ROLES.iter().find(|role| role.name.eq_ignore_ascii_case(name))
    }

    /// Does the role allow this control-plane action?
    #[must_use]
    pub fn allows_action(&self, action: &str) -> bool {
        self.actions.iter().any(|pattern| matches(pattern, action))
            && !self.not_actions.iter().any(|pattern| matches(pattern, action))
    }

    /// Does the role allow this dataAction?
    #[must_use]
    pub fn allows_data_action(&self, action: &str) -> bool {
        self.data_actions.iter().any(|pattern| matches(pattern, action))
    }
}

/// Does `action` match `pattern`? Without case; `*` stands for any text, the empty one included.
#[must_use]
pub(crate) fn matches(pattern: &str, action: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = strip_prefix(action, parts.next().unwrap_or_default()) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    // The last part is anchored at the end; those between are found leftmost, which leaves most to the others.
    for part in parts {
        match find(rest, part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.len() >= last.len()
        && rest.is_char_boundary(rest.len() - last.len())
        && rest[rest.len() - last.len()..].eq_ignore_ascii_case(last)
}

fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

fn find(text: &str, part: &str) -> Option<usize> {
    (0..=text.len()).find(|at| text.get(*at..at + part.len()).is_some_and(|t| t.eq_ignore_ascii_case(part)))
}

/// Where an assignment holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Scope {
    /// Everywhere.
    Deployment,
    /// One vault and all in it.
    Vault {
        /// The vault.
        vault: VaultName,
    },
    /// One object with all its versions, such as `secrets/db-password`.
    Object {
        /// The vault.
        vault: VaultName,
        /// `secrets`, `keys` or `certificates`.
        collection: String,
        /// The object.
        name: ObjectName,
    },
}

impl Scope {
    /// Does an assignment here cover the target? `object` is None for operations on a whole vault (lists, restore).
    #[must_use]
    pub fn covers(&self, vault: Option<&VaultName>, object: Option<(ObjectType, &ObjectName)>) -> bool {
        match self {
            Self::Deployment => true,
            Self::Vault { vault: here } => vault == Some(here),
            Self::Object { vault: here, collection, name } => {
                vault == Some(here)
                    && object.is_some_and(|(kind, object)| {
                        collection_of(kind).is_some_and(|c| c.eq_ignore_ascii_case(collection))
                            && object == name
                    })
            }
        }
    }
}

/// The collection in which objects of a type sit; None for what no vault holds.
#[must_use]
pub(crate) fn collection_of(kind: ObjectType) -> Option<&'static str> {
    match kind {
        ObjectType::Secret => Some("secrets"),
        ObjectType::Key => Some("keys"),
        ObjectType::Vault | ObjectType::Deployment | ObjectType::Token | ObjectType::Service => None,
    }
}

/// A principal holds a role at a scope. Deployment-wide ones live in the [`crate::Registry`], the others with their vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleAssignment {
    /// The assignment's id.
    pub id: Uuid,
    /// The role's definition id.
    pub role: Uuid,
    /// Who: a user, a group or an application's service principal.
    pub principal: PrincipalId,
    /// Where.
    pub scope: Scope,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_stands_for_any_text_and_case_does_not_count() {
        for (pattern, action, expected) in [
            ("*", "", true),
            ("*", "anything/at/all", true),
            ("a/b", "A/B", true),
            ("a/b", "a/bc", false),
            ("a/b", "a", false),
            ("a/*", "a/", true),
            ("a/*", "a/b/c", true),
            ("a/*", "a", false),
            ("a/*", "b/a/c", false),
            ("a/*/read", "a/b/read", true),
            ("a/*/read", "a/b/c/READ", true),
            ("a/*/read", "a/read", false),
            ("a/*/read", "a/b/read/action", false),
            ("*/read", "x/y/read", true),
            ("*/read", "read", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "acb", false),
            ("ab*ba", "aba", false),
            ("", "", true),
            ("", "a", false),
            ("ä*", "ä/x", true),
            ("*", "ü", true),
        ] {
            assert_eq!(matches(pattern, action), expected, "{pattern} {action}");
        }
    }

    /// The textbook definition, to compare with.
    fn matches_slowly(pattern: &[u8], action: &[u8]) -> bool {
        match (pattern.split_first(), action.split_first()) {
            (None, rest) => rest.is_none(),
            (Some((b'*', tail)), None) => matches_slowly(tail, action),
            (Some((b'*', tail)), Some((_, rest))) => {
                matches_slowly(tail, action) || matches_slowly(pattern, rest)
            }
            (Some((p, tail)), Some((a, rest))) => p.eq_ignore_ascii_case(a) && matches_slowly(tail, rest),
            (Some(_), None) => false,
        }
    }

    proptest! {
        #[test]
        fn wildcards_match_as_their_definition_says(pattern in "[abA/*]{0,9}", action in "[abB/]{0,12}") {
            prop_assert_eq!(matches(&pattern, &action), matches_slowly(pattern.as_bytes(), action.as_bytes()));
        }

        #[test]
        fn no_text_makes_matching_panic(pattern in "\\PC{0,12}", action in "\\PC{0,12}") {
            let _ = matches(&pattern, &action);
        }
    }

    #[test]
    fn a_scope_covers_what_lies_in_it_and_nothing_else() {
        let vault = |text| VaultName::parse(text).unwrap();
        let name = |text| ObjectName::parse(text).unwrap();
        let (v, w) = (vault("vault-one"), vault("vault-two"));
        let (a, b) = (name("Api"), name("other"));
        let secret = |name| Some((ObjectType::Secret, name));
        assert!(Scope::Deployment.covers(None, None));
        assert!(Scope::Deployment.covers(Some(&v), secret(&a)));
        let scope = Scope::Vault { vault: v.clone() };
        assert!(scope.covers(Some(&v), None) && scope.covers(Some(&v), secret(&a)));
        assert!(!scope.covers(Some(&w), secret(&a)) && !scope.covers(None, None));
        let scope = Scope::Object { vault: v.clone(), collection: "secrets".into(), name: name("aPI") };
        assert!(scope.covers(Some(&v), secret(&a)));
        assert!(!scope.covers(Some(&v), None), "a list shows more than the object");
        assert!(!scope.covers(Some(&v), secret(&b)) && !scope.covers(Some(&w), secret(&a)));
        let scope = Scope::Object { vault: v.clone(), collection: "keys".into(), name: a.clone() };
        assert!(!scope.covers(Some(&v), secret(&a)));
    }
}
