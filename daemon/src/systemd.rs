//! What a service manager is told (sd_notify(3)); nothing happens without one.

use sd_notify::NotifyState;
use std::sync::Arc;

use crate::http::Shell;

/// Variables for us alone: the worker and its tasks are no services.
pub const VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

fn tell(states: &[NotifyState<'_>]) {
    // Without a manager this does nothing and is no error.
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager was not told");
    }
}

/// The daemon listens.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The configuration is being read again; [`ready`] ends that.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// What it does, for people.
pub fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// The daemon ends.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// Tells a watchdog, if there is one, that the engine still answers, twice as often as it asks.
pub fn feed_watchdog(shell: &Arc<Shell>) {
    let Some(timeout) = sd_notify::watchdog_enabled() else { return };
    let shell = Arc::downgrade(shell);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(timeout / 2).await;
            let Some(shell) = shell.upgrade() else { return };
            if shell.look(|_| ()).await.is_ok() {
                tell(&[NotifyState::Watchdog]);
            }
        }
    });
}
