//! Ad-hoc claims without async. Each is kept by a thread of its own, so that it outlives a restart of the daemon
//! whatever its owner is busy with.

use orchd_api::StopCause;
use orchd_model::{Claim, Outcome, ResourceName, TaskId, Token};
use std::sync::mpsc;
use tokio::runtime::Builder;

use super::Client;
use crate::{ClaimOptions, Error, Loss};

/// Claims that are held; see [`crate::ClaimGuard`]. Dropping it returns at once, and releases in the background.
#[derive(Debug)]
pub struct ClaimGuard {
    // Their thread answers, so waiting needs no more of a runtime than that of anybody.
    guard: crate::ClaimGuard,
}

impl Client {
    /// Claims resources, waits until they are all granted, and holds them.
    ///
    /// ```
    /// # fn main() -> Result<(), orchd_client::Error> {
    /// # let client = orchd_client::blocking::Client::connect_default()?;
    /// let guard = client.claim(["lock:backup:exclusive".parse()?])?;
    /// println!("under token {}", guard.token());
    /// guard.release()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A refusal, or no connection.
    pub fn claim(&self, claims: impl IntoIterator<Item = Claim>) -> Result<ClaimGuard, Error> {
        self.claim_with(claims, ClaimOptions::default())
    }

    /// Claims resources with a name, in a class, or for a limited wait.
    ///
    /// # Errors
    /// A refusal, `timed_out` when it is not granted in time, or no connection.
    pub fn claim_with(
        &self,
        claims: impl IntoIterator<Item = Claim>,
        options: ClaimOptions,
    ) -> Result<ClaimGuard, Error> {
        let (client, claims) = (self.client.clone(), claims.into_iter().collect());
        let (granted, grant) = mpsc::channel();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let keep = move || {
            runtime.block_on(async move {
                let (guard, keeper) = client.make_claim(claims, options).await;
                // Who claims waits for this.
                drop(granted.send(guard));
                drop(keeper.await);
            });
        };
        std::thread::Builder::new().name("claim".to_owned()).spawn(keep)?;
        let ended = |_| Error::Io(std::io::ErrorKind::Interrupted.into());
        Ok(ClaimGuard { guard: grant.recv().map_err(ended)?? })
    }
}

impl ClaimGuard {
    /// The fencing token.
    #[must_use]
    pub fn token(&self) -> Token {
        self.guard.token()
    }

    /// The task that stands for it.
    #[must_use]
    pub fn task(&self) -> TaskId {
        self.guard.task()
    }

    /// Whether it is held, as far as is known.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.guard.is_held()
    }

    /// Why somebody wants it back, if somebody does.
    #[must_use]
    pub fn wanted(&self) -> Option<StopCause> {
        match self.guard.loss() {
            Some(Loss::Wanted(cause)) => Some(cause),
            Some(Loss::Gone(_)) | None => None,
        }
    }

    /// Gives everything back; returns when that is durable.
    ///
    /// # Errors
    /// As [`crate::ClaimGuard::release`].
    pub fn release(self) -> Result<(), Error> {
        waited(self.guard.release())
    }

    /// The same, and tells how what was protected has ended.
    ///
    /// # Errors
    /// As [`crate::ClaimGuard::release_as`].
    pub fn release_as(self, outcome: Outcome) -> Result<(), Error> {
        waited(self.guard.release_as(outcome))
    }

    /// Gives one of the claims back early.
    ///
    /// # Errors
    /// As [`crate::ClaimGuard::release_one`].
    pub fn release_one(&self, resource: &ResourceName) -> Result<(), Error> {
        waited(self.guard.release_one(resource))
    }

    /// Turns one of the claims from write or exclusive into read.
    ///
    /// # Errors
    /// As [`crate::ClaimGuard::downgrade`].
    pub fn downgrade(&self, resource: &ResourceName) -> Result<(), Error> {
        waited(self.guard.downgrade(resource))
    }
}

fn waited<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    Builder::new_current_thread().build()?.block_on(work)
}
