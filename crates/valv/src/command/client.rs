//! `valv client`: registered clients.

use http::Method;
use serde_json::{Value, json};

use crate::args::ClientCommand;
use crate::output::{Problem, Result, line, table};
use crate::remote::{Credentials, Remote, segment};

/// Runs one of them.
pub async fn run(command: ClientCommand) -> Result<()> {
    match command {
        ClientCommand::Add { name, to, expires_in_days, target } => {
            let remote = Remote::sign_in(&Credentials::of(&target)?).await?;
            let id = to.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
            let mut body = json!({ "displayName": name, "generateSecret": true });
            if let Some(days) = expires_in_days {
                let now =
                    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
                body["expires"] = json!(now.as_secs() + u64::from(days) * 86_400);
            }
            let answer =
                remote.call(Method::PUT, &format!("/admin/clients/{}", segment(&id)), Some(body)).await?;
            if target.json {
                line(answer);
            } else {
                let text = |name: &str| answer[name].as_str().unwrap_or("-").to_owned();
                line(format!("export AZURE_CLIENT_ID='{}'", text("clientId")));
                line(format!("export AZURE_CLIENT_SECRET='{}'", text("secret")));
                line(format!(
                    "# object id {}; the secret is not shown again. It may do nothing yet:",
                    text("objectId")
                ));
                line(format!("# valv access grant {name} --role \"Key Vault Secrets User\" --vault NAME"));
            }
        }
        ClientCommand::List { target } => {
            let remote = Remote::sign_in(&Credentials::of(&target)?).await?;
            let answer = remote.call(Method::GET, "/admin/clients", None).await?;
            if target.json {
                line(answer);
                return Ok(());
            }
            let heading = ["NAME", "CLIENT ID", "OBJECT ID", "SECRETS"].map(str::to_owned).to_vec();
            let row = |c: &Value| {
                let text = |name: &str| c[name].as_str().unwrap_or("-").to_owned();
                let secrets = c["secrets"].as_array().map_or(0, Vec::len).to_string();
                vec![text("displayName"), text("clientId"), text("objectId"), secrets]
            };
            let rows = answer["value"].as_array().into_iter().flatten().map(row);
            table(&std::iter::once(heading).chain(rows).collect::<Vec<_>>());
        }
        ClientCommand::Remove { client, target } => {
            let remote = Remote::sign_in(&Credentials::of(&target)?).await?;
            let found = find(&remote, &client).await?;
            remote.call(Method::DELETE, &format!("/admin/clients/{}", segment(&found.client)), None).await?;
            line(format!("Client {client} is removed; its tokens no longer work."));
        }
    }
    Ok(())
}

/// A client's ids.
pub struct Found {
    pub client: String,
    pub principal: String,
}

/// A client by id, object id or name; a name must be the name of one client only.
pub async fn find(remote: &Remote, who: &str) -> Result<Found> {
    let answer = remote.call(Method::GET, "/admin/clients", None).await?;
    let matches = |c: &&Value| {
        ["clientId", "objectId"].iter().any(|id| c[id].as_str().is_some_and(|t| t.eq_ignore_ascii_case(who)))
            || c["displayName"] == who
    };
    let found: Vec<&Value> = answer["value"].as_array().into_iter().flatten().filter(matches).collect();
    let text = |c: &Value, name: &str| c[name].as_str().unwrap_or_default().to_owned();
    match found.as_slice() {
        [one] => Ok(Found { client: text(one, "clientId"), principal: text(one, "objectId") }),
        [] => {
            Err(Problem::usage(format!("no client is called '{who}'")).way_out("valv client list shows all"))
        }
        many => Err(Problem::usage(format!("{} clients are called '{who}'", many.len()))
            .way_out("name one by its id; valv client list shows them")),
    }
}
