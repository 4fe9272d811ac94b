//! The front door with everything behind it, without sockets (`handle`) and with them (`serve`).
#![allow(clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test ends by panicking")]

mod administration;
mod audit;
mod coverage;
mod keys;
mod pair;
mod secrets;
mod sockets;
mod world;
