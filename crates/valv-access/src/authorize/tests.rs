use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;
use valv_model::{ClientId, OPERATIONS, PrincipalId, RegionName, TenantId, VaultName};

use super::*;
use crate::{AccessPolicy, BUILT_IN_ROLES, Scope};

const TENANT: &str = "11111111-2222-3333-4444-555555555555";
const ANN: &str = "bbbbbbbb-0000-0000-0000-000000000001";
const BOB: &str = "bbbbbbbb-0000-0000-0000-000000000002";
const GROUP: &str = "cccccccc-0000-0000-0000-000000000001";
const APP: &str = "aaaaaaaa-0000-0000-0000-000000000001";

fn principal(text: &str) -> PrincipalId {
    PrincipalId::parse(text).unwrap()
}

fn caller(text: &str, groups: &[&str], user: bool) -> Caller {
    let groups: Vec<PrincipalId> = groups.iter().map(|g| principal(g)).collect();
    let app = ClientId::parse(APP).unwrap();
    Caller::test(&principal(text), Some(&app), &TenantId::parse(TENANT).unwrap(), &groups, user)
}

fn vault(name: &str, rbac: bool) -> VaultAccess {
    VaultAccess {
        id: VaultId::parse("dddddddd-0000-0000-0000-000000000001").unwrap(),
        name: VaultName::parse(name).unwrap(),
        tenant: TenantId::parse(TENANT).unwrap(),
        region: RegionName::parse("swedencentral").unwrap(),
        rbac,
        policies: vec![],
        assignments: vec![],
    }
}

fn assignment(role: Uuid, to: &str, scope: Scope) -> RoleAssignment {
    RoleAssignment { id: Uuid::from_u128(1), role, principal: principal(to), scope }
}

fn role(name: &str) -> Uuid {
    Role::named(name).unwrap().id
}

fn object(name: &ObjectName) -> Option<(ObjectType, &ObjectName)> {
    Some((ObjectType::Secret, name))
}

/// What each role may do, written down by hand from the description of the roles and not from their actions.
fn expected() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let vault_reads = "VaultGet VaultList VaultListDeleted RoleAssignmentList";
    let secrets_all = "SecretSet SecretGet SecretUpdate SecretList SecretListVersions SecretDelete SecretBackup SecretRestore SecretListDeleted SecretGetDeleted SecretRecover SecretPurge";
    let secrets_metadata = "SecretList SecretListVersions SecretListDeleted SecretGetDeleted";
    let keys_public =
        "KeyGet KeyList KeyListVersions KeyListDeleted KeyGetDeleted KeyEncrypt KeyWrap KeyVerify";
    let keys_all = "KeyCreate KeyImport KeyUpdate KeyDecrypt KeyUnwrap KeySign KeyRotate KeyRotationPolicyGet KeyRotationPolicySet KeyDelete KeyBackup KeyRestore KeyRecover KeyPurge RandomBytesGet";
    let vault_writes = "VaultPut VaultDelete VaultRecover VaultAccessPolicySet VaultAccessPolicyDelete";
    let all_control = "VaultPurge VaultDataKeyRotate RoleAssignmentPut RoleAssignmentDelete ClientPut ClientList ClientDelete RootKeyRotate StatusGet";
    let table: [(&str, &[&str]); 14] = [
        ("Key Vault Administrator", &[vault_reads, secrets_all, keys_public, keys_all]),
        ("Key Vault Reader", &[vault_reads, secrets_metadata, keys_public, "KeyRotationPolicyGet"]),
        ("Key Vault Secrets Officer", &[vault_reads, secrets_all]),
        ("Key Vault Secrets User", &["SecretGet", secrets_metadata]),
        ("Key Vault Crypto Officer", &[vault_reads, keys_public, keys_all]),
        (
            "Key Vault Crypto User",
            &[keys_public, "KeyUpdate KeyBackup KeyDecrypt KeyUnwrap KeySign RandomBytesGet"],
        ),
        ("Key Vault Crypto Service Encryption User", &[keys_public, "KeyUnwrap"]),
        ("Key Vault Crypto Service Release User", &[]),
        ("Key Vault Certificates Officer", &[vault_reads]),
        ("Key Vault Certificate User", &["SecretGet", secrets_metadata, keys_public]),
        ("Key Vault Purge Operator", &["VaultListDeleted VaultPurge"]),
        (
            "Key Vault Data Access Administrator",
            &["VaultGet VaultList RoleAssignmentList RoleAssignmentPut RoleAssignmentDelete"],
        ),
        ("Key Vault Contributor", &[vault_reads, vault_writes]),
        ("Valv Administrator", &[vault_reads, vault_writes, all_control]),
    ];
    table
        .into_iter()
        .map(|(name, lists)| (name, lists.iter().flat_map(|list| list.split(' ')).collect()))
        .collect()
}

#[test]
fn every_role_allows_exactly_the_operations_it_should() {
    let expected = expected();
    assert_eq!(expected.len(), BUILT_IN_ROLES.len());
    let secret = ObjectName::parse("db").unwrap();
    for role in BUILT_IN_ROLES {
        let mut vault = vault("vault-one", true);
        vault.assignments.push(assignment(role.id, ANN, Scope::Vault { vault: vault.name.clone() }));
        let registry = Registry {
            assignments: vec![assignment(role.id, ANN, Scope::Deployment)],
            ..Registry::default()
        };
        for spec in OPERATIONS {
            let open = spec.admission == Admission::Anyone;
            let wanted = open || expected[role.name].contains(spec.name);
            let target = Target { vault: Some(&vault), object: object(&secret) };
            for (registry, target) in [(&Registry::default(), target), (&registry, target)] {
                let got = authorize(caller(ANN, &[], false), spec.operation, target, registry).is_ok();
                assert_eq!(got, wanted, "{} {}", role.name, spec.name);
                let got = authorize(caller(BOB, &[ANN], false), spec.operation, target, registry).is_ok();
                assert_eq!(got, wanted, "{} {} as a group", role.name, spec.name);
                assert_eq!(
                    authorize(caller(BOB, &[], false), spec.operation, target, registry).is_ok(),
                    open
                );
            }
            if let Admission::Control { .. } = spec.admission {
                let target = Target { vault: None, object: None };
                let got = authorize(caller(ANN, &[], false), spec.operation, target, &registry).is_ok();
                assert_eq!(got, wanted, "{} {} at the deployment", role.name, spec.name);
                assert!(
                    authorize(caller(ANN, &[], false), spec.operation, target, &Registry::default()).is_err()
                );
            }
        }
    }
}

#[test]
fn role_ids_are_azures_and_no_id_or_name_stands_twice() {
    let ids: BTreeSet<Uuid> = BUILT_IN_ROLES.iter().map(|role| role.id).collect();
    let names: BTreeSet<&str> = BUILT_IN_ROLES.iter().map(|role| role.name).collect();
    assert_eq!((ids.len(), names.len()), (BUILT_IN_ROLES.len(), BUILT_IN_ROLES.len()));
    for (name, id) in [
        ("Key Vault Administrator", "00482a5a-887f-4fb3-b363-3b7fe8e74483"),
        ("Key Vault Reader", "21090545-7ca7-4776-b22c-e363652d74d2"),
        ("Key Vault Secrets Officer", "b86a8fe4-44ce-4948-aee5-eccb2c155cd7"),
        ("Key Vault Secrets User", "4633458b-17de-408a-b874-0445c86b69e6"),
        ("Key Vault Crypto Officer", "14b46e9e-c2b7-41b4-b07b-48a6ebf60603"),
        ("Key Vault Crypto User", "12338af0-0e69-4776-bea7-57ae8d297424"),
        ("Key Vault Crypto Service Encryption User", "e147488a-f6f5-4113-8e2d-b22465e65bf6"),
        ("Key Vault Crypto Service Release User", "08bbd89e-9f13-488c-ac41-acfcb10c90ab"),
        ("Key Vault Certificates Officer", "a4417e6f-fecd-4de8-b567-7b0420556985"),
        ("Key Vault Certificate User", "db79e9a7-68ee-4b58-9aeb-b90e7c24fcba"),
        ("Key Vault Purge Operator", "a68e7c17-0ab2-4c09-9a58-125dae29748c"),
        ("Key Vault Data Access Administrator", "8b54135c-b56d-4d72-a534-26097cfdc8d8"),
        ("Key Vault Contributor", "f25e0fa2-a7c8-4377-a976-54943a77a395"),
    ] {
        assert_eq!(Role::named(&name.to_uppercase()).unwrap().id.to_string(), id);
        assert_eq!(Role::find(id.parse().unwrap()).unwrap().name, name);
    }
    assert!(Role::find(Uuid::nil()).is_none() && Role::named("Owner").is_none());
}

#[test]
fn azure_data_actions_of_keys_and_certificates_are_in_the_right_roles() {
    let allows = |name: &str, action: &str| {
        Role::named(name).unwrap().allows_data_action(&format!("Microsoft.KeyVault/vaults/{action}"))
    };
    for (name, action, expected) in [
        ("Key Vault Crypto User", "keys/SIGN/action", true),
        ("Key Vault Crypto User", "keys/create/action", false),
        ("Key Vault Crypto User", "keys/delete", false),
        ("Key Vault Crypto User", "keys/rng/action", true),
        ("Key Vault Crypto User", "keyrotationpolicies/read", false),
        ("Key Vault Crypto Officer", "keyrotationpolicies/write", true),
        ("Key Vault Crypto Officer", "secrets/getSecret/action", false),
        ("Key Vault Crypto Service Encryption User", "keys/unwrap/action", true),
        ("Key Vault Crypto Service Encryption User", "keys/decrypt/action", false),
        ("Key Vault Reader", "keys/read", true),
        ("Key Vault Reader", "secrets/getSecret/action", false),
        ("Key Vault Certificate User", "keys/read", true),
        ("Key Vault Certificates Officer", "certificatecontacts/write", true),
        ("Key Vault Certificates Officer", "secrets/getSecret/action", false),
        ("Valv Administrator", "secrets/getSecret/action", false),
    ] {
        assert_eq!(allows(name, action), expected, "{name} {action}");
    }
}

#[test]
fn an_assignment_at_one_object_opens_this_object_only() {
    let (db, other) = (ObjectName::parse("db").unwrap(), ObjectName::parse("other").unwrap());
    let mut vault = vault("vault-one", true);
    let scope = Scope::Object {
        vault: vault.name.clone(),
        collection: "secrets".into(),
        name: ObjectName::parse("DB").unwrap(),
    };
    vault.assignments.push(assignment(role("Key Vault Secrets Officer"), ANN, scope));
    let ask = |operation, object| {
        authorize(
            caller(ANN, &[], false),
            operation,
            Target { vault: Some(&vault), object },
            &Registry::default(),
        )
    };
    assert!(ask(Operation::SecretGet, object(&db)).is_ok());
    assert!(ask(Operation::SecretGet, object(&other)).is_err());
    assert!(ask(Operation::SecretList, None).is_err());
    assert!(ask(Operation::VaultGet, object(&db)).is_err(), "the control plane is asked at the vault");
}

#[test]
fn what_is_stored_with_a_vault_never_reaches_another() {
    let db = ObjectName::parse("db").unwrap();
    let (one, mut two) = (vault("vault-one", true), vault("vault-two", true));
    two.assignments.push(assignment(
        role("Key Vault Administrator"),
        ANN,
        Scope::Vault { vault: one.name.clone() },
    ));
    two.assignments.push(assignment(role("Key Vault Administrator"), ANN, Scope::Deployment));
    for vault in [&one, &two] {
        let target = Target { vault: Some(vault), object: object(&db) };
        assert!(
            authorize(caller(ANN, &[], false), Operation::SecretGet, target, &Registry::default()).is_err()
        );
    }
}

#[test]
fn the_permit_says_what_was_permitted() {
    let db = ObjectName::parse("db").unwrap();
    let vault = vault("vault-one", true);
    let registry = Registry {
        assignments: vec![assignment(role("Key Vault Secrets User"), GROUP, Scope::Deployment)],
        ..Registry::default()
    };
    let target = Target { vault: Some(&vault), object: object(&db) };
    let permit = authorize(caller(ANN, &[GROUP], false), Operation::SecretGet, target, &registry).unwrap();
    assert_eq!(permit.operation(), Operation::SecretGet);
    assert_eq!(permit.vault(), Some(&vault.id));
    assert_eq!(permit.object(), Some(&db));
    assert_eq!(permit.caller().principal(), &principal(ANN));
}

/// Azure docs, key-vault/general/rbac-guide: keys/read is enough to encrypt, wrap and verify with asymmetric keys.
#[test]
fn who_reads_keys_by_role_may_use_their_public_half() {
    let key = ObjectName::parse("db").unwrap();
    let mut vault = vault("vault-one", true);
    let ask = |vault: &VaultAccess, operation, name: &str| {
        let object = Some((ObjectType::Key, &key));
        let scope = Scope::Object { vault: vault.name.clone(), collection: "keys".into(), name: key.clone() };
        let mut vault = vault.clone();
        vault.assignments.push(assignment(role(name), ANN, scope));
        let target = Target { vault: Some(&vault), object };
        authorize(caller(ANN, &[], false), operation, target, &Registry::default())
    };
    for (operation, public) in [
        (Operation::KeyEncrypt, true),
        (Operation::KeyWrap, true),
        (Operation::KeyVerify, true),
        (Operation::KeyDecrypt, false),
        (Operation::KeyUnwrap, false),
        (Operation::KeySign, false),
        (Operation::KeyUpdate, false),
    ] {
        let reader = ask(&vault, operation, "Key Vault Certificate User");
        assert_eq!(reader.is_ok_and(|permit| permit.public_half_only()), public, "{operation}");
        let user = ask(&vault, operation, "Key Vault Crypto User").unwrap();
        assert!(!user.public_half_only(), "{operation}");
    }
    assert!(!ask(&vault, Operation::KeyGet, "Key Vault Certificate User").unwrap().public_half_only());
    let permit = ask(&vault, Operation::KeyWrap, "Key Vault Reader").unwrap();
    let refused = ask(&vault, Operation::KeyWrap, "Key Vault Crypto Service Release User").unwrap_err();
    assert_eq!(symmetric_key_forbidden(&permit, &vault), refused, "as if keys/read were missing, too");

    vault.rbac = false;
    vault.policies.push(AccessPolicy {
        object_id: principal(ANN),
        application_id: None,
        secrets: vec![],
        keys: vec!["get".into(), "list".into()],
        certificates: vec![],
    });
    assert!(ask(&vault, Operation::KeyVerify, "Key Vault Reader").is_err(), "a policy's words alone count");
}

#[test]
fn roles_do_not_open_a_policy_vault_and_policies_do_not_open_an_rbac_vault() {
    let db = ObjectName::parse("db").unwrap();
    let everything = AccessPolicy {
        object_id: principal(ANN),
        application_id: None,
        secrets: vec!["all".into()],
        keys: vec![],
        certificates: vec![],
    };
    let registry = Registry {
        assignments: vec![assignment(role("Key Vault Administrator"), ANN, Scope::Deployment)],
        ..Registry::default()
    };
    let ask = |vault: &VaultAccess, registry: &Registry| {
        authorize(
            caller(ANN, &[], false),
            Operation::SecretGet,
            Target { vault: Some(vault), object: object(&db) },
            registry,
        )
    };
    let mut vault = vault("vault-one", false);
    assert!(ask(&vault, &registry).is_err());
    vault.policies.push(everything);
    assert!(ask(&vault, &Registry::default()).is_ok());
    vault.rbac = true;
    assert!(ask(&vault, &Registry::default()).is_err());
}

#[test]
fn policy_words_compare_without_case_and_all_stands_for_each() {
    let db = ObjectName::parse("db").unwrap();
    for spec in OPERATIONS {
        let Admission::Vault { policy, .. } = spec.admission else { continue };
        let ask = |words: &[&str], who: Caller, to: &str| {
            let mut vault = vault("vault-one", false);
            let words = words.iter().map(ToString::to_string).collect();
            let mut policy = AccessPolicy {
                object_id: principal(to),
                application_id: None,
                secrets: vec!["all".into()],
                keys: vec!["all".into()],
                certificates: vec!["all".into()],
            };
            match spec.object {
                ObjectType::Key => policy.keys = words,
                _ => policy.secrets = words,
            }
            vault.policies.push(policy);
            authorize(
                who,
                spec.operation,
                Target { vault: Some(&vault), object: object(&db) },
                &Registry::default(),
            )
            .is_ok()
        };
        assert!(ask(&[&policy.to_uppercase()], caller(ANN, &[], false), ANN), "{}", spec.name);
        assert!(ask(&["ALL"], caller(ANN, &[GROUP], false), GROUP));
        assert!(!ask(&[], caller(ANN, &[], false), ANN), "words of other types do not count");
        assert!(!ask(&["all"], caller(BOB, &[], false), ANN));
        let others = OPERATIONS.iter().filter_map(|other| match other.admission {
            Admission::Vault { policy: word, .. } if word != policy => Some(word),
            _ => None,
        });
        let others: Vec<&str> = others.collect();
        assert!(!ask(&others, caller(ANN, &[], false), ANN), "{}", spec.name);
    }
}

#[test]
fn a_compound_policy_matches_only_that_application_acting_for_a_user() {
    let db = ObjectName::parse("db").unwrap();
    let mut vault = vault("vault-one", false);
    let ask = |vault: &VaultAccess, user| {
        authorize(
            caller(ANN, &[], user),
            Operation::SecretGet,
            Target { vault: Some(vault), object: object(&db) },
            &Registry::default(),
        )
        .is_ok()
    };
    let policy = |application: &str| AccessPolicy {
        object_id: principal(ANN),
        application_id: Some(ClientId::parse(application).unwrap()),
        secrets: vec!["get".into()],
        keys: vec![],
        certificates: vec![],
    };
    vault.policies = vec![policy(APP)];
    assert!(ask(&vault, true));
    assert!(!ask(&vault, false));
    vault.policies = vec![policy(BOB)];
    assert!(!ask(&vault, true));
}

#[test]
fn a_vault_of_another_tenant_refuses_even_the_administrator() {
    let mut vault = vault("vault-one", true);
    vault.tenant = TenantId::parse(BOB).unwrap();
    let registry = Registry {
        assignments: vec![
            assignment(role("Key Vault Administrator"), ANN, Scope::Deployment),
            assignment(role("Valv Administrator"), ANN, Scope::Deployment),
        ],
        ..Registry::default()
    };
    for operation in [Operation::SecretList, Operation::VaultGet] {
        let error = authorize(
            caller(ANN, &[], false),
            operation,
            Target { vault: Some(&vault), object: None },
            &registry,
        )
        .unwrap_err();
        assert_eq!(error.code, ErrorCode::Forbidden);
        assert!(error.message.contains(TENANT), "{error}");
    }
}

#[test]
fn refusals_have_azures_words() {
    let db = ObjectName::parse("db").unwrap();
    let target = |vault, object| Target { vault: Some(vault), object };
    let policy_vault = vault("vault-one", false);
    let error = authorize(
        caller(ANN, &[GROUP, BOB], false),
        Operation::SecretList,
        target(&policy_vault, None),
        &Registry::default(),
    )
    .unwrap_err();
    assert_eq!((error.code, error.inner), (ErrorCode::Forbidden, Some(InnerCode::AccessDenied)));
    assert_eq!(
        error.message,
        "The user, group or application 'appid=aaaaaaaa-0000-0000-0000-000000000001;oid=bbbbbbbb-0000-0000-0000-000000000001;numgroups=2;iss=https://issuer.example/' does not have secrets list permission on key vault 'vault-one;location=swedencentral'. For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125287"
    );
    let rbac_vault = vault("vault-one", true);
    let error = authorize(
        caller(ANN, &[], false),
        Operation::SecretGet,
        target(&rbac_vault, object(&db)),
        &Registry::default(),
    )
    .unwrap_err();
    assert_eq!((error.code, error.inner), (ErrorCode::Forbidden, Some(InnerCode::ForbiddenByRbac)));
    let lines: Vec<&str> = error.message.split("\r\n").collect();
    assert_eq!(lines[0], "Caller is not authorized to perform action on resource.");
    assert_eq!(
        lines[2..],
        [
            "Caller: appid=aaaaaaaa-0000-0000-0000-000000000001;oid=bbbbbbbb-0000-0000-0000-000000000001;iss=https://issuer.example/",
            "Action: 'Microsoft.KeyVault/vaults/secrets/getSecret/action'",
            "Resource: '/providers/microsoft.keyvault/vaults/vault-one/secrets/db'",
            "Assignment: (not found)",
            "DenyAssignmentId: null",
            "DecisionReason: null",
            "Vault: vault-one;location=swedencentral",
        ]
    );
}

#[test]
fn the_data_access_administrator_hands_out_data_roles_only_and_where_it_holds() {
    let vault = vault("vault-one", true);
    let here = Target { vault: Some(&vault), object: None };
    let everywhere = Target { vault: None, object: None };
    let at_vault = Registry {
        assignments: vec![assignment(
            KEY_VAULT_DATA_ACCESS_ADMINISTRATOR,
            ANN,
            Scope::Vault { vault: vault.name.clone() },
        )],
        ..Registry::default()
    };
    let ann = caller(ANN, &[], false);
    for role in BUILT_IN_ROLES {
        let data = !role.data_actions.is_empty();
        assert_eq!(may_assign(&ann, role, here, &at_vault).is_ok(), data, "{}", role.name);
        assert!(may_assign(&ann, role, everywhere, &at_vault).is_err());
        let administrator = Registry {
            assignments: vec![assignment(crate::VALV_ADMINISTRATOR, ANN, Scope::Deployment)],
            ..Registry::default()
        };
        assert!(may_assign(&ann, role, everywhere, &administrator).is_ok());
        assert!(may_assign(&caller(BOB, &[], false), role, here, &administrator).is_err());
    }
}

#[test]
fn changing_the_permission_model_takes_the_right_to_assign_any_role() {
    let vault = vault("vault-one", true);
    for role in BUILT_IN_ROLES {
        let registry = Registry {
            assignments: vec![assignment(role.id, ANN, Scope::Vault { vault: vault.name.clone() })],
            ..Registry::default()
        };
        let may = may_change_permission_model(&caller(ANN, &[], false), &vault, &registry).is_ok();
        assert_eq!(may, role.name == "Valv Administrator", "{}", role.name);
    }
}
