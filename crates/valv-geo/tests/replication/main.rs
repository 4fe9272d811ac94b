//! Replication from one store to another, over engines in memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod engine;
mod home;
mod world;

mod comparing;
mod flaky;
mod following;
mod simulation;
mod stopping;
mod wire;
