//! The table of roles (azure docs: role-based-access-control/built-in-roles/security, key-vault/general/rbac-guide).

use uuid::{Uuid, uuid};

use super::Role;

/// Key Vault Administrator: everything inside a vault.
pub const KEY_VAULT_ADMINISTRATOR: Uuid = uuid!("00482a5a-887f-4fb3-b363-3b7fe8e74483");
/// Key Vault Data Access Administrator: assigns the data roles, and only those ([`crate::may_assign`]).
pub const KEY_VAULT_DATA_ACCESS_ADMINISTRATOR: Uuid = uuid!("8b54135c-b56d-4d72-a534-26097cfdc8d8");
/// Valv Administrator: vaults, clients, roles and the root key, but nothing inside a vault. Not an Azure role.
pub const VALV_ADMINISTRATOR: Uuid = uuid!("76616c76-0000-4000-8000-000000000001");

/// What Azure's data roles may see of the control plane. Azure lists `vaults/*/read`; `vaults/read` stands
/// here too, since those roles "read metadata of key vaults".
const SEE_VAULTS: &[&str] = &[
    "Microsoft.Authorization/*/read",
    "Microsoft.KeyVault/checkNameAvailability/read",
    "Microsoft.KeyVault/deletedVaults/read",
    "Microsoft.KeyVault/locations/*/read",
    "Microsoft.KeyVault/vaults/read",
    "Microsoft.KeyVault/vaults/*/read",
    "Microsoft.KeyVault/operations/read",
];

const fn role(
    id: Uuid,
    name: &'static str,
    actions: &'static [&'static str],
    data_actions: &'static [&'static str],
) -> Role {
    Role { id, name, actions, not_actions: &[], data_actions }
}

/// All roles that can be assigned.
pub static BUILT_IN_ROLES: &[Role] = &[
    role(KEY_VAULT_ADMINISTRATOR, "Key Vault Administrator", SEE_VAULTS, &["Microsoft.KeyVault/vaults/*"]),
    role(
        uuid!("21090545-7ca7-4776-b22c-e363652d74d2"),
        "Key Vault Reader",
        SEE_VAULTS,
        &["Microsoft.KeyVault/vaults/*/read", "Microsoft.KeyVault/vaults/secrets/readMetadata/action"],
    ),
    role(
        uuid!("b86a8fe4-44ce-4948-aee5-eccb2c155cd7"),
        "Key Vault Secrets Officer",
        SEE_VAULTS,
        &["Microsoft.KeyVault/vaults/secrets/*"],
    ),
    role(
        uuid!("4633458b-17de-408a-b874-0445c86b69e6"),
        "Key Vault Secrets User",
        &[],
        &[
            "Microsoft.KeyVault/vaults/secrets/getSecret/action",
            "Microsoft.KeyVault/vaults/secrets/readMetadata/action",
        ],
    ),
    role(
        uuid!("14b46e9e-c2b7-41b4-b07b-48a6ebf60603"),
        "Key Vault Crypto Officer",
        SEE_VAULTS,
        &["Microsoft.KeyVault/vaults/keys/*", "Microsoft.KeyVault/vaults/keyrotationpolicies/*"],
    ),
    role(
        uuid!("12338af0-0e69-4776-bea7-57ae8d297424"),
        "Key Vault Crypto User",
        &[],
        &[
            "Microsoft.KeyVault/vaults/keys/read",
            "Microsoft.KeyVault/vaults/keys/update/action",
            "Microsoft.KeyVault/vaults/keys/backup/action",
            "Microsoft.KeyVault/vaults/keys/encrypt/action",
            "Microsoft.KeyVault/vaults/keys/decrypt/action",
            "Microsoft.KeyVault/vaults/keys/wrap/action",
            "Microsoft.KeyVault/vaults/keys/unwrap/action",
            "Microsoft.KeyVault/vaults/keys/sign/action",
            "Microsoft.KeyVault/vaults/keys/verify/action",
            // Ours: Azure has random bytes in Managed HSM only, where its Crypto User may draw them.
            "Microsoft.KeyVault/vaults/keys/rng/action",
        ],
    ),
    role(
        uuid!("e147488a-f6f5-4113-8e2d-b22465e65bf6"),
        "Key Vault Crypto Service Encryption User",
        &[],
        &[
            "Microsoft.KeyVault/vaults/keys/read",
            "Microsoft.KeyVault/vaults/keys/wrap/action",
            "Microsoft.KeyVault/vaults/keys/unwrap/action",
        ],
    ),
    role(
        uuid!("08bbd89e-9f13-488c-ac41-acfcb10c90ab"),
        "Key Vault Crypto Service Release User",
        &[],
        &["Microsoft.KeyVault/vaults/keys/release/action"],
    ),
    role(
        uuid!("a4417e6f-fecd-4de8-b567-7b0420556985"),
        "Key Vault Certificates Officer",
        SEE_VAULTS,
        &[
            "Microsoft.KeyVault/vaults/certificatecas/*",
            "Microsoft.KeyVault/vaults/certificates/*",
            "Microsoft.KeyVault/vaults/certificatecontacts/write",
        ],
    ),
    role(
        uuid!("db79e9a7-68ee-4b58-9aeb-b90e7c24fcba"),
        "Key Vault Certificate User",
        &[],
        &[
            "Microsoft.KeyVault/vaults/certificates/read",
            "Microsoft.KeyVault/vaults/secrets/getSecret/action",
            "Microsoft.KeyVault/vaults/secrets/readMetadata/action",
            "Microsoft.KeyVault/vaults/keys/read",
        ],
    ),
    role(
        uuid!("a68e7c17-0ab2-4c09-9a58-125dae29748c"),
        "Key Vault Purge Operator",
        &[
            "Microsoft.KeyVault/locations/*/read",
            "Microsoft.KeyVault/locations/deletedVaults/purge/action",
            "Microsoft.KeyVault/deletedVaults/read",
        ],
        &[],
    ),
    role(
        KEY_VAULT_DATA_ACCESS_ADMINISTRATOR,
        "Key Vault Data Access Administrator",
        &[
            "Microsoft.Authorization/roleAssignments/write",
            "Microsoft.Authorization/roleAssignments/delete",
            "Microsoft.Authorization/*/read",
            "Microsoft.KeyVault/vaults/read",
            "Microsoft.KeyVault/vaults/*/read",
        ],
        &[],
    ),
    Role {
        id: uuid!("f25e0fa2-a7c8-4377-a976-54943a77a395"),
        name: "Key Vault Contributor",
        actions: &["Microsoft.Authorization/*/read", "Microsoft.KeyVault/*"],
        not_actions: &[
            "Microsoft.KeyVault/locations/deletedVaults/purge/action",
            "Microsoft.KeyVault/hsmPools/*",
            "Microsoft.KeyVault/managedHsms/*",
        ],
        data_actions: &[],
    },
    role(VALV_ADMINISTRATOR, "Valv Administrator", &["*"], &[]),
];
