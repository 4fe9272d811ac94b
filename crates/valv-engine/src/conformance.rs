//! The suite that every engine passes unchanged. Being written.
