//! What the black-box tests share.
//!
//! A test starts a real server with [`Dev`], speaks to it with a real SDK ([`clients`]) or with [`Api`],
//! which can also send what no SDK would send, keeps account of its writes in a [`Ledger`], and at the end
//! looks for planted secrets in all files with [`scan`]. A [`Pair`] is two regions and a gateway, [`Traffic`] its
//! clients. Nothing here knows the server's insides, but [`agree`] and [`damage`], which open stores after their nodes stopped.
#![allow(clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test ends by panicking")]
#![allow(clippy::print_stdout, reason = "the test runner shows it")]

mod api;
pub use api::{Answer, Api, Broken};

pub mod clients;

mod dev;
pub use dev::{Dev, valv};

mod callers;
pub use callers::{Stranger, assign, create_vault};

mod key_ledger;
pub use key_ledger::{KeyLedger, KeyWrite};

mod ledger;
pub use ledger::Ledger;

mod node;
pub use node::{DOMAIN, Node, TENANT, VAULT};

mod oidc;
pub use oidc::Oidc;

mod pair;
pub use pair::{HOME, OTHER, Pair};

mod process;
pub use process::Process;

mod prefix;
pub use prefix::prefix;

pub mod scan;

mod registers;
pub use registers::{Span, not_linearizable};

mod slow_link;
pub use slow_link::SlowLink;

mod stalled;
pub use stalled::Stall;

mod stores;
pub use stores::{Damage, agree, damage};

mod traffic;
pub use traffic::{Outcome, PROMISE, SLACK, Sample, Seen, Traffic, judge};

mod wait;
pub use wait::{DEADLINE, until, until_async, within};
