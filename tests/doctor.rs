//! `doctor`: with a daemon, without one, and with one that is not well.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::{Daemon, until};
use serde_json::{Value, json};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;

fn check<'a>(diagnosis: &'a Value, name: &str) -> &'a Value {
    let checks = diagnosis["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name}: {diagnosis:#}"))
}

#[test]
fn a_daemon_that_is_well_is_told_to_be() {
    let daemon = Daemon::start(3);
    daemon.worker();
    let said = daemon.orchctl(&["doctor", "--json"]);
    let diagnosis = said.succeeds().json();
    assert_eq!(diagnosis["healthy"], true);
    let found = |name: &str| check(&diagnosis, name)["found"].as_str().unwrap().to_owned();
    for name in ["socket", "versions", "lock", "workers", "store"] {
        assert_eq!(check(&diagnosis, name)["verdict"], "ok", "{diagnosis:#}");
    }
    assert!(found("socket").contains(daemon.socket().to_str().unwrap()));
    assert!(found("lock").contains(&format!("pid {}, the daemon that answers", daemon.pid())));
    assert!(found("versions").contains(&daemon.pid().to_string()));
    assert_eq!(found("workers"), "1 worker, 3 slots");
    assert!(found("disk").contains("free at"));
    let labels = daemon.orchctl(&["workers", "--json"]).succeeds().json()[0]["labels"].clone();
    let whole = labels.to_string().contains("cgroup=kill");
    assert_eq!(found("cgroup").starts_with("attempts are ended as a whole"), whole, "{labels}");
    let text = daemon.orchctl(&["doctor"]);
    assert!(text.succeeds().out.contains("ok       socket"), "{text:?}");
    let quick = daemon.orchctl(&["doctor", "--quick", "--json"]).succeeds().json();
    assert!(!quick.to_string().contains("\"store\""));
    assert!(!daemon.orchctl(&["doctor", "-q"]).succeeds().out.contains("ok "), "only what is not well");
}

#[test]
fn without_a_daemon_the_rest_is_looked_at_all_the_same() {
    let mut daemon = Daemon::stopped(1, "");
    let said = daemon.orchctl(&["doctor", "--json"]);
    assert_eq!(said.code, Some(3), "{said:?}");
    let diagnosis = said.json();
    assert_eq!(diagnosis["healthy"], false);
    let socket = check(&diagnosis, "socket");
    assert_eq!(socket["verdict"], "failed");
    assert!(socket["found"].as_str().unwrap().contains(daemon.socket().to_str().unwrap()), "{socket}");
    assert!(socket["hint"].as_str().unwrap().contains("orchd"), "{socket}");
    assert!(check(&diagnosis, "lock")["found"].as_str().unwrap().ends_with("has never had a daemon"));
    assert!(check(&diagnosis, "disk")["found"].as_str().unwrap().contains("free at"));
    assert!(check(&diagnosis, "store")["found"].as_str().unwrap().ends_with("has none yet"));
    check(&diagnosis, "cgroup");
    daemon.start_again();
    daemon.terminate();
    // A child that the daemon was just starting may have its lock until it is another program.
    let lock = || check(&daemon.orchctl(&["doctor", "--json"]).json(), "lock")["found"].clone();
    until("the lock is held by nobody", || lock().as_str().unwrap().ends_with("is held by nobody"));
    let diagnosis = daemon.orchctl(&["doctor", "--json"]).json();
    let store = check(&diagnosis, "store");
    let found = store["found"].as_str().unwrap();
    let path = daemon.state_dir().join("orchd.db");
    assert_eq!(store["verdict"], "ok", "{store}");
    assert!(
        found.starts_with(&format!("{}: ", path.display())) && found.ends_with("no damage found"),
        "{store}"
    );
    // What is no store of ours, too.
    let aside = daemon.state_dir().join("aside");
    fs::rename(&path, &aside).unwrap();
    fs::write(&path, "something else, and long enough to be read").unwrap();
    let diagnosis = daemon.orchctl(&["doctor", "--json"]).json();
    let store = check(&diagnosis, "store");
    assert_eq!(store["verdict"], "failed", "{store}");
    assert!(store["found"].as_str().unwrap().ends_with("is not a store of orchd"), "{store}");
    fs::rename(&aside, &path).unwrap();
    // One that runs and listens elsewhere.
    daemon.start_again();
    let said = daemon.orchctl(&["--socket", "elsewhere", "doctor", "--json"]);
    assert_eq!(said.code, Some(3), "{said:?}");
    let diagnosis = said.json();
    let lock = check(&diagnosis, "lock");
    assert_eq!(lock["verdict"], "warning");
    assert!(lock["found"].as_str().unwrap().contains(&daemon.pid().to_string()), "{lock}");
}

#[test]
fn a_damaged_store_is_found() {
    /// Pages of SQLite have this size unless it is told otherwise.
    const PAGE: u64 = 4096;
    let mut daemon = Daemon::start(1);
    let ids = daemon.submit_many((0..300).map(|_| daemon.shell("true")));
    daemon.wait(&ids);
    daemon.terminate();
    let path = daemon.state_dir().join("orchd.db");
    let pages = fs::metadata(&path).unwrap().len() / PAGE;
    daemon.start_again();
    // From here on nothing is written, and so nothing of the damage met.
    daemon.worker();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    for page in 8..pages.min(40) {
        file.write_all_at(&[0xAA; 512], page * PAGE).unwrap();
    }
    let said = daemon.orchctl(&["doctor", "--json"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    let diagnosis = said.json();
    assert_eq!(
        (&diagnosis["healthy"], &check(&diagnosis, "store")["verdict"]),
        (&json!(false), &json!("failed"))
    );
    let text = daemon.orchctl(&["doctor"]);
    assert!(text.out.contains("failed   store"), "{text:?}");
    assert_eq!(daemon.orchctl(&["doctor", "-q"]).out, "store\n", "nothing but names of what has failed");
    // The same is found when the daemon is gone.
    daemon.kill();
    let diagnosis = daemon.orchctl(&["doctor", "--json"]).json();
    let store = check(&diagnosis, "store");
    assert_eq!(store["verdict"], "failed", "{diagnosis:#}");
    assert!(store["found"].as_str().unwrap().contains("the store is damaged"), "{store}");
}
