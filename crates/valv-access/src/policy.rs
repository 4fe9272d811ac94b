//! A vault's own rules.

use serde::{Deserialize, Serialize};
use valv_model::{
    ClientId, Error, ObjectType, PrincipalId, RegionName, Result, TenantId, VaultId, VaultName,
};

use crate::authenticate::shown;
use crate::{Caller, RoleAssignment};

/// Azure's access policy: words per object type, compared without case; `all` stands for every word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessPolicy {
    /// The principal.
    pub object_id: PrincipalId,
    /// If set, only this application acting for the principal (a user) matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application_id: Option<ClientId>,
    /// Words for secrets, such as `get`, `list`.
    #[serde(default)]
    pub secrets: Vec<String>,
    /// Words for keys.
    #[serde(default)]
    pub keys: Vec<String>,
    /// Words for certificates.
    #[serde(default)]
    pub certificates: Vec<String>,
}

/// Azure's words, in the order of secrets, keys, certificates (azure docs: key-vault/general/assign-access-policy).
const WORDS: [(&str, &[&str]); 3] = [
    ("secrets", &["all", "get", "list", "set", "delete", "recover", "backup", "restore", "purge"]),
    (
        "keys",
        &[
            "all",
            "get",
            "list",
            "update",
            "create",
            "import",
            "delete",
            "recover",
            "backup",
            "restore",
            "decrypt",
            "encrypt",
            "unwrapKey",
            "wrapKey",
            "verify",
            "sign",
            "purge",
            "release",
            "rotate",
            "getrotationpolicy",
            "setrotationpolicy",
        ],
    ),
    (
        "certificates",
        &[
            "all",
            "get",
            "list",
            "update",
            "create",
            "import",
            "delete",
            "recover",
            "backup",
            "restore",
            "managecontacts",
            "manageissuers",
            "getissuers",
            "listissuers",
            "setissuers",
            "deleteissuers",
            "purge",
        ],
    ),
];

impl AccessPolicy {
    /// Is every word one of Azure's? A misspelled one would grant nothing and say nothing. 400 names it.
    pub fn check(&self) -> Result<()> {
        for ((kind, known), words) in WORDS.iter().zip([&self.secrets, &self.keys, &self.certificates]) {
            for word in words {
                if !known.iter().any(|k| k.eq_ignore_ascii_case(word)) {
                    return Err(Error::bad(format!(
                        "'{}' is not a permission for {kind}. Permissions: {}.",
                        shown(word),
                        known.join(", ")
                    )));
                }
            }
        }
        Ok(())
    }

    /// Does the policy allow this word for objects of this type? Words compare without case.
    #[must_use]
    pub fn allows(&self, kind: ObjectType, word: &str) -> bool {
        let words = match kind {
            ObjectType::Secret => &self.secrets,
            ObjectType::Key => &self.keys,
            ObjectType::Vault | ObjectType::Deployment | ObjectType::Token | ObjectType::Service => {
                return false;
            }
        };
        words.iter().any(|w| w.eq_ignore_ascii_case(word) || w.eq_ignore_ascii_case("all"))
    }

    /// Does the policy speak of this caller: of its principal or one of its groups, and, where the policy
    /// names an application, of that application acting for a user?
    #[must_use]
    pub fn concerns(&self, caller: &Caller) -> bool {
        let application = match &self.application_id {
            Some(application) => caller.acts_for_user() && caller.client() == Some(application),
            None => true,
        };
        application && caller.is(&self.object_id)
    }
}

/// What [`crate::authorize`] must know of a vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultAccess {
    /// The vault's id.
    pub id: VaultId,
    /// Its name.
    pub name: VaultName,
    /// The tenant whose tokens it takes.
    pub tenant: TenantId,
    /// Its home region.
    pub region: RegionName,
    /// True: role assignments decide. False: access policies decide.
    pub rbac: bool,
    /// Access policies.
    pub policies: Vec<AccessPolicy>,
    /// Role assignments at this vault or at objects in it.
    pub assignments: Vec<RoleAssignment>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelled_word_is_named_with_those_that_exist() {
        let policy = |secrets: &[&str], keys: &[&str]| AccessPolicy {
            object_id: PrincipalId::parse("00482a5a-887f-4fb3-b363-3b7fe8e74483").unwrap(),
            application_id: None,
            secrets: secrets.iter().map(|w| (*w).to_owned()).collect(),
            keys: keys.iter().map(|w| (*w).to_owned()).collect(),
            certificates: Vec::new(),
        };
        policy(&["Get", "LIST", "all"], &["unwrapkey"]).check().unwrap();
        let said = policy(&["get", "look"], &[]).check().unwrap_err().message;
        assert!(
            said.contains("'look' is not a permission for secrets") && said.contains("restore"),
            "{said}"
        );
        assert!(policy(&["sign"], &["sign"]).check().is_err());
    }
}
