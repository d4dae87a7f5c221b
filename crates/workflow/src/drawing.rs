//! The graph as text that other tools draw: Mermaid and Graphviz.

use orchd_model::{On, is_obeyed};
use std::fmt::Write;

/// A Mermaid flowchart. Edges that ask for another end than success carry it as their label; `last` tasks, which
/// come after all others, stand in a frame.
pub(crate) fn mermaid(names: &[&str], links: &[(usize, usize, On)], last: &[bool]) -> String {
    let mut text = String::from("flowchart TD\n");
    let node = |text: &mut String, index: usize| {
        let name = names[index];
        let label = name.replace('&', "&amp;").replace('"', "&quot;").replace(is_obeyed, " ");
        let label = label.replace('<', "&lt;").replace('>', "&gt;");
        _ = writeln!(text, "  t{index}[\"{label}\"]");
    };
    in_order(&mut text, last, node, ("  subgraph finally\n", "  end\n"));
    for (from, to, on) in links {
        _ = match on {
            On::Success => writeln!(text, "  t{from} --> t{to}"),
            On::Failure | On::Completion => writeln!(text, "  t{from} -. {on} .-> t{to}"),
        };
    }
    text
}

/// A Graphviz digraph.
pub(crate) fn dot(workflow: &str, names: &[&str], links: &[(usize, usize, On)], last: &[bool]) -> String {
    let quoted = |name: &str| {
        format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"").replace(is_obeyed, " "))
    };
    let mut text = format!("digraph {} {{\n  rankdir=TB;\n  node [shape=box];\n", quoted(workflow));
    let node = |text: &mut String, index: usize| _ = writeln!(text, "  {};", quoted(names[index]));
    in_order(&mut text, last, node, ("  subgraph cluster_finally {\n  label=finally;\n", "  }\n"));
    for (from, to, on) in links {
        let (from, to) = (quoted(names[*from]), quoted(names[*to]));
        _ = match on {
            On::Success => writeln!(text, "  {from} -> {to};"),
            On::Failure | On::Completion => {
                writeln!(text, "  {from} -> {to} [label=\"{on}\", style=dashed];")
            }
        };
    }
    text.push_str("}\n");
    text
}

/// Writes the nodes, and in a frame those that come last.
fn in_order(text: &mut String, last: &[bool], node: impl Fn(&mut String, usize), frame: (&str, &str)) {
    let of = |is_last: bool| (0..last.len()).filter(move |&index| last[index] == is_last);
    of(false).for_each(|index| node(text, index));
    if last.contains(&true) {
        text.push_str(frame.0);
        of(true).for_each(|index| node(text, index));
        text.push_str(frame.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_stay_one_label() {
        let links = [(0, 1, On::Success), (0, 1, On::Failure)];
        let names = ["a \"b\" <c>", "d\\e"];
        assert_eq!(
            mermaid(&names, &links, &[false; 2]),
            "flowchart TD\n  t0[\"a &quot;b&quot; &lt;c&gt;\"]\n  t1[\"d\\e\"]\n  t0 --> t1\n  t0 -. failure .-> t1\n"
        );
        assert_eq!(
            dot("w", &names, &links, &[false; 2]),
            "digraph \"w\" {\n  rankdir=TB;\n  node [shape=box];\n  \"a \\\"b\\\" <c>\";\n  \"d\\\\e\";\n  \
             \"a \\\"b\\\" <c>\" -> \"d\\\\e\";\n  \"a \\\"b\\\" <c>\" -> \"d\\\\e\" [label=\"failure\", style=dashed];\n}\n"
        );
    }

    #[test]
    fn what_is_done_at_the_end_stands_in_a_frame() {
        let (names, last) = (["a", "b", "c"], [false, true, false]);
        assert_eq!(
            mermaid(&names, &[], &last),
            "flowchart TD\n  t0[\"a\"]\n  t2[\"c\"]\n  subgraph finally\n  t1[\"b\"]\n  end\n"
        );
        assert!(dot("w", &names, &[], &last).contains("  label=finally;\n  \"b\";\n  }\n}\n"));
    }
}
