//! Events that users publish: they have a place in the total order like every other one, and change nothing.

use orchd_model::{SessionId, TaskId, WorkflowId};
use serde::{Deserialize, Serialize};

use crate::command::Reply;
use crate::core::{Core, Output};
use crate::event::Fact;

/// What somebody publishes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct News {
    /// Its type, `custom.NAME`.
    pub kind: Box<str>,
    /// The task it is about.
    pub task: Option<TaskId>,
    /// The workflow it is about, or of the task.
    pub workflow: Option<WorkflowId>,
    /// The session it is about, or of the task or workflow.
    pub session: Option<SessionId>,
    /// Who says so.
    pub owner: u32,
    /// What it says, an object as JSON.
    pub data: Box<str>,
}

impl Core {
    pub(crate) fn publish(&mut self, news: Box<News>, out: &mut Output) -> Reply {
        let sequence = self.meta.next_sequence;
        self.emit(out, Fact::Published { news });
        Reply::Published(sequence)
    }
}
