//! The verbs: one file each, and this table. Its order is the order of the help.

mod add;
mod backup;
mod cancel;
mod completions;
mod definition;
mod doctor;
mod drain;
mod edit;
mod events;
mod explain;
mod graph;
mod hold;
mod hooks;
mod list;
mod lock;
mod logs;
mod pause;
mod progress;
mod publish;
mod report;
mod reprioritize;
mod rerun;
mod resources;
mod retry;
mod run;
mod schedule;
mod session;
mod show;
mod shutdown;
mod stats;
mod top;
mod wait;
mod workers;
mod workflow;

use clap::Subcommand;

pub(crate) use explain::lines as explained;
pub(crate) use list::{COLUMNS as TASK_COLUMNS, row as task_row, why};
pub(crate) use report::{peak, verdict};
pub(crate) use resources::table as resource_table;
pub(crate) use stats::{counts, distribution};

use crate::context::Context;
use crate::deferred::Deferred;
use crate::{Exit, Failure};

/// Declares the verbs and how each is run.
macro_rules! verbs {
    ($($(#[$attribute:meta])* $name:ident($module:ident);)*) => {
        #[derive(Debug, Subcommand)]
        pub(crate) enum Verb {
            $($(#[$attribute])* $name(Deferred<$module::$name>),)*
        }

        impl Verb {
            pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
                match self {
                    $(Self::$name(verb) => verb.0.run(context).await,)*
                }
            }
        }
    };
}

impl Verb {
    /// Whether the verb itself decides what an interrupt means; the others just end by it.
    pub(crate) fn minds_interrupts(&self) -> bool {
        match self {
            Self::Run(_) | Self::Edit(_) | Self::Lock(_) | Self::Top(_) | Self::Shutdown(_) => true,
            Self::Add(add) => add.0.minds_interrupts(),
            Self::Workflow(workflow) => workflow.0.minds_interrupts(),
            _ => false,
        }
    }
}

verbs! {
    /// Add a task and print its id
    Add(add);
    /// Add a command, show its output, exit with its exit code
    ///
    /// Ended by a signal it exits with 128 and the number of the signal: 143 when its timeout or deadline, or
    /// somebody's cancel, ended it. 126 and 127 are what shells say of a command that may not be run or does
    /// not exist; 130 is an interrupt here, which cancels the task.
    Run(run);
    /// Hold claims while a command runs here, and exit with its exit code
    ///
    /// The claims wait in the same order as those of tasks, and are given back when the command has ended or this
    /// program dies. The command finds the fencing token in $ORCHD_TOKEN. Exits with 6 when it was not granted in
    /// time; with 127 and 126 as shells do when there is no such command or it may not be run.
    Lock(lock);
    /// Cancel tasks and say for each what became of it
    Cancel(cancel);
    /// List tasks: unfinished first, then the newest ended
    List(list);
    /// Show everything about one task
    Show(show);
    /// Print the output of a task
    Logs(logs);
    /// Wait until tasks have ended
    Wait(wait);
    /// Say why a task does not run
    #[command(visible_alias = "why")]
    Explain(explain);
    /// Run ended tasks again
    Retry(retry);
    /// Keep tasks from starting
    Hold(hold);
    /// Let held tasks go
    Release(hold);
    /// Change the class of a task
    Reprioritize(reprioritize);
    /// Change a task that has not started, in an editor
    Edit(edit);
    /// Print every change of state as it happens
    Events(events);
    /// Publish an event of your own and print its sequence
    ///
    /// It is told to subscribers and hooks as every other event, and kept as long. In a task, --task $ORCHD_TASK_ID says
    /// that it is about that task and its workflow.
    Publish(publish);
    /// Say how far the task that this runs in has come
    ///
    /// What is said sooner than a second after the last word waits for its turn, and makes way for what is said
    /// after it; the last word counts. Lines written to the file in $ORCHD_PROGRESS say the same for less.
    Progress(progress);
    /// Who is told of events, and what could not be told
    Hooks(hooks);
    /// Counts, times, rates
    Stats(stats);
    /// A live view of tasks and resources
    ///
    /// Arrows select a task, Enter says why it waits, l shows its output, c cancels it, h holds it or lets it go, r runs
    /// it again, + and - change its class, p pauses the daemon or ends that, / looks for a name, Tab changes what is
    /// listed, q ends it.
    Top(top);
    /// What became of the tasks of a workflow, or of the last time
    ///
    /// How many ended how, how long they waited and for what, how long they ran, what failed and why, and what they
    /// claimed of cores and memory against what they used.
    Report(report);
    /// The connected workers
    Workers(workers);
    /// The resources, who holds them and how many wait
    Resources(resources);
    /// Start nothing new
    Pause(pause);
    /// End a pause
    Resume(pause);
    /// Start nothing new and wait until nothing runs
    Drain(drain);
    /// Check, plan and run workflow files
    Workflow(workflow);
    /// Contexts with tasks, workflows and keys of their own
    Session(session);
    /// Add tasks or workflows again and again, by a calendar or at an interval
    Schedule(schedule);
    /// Copy the store of the working daemon to a new file
    Backup(backup);
    /// Look for what is missing or broken
    Doctor(doctor);
    /// End the daemon
    Shutdown(shutdown);
    /// Print the completions for a shell
    Completions(completions);
    /// Write the man pages into a directory
    Manual(completions);
}
