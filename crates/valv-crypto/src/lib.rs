//! Keys and what they can do: RSA, EC and `oct` keys and every algorithm of the Azure Key Vault API.
//!
//! Private operations are AWS-LC's (RSA blinded, signatures checked before they leave), but for AES key
//! wrap, which the `aes-kw` crate does for all three key sizes. Nothing here does I/O or waits; what takes
//! long says so and belongs on a pool for computation: [`generate`] (RSA: 0.1 to 2 s), [`import`] (RSA: 5 to
//! 40 ms, primality), and RSA's private operations (0.3 to 1.5 ms).
//!
//! A decryption or unwrapping that fails answers with one error, whatever the reason; see [`PrivateKey`].
//!
//! The algorithms: RFC 7518 (JWA), RFC 8017 (RSA), FIPS 186-5 (ECDSA), RFC 3394 (AES key wrap), SP 800-38A
//! and -38D (CBC, GCM). Words and error texts: Azure Key Vault.

mod algorithm;
pub use algorithm::Algorithm;

mod ec;

mod generate;
pub use generate::{Generate, generate};

mod import;
pub use import::import;

mod jwk;
pub use jwk::{JsonWebKey, PublicJwk};

mod kind;
pub use kind::{Curve, KeyOperation, KeyType};

mod limits;
pub use limits::{MAX_AAD_BYTES, MAX_DATA_BYTES, MAX_WRAPPED_KEY_BYTES};

mod oct;

mod private_key;
pub use private_key::{Decrypt, Encrypt, Encrypted, PrivateKey};

mod rsa;

#[cfg(test)]
mod samples;

#[cfg(test)]
mod vectors;
