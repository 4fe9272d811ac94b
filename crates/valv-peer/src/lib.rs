//! Between nodes: the inter-node listener and client.
//!
//! Nodes speak HTTP/2 over mutual TLS on a listener of their own. A peer's certificate says what it is
//! ([`Role`]), and so what it may ask: gateways forward requests, probe and ask for the directory; regions may
//! also pull what is replicated to them.
//!
//! | path | method | answers |
//! |---|---|---|
//! | any, with the header `x-valv-forward` | any | a client's request that another door received ([`Forwarded`]) |
//! | `/peer/v1/probe` | GET | [`Probe`] |
//! | `/peer/v1/vault/{name}` | GET | [`Holding`] |
//! | `/peer/v1/standing/{group}` | GET | what was copied of the group ([`valv_geo::apply::Copied`]): regions only |
//! | `/peer/v1/heads/{group}`, `/peer/v1/copy/{group}/{vault}` | GET | streams of events, framed: regions only |
//! | `/peer/v1/log/..`, `/peer/v1/buckets/..`, `/peer/v1/bucket/..` | GET | answers of [`valv_geo::source::Source`]: regions only |
//!
//! Nothing that passes here is decided here: health, modes and the comparison of stores are pure functions of
//! `valv-geo`.

mod forward;
pub use forward::{FORWARD_HEADER, ForwardError, ForwardHead, Forwarded};

mod role;
pub use role::{Role, gateway_name, region_name};

mod settings;
pub use settings::{ClientSettings, ListenSettings};

mod rights;
pub use rights::Rights;

mod tls;
pub use tls::{PeerTls, files};

pub mod listen;

mod replication;
pub use replication::{Frames, PeerSource};

mod client;
pub use client::Peers;

mod wire;
pub use wire::{Held, HeldGroup, Holding, Probe, ProbedReplica, ProbedStanding};

mod local;
pub use local::Local;

mod node;
pub use node::{Node, NodeSettings};

mod standing;
pub use standing::{HomeStanding, StandingSettings};

mod watch;
pub use watch::{Change, Seen, Watch, WatchSettings};

mod directory;
pub use directory::{Directory, DirectorySettings};

mod error;
pub use error::SendError;

mod seams;
pub use seams::{Forwarder, Homes, Located};

mod fuzz;
pub use fuzz::read_everything;
