//! How long inputs may be. RSA's limits follow from the key and its padding.

use valv_model::{Error, Result};

/// The most bytes that AES-GCM and AES-CBC take in one call. Longer data is sealed by the client, under a
/// key that the vault wraps.
pub const MAX_DATA_BYTES: usize = 128 * 1024;

/// The most bytes of additional authenticated data.
pub const MAX_AAD_BYTES: usize = 16 * 1024;

/// The most bytes that AES key wrap takes: enough for the PKCS#8 form of an RSA key of 8192 bits.
pub const MAX_WRAPPED_KEY_BYTES: usize = 8 * 1024;

/// Refuses a member of a request whose length does not fit, in Azure's words.
pub(crate) fn length(member: &str, is: usize, fits: bool, rule: impl FnOnce() -> String) -> Result<()> {
    if fits {
        return Ok(());
    }
    Err(Error::bad(format!("Invalid length of '{member}': {is} bytes. {}, encoded with base64url.", rule())))
}
