//! The embedded engine: the storage contract on one `redb` file, for one node per region.
//!
//! Reads are served where they are asked for, from a read transaction. Commits pass one bounded queue to
//! one thread, which makes everything that waits one write of the file with one sync.
//!
//! A fault of the disk never passes for success: what the failed write carried is answered with a definite
//! refusal if the file's header provably was not touched, with an unknown outcome otherwise. The file is
//! then opened again, while reads wait for up to a second; a full disk heals by itself.

mod settings;
pub use settings::Settings;

mod engine;
pub use engine::EmbeddedEngine;

mod store;
pub use store::OpenError;

mod batch;
mod disk;
mod history;
mod read;
mod space;
mod tables;
mod writer;
