//! What a worker tells in one message, in the order in which it is to be taken.

use orchd_api::AttemptProgress;
use orchd_core::Command;
use orchd_model::{AttemptReport, Span, Time, Token, WorkerId};

/// What a worker tells in one message.
pub struct Told {
    /// What has begun, and how long ago.
    pub begun: Vec<(Token, Span)>,
    /// What has ended.
    pub ended: Vec<AttemptReport>,
    /// What was given back.
    pub unbegun: Vec<Token>,
    /// How far attempts have come.
    pub progress: Vec<AttemptProgress>,
}

impl Told {
    /// What is said of attempts before they end, and their ends.
    pub fn commands(
        self,
        worker: WorkerId,
        now: Time,
    ) -> (impl Iterator<Item = Command>, Vec<AttemptReport>) {
        let begun = self.begun.into_iter().map(move |(token, ago)| Command::Begun {
            worker: Some(worker),
            token,
            at: Time(now.0.saturating_sub(ago.0)),
        });
        let told = |AttemptProgress { token, progress }| Command::Progress { token, progress, by: None };
        let progress = self.progress.into_iter().map(told);
        let unbegun = self.unbegun.into_iter().map(move |token| Command::Unbegun { worker, token });
        (begun.chain(progress).chain(unbegun), self.ended)
    }
}
