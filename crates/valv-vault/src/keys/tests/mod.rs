//! The keys' operations over records in memory, against a model, and over a whole service.

mod bench;
