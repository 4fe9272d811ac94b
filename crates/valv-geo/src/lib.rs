//! Geography: where vaults live, who answers for them, and what lies between regions. No sockets, no plaintext.
//!
//! [`region`], [`catalogue`] and [`pair`] say which regions there are and which is whose pair.
//! [`health`] turns probes into a judgement on nodes and regions, [`standing`] says whether a home may speak for
//! its vaults at all, [`mode`] decides per request who is asked, and [`hedge`] when. These are pure: time comes in
//! as an argument, so that every case can be tried as a plain call.
//!
//! A region copies the groups of its pair: it asks a [`source::Source`] for what is new ([`apply`]), and home
//! answers from its store ([`ship`]). What is copied are whole commits, as home's log keeps them.

pub mod catalogue;
pub mod region;
pub use region::{Coordinates, Distance, Region};

pub mod pair;
pub use pair::{Declared, PairError, Pairing, RegionMap, Warning};

pub mod health;
pub use health::{NodeHealth, NodeProbe, NodeState, RegionHealth};

pub mod standing;
pub use standing::Standing;

pub mod mode;
pub use mode::{
    Asked, CopyView, Forward, Here, Leg, NodeView, PeerId, Plan, Refusal, RegionView, Role, Target, View,
};

pub mod hedge;
pub use hedge::{Action, Event, GiveUp, Hedge};

pub mod apply;
pub mod bucket;
pub mod ship;
pub mod source;
pub mod verify;
mod view;
pub mod wire;
