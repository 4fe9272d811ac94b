//! Records of secrets and keys, and the inside of backups, as they come out of the seal.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = valv_vault::secrets::decode_any(bytes);
    let _ = valv_vault::keys::decode_any(bytes);
});
