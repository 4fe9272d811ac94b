//! Backup blobs of any text: opened or refused as malformed, never anything else.
#![no_main]

use libfuzzer_sys::fuzz_target;
use valv_model::ErrorCode;

fuzz_target!(|blob: &str| {
    for open_any in [valv_vault::secrets::open_any, valv_vault::keys::open_any] {
        if let Err(error) = open_any(valv_fuzz::keyring(), blob) {
            assert!(matches!(error.code, ErrorCode::MalformedBackup | ErrorCode::BadParameter), "{error:?}");
        }
    }
});
