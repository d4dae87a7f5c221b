//! Reports: what became of many tasks.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use orchd_api::{ListQuery, Report, ReportQuery, ReportedTask, ReportedWorkflow};
use orchd_model::{Refusal, TaskRange};
use orchd_store::Filter;
use std::sync::Arc;

use super::Shell;
use super::answer::{Answered, Query, Refused, json};
use super::pages::{Pages, answer};
use super::tasks::roots;
use crate::documents;
use crate::peer::Peer;
use crate::report::{Scene, page_of, report as report_on, wanted};

/// Tasks that are read and sent at once.
const PAGE: usize = 1000;

/// Counts, times, failures, and what was claimed and used.
pub async fn report(
    State(shell): State<Arc<Shell>>,
    Extension(peer): Extension<Peer>,
    Query(query): Query<ReportQuery>,
) -> Answered<Report> {
    let filter = filter(&shell, peer, query).await?;
    let (resources, workers) = shell.look(|core| (core.resources(), core.workers())).await?;
    let scene = Scene {
        now: shell.clock.now(),
        slots: workers.iter().filter(|w| w.attached && !w.claimant).map(|worker| worker.slots).sum(),
        resources: resources.iter().map(|view| (view.name.clone(), view.into())).collect(),
    };
    let about = filter.workflow;
    let (mut report, workflow) = shell
        .read(move |history| {
            let workflow = about.map(|id| history.workflow(id)).transpose()?.flatten();
            Ok((report_on(history, &filter, &scene)?, workflow))
        })
        .await?;
    report.workflow = workflow.map(|stored| ReportedWorkflow {
        id: stored.record.id,
        name: stored.record.name.to_string(),
        status: stored.record.status,
    });
    json(report)
}

/// The same tasks, each with its attempts.
pub async fn tasks(
    State(shell): State<Arc<Shell>>,
    Extension(peer): Extension<Peer>,
    Query(query): Query<ReportQuery>,
) -> Result<Response, Refused> {
    let filter = filter(&shell, peer, query).await?;
    let all = filter.clone();
    let wanted = shell.read(move |history| wanted(history, &all)).await?;
    answer(Reported { shell, filter, wanted, next: 0 }).await
}

async fn filter(shell: &Arc<Shell>, peer: Peer, query: ReportQuery) -> Result<Filter, Refusal> {
    let ReportQuery { workflow, session, since } = query;
    let query = ListQuery { workflow, session, since, limit: Some(0), ..ListQuery::default() };
    Ok(Filter { owner: peer.only_owner(), ..super::list::filter(shell, query).await? })
}

struct Reported {
    shell: Arc<Shell>,
    filter: Filter,
    /// What is sent, by id.
    wanted: Vec<TaskRange>,
    /// How many of these have been sent.
    next: usize,
}

impl Pages for Reported {
    type Item = ReportedTask;

    async fn next(&mut self) -> Result<Option<Vec<ReportedTask>>, Refusal> {
        if self.next == self.wanted.len() {
            return Ok(None);
        }
        let end = self.wanted.len().min(self.next + PAGE);
        let page = self.wanted[self.next..end].to_vec();
        self.next = end;
        let filter = self.filter.clone();
        let found = self.shell.read(move |history| page_of(history, &filter, &page)).await?;
        let roots = roots(&self.shell, found.iter().map(|(task, _)| &task.record)).await?;
        let document = |(task, attempts)| documents::reported(task, attempts, &roots);
        Ok(Some(found.into_iter().map(document).collect()))
    }
}
