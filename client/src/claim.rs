//! Ad-hoc claims: resources held for code of the program itself, under the same rules and in the same order as
//! the claims of tasks.

use orchd_api::{ClaimRequest, StopCause};
use orchd_model::{Claim, Code, Kept, Outcome, Priority, Refusal, ResourceName, Span, TaskId, Token};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::claimant::{Ends, Grant, Keeper, Wish};
use crate::{Client, Error};

/// How an ad-hoc claim is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimOptions {
    /// What people see as the holder; the program's file name when not given.
    pub name: Option<String>,
    /// The class that it competes in with tasks and other claims.
    pub priority: Priority,
    /// How long to wait for the grant; none: as long as it takes, zero: not at all.
    pub wait: Option<Duration>,
}

/// Why a guard does not protect, or should not protect any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Somebody wants it back, by cancelling the task that stands for it. It is held until the guard is
    /// released or dropped.
    Wanted(StopCause),
    /// It is not held any more, and others may hold it by now: the daemon was away, and the lease was over
    /// before this client came back.
    Gone(Refusal),
}

/// Claims that are held. They are given back when the guard is [released](Self::release) or dropped, and when
/// the process ends, however it ends.
///
/// Dropping returns at once and releases in the background, as long as the runtime runs that the claim was made
/// in; when it is shut down the connection closes, which releases as well.
///
/// A daemon that is restarted meanwhile changes nothing: the guard connects again, and holds what it held. The
/// [token](Self::token) lets the protected thing itself tell an old holder from a new one.
#[derive(Debug)]
pub struct ClaimGuard {
    grant: Grant,
    wishes: mpsc::Sender<Wish>,
    loss: watch::Receiver<Option<Loss>>,
    away: watch::Receiver<bool>,
}

impl Client {
    /// Claims resources, waits until they are all granted, and holds them.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), orchd_client::Error> {
    /// # let client = orchd_client::Client::connect_default().await?;
    /// let guard = client.claim(["lock:deploy:exclusive".parse()?, "database:main".parse()?]).await?;
    /// println!("deploying under token {}", guard.token());
    /// guard.release().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A refusal (`unsatisfiable`, `not_configured`, …, or `stale_token`: see [`claim_with`](Self::claim_with)), or no
    /// connection.
    pub async fn claim(&self, claims: impl IntoIterator<Item = Claim>) -> Result<ClaimGuard, Error> {
        self.claim_with(claims, ClaimOptions::default()).await
    }

    /// Claims resources with a name, in a class, or for a limited wait. A future that is dropped withdraws.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), orchd_client::Error> {
    /// # let client = orchd_client::Client::connect_default().await?;
    /// use orchd_client::{ClaimOptions, model::Code};
    /// use std::time::Duration;
    ///
    /// let held = client.claim(["lock:report:write".parse()?]).await?;
    /// let at_once = ClaimOptions { wait: Some(Duration::ZERO), ..ClaimOptions::default() };
    /// let refused = client.claim_with(["lock:report".parse()?], at_once.clone()).await.unwrap_err();
    /// assert_eq!(refused.code(), Some(Code::TimedOut));
    /// held.downgrade(&"lock:report".parse()?).await?;
    /// client.claim_with(["lock:report".parse()?], at_once).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A refusal, `timed_out` when it is not granted in time, `stale_token` when the place in the queue was lost while
    /// it waited (this process was stopped while the daemon was restarted, say, for longer than the lease), or no
    /// connection.
    pub async fn claim_with(
        &self,
        claims: impl IntoIterator<Item = Claim>,
        options: ClaimOptions,
    ) -> Result<ClaimGuard, Error> {
        self.make_claim(claims.into_iter().collect(), options).await.0
    }

    /// Makes a claim; gives the task that keeps it, too.
    pub(crate) async fn make_claim(
        &self,
        claims: Vec<Claim>,
        options: ClaimOptions,
    ) -> (Result<ClaimGuard, Error>, JoinHandle<()>) {
        let ClaimOptions { name, priority, wait } = options;
        let name = name.unwrap_or_else(program);
        let request =
            ClaimRequest { name, claims, priority, wait: wait != Some(Duration::ZERO), returns: false };
        let settings = self.transport.settings();
        let (keeper, ends) = Keeper::new(self.transport.socket().to_owned(), settings, request);
        let Ends { mut granted, wishes, loss, away } = ends;
        let mut keeper = tokio::spawn(keeper.run());
        let grant = match wait.filter(|wait| !wait.is_zero()) {
            None => granted.await,
            Some(wait) => match timeout(wait, &mut granted).await {
                Ok(grant) => grant,
                Err(_) => {
                    drop((granted, wishes));
                    // Until the daemon has forgotten it, so that nobody sees it wait any more.
                    let _ = timeout(settings.connect_timeout.min(FORGOTTEN_IN), &mut keeper).await;
                    let refusal = Refusal::new(Code::TimedOut, "not granted in time");
                    return (Err(refusal.value(Span::from(wait).to_string()).into()), keeper);
                }
            },
        };
        // A keeper that does not answer has ended with its runtime.
        let grant = grant.unwrap_or_else(|_| Err(Error::Io(std::io::ErrorKind::Interrupted.into())));
        (grant.map(|grant| ClaimGuard { grant, wishes, loss, away }), keeper)
    }
}

/// Who gives up a claim that was not granted waits no longer until the daemon has forgotten it: it may be away.
const FORGOTTEN_IN: Duration = Duration::from_millis(500);

/// The name of the program that runs.
fn program() -> String {
    let path = std::env::args_os().next().unwrap_or_default();
    let file = std::path::Path::new(&path).file_name().unwrap_or_default().to_string_lossy();
    if file.is_empty() { "claim".to_owned() } else { file.into_owned() }
}

impl ClaimGuard {
    /// The fencing token: larger than that of any earlier holder, of this or any other resource of the daemon.
    #[must_use]
    pub fn token(&self) -> Token {
        self.grant.token
    }

    /// The task that stands for it in lists and explanations.
    #[must_use]
    pub fn task(&self) -> TaskId {
        self.grant.task
    }

    /// How long whoever is asked to give it back should take at most.
    #[must_use]
    pub fn grace(&self) -> Duration {
        self.grant.grace.into()
    }

    /// Whether it is held, as far as is known: while the daemon is away it is.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !matches!(self.loss(), Some(Loss::Gone(_)))
    }

    /// Why it does not, or should not, protect any more.
    #[must_use]
    pub fn loss(&self) -> Option<Loss> {
        let loss = self.loss.borrow().clone();
        // What keeps the claims has ended with the runtime that they were made in.
        let is_kept = self.loss.has_changed().is_ok();
        loss.filter(|loss| is_kept || matches!(loss, Loss::Gone(_)))
            .or_else(|| (!is_kept).then(|| Loss::Gone(gone())))
    }

    /// Waits until the claims are lost, or wanted back. The future may be dropped and made again.
    pub async fn lost(&self) -> Loss {
        let mut loss = self.loss.clone();
        match loss.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(loss)) => loss.clone(),
            Ok(None) | Err(_) => Loss::Gone(gone()),
        }
    }

    /// Gives everything back; returns when that is durable.
    ///
    /// # Errors
    /// `stale_token` when it was lost before; no connection: the daemon is away, and when it is back it will
    /// find the claims without an owner.
    pub async fn release(self) -> Result<(), Error> {
        self.release_as(Outcome::Succeeded).await
    }

    /// The same, and tells how what was protected has ended: the [task](Self::task) that stands for the claims ends
    /// in this way, too.
    ///
    /// # Errors
    /// As [`release`](Self::release).
    pub async fn release_as(self, outcome: Outcome) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        self.wishes.send(Wish::Release(outcome, answer)).await.map_err(|_| self.why_lost())?;
        answered.await.map_err(|_| self.why_lost())?
    }

    /// Returns when the daemon was looked for in vain since the claims were [released](Self::release): it is away. It is
    /// looked for again as long as for any request, for who waits for the release.
    pub fn daemon_away(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut away = self.away.clone();
        async move {
            if away.wait_for(|away| *away).await.is_err() {
                // The claims have ended meanwhile.
                std::future::pending().await
            }
        }
    }

    /// Gives one of the claims back early; the others stay. Again is as once.
    ///
    /// # Errors
    /// `not_found` when it was never claimed, `stale_token` when all is lost.
    pub async fn release_one(&self, resource: &ResourceName) -> Result<(), Error> {
        self.loosen(resource, Kept::Nothing).await
    }

    /// Turns one of the claims from write or exclusive into read, so that readers come in. Again is as once.
    ///
    /// # Errors
    /// `not_found` when it was never claimed, `wrong_state` when it was given back, `stale_token` when all is
    /// lost.
    pub async fn downgrade(&self, resource: &ResourceName) -> Result<(), Error> {
        self.loosen(resource, Kept::Read).await
    }

    async fn loosen(&self, resource: &ResourceName, kept: Kept) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        let wish = Wish::Loosen { resource: resource.clone(), kept, answer };
        self.wishes.send(wish).await.map_err(|_| self.why_lost())?;
        answered.await.map_err(|_| self.why_lost())?
    }

    fn why_lost(&self) -> Error {
        match &*self.loss.borrow() {
            Some(Loss::Gone(refusal)) => refusal.clone().into(),
            Some(Loss::Wanted(_)) | None => gone().into(),
        }
    }
}

fn gone() -> Refusal {
    Refusal::new(Code::StaleToken, "the claims are lost")
}
