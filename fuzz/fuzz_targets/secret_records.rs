//! Records of secrets and the inside of backups, as they come out of the seal.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = valv_vault::secrets::decode_any(bytes);
});
