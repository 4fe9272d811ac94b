//! The replica's side: follows a source and applies whole commits.

mod status;
pub use status::{Copied, ReplicaState, ReplicaStatus, StopReason};
