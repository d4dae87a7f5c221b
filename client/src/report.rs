//! Reports: what became of many tasks.

use orchd_api::{Report, ReportQuery, ReportedTask, routes};

use crate::connection::Call;
use crate::{Client, Error};

impl Client {
    /// What became of the tasks of a workflow, or of those of the last time: how long they waited and ran, what
    /// failed, what they claimed and used.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let client = orchd_client::Client::connect_default().await?;
    /// use orchd_client::api::ReportQuery;
    /// let query = ReportQuery { since: Some("1h".parse()?), ..ReportQuery::default() };
    /// let report = client.report(query).await?;
    /// println!("{} of {} failed", report.tasks.failed, report.tasks.total);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A refusal of the query, or no connection.
    pub async fn report(&self, query: ReportQuery) -> Result<Report, Error> {
        self.transport.ask(Call::query(routes::REPORT, &query)?.patient()).await
    }

    /// The tasks of a report with their attempts, by id.
    ///
    /// # Errors
    /// A refusal of the query, or no connection.
    pub async fn reported_tasks(&self, query: ReportQuery) -> Result<Vec<ReportedTask>, Error> {
        self.transport.ask(Call::query(routes::REPORT_TASKS, &query)?.patient()).await
    }
}
