//! `workers`: who runs attempts.

use clap::Args;
use orchd_api::Worker;

use crate::context::Context;
use crate::screen::Piece;
use crate::{Exit, Failure, text};

#[derive(Debug, Args)]
pub(crate) struct Workers {}

impl Workers {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let workers = context.client().await?.workers().await?;
        if context.json {
            context.screen.json(&workers)?;
        } else if context.quiet {
            workers.iter().try_for_each(|worker| context.screen.line(worker.id.to_string()))?;
        } else if workers.is_empty() {
            context.screen.line("no workers")?;
        } else {
            const COLUMNS: [&str; 8] =
                ["ID", "KIND", "PID", "USED", "SLOTS", "CONNECTED", "HANDLERS", "LABELS"];
            context.screen.table(&COLUMNS, workers.iter().map(row).collect())?;
        }
        Ok(Exit::DONE)
    }
}

fn row(worker: &Worker) -> Vec<Piece> {
    vec![
        Piece::number(worker.id),
        Piece::text(text::plain(&worker.kind)),
        Piece::number(worker.pid),
        Piece::number(worker.used),
        Piece::number(worker.slots),
        Piece::number(worker.connected_at.map_or_else(|| "lost".to_owned(), text::age)),
        Piece::text(text::plain(&worker.handlers.join(" "))),
        Piece::text(text::plain(&worker.labels.join(" "))),
    ]
}
