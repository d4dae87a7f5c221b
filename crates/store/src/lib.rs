//! What orchd keeps on disk: unfinished work, history and the journal of events.
//!
//! A [`Store`] takes one [`Batch`] a commit and is owned by one thread; a [`History`] answers questions
//! from a connection of its own and may live on any thread. [`SqliteStore`] is the embedded implementation,
//! [`StateDir`] the directory it lives in, held by one process at a time.
//!
//! This crate does NOT contain scheduling decisions: it writes the records that it is given and reads them
//! back. Nothing above the two traits knows what lies under them.

mod attempt;
mod backup;
mod blocked;
mod codec;
mod definition;
mod dir;
mod element;
mod error;
mod figures;
mod history;
mod hook;
mod inspect;
mod numbered;
mod query;
mod reserve;
mod reserved;
mod schedules;
mod schema;
mod session;
mod sqlite;
mod store;
mod trim;
mod write;

pub use definition::{DefinitionChange, StoredDefinition};
pub use dir::StateDir;
pub use error::StoreError;
pub use figures::Figures;
pub use hook::{DEAD_LETTERS, DeadLetter, HookChange};
pub use inspect::{Inspected, inspect};
pub use sqlite::SqliteStore;
pub use store::{
    Batch, Filter, History, Retention, Store, StoredAttempt, StoredSchedule, StoredTask, StoredWorkflow,
    TaskEnd, TaskOutput, Trimmed,
};
