//! `explain`: every reason why a task does not run.

use clap::Args;
use orchd_api::Explanation;
use orchd_model::{Holder, Reason, ResourceName, Status, TaskId};

use crate::context::Context;
use crate::{Exit, Failure, text};

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The task
    id: TaskId,
}

impl Explain {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let explanation = context.client().await?.explain(self.id).await?;
        if context.json {
            context.screen.json(&explanation)?;
            return Ok(Exit::DONE);
        }
        if context.quiet {
            context.screen.line(explanation.id.to_string())?;
            return Ok(Exit::DONE);
        }
        let status = context.screen.tinted(explanation.status, explanation.status.as_str());
        context.screen.line(format!(
            "{} ({}) {status}, {}",
            explanation.id,
            text::plain(&explanation.name),
            class(&explanation)
        ))?;
        for line in lines(&explanation) {
            let inner = line.trim_start();
            let indent = 2 + line.len() - inner.len();
            context.screen.beside(&" ".repeat(indent), indent + 2, inner)?;
        }
        Ok(Exit::DONE)
    }
}

fn class(explanation: &Explanation) -> String {
    let (asked, now) = (explanation.priority, explanation.competes_as);
    match &explanation.inherited_from {
        _ if asked == now => format!("class {asked}"),
        Some(from) => {
            let aged = if from.priority == now { "" } else { ", and after waiting so long" };
            let name = text::plain(&from.name);
            format!("class {asked}, competes as {now} because {} ({name}) needs it{aged}", from.task)
        }
        None => format!("class {asked}, competes as {now} after waiting so long"),
    }
}

/// A reason, and below it who holds what it is about, or what stands against each variant.
fn sentences(reason: &Reason) -> Vec<String> {
    match reason {
        Reason::Resource { resource, holders, holder_count, .. } if !holders.is_empty() => {
            let mut lines = vec![text::sentence(&without_holders(reason))];
            lines.extend(holders.iter().map(|holder| format!("  held by {}", held_by(resource, holder))));
            if *holder_count > holders.len() {
                lines.push(format!("  and {} more", holder_count - holders.len()));
            }
            lines
        }
        Reason::Variants { variants } => {
            let mut lines = vec!["none of its variants fits:".to_owned()];
            for variant in variants {
                let claims = variant.claims.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
                lines.push(format!("  variant {}: {}", variant.variant, text::plain(&claims)));
                let reasons = variant.reasons.iter().flat_map(sentences);
                lines.extend(reasons.map(|line| format!("    {line}")));
            }
            lines
        }
        _ => vec![text::sentence(&reason.to_string())],
    }
}

fn without_holders(reason: &Reason) -> String {
    let mut short = reason.clone();
    if let Reason::Resource { holders, holder_count, .. } = &mut short {
        holders.clear();
        *holder_count = 0;
    }
    short.to_string()
}

fn held_by(resource: &ResourceName, holder: &Holder) -> String {
    let Holder { task, name, amount, mode, since, until, .. } = holder;
    let what = if holder.guard { ", a client's own claim" } else { "" };
    let until =
        until.map_or_else(String::new, |until| format!(", until {} at the latest", text::instant(until)));
    let (name, amount) = (text::plain(name), resource.shown(*amount));
    format!("{task} ({name}{what}): {amount} {mode} since {}{until}", text::instant(*since))
}

/// Everything there is to say of why it does not run, a fact a line.
pub(crate) fn lines(explanation: &Explanation) -> Vec<String> {
    let mut lines: Vec<String> =
        explanation.reasons.iter().flat_map(|reason| sentences(&reason.reason)).collect();
    lines.extend(explanation.status_reason.as_ref().map(|reason| text::plain(&reason.text)));
    lines.extend(explanation.stopping.map(|cause| cause.sentence().to_owned()));
    if lines.is_empty() && explanation.status == Status::Running {
        lines.push("it runs".to_owned());
    }
    if lines.is_empty() && !explanation.status.is_terminal() {
        lines.push("nothing stands in its way".to_owned());
    }
    if explanation.ahead_count > 0 {
        let shown: Vec<String> = explanation
            .ahead
            .iter()
            .map(|task| format!("{} ({}, {})", task.task, text::plain(&task.name), task.priority))
            .collect();
        let more = if explanation.ahead_count > shown.len() { ", …" } else { "" };
        lines.push(format!(
            "ahead of it: {}: {}{more}",
            text::count(explanation.ahead_count, "task"),
            shown.join(", ")
        ));
    }
    lines.extend(
        explanation.earliest_start.map(|time| format!("may start at the earliest: {}", text::instant(time))),
    );
    let free_by = |time| format!("what it waits for is free at the latest: {}", text::instant(time));
    lines.extend(explanation.free_by.map(free_by));
    lines
}
