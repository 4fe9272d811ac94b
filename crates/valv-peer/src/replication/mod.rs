//! `valv_geo::source::Source` over HTTP/2: the questions as paths, the answers in CBOR, streams in frames.

mod frames;
pub use frames::Frames;
pub(crate) use frames::frame;

mod pull;
pub(crate) use pull::Pull;

mod source;
pub use source::PeerSource;
