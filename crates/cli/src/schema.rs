//! The JSON Schema of every document that `--json` prints, from the types that are printed.

use orchd_api as api;
use orchd_model::TaskSpec;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::FailureDocument;
use crate::diagnosis::Diagnosis;
use crate::documents::{Drawing, Ended, OutputPiece, Paused, Plans, Removed, Resumed, Shown};
use crate::summary::Summary;

/// The documents of one or more verbs.
#[derive(Clone, Debug)]
pub struct Document {
    /// The name of its file.
    pub name: &'static str,
    /// The verbs that print it. `each line` where it is a stream.
    pub verbs: &'static str,
    /// What it looks like.
    pub schema: Schema,
}

/// Every document.
#[must_use]
pub fn documents() -> Vec<Document> {
    vec![
        document::<api::Added>("added", "add (each line)"),
        document::<api::Task>("task", "run, edit, lock"),
        document::<TaskSpec>("task-spec", "edit --show"),
        document::<Vec<api::Task>>("tasks", "list"),
        document::<Shown>("shown-task", "show"),
        document::<Vec<api::OperationResult>>("results", "cancel, retry, hold, release, reprioritize"),
        document::<OutputPiece>("output-piece", "logs (each line)"),
        document::<api::WaitReply>("wait", "wait"),
        document::<api::Explanation>("explanation", "explain"),
        document::<api::Event>("event", "events (each line)"),
        document::<Vec<api::Hook>>("hooks", "hooks"),
        document::<Vec<api::DeadLetter>>("dead-letters", "hooks dead"),
        document::<Vec<api::LetterResult>>("letter-results", "hooks retry, hooks drop"),
        document::<api::ProgressRequest>("progress", "progress"),
        document::<api::PublishedEvent>("published-event", "publish"),
        document::<api::Stats>("stats", "stats (each line with --watch)"),
        document::<api::Report>("report", "report"),
        document::<Vec<api::Worker>>("workers", "workers"),
        document::<Vec<api::Resource>>("resources", "resources"),
        document::<Vec<api::Schedule>>("schedules", "schedule list"),
        document::<api::Schedule>("schedule", "schedule add, show, remove, pause, resume, run"),
        document::<api::Resource>(
            "resource",
            "resources set, resources throttle, resources close, resources open, resources settle",
        ),
        document::<Paused>("paused", "pause"),
        document::<Resumed>("resumed", "resume"),
        document::<api::DrainReply>("drained", "drain"),
        document::<api::Backup>("backup", "backup"),
        document::<Ended>("ended", "shutdown"),
        document::<Diagnosis>("diagnosis", "doctor"),
        document::<Plans>("plan", "workflow check, workflow plan"),
        document::<Drawing>("drawing", "workflow graph"),
        document::<Summary>("summary", "workflow run, workflow show, orchd run"),
        document::<api::WorkflowAdded>("added-workflow", "workflow run --detach"),
        document::<Vec<api::Workflow>>("workflows", "workflow list"),
        document::<Vec<api::Definition>>("definitions", "workflow put, workflow list --stored"),
        document::<api::ShownDefinition>("shown-definition", "workflow show --stored"),
        document::<Removed>("removed", "workflow remove"),
        document::<api::Session>("session", "session create, session show, session close"),
        document::<Vec<api::Session>>("sessions", "session list"),
        document::<api::SessionStatistics>("session-stats", "stats --session (each line with --watch)"),
        document::<FailureDocument>("failure", "on standard error, any verb that fails"),
    ]
}

fn document<T: JsonSchema>(name: &'static str, verbs: &'static str) -> Document {
    let generator: SchemaGenerator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut schema = generator.into_root_schema_for::<T>();
    schema.insert("title".to_owned(), format!("orchctl {verbs} --json").into());
    Document { name, verbs, schema }
}
