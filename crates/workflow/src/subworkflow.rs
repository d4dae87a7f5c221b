//! Sub-workflows: sets of tasks that a file describes once, under `workflows`, and that a task with `workflow: NAME` stands for.
//!
//! ```text
//!   eu: {workflow: ingest}   becomes   eu.(start) ──► eu.fetch ──► eu.clean ──► eu
//! ```
//! The start ends with the parameters of the call, `eu` with the results of the tasks, whatever became of them. So the daemon
//! needs to know little of all this: whose names a task's templates use (`within`), and what ends with the results of others
//! (`collect`). A set is checked once, where it is described; each call has only its parameters checked.
//!
//! Invariant: nothing is put in the place of a call before it is known that no set contains itself, and how many tasks there will be.

use orchd_model::{Body, Dependency, DependencyTarget, Foreach, On, TaskSpec, limits};
use serde_json::Map;
use std::collections::{BTreeMap, HashSet};

use crate::each::{self, Known};
use crate::error::{Report, shown};
use crate::field::{map, text, unknown_key};
use crate::file::{read_all, refuse_element_names, skim, task_lists};
use crate::graph::Graph;
use crate::handlers::Handlers;
use crate::names::Names;
use crate::node::{Entry, Node, Position};
use crate::outline::path;
use crate::parameters::Declarations;
use crate::scope::Scope;
use crate::task::{self, Defaults, Draft, Shared};

/// The task of a sub-workflow that the others come after, and that ends with the parameters.
const START: &str = "(start)";
/// Tasks that all sub-workflows of a file may come to: ten sets of ten calls each would be more than any machine holds.
const TASKS: usize = 100_000;
/// More are not told apart.
const COUNTED: usize = 1_000_000_000;

pub(crate) const KEYS: [&str; 6] = ["description", "parameters", "defaults", "handlers", "tasks", "steps"];
/// What holds for a workflow as a whole, and so for none of its parts.
const OF_THE_WHOLE: [&str; 5] = ["name", "max_parallel", "fail_fast", "timeout", "finally"];

/// What a task may say that stands for a sub-workflow; all else is for its tasks to say.
const CALL_KEYS: [&str; 14] = [
    "name",
    "description",
    "workflow",
    "parameters",
    "dependencies",
    "when",
    "not_before",
    "hold",
    "tags",
    "metadata",
    "transform",
    "finally",
    "foreach",
    "array",
];

/// The sub-workflow that a task stands for.
#[derive(Clone)]
pub(crate) struct Call {
    name: String,
    at: Position,
}

impl Call {
    pub(crate) fn read(node: &Node, report: &mut Report) -> Option<Self> {
        text(node, "workflow", report).map(|name| Self { name, at: node.at })
    }
}

/// Checks the keys of a task that stands for a sub-workflow.
pub(crate) fn check_keys(entries: &[Entry], scope: &Scope<'_>, report: &mut Report) {
    // It is evaluated by the task that ends with the results.
    let at_the_end = Scope { own: &Map::new(), dependencies: &[], ..*scope };
    for entry in entries.iter().filter(|entry| !entry.node.is_null()) {
        match entry.key.as_str() {
            "transform" => at_the_end.check(entry, report),
            key if CALL_KEYS.contains(&key) => scope.check(entry, report),
            "compensates" => report.add_hint(
                entry.at,
                "a task that stands for a sub-workflow undoes nothing",
                "let one task undo another, or the tasks of the sub-workflow each other",
            ),
            key if task::KEYS.contains(&key) => report.add_hint(
                entry.at,
                format!("not a key of a task that stands for a sub-workflow: {key}"),
                "say it of the tasks of the sub-workflow",
            ),
            // It is told where the task is read.
            _ => {}
        }
    }
}

/// A set of tasks.
struct Set {
    declared: Declarations,
    drafts: Vec<Draft>,
}

/// The sets of a file.
#[derive(Default)]
pub(crate) struct SubWorkflows(BTreeMap<String, Set>);

impl SubWorkflows {
    /// Reads the key `workflows` of a workflow, whose defaults hold where a set says nothing.
    pub(crate) fn read(node: &Node, defaults: &Defaults, report: &mut Report, warnings: &mut Report) -> Self {
        let entries = map(node, "workflows", report).unwrap_or_default();
        let mut sets = Self(
            entries
                .iter()
                .filter_map(|entry| Some((entry.key.to_string(), set(entry, defaults, report, warnings)?)))
                .collect(),
        );
        sets.0.values().for_each(|set| sets.check_calls(&set.drafts, report));
        // The parameters of a set are only known when it starts.
        let nothing = Known { values: &Map::new(), all: true };
        sets.0.values_mut().for_each(|set| each::resolve(&mut set.drafts, nothing, report));
        sets.refuse_cycles(report);
        sets
    }

    /// Puts the tasks of the sets in the place of the calls.
    pub(crate) fn expand(&self, mut drafts: Vec<Draft>, known: Known<'_>, report: &mut Report) -> Vec<Draft> {
        if drafts.iter().all(|draft| draft.call.is_none()) {
            return drafts;
        }
        self.check_calls(&drafts, report);
        each::resolve(&mut drafts, known, report);
        if !report.is_clean() || !self.fit(&drafts, report) {
            return drafts;
        }
        let mut expanded = Vec::with_capacity(drafts.len());
        let mut open: Vec<Draft> = drafts.into_iter().rev().collect();
        while let Some(draft) = open.pop() {
            let set = draft.call.as_ref().and_then(|call| self.0.get(&call.name));
            // A name that is too long is told below; what would be in it has longer ones still, and no end of them.
            let set = set.filter(|_| draft.spec.name.len() <= limits::NAME_BYTES);
            match (set, draft.spec.foreach.clone()) {
                (Some(_), Some(Foreach::Items(items))) => {
                    open.extend(each::elements(draft, &items).into_iter().rev());
                }
                (Some(_), Some(Foreach::Array { array })) => {
                    open.extend(each::array(draft, array).into_iter().rev());
                }
                (Some(set), _) => {
                    set.refuse_undoing_the_end(&draft, report);
                    open.extend(set.instance(draft, known, report).into_iter().rev());
                }
                (None, _) => expanded.push(draft),
            }
        }
        refuse_names(&expanded, report);
        expanded
    }

    fn check_calls(&self, drafts: &[Draft], report: &mut Report) {
        for draft in drafts {
            let Some(call) = &draft.call else { continue };
            match self.0.get(&call.name) {
                Some(set) => set.declared.check_call(&each::shown_parameters(draft), draft.at, report),
                None => {
                    let known = self.0.keys().map(String::as_str);
                    report.unknown(call.at, "no such sub-workflow", &call.name, known);
                }
            }
        }
    }

    /// The sets that each set calls, by index.
    fn graph(&self) -> Graph {
        let index: BTreeMap<&str, usize> =
            self.0.keys().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
        let called = |set: &Set| {
            let calls = set.drafts.iter().filter_map(|draft| draft.call.as_ref());
            calls.filter_map(|call| index.get(call.name.as_str()).copied()).collect()
        };
        Graph::new(self.0.values().map(called).collect())
    }

    fn refuse_cycles(&self, report: &mut Report) {
        let names: Vec<&String> = self.0.keys().collect();
        for cycle in self.graph().cycles() {
            let next = names[cycle.get(1).copied().unwrap_or(cycle[0])];
            let calls = self.0[names[cycle[0]]].drafts.iter().filter_map(|draft| draft.call.as_ref());
            let at = calls.clone().find(|call| call.name == *next).map(|call| call.at).unwrap_or_default();
            let words = path(&cycle, |set| shown(names[set]));
            report.add_hint(
                at,
                format!("a sub-workflow contains itself: {words}"),
                "remove one of the tasks",
            );
        }
    }

    /// Whether what the calls come to is not too much.
    fn fit(&self, drafts: &[Draft], report: &mut Report) -> bool {
        let names: Vec<&String> = self.0.keys().collect();
        let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
        let size = |drafts: &[Draft], sizes: &BTreeMap<&str, usize>| {
            let of = |draft: &Draft| {
                let Some(call) = &draft.call else { return 0 };
                let each = sizes.get(call.name.as_str()).map_or(0, |size| size.saturating_add(2));
                let whole = usize::from(draft.spec.foreach.is_some());
                each.saturating_mul(each::count(draft)).saturating_add(whole)
            };
            drafts.iter().map(of).fold(0, usize::saturating_add)
        };
        for set in self.graph().stages().into_iter().flatten() {
            let drafts = &self.0[names[set]].drafts;
            let calls = drafts.iter().filter(|draft| draft.call.is_some()).count();
            let all = size(drafts, &sizes).saturating_add(drafts.len() - calls);
            sizes.insert(names[set], all);
        }
        let all = size(drafts, &sizes);
        if all > TASKS {
            let at =
                drafts.iter().find_map(|draft| draft.call.as_ref()).map(|call| call.at).unwrap_or_default();
            // Sets that call each other multiply; nobody needs to know by how much.
            let counted = if all > COUNTED { format!("more than {COUNTED}") } else { all.to_string() };
            let words = format!("sub-workflows come to at most {TASKS} tasks: {counted}");
            report.add_hint(at, words, "use foreach within them for the same with many values");
        }
        all <= TASKS
    }
}

fn set(entry: &Entry, defaults: &Defaults, report: &mut Report, warnings: &mut Report) -> Option<Set> {
    let keys = map(&entry.node, &format!("sub-workflow {}", shown(&entry.key)), report)?;
    let find =
        |name: &str| keys.iter().find(|key| key.key == name && !key.node.is_null()).map(|key| &key.node);
    for key in keys {
        match key.key.as_str() {
            "description" => drop(text(&key.node, "description", report)),
            name if KEYS.contains(&name) => {}
            name if OF_THE_WHOLE.contains(&name) => report.add_hint(
                key.at,
                format!("not a key of a sub-workflow: {name}"),
                "it is said of the whole workflow",
            ),
            _ => unknown_key(key, "a sub-workflow", &KEYS, report),
        }
    }
    let declared = find("parameters").map(|node| Declarations::read(node, report)).unwrap_or_default();
    let mut shared = Shared { parameters: declared.names(), ..Shared::default() };
    if let Some(node) = find("defaults") {
        shared.defaults = Defaults::read(node, &shared.parameters, report);
    }
    shared.defaults.take_from(defaults);
    let handlers = find("handlers").map(|node| Handlers::read(node, report)).unwrap_or_default();
    let tasks = task_lists(keys, entry.at, "a sub-workflow", report);
    shared.names = Names::of(tasks.clone());
    let Some(graph) = skim(&tasks, None, report) else {
        return Some(Set { declared, drafts: Vec::new() });
    };
    let mut drafts = read_all(&tasks, &shared, report);
    for draft in &drafts {
        let undoes = draft.spec.compensates.is_some();
        let has_none = [(draft.spec.finally && !undoes, "finally"), (draft.spec.key.is_some(), "key")];
        for (given, what) in has_none {
            if given {
                let words = format!("a task of a sub-workflow has no {what}: {}", shown(&draft.spec.name));
                report.add_hint(
                    draft.at,
                    words,
                    "say it of the task that stands for the sub-workflow, or outside",
                );
            }
        }
    }
    graph.check(&drafts, report);
    handlers.tell_unused(&drafts, warnings);
    // What is bound to no command here may be bound by the workflow.
    handlers.bind(&mut drafts, &mut report.another());
    Some(Set { declared, drafts })
}

fn after(name: String, on: On) -> Dependency {
    Dependency { task: DependencyTarget::Name(name), on }
}

impl Set {
    /// What is done at the end is not undone.
    fn refuse_undoing_the_end(&self, call: &Draft, report: &mut Report) {
        let undo = self.drafts.iter().find(|draft| draft.spec.compensates.is_some());
        if let Some(undo) = undo.filter(|_| call.spec.finally) {
            report.add_hint(
                call.at,
                format!("what runs at the end is not undone: {}.{}", call.spec.name, shown(&undo.spec.name)),
                "only tasks that do not run at the end are compensated",
            );
        }
    }

    /// What one call becomes, in the order in which it runs.
    fn instance(&self, call: Draft, known: Known<'_>, report: &mut Report) -> Vec<Draft> {
        let Draft { spec, at, .. } = call;
        let name = spec.name;
        let start = format!("{name}.{START}");
        let (outer, finally) = (spec.within, spec.finally);
        let outer_start = outer.as_ref().map(|outer| after(format!("{outer}.{START}"), On::Success));
        let mut results = vec![after(start.clone(), On::Success)];
        let mut drafts = vec![Draft::made(
            TaskSpec {
                name: start.clone(),
                parameters: self.declared.of_call(&spec.parameters, known, at, report),
                transform: self.declared.check_at_start(&spec.parameters),
                dependencies: spec.dependencies,
                when: spec.when,
                not_before: spec.not_before,
                hold: spec.hold,
                within: outer.clone(),
                finally,
                ..TaskSpec::new(Body::Milestone)
            },
            at,
        )];
        for member in &self.drafts {
            let mut member = member.clone();
            member.spec.name = format!("{name}.{}", member.spec.name);
            for dependency in &mut member.spec.dependencies {
                if let DependencyTarget::Name(of) = &mut dependency.task {
                    *of = format!("{name}.{of}");
                }
            }
            member.spec.within = Some(name.clone());
            if let Some(of) = &mut member.spec.compensates {
                // It waits for that task alone, and is called at the end of the workflow: no part of the result.
                *of = format!("{name}.{of}");
            } else {
                member.spec.dependencies.push(after(start.clone(), On::Success));
                member.dependencies_at.push(member.at);
                member.spec.finally = finally;
                results.push(after(member.spec.name.clone(), On::Completion));
            }
            drafts.push(member);
        }
        results.extend(outer_start);
        drafts.push(Draft::made(
            TaskSpec {
                name,
                priority: spec.priority,
                dependencies: results,
                transform: spec.transform,
                tags: spec.tags,
                metadata: spec.metadata,
                collect: true,
                within: outer,
                finally,
                ..TaskSpec::new(Body::Milestone)
            },
            at,
        ));
        drafts
    }
}

/// Names that are made may be taken, or too long.
fn refuse_names(drafts: &[Draft], report: &mut Report) {
    let mut taken: HashSet<&str> = HashSet::with_capacity(drafts.len());
    for draft in drafts {
        let name = &draft.spec.name;
        if !taken.insert(name) {
            report.add(draft.at, format!("a second task of this name: {}", shown(name)));
        }
        if name.len() > limits::NAME_BYTES {
            let words = format!("a name has 1 to {} bytes: {}", limits::NAME_BYTES, shown(name));
            report.add_hint(draft.at, words, "a task of a sub-workflow is named TASK.NAME");
        }
    }
    refuse_element_names(drafts, report);
}

#[cfg(test)]
mod tests {
    use orchd_model::{DependencyTarget, WorkflowSpec};
    use serde_json::json;
    use std::collections::BTreeMap;
    use std::fmt::Write;

    fn load(text: &str) -> Result<WorkflowSpec, Vec<String>> {
        let loaded = crate::load("f.yaml", text, &BTreeMap::new());
        loaded.map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    const NESTED: &str = "
workflows:
  outer:
    parameters: { n: { type: integer }, m: 2 }
    tasks:
      - { name: first, shell: 'echo {{ parameters.n }}' }
      - { name: deep, workflow: inner, dependencies: [first], parameters: { x: '{{ tasks.first.output }}' } }
  inner: { parameters: { x: 1 }, tasks: [{ name: t, shell: 'echo {{ parameters.x }}' }] }
tasks:
  - { name: before, shell: 'true' }
  - { name: eu, workflow: outer, dependencies: [before], when: 'true', parameters: { n: 3 }, transform: result.first }
  - { name: after, shell: 'true', dependencies: [{ task: eu, on: completion }] }
";

    #[test]
    fn a_call_becomes_a_start_its_tasks_and_one_that_ends_with_their_results() {
        let spec = load(NESTED).unwrap();
        let seen: Vec<(String, Vec<String>, Option<&str>)> = (spec.tasks.iter())
            .map(|task| {
                let before = task.dependencies.iter().map(|dependency| match &dependency.task {
                    DependencyTarget::Name(name) => format!("{name}:{}", dependency.on),
                    DependencyTarget::Id(id) => id.to_string(),
                });
                (task.name.clone(), before.collect(), task.within.as_deref())
            })
            .collect();
        let row = |name: &str, before: &[&str], within| {
            (name.to_owned(), before.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), within)
        };
        let expected = [
            row("before", &[], None),
            row("eu.(start)", &["before:success"], None),
            row("eu.first", &["eu.(start):success"], Some("eu")),
            row("eu.deep.(start)", &["eu.first:success", "eu.(start):success"], Some("eu")),
            row("eu.deep.t", &["eu.deep.(start):success"], Some("eu.deep")),
            row(
                "eu.deep",
                &["eu.deep.(start):success", "eu.deep.t:completion", "eu.(start):success"],
                Some("eu"),
            ),
            row("eu", &["eu.(start):success", "eu.first:completion", "eu.deep:completion"], None),
            row("after", &["eu:completion"], None),
        ];
        assert_eq!(seen, expected);
        let task = |name: &str| spec.tasks.iter().find(|task| task.name == name).unwrap();
        assert_eq!(json!(task("eu.(start)").parameters), json!({"n": 3, "m": 2}));
        assert_eq!((task("eu.(start)").when.as_deref(), task("eu").when.as_deref()), (Some("true"), None));
        assert_eq!((task("eu").collect, task("eu").transform.as_deref()), (true, Some("result.first")));
    }

    #[test]
    fn a_set_is_checked_once_and_each_call_has_its_parameters_checked() {
        let text = "
workflows:
  s:
    timeout: 3
    parameters: { n: { type: integer }, m: 2 }
    tasks:
      - { name: x, shell: 'echo {{ parameters.o }} {{ tasks.before.output }}' }
      - { name: y, dependencies: [before], key: k }
      - { name: z, finally: true, shell: 'true' }
  e: { tasks: [{ name: x }, { name: z, compensates: x, shell: 'true' }, { name: v, compensates: z }] }
tasks:
  - { name: before, shell: 'true' }
  - { name: a, workflow: t, parameters: { n: 3 } }
  - { name: b, workflow: s, timeout: 3, parameters: { n: 1 }, shell: x }
";
        let errors = load(text).unwrap_err();
        for part in [
            "f.yaml:4:5: not a key of a sub-workflow: timeout",
            "f.yaml:7:27: unknown parameter in a template: o",
            "f.yaml:7:27: a template names a task that does not exist: before",
            "f.yaml:8:35: unknown dependency: before",
            "f.yaml:8:9: a task of a sub-workflow has no key: y",
            "f.yaml:9:9: a task of a sub-workflow has no finally: z",
            "f.yaml:10:97: compensates a task that runs at the end: z",
            "f.yaml:13:26: no such sub-workflow: t",
            "f.yaml:14:29: not a key of a task that stands for a sub-workflow: timeout",
            "f.yaml:14:63: not a key of a task that stands for a sub-workflow: shell",
        ] {
            assert!(errors.iter().any(|error| error.contains(part)), "{part}: {errors:#?}");
        }
        let undone = "workflows: { s: { tasks: [{ name: x }, { name: u, compensates: x }] } }";
        let end =
            load(&format!("{undone}\ntasks: [{{ name: b }}, {{ name: a, workflow: s, finally: true }}]"));
        assert!(end.unwrap_err()[0].starts_with("f.yaml:2:22: what runs at the end is not undone: a.u"));
        let call = |given: &str| {
            let set = "workflows: { s: { parameters: { n: { type: integer } }, tasks: [{ name: x }] } }";
            load(&format!("{set}\ntasks: [{{ name: a, workflow: s, parameters: {given} }}]")).unwrap_err()
        };
        assert!(call("{ n: many }")[0].starts_with("f.yaml:2:9: parameter n must be a whole number: many"));
        assert!(call("{}")[0].starts_with("f.yaml:2:9: a parameter of the sub-workflow without a value: n"));
        assert!(call("{ n: 1, o: 2 }")[0].contains("the sub-workflow has no such parameter: o"));
    }

    #[test]
    fn what_contains_itself_or_grows_without_end_is_refused() {
        let errors = load(
            "workflows:\n  a: { tasks: [{ name: x, workflow: b }] }\n  b: { tasks: [{ name: y, workflow: a }] }\n\
             tasks: [{ name: t, workflow: a }]\n",
        )
        .unwrap_err();
        assert_eq!(
            errors,
            ["f.yaml:2:37: a sub-workflow contains itself: a -> b -> a\n  hint: remove one of the tasks"]
        );
        let mut text = "workflows:\n  s0: { tasks: [{ name: t }] }\n".to_owned();
        for level in 1..40 {
            let calls: Vec<String> =
                (0..10).map(|call| format!("{{ name: c{call}, workflow: s{} }}", level - 1)).collect();
            writeln!(text, "  s{level}: {{ tasks: [{}] }}", calls.join(", ")).unwrap();
        }
        let errors = load(&format!("{text}tasks: [{{ name: t, workflow: s39 }}]\n")).unwrap_err();
        assert!(errors[0].contains("sub-workflows come to at most 100000 tasks"), "{errors:?}");
        let errors =
            load(&format!("{text}tasks: [{{ name: t, workflow: s1 }}, {{ name: t.c1, shell: x }}]\n"));
        assert!(errors.unwrap_err()[0].contains("a second task of this name: t.c1"));
    }
}
