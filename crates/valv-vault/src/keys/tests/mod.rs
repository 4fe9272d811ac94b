//! The keys' operations over records in memory, against a model, and over a whole service.

mod bench;
mod faults;
mod model;
mod power_loss;
mod whole;
mod words;
