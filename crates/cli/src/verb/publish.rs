//! `publish`: an event of a type of one's own.

use clap::Args;
use orchd_api::{PublishRequest, check_own_type};
use orchd_model::{Refusal, TaskId};
use serde_json::{Map, Value};

use crate::context::Context;
use crate::workflow_file::assignment;
use crate::{Exit, Failure};

#[derive(Debug, Args)]
pub(crate) struct Publish {
    /// Its type: custom.NAME
    #[arg(value_name = "TYPE", value_parser = own_type)]
    kind: String,
    /// What it says: values are read as JSON, or else are text
    #[arg(value_name = "K=V", value_parser = assignment)]
    values: Vec<(String, String)>,
    /// What it says, as a JSON object; K=V are put over it
    #[arg(long, value_name = "JSON", value_parser = object)]
    data: Option<Map<String, Value>>,
    /// The task it is about
    #[arg(long, value_name = "ID")]
    task: Option<TaskId>,
    /// The workflow it is about
    #[arg(long, value_name = "W")]
    workflow: Option<String>,
    /// The session it is about
    #[arg(long, value_name = "S")]
    session: Option<String>,
}

impl Publish {
    /// Prints its sequence.
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let mut data = self.data.unwrap_or_default();
        for (name, value) in self.values {
            data.insert(name, serde_json::from_str(&value).unwrap_or(Value::String(value)));
        }
        let request = PublishRequest {
            kind: self.kind,
            data,
            task: self.task,
            workflow: self.workflow,
            session: self.session,
        };
        let published = context.client().await?.publish(&request).await?;
        if context.json {
            context.screen.json(&published)?;
        } else {
            context.screen.line(published.sequence.to_string())?;
        }
        Ok(Exit::DONE)
    }
}

fn own_type(text: &str) -> Result<String, Refusal> {
    check_own_type(text).map(|()| text.to_owned())
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("not a JSON object: {error}"))
}
