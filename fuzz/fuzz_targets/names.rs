//! Names as they stand in paths: what is read is read back the same, what is refused says so in one clean line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use valv_model::{
    ClientId, ObjectName, PrincipalId, RegionName, Result, TenantId, VaultId, VaultName, VersionId,
};

fn check<T: ToString>(text: &str, parse: impl Fn(&str) -> Result<T>) {
    match parse(text) {
        Ok(name) => {
            let again = parse(&name.to_string()).map(|name| name.to_string());
            assert_eq!(again.ok(), Some(name.to_string()));
        }
        Err(error) => assert!(error.message.len() < 1024 && !error.message.chars().any(char::is_control)),
    }
}

fuzz_target!(|text: &str| {
    check(text, ObjectName::parse);
    check(text, VaultName::parse);
    check(text, RegionName::parse);
    check(text, VersionId::parse);
    check(text, TenantId::parse);
    check(text, PrincipalId::parse);
    check(text, ClientId::parse);
    check(text, VaultId::parse);
});
