//! `pause` and `resume`: of everything, or of a class, resource, session or workflow.

use clap::{ArgGroup, Args};
use orchd_api::PauseRequest;
use orchd_model::{Priority, ResourceName};

use crate::context::Context;
use crate::documents::{Paused, Resumed};
use crate::{Exit, Failure, words};

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("scope").args(["priority", "resource", "session", "workflow"])))]
struct Scope {
    /// Only tasks of this class; one that a task of a better class depends on counts as of that class
    #[arg(long, short, value_name = "CLASS", value_parser = words::class())]
    priority: Option<Priority>,
    /// Only tasks that claim this resource
    #[arg(long, value_name = "R")]
    resource: Option<ResourceName>,
    /// Only tasks of this session
    #[arg(long, value_name = "S")]
    session: Option<String>,
    /// Only tasks of this workflow
    #[arg(long, value_name = "W")]
    workflow: Option<String>,
}

impl From<Scope> for PauseRequest {
    fn from(scope: Scope) -> Self {
        Self {
            priority: scope.priority,
            resource: scope.resource.map(|resource| resource.to_string()),
            session: scope.session,
            workflow: scope.workflow,
            create: false,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Pause {
    #[command(flatten)]
    scope: Scope,
    /// Also if the resource is a lock that nobody has used yet
    #[arg(long, requires = "resource")]
    create: bool,
}

impl Pause {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        pause(context, PauseRequest { create: self.create, ..self.scope.into() }).await
    }
}

/// Pauses something, and says so.
pub(super) async fn pause(context: &Context, request: PauseRequest) -> Result<Exit, Failure> {
    context.client().await?.pause(request.clone()).await?;
    if context.json {
        context.screen.json(&Paused { paused: request })?;
        return Ok(Exit::DONE);
    }
    say(context, "paused", &request)
}

#[derive(Debug, Args)]
pub(crate) struct Resume {
    #[command(flatten)]
    scope: Scope,
}

impl Resume {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let request = PauseRequest::from(self.scope);
        context.client().await?.resume(request.clone()).await?;
        if context.json {
            context.screen.json(&Resumed { resumed: request })?;
            return Ok(Exit::DONE);
        }
        say(context, "resumed", &request)
    }
}

fn say(context: &Context, done: &str, request: &PauseRequest) -> Result<Exit, Failure> {
    if context.quiet {
        return Ok(Exit::DONE);
    }
    let parts = [
        ("priority", request.priority.map(|class| class.to_string())),
        ("resource", request.resource.clone()),
        ("session", request.session.clone()),
        ("workflow", request.workflow.clone()),
    ];
    let named: Vec<String> =
        parts.into_iter().filter_map(|(noun, name)| Some(format!("{noun} {}", name?))).collect();
    let what = if named.is_empty() { "everything".to_owned() } else { named.join(", ") };
    context.screen.line(format!("{done}: {what}"))?;
    Ok(Exit::DONE)
}
