//! Client library for orchd.

#[cfg(feature = "worker")]
pub mod worker;
