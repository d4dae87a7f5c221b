//! `hooks`: who is told of events, and what could not be told.

use clap::{Args, Subcommand};
use orchd_api::{DeadLetter, Hook, LetterResult, LettersRequest};

use crate::context::Context;
use crate::screen::{Piece, Tint};
use crate::{Exit, Failure, text};

#[derive(Debug, Args)]
pub(crate) struct Hooks {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// List the hooks and how they do, which is what happens without a word
    List,
    /// List the events that could not be delivered
    Dead,
    /// Try to deliver them once more
    Retry(Letters),
    /// Forget them
    Drop(Letters),
}

#[derive(Clone, Debug, Args)]
struct Letters {
    /// Numbers of dead letters
    #[arg(value_name = "ID", required_unless_present = "all")]
    ids: Vec<u64>,
    /// All there are
    #[arg(long, conflicts_with = "ids")]
    all: bool,
}

impl From<Letters> for LettersRequest {
    fn from(letters: Letters) -> Self {
        Self { ids: letters.ids, all: letters.all }
    }
}

impl Hooks {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client().await?;
        match self.action {
            None | Some(Action::List) => list(context, &client.hooks().await?),
            Some(Action::Dead) => dead(context, &client.dead_letters().await?),
            Some(Action::Retry(letters)) => {
                tell(context, &client.retry_dead_letters(letters.into()).await?, "delivered")
            }
            Some(Action::Drop(letters)) => {
                tell(context, &client.drop_dead_letters(letters.into()).await?, "dropped")
            }
        }
    }
}

fn list(context: &Context, hooks: &[Hook]) -> Result<Exit, Failure> {
    if context.json {
        context.screen.json(&hooks)?;
    } else if context.quiet {
        hooks.iter().try_for_each(|hook| context.screen.line(text::plain(&hook.name)))?;
    } else if hooks.is_empty() {
        context.screen.line("no hooks")?;
    } else {
        const COLUMNS: [&str; 7] = ["NAME", "EVENTS", "TELLS", "DELIVERED", "FAILED TRIES", "BEHIND", "DEAD"];
        context.screen.table(&COLUMNS, hooks.iter().map(row).collect())?;
    }
    Ok(Exit::DONE)
}

fn row(hook: &Hook) -> Vec<Piece> {
    let command = hook.command.as_ref().map(|words| words.join(" "));
    let tells = begun(text::plain(&command.or_else(|| hook.url.clone()).unwrap_or_default()));
    vec![
        Piece::text(text::plain(&hook.name)),
        Piece::text(text::plain(&hook.events.join(" "))),
        Piece::text(tells),
        Piece::number(hook.delivered),
        Piece::number(hook.failed_tries),
        Piece::number(hook.behind),
        Piece::number(hook.dead),
    ]
}

/// The beginning of what a hook runs: a script may be long. `--json` has all of it.
fn begun(text: String) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn dead(context: &Context, letters: &[DeadLetter]) -> Result<Exit, Failure> {
    if context.json {
        context.screen.json(&letters)?;
    } else if context.quiet {
        letters.iter().try_for_each(|letter| context.screen.line(letter.id.to_string()))?;
    } else if letters.is_empty() {
        context.screen.line("no dead letters")?;
    } else {
        const COLUMNS: [&str; 8] = ["ID", "WORKFLOW", "HOOK", "EVENT", "TYPE", "TRIES", "DIED", "WHY"];
        let row = |letter: &DeadLetter| {
            vec![
                Piece::number(letter.id),
                Piece::number(letter.workflow.map(|id| id.to_string()).unwrap_or_default()),
                Piece::text(text::plain(&letter.hook)),
                Piece::number(letter.event.sequence),
                Piece::text(text::plain(&letter.event.kind)),
                Piece::number(letter.tries),
                Piece::number(text::age(letter.died_at)),
                Piece::tinted(Tint::Faint, text::plain(&letter.error)),
            ]
        };
        context.screen.table(&COLUMNS, letters.iter().map(row).collect())?;
    }
    Ok(Exit::DONE)
}

/// Says of each what became of it.
fn tell(context: &Context, results: &[LetterResult], done: &str) -> Result<Exit, Failure> {
    if context.json {
        context.screen.json(&results)?;
    } else if !context.quiet {
        for result in results {
            let what = result.error.as_deref().unwrap_or(done);
            context.screen.line(format!("{} {}", result.id, text::plain(what)))?;
        }
    }
    Ok(exit(results))
}

/// 4 when there is no such letter, 1 when some are as they were.
fn exit(results: &[LetterResult]) -> Exit {
    if results.iter().any(|result| !result.found) {
        Exit::NOT_FOUND
    } else if results.iter().any(|result| result.error.is_some()) {
        Exit::UNSUCCESSFUL
    } else {
        Exit::DONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_result_decides_the_exit_code() {
        let result =
            |found, error: Option<&str>| LetterResult { id: 7, found, error: error.map(str::to_owned) };
        let (good, failed, unknown) = (
            result(true, None),
            result(true, Some("exit status: 7")),
            result(false, Some("no such dead letter")),
        );
        assert_eq!(exit(&[]), Exit::DONE);
        assert_eq!(exit(std::slice::from_ref(&good)), Exit::DONE);
        assert_eq!(exit(&[good.clone(), failed.clone()]), Exit::UNSUCCESSFUL);
        assert_eq!(exit(&[good, failed, unknown]), Exit::NOT_FOUND);
    }

    #[test]
    fn of_a_long_script_the_beginning_is_shown() {
        assert_eq!(begun("curl -s x".to_owned()), "curl -s x");
        assert_eq!(begun("ä".repeat(60)), "ä".repeat(60));
        assert_eq!(begun("ä".repeat(61)), "ä".repeat(60) + "…");
    }
}
