//! `workflow graph`: the graph of a file, or of a workflow that was submitted, as a drawing or for tools that draw.

use clap::Args;
use orchd_api::ReportQuery;
use orchd_model::{Code, Refusal};
use orchd_workflow::{FileError, Picture};
use std::path::Path;

use super::workflow::{exit_of, named, planned};
use crate::context::Context;
use crate::documents::Drawing;
use crate::report::picture;
use crate::workflow_file::WorkflowFile;
use crate::{Exit, Failure, text};

/// What is larger is no drawing that helps anybody, and takes long to make.
const TASKS: usize = 5000;
const LINKS: usize = 20_000;
/// What the names of files end with.
const ENDINGS: [&str; 4] = [".yaml", ".yml", ".json", ".toml"];

#[derive(Debug, Args)]
pub(super) struct Graph {
    /// A file; a name or id that is no file is that of a workflow that was submitted
    #[command(flatten)]
    file: WorkflowFile,
    /// For Mermaid, the default
    #[arg(long)]
    mermaid: bool,
    /// For Graphviz
    #[arg(long, conflicts_with = "mermaid")]
    dot: bool,
    /// A drawing; of a workflow that was submitted with what has become of each task
    #[arg(long, conflicts_with_all = ["mermaid", "dot"])]
    svg: bool,
}

impl Graph {
    pub(super) async fn run(&self, context: &Context) -> Result<Exit, Failure> {
        if let Some(name) = self.submitted() {
            let client = context.client().await?;
            let workflow = named(&client, name.to_owned(), None).await?;
            let query = ReportQuery { workflow: Some(workflow.id.to_string()), ..ReportQuery::default() };
            let report = client.report(query.clone()).await?;
            let drawn = super::report::drawn(&client, report, query).await?;
            self.tell(context, Some(&picture(&drawn)), Vec::new())?;
            return Ok(Exit::DONE);
        }
        let plans = planned(context, &self.file)?;
        let [plan] = plans.each() else {
            let names: Vec<String> = plans.each().iter().map(|plan| text::plain(&plan.name)).collect();
            let message = format!("several workflows in {}: {}", self.file.file.display(), names.join(", "));
            return Err(Failure::Usage(message + "\nhint: choose one with --workflow NAME"));
        };
        let picture = plan.valid.then(|| Picture::of(plan));
        self.tell(context, picture.as_ref(), plan.errors.clone())?;
        Ok(exit_of(plan))
    }

    /// The name of a workflow that was submitted, if none of a file.
    fn submitted(&self) -> Option<&str> {
        let name = self.file.file.to_str()?;
        let is_file =
            name == "-" || name.contains('/') || ENDINGS.iter().any(|ending| name.ends_with(ending));
        (!is_file && !Path::new(name).exists()).then_some(name)
    }

    fn tell(
        &self,
        context: &Context,
        picture: Option<&Picture>,
        errors: Vec<FileError>,
    ) -> Result<(), Failure> {
        let mut drawing = Drawing { valid: picture.is_some(), errors, mermaid: None, dot: None, svg: None };
        if let Some(picture) = picture {
            match (self.svg, self.dot) {
                (true, _) => drawing.svg = Some(drawn(picture)?),
                (false, true) => drawing.dot = Some(picture.dot()),
                (false, false) => drawing.mermaid = Some(picture.mermaid()),
            }
        }
        if context.json {
            context.screen.json(&drawing)?;
        } else if let Some(text) = [drawing.svg, drawing.dot, drawing.mermaid].into_iter().flatten().next() {
            context.screen.line(text.trim_end())?;
        }
        Ok(())
    }
}

fn drawn(picture: &Picture) -> Result<String, Refusal> {
    let (tasks, links) = (picture.tasks.len(), picture.links.len());
    if tasks > TASKS || links > LINKS {
        let message = format!("a drawing has at most {TASKS} tasks and {LINKS} dependencies");
        return Err(Refusal::new(Code::TooLarge, message)
            .value(format!("{tasks} tasks, {links} dependencies"))
            .hint("--dot and --mermaid have no limit"));
    }
    Ok(picture.svg())
}
