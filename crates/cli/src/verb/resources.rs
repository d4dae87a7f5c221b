//! `resources`: what can be claimed, and who holds it.

use clap::{Args, Subcommand};
use orchd_api::Resource;
use orchd_model::Amount;

use crate::context::Context;
use crate::screen::{Piece, Tint};
use crate::{Exit, Failure, text};

#[derive(Debug, Args)]
pub(crate) struct Resources {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Action {
    /// List the resources, which is what happens without a word
    List,
}

impl Resources {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self.action {
            None | Some(Action::List) => list(context).await,
        }
    }
}

async fn list(context: &Context) -> Result<Exit, Failure> {
    let resources = context.client().await?.resources().await?;
    if context.json {
        context.screen.json(&resources)?;
    } else if resources.is_empty() {
        context.screen.line("no resources")?;
    } else {
        print(context, &resources)?;
    }
    Ok(Exit::DONE)
}

pub(super) fn print(context: &Context, resources: &[Resource]) -> Result<(), Failure> {
    const COLUMNS: [&str; 7] = ["RESOURCE", "CAPACITY", "HELD", "FREE", "WAITING", "STATE", "HOLDERS"];
    context.screen.table(&COLUMNS, resources.iter().map(row).collect())?;
    Ok(())
}

fn row(resource: &Resource) -> Vec<Piece> {
    let amount = |amount: Amount| amount_of(&resource.kind, amount);
    let amount_or_dash = |given: Option<Amount>| given.map_or_else(|| "-".to_owned(), amount);
    let tint = if resource.state == "open" { Tint::Plain } else { Tint::Waiting };
    let holders: Vec<String> = resource
        .holders
        .iter()
        .map(|holder| format!("{} ({}, {})", holder.task, text::plain(&holder.name), holder.mode))
        .collect();
    vec![
        Piece::text(text::plain(&resource.resource)),
        Piece::number(amount_or_dash(resource.capacity)),
        Piece::number(amount(resource.held)),
        Piece::number(amount_or_dash(resource.free)),
        Piece::number(resource.waiting),
        Piece::tinted(tint, &resource.state),
        Piece::text(holders.join(", ")),
    ]
}

/// Memory and disk are counted in bytes.
fn amount_of(kind: &str, amount: Amount) -> String {
    match kind {
        "memory" | "disk" => text::bytes(amount.as_thousandths() / 1000),
        _ => amount.to_string(),
    }
}
