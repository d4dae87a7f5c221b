//! The graph as text that other tools draw: Mermaid and Graphviz.

use orchd_model::On;
use std::fmt::Write;

/// A Mermaid flowchart. Edges that ask for another end than success carry it as their label.
pub(crate) fn mermaid(names: &[&str], links: &[(usize, usize, On)]) -> String {
    let mut text = String::from("flowchart TD\n");
    for (index, name) in names.iter().enumerate() {
        let label = name.replace('&', "&amp;").replace('"', "&quot;").replace(['\n', '\r'], " ");
        let label = label.replace('<', "&lt;").replace('>', "&gt;");
        _ = writeln!(text, "  t{index}[\"{label}\"]");
    }
    for (from, to, on) in links {
        _ = match on {
            On::Success => writeln!(text, "  t{from} --> t{to}"),
            On::Failure | On::Completion => writeln!(text, "  t{from} -. {on} .-> t{to}"),
        };
    }
    text
}

/// A Graphviz digraph.
pub(crate) fn dot(workflow: &str, names: &[&str], links: &[(usize, usize, On)]) -> String {
    let quoted = |name: &str| {
        format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"").replace(['\n', '\r'], " "))
    };
    let mut text = format!("digraph {} {{\n  rankdir=TB;\n  node [shape=box];\n", quoted(workflow));
    for name in names {
        _ = writeln!(text, "  {};", quoted(name));
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_stay_one_label() {
        let links = [(0, 1, On::Success), (0, 1, On::Failure)];
        let names = ["a \"b\" <c>", "d\\e"];
        assert_eq!(
            mermaid(&names, &links),
            "flowchart TD\n  t0[\"a &quot;b&quot; &lt;c&gt;\"]\n  t1[\"d\\e\"]\n  t0 --> t1\n  t0 -. failure .-> t1\n"
        );
        assert_eq!(
            dot("w", &names, &links),
            "digraph \"w\" {\n  rankdir=TB;\n  node [shape=box];\n  \"a \\\"b\\\" <c>\";\n  \"d\\\\e\";\n  \
             \"a \\\"b\\\" <c>\" -> \"d\\\\e\";\n  \"a \\\"b\\\" <c>\" -> \"d\\\\e\" [label=\"failure\", style=dashed];\n}\n"
        );
    }
}
