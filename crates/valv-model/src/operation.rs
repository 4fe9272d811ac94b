//! The one table of operations.
//!
//! Routing, authorization, the read-only gate, audit names, metric labels, the documentation's table
//! and the coverage tests all derive from [`OPERATIONS`]. A row cannot be added without saying whether
//! it writes. Object operations: Azure Key Vault REST reference. Administration and the token service
//! are Valv's own paths below `/admin` and the paths that MSAL and azure-identity ask for.

use std::fmt;

/// HTTP methods that the table uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Method {
    Get,
    Put,
    Post,
    Patch,
    Delete,
}

impl Method {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// Does the operation change state? Decides what a read-only region refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Answered in read-only mode.
    Read,
    /// Refused in read-only mode.
    Write,
}

/// What an operation works on; also the label `activity_type` of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObjectType {
    /// Secrets of a vault.
    Secret,
    /// Keys of a vault.
    Key,
    /// Vaults themselves: administration.
    Vault,
    /// Clients, roles, root key: administration of the deployment.
    Deployment,
    /// The token service.
    Token,
    /// Health, metrics.
    Service,
}

impl ObjectType {
    /// The word in metrics and documentation.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Key => "key",
            Self::Vault => "vault",
            Self::Deployment => "deployment",
            Self::Token => "token",
            Self::Service => "service",
        }
    }
}

/// Who is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Admission {
    /// A caller whom the vault's access policy (by this word) or role assignments (by `action`) allow.
    /// `action` is a dataAction.
    Vault {
        /// The access-policy word, such as `get`.
        policy: &'static str,
        /// The RBAC dataAction.
        action: &'static str,
    },
    /// A caller with a role whose *actions* (control plane) allow `action`, at the vault named in the
    /// path or at the deployment.
    Control {
        /// The RBAC action.
        action: &'static str,
    },
    /// Anybody: the token service (which checks its own credentials) and health.
    Anyone,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// The operation.
    pub operation: Operation,
    /// Azure's audit name, such as `SecretGet`.
    pub name: &'static str,
    /// What it works on.
    pub object: ObjectType,
    /// HTTP method.
    pub method: Method,
    /// Path template; `{x}` stands for one segment.
    pub path: &'static str,
    /// Who is let in.
    pub admission: Admission,
    /// Does it change state?
    pub effect: Effect,
    /// HTTP status of success.
    pub success: u16,
}

macro_rules! operations {
    ($($operation:ident, $object:ident, $method:ident $path:literal, $admission:expr, $effect:ident, $success:literal;)*) => {
        /// Every operation of every plane; the names are those of Azure's audit log.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "the table says it")]
        pub enum Operation { $($operation,)* }

        /// The table.
        pub static OPERATIONS: &[Spec] = &[$(Spec {
            operation: Operation::$operation,
            name: stringify!($operation),
            object: ObjectType::$object,
            method: Method::$method,
            path: $path,
            admission: $admission,
            effect: Effect::$effect,
            success: $success,
        },)*];
    };
}

const fn vault(policy: &'static str, action: &'static str) -> Admission {
    Admission::Vault { policy, action }
}
const fn control(action: &'static str) -> Admission {
    Admission::Control { action }
}
use Admission::Anyone;

operations! {
    // Secrets (azure docs: rest/api/keyvault/secrets).
    SecretSet, Secret, Put "/secrets/{name}", vault("set", "Microsoft.KeyVault/vaults/secrets/setSecret/action"), Write, 200;
    SecretGet, Secret, Get "/secrets/{name}/{version?}", vault("get", "Microsoft.KeyVault/vaults/secrets/getSecret/action"), Read, 200;
    SecretUpdate, Secret, Patch "/secrets/{name}/{version?}", vault("set", "Microsoft.KeyVault/vaults/secrets/update/action"), Write, 200;
    SecretList, Secret, Get "/secrets", vault("list", "Microsoft.KeyVault/vaults/secrets/readMetadata/action"), Read, 200;
    SecretListVersions, Secret, Get "/secrets/{name}/versions", vault("list", "Microsoft.KeyVault/vaults/secrets/readMetadata/action"), Read, 200;
    SecretDelete, Secret, Delete "/secrets/{name}", vault("delete", "Microsoft.KeyVault/vaults/secrets/delete"), Write, 200;
    SecretBackup, Secret, Post "/secrets/{name}/backup", vault("backup", "Microsoft.KeyVault/vaults/secrets/backup/action"), Read, 200;
    SecretRestore, Secret, Post "/secrets/restore", vault("restore", "Microsoft.KeyVault/vaults/secrets/restore/action"), Write, 200;
    SecretListDeleted, Secret, Get "/deletedsecrets", vault("list", "Microsoft.KeyVault/vaults/secrets/readMetadata/action"), Read, 200;
    SecretGetDeleted, Secret, Get "/deletedsecrets/{name}", vault("get", "Microsoft.KeyVault/vaults/secrets/readMetadata/action"), Read, 200;
    SecretRecover, Secret, Post "/deletedsecrets/{name}/recover", vault("recover", "Microsoft.KeyVault/vaults/secrets/recover/action"), Write, 200;
    SecretPurge, Secret, Delete "/deletedsecrets/{name}", vault("purge", "Microsoft.KeyVault/vaults/secrets/purge/action"), Write, 204;

    // Keys (azure docs: rest/api/keyvault/keys). Release and attestation are not there.
    KeyCreate, Key, Post "/keys/{name}/create", vault("create", "Microsoft.KeyVault/vaults/keys/create/action"), Write, 200;
    KeyImport, Key, Put "/keys/{name}", vault("import", "Microsoft.KeyVault/vaults/keys/import/action"), Write, 200;
    KeyGet, Key, Get "/keys/{name}/{version?}", vault("get", "Microsoft.KeyVault/vaults/keys/read"), Read, 200;
    KeyUpdate, Key, Patch "/keys/{name}/{version?}", vault("update", "Microsoft.KeyVault/vaults/keys/update/action"), Write, 200;
    KeyList, Key, Get "/keys", vault("list", "Microsoft.KeyVault/vaults/keys/read"), Read, 200;
    KeyListVersions, Key, Get "/keys/{name}/versions", vault("list", "Microsoft.KeyVault/vaults/keys/read"), Read, 200;
    KeyEncrypt, Key, Post "/keys/{name}/{version?}/encrypt", vault("encrypt", "Microsoft.KeyVault/vaults/keys/encrypt/action"), Read, 200;
    KeyDecrypt, Key, Post "/keys/{name}/{version?}/decrypt", vault("decrypt", "Microsoft.KeyVault/vaults/keys/decrypt/action"), Read, 200;
    KeyWrap, Key, Post "/keys/{name}/{version?}/wrapkey", vault("wrapKey", "Microsoft.KeyVault/vaults/keys/wrap/action"), Read, 200;
    KeyUnwrap, Key, Post "/keys/{name}/{version?}/unwrapkey", vault("unwrapKey", "Microsoft.KeyVault/vaults/keys/unwrap/action"), Read, 200;
    KeySign, Key, Post "/keys/{name}/{version?}/sign", vault("sign", "Microsoft.KeyVault/vaults/keys/sign/action"), Read, 200;
    KeyVerify, Key, Post "/keys/{name}/{version?}/verify", vault("verify", "Microsoft.KeyVault/vaults/keys/verify/action"), Read, 200;
    KeyRotate, Key, Post "/keys/{name}/rotate", vault("rotate", "Microsoft.KeyVault/vaults/keys/rotate/action"), Write, 200;
    KeyRotationPolicyGet, Key, Get "/keys/{name}/rotationpolicy", vault("getrotationpolicy", "Microsoft.KeyVault/vaults/keyrotationpolicies/read"), Read, 200;
    KeyRotationPolicySet, Key, Put "/keys/{name}/rotationpolicy", vault("setrotationpolicy", "Microsoft.KeyVault/vaults/keyrotationpolicies/write"), Write, 200;
    KeyDelete, Key, Delete "/keys/{name}", vault("delete", "Microsoft.KeyVault/vaults/keys/delete"), Write, 200;
    KeyBackup, Key, Post "/keys/{name}/backup", vault("backup", "Microsoft.KeyVault/vaults/keys/backup/action"), Read, 200;
    KeyRestore, Key, Post "/keys/restore", vault("restore", "Microsoft.KeyVault/vaults/keys/restore/action"), Write, 200;
    KeyListDeleted, Key, Get "/deletedkeys", vault("list", "Microsoft.KeyVault/vaults/keys/read"), Read, 200;
    KeyGetDeleted, Key, Get "/deletedkeys/{name}", vault("get", "Microsoft.KeyVault/vaults/keys/read"), Read, 200;
    KeyRecover, Key, Post "/deletedkeys/{name}/recover", vault("recover", "Microsoft.KeyVault/vaults/keys/recover/action"), Write, 200;
    KeyPurge, Key, Delete "/deletedkeys/{name}", vault("purge", "Microsoft.KeyVault/vaults/keys/purge/action"), Write, 204;
    // In Azure a Managed HSM's alone. Who may make keys or sees them may draw random bytes.
    RandomBytesGet, Key, Post "/rng", vault("get", "Microsoft.KeyVault/vaults/keys/rng/action"), Read, 200;

    // Vaults.
    VaultPut, Vault, Put "/admin/vaults/{vault}", control("Microsoft.KeyVault/vaults/write"), Write, 200;
    VaultGet, Vault, Get "/admin/vaults/{vault}", control("Microsoft.KeyVault/vaults/read"), Read, 200;
    VaultList, Vault, Get "/admin/vaults", control("Microsoft.KeyVault/vaults/read"), Read, 200;
    VaultDelete, Vault, Delete "/admin/vaults/{vault}", control("Microsoft.KeyVault/vaults/delete"), Write, 200;
    VaultListDeleted, Vault, Get "/admin/deletedvaults", control("Microsoft.KeyVault/deletedVaults/read"), Read, 200;
    VaultRecover, Vault, Post "/admin/deletedvaults/{vault}/recover", control("Microsoft.KeyVault/vaults/write"), Write, 200;
    VaultPurge, Vault, Delete "/admin/deletedvaults/{vault}", control("Microsoft.KeyVault/locations/deletedVaults/purge/action"), Write, 204;
    VaultAccessPolicySet, Vault, Put "/admin/vaults/{vault}/accesspolicies/{principal}", control("Microsoft.KeyVault/vaults/accessPolicies/write"), Write, 200;
    VaultAccessPolicyDelete, Vault, Delete "/admin/vaults/{vault}/accesspolicies/{principal}", control("Microsoft.KeyVault/vaults/accessPolicies/write"), Write, 204;
    VaultDataKeyRotate, Vault, Post "/admin/vaults/{vault}/datakey/rotate", control("Valv/rootKey/rotate/action"), Write, 200;

    // Role assignments, clients, root key.
    RoleAssignmentPut, Deployment, Put "/admin/roleassignments/{assignment}", control("Microsoft.Authorization/roleAssignments/write"), Write, 200;
    RoleAssignmentList, Deployment, Get "/admin/roleassignments", control("Microsoft.Authorization/roleAssignments/read"), Read, 200;
    RoleAssignmentDelete, Deployment, Delete "/admin/roleassignments/{assignment}", control("Microsoft.Authorization/roleAssignments/delete"), Write, 204;
    ClientPut, Deployment, Put "/admin/clients/{client}", control("Valv/clients/write"), Write, 200;
    ClientList, Deployment, Get "/admin/clients", control("Valv/clients/read"), Read, 200;
    ClientDelete, Deployment, Delete "/admin/clients/{client}", control("Valv/clients/delete"), Write, 204;
    RootKeyRotate, Deployment, Post "/admin/rootkey/rotate", control("Valv/rootKey/rotate/action"), Write, 200;
    StatusGet, Deployment, Get "/admin/status", control("Valv/status/read"), Read, 200;

    // The token service, as MSAL and azure-identity ask for it. Token requests survive failover: they read.
    TokenIssue, Token, Post "/{tenant}/oauth2/v2.0/token", Anyone, Read, 200;
    OpenidConfigurationGet, Token, Get "/{tenant}/v2.0/.well-known/openid-configuration", Anyone, Read, 200;
    JwksGet, Token, Get "/{tenant}/discovery/v2.0/keys", Anyone, Read, 200;
    InstanceDiscoveryGet, Token, Get "/common/discovery/instance", Anyone, Read, 200;
    ManagedIdentityToken, Token, Get "/metadata/identity/oauth2/token", Anyone, Read, 200;
    AppServiceToken, Token, Get "/msi/token", Anyone, Read, 200;

    // Health. The first one has Azure's path, for load balancers before the doors; the others are each machine's own.
    HealthStatusGet, Service, Get "/healthstatus", Anyone, Read, 200;
    HealthGet, Service, Get "/healthz", Anyone, Read, 200;
    ReadyGet, Service, Get "/readyz", Anyone, Read, 200;
    MetricsGet, Service, Get "/metrics", Anyone, Read, 200;
}

impl Operation {
    /// Its row of the table.
    #[must_use]
    pub fn spec(self) -> &'static Spec {
        // The enum and the table are written by one macro in one order.
        &OPERATIONS[self as usize]
    }

    /// Azure's audit name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.spec().name
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_row_stands_at_its_operation_and_no_route_twice() {
        let mut routes = HashSet::new();
        for (at, spec) in OPERATIONS.iter().enumerate() {
            assert_eq!(spec.operation as usize, at);
            assert_eq!(spec.operation.name(), format!("{:?}", spec.operation));
            assert!(
                routes.insert((spec.method, spec.path)),
                "{} {} stands twice",
                spec.method.as_str(),
                spec.path
            );
        }
    }
}
