use std::{env, sync::Arc};

use azure_core::credentials::TokenCredential;
use azure_identity::{ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId};
use azure_security_keyvault_secrets::SecretClient;
use uuid::Uuid;

use crate::{
    Outcome, client, credential,
    secrets::{get, refused, set},
    value, var,
};

/// A request with this credential must fail with this code of the token service in its words.
async fn fails(credential: Arc<dyn TokenCredential>, code: &str) -> Outcome {
    let outcome = client(credential).get_secret("rs-identity", None).await;
    let words = outcome.err().map(|e| format!("{e} {e:?}")).ok_or("a wrong credential was accepted")?;
    assert!(words.contains(code), "no {code} in: {words}");
    Ok(())
}

pub(crate) async fn a_wrong_secret(vault: &SecretClient) -> Outcome {
    set(vault, "rs-identity", value("identity")).await?;
    let wrong = credential(&var("AZURE_TENANT_ID"), &var("AZURE_CLIENT_ID"), "wrong-secret-of-this-client");
    fails(wrong, "AADSTS7000215").await
}

/// The words have several lines, which this client cannot read in a body: the code comes in a header as well.
pub(crate) async fn a_client_without_any_role(_: &SecretClient) -> Outcome {
    let pair = var("VALV_NOBODY");
    let (id, secret) = pair.split_once(':').ok_or("no secret")?;
    let nobody = client(credential(&var("AZURE_TENANT_ID"), id, secret));
    let forbidden = (403, "Forbidden", Some("ForbiddenByRbac"));
    refused(nobody.get_secret("rs-identity", None).await, forbidden);
    refused(nobody.delete_secret("rs-identity", None).await, forbidden);
    Ok(())
}

pub(crate) async fn an_unknown_client(_: &SecretClient) -> Outcome {
    let stranger = Uuid::new_v4().to_string();
    fails(credential(&var("AZURE_TENANT_ID"), &stranger, &var("AZURE_CLIENT_SECRET")), "AADSTS700016").await
}

pub(crate) async fn a_wrong_tenant(_: &SecretClient) -> Outcome {
    let tenant = Uuid::new_v4().to_string();
    fails(credential(&tenant, &var("AZURE_CLIENT_ID"), &var("AZURE_CLIENT_SECRET")), "AADSTS90002").await
}

/// The credential reads its two variables itself; the test sets them for this program.
pub(crate) async fn managed_identity_of_app_service(_: &SecretClient) -> Outcome {
    assert!(env::var("IDENTITY_ENDPOINT").is_ok() && env::var("IDENTITY_HEADER").is_ok());
    let named = ManagedIdentityCredentialOptions {
        user_assigned_id: Some(UserAssignedId::ClientId(var("AZURE_CLIENT_ID"))),
        ..Default::default()
    };
    for options in [None, Some(named)] {
        let managed = ManagedIdentityCredential::new(options)?;
        assert_eq!(get(&client(managed), "rs-identity", None).await?.value, Some(value("identity")));
    }
    Ok(())
}
