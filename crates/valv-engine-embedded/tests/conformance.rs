//! The embedded engine passes the contract's suite.

// What fails here fails a test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use valv_engine::{Engine, conformance};
use valv_engine_embedded::{EmbeddedEngine, Settings};

struct Harness {
    engine: Option<Arc<EmbeddedEngine>>,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

async fn make() -> Harness {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let groups = conformance::groups();
    let engine = EmbeddedEngine::create(&path, &groups, "root".into(), Settings::default()).unwrap();
    Harness { engine: Some(Arc::new(engine)), path, _folder: folder }
}

#[async_trait]
impl conformance::Harness for Harness {
    fn engine(&self) -> Arc<dyn Engine> {
        Arc::clone(self.engine.as_ref().unwrap()) as Arc<dyn Engine>
    }

    async fn reopen(&mut self) {
        let engine = Arc::into_inner(self.engine.take().unwrap()).expect("the suite let go of the engine");
        drop(engine);
        self.engine = Some(Arc::new(EmbeddedEngine::open(&self.path, Settings::default()).unwrap()));
    }

    async fn compact(&self) {
        self.engine.as_ref().unwrap().forget_history();
    }
}

valv_engine::conformance_tests!(make);
