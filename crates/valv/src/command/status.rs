//! `valv status`.

use http::Method;
use serde_json::Value;

use crate::args::Target;
use crate::output::{Result, line, table};
use crate::remote::{Credentials, Remote};

/// Asks a node and shows what it says.
pub async fn run(target: &Target) -> Result<()> {
    let credentials = Credentials::of(target)?;
    let remote = Remote::sign_in(&credentials).await?;
    let answer = remote.call(Method::GET, "/admin/status", None).await?;
    if target.json {
        line(answer);
        return Ok(());
    }
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    line(format!(
        "Valv {} at {} (tenant {})\n",
        text(&answer["version"]),
        text(&answer["domain"]),
        text(&answer["tenant"])
    ));
    let mut rows = vec![["REGION", "MODE", "STORE"].map(str::to_owned).to_vec()];
    for region in answer["regions"].as_array().into_iter().flatten() {
        let store = if region["available"] == true { "answers".to_owned() } else { text(&region["reason"]) };
        rows.push(vec![text(&region["name"]), text(&region["mode"]), store]);
    }
    table(&rows);
    line("\nOne region: its content is not replicated.");
    Ok(())
}
