use std::path::Path;

use super::*;

/// A configuration that is right, in a folder with the files it names.
fn right() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    for name in ["tls.crt", "tls.key"] {
        std::fs::write(dir.path().join(name), "").unwrap();
    }
    let text = r#"
region = "eastus"
tenant_id = "6a2f3c6e-6a0f-4d0c-9a43-6a1f0e9a7b11"
domain = "vault.example.com"
[store]
path = "eastus.redb"
[root_key]
sources = [{ file = "root.key" }]
[listen]
addresses = ["127.0.0.1:8443"]
certificate = "tls.crt"
key = "tls.key"
"#;
    (dir, text.to_owned())
}

fn load_text(dir: &Path, text: &str) -> Result<Config> {
    let path = dir.join("valv.toml");
    std::fs::write(&path, text).unwrap();
    load(&path)
}

fn refusal(dir: &Path, text: &str) -> String {
    load_text(dir, text).err().map(|e| e.to_string()).unwrap()
}

#[test]
fn defaults_fill_what_is_not_said() {
    let (dir, text) = right();
    let config = load_text(dir.path(), &text).ok().unwrap();
    assert_eq!(config.authority, "https://login.vault.example.com:8443");
    assert_eq!(config.resource(), "https://vault.example.com:8443");
    assert_eq!(config.store, dir.path().join("eastus.redb"));
    assert!(config.limits.rate && config.built_in_issuer && config.audit_file.is_none());
}

#[test]
fn every_mistake_is_named_with_its_place() {
    let (dir, text) = right();
    let wrong = text
        .replace("eastus\"\nten", "East US\"\nten")
        .replace("6a2f3c6e-", "")
        .replace("127.0.0.1:8443", "here")
        .replace("tls.key", "gone.key");
    let said = refusal(dir.path(), &wrong);
    for place in ["region: ", "tenant_id: ", "listen.addresses: 'here'", "listen.key: there is no file"] {
        assert!(said.contains(place), "{place} is missing in:\n{said}");
    }
    assert!(said.contains("next: "));
}

#[test]
fn a_misspelled_setting_a_wrong_type_and_broken_toml_are_named() {
    let (dir, text) = right();
    let said = refusal(dir.path(), &format!("{text}\n[limits]\nqueu = 3\n"));
    assert!(said.contains("queu") && said.contains("limits"), "{said}");
    let said = refusal(dir.path(), &format!("{text}\n[limits]\nqueue = \"many\"\n"));
    assert!(said.contains("limits.queue") && said.contains("many"), "{said}");
    assert!(refusal(dir.path(), "region = ").contains("line 1"), "{}", refusal(dir.path(), "region = "));
    assert!(refusal(dir.path(), &text.replace("[store]\npath = \"eastus.redb\"", "")).contains("store"));
}

#[test]
fn what_cannot_work_together_is_refused() {
    let (dir, text) = right();
    let nobody = format!("{text}\n[identity]\nbuilt_in = false\n");
    assert!(refusal(dir.path(), &nobody).contains("nobody could ever sign in"));
    let open = format!(
        "{text}\n[managed_identity]\naddress = \"0.0.0.0:1\"\nclient_id = \"6a2f3c6e-6a0f-4d0c-9a43-6a1f0e9a7b11\"\n"
    );
    assert!(refusal(dir.path(), &open).contains("only loopback"));
    let metrics = text.replace("key = \"tls.key\"", "key = \"tls.key\"\nhealth = \"0.0.0.0:80\"");
    assert!(refusal(dir.path(), &metrics).contains("listen.health: 0.0.0.0:80 is not a loopback address"));
    let path = format!("{text}\n[identity]\nauthority = \"https://a.example/b\"\n");
    assert!(refusal(dir.path(), &path).contains("path"));
    assert!(
        refusal(dir.path(), &text.replace("[{ file = \"root.key\" }]", "[]")).contains("valv key generate")
    );
    assert!(
        refusal(dir.path(), &format!("{text}\n[limits]\nidle_ms = 1\n"))
            .contains("limits.idle_ms: 1 is out of bounds")
    );
}

#[test]
fn the_example_says_only_what_exists() {
    let (dir, _) = right();
    let example = include_str!("../../valv.example.toml");
    // Every commented setting, uncommented, must be one the program knows; sections with required settings too.
    let all: String = example
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            // A key of TOML stands once; the other sources have a test of their own.
            Some(setting)
                if setting.contains(" = ") && !setting.starts_with("sources") || setting_section(line) =>
            {
                setting
            }
            _ => line,
        })
        .map(|line| line.replace("/etc/valv/", "").replace("issuer-ca.pem", "tls.crt") + "\n")
        .collect();
    let loaded = load_text(dir.path(), &all);
    assert!(loaded.is_ok(), "{}", loaded.err().unwrap());
}

#[test]
fn every_root_key_source_of_the_example_is_one_and_half_a_token_is_none() {
    let (dir, text) = right();
    let example = include_str!("../../valv.example.toml");
    let sources: Vec<&str> = example
        .lines()
        .map(|line| line.strip_prefix("# ").unwrap_or(line))
        .filter(|line| line.starts_with("sources = "))
        .collect();
    assert_eq!(sources.len(), 3);
    let with = |line: &str| text.replace("sources = [{ file = \"root.key\" }]", line);
    for line in &sources {
        let loaded = load_text(dir.path(), &with(line));
        assert!(loaded.is_ok(), "{line}: {}", loaded.err().unwrap());
    }
    let token = "sources = [{ pkcs11 = \"m.so\", token = \"t\", key = \"k\", pin_file = \"pin\" }]";
    let config = load_text(dir.path(), &with(token)).ok().unwrap();
    let shown = format!("{:?}", config.root_key_sources());
    assert_eq!(shown, "[the root key 'k' in the PKCS#11 token 't']");
    for (part, less, said) in [
        ("token = \"t\", ", "", "root_key.sources[0]: pkcs11 needs token and key"),
        ("key = \"k\", ", "", "pkcs11 needs token and key"),
        (", pin_file = \"pin\"", "", "either pin_variable or pin_file"),
        ("pin_file = \"pin\"", "pin_file = \"pin\", pin_variable = \"P\"", "either pin_variable or pin_file"),
        ("pkcs11", "file", "needs either file or variable, or pkcs11"),
        ("pin_file = \"pin\"", "pin = \"1234\"", "unknown field"),
    ] {
        let refused = refusal(dir.path(), &with(&token.replace(part, less)));
        assert!(refused.contains(said) && !refused.contains("1234"), "{refused}");
    }
}

fn setting_section(line: &str) -> bool {
    line.starts_with("# [")
}
