//! `top`: a live view of tasks and resources. The view itself is in `crate::top`; this asks the daemon, reads the
//! keys and owns the terminal.

use clap::Args;
use orchd_api::{LogQuery, LogStream, OperationResult, PauseRequest};
use orchd_client::{Client, Error, LogItem};
use orchd_model::{Priority, Span, TaskId, TaskRange};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEvent, KeyEventKind};
use std::io::{self, IsTerminal};
use std::pin::pin;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

use crate::context::Context;
use crate::interrupt::Interrupt;
use crate::top::{Beside, Deed, Picture, View, Wanted, Wish, draw};
use crate::{Exit, Failure, operations, text};

/// Lines of output that are asked for: more than fit beside the list.
const LINES: u64 = 100;
/// An answer that takes longer is late; the client goes on asking a daemon that may be starting again.
const LATE: Duration = Duration::from_secs(2);
/// Keys and answers on their way: a person types no faster than they are drawn.
const NEWS: usize = 16;

#[derive(Debug, Args)]
pub(crate) struct Top {
    /// How often to look
    #[arg(long, value_name = "DUR", default_value = "1s")]
    every: Span,
}

/// What happens while the view is open.
enum News {
    Seen(Box<Result<Picture, Error>>),
    /// The answer is late.
    Late,
    Done(String),
    Key(KeyEvent),
    Resized,
    /// The terminal cannot be read.
    Broken(io::Error),
}

impl Top {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        if context.json || !context.screen.is_canvas() || !io::stdin().is_terminal() {
            let text =
                "top draws on a terminal, and this is none\nhint: for programs: stats --json, list --json";
            return Err(Failure::Usage(text.to_owned()));
        }
        if self.every.0 == 0 {
            return Err(Failure::Usage("--every is longer than nothing: 0s\nhint: 1s".to_owned()));
        }
        let client = context.client().await?;
        // It is told on the screen.
        client.on_outage(|| {});
        let mut interrupt = Interrupt::listen()?;
        let terminal = ratatui::try_init()?;
        let ended = tokio::select! {
            ended = watch_and_obey(terminal, &client, self.every.into(), context.screen.is_colored()) => ended,
            () = interrupt.come() => Ok(Exit::INTERRUPTED),
        };
        ratatui::try_restore()?;
        ended
    }
}

async fn watch_and_obey(
    mut terminal: DefaultTerminal,
    client: &Client,
    every: Duration,
    colored: bool,
) -> Result<Exit, Failure> {
    let mut view = View::default();
    let (teller, mut news) = mpsc::channel(NEWS);
    let (wanted, asked) = watch::channel(view.wanted());
    tokio::spawn(look(client.clone(), asked, teller.clone(), every));
    read_keys(teller.clone());
    loop {
        terminal.draw(|frame| draw(frame, &mut view, colored))?;
        let wish = match news.recv().await {
            Some(News::Seen(seen)) => {
                match *seen {
                    Ok(picture) => view.see(picture),
                    Err(error) => view.miss(error.to_string()),
                }
                Wish::Stay
            }
            Some(News::Late) => {
                view.miss("the daemon does not answer; it is still being asked".to_owned());
                Wish::Stay
            }
            Some(News::Done(said)) => {
                view.hear(said);
                Wish::Stay
            }
            Some(News::Key(key)) => view.press(key),
            Some(News::Resized) => Wish::Stay,
            Some(News::Broken(error)) => return Err(error.into()),
            None => Wish::Quit,
        };
        match wish {
            Wish::Stay => {}
            Wish::Quit => return Ok(Exit::DONE),
            Wish::Interrupt => return Ok(Exit::INTERRUPTED),
            Wish::Do(deed) => drop(tokio::spawn(tell_done(client.clone(), deed, teller.clone()))),
        }
        let wants = view.wanted();
        wanted.send_if_modified(|before| {
            let is_other = *before != wants;
            *before = wants;
            is_other
        });
    }
}

/// Asks the daemon again and again, and at once when something else is wanted.
async fn look(
    client: Client,
    mut asked: watch::Receiver<Wanted>,
    teller: mpsc::Sender<News>,
    every: Duration,
) {
    loop {
        let wanted = asked.borrow_and_update().clone();
        let mut answer = pin!(picture(&client, wanted));
        let seen = match tokio::time::timeout(LATE, &mut answer).await {
            Ok(seen) => seen,
            Err(_late) if teller.send(News::Late).await.is_err() => return,
            Err(_late) => answer.await,
        };
        if teller.send(News::Seen(Box::new(seen))).await.is_err() {
            return;
        }
        tokio::select! {
            changed = asked.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(every) => {}
        }
    }
}

async fn picture(client: &Client, wanted: Wanted) -> Result<Picture, Error> {
    let stats = client.stats().await?;
    let tasks = client.list(wanted.query).await?;
    let beside = match wanted.beside {
        // The task may be gone, or have no output: that is what there is to say of it.
        Some((Beside::Why, id)) => why(client, id).await.unwrap_or_else(|error| vec![error.to_string()]),
        Some((Beside::Logs, id)) => output(client, id).await.unwrap_or_else(|error| vec![error.to_string()]),
        None => Vec::new(),
    };
    Ok(Picture { stats, tasks, beside })
}

async fn why(client: &Client, id: TaskId) -> Result<Vec<String>, Error> {
    Ok(super::explained(&client.explain(id).await?))
}

async fn output(client: &Client, id: TaskId) -> Result<Vec<String>, Error> {
    let query = LogQuery { stream: LogStream::Both, tail: Some(LINES), ..LogQuery::default() };
    let mut logs = client.logs(id, query).await?;
    let mut bytes = Vec::new();
    while let Some(item) = logs.next().await {
        match item? {
            LogItem::Chunk(chunk) => bytes.extend(chunk.bytes().unwrap_or_default()),
            LogItem::End(_) => break,
        }
    }
    Ok(String::from_utf8_lossy(&bytes).lines().map(text::plain).collect())
}

/// Reads keys until nobody listens; reading a terminal has no other end.
fn read_keys(teller: mpsc::Sender<News>) {
    std::thread::spawn(move || {
        loop {
            let (news, is_last) = match event::read() {
                Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => (News::Key(key), false),
                Ok(Event::Resize(..)) => (News::Resized, false),
                Ok(_) => continue,
                Err(error) => (News::Broken(error), true),
            };
            if teller.blocking_send(news).is_err() || is_last {
                return;
            }
        }
    });
}

async fn tell_done(client: Client, deed: Deed, teller: mpsc::Sender<News>) {
    let said = carry_out(&client, deed).await.unwrap_or_else(|error| error.to_string());
    // The view may have been closed meanwhile.
    teller.send(News::Done(said)).await.ok();
}

async fn carry_out(client: &Client, deed: Deed) -> Result<String, Error> {
    let said = match deed {
        Deed::Cancel(tasks) => {
            told(tasks, "cancelled", &client.cancel(orchd_api::Selector::from(vec![tasks])).await?)
        }
        Deed::Hold(tasks) => told(tasks, "held", &client.hold(vec![tasks]).await?),
        Deed::Release(tasks) => told(tasks, "released", &client.release(vec![tasks]).await?),
        Deed::Retry(tasks) => told(tasks, "runs again", &client.retry(vec![tasks]).await?),
        Deed::Reprioritize(tasks, class) => {
            told(tasks, &is_now(class), &client.reprioritize(vec![tasks], class).await?)
        }
        Deed::Pause => {
            client.pause(PauseRequest::default()).await?;
            "paused: nothing new starts".to_owned()
        }
        Deed::Resume => {
            client.resume(PauseRequest::default()).await?;
            "the pause is over".to_owned()
        }
    };
    Ok(said)
}

fn is_now(class: Priority) -> String {
    format!("is {class}")
}

/// What became of tasks, in a line: the first refusal, or that it is done.
fn told(tasks: TaskRange, done: &str, results: &[OperationResult]) -> String {
    match results.iter().find(|result| result.error.is_some() || result.status.is_none()) {
        Some(OperationResult { error: Some(error), .. }) => {
            format!("{tasks} not {done}: {}", operations::reason(error))
        }
        Some(_) => format!("{tasks}: no such task"),
        None => format!("{tasks} {done}"),
    }
}
