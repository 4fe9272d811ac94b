//! What the tests share.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "tests")]

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use valv_model::{UnixSeconds, VaultId};
use valv_sealing::{Keyring, RootKeySource, RootKeys};

pub const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

/// The n-th test vault.
pub fn vault(n: u8) -> VaultId {
    VaultId::parse(&format!("00000000-0000-4000-8000-0000000000{n:02x}")).unwrap()
}

/// The root key of 32 bytes `n`, as its line.
pub fn root_line(n: u8) -> String {
    let start = format!("valv-root-1:{}", URL_SAFE_NO_PAD.encode([n; 32]));
    let sum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, start.as_bytes());
    let sum: String = sum.as_ref()[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{start}:{sum}")
}

/// A line as the environment gives it.
pub fn text(line: &str) -> RootKeySource {
    RootKeySource::Text { variable: "VALV_ROOT_KEY".into(), line: line.to_owned().into() }
}

/// Root keys of lines, the first is current.
pub fn root_keys(lines: &[String]) -> RootKeys {
    RootKeys::load(&lines.iter().map(|line| text(line)).collect::<Vec<_>>()).unwrap()
}

/// A keyring over root keys of lines.
pub fn keyring(lines: &[String]) -> Keyring {
    Keyring::new(root_keys(lines))
}
