//! What the service does, without HTTP.
//!
//! A request reaches [`Service`] with a [`valv_access::Permit`]. Reads are one linearizable read and an
//! opening of records. Writes are a [`queue::Change`]: a pure function from the vault's state to the records
//! to write, which the vault's queue runs in order, gathers and commits.

pub mod keys;
pub mod lifecycle;
pub mod queue;
pub mod secrets;
pub mod system;
pub mod vaults;

mod clock;
pub use clock::{Clock, ManualClock, SystemClock};

mod node;

mod objects;

mod page;
pub use page::{Page, PageRequest};

mod service;
pub(crate) use service::OURSELVES;
pub use service::{NameCheck, Service, ServiceSettings, WriteContext};

mod sight;
pub use sight::{Holding, Sight};

pub use valv_sealing::RequestKey;

#[cfg(test)]
mod testing;
