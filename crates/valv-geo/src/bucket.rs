//! Buckets: a vault's records spread by a hash of their place, and one hash for each bucket.
//!
//! Records compare by place and sealed value, without the generation, which is each store's own. The vault's own record takes part
//! at [`VAULT_PLACE`].

/// The place of the vault's own record; no path begins so.
pub const VAULT_PLACE: &str = "\u{1}vault";
