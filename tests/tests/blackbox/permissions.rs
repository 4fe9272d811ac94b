//! What clients with less than every right see: roles, access policies, purge protection, through real SDKs.

use serde_json::json;
use valv_tests::{Api, Dev, clients};

use crate::{client, plant, stop_and_scan};

async fn assign(admin: &Api, role: &str, principal: &str, scope: &str) {
    let body = json!({ "roleDefinition": role, "principalId": principal, "scope": scope });
    let path = format!("/admin/roleassignments/{}", uuid::Uuid::new_v4());
    admin.send("PUT", &path, Some(body)).await.expect(200);
}

#[tokio::test]
async fn permissions() {
    let dev = Dev::start();
    let (admin, plant) = (dev.api().await, plant());
    let nobody = client(&admin, "nobody").await;
    let user = client(&admin, "user").await;
    let single = client(&admin, "single").await;
    let officer = client(&admin, "officer").await;
    for (vault, properties) in [
        ("protected", json!({ "softDeleteRetentionInDays": 7, "enablePurgeProtection": true })),
        ("policies", json!({ "enableRbacAuthorization": false })),
    ] {
        let body = json!({ "properties": properties });
        admin.send("PUT", &format!("/admin/vaults/{vault}"), Some(body)).await.expect(200);
    }
    assign(&admin, "Key Vault Secrets User", &user.principal, "/vaults/dev").await;
    assign(&admin, "Key Vault Secrets User", &single.principal, "/vaults/dev/secrets/pe-one").await;
    assign(&admin, "Key Vault Secrets Officer", &officer.principal, "/vaults/protected").await;
    let path = format!("/admin/vaults/policies/accesspolicies/{}", user.principal);
    let words = json!({ "permissions": { "secrets": ["get", "set", "delete"] } });
    admin.send("PUT", &path, Some(words)).await.expect(200);

    let mut variables = vec![("VALV_PLANT".to_owned(), plant.clone())];
    for (name, client) in [("NOBODY", &nobody), ("USER", &user), ("SINGLE", &single), ("OFFICER", &officer)] {
        variables.push((format!("VALV_{name}"), client.pair()));
    }
    let variables: Vec<(&str, &str)> = variables.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    clients::python(&dev, "check_permissions.py", &variables);

    let secrets = [&nobody, &user, &single, &officer].map(|client| client.secret.clone());
    drop(admin);
    let mut needles = vec![plant.as_str()];
    needles.extend(secrets.iter().map(String::as_str));
    stop_and_scan(dev, &needles);
}
