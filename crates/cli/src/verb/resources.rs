//! `resources`: what can be claimed, and who holds it.

use clap::{Args, Subcommand};
use orchd_api::{Resource, ResourceRequest};
use orchd_model::{Amount, Refusal, ResourceName, Span};

use crate::context::Context;
use crate::screen::{Piece, Tint};
use crate::{Exit, Failure, text};

#[derive(Debug, Args)]
pub(crate) struct Resources {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// List the resources, which is what happens without a word
    List,
    /// Say what a resource has; it comes into being if it does not exist
    Set {
        /// TYPE:IDENTIFIER
        #[arg(value_name = "R")]
        resource: ResourceName,
        /// capacity=AMOUNT, concurrency=N, tokens=N per=DUR burst=N
        #[arg(required = true, value_name = "KEY=VALUE", value_parser = setting)]
        settings: Vec<Setting>,
    },
}

/// One thing to say of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Setting {
    Capacity(Amount),
    Concurrency(u32),
    Tokens(Amount),
    Per(Span),
    Burst(Amount),
}

const KEYS: [&str; 5] = ["capacity", "tokens", "per", "burst", "concurrency"];

fn setting(text: &str) -> Result<Setting, String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    let amount = || value.parse::<Amount>().map_err(|refusal| refusal.to_string());
    match key {
        "capacity" => amount().map(Setting::Capacity),
        "tokens" => amount().map(Setting::Tokens),
        "burst" => amount().map(Setting::Burst),
        "per" => value.parse().map(Setting::Per).map_err(|refusal: Refusal| refusal.to_string()),
        "concurrency" => {
            value.parse().map(Setting::Concurrency).map_err(|_| format!("not a number: {value}"))
        }
        _ => Err(match orchd_model::nearest(key, KEYS) {
            Some(near) => format!("no such key: {key}\nhint: did you mean {near}?"),
            None => format!("no such key: {key}\nhint: one of {}", KEYS.join(", ")),
        }),
    }
}

impl Resources {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self.action {
            None | Some(Action::List) => list(context).await,
            Some(Action::Set { resource, settings }) => set(context, resource, settings).await,
        }
    }
}

async fn set(context: &Context, resource: ResourceName, settings: Vec<Setting>) -> Result<Exit, Failure> {
    let mut request =
        ResourceRequest { resource, capacity: None, concurrency: None, tokens: None, per: None, burst: None };
    for setting in settings {
        let twice = match setting {
            Setting::Capacity(amount) => request.capacity.replace(amount).is_some(),
            Setting::Concurrency(count) => request.concurrency.replace(count).is_some(),
            Setting::Tokens(amount) => request.tokens.replace(amount).is_some(),
            Setting::Per(span) => request.per.replace(span).is_some(),
            Setting::Burst(amount) => request.burst.replace(amount).is_some(),
        };
        if twice {
            return Err(Failure::Usage("a key is given twice".to_owned()));
        }
    }
    let resource = context.client().await?.set_resource(request).await?;
    if context.json {
        context.screen.json(&resource)?;
    } else if context.quiet {
        context.screen.line(text::plain(&resource.resource))?;
    } else {
        print(context, &[resource])?;
    }
    Ok(Exit::DONE)
}

async fn list(context: &Context) -> Result<Exit, Failure> {
    let resources = context.client().await?.resources().await?;
    if context.json {
        context.screen.json(&resources)?;
    } else if context.quiet {
        resources.iter().try_for_each(|resource| context.screen.line(text::plain(&resource.resource)))?;
    } else if resources.is_empty() {
        context.screen.line("no resources")?;
    } else {
        print(context, &resources)?;
    }
    Ok(Exit::DONE)
}

pub(super) fn print(context: &Context, resources: &[Resource]) -> Result<(), Failure> {
    const COLUMNS: [&str; 8] =
        ["RESOURCE", "CAPACITY", "CONCURRENCY", "HELD", "FREE", "WAITING", "STATE", "HOLDERS"];
    // Most resources have none.
    let limited = resources.iter().any(|resource| resource.concurrency.is_some());
    let columns: Vec<&str> = COLUMNS.into_iter().filter(|name| limited || *name != "CONCURRENCY").collect();
    context.screen.table(&columns, resources.iter().map(|resource| row(resource, limited)).collect())?;
    Ok(())
}

fn row(resource: &Resource, limited: bool) -> Vec<Piece> {
    let amount = |amount: Amount| amount_of(&resource.kind, amount);
    let amount_or_dash = |given: Option<Amount>| given.map_or_else(|| "-".to_owned(), amount);
    let tint = if resource.state == "open" { Tint::Plain } else { Tint::Waiting };
    let holders: Vec<String> = resource
        .holders
        .iter()
        .map(|holder| {
            let guard = if holder.guard { ", guard" } else { "" };
            format!("{} ({}, {}{guard})", holder.task, text::plain(&holder.name), holder.mode)
        })
        .collect();
    let concurrency = resource.concurrency.map_or_else(|| "-".to_owned(), |limit| limit.to_string());
    let mut row = vec![
        Piece::text(text::plain(&resource.resource)),
        Piece::number(amount_or_dash(resource.capacity)),
        Piece::number(amount(resource.held)),
        Piece::number(amount_or_dash(resource.free)),
        Piece::number(resource.waiting),
        Piece::tinted(tint, &resource.state),
        Piece::text(holders.join(", ")),
    ];
    if limited {
        row.insert(2, Piece::number(concurrency));
    }
    row
}

/// Memory and disk are counted in bytes.
fn amount_of(kind: &str, amount: Amount) -> String {
    match kind {
        "memory" | "disk" => text::bytes(amount.as_thousandths() / 1000),
        _ => amount.to_string(),
    }
}
