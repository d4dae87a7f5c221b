//! How the daemon comes to its end: who asks for it, and what becomes of running tasks meanwhile.
//!
//! ```text
//! serves ──asked──► nothing new starts ──running tasks have ended, or are left to their worker──► ends
//!    ▲                     │
//!    └──────aborted────────┘
//! ```
//! Invariant: whoever asks is answered when what he asked for holds, or is told that it is too late.

use orchd_api::{ShutdownMode, ToWorker};
use orchd_core::{Command, Core};
use orchd_model::{Code, Refusal, TaskId};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{mpsc, oneshot};

use crate::engine::Request;
use crate::http::Shell;
use crate::systemd;

/// Wishes under way; who wishes faster waits.
const WISHES: usize = 4;

/// What somebody asks, and how he is answered.
struct Wish {
    mode: ShutdownMode,
    answer: oneshot::Sender<Result<(), Refusal>>,
}

/// Asks the daemon to end.
#[derive(Clone)]
pub struct Shutdown {
    wishes: mpsc::Sender<Wish>,
    under_way: Arc<AtomicBool>,
}

/// The daemon's end of it.
pub struct Wishes {
    inbox: mpsc::Receiver<Wish>,
    under_way: Arc<AtomicBool>,
}

/// What has become of a shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Due,
    Aborted,
}

/// A way to ask, and where it is heard.
pub fn channel() -> (Shutdown, Wishes) {
    let (wishes, inbox) = mpsc::channel(WISHES);
    let under_way = Arc::new(AtomicBool::new(false));
    (Shutdown { wishes, under_way: Arc::clone(&under_way) }, Wishes { inbox, under_way })
}

impl Shutdown {
    /// Asks, and returns when it is under way, or no longer. One that waits can be asked again: to cancel what runs, to
    /// leave it, or to go on serving.
    ///
    /// # Errors
    /// `wrong_state` when there is nothing to abort, or it is too late.
    pub async fn ask(&self, mode: ShutdownMode) -> Result<(), Refusal> {
        let (answer, answered) = oneshot::channel();
        let heard = self.wishes.send(Wish { mode, answer }).await.is_ok();
        let answered = if heard { answered.await.ok() } else { None };
        answered.unwrap_or_else(|| match mode {
            // A daemon that ends already need not be asked again.
            ShutdownMode::Leave | ShutdownMode::Wait | ShutdownMode::Cancel => Ok(()),
            ShutdownMode::Abort => {
                Err(Refusal::new(Code::WrongState, "it is too late: the daemon ends").hint("start it again"))
            }
        })
    }

    /// Whether the daemon is about to end.
    pub fn is_under_way(&self) -> bool {
        self.under_way.load(Ordering::Relaxed)
    }
}

impl Wishes {
    /// Returns when the daemon has to end: somebody asked for it, or `interrupted` has come, and what runs has ended, if
    /// that was to be waited for. `stopping` tells then who looks after the worker.
    pub async fn wait(
        mut self,
        shell: &Arc<Shell>,
        interrupted: &mut (impl Future<Output = ()> + Unpin),
        stopping: &AtomicBool,
        is_service: bool,
    ) {
        loop {
            let wish = tokio::select! {
                wish = self.inbox.recv() => wish,
                () = &mut *interrupted => None,
            };
            let mode = wish.as_ref().map_or(ShutdownMode::Leave, |wish| wish.mode);
            if mode == ShutdownMode::Abort {
                let refusal = Refusal::new(Code::WrongState, "no shutdown is under way");
                answer(wish, Err(refusal.hint("orchctl resume ends a pause or a drain")));
                continue;
            }
            self.under_way.store(true, Ordering::Relaxed);
            if is_service && mode != ShutdownMode::Leave {
                systemd::status("shutting down as soon as the running tasks have ended");
            }
            match self.finish(shell, wish, mode, interrupted).await {
                End::Due => break,
                End::Aborted if is_service => systemd::status(&shell.live.status()),
                End::Aborted => {}
            }
        }
        if is_service {
            // Not before: from here on the service manager has only so much patience.
            systemd::stopping();
        }
        // Not before: while tasks are waited for somebody must notice the death of the worker that has them.
        stopping.store(true, Ordering::Relaxed);
        if let Ok(tasks) = shell.look(running_tasks).await
            && tasks.is_empty()
        {
            shell.sessions.send_to_all(&ToWorker::Exit);
        }
    }

    /// What becomes of running tasks: they stay, or are waited for, or are cancelled. A second signal cuts the wait
    /// short.
    async fn finish(
        &mut self,
        shell: &Arc<Shell>,
        wish: Option<Wish>,
        mode: ShutdownMode,
        interrupted: &mut (impl Future<Output = ()> + Unpin),
    ) -> End {
        let mut feed = shell.feed.subscribe();
        if shell.send(Request::Drain(true)).await.is_err() {
            return End::Due;
        }
        answer(wish, Ok(()));
        if mode == ShutdownMode::Cancel {
            cancel_running(shell).await;
        }
        if mode == ShutdownMode::Leave {
            return End::Due;
        }
        while shell.look(running_tasks).await.is_ok_and(|tasks| !tasks.is_empty()) {
            let wish = tokio::select! {
                // Whatever happened, the question is asked again.
                _ = feed.recv() => continue,
                () = &mut *interrupted => return End::Due,
                // Who waits may lose patience, or have changed his mind.
                wish = self.inbox.recv() => wish,
            };
            let Some(mode) = wish.as_ref().map(|wish| wish.mode) else { return End::Due };
            match mode {
                ShutdownMode::Abort => {
                    let resumed = shell.send(Request::Drain(false)).await;
                    self.under_way.store(false, Ordering::Relaxed);
                    tracing::info!("the shutdown was aborted");
                    answer(wish, resumed);
                    return End::Aborted;
                }
                ShutdownMode::Cancel => cancel_running(shell).await,
                ShutdownMode::Wait => {}
                ShutdownMode::Leave => {
                    answer(wish, Ok(()));
                    return End::Due;
                }
            }
            answer(wish, Ok(()));
        }
        End::Due
    }
}

/// Who asked may have gone.
fn answer(wish: Option<Wish>, answer: Result<(), Refusal>) {
    if let Some(wish) = wish {
        let _ = wish.answer.send(answer);
    }
}

async fn cancel_running(shell: &Arc<Shell>) {
    if let Ok(tasks) = shell.look(running_tasks).await {
        let tasks = tasks.into_iter().map(Into::into).collect();
        let command = Command::Cancel { tasks };
        drop(shell.send(Request::Command { command, answer: None }).await);
    }
}

fn running_tasks(core: &Core) -> Vec<TaskId> {
    core.workers().into_iter().flat_map(|worker| worker.tasks).collect()
}
