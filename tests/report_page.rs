//! The page and the trace of a report: opened in a real browser, and read as the viewer of traces does.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::{Daemon, Said, program};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;

/// What a browser makes of a page when its script has run.
fn opened(daemon: &Daemon, page: &str) -> Said {
    let mut chromium = daemon.program("chromium");
    let profile = format!("--user-data-dir={}", daemon.path("profile").display());
    chromium.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
    ]);
    chromium.args([&profile, "--enable-logging=stderr", "--virtual-time-budget=5000", "--dump-dom"]);
    chromium.arg(format!("file://{}", daemon.path(page).display()));
    let said = program::run(chromium, b"");
    said.succeeds();
    said
}

/// What the page said to the console of the browser.
fn console(said: &Said) -> Vec<&str> {
    said.err.lines().filter(|line| line.contains("CONSOLE")).collect()
}

const HOSTILE: &str =
    "<img src=x onerror=console.error(1)></script><script>document.title='owned'</script> & \"'";

/// Runs a workflow with everything in it: retries, failures, skips, claims, names that would be markup.
fn run_mixed(daemon: &Daemon) {
    let file = serde_json::json!({ "name": HOSTILE, "tasks": [
        { "name": "start", "shell": "true", "claims": ["cpu=1"] },
        { "name": HOSTILE, "shell": "exit 3", "dependencies": ["start"] },
        { "name": "flaky", "shell": "[ -e once ] || { : > once; exit 1; }", "max_retries": 1, "retry_delay": 0.01, "dependencies": ["start"] },
        { "name": "never", "shell": "true", "dependencies": [HOSTILE] },
        { "name": "mourner", "shell": "true", "dependencies": [{ "task": HOSTILE, "on": "failure" }], "claims": ["lock:x:write"] },
        { "name": "end", "shell": "true", "dependencies": ["flaky", "mourner"], "claims": ["lock:x:write"] },
    ]});
    daemon.write("mixed.json", file.to_string());
    assert_eq!(daemon.orchctl(&["workflow", "run", "mixed.json"]).code, Some(1));
}

#[test]
fn a_browser_shows_as_many_bars_as_there_were_attempts_and_no_name_is_markup() {
    let daemon = Daemon::start(2);
    run_mixed(&daemon);
    daemon.orchctl(&["report", "1", "--html", "report.html"]).succeeds();
    let page = opened(&daemon, "report.html");
    assert_eq!(page.out.matches("<i class=\"bar ").count(), 6, "{}", page.out);
    assert_eq!(page.out.matches("<g class=\"task ").count(), 6, "{}", page.out);
    assert_eq!(console(&page), Vec::<&str>::new());
    assert!(!page.out.contains("<img") && !page.out.contains("<title>owned"), "{}", page.out);
    // Nothing is fetched.
    let text = fs::read_to_string(daemon.path("report.html")).unwrap();
    assert!(
        !text.contains("src=\"") && text.matches("href=").count() == 1 && text.contains("href=\"data:,\"")
    );
    for section in ["attempts", "graph", "path", "times", "claims", "usage", "failures", "slowest", "waits"] {
        assert!(text.contains(&format!("<section id=\"{section}\">")), "{section}");
    }
    // The console is heard: a page that complains is noticed.
    daemon.write("loud.html", "<!DOCTYPE html><title>x</title><script>console.error('loud')</script>");
    assert!(!console(&opened(&daemon, "loud.html")).is_empty());
}

#[test]
fn a_page_on_two_thousand_tasks_shows_them_all() {
    let daemon = Daemon::start(4);
    let task = |n: usize| {
        let after = if n < 20 { Vec::new() } else { vec![format!("t{}", n - 20)] };
        serde_json::json!({ "name": format!("t{n}"), "shell": "true", "dependencies": after })
    };
    let file = serde_json::json!({ "name": "large", "tasks": (0..2000).map(task).collect::<Vec<_>>() });
    daemon.write("large.json", file.to_string());
    daemon.orchctl(&["workflow", "run", "large.json", "--quiet"]).succeeds();
    daemon.orchctl(&["report", "large", "--html", "report.html", "--json"]).succeeds();
    let page = opened(&daemon, "report.html");
    assert_eq!(page.out.matches("<i class=\"bar ").count(), 2000);
    assert_eq!(page.out.matches("<g class=\"task ").count(), 2000);
    assert_eq!(console(&page), Vec::<&str>::new());
}

#[test]
fn a_report_on_nothing_is_a_page_too() {
    let daemon = Daemon::start(1);
    daemon.orchctl(&["report", "--html", "report.html", "--quiet"]).succeeds();
    let page = opened(&daemon, "report.html");
    assert!(page.out.contains("Nothing has run."), "{}", page.out);
    assert_eq!(console(&page), Vec::<&str>::new());
    let said = daemon.orchctl(&["report", "--html", "no/such/place.html"]);
    said.fails_with(2, &["no/such/place.html"]);
    assert!(daemon.orchctl(&["report", "--html", "-"]).succeeds().out.starts_with("<!DOCTYPE html>"));
}

#[test]
fn a_trace_has_slots_as_threads_attempts_as_slices_and_claims_as_counters() {
    let daemon = Daemon::start(2);
    run_mixed(&daemon);
    let trace = daemon.orchctl(&["report", "1", "--trace", "-"]).succeeds().json();
    let events = trace["traceEvents"].as_array().unwrap();
    let of = |phase: &str| events.iter().filter(|event| event["ph"] == phase).collect::<Vec<&Value>>();
    let number =
        |event: &Value, field: &str| event[field].as_u64().unwrap_or_else(|| panic!("{field}: {event}"));
    // Each event has what the format asks for.
    for event in events {
        assert!(event["name"].is_string() && event["pid"].is_u64() && event["tid"].is_u64(), "{event}");
        assert!(event["ph"] == "M" || event["ts"].is_u64(), "{event}");
    }
    let slices = of("X");
    assert_eq!(slices.len(), 6);
    let mut threads: BTreeMap<(u64, u64), Vec<(u64, u64)>> = BTreeMap::new();
    for slice in slices {
        let (start, length) = (number(slice, "ts"), number(slice, "dur"));
        threads
            .entry((number(slice, "pid"), number(slice, "tid")))
            .or_default()
            .push((start, start + length));
    }
    for (thread, mut slices) in threads {
        slices.sort_unstable();
        assert!(slices.windows(2).all(|pair| pair[0].1 <= pair[1].0), "overlap on {thread:?}: {slices:?}");
        let is_named = |event: &&Value| {
            event["name"] == "thread_name" && (number(event, "pid"), number(event, "tid")) == thread
        };
        assert_eq!(of("M").into_iter().filter(is_named).count(), 1);
    }
    let mut counters: BTreeMap<&str, Vec<(u64, f64)>> = BTreeMap::new();
    for counter in of("C") {
        let held = counter["args"]["held"].as_f64().unwrap();
        counters.entry(counter["name"].as_str().unwrap()).or_default().push((number(counter, "ts"), held));
    }
    assert!(["running attempts", "lock:x", "cpu:system_cpu"].iter().all(|name| counters.contains_key(name)));
    for (name, values) in counters {
        assert!(values.is_sorted_by_key(|(at, _)| *at), "{name}");
        assert!(
            values.iter().any(|(_, held)| *held > 0.0) && values.last().unwrap().1 == 0.0,
            "{name}: {values:?}"
        );
    }
    // An arrow begins within the slice of what was waited for, and ends where the other begins.
    let (starts, ends) = (of("s"), of("f"));
    assert_eq!((starts.len(), ends.len()), (5, 5));
    for (start, end) in starts.into_iter().zip(ends) {
        assert_eq!(start["id"], end["id"]);
        assert!(number(start, "ts") <= number(end, "ts"));
    }
}

#[test]
fn the_graph_of_a_file_and_of_what_became_of_it_are_drawn() {
    let daemon = Daemon::start(2);
    run_mixed(&daemon);
    let planned = daemon.orchctl(&["workflow", "graph", "mixed.json", "--svg"]).succeeds().out.clone();
    let became = daemon.orchctl(&["workflow", "graph", "1", "--svg"]).succeeds().out.clone();
    for svg in [&planned, &became] {
        assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"), "{svg}");
        assert_eq!(svg.matches("<g class=\"task").count(), 6);
        assert!(!svg.contains("<img") && !svg.contains("<script"));
    }
    assert!(!planned.contains("task failed") && became.contains("task failed"));
    daemon.write("graph.svg", &became);
    assert_eq!(console(&opened(&daemon, "graph.svg")), Vec::<&str>::new());
    let text = daemon.orchctl(&["workflow", "graph", "1", "--dot"]).succeeds().out.clone();
    assert!(text.starts_with("digraph") && text.contains("label=\"failure\""), "{text}");
    daemon.orchctl(&["workflow", "graph", "nothing"]).fails_with(4, &["nothing"]);
    daemon.orchctl(&["workflow", "graph", "nothing.yaml"]).fails_with(2, &["nothing.yaml"]);
}
