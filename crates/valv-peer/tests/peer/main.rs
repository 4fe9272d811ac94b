//! The inter-node listener and client over loopback sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

mod certificates;
mod directory;
mod forward;
mod lost;
mod node;
mod replication;
mod roles;
mod standing;
mod watch;
mod world;
