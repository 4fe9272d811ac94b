//! Geography: what lies between regions. No HTTP, no sockets, no plaintext.
//!
//! A region copies the groups of its pair: it asks a [`source::Source`] for what is new ([`apply`]), and home
//! answers from its store ([`ship`]). What is copied are whole commits, as home's log keeps them.

pub mod apply;
pub mod bucket;
pub mod ship;
pub mod source;
pub mod wire;
