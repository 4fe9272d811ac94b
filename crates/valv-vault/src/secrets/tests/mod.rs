//! The secrets' operations over records in memory, and against a model.

mod bench;
mod faults;
mod model;
mod paging;
mod words;
