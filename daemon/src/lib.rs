//! The orchd daemon: everything between the socket and the scheduler.
//!
//! | thread | owns |
//! |---|---|
//! | engine | the scheduler; handles commands in the order they arrive ([`engine`]) |
//! | writer | the store's writing side; one commit a batch, then the replies ([`writer`]) |
//! | outbox | what is let out after a commit: assignments, stops, conditions ([`outbox`]) |
//! | shell (tokio) | sockets: the API, worker sessions, subscribers ([`http`]) |
//!
//! This crate does NOT contain scheduling rules.

mod absent;
mod args;
mod aside;
mod at_once;
mod batch;
mod calendar;
mod clock;
mod compute;
mod config;
mod damage;
mod desk;
mod distributions;
mod documents;
mod ended_workflows;
mod engine;
mod evaluator;
mod feed;
mod firing;
mod hooks;
mod http;
mod inputs;
mod known;
mod last_end;
mod live;
mod load_guard;
mod local_worker;
mod logs;
mod memory;
mod narration;
mod outbox;
mod peer;
mod preparing;
mod readers;
mod references;
mod report;
mod rerun;
mod revival;
mod roots;
mod run;
mod schedules;
mod serve;
mod sessions;
mod shutdown;
mod socket;
mod spared;
mod statistics;
mod succession;
mod sweeper;
mod systemd;
mod tether;
mod told;
mod transformer;
mod trimming;
mod workflow_figures;
mod writer;

pub use args::main;
