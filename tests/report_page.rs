//! The page and the trace of a report: opened in a real browser, and read as the viewer of traces does.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::{Daemon, Said, program};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// Looks for what is ugly, and tells the console.
const PROBE: &str = include_str!("kit/probe.js");

/// What a browser makes of a page when its script has run.
fn opened(daemon: &Daemon, page: &str) -> Said {
    opened_with(daemon, page, &[])
}

fn opened_with(daemon: &Daemon, page: &str, more: &[&str]) -> Said {
    let mut chromium = daemon.program("chromium");
    let hint = "Chromium is missing: scripts/test installs it (on Debian: apt-get install chromium)";
    assert!(is_installed("chromium"), "{hint}");
    let profile = format!("--user-data-dir={}", daemon.path("profile").display());
    chromium.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--window-size=1600,1200",
    ]);
    chromium.args([&profile, "--enable-logging=stderr", "--virtual-time-budget=5000", "--dump-dom"]);
    chromium.args(more).arg(format!("file://{}", daemon.path(page).display()));
    let said = program::run(chromium, b"");
    said.succeeds();
    said
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|place| place.join(program).is_file())
}

/// What the page said to the console of the browser.
fn console(said: &Said) -> Vec<&str> {
    said.err.lines().filter(|line| line.contains("CONSOLE")).collect()
}

/// What is ugly about a page, on wide and narrow screens, in light and dark.
fn ugliness(daemon: &Daemon, page: &str) -> Vec<String> {
    let text = fs::read_to_string(daemon.path(page)).unwrap();
    daemon.write("probed.html", format!("{text}<script>{PROBE}</script>"));
    let frame =
        |width: u32| format!("<iframe src=probed.html style=\"width:{width}px;height:3000px\"></iframe>");
    daemon.write("frames.html", [1280, 800, 360].map(frame).concat());
    let mut found = Vec::new();
    for scheme in ["0", "1"] {
        let scheme = format!("--blink-settings=preferredColorScheme={scheme}");
        let said = opened_with(daemon, "frames.html", &[&scheme]);
        let (ends, complaints): (Vec<&str>, Vec<&str>) =
            console(&said).into_iter().partition(|line| line.contains("looked at everything"));
        assert_eq!(ends.len(), 3, "{said:?}");
        found.extend(complaints.into_iter().map(str::to_owned));
    }
    found
}

const HOSTILE: &str =
    "<img src=x onerror=console.error(1)></script><script>document.title='owned'</script> & \"'";

/// Runs a workflow with everything in it: retries, failures, skips, claims, names that would be markup.
fn run_mixed(daemon: &Daemon) {
    let file = serde_json::json!({ "name": HOSTILE, "tasks": [
        { "name": "start", "shell": "true", "claims": ["cpu=1"] },
        { "name": HOSTILE, "shell": "echo '<b>no</b> such thing' >&2; exit 3", "dependencies": ["start"] },
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
    // What was said last stands with the failure, and the failures come first.
    assert!(page.out.contains("<pre>&lt;b&gt;no&lt;/b&gt; such thing</pre>"), "{}", page.out);
    assert!(page.out.find("id=\"failures\"") < page.out.find("id=\"attempts\""));
    // What was skipped for it stands there, too, with its cause.
    assert!(page.out.contains("<td>skipped</td><td><bdi>needs "), "{}", page.out);
    assert_eq!(page.out.matches("<g class=\"task ").count(), 6, "{}", page.out);
    assert_eq!(console(&page), Vec::<&str>::new());
    assert!(!page.out.contains("<img") && !page.out.contains("<title>owned"), "{}", page.out);
    // Nothing is fetched.
    let text = fs::read_to_string(daemon.path("report.html")).unwrap();
    let links = text.matches("href=").count();
    assert_eq!(links, text.matches("href=\"#").count() + text.matches("href=\"data:,\"").count());
    assert!(!text.contains("src=\"") && !text.contains("url(") && !text.contains("@import"));
    for section in ["attempts", "graph", "path", "times", "claims", "usage", "failures", "slowest", "waits"] {
        assert!(text.contains(&format!("<section id=\"{section}\">")), "{section}");
    }
    // The console is heard: a page that complains is noticed.
    daemon.write("loud.html", "<!DOCTYPE html><title>x</title><script>console.error('loud')</script>");
    assert!(!console(&opened(&daemon, "loud.html")).is_empty());
}

#[test]
fn a_page_is_readable_on_wide_and_narrow_screens_in_light_and_dark_whatever_is_in_it() {
    let daemon = Daemon::start(3);
    let names = [
        "a",
        HOSTILE,
        "日本語の名前がとても長い場合はどうなるのでしょうか",
        "MMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMM",
        "a b c d e f g h i j k l m n o p q r s t u v w x y z a b c d e f g h i j k l m n o p",
        "العربية עברית",
        "&amp;&#x202e;drow",
        &"x".repeat(256),
        "e\u{301}\u{301}\u{301}\u{301}",
        "-->",
        "</style>",
        "{{ not_a_template",
    ];
    let task = |place: usize| {
        let after = place
            .checked_sub(2)
            .map(|before| serde_json::json!({ "task": names[before], "on": "completion" }));
        let shell = ["sleep 0.05", "echo $$ is not enough >&2; exit 3", "sleep 0.1"][place % 3];
        serde_json::json!({
            "name": names[place], "shell": shell, "dependencies": after.into_iter().collect::<Vec<_>>(),
            "claims": [format!("lock:<i>{}</i>:write", place % 4), "cpu=0.1", "memory=64MiB"],
        })
    };
    let mut tasks: Vec<_> = (0..names.len()).map(task).collect();
    tasks.push(serde_json::json!({ "name": "lone", "shell": "true" }));
    tasks.push(serde_json::json!({ "name": "last", "shell": "true", "dependencies": ["lone"] }));
    let file = serde_json::json!({ "name": "w".repeat(200), "tasks": tasks });
    daemon.write("odd.json", file.to_string());
    assert_eq!(daemon.orchctl(&["workflow", "run", "odd.json", "--quiet"]).code, Some(1));
    // And one that is under way.
    let slow = serde_json::json!({ "name": "slow", "tasks": [
        { "name": "first", "shell": "true" },
        { "name": "endless", "shell": kit::gate("never"), "dependencies": ["first"] },
    ]});
    daemon.write("slow.json", slow.to_string());
    daemon.orchctl(&["workflow", "run", "slow.json", "--detach", "--quiet"]).succeeds();
    kit::until("it runs", || daemon.stats().running == 1);
    for (about, page) in [("1", "odd.html"), ("2", "slow.html"), ("", "all.html")] {
        let words = ["report", about, "--html", page, "--quiet"];
        daemon.orchctl(&words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>()).succeeds();
        assert_eq!(ugliness(&daemon, page), Vec::<String>::new(), "{page}");
    }
    let text = fs::read_to_string(daemon.path("slow.html")).unwrap();
    assert!(text.contains("Critical path so far") && text.contains("still under way"));
    // The probe complains where there is reason to.
    let ugly = "<style>td{background:#777;color:#888}</style><table><tr><td>who can read this</table>\
                <div class=chart><div class=time style=\"position:relative;width:90px\"><span style=\"position:absolute\">long label</span>\
                <span style=\"position:absolute;left:9px\">another</span></div></div><p style=\"width:3000px\">broad";
    daemon.write("ugly.html", format!("<!DOCTYPE html><html><body>{ugly}"));
    let found = ugliness(&daemon, "ugly.html").concat();
    for complaint in ["contrast", "labels overlap", "broader than the window"] {
        assert!(found.contains(complaint), "{complaint}: {found}");
    }
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
    // Names are short here: what is said of a task, and of its dependency, has a bound.
    let size = fs::metadata(daemon.path("report.html")).unwrap().len();
    assert!(size < 2000 * 800, "{size}");
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

/// Whether an event has what the format asks for in its phase: the "Trace Event Format" of Chromium.
fn is_of_the_format(event: &Value) {
    assert!(event["name"].is_string() && event["pid"].is_u64() && event["tid"].is_u64(), "{event}");
    let args = &event["args"];
    let phase = event["ph"].as_str().unwrap();
    let is_right = match phase {
        "X" => event["dur"].is_u64() && event["cat"].is_string() && args.is_object(),
        "C" => args.as_object().is_some_and(|args| !args.is_empty() && args.values().all(Value::is_number)),
        "s" | "f" => event["id"].is_u64() && event["cat"].is_string(),
        "M" => match event["name"].as_str().unwrap() {
            "process_name" | "thread_name" => args["name"].is_string(),
            "process_sort_index" => args["sort_index"].is_u64(),
            _ => false,
        },
        _ => false,
    };
    assert!(is_right && (phase == "M" || event["ts"].is_u64()), "{event}");
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
    events.iter().for_each(is_of_the_format);
    assert_eq!(trace["displayTimeUnit"], "ms");
    // Each process is named, and none is the one that Perfetto takes for the idle one.
    let named: BTreeSet<u64> = of("M")
        .iter()
        .filter(|event| event["name"] == "process_name")
        .map(|event| number(event, "pid"))
        .collect();
    let used: BTreeSet<u64> = events.iter().map(|event| number(event, "pid")).collect();
    assert_eq!(named, used);
    assert!(!used.contains(&0));
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
        let held = counter["args"].as_object().unwrap().values().next().unwrap().as_f64().unwrap();
        counters.entry(counter["name"].as_str().unwrap()).or_default().push((number(counter, "ts"), held));
    }
    assert!(["attempts", "lock:x", "cpu:system_cpu"].iter().all(|name| counters.contains_key(name)));
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
