//! Events of one's own.

use orchd_api::{PublishRequest, PublishedEvent, routes};

use crate::connection::Call;
use crate::{Client, Error};

impl Client {
    /// Publishes an event of a type of one's own, `custom.NAME`: subscribers and hooks are told of it as of every other one.
    ///
    /// Not repeated when the connection breaks: whoever must not miss it looks among the events whether it is there.
    ///
    /// # Errors
    /// A refusal, or no connection.
    pub async fn publish(&self, event: &PublishRequest) -> Result<PublishedEvent, Error> {
        self.transport.ask(Call::post(routes::EVENTS, event)?).await
    }
}
