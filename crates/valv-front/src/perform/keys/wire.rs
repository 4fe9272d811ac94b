//! Keys and what they computed, in Azure's JSON. No private part has a place in these types.

use base64::Engine as _;
use serde::Serialize;
use serde_json::json;
use valv_crypto::{KeyOperation, KeyType, PublicJwk};
use valv_model::{Tags, UnixSeconds};
use valv_vault::keys::{
    Computed, DeletedKey, KeyBundle, KeyItem, KeyResult, KeyRotationPolicy, LifetimeActionType,
};
use zeroize::Zeroizing;

use crate::answer::Reply;
use crate::perform::Call;
use crate::perform::common::{Id, WireAttributes, WireDeletion, full, url};
use crate::perform::query::BASE64URL;

/// A key, or an item of a list.
#[derive(Serialize)]
pub(super) struct Wire<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<WireKey<'a>>,
    /// Items only; the others have it in `key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
    #[serde(flatten)]
    deletion: Option<WireDeletion>,
    attributes: WireAttributes,
    tags: &'a Tags,
}

#[derive(Serialize)]
struct WireKey<'a> {
    kid: String,
    kty: KeyType,
    key_ops: &'a [KeyOperation],
    #[serde(flatten)]
    public: &'a PublicJwk,
}

impl<'a> Wire<'a> {
    pub(super) fn item(call: &Call<'_>, item: &'a KeyItem, id: Id) -> Self {
        let kid = match id {
            Id::Base => url(call, "keys", item.name.as_str()),
            Id::Full => kid(call, item),
        };
        let mut attributes = WireAttributes::new(&item.attributes, item.recovery_level);
        attributes.exportable = Some(item.exportable);
        Self { key: None, kid: Some(kid), deletion: None, attributes, tags: &item.tags }
    }

    pub(super) fn bundle(call: &Call<'_>, bundle: &'a KeyBundle) -> Self {
        let mut wire = Self::item(call, &bundle.item, Id::Full);
        // "0": protected by software (azure docs: keys/about-keys-details). Any other platform is certified.
        wire.attributes.hsm_platform = bundle.kty.is_hsm().then_some("0");
        let kid = wire.kid.take().unwrap_or_default();
        let key = WireKey { kid, kty: bundle.kty, key_ops: &bundle.key_ops, public: &bundle.public };
        Self { key: Some(key), ..wire }
    }

    pub(super) fn deleted(call: &Call<'_>, key: &'a DeletedKey) -> Self {
        Self { deletion: Some(deletion(call, key)), ..Self::bundle(call, &key.bundle) }
    }

    pub(super) fn deleted_item(call: &Call<'_>, key: &'a DeletedKey) -> Self {
        Self { deletion: Some(deletion(call, key)), ..Self::item(call, &key.bundle.item, Id::Base) }
    }
}

fn deletion(call: &Call<'_>, key: &DeletedKey) -> WireDeletion {
    WireDeletion {
        recovery_id: url(call, "deletedkeys", key.bundle.item.name.as_str()),
        deleted_date: key.deleted,
        scheduled_purge_date: key.scheduled_purge,
    }
}

/// The id of a version.
pub(super) fn kid(call: &Call<'_>, item: &KeyItem) -> String {
    full(call, "keys", item.name.as_str(), &item.version)
}

/// The size of an RSA key, from its modulus; nothing of the others depends on it.
pub(super) fn bits(bundle: &KeyBundle) -> u32 {
    let bytes = bundle.public.n.as_ref().map_or(0, |n| n.len() * 3 / 4);
    u32::try_from(bytes).unwrap_or(u32::MAX).saturating_mul(8)
}

/// The answer of a computation. Its bytes may be plaintext: they are wiped here, and with the answer.
pub(super) fn result(call: &Call<'_>, result: &KeyResult) -> Reply {
    #[derive(Serialize)]
    struct Wire<'a> {
        kid: &'a str,
        value: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        iv: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        tag: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        aad: Option<String>,
    }
    let kid = full(call, "keys", result.name.as_str(), &result.version);
    let reply = match &result.computed {
        Computed::Verified(value) => Reply::json(200, &json!({ "value": value }), 0),
        Computed::Value { value, iv, tag, aad } => {
            let (value, text) = (text(value), |bytes: &Vec<u8>| BASE64URL.encode(bytes));
            let about = value.len() + aad.as_ref().map_or(0, |aad| aad.len() * 4 / 3) + 256;
            let (iv, tag, aad) = (iv.as_ref().map(text), tag.as_ref().map(text), aad.as_ref().map(text));
            Reply::json(200, &Wire { kid: &kid, value: &value, iv, tag, aad }, about)
        }
    };
    reply.about(kid)
}

/// The answer of `/rng`.
pub(super) fn random_bytes(bytes: &[u8]) -> Reply {
    #[derive(Serialize)]
    struct Wire<'a> {
        value: &'a str,
    }
    Reply::json(200, &Wire { value: &text(bytes) }, 256)
}

/// base64url in memory that is wiped.
fn text(bytes: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(bytes.len() / 3 * 4 + 4));
    BASE64URL.encode_string(bytes, &mut text);
    text
}

/// The answer with a rotation policy.
pub(super) fn policy(call: &Call<'_>, of: &KeyRotationPolicy) -> Reply {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Wire<'a> {
        id: &'a str,
        lifetime_actions: Vec<Action<'a>>,
        attributes: Attributes<'a>,
    }
    #[derive(Serialize)]
    struct Action<'a> {
        trigger: Trigger<'a>,
        action: Type,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Trigger<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        time_after_create: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        time_before_expiry: Option<&'a str>,
    }
    #[derive(Serialize)]
    struct Type {
        r#type: LifetimeActionType,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Attributes<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        expiry_time: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        created: Option<UnixSeconds>,
        #[serde(skip_serializing_if = "Option::is_none")]
        updated: Option<UnixSeconds>,
    }
    let id = format!("{}/rotationpolicy", url(call, "keys", of.name.as_str()));
    let actions = of.policy.lifetime_actions.iter().map(|action| Action {
        trigger: Trigger {
            time_after_create: action.time_after_create.as_deref(),
            time_before_expiry: action.time_before_expiry.as_deref(),
        },
        action: Type { r#type: action.action },
    });
    let attributes = Attributes {
        expiry_time: of.policy.expiry_time.as_deref(),
        created: of.created,
        updated: of.updated,
    };
    let wire = Wire { id: &id, lifetime_actions: actions.collect(), attributes };
    Reply::json(200, &wire, 512).about(id.clone())
}
