//! What of a workflow waits for somebody.

use orchd_api::{Stuck, routes};
use orchd_model::WorkflowId;

use crate::connection::Call;
use crate::{Client, Error};

impl Client {
    /// Which tasks of a workflow nothing will ever start unless somebody does something, by reason. Nothing of one that
    /// has ended.
    ///
    /// # Errors
    /// `not_found`, or no connection.
    pub async fn stuck(&self, id: WorkflowId) -> Result<Vec<Stuck>, Error> {
        self.transport.ask(Call::get(routes::with_id(routes::WORKFLOW_STUCK, id.0))).await
    }
}
