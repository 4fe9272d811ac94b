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
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut rows =
        vec![vec!["region".to_owned(), "(this deployment has one; nothing is replicated)".to_owned()]];
    for (name, value) in answer.as_object().into_iter().flatten() {
        rows.push(vec![name.clone(), text(value)]);
    }
    table(&rows);
    Ok(())
}
