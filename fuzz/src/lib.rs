//! What the fuzz targets share: keys that seal nothing that matters, and an issuer with one client.

use std::sync::{Arc, LazyLock};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::Value;
use valv_access::{
    Authenticator, AuthenticatorSettings, ClientRecord, ClientSecret, Issuer, IssuerSettings, Registry,
    SigningKey,
};
use valv_model::{ClientId, PrincipalId, TenantId, UnixSeconds, VaultId};
use valv_sealing::{DataKeys, Keyring, RootKeySource, RootKeys};
use zeroize::Zeroizing;

/// The moment at which all fuzzing happens.
pub const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
/// The tenant.
pub const TENANT: &str = "11111111-2222-3333-4444-555555555555";
/// The audience of tokens.
pub const RESOURCE: &str = "https://vault.localhost:8443";
const APP: &str = "aaaaaaaa-0000-0000-0000-000000000001";
const OBJECT: &str = "bbbbbbbb-0000-0000-0000-000000000001";
/// A root key for fuzzing only.
const ROOT_KEY: &str = "valv-root-1:8kE3l4sxImQ-C5WI7vP3CtR9OEnh4utSu1fDMyHyJ9M:a49ed2e8";

/// A keyring over the fixed root key.
pub fn keyring() -> &'static Keyring {
    static KEYRING: LazyLock<Keyring> = LazyLock::new(|| {
        let line = Zeroizing::new(ROOT_KEY.to_owned());
        let source = RootKeySource::Text { variable: "fuzz".into(), line };
        Keyring::new(RootKeys::load(&[source]).expect("the root key above"))
    });
    &KEYRING
}

/// Data keys of a vault, new in every process.
pub fn data_keys() -> Arc<DataKeys> {
    static KEYS: LazyLock<Arc<DataKeys>> = LazyLock::new(|| {
        let vault = VaultId::parse("00482a5a-887f-4fb3-b363-3b7fe8e74483").expect("a vault id");
        let wrapped = keyring().generate(&vault, 1, NOW).expect("a data key");
        keyring().unwrap(&vault, &[wrapped]).expect("the same data key")
    });
    KEYS.clone()
}

/// An issuer, the client that it knows, and who checks its tokens.
pub struct World {
    /// Issues tokens.
    pub issuer: Issuer,
    /// One client, one signing key, new in every process.
    pub registry: Registry,
    /// Checks tokens.
    pub authenticator: Authenticator,
}

/// The world, the same for the whole process.
pub fn world() -> &'static World {
    static WORLD: LazyLock<World> = LazyLock::new(|| {
        let tenant = TenantId::parse(TENANT).expect("a tenant");
        let issuer = Issuer::new(IssuerSettings {
            tenant: tenant.clone(),
            authority: "https://login.vault.localhost:8443".into(),
            resource: RESOURCE.into(),
            lifetime_s: 3600,
        });
        let (secret, _) = ClientSecret::generate(NOW, None).expect("a secret");
        let id = ClientId::parse(APP).expect("a client id");
        let principal = PrincipalId::parse(OBJECT).expect("an object id");
        let client = ClientRecord {
            id: id.clone(),
            principal,
            name: "app".into(),
            created: NOW,
            secrets: vec![secret],
        };
        let registry = Registry {
            clients: [(id, client)].into(),
            signing_keys: vec![SigningKey::generate(NOW).expect("a key")],
            assignments: vec![],
            commit: 1,
        };
        let authenticator = Authenticator::new(AuthenticatorSettings {
            tenant,
            resource: RESOURCE.into(),
            built_in_issuer: Some(issuer.issuer().to_owned()),
            issuers: vec![],
            cache_dir: std::env::temp_dir(),
            skew_s: AuthenticatorSettings::SKEW_S,
        })
        .expect("an authenticator");
        World { issuer, registry, authenticator }
    });
    &WORLD
}

impl World {
    /// A token with any claims, signed with the issuer's key.
    pub fn sign(&self, claims: &Value) -> String {
        let key = &self.registry.signing_keys[0];
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(key.id.clone());
        let der = STANDARD.decode(key.pkcs8.as_bytes()).expect("base64");
        jsonwebtoken::encode(&header, claims, &EncodingKey::from_ec_der(&der)).expect("a token")
    }
}
