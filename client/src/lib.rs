//! Client library for orchd: submit tasks, wait for them, watch what happens, read their output.
//!
//! [`Client`] speaks HTTP/1.1 and JSON with the daemon over its Unix socket; [`blocking::Client`] is the
//! same without async. A client opens connections as it needs them, and opens them again when the daemon
//! was restarted: what may safely be asked twice is asked again, streams go on where they stopped.
//!
//! ```
//! use orchd_client::{Client, TaskSpec};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), orchd_client::Error> {
//! let client = Client::connect_default().await?;
//! let task = client.submit(TaskSpec::shell("wc -l /etc/passwd")).await?;
//! let result = task.result().await?;
//! assert!(result.success, "task {}: {:?}", task.id, result.error_message);
//! # Ok(())
//! # }
//! ```
//!
//! The examples in this documentation run against a daemon; `scripts/test` starts one for them.
//!
//! This crate does NOT contain a command line, the scheduler or the store.

mod backoff;
pub mod blocking;
mod bulk;
#[cfg(feature = "claims")]
mod claim;
#[cfg(feature = "claims")]
mod claimant;
mod client;
mod connection;
mod error;
mod events;
mod handle;
mod hooks;
mod listing;
mod logs;
mod publish;
mod report;
mod schedule;
mod sessions;
mod socket;
mod source;
mod sse;
mod stuck;
#[cfg(feature = "worker")]
pub mod worker;
mod workflow;

#[cfg(feature = "claims")]
pub use claim::{ClaimGuard, ClaimOptions, Loss};
pub use client::{Client, Settings};
pub use error::Error;
pub use events::Events;
pub use handle::TaskHandle;
pub use listing::Listing;
pub use logs::{LogItem, Logs};
pub use socket::default_socket;

pub use orchd_api as api;
pub use orchd_model as model;
pub use orchd_model::{
    Claim, Priority, Refusal, ScheduleSpec, SessionMode, SessionSpec, Status, TaskId, TaskResult, TaskSpec,
    WorkflowSpec,
};
