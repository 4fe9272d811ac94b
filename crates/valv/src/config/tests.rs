use std::path::Path;

use valv_model::RegionName;

use super::*;

/// A configuration that is right, in a folder with the files it names.
fn right() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    for name in ["tls.crt", "tls.key", "peer.crt", "peer.key", "peer-ca.crt"] {
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
    assert_eq!(config.store.as_ref().unwrap().path, dir.path().join("eastus.redb"));
    assert!(config.peer.is_none() && config.deployment.peers.is_empty());
    assert_eq!(config.deployment.map.system_home().as_str(), "eastus");
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

/// The same as a region of a pair.
fn pair() -> (tempfile::TempDir, String) {
    let (dir, text) = right();
    let text = format!(
        r#"{text}
[[regions]]
name = "eastus"
peers = ["east.example.com:8444"]
[[regions]]
name = "westus"
peers = ["10.2.0.4:8444"]
[peer]
listen = "127.0.0.1:8444"
certificate = "peer.crt"
key = "peer.key"
ca = "peer-ca.crt"
"#
    );
    (dir, text)
}

/// The files in `deploy/pair` are one deployment: each loads, and what they must share they share.
#[test]
fn the_pair_to_copy_from_is_one_deployment() {
    let (dir, _) = right();
    let shown = [
        include_str!("../../../../deploy/pair/eastus.toml"),
        include_str!("../../../../deploy/pair/westus.toml"),
        include_str!("../../../../deploy/pair/gateway.toml"),
    ];
    let configs = shown.map(|text| {
        let here = text.replace("/etc/valv/", "").replace("/var/lib/valv/", "");
        let here = ["-eastus", "-westus", "-gateway"].iter().fold(here, |text, of| text.replace(of, ""));
        load_text(dir.path(), &here).map_err(|e| e.to_string()).unwrap()
    });
    let east = RegionName::parse("eastus").unwrap();
    let [of_east, of_west, gateway] = &configs;
    for config in &configs {
        assert_eq!((&config.tenant, &config.domain), (&of_east.tenant, &of_east.domain));
        assert_eq!(config.authority, of_east.authority);
        assert_eq!(config.deployment.peers, of_east.deployment.peers);
        assert_eq!(config.deployment.map.system_home(), &east);
        assert!(config.deployment.map.warnings().is_empty());
    }
    let address = |config: &Config| config.peer.as_ref().unwrap().address.clone();
    assert_eq!(address(of_east).as_deref(), Some("valv-east.example.com:8444"));
    assert_eq!(address(of_west).as_deref(), Some("valv-west.example.com:8444"));
    assert!(gateway.region.is_none() && gateway.store.is_none());
}

/// The same as a gateway.
fn gateway() -> (tempfile::TempDir, String) {
    let (dir, text) = pair();
    let mut text = text.replace("region = \"eastus\"\n", "").replace("listen = \"127.0.0.1:8444\"\n", "");
    let (from, to) = (text.find("[store]").unwrap(), text.find("[listen]").unwrap());
    text.replace_range(from..to, "");
    (dir, text)
}

#[test]
fn a_region_of_a_pair_knows_its_pair_its_peers_and_itself() {
    let (dir, text) = pair();
    let config = load_text(dir.path(), &text).map_err(|e| e.to_string()).unwrap();
    let (east, west) = (RegionName::parse("eastus").unwrap(), RegionName::parse("westus").unwrap());
    assert_eq!(config.deployment.map.pair(&east), Some(&west));
    assert_eq!(config.deployment.map.system_home(), &east);
    assert_eq!(config.deployment.peers[&west], ["10.2.0.4:8444"]);
    assert_eq!(config.peer.as_ref().unwrap().address.as_deref(), Some("east.example.com:8444"));
    assert!(config.test.hedge && config.test.breaker && config.test.replication);
    let home = load_text(dir.path(), &format!("system_home = \"westus\"{text}")).ok().unwrap();
    assert_eq!(home.deployment.map.system_home(), &west);
}

#[test]
fn a_gateway_keeps_nothing_and_listens_for_no_peers() {
    let (dir, text) = gateway();
    let config = load_text(dir.path(), &text).map_err(|e| e.to_string()).unwrap();
    assert!(config.region.is_none() && config.store.is_none() && config.root_keys.is_empty());
    let peer = config.peer.unwrap();
    assert!(peer.listen.is_none() && peer.address.is_none());
    for (section, said) in [
        ("[store]\npath = \"a.redb\"\n", "store: a gateway"),
        ("[root_key]\nsources = []\n", "root_key: a gateway"),
        (
            "[managed_identity]\naddress = \"127.0.0.1:1\"\nclient_id = \"6a2f3c6e-6a0f-4d0c-9a43-6a1f0e9a7b11\"\n",
            "managed_identity: a gateway",
        ),
    ] {
        let refused = refusal(dir.path(), &format!("{text}\n{section}"));
        assert!(refused.contains(said), "{refused}");
    }
    let listens = text.replace("[peer]", "[peer]\nlisten = \"127.0.0.1:8444\"");
    assert!(refusal(dir.path(), &listens).contains("peer.listen: a gateway"));
    let alone = &text[..text.find("[[regions]]").unwrap()];
    let refused = refusal(dir.path(), alone);
    assert!(refused.contains("region: is missing") && refused.contains("peer: is missing"), "{refused}");
}

#[test]
fn mistakes_in_regions_are_named_with_place_and_way_out() {
    let (dir, text) = pair();
    for (part, instead, said) in [
        ("region = \"eastus\"", "region = \"eastus2\"", "region: 'eastus2' is not one of the [[regions]]"),
        (
            "name = \"westus\"",
            "name = \"my-cellar\"",
            "regions[1].geography: is missing; the catalogue has no region 'my-cellar'",
        ),
        (
            "name = \"westus\"",
            "name = \"westus\"\nlatitude = 1.0",
            "regions[1]: latitude and longitude go together",
        ),
        (
            "name = \"westus\"",
            "name = \"westus\"\nlatitude = 91.0\nlongitude = 0.0",
            "regions[1].latitude: 91, 0 is no place",
        ),
        (
            "name = \"westus\"",
            "name = \"westus\"\npair = \"centralus\"",
            "regions: region 'westus' has the pair 'centralus', which is not declared",
        ),
        (
            "name = \"westus\"",
            "name = \"westus\"\npair = \"none\"\nallow_near_pair = true",
            "allow_near_pair",
        ),
        ("[\"10.2.0.4:8444\"]", "[]", "regions[1].peers: is empty"),
        ("[\"10.2.0.4:8444\"]", "[\"10.2.0.4\"]", "regions[1].peers: '10.2.0.4' is not host:port"),
        ("[\"10.2.0.4:8444\"]", "[\"https://a:8444\"]", "is not host:port"),
        ("[\"east.example.com:8444\"]", "[\"a:1\", \"b:2\"]", "peer.address: is missing"),
        ("[peer]", "[peer]\naddress = \"c:3\"", "peer.address: 'c:3' is not one of the peers"),
        ("listen = \"127.0.0.1:8444\"", "", "peer.listen: is missing"),
        ("\"peer.key\"", "\"gone.key\"", "peer.key: there is no file"),
        (
            "[[regions]]",
            "[failover]\nreplica_ms = 3000\n[[regions]]",
            "replica_ms and send_ms must be below deadline_ms",
        ),
        ("[[regions]]", "[failover]\nmisses = 0\n[[regions]]", "failover.misses: 0 is out of bounds"),
    ] {
        let refused = refusal(dir.path(), &text.replacen(part, instead, 1));
        assert!(refused.contains(said), "{said} is missing in:\n{refused}");
    }
    let without_peer = &text[..text.find("[peer]").unwrap()];
    assert!(refusal(dir.path(), without_peer).contains("peer: is missing"));
    let refused = refusal(dir.path(), &format!("system_home = \"northeurope\"{text}"));
    assert!(refused.contains("system_home is 'northeurope'"), "{refused}");
}

#[test]
fn a_pair_that_breaks_a_rule_is_refused_unless_it_is_allowed() {
    let (dir, text) = pair();
    let near = text.replace("name = \"westus\"", "name = \"westus\"\nlatitude = 37.0\nlongitude = -79.0");
    let refused = refusal(dir.path(), &near);
    assert!(
        refused.contains("83 km (51 miles) apart") && refused.contains("allow-near-pair = true"),
        "{refused}"
    );
    let allowed = near.replace("name = \"westus\"", "name = \"westus\"\nallow-near-pair = true");
    let config = load_text(dir.path(), &allowed).map_err(|e| e.to_string()).unwrap();
    assert_eq!(config.deployment.map.warnings().len(), 2);
    let foreign = text.replace("name = \"westus\"", "name = \"westus\"\ngeography = \"Canada\"");
    assert!(refusal(dir.path(), &foreign).contains("allow-foreign-pair = true"));
}
