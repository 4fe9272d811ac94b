//! Azure's wire: the only crate that knows Azure's HTTP and JSON.
//!
//! A request passes the steps of [`Front::handle`], each a module of that name:
//!
//! ```text
//! listen -> resolve -> route -> authenticate -> authorize -> perform -> answer
//! ```
//!
//! `listen` has the sockets and their deadlines; everything behind it can be called without one.

mod settings;
pub use settings::{FrontSettings, Limits, Rates};

mod front;
pub use front::{Far, Front, HeldRootKeys, Here, Peer, ReloadRootKeys, Replicas, Seen, Wiring};

pub mod listen;

mod resolve;
pub use resolve::Door;

mod route;
pub use route::Mode;

mod serve;

mod forward;

mod authenticate;
mod limit;
mod perform;

mod answer;
pub use answer::{Audit, AuditFile, Metrics};

mod fuzz;
pub use fuzz::parse_raw_request;
