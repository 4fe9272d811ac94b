//! Home's side: answers from its store what a replica asks.
