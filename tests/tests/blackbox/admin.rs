//! The command line from end to end: what each command says, and what it really does.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use valv_tests::{Api, Dev, Node, VAULT, until, valv};

/// What a command of the program ended with.
struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Ended {
    /// Standard output, if it succeeded.
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        self.out
    }

    /// Standard error, if it ended with this code; it names a way out.
    #[track_caller]
    fn refused(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        assert!(self.out.is_empty(), "a refusal on standard output: {}", self.out);
        assert!(self.err.contains("error:") && !self.err.contains("panicked"), "{}", self.err);
        self.err
    }
}

fn run(mut command: Command) -> Ended {
    let output = command.output().expect("valv runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
}

/// Runs the program in a folder.
fn run_in(dir: &Path, arguments: &[&str]) -> Ended {
    let mut command = Command::new(valv());
    command.args(arguments).current_dir(dir);
    run(command)
}

/// Runs the program beside a running `valv dev`.
fn beside(dev: &Dev, arguments: &[&str]) -> Ended {
    let mut command = Command::new(valv());
    command.args(arguments).args(["--dir".as_ref(), dev.data().as_os_str()]).current_dir(dev.root());
    run(command)
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("no JSON ({e}): {text}"))
}

/// Runs `client add` and signs the client in: id, object id, caller.
async fn add_client(dev: &Dev, name: &str) -> (String, String, Api) {
    let added = json_of(&beside(dev, &["client", "add", name, "--json"]).ok());
    let text = |name: &str| added[name].as_str().expect("a text").to_owned();
    let (id, secret) = (text("clientId"), text("secret"));
    let api = dev.anonymous().sign_in(&id, &secret).await;
    (id, text("objectId"), api)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vaults_live_and_die_by_the_command_line() {
    let dev = Dev::start();
    let admin = dev.api().await;
    let shown = beside(&dev, &["vault", "create", "team", "--retention-days", "7"]).ok();
    assert!(shown.contains("team") && shown.contains("7 days") && shown.contains("roles"), "{shown}");
    let listed = beside(&dev, &["vault", "list"]).ok();
    assert!(listed.contains("team") && listed.contains("dev"), "{listed}");
    let team = json_of(&beside(&dev, &["vault", "show", "team", "--json"]).ok());
    let uri = team["properties"]["vaultUri"].as_str().expect("an address").to_owned();
    // The vault is served at its own name.
    let inside = admin.to(&url::Url::parse(&uri).expect("an address"));
    inside.send("PUT", "/secrets/kept", Some(json!({ "value": "a value" }))).await.expect(200);

    // Mistakes say what is wrong and change nothing.
    for (arguments, code, says) in [
        (&["vault", "create", "a"][..], 1, "3 to 24"),
        (&["vault", "create", "other", "--retention-days", "6"], 1, "7"),
        (&["vault", "create", "other", "--retention-days", "many"], 2, "retention"),
        (&["vault", "create", "team", "--retention-days", "30"], 1, "retention"),
        (&["vault", "show", "absent"], 1, "absent"),
        (&["vault", "delete", "absent"], 1, "absent"),
        (&["vault", "recover", "team"], 1, "team"),
        (&["vault", "purge", "team"], 1, "team"),
        (&["vault", "show", "../clients"], 1, "name"),
    ] {
        let ended = beside(&dev, arguments);
        assert!(ended.err.to_lowercase().contains(says), "{arguments:?}: {}", ended.err);
        ended.refused(code);
    }

    beside(&dev, &["vault", "delete", "team"]).ok();
    assert!(!beside(&dev, &["vault", "list"]).ok().contains("team"));
    assert!(beside(&dev, &["vault", "list", "--deleted"]).ok().contains("team"));
    inside.send("GET", "/secrets/kept", None).await.refused(404, "VaultNotFound", None);
    beside(&dev, &["vault", "create", "team"]).refused(1);
    beside(&dev, &["vault", "recover", "team"]).ok();
    assert_eq!(inside.send("GET", "/secrets/kept", None).await.expect(200).json()["value"], "a value");
    beside(&dev, &["vault", "delete", "team"]).ok();
    beside(&dev, &["vault", "purge", "team"]).ok();
    assert!(!beside(&dev, &["vault", "list", "--deleted"]).ok().contains("team"));
    beside(&dev, &["vault", "recover", "team"]).refused(1);
    // The name is free again, and nothing of the old vault is there.
    beside(&dev, &["vault", "create", "team"]).ok();
    inside.send("GET", "/secrets/kept", None).await.refused(404, "SecretNotFound", None);

    beside(&dev, &["vault", "create", "safe", "--purge-protection"]).ok();
    let safe = json_of(&beside(&dev, &["vault", "show", "safe", "--json"]).ok());
    assert_eq!(safe["properties"]["enablePurgeProtection"], true);
    let there = admin
        .to(&url::Url::parse(safe["properties"]["vaultUri"].as_str().expect("text")).expect("an address"));
    there.send("PUT", "/secrets/kept", Some(json!({ "value": "v" }))).await.expect(200);
    there.send("DELETE", "/secrets/kept", None).await.expect(200);
    let answer = there.send("DELETE", "/deletedsecrets/kept", None).await.expect(403);
    assert!(answer.json()["error"]["message"].to_string().contains("purge protection"), "{answer:?}");
    beside(&dev, &["vault", "delete", "safe"]).ok();
    let said = beside(&dev, &["vault", "purge", "safe"]).refused(1);
    assert!(said.contains("purge protection") || said.contains("DeletedVaultPurge"), "{said}");
    beside(&dev, &["vault", "recover", "safe"]).ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_and_access_by_the_command_line() {
    let dev = Dev::start();
    let admin = dev.api().await;
    for name in ["open", "closed"] {
        admin.send("PUT", &format!("/secrets/{name}"), Some(json!({ "value": "v" }))).await.expect(200);
    }
    let (id, principal, billing) = add_client(&dev, "billing").await;
    let get = async |name: &str| billing.send("GET", &format!("/secrets/{name}"), None).await.status.as_u16();
    let listed = beside(&dev, &["client", "list"]).ok();
    assert!(listed.contains("billing") && listed.contains(&id) && listed.contains(&principal), "{listed}");
    assert_eq!(get("open").await, 403);

    // A role on one object, on the vault, everywhere.
    let role = "Key Vault Secrets User";
    let mut assignments = Vec::new();
    for (scope, closed) in
        [(&["--vault", "dev", "--object", "secrets/open"][..], 403), (&["--vault", "dev"], 200), (&[], 200)]
    {
        let grant = [&["access", "grant", "billing", "--role", role][..], scope, &["--json"]].concat();
        let made = json_of(&beside(&dev, &grant).ok());
        let assignment = made["name"].as_str().expect("an id").to_owned();
        assert_eq!((get("open").await, get("closed").await), (200, closed), "{scope:?}");
        let listed = beside(&dev, &["access", "list"]).ok();
        let line = listed.lines().find(|line| line.contains(&assignment)).expect("a line in the list");
        assert!(line.contains(role) && line.contains(&principal), "{line}");
        beside(&dev, &["access", "revoke", &assignment]).ok();
        assert_eq!(get("open").await, 403, "revoked at once");
        assignments.push(assignment);
    }
    assert!(!beside(&dev, &["access", "list"]).ok().contains(&principal));
    beside(&dev, &["access", "revoke", &assignments[0]]).refused(1);

    // Words on a vault with access policies.
    beside(&dev, &["vault", "create", "old", "--access-policies"]).ok();
    let old = json_of(&beside(&dev, &["vault", "show", "old", "--json"]).ok());
    let uri = url::Url::parse(old["properties"]["vaultUri"].as_str().expect("text")).expect("an address");
    let there = billing.to(&uri);
    let list = async || there.send("GET", "/secrets", None).await.status.as_u16();
    assert_eq!(list().await, 403);
    beside(&dev, &["access", "grant", "billing", "--vault", "old", "--secrets", "get,list"]).ok();
    assert_eq!(list().await, 200);
    let listed = beside(&dev, &["access", "list"]).ok();
    assert!(listed.lines().any(|l| l.contains("/vaults/old") && l.contains("get,list")), "{listed}");
    let keys = async |method, path| there.send(method, path, None).await.status.as_u16();
    assert_eq!(keys("GET", "/keys").await, 403);
    let words =
        &["access", "grant", "billing", "--vault", "old", "--secrets", "get,list", "--keys", "list,Sign"];
    beside(&dev, words).ok();
    assert_eq!((list().await, keys("GET", "/keys").await, keys("GET", "/keys/a").await), (200, 200, 403));
    assert_ne!(keys("POST", "/keys/a/sign").await, 403);
    let listed = beside(&dev, &["access", "list"]).ok();
    assert!(listed.contains("secrets: get,list; keys: list,Sign"), "{listed}");
    beside(&dev, &["access", "revoke", "billing", "--vault", "old"]).ok();
    assert_eq!(list().await, 403);

    // Mistakes.
    for (arguments, code, says) in [
        (&["access", "grant", "nobody", "--role", role][..], 2, "valv client list"),
        (&["access", "grant", "billing", "--role", "King"], 1, "Key Vault Administrator"),
        (&["access", "grant", "billing"], 2, "--role"),
        (&["access", "grant", "billing", "--secrets", "get"], 2, "--vault"),
        (&["access", "grant", "billing", "--role", role, "--object", "secrets/a"], 2, "--vault"),
        (&["access", "grant", "billing", "--vault", "old", "--secrets", "look"], 1, "look"),
        (&["access", "grant", "billing", "--vault", "old", "--keys", "set"], 1, "not a permission for keys"),
        (&["access", "grant", "billing", "--role", role, "--keys", "get"], 2, "--role"),
        (&["access", "grant", "billing", "--role", role, "--vault", "absent"], 1, "absent"),
        (&["access", "revoke", "no-such-id"], 1, "uuid"),
        (&["client", "remove", "nobody"], 2, "valv client list"),
        (&["client", "add", "x", "--to", "no-id"], 1, "client id"),
    ] {
        let ended = beside(&dev, arguments);
        let said = ended.err.to_lowercase();
        assert!(said.contains(&says.to_lowercase()), "{arguments:?} does not say {says}: {}", ended.err);
        ended.refused(code);
    }

    // A second secret beside the first; both work. Two of one name are told apart by id.
    let more = json_of(&beside(&dev, &["client", "add", "billing", "--to", &id, "--json"]).ok());
    let second = more["secret"].as_str().expect("a secret");
    dev.anonymous().sign_in(&id, second).await.send("GET", "/secrets", None).await.expect(403);
    assert_eq!(more["objectId"], *principal);
    let (twin, _, _) = add_client(&dev, "billing").await;
    let said = beside(&dev, &["client", "remove", "billing"]).refused(2);
    assert!(said.contains("2 clients"), "{said}");
    beside(&dev, &["client", "remove", &twin]).ok();
    beside(&dev, &["client", "remove", "billing"]).ok();
    assert!(!beside(&dev, &["client", "list"]).ok().contains("billing"));
    billing.send("GET", "/secrets", None).await.refused(401, "Unauthorized", None);
    // What it was granted went with it: the same id registered anew may do nothing.
    let anew = json_of(&beside(&dev, &["client", "add", "billing", "--to", &id, "--json"]).ok());
    let api = dev.anonymous().sign_in(&id, anew["secret"].as_str().expect("a secret")).await;
    api.send("GET", "/secrets", None).await.refused(403, "Forbidden", Some("ForbiddenByRbac"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_says_what_runs_in_words_and_in_json() {
    let mut dev = Dev::start();
    let status = json_of(&beside(&dev, &["status", "--json"]).ok());
    assert_eq!(status["region"], "eastus", "{status}");
    assert_eq!(status["regions"][0]["available"], true, "{status}");
    let shown = beside(&dev, &["status"]).ok();
    assert!(shown.contains("eastus"), "{shown}");
    assert!(!shown.contains('{'), "words, not JSON: {shown}");
    assert!(dev.stop().success());
    let said = beside(&dev, &["status"]).refused(1);
    assert!(said.contains("valv dev"), "it says what to start: {said}");
    let nowhere = run_in(dev.root(), &["status", "--dir", "nowhere"]).refused(2);
    assert!(nowhere.contains("valv dev") && nowhere.contains("nowhere"), "{nowhere}");
}

#[test]
fn keys_are_never_overwritten() {
    let dir = tempfile::tempdir().expect("a folder");
    run_in(dir.path(), &["key", "generate", "--out", "root.key"]).ok();
    let key = std::fs::read(dir.path().join("root.key")).expect("a key");
    let mode = std::os::unix::fs::MetadataExt::mode(
        &std::fs::metadata(dir.path().join("root.key")).expect("a file"),
    );
    assert_eq!(mode & 0o777, 0o600);
    let said = run_in(dir.path(), &["key", "generate", "--out", "root.key"]).refused(2);
    assert!(said.contains("root.key") && said.contains("not overwritten"), "{said}");
    assert_eq!(std::fs::read(dir.path().join("root.key")).expect("a key"), key);
    let (one, two) =
        (run_in(dir.path(), &["key", "generate"]).ok(), run_in(dir.path(), &["key", "generate"]).ok());
    assert_ne!(one, two);
    run_in(dir.path(), &["key", "generate", "--out", "no/such/folder/root.key"]).refused(1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mistake_in_the_configuration_is_named_with_its_place_before_a_socket_opens() {
    let mut node = Node::new();
    node.init();
    let dir = node.root().to_owned();
    let check = |text: &str| {
        std::fs::write(dir.join("valv.toml"), text).expect("a writable folder");
        run_in(&dir, &["serve", "--check", "--config", "valv.toml"])
    };
    let good = std::fs::read_to_string(dir.join("valv.toml")).expect("the configuration");
    let said = check(&good).ok();
    assert!(said.contains("in order"), "{said}");
    for (from, to, says) in [
        ("region = \"eastus\"", "region = \"East US\"", "region:"),
        ("region = \"eastus\"", "", "region"),
        ("domain = \"vault.localhost\"", "domain = \"https://vault.localhost\"", "domain:"),
        ("rate = false", "rate = \"often\"", "limits.rate"),
        ("rate = false", "rates = false", "rates"),
        ("rate = false", "idle_ms = 1", "limits.idle_ms"),
        ("certificate = \"tls.crt\"", "certificate = \"gone.crt\"", "listen.certificate"),
        ("certificate = \"tls.crt\"", "certificate = \"ca.crt\"", "tls.key"),
        ("certificate = \"tls.crt\"", "certificate = \"valv.toml\"", "valv.toml"),
        ("health = \"127.0.0.1", "health = \"0.0.0.0", "listen.health"),
        ("file = \"root.key\"", "file = \"gone.key\"", "gone.key"),
        ("file = \"root.key\"", "file = \"tls.key\"", "tls.key"),
        ("[audit]\nfile = \"audit.jsonl\"", "[audit]\nfile = \"no/such/folder/audit.jsonl\"", "audit.file"),
        ("store.redb", "gone.redb", "valv init"),
        ("region = \"eastus\"", "region = ", "line 1"),
        ("[audit]", "[[audit]]", "audit"),
    ] {
        assert!(good.contains(from), "{from} is not in the configuration");
        let ended = check(&good.replace(from, to));
        assert!(ended.err.contains(says), "{to}: {}", ended.err);
        assert!(ended.err.contains("next:"), "{to}: no way out in {}", ended.err);
        ended.refused(2);
        // The same mistake stops `serve` itself, before it could answer anything.
        let served = run_in(&dir, &["serve", "--config", "valv.toml"]);
        served.refused(2);
    }
    // The environment overrides, and is named where it is wrong.
    std::fs::write(dir.join("valv.toml"), &good).expect("a writable folder");
    let mut command = Command::new(valv());
    command
        .args(["serve", "--check", "--config", "valv.toml"])
        .current_dir(&dir)
        .env("VALV_LIMITS__QUEUE", "many");
    let said = run(command).refused(2);
    assert!(said.contains("environment") && said.contains("queue"), "{said}");
    // No file; no argument; another's store.
    let said = run_in(&dir, &["serve", "--config", "none.toml"]).refused(2);
    assert!(said.contains("none.toml") && said.contains("valv.example.toml"), "{said}");
    assert_eq!(run_in(&dir, &["serve"]).code, 2);
    let said = run_in(&dir, &["init", "--config", "valv.toml"]).refused(2);
    assert!(said.contains("never made over an old one"), "{said}");
    // A second node on the same store is refused, not let in.
    node.start();
    let said = run_in(&dir, &["serve", "--config", "valv.toml"]).err;
    assert!(said.contains("error:") && said.contains("store.redb"), "{said}");
    assert_eq!(node.health("/readyz").map(|(status, _)| status), Some(200));
    assert!(node.stop().success());
}

#[test]
fn two_dev_deployments_do_not_take_each_others_port_or_folder() {
    let dev = Dev::start();
    let port =
        url::Url::parse(dev.var("VALV_URL")).ok().and_then(|url| url.port()).expect("a port").to_string();
    let other = tempfile::tempdir().expect("a folder");
    let said = run_in(other.path(), &["dev", "--dir", "other", "--port", &port]).refused(1);
    assert!(said.contains(&port) && said.contains("--port 0"), "{said}");
    // The same folder at another port: the running one goes on, whole.
    let environment = std::fs::read_to_string(dev.data().join("dev.env")).expect("dev.env");
    let said = beside(&dev, &["dev", "--port", "0"]);
    assert_ne!(said.code, 0, "{}", said.out);
    assert!(said.err.contains("error:") && said.err.contains("next:"), "{}", said.err);
    let kept = std::fs::read_to_string(dev.data().join("dev.env")).expect("dev.env is still there");
    assert_eq!(kept, environment);
    beside(&dev, &["vault", "list"]).ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dev_keeps_what_it_holds_over_stops_and_kills() {
    let mut dev = Dev::start();
    let api = dev.api().await;
    api.send("PUT", "/secrets/kept", Some(json!({ "value": "a value" }))).await.expect(200);
    let before = dev.environment().clone();
    for kill in [false, true] {
        if kill {
            dev.kill()
        } else {
            assert!(dev.stop().success());
        }
        dev.restart();
        assert_eq!(dev.environment(), &before, "a shell that read dev.env goes on");
        let api = dev.api().await;
        assert_eq!(api.send("GET", "/secrets/kept", None).await.expect(200).json()["value"], "a value");
    }
    let mode =
        std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(dev.data().join("dev.env")).expect("a file"));
    assert_eq!(mode & 0o777, 0o600);
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(dev.data()).expect("a folder"));
    assert_eq!(mode & 0o777, 0o700);
    let processes = dev.processes();
    assert!(dev.stop().success());
    until("its processes to be gone with it", || {
        let gone =
            processes.iter().all(|pid| !Path::new("/proc").join(pid.as_raw_pid().to_string()).exists());
        gone.then_some(())
    });
}

/// Commands with `--config` sign in with the shell's variables.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn administration_of_a_node_needs_an_administrators_credentials() {
    let node = Node::ready().await;
    let admin = node.api().await;
    let listed = node.administer(&["vault", "list"]);
    assert!(listed.contains(VAULT), "{listed}");
    let nobody = valv_tests::Stranger::register(&admin, "nobody").await;
    let with = |id: Option<&str>, secret: &str| {
        let mut command = node.command(&["vault", "list", "--config", "valv.toml"]);
        match id {
            Some(id) => command.env("AZURE_CLIENT_ID", id).env("AZURE_CLIENT_SECRET", secret),
            None => command.env_remove("AZURE_CLIENT_ID").env_remove("AZURE_CLIENT_SECRET"),
        };
        run(command)
    };
    let said = with(Some(&nobody.client), &nobody.secret).refused(1);
    assert!(said.contains("Valv Administrator"), "{said}");
    let said = with(Some(&nobody.client), "wrong").refused(1);
    assert!(said.contains("secret") && !said.contains(&nobody.secret), "{said}");
    let said = with(None, "").refused(2);
    assert!(said.contains("AZURE_CLIENT_ID"), "{said}");
    // A server that the shell does not trust gets no secret.
    let mut command = node.command(&["vault", "list", "--config", "valv.toml"]);
    command.env_remove("SSL_CERT_FILE");
    let said = run(command).refused(1);
    assert!(said.to_lowercase().contains("certificate"), "{said}");
}

/// Each command says how it is used, with an example.
#[test]
fn every_help_has_an_example() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut open = vec![Vec::<String>::new()];
    let mut seen = 0;
    while let Some(command) = open.pop() {
        let mut arguments: Vec<&str> = command.iter().map(String::as_str).collect();
        arguments.push("--help");
        let help = run_in(dir.path(), &arguments).ok();
        assert!(help.contains("Example"), "`valv {}` has no example:\n{help}", arguments.join(" "));
        seen += 1;
        let commands = help.split_once("Commands:\n").map_or("", |(_, rest)| rest);
        for line in commands.lines().take_while(|line| line.starts_with("  ")) {
            let name = line.split_whitespace().next().unwrap_or_default();
            // Continued descriptions are indented further.
            if line.starts_with("   ") || name.is_empty() || name == "help" {
                continue;
            }
            open.push([command.clone(), vec![name.to_owned()]].concat());
        }
    }
    assert!(seen >= 20, "only {seen} commands were found");
}
