//! `valv vault`: administration of vaults.

use http::Method;
use serde_json::{Value, json};

use crate::args::VaultCommand;
use crate::output::{Result, line, table};
use crate::remote::{Credentials, Remote, segment};

/// Runs one of them.
pub async fn run(command: VaultCommand) -> Result<()> {
    use VaultCommand as C;
    let (target, method, path, body) = match &command {
        C::Create { name, retention_days, purge_protection, access_policies, target } => {
            let mut properties = serde_json::Map::new();
            if let Some(days) = retention_days {
                properties.insert("softDeleteRetentionInDays".into(), json!(days));
            }
            if *purge_protection {
                properties.insert("enablePurgeProtection".into(), json!(true));
            }
            if *access_policies {
                properties.insert("enableRbacAuthorization".into(), json!(false));
            }
            let body = json!({ "properties": properties });
            (target, Method::PUT, format!("/admin/vaults/{}", segment(name)), Some(body))
        }
        C::List { deleted: false, target } => (target, Method::GET, "/admin/vaults".to_owned(), None),
        C::List { deleted: true, target } => (target, Method::GET, "/admin/deletedvaults".to_owned(), None),
        C::Show { name, target } => (target, Method::GET, format!("/admin/vaults/{}", segment(name)), None),
        C::Delete { name, target } => {
            (target, Method::DELETE, format!("/admin/vaults/{}", segment(name)), None)
        }
        C::Recover { name, target } => {
            (target, Method::POST, format!("/admin/deletedvaults/{}/recover", segment(name)), None)
        }
        C::Purge { name, target } => {
            (target, Method::DELETE, format!("/admin/deletedvaults/{}", segment(name)), None)
        }
    };
    let remote = Remote::sign_in(&Credentials::of(target)?).await?;
    let answer = remote.call(method, &path, body).await?;
    if target.json {
        if !answer.is_null() {
            line(answer);
        }
        return Ok(());
    }
    match &command {
        C::List { deleted: true, .. } => list_deleted(&answer),
        C::List { .. } => list(&answer),
        C::Create { .. } | C::Show { .. } | C::Recover { .. } => show(&answer),
        C::Delete { name, .. } => {
            line(format!("Vault {name} is deleted and can be recovered: valv vault recover {name}"))
        }
        C::Purge { name, .. } => line(format!("Vault {name} is gone for good.")),
    }
    Ok(())
}

fn list(answer: &Value) {
    let heading =
        ["NAME", "REGION", "ACCESS", "RETENTION", "PURGE PROTECTION", "URI"].map(str::to_owned).to_vec();
    let row = |vault: &Value| {
        let (_, cells) = describe(vault);
        cells
    };
    let rows = answer["value"].as_array().into_iter().flatten().map(row);
    table(&std::iter::once(heading).chain(rows).collect::<Vec<_>>());
}

fn list_deleted(answer: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let heading = ["NAME", "REGION", "DELETED", "PURGED BY ITSELF", "PURGE PROTECTION"];
    let row = |vault: &Value| {
        let properties = &vault["properties"];
        let protected = if properties["purgeProtectionEnabled"] == json!(true) { "on" } else { "off" };
        vec![
            text(&vault["name"]),
            text(&properties["location"]),
            text(&properties["deletionDate"]),
            text(&properties["scheduledPurgeDate"]),
            protected.to_owned(),
        ]
    };
    let rows = answer["value"].as_array().into_iter().flatten().map(row);
    table(&std::iter::once(heading.map(str::to_owned).to_vec()).chain(rows).collect::<Vec<_>>());
}

fn show(vault: &Value) {
    let (names, cells) = describe(vault);
    table(&names.into_iter().zip(cells).map(|(name, cell)| vec![name.to_owned(), cell]).collect::<Vec<_>>());
}

fn describe(vault: &Value) -> ([&'static str; 6], Vec<String>) {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let properties = &vault["properties"];
    let access =
        if properties["enableRbacAuthorization"] == json!(false) { "access policies" } else { "roles" };
    let protected = if properties["enablePurgeProtection"] == json!(true) { "on" } else { "off" };
    let cells = vec![
        text(&vault["name"]),
        text(&vault["location"]),
        access.to_owned(),
        format!("{} days", properties["softDeleteRetentionInDays"]),
        protected.to_owned(),
        text(&properties["vaultUri"]),
    ];
    (["name", "region", "access", "retention", "purge protection", "uri"], cells)
}
