//! The stream of events, as server-sent events whose ids are sequences.
//!
//! A subscriber first reads the journal from where it wants to begin, then follows the feed. One that is
//! too slow for the feed is told how many events it lost and may read them again from the journal.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse;
use futures_util::Stream;
use orchd_api::{Event, EventQuery, NOTICES};
use orchd_model::{Code, Refusal, Sequence, SessionId, TaskId, Time, WorkflowId};
use orchd_store::{History, StoreError};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::watch;

use super::answer::{Query, Refused};
use super::{Shell, event_rows};
use crate::feed::{self, Missed, Subscription};

/// Events read from the journal at a time: as many as the largest batch, which is read as a whole.
const PAGE: usize = 16_384;

/// Streams events.
pub async fn events(
    State(shell): State<Arc<Shell>>,
    Query(query): Query<EventQuery>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>, Refused> {
    query.check()?;
    let session = match &query.session {
        Some(name) => Some(super::named_session::resolve(&shell, name).await?),
        None => None,
    };
    let only = Only {
        tag: query.tag.clone(),
        task: query.task,
        workflow: match &query.workflow {
            Some(name) => Some(super::workflows::resolve(&shell, session, name).await?),
            None => None,
        },
        session,
    };
    if let Some(id) = query.task
        && shell.read(move |history| history.task(id)).await?.is_none()
    {
        return Err(Refusal::new(Code::NotFound, "no such task").value(id.to_string()).into());
    }
    let resumed = last_event(&headers)?;
    // Before the journal is read, so that nothing is missed in between.
    let live = shell.feed.subscribe();
    let now = shell.statistics.read().sequence;
    let since: Option<u64> = resumed.or(query.since);
    if let Some(since) = since.filter(|since| *since > now.0) {
        // It would hear nothing for a long time, and then of something else.
        return Err(Refusal::new(Code::WrongState, "no event has this sequence yet")
            .value(since.to_string())
            .hint(format!("the latest is {now}; this may be another store than the one it was read from"))
            .into());
    }
    // What happened before a task was added, or after it ended, need not be read to find its events.
    let span = match since {
        Some(since) => span_of(&shell, &only, Sequence(since)).await?,
        None => Span::default(),
    };
    let subscriber = Subscriber {
        stopping: shell.stopping.clone(),
        last: Sequence(since.unwrap_or(now.0)).max(span.after),
        until: span.until.filter(|_| query.no_follow),
        replaying: since.is_some(),
        asked_for: since.filter(|since| *since > 0).map(Sequence),
        left: query.limit,
        shell,
        query,
        only,
        live,
        ready: VecDeque::new(),
    };
    let stream = futures_util::stream::unfold(subscriber, |mut subscriber| async {
        let event = subscriber.next().await?;
        let text = serde_json::to_string(&event).unwrap_or_default();
        let item = sse::Event::default().id(event.sequence.to_string()).event(event.kind).data(text);
        Some((Ok(item), subscriber))
    });
    Ok(Sse::new(stream))
}

/// The event after which a client goes on whose connection broke. One that has heard nothing yet may say so with an empty
/// header.
fn last_event(headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let Some(given) = headers.get("last-event-id").filter(|given| !given.is_empty()) else { return Ok(None) };
    let text = String::from_utf8_lossy(given.as_bytes());
    let refused =
        |_| Refusal::new(Code::Malformed, "Last-Event-ID is the sequence of an event").value(&*text);
    text.parse().map(Some).map_err(refused)
}

/// Where the events of something are in the journal.
#[derive(Default)]
struct Span {
    after: Sequence,
    until: Option<Time>,
}

async fn span_of(shell: &Arc<Shell>, only: &Only, since: Sequence) -> Result<Span, Refusal> {
    let Only { task, workflow, session, .. } = *only;
    shell
        .read(move |history| {
            let mut span = Span { after: since, until: None };
            let mut narrow = |history: &mut dyn History, from: Time, until: Option<Time>| {
                span.after = span.after.max(history.sequence_before(from)?);
                span.until = [span.until, until].into_iter().flatten().min();
                Ok::<(), StoreError>(())
            };
            if let Some(found) = task.map(|id| history.task(id)).transpose()?.flatten() {
                narrow(history, found.record.created_at, found.finished_at)?;
            }
            if let Some(found) = workflow.map(|id| history.workflow(id)).transpose()?.flatten() {
                narrow(history, found.record.created_at, found.finished_at)?;
            }
            if let Some(found) = session.map(|id| history.session(id)).transpose()?.flatten() {
                narrow(history, found.created_at, found.closed_at)?;
            }
            Ok(span)
        })
        .await
}

/// What the events must be about.
struct Only {
    task: Option<TaskId>,
    workflow: Option<WorkflowId>,
    session: Option<SessionId>,
    /// Asked of the store, where tags are.
    tag: Option<String>,
}

impl Only {
    fn admits(&self, event: &Event) -> bool {
        self.task.is_none_or(|id| event.is_about(id))
            && self.workflow.is_none_or(|id| event.workflow == Some(id))
            && self.session.is_none_or(|id| event.session == Some(id))
            && (self.tag.is_none() || event.task.is_some())
    }
}

struct Subscriber {
    shell: Arc<Shell>,
    query: EventQuery,
    only: Only,
    live: Subscription,
    stopping: watch::Receiver<bool>,
    /// The last event that was looked at.
    last: Sequence,
    /// Nothing later in the journal matters.
    until: Option<Time>,
    /// Whether the journal may hold more that was not looked at.
    replaying: bool,
    /// What it wants to go on behind, until the journal has told whether that is still there.
    asked_for: Option<Sequence>,
    /// Events that match and wait to be sent; at most a page or a batch.
    ready: VecDeque<Event>,
    left: Option<u64>,
}

impl Subscriber {
    async fn next(&mut self) -> Option<Event> {
        if self.left == Some(0) {
            return None;
        }
        loop {
            if let Some(event) = self.ready.pop_front() {
                let is_notice = NOTICES.iter().any(|notice| notice.name == event.kind);
                self.left = self.left.map(|left| left - u64::from(!is_notice));
                return Some(event);
            }
            if self.replaying {
                self.replay().await.ok()?;
            } else if self.query.no_follow {
                return None;
            } else {
                self.follow().await?;
            }
        }
    }

    async fn replay(&mut self) -> Result<(), Refusal> {
        // Anew with every page, and before it is read: however long the journal takes, nothing of what comes
        // meanwhile is missed.
        self.live = self.shell.feed.subscribe();
        let after = self.last;
        let page = self.shell.read(move |history| history.events(after, PAGE)).await?;
        let is_over = |until: Time| page.last().is_some_and(|event| event.time > until);
        self.replaying = page.len() == PAGE && !self.until.is_some_and(is_over);
        if let (Some(asked_for), Some(first)) = (self.asked_for.take(), page.first())
            && asked_for == after
            && first.sequence > after.next()
        {
            self.ready.push_back(feed::trimmed(after, first.sequence, self.shell.clock.now()));
        }
        self.take(&page).await
    }

    async fn follow(&mut self) -> Option<()> {
        let batch = tokio::select! {
            batch = self.live.recv() => batch,
            () = super::until_stopped(&mut self.stopping) => return None,
        };
        match batch {
            Ok(events) => self.take(&events).await.ok()?,
            Err(Missed::Lagged) => {
                // The feed counts batches; the sequence tells how many events they held.
                let now = self.shell.statistics.read().sequence;
                let lost = now.0.saturating_sub(self.last.0);
                self.ready.push_back(feed::lagged(lost, self.last, self.shell.clock.now()));
                self.last = now;
            }
            Err(Missed::Closed) => return None,
        }
        Some(())
    }

    async fn take(&mut self, events: &[orchd_core::Event]) -> Result<(), Refusal> {
        // Most of a long journal is about others: to describe it would cost more than to read it.
        let concerns = |event: &orchd_core::Event, id: TaskId| {
            event.fact.task().is_some_and(|first| (first.0..=first.0 + event.more).contains(&id.0))
        };
        let is_new = |event: &&orchd_core::Event| {
            event.sequence > self.last
                && self.only.task.is_none_or(|id| concerns(event, id))
                && feed::kind(&event.fact).is_some_and(|kind| self.query.wants_kind(kind))
        };
        let described = events.iter().filter(is_new).filter_map(feed::describe);
        let mut wanted: Vec<Event> = described.filter(|event| self.only.admits(event)).collect();
        if let Some(tag) = self.only.tag.clone() {
            let mut tasks: Vec<TaskId> = wanted.iter().filter_map(|event| event.task).collect();
            tasks.dedup();
            let tagged = self.shell.read(move |history| history.tagged(&tag, &tasks)).await?;
            wanted.retain(|event| event.task.is_some_and(|task| tagged.contains(&task)));
        }
        event_rows::fill(&self.shell, &mut wanted).await?;
        self.ready.extend(wanted);
        if let Some(last) = events.last() {
            self.last = self.last.max(last.sequence);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn the_last_event_of_a_client_is_a_sequence_or_refused() {
        let read = |text: &str| {
            let header = ("last-event-id".parse().unwrap(), HeaderValue::from_str(text).unwrap());
            last_event(&[header].into_iter().collect()).map_err(|refusal| refusal.value)
        };
        assert_eq!(last_event(&HeaderMap::new()), Ok(None));
        assert_eq!([read(""), read("12")], [Ok(None), Ok(Some(12))]);
        for text in ["abc", "-1", "1.5", "99999999999999999999"] {
            assert_eq!(read(text), Err(Some(text.to_owned())));
        }
    }
}
