//! The inter-node listener and client over loopback sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

mod certificates;
mod forward;
mod lost;
mod replication;
mod roles;
mod world;
