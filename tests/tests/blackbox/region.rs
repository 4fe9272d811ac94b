//! A region of `valv dev` that is taken away, given back, lost with its store, and rebuilt.

use std::{fs, process::Command};

use serde_json::json;
use valv_tests::{Api, Dev, until, valv};

/// Runs the program in the folder above the deployment's: exit code, and what it said.
fn run(dev: &Dev, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(valv()).args(arguments).current_dir(dev.root()).output().expect("valv runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned())
}

fn done(dev: &Dev, arguments: &[&str]) -> String {
    let (code, said) = run(dev, arguments);
    assert_eq!(code, 0, "{arguments:?}: {said}");
    said
}

/// Sends until the status is the wanted one.
async fn becomes(api: &Api, method: &str, body: Option<serde_json::Value>, wanted: u16) -> Option<String> {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let answer = api.send(method, "/secrets/kept", body.clone()).await;
        if answer.status == wanted {
            return answer.header("x-ms-keyvault-region").map(str::to_owned);
        }
        assert!(std::time::Instant::now() < deadline, "{method}: {} instead of {wanted}", answer.status);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_fails_and_heals_and_a_home_that_returns_empty_is_rebuilt_from_its_pair() {
    let dev = Dev::start();
    let api = dev.api().await;
    api.send("PUT", "/secrets/kept", Some(json!({ "value": "one" }))).await.expect(200);

    let region = |word: &str| done(&dev, &["region", word, "eastus", "--dir", "dev"]);
    assert!(region("fail").contains("eastus is killed"));
    assert!(region("fail").contains("away already"), "twice does no harm");
    let (code, said) = run(&dev, &["region", "fail", "northeurope", "--dir", "dev"]);
    assert!(code != 0 && said.contains("the regions are eastus, westus"), "{said}");
    assert_eq!(becomes(&api, "GET", None, 200).await.as_deref(), Some("westus"));
    becomes(&api, "PUT", Some(json!({ "value": "no" })), 503).await;
    until("the pair to have noticed", || {
        let status = done(&dev, &["status", "--dir", "dev"]);
        (status.contains("ServeReadOnly") && status.contains("unavailable")).then_some(())
    });

    assert!(region("heal").contains("eastus is started"));
    assert!(region("heal").contains("eastus runs"), "twice does no harm");
    becomes(&api, "PUT", Some(json!({ "value": "two" })), 200).await;
    let copied = || {
        let status: serde_json::Value =
            serde_json::from_str(&done(&dev, &["status", "--json", "--dir", "dev"])).expect("JSON");
        let regions = status["regions"].as_array().cloned().unwrap_or_default();
        let west = regions.iter().find(|region| region["name"] == "westus").cloned().unwrap_or_default();
        let copies = west["nodes"][0]["copies"].as_array().cloned().unwrap_or_default();
        let whole = |copy: &serde_json::Value| copy["state"] == "following" && copy["behindCommits"] == 0;
        (copies.len() == 2 && copies.iter().all(whole)).then_some(())
    };
    until("the pair to have copied again", copied);

    // The store is lost, and somebody makes a new one: it must not mask the failover.
    region("fail");
    let store = dev.data().join("eastus.redb");
    fs::remove_file(&store).expect("a store");
    done(&dev, &["init", "--config", "dev/eastus.toml"]);
    region("heal");
    until("the home to be masked", || {
        done(&dev, &["status", "--dir", "dev"]).contains("masked").then_some(())
    });
    assert_eq!(becomes(&api, "GET", None, 200).await.as_deref(), Some("westus"));
    becomes(&api, "PUT", Some(json!({ "value": "no" })), 503).await;

    region("fail");
    fs::remove_file(&store).expect("a store");
    let rebuilt = done(&dev, &["region", "rebuild", "--from-pair", "--config", "dev/eastus.toml"]);
    assert!(rebuilt.contains("$system: 1 vaults") && rebuilt.contains("from westus"), "{rebuilt}");
    let (code, said) = run(&dev, &["region", "rebuild", "--from-pair", "--config", "dev/eastus.toml"]);
    assert!(code == 2 && said.contains("never made over an old one"), "{said}");
    region("heal");
    becomes(&api, "PUT", Some(json!({ "value": "three" })), 200).await;
    let read = api.send("GET", "/secrets/kept/versions", None).await.expect(200).json();
    assert_eq!(read["value"].as_array().map(Vec::len), Some(3), "what was acknowledged is there: {read}");
}
