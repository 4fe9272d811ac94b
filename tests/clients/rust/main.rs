//! Everything that `azure_security_keyvault_secrets` and `azure_security_keyvault_keys` offer, and what they make of
//! each answer; and the credentials of `azure_identity` that apply to a service of one's own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a test")]

use std::{env, sync::Arc};

use azure_core::credentials::{Secret, TokenCredential};
use azure_identity::ClientSecretCredential;
use azure_security_keyvault_keys::KeyClient;
use azure_security_keyvault_secrets::SecretClient;

mod cryptography;
mod failover;
mod identity;
mod keys;
mod lists;
mod secrets;

type Failure = Box<dyn std::error::Error>;
type Outcome = Result<(), Failure>;

/// What `dev.env` says.
fn var(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

/// Every value that is stored begins with this, so that the test can look for it in files afterwards.
fn value(word: &str) -> String {
    format!("{}-{word}", var("VALV_PLANT"))
}

/// A credential; no option is needed and none is set.
fn credential(tenant: &str, client: &str, secret: &str) -> Arc<ClientSecretCredential> {
    ClientSecretCredential::new(tenant, client.to_owned(), Secret::new(secret.to_owned()), None).unwrap()
}

fn own_credential() -> Arc<ClientSecretCredential> {
    credential(&var("AZURE_TENANT_ID"), &var("AZURE_CLIENT_ID"), &var("AZURE_CLIENT_SECRET"))
}

fn client(credential: Arc<dyn TokenCredential>) -> SecretClient {
    SecretClient::new(&var("VALV_URL"), credential, None).unwrap()
}

fn key_client(credential: Arc<dyn TokenCredential>) -> KeyClient {
    KeyClient::new(&var("VALV_URL"), credential, None).unwrap()
}

#[tokio::main]
async fn main() -> Outcome {
    if env::var_os("VALV_PHASE").is_some() {
        return failover::through_the_loss_of_a_region().await;
    }
    let mut passed = 0;
    macro_rules! checks {
        ($client:ident: $($module:ident :: $check:ident),* $(,)?) => {
            let vault = $client(own_credential());
            $(
                $module::$check(&vault).await.map_err(|e| format!("{}: {e}", stringify!($check)))?;
                println!("ok {}", stringify!($check));
                passed += 1;
            )*
        };
    }
    checks![client:
        secrets::set_with_everything,
        secrets::versions_stay,
        secrets::update_changes_what_is_named,
        secrets::disabled_is_refused,
        secrets::dates_are_advisory,
        secrets::deleted_can_be_seen_and_recovered,
        secrets::backup_and_restore,
        secrets::what_is_not_there,
        secrets::beyond_the_limits,
        lists::secrets_page_by_page,
        lists::versions_page_by_page,
        lists::deleted_page_by_page,
        identity::a_wrong_secret,
        identity::a_client_without_any_role,
        identity::an_unknown_client,
        identity::a_wrong_tenant,
        identity::managed_identity_of_app_service,
    ];
    checks![key_client:
        keys::create_with_everything,
        keys::every_type_size_and_curve,
        keys::what_no_key_can_be,
        keys::import_of_every_kind,
        keys::versions_stay_and_are_listed,
        keys::update_changes_what_is_named,
        keys::pages_of_keys,
        keys::deleted_can_be_seen_recovered_and_purged,
        keys::backup_and_restore,
        keys::rotation_policy_and_rotation,
        keys::random_bytes,
        keys::what_is_not_there,
        cryptography::encrypt_and_decrypt_with_every_algorithm,
        cryptography::wrap_and_unwrap_with_every_algorithm,
        cryptography::sign_and_verify_with_every_algorithm,
        cryptography::what_does_not_fit_is_refused,
        cryptography::states_of_a_key,
    ];
    println!("passed: {passed} checks");
    Ok(())
}
