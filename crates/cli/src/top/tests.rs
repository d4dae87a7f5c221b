//! The view on a terminal that is only a buffer.

use super::*;
use orchd_api::Resource;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::json;

fn key(code: KeyCode) -> KeyEvent {
    KeyEvent::new(code, KeyModifiers::NONE)
}

pub(crate) fn task(id: u64, name: &str, status: &str) -> Task {
    serde_json::from_value(json!({
        "id": id, "name": name, "status": status, "priority": "normal", "reasons": [], "status_reason": null,
        "parameters": {}, "env": [], "cwd": null, "hold": false, "key": null, "when": null, "claims": [],
        "dependencies": [], "timeout": null, "deadline": null, "max_retries": 0, "retry_delay": 1.0,
        "backoff": 1.0, "max_delay": 1.0, "jitter": 0.0, "retry_count": 0, "attempts": 0,
        "created_at": "2030-01-31T18:00:00Z", "started_at": null, "finished_at": null, "wait_time": null,
        "execution_time": null, "total_time": null, "result": null, "tags": [], "metadata": {},
        "session": null, "workflow": null, "owner": 0, "worker": null,
    }))
    .unwrap()
}

fn lock(name: &str) -> Resource {
    serde_json::from_value(json!({
        "resource": name, "type": "lock", "identifier": "x", "capacity": null, "held": 1, "free": null,
        "reserved": 0, "waiting": 7, "holders": [], "concurrency": null, "state": "open", "closed": false,
        "paused": false, "rate": null,
        "blocked_time": 0.0,
    }))
    .unwrap()
}

fn picture(tasks: Vec<Task>) -> Picture {
    let stats = Stats { total_tasks: 41, resources: vec![lock("lock:deploy")], ..Stats::default() };
    Picture { stats, tasks, beside: vec!["lock:deploy is held".to_owned()] }
}

fn shown(view: &mut View, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, view, false)).unwrap();
    terminal.backend().to_string()
}

fn press(view: &mut View, keys: &str) -> Wish {
    let mut wish = Wish::Stay;
    for letter in keys.chars() {
        wish = view.press(key(KeyCode::Char(letter)));
    }
    wish
}

#[test]
fn tasks_resources_and_figures_are_seen() {
    let mut view = View::default();
    view.see(picture(vec![task(4, "build", "pending"), task(5, "deploy", "completed")]));
    let screen = shown(&mut view, 100, 24);
    for word in ["tasks 41", "lock:deploy", "build", "pending", "deploy", "completed", "q quit"] {
        assert!(screen.contains(word), "{word} is missing:\n{screen}");
    }
    assert!(!screen.contains("lock:deploy is held"), "nothing was asked:\n{screen}");
    view.press(key(KeyCode::Enter));
    view.see(picture(vec![task(4, "build", "pending")]));
    let screen = shown(&mut view, 100, 24);
    assert!(screen.contains("why: 4 (build)") && screen.contains("lock:deploy is held"), "{screen}");
}

#[test]
fn a_small_terminal_shows_what_fits() {
    let mut view = View::default();
    view.see(picture(vec![task(4, "build", "pending")]));
    for (width, height) in [(1, 1), (20, 5), (30, 12), (40, 10)] {
        shown(&mut view, width, height);
    }
    assert!(shown(&mut view, 30, 14).contains("build"));
}

#[test]
fn cancelling_asks_first() {
    let mut view = View::default();
    view.see(picture(vec![task(4, "build", "pending"), task(5, "deploy", "pending")]));
    view.press(key(KeyCode::Down));
    assert_eq!(press(&mut view, "c"), Wish::Stay);
    assert!(shown(&mut view, 100, 24).contains("cancel 5 (deploy)? y/n"));
    assert_eq!(press(&mut view, "n"), Wish::Stay);
    assert!(shown(&mut view, 100, 24).contains("nothing was done"));
    assert_eq!(press(&mut view, "cy"), Wish::Do(Deed::Cancel(TaskId(5).into())));
}

#[test]
fn each_key_is_a_deed_for_the_selected_task() {
    let mut view = View::default();
    assert_eq!(press(&mut view, "h"), Wish::Stay, "there is no task");
    let held = Task { hold: true, ..task(5, "deploy", "pending") };
    view.see(picture(vec![task(4, "build", "pending"), held]));
    let first = TaskId(4).into();
    assert_eq!(press(&mut view, "h"), Wish::Do(Deed::Hold(first)));
    assert_eq!(press(&mut view, "r"), Wish::Do(Deed::Retry(first)));
    assert_eq!(press(&mut view, "+"), Wish::Do(Deed::Reprioritize(first, Priority::High)));
    assert_eq!(press(&mut view, "-"), Wish::Do(Deed::Reprioritize(first, Priority::Low)));
    assert_eq!(press(&mut view, "jh"), Wish::Do(Deed::Release(TaskId(5).into())));
    assert_eq!(press(&mut view, "p"), Wish::Do(Deed::Pause));
    assert_eq!(press(&mut view, "q"), Wish::Quit);
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(view.press(interrupt), Wish::Interrupt);
}

#[test]
fn the_selected_task_stays_selected_where_it_goes_to() {
    let mut view = View::default();
    view.see(picture(vec![task(4, "build", "pending"), task(5, "deploy", "pending")]));
    view.press(key(KeyCode::Down));
    view.press(key(KeyCode::Char('l')));
    assert_eq!(view.wanted().beside, Some((Beside::Logs, TaskId(5))));
    view.see(picture(vec![
        task(5, "deploy", "running"),
        task(6, "new", "pending"),
        task(4, "build", "pending"),
    ]));
    assert_eq!(view.wanted().beside, Some((Beside::Logs, TaskId(5))));
    view.see(picture(Vec::new()));
    assert_eq!(view.wanted().beside, None);
}

#[test]
fn what_is_listed_is_asked_of_the_daemon() {
    let mut view = View::default();
    assert_eq!(view.wanted().query, ListQuery { limit: Some(ROWS), ..ListQuery::default() });
    view.press(key(KeyCode::Tab));
    view.press(key(KeyCode::Tab));
    assert_eq!(view.wanted().query.status.as_deref(), Some("pending,retrying"));
    press(&mut view, "/deplox");
    view.press(key(KeyCode::Backspace));
    assert_eq!(view.wanted().query.name.as_deref(), Some("*deplo*"), "it is looked for while it is typed");
    view.press(key(KeyCode::Esc));
    assert_eq!(view.wanted().query.name, None);
    press(&mut view, "/de*y");
    view.press(key(KeyCode::Enter));
    assert_eq!(view.wanted().query.name.as_deref(), Some("de*y"));
    let before = view.wanted();
    view.hear("4 held".to_owned());
    assert_ne!(view.wanted(), before, "what is shown is out of date");
}

#[test]
fn trouble_is_shown_until_the_daemon_answers_again() {
    let mut view = View::default();
    view.see(picture(vec![task(4, "build", "pending")]));
    view.miss("no daemon answers".to_owned());
    assert!(shown(&mut view, 100, 24).contains("no daemon answers"));
    assert!(shown(&mut view, 100, 24).contains("build"), "what was last seen is still there");
    view.see(picture(vec![task(4, "build", "pending")]));
    assert!(!shown(&mut view, 100, 24).contains("no daemon answers"));
}
