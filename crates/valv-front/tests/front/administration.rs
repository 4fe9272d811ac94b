//! Administration, and the access it gives (docs/admin-api.md).

use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{RESOURCE, TENANT, World};

#[tokio::test]
async fn a_vault_from_its_making_to_its_purge() {
    let world = World::new().await;
    let admin = &world.admin;
    let body = json!({"tags": {"team": "a"}, "properties": {"softDeleteRetentionInDays": 7, "enableRbacAuthorization": false}});
    let made = world.send("PUT", "/admin/vaults/Team-A", admin, body.to_string()).await.expect(200).json();
    assert_eq!((&made["name"], &made["location"]), (&json!("team-a"), &json!("eastus")));
    let properties = &made["properties"];
    assert_eq!(properties["vaultUri"], "https://team-a.vault.localhost:8443/");
    assert_eq!(
        (&properties["tenantId"], &properties["softDeleteRetentionInDays"]),
        (&json!(TENANT), &json!(7))
    );
    assert!(properties.get("enablePurgeProtection").is_none());
    let (object, token) = world.stranger().await;
    let policy = format!("/admin/vaults/team-a/accesspolicies/{object}");
    let words = json!({"permissions": {"secrets": ["get", "list"]}}).to_string();
    let with = world.send("PUT", &policy, admin, words).await.expect(200).json();
    assert_eq!(with["properties"]["accessPolicies"][0]["permissions"]["secrets"], json!(["get", "list"]));

    let list = async |token: &str| {
        let mut request = crate::world::request("GET", "/secrets", token, "");
        request.headers_mut().insert("host", "team-a.vault.localhost:8443".parse().unwrap());
        world.handle(request).await
    };
    list(&token).await.expect(200);
    world.send("DELETE", &policy, admin, "").await.expect(204);
    list(&token).await.expect(403);

    let names = async |path: &str| -> Vec<String> {
        let all = world.send("GET", path, admin, "").await.expect(200).json();
        all["value"].as_array().unwrap().iter().map(|v| v["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("/admin/vaults").await, ["dev", "team-a"]);
    world.send("POST", "/admin/vaults/team-a/datakey/rotate", admin, "").await.expect(200);
    world.send("DELETE", "/admin/vaults/team-a", admin, "").await.expect(200);
    assert_eq!(list(admin).await.expect(404).code(), "VaultNotFound");
    let deleted = world.send("GET", "/admin/deletedvaults", admin, "").await.expect(200).json();
    assert!(deleted["value"][0]["properties"]["scheduledPurgeDate"].as_str().unwrap().ends_with('Z'));
    world.send("PUT", "/admin/vaults/team-a", admin, "").await.expect(409);
    world.send("POST", "/admin/deletedvaults/team-a/recover", admin, "").await.expect(200);
    world.send("DELETE", "/admin/vaults/team-a", admin, "").await.expect(200);
    world.send("DELETE", "/admin/deletedvaults/team-a", admin, "").await.expect(204);
    world.send("GET", "/admin/vaults/team-a", admin, "").await.expect(404);
    world.send("PUT", "/admin/vaults/no--name", admin, "").await.expect(400);
}

#[tokio::test]
async fn a_role_is_given_and_taken_away() {
    let world = World::new().await;
    let (object, token) = world.stranger().await;
    let path = format!("/admin/roleassignments/{}", Uuid::new_v4());
    world.send("PUT", "/secrets/a", &world.admin, r#"{"value":"x"}"#).await.expect(200);
    world.send("GET", "/secrets/a", &token, "").await.expect(403);
    let body = json!({"roleDefinition": "key vault secrets user", "principalId": object, "scope": "/vaults/dev/secrets/a"});
    let put = world.send("PUT", &path, &world.admin, body.to_string()).await.expect(200).json();
    assert_eq!(put["roleDefinitionName"], "Key Vault Secrets User");
    assert_eq!(put["scope"], "/vaults/dev/secrets/a");
    world.send("GET", "/secrets/a", &token, "").await.expect(200);
    world.send("GET", "/secrets", &token, "").await.expect(403);
    world.send("PUT", "/secrets/a", &token, r#"{"value":"y"}"#).await.expect(403);
    let all = world.send("GET", "/admin/roleassignments", &world.admin, "").await.expect(200).json();
    assert_eq!(all["value"].as_array().unwrap().iter().filter(|a| a["principalId"] == object).count(), 1);
    world.send("DELETE", &path, &world.admin, "").await.expect(204);
    world.send("GET", "/secrets/a", &token, "").await.expect(403);
    for (bad, part) in [
        (json!({"roleDefinition": "King", "principalId": object, "scope": "/"}), "There is no role 'King'"),
        (json!({"roleDefinition": "Key Vault Reader", "principalId": "x", "scope": "/"}), "object id"),
        (json!({"roleDefinition": "Key Vault Reader", "principalId": object, "scope": "x"}), "The scope 'x'"),
        (json!({"principalId": object}), "'roleDefinition'"),
    ] {
        let refused = world.send("PUT", &path, &world.admin, bad.to_string()).await.expect(400).json();
        assert!(refused["error"]["message"].as_str().unwrap().contains(part), "{refused}");
    }
    world.send("PUT", "/admin/roleassignments/x", &world.admin, body.to_string()).await.expect(400);
}

#[tokio::test]
async fn who_may_administer_something_cannot_let_itself_in_further() {
    let world = World::new().await;
    let give = async |by: &str, role: &str, to: &str| {
        let path = format!("/admin/roleassignments/{}", Uuid::new_v4());
        let body = json!({"roleDefinition": role, "principalId": to, "scope": "/"});
        (world.send("PUT", &path, by, body.to_string()).await, path)
    };
    let (object, token) = world.stranger().await;
    give(&world.admin, "Key Vault Data Access Administrator", &object).await.0.expect(200);
    for role in ["Valv Administrator", "Key Vault Contributor", "Key Vault Data Access Administrator"] {
        assert_eq!(give(&token, role, &object).await.0.expect(403).code(), "Forbidden");
    }
    let (answer, reader) = give(&token, "Key Vault Reader", &object).await;
    answer.expect(200);
    world.send("DELETE", &reader, &token, "").await.expect(204);
    world
        .send("DELETE", "/admin/roleassignments/00000000-0000-4000-8000-000000000001", &token, "")
        .await
        .expect(204);
    let (answer, contributor) = give(&world.admin, "Key Vault Contributor", &object).await;
    answer.expect(200);
    world.send("DELETE", &contributor, &token, "").await.expect(403);

    let policies = json!({"properties": {"enableRbacAuthorization": false}}).to_string();
    let roles = json!({"properties": {"enableRbacAuthorization": true}}).to_string();
    world.send("PUT", "/admin/vaults/dev", &token, roles).await.expect(200);
    world.send("PUT", "/admin/vaults/dev", &token, policies.clone()).await.expect(403);
    world.send("PUT", "/admin/vaults/mine", &token, policies.clone()).await.expect(200);
    world.send("PUT", "/admin/vaults/dev", &world.admin, policies).await.expect(200);
}

#[tokio::test]
async fn a_client_gets_its_secret_once_and_its_tokens_end_with_it() {
    let world = World::new().await;
    let path = format!("/admin/clients/{}", Uuid::new_v4());
    let body = json!({"displayName": "app", "generateSecret": true}).to_string();
    let made = world.send("PUT", &path, &world.admin, body).await.expect(200).json();
    let secret = made["secret"].as_str().unwrap();
    let token = world.token(made["clientId"].as_str().unwrap(), secret).await;
    world.send("GET", "/secrets", &token, "").await.expect(403);
    let list = world.send("GET", "/admin/clients", &world.admin, "").await.expect(200);
    assert!(!String::from_utf8_lossy(&list.body).contains(secret));
    assert!(list.json()["value"].as_array().unwrap().iter().any(|c| c["displayName"] == "app"));
    world.send("DELETE", &path, &world.admin, "").await.expect(204);
    world.send("GET", "/secrets", &token, "").await.expect(401);
    assert!(!world.audit.text().contains(secret));
}

#[tokio::test]
async fn status_and_root_key() {
    let world = World::new().await;
    let status = world.send("GET", "/admin/status", &world.admin, "").await.expect(200).json();
    assert_eq!(
        status["regions"][0],
        json!({"name": "eastus", "mode": "Serve", "available": true, "reason": null})
    );
    let rotated = world.send("POST", "/admin/rootkey/rotate", &world.admin, "").await.expect(200).json();
    assert!(rotated["vaultsChanged"].is_u64());
}

#[tokio::test]
async fn the_token_service_answers_in_its_own_form() {
    let world = World::new().await;
    let get = async |path: String, header: Option<(&str, String)>| {
        let mut request = Request::get(path).header("host", "login.vault.localhost:8443");
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        world.handle(request.body(Full::default()).unwrap()).await
    };
    let document =
        get(format!("/{TENANT}/v2.0/.well-known/openid-configuration"), None).await.expect(200).json();
    assert!(document["token_endpoint"].as_str().unwrap().ends_with(&format!("/{TENANT}/oauth2/v2.0/token")));
    assert!(
        !get(format!("/{TENANT}/discovery/v2.0/keys"), None).await.expect(200).json()["keys"][0]["kid"]
            .is_null()
    );
    get("/common/discovery/instance?api-version=1.1".into(), None).await.expect(200);
    let unknown =
        get(format!("/{}/v2.0/.well-known/openid-configuration", Uuid::new_v4()), None).await.expect(400);
    assert_eq!(unknown.json()["error"], "invalid_tenant");

    let request =
        Request::post(format!("/{TENANT}/oauth2/v2.0/token?client-request-id=x")).header("host", "a");
    let form = format!(
        "grant_type=client_credentials&client_id={}&client_secret=hunter2&scope={RESOURCE}/.default",
        world.admin_id.0
    );
    let refused = world.handle(request.body(Full::from(form)).unwrap()).await.expect(401);
    assert_eq!(refused.json()["error"], "invalid_client");
    assert_eq!((refused.header("www-authenticate"), refused.header("x-ms-error-code")), ("", ""));
    let event = world.audit.events().pop().unwrap();
    assert_eq!((&event["operationName"], &event["resultType"]), (&json!("TokenIssue"), &json!("Failure")));
    assert!(!world.audit.text().contains("hunter2"));

    let path = format!("/msi/token?api-version=2019-08-01&resource={RESOURCE}");
    let header = format!("{}:{}", world.admin_id.0, world.admin_id.1);
    let granted = get(path, Some(("x-identity-header", header))).await.expect(200).json();
    assert!(granted["expires_on"].is_string(), "{granted}");
    assert_ne!(granted["access_token"], Value::Null);
    assert_eq!(world.audit.events().pop().unwrap()["identity"]["claim"]["appid"], json!(world.admin_id.0));
}
