//! What a worker tells in one message, in the order in which it is to be taken.

use orchd_api::AttemptProgress;
use orchd_core::Command;
use orchd_model::{AttemptReport, Span, Time, Token, WorkerId};

/// What a worker tells in one message.
pub struct Told {
    /// When it was said, on the machine's monotonic clock, if the worker tells that.
    pub said: Option<Span>,
    /// What has begun, and how long before that.
    pub begun: Vec<(Token, Span)>,
    /// What has ended.
    pub ended: Vec<AttemptReport>,
    /// What was given back.
    pub unbegun: Vec<Token>,
    /// How far attempts have come.
    pub progress: Vec<AttemptProgress>,
}

impl Told {
    /// What is said of attempts before they end, and their ends. `said_at`: when.
    pub fn commands(
        self,
        worker: WorkerId,
        said_at: Time,
    ) -> (impl Iterator<Item = Command>, Vec<AttemptReport>) {
        let begun = self.begun.into_iter().map(move |(token, ago)| Command::Begun {
            worker: Some(worker),
            token,
            at: Time(said_at.0.saturating_sub(ago.0)),
        });
        let told = |AttemptProgress { token, progress }| Command::Progress { token, progress, by: None };
        let progress = self.progress.into_iter().map(told);
        let unbegun = self.unbegun.into_iter().map(move |token| Command::Unbegun { worker, token });
        (begun.chain(progress).chain(unbegun), self.ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_began_did_so_before_it_was_said_and_not_before_it_was_read() {
        let told = Told {
            said: None,
            begun: vec![(Token(1), Span(30)), (Token(2), Span(10))],
            ended: Vec::new(),
            unbegun: Vec::new(),
            progress: Vec::new(),
        };
        let (before, _) = told.commands(WorkerId(1), Time(100));
        let at = before.map(|command| if let Command::Begun { at, .. } = command { at } else { Time(0) });
        assert_eq!(at.collect::<Vec<_>>(), [Time(70), Time(90)]);
    }
}
