//! Hooks: who is told of events, and what could not be told.

use orchd_api::{DeadLetter, Hook, LetterResult, LettersRequest, routes};

use crate::connection::Call;
use crate::{Client, Error};

impl Client {
    /// The hooks and how they do.
    ///
    /// # Errors
    /// A refusal, or no connection.
    pub async fn hooks(&self) -> Result<Vec<Hook>, Error> {
        self.transport.ask(Call::get(routes::HOOKS)).await
    }

    /// The events that hooks could not deliver.
    ///
    /// # Errors
    /// A refusal, or no connection.
    pub async fn dead_letters(&self) -> Result<Vec<DeadLetter>, Error> {
        self.transport.ask(Call::get(routes::HOOKS_DEAD)).await
    }

    /// Tries to deliver some of them once more.
    ///
    /// # Errors
    /// A refusal, or no connection.
    pub async fn retry_dead_letters(&self, which: LettersRequest) -> Result<Vec<LetterResult>, Error> {
        self.transport.ask(Call::post(routes::HOOKS_RETRY, &which)?).await
    }

    /// Forgets some of them.
    ///
    /// # Errors
    /// A refusal, or no connection.
    pub async fn drop_dead_letters(&self, which: LettersRequest) -> Result<Vec<LetterResult>, Error> {
        self.transport.ask(Call::post(routes::HOOKS_DROP, &which)?).await
    }
}
