//! For this module's tests: a whole service with one vault, and keys made in it.

use std::sync::Arc;

use valv_crypto::{Curve, Generate, KeyType, generate};
use valv_model::{ObjectName, Operation, Tags, VersionId};

use super::records::draft;
use super::{AttributesPatch, Key};
use crate::ServiceSettings;
use crate::objects::desk::{Done, Live};
use crate::objects::make::make;
use crate::objects::update::{Update, update};
use crate::testing::{World, context, settings};
use crate::vaults::Vault;

/// A world with one vault.
pub(crate) struct Site {
    pub(crate) world: World,
    pub(crate) vault: Arc<Vault>,
}

impl Site {
    pub(crate) async fn new() -> Self {
        Self::with(settings()).await
    }

    pub(crate) async fn with(settings: ServiceSettings) -> Self {
        let world = World::with(settings).await;
        let vault = world.vault("dev").await;
        Self { world, vault }
    }

    pub(crate) fn desk(&self) -> Live<'_> {
        Live { service: &self.world.service, vault: &self.vault }
    }

    pub(crate) async fn key(&self, name: &str, what: Generate) -> VersionId {
        let key = generate(&what).unwrap();
        let tags = Tags::from([("tag".into(), name.into())]);
        let key_ops = key.kty().default_operations().to_vec();
        let draft = draft(&key, key_ops, AttributesPatch::default(), tags).unwrap();
        let name = ObjectName::parse(name).unwrap();
        let made = make::<Key>(&self.desk(), &context(), Operation::KeyCreate, &name, Arc::new(draft)).await;
        let Done::Fresh(bundle) = made.unwrap() else { panic!("replayed") };
        bundle.item.version
    }

    pub(crate) async fn patch(&self, name: &str, attributes: AttributesPatch) {
        let change = Update::<Key> { attributes, tags: None, edit: Box::new(|_| Ok(())) };
        let name = ObjectName::parse(name).unwrap();
        update(&self.desk(), &context(), Operation::KeyUpdate, &name, None, change).await.unwrap();
    }
}

/// An EC key on this curve.
pub(crate) fn ec(curve: Curve) -> Generate {
    Generate { curve: Some(curve), ..Generate::new(KeyType::Ec) }
}
