//! What the built-in issuer and the deployment's roles need to know; stored by `valv-vault` in the system group.

use std::{collections::BTreeMap, fmt};

use argon2::password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use aws_lc_rs::{digest, hmac, rand};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use valv_model::{ClientId, Error, PrincipalId, Result, UnixSeconds};
use zeroize::Zeroizing;

use crate::RoleAssignment;

/// One secret of a client: a digest, never the secret.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientSecret {
    /// Shown in lists.
    pub id: Uuid,
    /// `hmac-sha256:{salt}:{digest}` for generated secrets (256 random bits), an Argon2id PHC string for chosen ones.
    pub digest: String,
    /// When it was made.
    pub created: UnixSeconds,
    /// When it stops working.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<UnixSeconds>,
}

/// The scheme of digests of generated secrets.
const GENERATED: &str = "hmac-sha256:";

/// How long a chosen secret may be, in bytes.
const CHOSEN_LENGTH: std::ops::RangeInclusive<usize> = 12..=1024;

impl ClientSecret {
    /// A new random secret of 256 bits; the text (43 characters of base64url) is shown once.
    pub fn generate(now: UnixSeconds, expires: Option<UnixSeconds>) -> Result<(Self, Zeroizing<String>)> {
        let secret = Zeroizing::new(random::<32>()?);
        let text = Zeroizing::new(BASE64URL.encode(secret.as_slice()));
        let salt = random::<32>()?;
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &salt), text.as_bytes());
        let digest = format!("{GENERATED}{}:{}", BASE64URL.encode(salt), BASE64URL.encode(tag));
        Ok((Self { id: Uuid::new_v4(), digest, created: now, expires }, text))
    }

    /// A secret that a person chose, 12 to 1024 bytes. Slow on purpose: call it off the request threads.
    pub fn chosen(text: &str, now: UnixSeconds, expires: Option<UnixSeconds>) -> Result<Self> {
        if !CHOSEN_LENGTH.contains(&text.len()) {
            return Err(Error::bad(format!(
                "The client secret has {} bytes; it must have {} to {}.",
                text.len(),
                CHOSEN_LENGTH.start(),
                CHOSEN_LENGTH.end()
            )));
        }
        let digest: PasswordHash = argon2::Argon2::default()
            .hash_password_with_salt(text.as_bytes(), &random::<16>()?)
            .map_err(|error| Error::internal(format!("Argon2: {error}")))?;
        Ok(Self { id: Uuid::new_v4(), digest: digest.to_string(), created: now, expires })
    }

    /// Is `text` the secret? Constant time in the digest. Slow for chosen secrets.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match self.digest.strip_prefix(GENERATED) {
            Some(parts) => matches_generated(parts, text).unwrap_or(false),
            None => PasswordHash::new(&self.digest)
                .is_ok_and(|hash| argon2::Argon2::default().verify_password(text.as_bytes(), &hash).is_ok()),
        }
    }

    /// Does [`Self::matches`] take tens of milliseconds and of MiB?
    pub(crate) fn is_slow(&self) -> bool {
        !self.digest.starts_with(GENERATED)
    }

    /// Has it stopped working?
    pub(crate) fn is_expired(&self, now: UnixSeconds) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

fn matches_generated(parts: &str, text: &str) -> Option<bool> {
    let (salt, tag) = parts.split_once(':')?;
    let (salt, tag) = (BASE64URL.decode(salt).ok()?, BASE64URL.decode(tag).ok()?);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &salt);
    Some(hmac::verify(&key, text.as_bytes(), &tag).is_ok())
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| Error::internal("the system's random number generator failed"))?;
    Ok(bytes)
}

/// A registered client (application with a service principal).
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientRecord {
    /// Its client id (`appid`).
    pub id: ClientId,
    /// Its principal (`oid`).
    pub principal: PrincipalId,
    /// A name for people.
    pub name: String,
    /// When it was registered.
    pub created: UnixSeconds,
    /// Its secrets; more than one while a secret is being changed.
    pub secrets: Vec<ClientSecret>,
}

/// A signing key of the built-in issuer: ECDSA P-256.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SigningKey {
    /// The `kid` in tokens.
    pub id: String,
    /// PKCS#8, base64.
    pub pkcs8: Zeroizing<String>,
    /// When it was made; the newest signs, all verify.
    pub created: UnixSeconds,
}

impl SigningKey {
    /// A new random key; its id is its thumbprint (RFC 7638).
    pub fn generate(now: UnixSeconds) -> Result<Self> {
        let failed = |_| Error::internal("a P-256 key could not be made");
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?;
        let pkcs8 = Zeroizing::new(pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec());
        let pkcs8 = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(pkcs8.as_slice()));
        let mut key = Self { id: String::new(), pkcs8, created: now };
        let PublicPoint { x, y, .. } = key.public()?;
        let members = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        key.id = BASE64URL.encode(digest::digest(&digest::SHA256, members.as_bytes()));
        Ok(key)
    }

    /// The key in DER.
    pub(crate) fn der(&self) -> Result<Zeroizing<Vec<u8>>> {
        base64::engine::general_purpose::STANDARD
            .decode(self.pkcs8.as_bytes())
            .map(Zeroizing::new)
            .map_err(|_| Error::internal(format!("the issuer's signing key {} is no base64", self.id)))
    }

    /// Its public half.
    pub(crate) fn public(&self) -> Result<PublicPoint> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.der()?)
            .map_err(|_| Error::internal(format!("the issuer's signing key {} is no P-256 key", self.id)))?;
        let point = pair.public_key().as_ref().to_vec();
        match point.get(1..33).zip(point.get(33..65)) {
            Some((x, y)) => Ok(PublicPoint { x: BASE64URL.encode(x), y: BASE64URL.encode(y), point }),
            None => Err(Error::internal(format!(
                "the issuer's signing key {} has a point of another size",
                self.id
            ))),
        }
    }
}

/// The public half of a [`SigningKey`].
pub(crate) struct PublicPoint {
    /// Base64url, as in a JWK.
    pub(crate) x: String,
    /// Base64url, as in a JWK.
    pub(crate) y: String,
    /// SEC 1, uncompressed.
    pub(crate) point: Vec<u8>,
}

/// The state of the system group as one request sees it.
#[derive(Clone, Default)]
pub struct Registry {
    /// Registered clients.
    pub clients: BTreeMap<ClientId, ClientRecord>,
    /// Signing keys, newest last.
    pub signing_keys: Vec<SigningKey>,
    /// Deployment-wide role assignments.
    pub assignments: Vec<RoleAssignment>,
    /// The number of the system group's commit this was read at; caches compare it.
    pub commit: u64,
}

// What is secret, or a digest of it, stays out of `Debug`.

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSecret")
            .field("id", &self.id)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ClientRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientRecord")
            .field("id", &self.id)
            .field("principal", &self.principal)
            .field("name", &self.name)
            .field("secrets", &self.secrets)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("id", &self.id)
            .field("created", &self.created)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("commit", &self.commit)
            .field("clients", &self.clients.len())
            .field("signing_keys", &self.signing_keys)
            .field("assignments", &self.assignments)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

    #[test]
    fn a_generated_secret_matches_itself_alone() {
        let (secret, text) = ClientSecret::generate(NOW, None).unwrap();
        assert_eq!(text.len(), 43);
        assert!(secret.matches(&text) && !secret.is_slow());
        assert!(
            !secret.matches("") && !secret.matches(&text[1..]) && !secret.matches(&format!("{}x", *text))
        );
        let (other, _) = ClientSecret::generate(NOW, None).unwrap();
        assert!(!other.matches(&text));
        assert!(!secret.digest.contains(text.as_str()));
    }

    #[test]
    fn a_chosen_secret_matches_itself_alone_and_is_argon2id() {
        let secret = ClientSecret::chosen("correct horse: battery", NOW, None).unwrap();
        assert!(secret.digest.starts_with("$argon2id$") && secret.is_slow());
        assert!(secret.matches("correct horse: battery"));
        assert!(!secret.matches("correct horse: batterz") && !secret.matches(""));
        assert!(ClientSecret::chosen("short", NOW, None).unwrap_err().message.contains("12 to 1024"));
    }

    #[test]
    fn a_damaged_digest_matches_nothing() {
        let (mut secret, text) = ClientSecret::generate(NOW, None).unwrap();
        for digest in ["", "hmac-sha256:", "hmac-sha256::", "hmac-sha256:!:!", "$argon2id$", "plain", &*text]
        {
            secret.digest = digest.to_owned();
            assert!(!secret.matches(&text) && !secret.matches(""), "{digest}");
        }
    }

    #[test]
    fn debug_shows_no_secret_and_no_digest() {
        let (secret, text) = ClientSecret::generate(NOW, None).unwrap();
        let key = SigningKey::generate(NOW).unwrap();
        let shown = format!("{secret:?} {key:?}");
        assert!(
            !shown.contains(text.as_str())
                && !shown.contains(&secret.digest)
                && !shown.contains(key.pkcs8.as_str())
        );
    }

    #[test]
    fn records_read_back() {
        let key = SigningKey::generate(NOW).unwrap();
        let again: SigningKey = serde_json::from_str(&serde_json::to_string(&key).unwrap()).unwrap();
        assert_eq!((&again.id, &again.pkcs8), (&key.id, &key.pkcs8));
        assert_eq!(again.public().unwrap().point.len(), 65);
        let mut damaged = again;
        damaged.pkcs8 = Zeroizing::new("AAAA".into());
        assert!(damaged.public().is_err());
    }
}
