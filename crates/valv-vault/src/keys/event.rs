//! What is announced about keys without a request.

use std::sync::OnceLock;

use valv_model::{ObjectName, UnixSeconds, VaultName, VersionId};

/// Something that happened to a key by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEvent {
    /// What.
    pub kind: KeyEventKind,
    /// In which vault.
    pub vault: VaultName,
    /// The key.
    pub name: ObjectName,
    /// The version whose end it is.
    pub version: VersionId,
    /// When that version expires.
    pub exp: UnixSeconds,
    /// When it was announced, milliseconds since 1970-01-01 UTC.
    pub time_ms: i64,
}

/// The kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyEventKind {
    /// The current version expires soon, as the rotation policy's `Notify` says.
    NearExpiry,
    /// The current version has expired.
    Expired,
}

impl KeyEventKind {
    /// Azure's name in its audit log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NearExpiry => "KeyNearExpiryEventGridNotification",
            Self::Expired => "KeyExpiredEventGridNotification",
        }
    }
}

type Listener = Box<dyn Fn(&KeyEvent) + Send + Sync>;

/// Where events go: the log, the metrics, and one listener, which the program connects with the audit log.
#[derive(Default)]
pub(crate) struct Events(OnceLock<Listener>);

impl Events {
    /// Sets the listener; the first one stays.
    pub(crate) fn listen(&self, listener: Listener) {
        // A second one is not wanted by anybody.
        let _ = self.0.set(listener);
    }

    pub(crate) fn publish(&self, event: &KeyEvent) {
        let counter = match event.kind {
            KeyEventKind::NearExpiry => "valv_key_near_expiry_events_total",
            KeyEventKind::Expired => "valv_key_expired_events_total",
        };
        metrics::counter!(counter).increment(1);
        tracing::warn!(
            vault = %event.vault,
            name = event.name.as_str(),
            version = event.version.as_str(),
            exp = event.exp.0,
            "{}", event.kind.name()
        );
        if let Some(listener) = self.0.get() {
            listener(event);
        }
    }
}
