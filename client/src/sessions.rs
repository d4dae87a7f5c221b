//! Sessions: one method a request.

use orchd_api::{CloseMode, CloseRequest, Session, SessionQuery, routes};
use orchd_model::{Code, Refusal, SessionId, SessionRef, SessionSpec};

use crate::connection::Call;
use crate::{Client, Error};

impl Client {
    /// Creates a session.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), orchd_client::Error> {
    /// # let client = orchd_client::Client::connect_default().await?;
    /// use orchd_client::api::CloseMode;
    /// use orchd_client::{SessionMode, SessionSpec, TaskSpec};
    /// let name = format!("imports-{}", std::process::id());
    /// let spec = SessionSpec { name, mode: SessionMode::Sequential, max_parallel: None };
    /// let session = client.create_session(&spec).await?;
    /// let task = TaskSpec { session: Some(session.id.into()), ..TaskSpec::command(["true"]) };
    /// client.submit(task).await?;
    /// client.close_session(session.id, CloseMode::Wait).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `conflict` when there is one of this name, or no connection.
    pub async fn create_session(&self, spec: &SessionSpec) -> Result<Session, Error> {
        self.transport.ask(Call::post(routes::SESSIONS, spec)?).await
    }

    /// The sessions that are not closed, then the others, the newest first.
    ///
    /// # Errors
    /// No connection.
    pub async fn sessions(&self, query: SessionQuery) -> Result<Vec<Session>, Error> {
        self.transport.ask(Call::query(routes::SESSIONS, &query)?).await
    }

    /// A session with its statistics.
    ///
    /// # Errors
    /// `not_found`, or no connection.
    pub async fn session(&self, session: &SessionRef) -> Result<Session, Error> {
        let name = match session {
            SessionRef::Id(id) => {
                return self.transport.ask(Call::get(routes::with_id(routes::SESSION, id.0))).await;
            }
            SessionRef::Name(name) => name.clone(),
        };
        let found = self.sessions(SessionQuery { name: Some(name.clone()), limit: None }).await?;
        let unknown = || Refusal::new(Code::NotFound, "no such session").value(name);
        found.into_iter().next().ok_or_else(|| unknown().into())
    }

    /// Takes no more work into a session. What has not ended is cancelled, or runs to its end; the session is
    /// `closing` until then.
    ///
    /// # Errors
    /// `not_found`, `wrong_state` when it is closed, or no connection.
    pub async fn close_session(&self, id: SessionId, mode: CloseMode) -> Result<Session, Error> {
        let path = routes::with_id(routes::SESSION_CLOSE, id.0);
        self.transport.ask(Call::post(&path, &CloseRequest { mode })?).await
    }
}
