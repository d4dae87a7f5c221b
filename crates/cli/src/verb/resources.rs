//! `resources`: what can be claimed, and who holds it.

use clap::{Args, Subcommand};
use orchd_api::{CloseResource, Resource, ResourceHolder, ResourceRequest, SettleRequest, ThrottleRequest};
use orchd_model::{Amount, Refusal, ResourceName, Span, Time, Token};

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
    /// Give it to nobody for a while, because whoever serves it said so (HTTP status 429)
    ///
    /// In a task (where $ORCHD_TOKEN is set) it speaks for that task: if the task fails after that, it starts
    /// again when the time is over, and that is no try.
    Throttle {
        /// TYPE:IDENTIFIER
        #[arg(value_name = "R")]
        resource: ResourceName,
        /// For how long
        #[arg(value_name = "DUR")]
        retry_after: Span,
        /// The attempt that was told so
        #[arg(long, env = "ORCHD_TOKEN", hide_env_values = true)]
        token: Option<Token>,
        /// Also if it is a lock that nobody has used yet
        #[arg(long)]
        create: bool,
    },
    /// Give it to nobody until it is opened
    Close {
        /// TYPE:IDENTIFIER
        #[arg(value_name = "R")]
        resource: ResourceName,
        /// Also if it is a lock that nobody has used yet
        #[arg(long)]
        create: bool,
    },
    /// Give it out again after it was closed or throttled
    Open {
        /// TYPE:IDENTIFIER
        #[arg(value_name = "R")]
        resource: ResourceName,
    },
    /// Say how many tokens a running task has really used, in place of those it drew
    Settle {
        /// TYPE:IDENTIFIER
        #[arg(value_name = "R")]
        resource: ResourceName,
        /// Tokens used in all
        #[arg(value_name = "USED")]
        used: Amount,
        /// The attempt that used them
        #[arg(long, env = "ORCHD_TOKEN", hide_env_values = true)]
        token: Token,
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
            value.parse().map(Setting::Concurrency).map_err(|_| format!("not a whole number: {value}"))
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
            Some(Action::Throttle { resource, retry_after, token, create }) => {
                let request = ThrottleRequest { resource, retry_after, token, create };
                show(context, &context.client().await?.throttle(request).await?)
            }
            Some(Action::Close { resource, create }) => {
                let request = CloseResource { resource, create };
                show(context, &context.client().await?.close_resource(request).await?)
            }
            Some(Action::Open { resource }) => {
                show(context, &context.client().await?.open_resource(&resource).await?)
            }
            Some(Action::Settle { resource, used, token }) => {
                let request = SettleRequest { resource, used, token };
                show(context, &context.client().await?.settle(request).await?)
            }
        }
    }
}

async fn set(context: &Context, resource: ResourceName, settings: Vec<Setting>) -> Result<Exit, Failure> {
    let mut request =
        ResourceRequest { resource, capacity: None, concurrency: None, tokens: None, per: None, burst: None };
    for setting in settings {
        let (key, twice) = match setting {
            Setting::Capacity(amount) => ("capacity", request.capacity.replace(amount).is_some()),
            Setting::Concurrency(count) => ("concurrency", request.concurrency.replace(count).is_some()),
            Setting::Tokens(amount) => ("tokens", request.tokens.replace(amount).is_some()),
            Setting::Per(span) => ("per", request.per.replace(span).is_some()),
            Setting::Burst(amount) => ("burst", request.burst.replace(amount).is_some()),
        };
        if twice {
            return Err(Failure::Usage(format!("a key is given twice: {key}\nhint: each key has one value")));
        }
    }
    show(context, &context.client().await?.set_resource(request).await?)
}

/// A resource after it was changed.
fn show(context: &Context, resource: &Resource) -> Result<Exit, Failure> {
    if context.json {
        context.screen.json(resource)?;
    } else if context.quiet {
        context.screen.line(text::plain(&resource.resource))?;
    } else {
        print(context, std::slice::from_ref(resource))?;
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

/// A column, what a resource has in it, and whether it is shown for these resources.
type Column = (&'static str, fn(&Resource) -> Piece, fn(&Resource) -> bool);

/// Columns that say nothing of any of the resources are left out.
const COLUMNS: [Column; 11] = [
    ("RESOURCE", |resource| Piece::text(text::plain(&resource.resource)), |_| true),
    ("CAPACITY", |resource| Piece::number(capacity(resource)), |_| true),
    ("CONCURRENCY", |resource| Piece::number(concurrency(resource)), |r| r.concurrency.is_some()),
    ("HELD", |resource| Piece::number(amount(resource, Some(resource.held))), |_| true),
    ("FREE", |resource| Piece::number(free(resource)), |_| true),
    ("REFILL", refill, |resource| next_refill(resource).is_some()),
    ("RESERVED FOR", |r| Piece::number(reserved_for(r)), |r| r.reserved > 0),
    ("WAITING", |resource| Piece::number(resource.waiting), |_| true),
    ("BLOCKED", |r| Piece::number(text::duration(r.blocked_time)), |r| r.blocked_time > Span::ZERO),
    ("STATE", state, |_| true),
    ("HOLDERS", |resource| Piece::text(holders(resource)), |_| true),
];

pub(super) fn print(context: &Context, resources: &[Resource]) -> Result<(), Failure> {
    let (columns, rows) = table(resources);
    context.screen.table(&columns, rows)?;
    Ok(())
}

/// The columns that say something of these resources, and a row for each.
pub(crate) fn table(resources: &[Resource]) -> (Vec<&'static str>, Vec<Vec<Piece>>) {
    let shown: Vec<&Column> = COLUMNS.iter().filter(|column| resources.iter().any(column.2)).collect();
    let names = shown.iter().map(|column| column.0).collect();
    let row = |resource| shown.iter().map(|column| column.1(resource)).collect();
    (names, resources.iter().map(row).collect())
}

/// Units, or tokens and the time in which they come.
fn capacity(resource: &Resource) -> String {
    match &resource.rate {
        Some(rate) => format!("{}/{}", rate.tokens, rate.per),
        None => amount(resource, resource.capacity),
    }
}

/// Units, or tokens that are there.
fn free(resource: &Resource) -> String {
    match &resource.rate {
        Some(rate) => format!("{}/{}", rate.left, rate.burst),
        None => amount(resource, resource.free),
    }
}

fn next_refill(resource: &Resource) -> Option<Time> {
    resource.rate.as_ref().and_then(|rate| rate.next_refill)
}

/// When there is one token more.
fn refill(resource: &Resource) -> Piece {
    Piece::text(next_refill(resource).map_or_else(|| "-".to_owned(), text::instant))
}

fn reserved_for(resource: &Resource) -> String {
    match resource.reserved {
        0 => "-".to_owned(),
        tasks => text::count(tasks, "task"),
    }
}

fn concurrency(resource: &Resource) -> String {
    resource.concurrency.map_or_else(|| "-".to_owned(), |limit| limit.to_string())
}

fn state(resource: &Resource) -> Piece {
    let tint = if resource.state == "open" { Tint::Plain } else { Tint::Waiting };
    let facts = [
        resource.closed.then(|| "closed".to_owned()),
        resource.paused.then(|| "paused".to_owned()),
        resource.throttled_until.map(|until| format!("throttled until {}", text::instant(until))),
    ];
    let facts: Vec<String> = facts.into_iter().flatten().collect();
    Piece::tinted(tint, if facts.is_empty() { resource.state.clone() } else { facts.join(", ") })
}

fn holders(resource: &Resource) -> String {
    let holder = |holder: &ResourceHolder| {
        let guard = if holder.guard { ", guard" } else { "" };
        format!("{} ({}, {}{guard})", holder.task, text::plain(&holder.name), holder.mode)
    };
    resource.holders.iter().map(holder).collect::<Vec<_>>().join(", ")
}

fn amount(resource: &Resource, amount: Option<Amount>) -> String {
    amount.map_or_else(|| "-".to_owned(), |amount| amount_of(&resource.kind, amount))
}

/// Memory and disk are counted in bytes.
fn amount_of(kind: &str, amount: Amount) -> String {
    match kind {
        "memory" | "disk" => text::bytes(amount.as_thousandths() / 1000),
        _ => amount.to_string(),
    }
}
