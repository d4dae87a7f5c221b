//! A task that was submitted.

use orchd_api::{Explanation, OperationResult, Task, WaitRequest};
use orchd_model::{Refusal, Status, TaskId, TaskResult};

use crate::{Client, Error};

/// A task and the client to ask about it.
#[derive(Clone)]
pub struct TaskHandle {
    /// The task.
    pub id: TaskId,
    client: Client,
}

impl TaskHandle {
    pub(crate) fn new(id: TaskId, client: Client) -> Self {
        Self { id, client }
    }

    /// Waits until the task has ended and gives its status.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), orchd_client::Error> {
    /// # let client = orchd_client::Client::connect_default().await?;
    /// use orchd_client::{Status, TaskSpec};
    /// let task = client.submit(TaskSpec::command(["true"])).await?;
    /// assert_eq!(task.wait().await?, Status::Completed);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `not_found`, or no connection.
    pub async fn wait(&self) -> Result<Status, Error> {
        let reply = self.client.wait(WaitRequest { select: self.id.into(), timeout: None }).await?;
        reply.tasks.first().and_then(|task| task.status).ok_or_else(|| self.unknown())
    }

    /// Waits until the task has ended and gives what it left.
    ///
    /// # Errors
    /// `not_found`, or no connection.
    pub async fn result(&self) -> Result<TaskResult, Error> {
        self.client.result(self.id).await
    }

    /// Cancels the task and says what became of it.
    ///
    /// # Errors
    /// A refusal, or no connection.
    pub async fn cancel(&self) -> Result<OperationResult, Error> {
        let results = self.client.cancel(self.id.into()).await?;
        results.into_iter().next().ok_or_else(|| self.unknown())
    }

    /// Why the task does not run.
    ///
    /// # Errors
    /// `not_found`, or no connection.
    pub async fn explain(&self) -> Result<Explanation, Error> {
        self.client.explain(self.id).await
    }

    /// Everything about the task.
    ///
    /// # Errors
    /// `not_found`, or no connection.
    pub async fn get(&self) -> Result<Task, Error> {
        self.client.get(self.id).await
    }

    fn unknown(&self) -> Error {
        Error::Refused(Refusal::no_such_task(self.id))
    }
}
