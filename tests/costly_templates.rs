//! Templates and expressions that would run or grow without end fail their tasks, and nothing else.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::Daemon;
use orchd_client::Status;
use orchd_client::api::Task;
use serde_json::json;
use std::collections::BTreeMap;

fn ran(daemon: &Daemon, text: &str) -> BTreeMap<String, Task> {
    let file = daemon.write("w.yaml", text);
    daemon.orchctl(&["workflow", "run", file.to_str().unwrap()]);
    daemon.all_tasks().into_iter().map(|task| (task.name.clone(), task)).collect()
}

#[test]
fn what_never_ends_or_grows_without_end_fails_with_a_clear_error() {
    let daemon = Daemon::start(4);
    let large = ["('x' * 99999999)"; 9].join(" ~ ");
    let text = format!(
        r#"
tasks:
  - {{ name: large, shell: "echo {{{{ ({large}) | length }}}}" }}
  - {{ name: replaced, shell: "echo {{{{ ('x' * 99999) | replace('x', 'y' * 99999) | length }}}}" }}
  - {{ name: long, shell: "echo {{{{ ([range(99999) | list] * 99999) | map('sum') | list | length }}}}" }}
  - {{ name: nested, shell: "{{% for a in range(9999) %}}{{% for b in range(9999) %}}{{% endfor %}}{{% endfor %}}" }}
  - {{ name: range, shell: "echo {{{{ range(10 ** 9) | length }}}}" }}
  - {{ name: condition, when: "([range(99999) | list] * 99999) | map('sum') | list | length > 3", shell: "true" }}
  - {{ name: list, foreach: "range(99999) | list", shell: "true" }}
  - {{ name: made, transform: "({large}) | length", shell: "true" }}
  - {{ name: good, parameters: {{ n: "{{{{ range(1000) | sum }}}}" }}, shell: "echo {{{{ parameters.n * 2 }}}} > $ORCHD_RESULT" }}
"#
    );
    let tasks = ran(&daemon, &text);
    for (name, error_type, message) in [
        ("large", "InvalidTemplate", "the template needs too much memory"),
        ("replaced", "InvalidTemplate", "the template needs too much memory"),
        ("long", "InvalidTemplate", "the template takes too long"),
        ("nested", "InvalidTemplate", "the template takes too long"),
        ("range", "InvalidTemplate", "too many elements"),
        ("list", "InvalidTemplate", "at most 10000 elements: 99999"),
        ("made", "InvalidResult", "transform: the template needs too much memory"),
    ] {
        let result = tasks[name].result.as_ref().unwrap_or_else(|| panic!("{name}: {:?}", tasks[name]));
        let said = result.error_message.as_deref().unwrap_or_default();
        assert_eq!(result.error_type.as_ref().unwrap().as_str(), error_type, "{name}: {said}");
        assert!(said.contains(message), "{name}: {said}");
    }
    assert_eq!(tasks["condition"].status, Status::Skipped);
    let reason = serde_json::to_string(&tasks["condition"].status_reason).unwrap();
    assert!(reason.contains("the template takes too long"), "{reason}");
    assert_eq!(tasks["good"].result.as_ref().unwrap().data, Some(json!(999_000)));
    daemon.assert_nothing_is_held();
}

#[test]
fn what_is_cancelled_while_its_template_is_made_or_has_to_wait_for_that_ends_at_once() {
    let daemon = Daemon::start(9);
    // Each takes until it is refused, one after the other.
    let template = "{{ ([range(99999) | list] * 99999) | map('sum') | list | length }}";
    let tasks: Vec<String> =
        (0..8).map(|n| format!("  - {{ name: t{n}, shell: \"echo {template}\" }}\n")).collect();
    let file = daemon.write("w.yaml", format!("tasks:\n{}", tasks.concat()));
    daemon.orchctl(&["workflow", "run", "--detach", file.to_str().unwrap()]).succeeds();
    let ids: Vec<_> = daemon.all_tasks().into_iter().map(|task| task.id).collect();
    ids.iter().for_each(|id| daemon.until_status(*id, Status::Running));
    let (first, last) = (*ids.first().unwrap(), *ids.last().unwrap());
    daemon.client().cancel(vec![first, last].into()).unwrap();
    daemon.wait(&[first, last]);
    assert_eq!([first, last].map(|id| daemon.status(id)), [Status::Cancelled; 2]);
    assert_eq!(daemon.status(ids[6]), Status::Running, "those before it are not made yet");
    daemon.orchctl(&["cancel", "--all"]).succeeds();
    daemon.wait(&ids);
    daemon.assert_nothing_is_held();
}
