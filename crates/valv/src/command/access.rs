//! `valv access`: who may do what.

use http::Method;
use serde_json::{Value, json};

use super::client;
use crate::args::AccessCommand;
use crate::output::{Problem, Result, line, progress, table};
use crate::remote::{Credentials, Remote, segment};

/// Runs one of them.
pub async fn run(command: AccessCommand) -> Result<()> {
    match command {
        AccessCommand::Grant { who, role, vault, object, secrets, keys, target } => {
            let remote = Remote::sign_in(&Credentials::of(&target)?).await?;
            let principal = principal(&remote, &who).await?;
            let answer = match (role, vault) {
                (Some(role), vault) => {
                    let scope = match (&vault, &object) {
                        (None, _) => "/".to_owned(),
                        (Some(vault), None) => format!("/vaults/{vault}"),
                        (Some(vault), Some(object)) => format!("/vaults/{vault}/{object}"),
                    };
                    let body = json!({ "roleDefinition": role, "principalId": principal, "scope": scope });
                    let path = format!("/admin/roleassignments/{}", uuid::Uuid::new_v4());
                    remote.call(Method::PUT, &path, Some(body)).await?
                }
                (None, Some(vault)) if !(secrets.is_empty() && keys.is_empty()) => {
                    let path =
                        format!("/admin/vaults/{}/accesspolicies/{}", segment(&vault), segment(&principal));
                    let body = json!({ "permissions": { "secrets": secrets, "keys": keys } });
                    remote.call(Method::PUT, &path, Some(body)).await?
                }
                _ => {
                    return Err(Problem::usage("nothing to grant")
                        .way_out("name a role with --role, or words with --vault and --secrets or --keys; `valv access grant --help` has examples"));
                }
            };
            let policy_unused = answer["properties"]["enableRbacAuthorization"] == true;
            if target.json {
                line(answer)
            } else {
                line(format!("Granted to {who} ({principal})."))
            }
            if policy_unused {
                progress(
                    "This vault uses roles, so that its access policies decide nothing; grant a role with --role.",
                );
            }
        }
        AccessCommand::Revoke { who, vault, target } => {
            let remote = Remote::sign_in(&Credentials::of(&target)?).await?;
            let path = match &vault {
                Some(vault) => {
                    let principal = principal(&remote, &who).await?;
                    format!("/admin/vaults/{}/accesspolicies/{}", segment(vault), segment(&principal))
                }
                None => format!("/admin/roleassignments/{}", segment(&who)),
            };
            remote.call(Method::DELETE, &path, None).await?;
            line(format!("Revoked {who}."));
        }
        AccessCommand::List { target } => {
            let remote = Remote::sign_in(&Credentials::of(&target)?).await?;
            let assignments = remote.call(Method::GET, "/admin/roleassignments", None).await?;
            let vaults = remote.call(Method::GET, "/admin/vaults", None).await?;
            if target.json {
                line(json!({ "roleAssignments": assignments["value"], "vaults": vaults["value"] }));
            } else {
                let clients = remote.call(Method::GET, "/admin/clients", None).await?;
                list(&assignments, &vaults, &clients);
            }
        }
    }
    Ok(())
}

/// A client's object id by its name or id; any other object id (a user, a group) as it is.
async fn principal(remote: &Remote, who: &str) -> Result<String> {
    match client::find(remote, who).await {
        Ok(found) => Ok(found.principal),
        Err(_) if uuid::Uuid::parse_str(who).is_ok() => Ok(who.to_owned()),
        Err(problem) => Err(problem),
    }
}

fn list(assignments: &Value, vaults: &Value, clients: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let who = |principal: &Value| {
        let client = clients["value"].as_array().into_iter().flatten().find(|c| c["objectId"] == *principal);
        client
            .map_or_else(|| text(principal), |c| format!("{} ({})", text(&c["displayName"]), text(principal)))
    };
    let mut rows = vec![["WHO", "MAY", "WHERE", "ID"].map(str::to_owned).to_vec()];
    for a in assignments["value"].as_array().into_iter().flatten() {
        rows.push(vec![
            who(&a["principalId"]),
            text(&a["roleDefinitionName"]),
            text(&a["scope"]),
            text(&a["name"]),
        ]);
    }
    for vault in vaults["value"].as_array().into_iter().flatten() {
        for policy in vault["properties"]["accessPolicies"].as_array().into_iter().flatten() {
            let words = ["secrets", "keys", "certificates"].into_iter().filter_map(|kind| {
                let words = policy["permissions"][kind].as_array()?.iter().filter_map(Value::as_str);
                let words: Vec<&str> = words.collect();
                (!words.is_empty()).then(|| format!("{kind}: {}", words.join(",")))
            });
            let what = words.collect::<Vec<_>>().join("; ");
            rows.push(vec![
                who(&policy["objectId"]),
                what,
                format!("/vaults/{}", text(&vault["name"])),
                "(policy)".into(),
            ]);
        }
    }
    table(&rows);
}
