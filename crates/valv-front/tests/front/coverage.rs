//! Every row of the table: without a token 401 and the challenge, without permission 403. A new row is
//! tested from the day it stands in the table.

use valv_model::{Admission, OPERATIONS, Operation, Spec};

use crate::world::{AUTHORITY, RESOURCE, TENANT, World};

const ID: &str = "00000000-0000-4000-8000-0000000000ff";

/// A path of this row, and a body it takes.
fn made_up(spec: &Spec) -> (String, &'static str) {
    let path = spec
        .path
        .replace("{name}", "a")
        .replace("{version?}", "")
        .replace("{vault}", "dev")
        .replace("{principal}", ID)
        .replace("{assignment}", ID)
        .replace("{client}", ID)
        .replace("{tenant}", TENANT);
    assert!(!path.contains('{'), "{}: what stands for {path}?", spec.name);
    let body = match spec.operation {
        Operation::SecretSet | Operation::SecretRestore => r#"{"value":"x"}"#,
        _ => "{}",
    };
    (path, body)
}

fn guarded() -> impl Iterator<Item = &'static Spec> {
    OPERATIONS.iter().filter(|spec| spec.admission != Admission::Anyone)
}

#[tokio::test]
async fn every_operation_challenges_who_brings_no_token() {
    let world = World::new().await;
    let challenge = format!("Bearer authorization=\"{AUTHORITY}/{TENANT}\", resource=\"{RESOURCE}\"");
    for spec in guarded() {
        let (path, body) = made_up(spec);
        for body in ["", body, "no json"] {
            let answer = world.send(spec.method.as_str(), &path, "", body).await.expect(401);
            assert_eq!(answer.header("www-authenticate"), challenge, "{}", spec.name);
            assert_eq!(answer.code(), "Unauthorized");
        }
        let answer = world.send(spec.method.as_str(), &path, "no.real.token", body).await.expect(401);
        assert_eq!(answer.header("www-authenticate"), challenge, "{}", spec.name);
    }
    assert!(world.audit.events().iter().filter(|e| e["operationName"] == "Authentication").count() > 50);
}

#[tokio::test]
async fn every_operation_refuses_who_has_no_permission() {
    let world = World::new().await;
    let (_, token) = world.stranger().await;
    for spec in guarded() {
        let (path, body) = made_up(spec);
        let answer = world.send(spec.method.as_str(), &path, &token, body).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (403, "Forbidden"), "{}", spec.name);
        let event = world.audit.events().pop().unwrap();
        assert_eq!(event["operationName"], spec.name);
        assert_eq!(event["properties"]["httpStatusCode"], 403);
    }
}

#[tokio::test]
async fn an_unknown_path_or_vault_is_told_only_to_who_shows_a_token() {
    let world = World::new().await;
    for path in ["/", "/nothing", "/secrets/a/b/c/d", "/healthz", "/metadata/identity/oauth2/token"] {
        world.send("GET", path, "", "").await.expect(401);
        assert_eq!(world.send("GET", path, &world.admin, "").await.expect(404).code(), "NotFound");
    }
    let wrong = world.send("PATCH", "/secrets", &world.admin, "").await.expect(405);
    assert_eq!((wrong.header("allow"), wrong.code().as_str()), ("GET", "MethodNotAllowed"));
    let elsewhere = |token: &str| {
        let mut request = crate::world::request("GET", "/secrets", token, "");
        request.headers_mut().insert("host", "nobody.vault.localhost:8443".parse().unwrap());
        request
    };
    world.handle(elsewhere("")).await.expect(401);
    assert_eq!(world.handle(elsewhere(&world.admin)).await.expect(404).code(), "VaultNotFound");
}
