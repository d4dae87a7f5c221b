//! orchctl, the command line of orchd: argv in, requests of the client library out, and text or JSON for
//! what comes back.
//!
//! [`main`] is the whole program. [`run_workflow`] is what `orchd run` shares with `orchctl workflow run`.
//! Each verb is one file under `verb`, with its row in the table of `verb/mod.rs`.
//!
//! This crate does NOT contain anything that a program using orchd would need: that is in `orchd-client`.

mod command_line;
mod context;
mod deferred;
mod definitions;
mod diagnosis;
mod documents;
mod exit;
mod failure;
mod follow;
mod foreground;
mod interrupt;
mod last_words;
mod machine;
mod operations;
mod output;
mod progress;
mod report;
mod result_file;
mod schema;
mod screen;
mod simulation;
mod spec_options;
mod submitter;
mod summary;
mod surroundings;
mod text;
mod top;
mod verb;
mod waiting;
mod words;
mod workflow_file;
mod workflow_run;
mod wrap;

pub use command_line::{GlobalOptions, in_our_words, main};
pub use definitions::{CompletionsArgs, ManualArgs};
pub use exit::Exit;
pub use failure::{Failure, FailureDocument};
pub use machine::Machine;
pub use schema::{Document, documents};
pub use screen::Color;
pub use submitter::{Submitter, submitter_context};
pub use workflow_file::WorkflowFile;
pub use workflow_run::{RunOptions, Submission, run_workflow, show_ended};
