//! `valv status`.

use http::Method;
use serde_json::Value;

use crate::args::Target;
use crate::output::{Result, line, table};
use crate::remote::{Credentials, Remote};

/// The latest changes of mode that are shown; all with `--json`.
const CHANGES: usize = 10;

/// Asks a node and shows what it says.
pub async fn run(target: &Target) -> Result<()> {
    let credentials = Credentials::of(target)?;
    let remote = Remote::sign_in(&credentials).await?;
    let answer = remote.call(Method::GET, "/admin/status", None).await?;
    if target.json {
        line(answer);
        return Ok(());
    }
    line(format!(
        "Valv {} at {} (tenant {}), as seen from {}\n",
        text(&answer["version"]),
        text(&answer["domain"]),
        text(&answer["tenant"]),
        text(&answer["region"])
    ));
    let regions = answer["regions"].as_array().map_or(&[][..], Vec::as_slice);
    table(&region_rows(regions));
    if regions.iter().any(|region| !region["nodes"].is_null()) {
        line("");
        table(&node_rows(regions));
    }
    let copies = copy_rows(&answer);
    if copies.len() > 1 {
        line("");
        table(&copies);
    }
    let warnings: Vec<&str> = strings(&answer["warnings"]).collect();
    if !warnings.is_empty() {
        line("");
        for warning in warnings {
            line(format!("Warning: {warning}."));
        }
    } else if regions.len() == 1 {
        line("\nOne region: its content is not replicated.");
    }
    let changes = answer["history"].as_array().map_or(&[][..], Vec::as_slice);
    if !changes.is_empty() {
        line(format!("\nLast changes of mode, as {} saw them:", text(&answer["region"])));
        table(&changes.iter().take(CHANGES).map(change_row).collect::<Vec<_>>());
    }
    Ok(())
}

fn region_rows(regions: &[Value]) -> Vec<Vec<String>> {
    let mut rows = vec![["REGION", "MODE", "STATE", "PAIR"].map(str::to_owned).to_vec()];
    for region in regions {
        let state = match (&region["health"], &region["available"]) {
            (Value::String(health), _) => health.clone(),
            (_, Value::Bool(true)) => "available".to_owned(),
            _ => text(&region["reason"]),
        };
        rows.push(vec![text(&region["name"]), text(&region["mode"]), state, text(&region["pair"])]);
    }
    rows
}

fn node_rows(regions: &[Value]) -> Vec<Vec<String>> {
    let mut rows =
        vec![["NODE", "REGION", "ANSWERS", "SERVES AS HOME", "COPIES"].map(str::to_owned).to_vec()];
    for region in regions {
        for node in region["nodes"].as_array().into_iter().flatten() {
            let name = node["address"].as_str().unwrap_or("(who answers)").to_owned();
            let copies: Vec<&str> = strings(&node["replicas"]).collect();
            rows.push(vec![
                name,
                text(&region["name"]),
                answers(node),
                yes(&node["home"]),
                copies.join(", "),
            ]);
        }
    }
    rows
}

/// Copies everywhere: in the store of the node that answers, and what the others last said of theirs.
fn copy_rows(answer: &Value) -> Vec<Vec<String>> {
    let mut rows = vec![["COPY OF", "IN", "STATE", "LAG", "BEHIND"].map(str::to_owned).to_vec()];
    let mut add = |copy: &Value, place: &str, age: u64| {
        let state = match copy["reason"].as_str() {
            Some(reason) => format!("{}: {reason}", text(&copy["state"])),
            None => text(&copy["state"]),
        };
        let lag =
            copy["lagMs"].as_u64().map_or("-".to_owned(), |ms| format!("{} ms", ms.saturating_add(age)));
        let behind = copy["behindCommits"].as_u64().map_or("-".to_owned(), |n| format!("{n} commits"));
        rows.push(vec![text(&copy["group"]), place.to_owned(), state, lag, behind]);
    };
    for copy in answer["replicas"].as_array().into_iter().flatten() {
        add(copy, &text(&answer["region"]), 0);
    }
    for region in answer["regions"].as_array().into_iter().flatten() {
        for node in region["nodes"].as_array().into_iter().flatten() {
            // What a node said some time ago has grown older since.
            let age = node["answeredMsAgo"].as_u64().unwrap_or(0);
            for copy in node["copies"].as_array().into_iter().flatten() {
                add(copy, &text(&region["name"]), age);
            }
        }
    }
    rows
}

fn answers(node: &Value) -> String {
    match (&node["alive"], node["failure"].as_str()) {
        (Value::Bool(false), Some(failure)) => format!("no: {failure}"),
        (alive, _) => yes(alive),
    }
}

fn yes(value: &Value) -> String {
    if value.as_bool() == Some(true) { "yes" } else { "no" }.to_owned()
}

fn change_row(change: &Value) -> Vec<String> {
    let at = change["atMs"]
        .as_i64()
        .and_then(|ms| time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok());
    let at = at.map_or("-".to_owned(), |at| {
        let (h, m, s, ms) = at.to_hms_milli();
        format!("{} {h:02}:{m:02}:{s:02}.{ms:03}Z", at.date())
    });
    let passage = format!("{} -> {}", text(&change["from"]), text(&change["to"]));
    vec![at, text(&change["region"]), passage, text(&change["why"])]
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pair_one_region_of_which_is_lost_is_shown_in_tables() {
        let regions = [
            json!({ "name": "eastus", "pair": "westus", "mode": "ServeReadOnly", "health": "unavailable", "nodes": [
                { "address": "127.0.0.1:1", "alive": false, "home": false, "replicas": [], "failure": "connection refused" },
            ] }),
            json!({ "name": "westus", "pair": "eastus", "mode": "Serve", "health": "available", "nodes": [
                { "here": true, "alive": true, "home": true },
            ] }),
        ];
        assert_eq!(region_rows(&regions)[1], ["eastus", "ServeReadOnly", "unavailable", "westus"]);
        let rows = node_rows(&regions);
        assert_eq!(rows[1], ["127.0.0.1:1", "eastus", "no: connection refused", "no", ""]);
        assert_eq!(rows[2][..4], ["(who answers)", "westus", "yes", "yes"]);
        let answer = json!({
            "region": "westus",
            "replicas": [{ "group": "$system", "lagMs": 40, "behindCommits": 0, "state": "unreachable", "reason": "refused" }],
            "regions": [{ "name": "eastus", "nodes": [{ "answeredMsAgo": 1000, "copies": [
                { "group": "westus", "lagMs": 30, "behindCommits": 3, "state": "following" },
            ] }] }],
        });
        let rows = copy_rows(&answer);
        assert_eq!(rows[1], ["$system", "westus", "unreachable: refused", "40 ms", "0 commits"]);
        assert_eq!(rows[2], ["westus", "eastus", "following", "1030 ms", "3 commits"]);
        let change = json!({ "atMs": 1_700_000_000_123_i64, "region": "eastus", "from": "available", "to": "unavailable", "why": "w" });
        assert_eq!(
            change_row(&change),
            ["2023-11-14 22:13:20.123Z", "eastus", "available -> unavailable", "w"]
        );
    }

    #[test]
    fn a_node_of_one_region_says_less_and_is_shown_too() {
        let regions = [json!({ "name": "eastus", "mode": "Serve", "available": false, "reason": "away" })];
        assert_eq!(region_rows(&regions)[1], ["eastus", "Serve", "away", "-"]);
    }
}
