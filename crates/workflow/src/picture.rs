//! The graph of a workflow as a drawing in SVG: tasks in columns by stage, coloured by what has become of them.
//!
//! A drawing is self-contained, fits light and dark surroundings, and shows names as text whatever is in them.

use orchd_model::{On, Status, TaskId, is_obeyed};
use std::collections::{HashMap, HashSet};
use std::fmt::Write;

use crate::drawing::{dot, mermaid};
use crate::graph::Graph;
use crate::layers::{Layered, place};
use crate::plan::{Edge, Plan};

/// From the left of a column to the left of the next.
const COLUMN: f64 = 220.0;
/// Width of a task.
const WIDTH: f64 = 160.0;
/// Height of a task, and from the top of one to the top of the next below it.
const ROOMY: (f64, f64) = (26.0, 38.0);
/// The same where many stand below each other.
const DENSE: (f64, f64) = (15.0, 18.0);
/// More rows than this are many.
const MANY: f64 = 40.0;
const MARGIN: f64 = 12.0;
/// How much of a name fits, in widths of a usual letter: of a task, and of one where many stand below each other.
const ROOM: (f64, f64) = (21.5, 26.0);

/// The colours of a drawing. A page that holds one needs them in its own style.
pub const STYLE: &str = "\
.graph{--node:#f6f7f9;--line:#b6bcc6;--ink:#1f2530;--edge:#9aa3b0;--good:#dff3e4;--good-line:#3c9a5f;--bad:#fbe1df;\
--bad-line:#c9453b;--busy:#dceafd;--busy-line:#3c78c8;--wait:#fdf1d7;--wait-line:#b98a1d;--out:#eceef1;--out-line:#8b93a0;--path:#7b3fb5}\
@media (prefers-color-scheme:dark){.graph{--node:#232a35;--line:#566072;--ink:#e6e9ef;--edge:#6c7789;--good:#1d3a2a;\
--good-line:#58c083;--bad:#452220;--bad-line:#ef7b72;--busy:#1d3350;--busy-line:#6ea8f0;--wait:#403416;--wait-line:#dcb04a;\
--out:#2a2f38;--out-line:#7c8595;--path:#c08cf0}}\
.graph rect{fill:var(--node);stroke:var(--line)}.graph text{fill:var(--ink);font:12px system-ui,sans-serif}\
.graph .dense{font-size:10px}\
.graph path{fill:none;stroke:var(--edge);stroke-width:1.2}.graph .other{stroke-dasharray:5 4}.graph .head{fill:var(--edge);stroke:none}\
.graph .completed rect{fill:var(--good);stroke:var(--good-line)}.graph .failed rect{fill:var(--bad);stroke:var(--bad-line);stroke-width:2}\
.graph .running rect{fill:var(--busy);stroke:var(--busy-line)}.graph .retrying rect{fill:var(--wait);stroke:var(--wait-line)}\
.graph .skipped rect,.graph .cancelled rect{fill:var(--out);stroke:var(--out-line);stroke-dasharray:4 3}\
.graph .critical rect{stroke:var(--path);stroke-width:2.5}.graph path.critical{stroke:var(--path);stroke-width:2.2}";

/// A task in a drawing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PictureTask {
    /// Its id, if it has one already.
    pub id: Option<TaskId>,
    /// What it is called.
    pub name: String,
    /// What is said when one points at it; its name is always.
    pub note: String,
    /// What has become of it, if anything has.
    pub status: Option<Status>,
    /// Its place on the path that decided when the workflow ended, if it is on it.
    pub step: Option<usize>,
    /// Whether it comes after all others, whatever the links say.
    pub is_last: bool,
}

/// A graph of tasks to be drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// What the whole is called.
    pub title: String,
    /// The tasks.
    pub tasks: Vec<PictureTask>,
    /// Which task comes before which, by their places, and how it must end. There is no cycle.
    pub links: Vec<(usize, usize, On)>,
}

impl Picture {
    /// The graph of a plan, with the path that is expected to decide when it ends.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let names = &plan.topological_order;
        let places: HashMap<&str, usize> =
            names.iter().enumerate().map(|(place, name)| (name.as_str(), place)).collect();
        let path = plan.critical_path.tasks.iter().enumerate();
        let critical: HashMap<&str, usize> = path.map(|(step, name)| (name.as_str(), step)).collect();
        let last: HashSet<&str> = plan.finally.iter().map(String::as_str).collect();
        let task = |name: &String| PictureTask {
            name: name.clone(),
            step: critical.get(name.as_str()).copied(),
            is_last: last.contains(name.as_str()),
            ..PictureTask::default()
        };
        let link =
            |Edge(from, to, on): &Edge| Some((*places.get(from.as_str())?, *places.get(to.as_str())?, *on));
        Self {
            title: plan.name.clone(),
            tasks: names.iter().map(task).collect(),
            links: plan.edges.iter().filter_map(link).collect(),
        }
    }

    /// The graph as Mermaid text.
    #[must_use]
    pub fn mermaid(&self) -> String {
        mermaid(&self.names(), &self.links, &self.last())
    }

    /// The graph as Graphviz text.
    #[must_use]
    pub fn dot(&self) -> String {
        dot(&self.title, &self.names(), &self.links, &self.last())
    }

    fn names(&self) -> Vec<&str> {
        self.tasks.iter().map(|task| task.name.as_str()).collect()
    }

    fn last(&self) -> Vec<bool> {
        self.tasks.iter().map(|task| task.is_last).collect()
    }

    /// A drawing that stands alone.
    #[must_use]
    pub fn svg(&self) -> String {
        self.draw(STYLE)
    }

    /// A drawing for a page that has [`STYLE`] already.
    #[must_use]
    pub fn svg_for_page(&self) -> String {
        self.draw("")
    }

    fn draw(&self, style: &str) -> String {
        let mut before = vec![Vec::new(); self.tasks.len()];
        let mut edges = Vec::with_capacity(self.links.len());
        for (from, to, _) in &self.links {
            before[*to].push(*from);
            edges.push((*from, *to));
        }
        let mut stages = Graph::with_last(before, &self.last()).stages();
        stages.retain(|stage| stage.iter().all(|task| *task < self.tasks.len()));
        let layered = place(self.tasks.len(), &edges, &stages);
        let is_dense = layered.extent > MANY;
        let (box_height, row) = if is_dense { DENSE } else { ROOMY };
        let width = MARGIN * 2.0 + COLUMN * (layered.columns.max(1) - 1) as f64 + WIDTH;
        let height = MARGIN * 2.0 + layered.extent * row + box_height;
        let mut text = format!(
            "<svg class=\"graph\" xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\"><title>{}</title>",
            escaped(&self.title)
        );
        if !style.is_empty() {
            _ = write!(text, "<style>{style}</style>");
        }
        let scene = Scene { layered: &layered, box_height, row };
        for (link, passes) in self.links.iter().zip(&layered.passes) {
            self.draw_link(&mut text, &scene, *link, passes);
        }
        for (index, task) in self.tasks.iter().enumerate() {
            draw_task(&mut text, &scene, index, task, is_dense);
        }
        text.push_str("</svg>\n");
        text
    }

    fn draw_link(&self, text: &mut String, scene: &Scene<'_>, link: (usize, usize, On), passes: &[f64]) {
        let (from, to, on) = link;
        let [(left, top), (end, bottom)] = [from, to].map(|task| scene.corner(task));
        let (mut x, mut y) = (left + WIDTH, top + scene.box_height / 2.0);
        let middle = bottom + scene.box_height / 2.0;
        let tip = end - 6.0;
        let after = self.tasks[from].step.map(|step| step + 1);
        let is_critical = after.is_some() && after == self.tasks[to].step;
        let class = match (on, is_critical) {
            (On::Success, false) => "",
            (On::Success, true) => " class=\"critical\"",
            (On::Failure | On::Completion, false) => " class=\"other\"",
            (On::Failure | On::Completion, true) => " class=\"other critical\"",
        };
        _ = write!(text, "<path{class} d=\"M{x:.1} {y:.1}");
        for (step, height) in passes.iter().enumerate() {
            let column = scene.layered.column[from] + 1 + step;
            let (left, height) = (scene.left(column), MARGIN + height * scene.row + scene.box_height / 2.0);
            curve(text, (x, y), (left, height));
            _ = write!(text, "H{:.1}", left + WIDTH);
            (x, y) = (left + WIDTH, height);
        }
        curve(text, (x, y), (tip, middle));
        text.push_str("\">");
        match on {
            On::Success => {}
            On::Failure | On::Completion => _ = write!(text, "<title>on {on}</title>"),
        }
        _ = write!(text, "</path><path class=\"head\" d=\"M{end:.1} {middle:.1}l-7 -3.5v7z\"/>");
    }
}

/// A curve that leaves and arrives level.
fn curve(text: &mut String, from: (f64, f64), to: (f64, f64)) {
    let middle = f64::midpoint(from.0, to.0);
    _ = write!(text, "C{middle:.1} {:.1} {middle:.1} {:.1} {:.1} {:.1}", from.1, to.1, to.0, to.1);
}

struct Scene<'a> {
    layered: &'a Layered,
    box_height: f64,
    row: f64,
}

impl Scene<'_> {
    fn left(&self, column: usize) -> f64 {
        MARGIN + COLUMN * column as f64
    }

    fn corner(&self, task: usize) -> (f64, f64) {
        (self.left(self.layered.column[task]), MARGIN + self.layered.height[task] * self.row)
    }
}

fn draw_task(text: &mut String, scene: &Scene<'_>, index: usize, task: &PictureTask, is_dense: bool) {
    let (left, top) = scene.corner(index);
    let status = task.status.map_or("", Status::as_str);
    let critical = if task.step.is_some() { " critical" } else { "" };
    let note = if task.note.is_empty() { String::new() } else { format!("\n{}", task.note) };
    let shown = fitting(&task.name, if is_dense { ROOM.1 } else { ROOM.0 });
    let id = task.id.map_or_else(String::new, |id| format!(" data-t=\"{id}\""));
    let dense = if is_dense { " class=\"dense\"" } else { "" };
    _ = write!(
        text,
        "<g class=\"task {status}{critical}\"{id}><title>{}{}</title><rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{WIDTH}\" \
         height=\"{}\" rx=\"4\"/><text{dense} x=\"{:.1}\" y=\"{:.1}\">{}</text></g>",
        escaped(&task.name),
        escaped(&note),
        scene.box_height,
        left + 7.0,
        top + scene.box_height / 2.0 + if is_dense { 3.5 } else { 4.5 },
        escaped(&shown)
    );
}

/// As much of a name as fits.
fn fitting(name: &str, room: f64) -> String {
    if name.chars().map(breadth).sum::<f64>() <= room {
        return name.to_owned();
    }
    let mut taken = breadth('…');
    let fits = |c: &char| {
        taken += breadth(*c);
        taken <= room
    };
    name.chars().take_while(fits).chain(['…']).collect()
}

/// About how broad a character is in a sans-serif font, in widths of a usual letter. Text in a drawing cannot be cut where
/// it ends to be seen, so how much of it is seen must be guessed.
fn breadth(c: char) -> f64 {
    match c {
        'i' | 'j' | 'l' | '\'' | '|' | '.' | ',' | ':' | ';' | '!' | 'I' => 0.5,
        'f' | 't' | 'r' | '(' | ')' | '[' | ']' | '{' | '}' | '"' | '-' | ' ' | '/' => 0.65,
        'm' | 'w' | 'M' | 'W' | '@' | '%' | '<' | '>' | '=' | '+' | '~' | '#' => 1.5,
        // Marks over the character before them.
        '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200f}' | '\u{fe00}'..='\u{fe0f}' => 0.0,
        c if c.is_ascii_lowercase() || c.is_ascii_digit() => 1.0,
        c if (c as u32) < 0x1100 => 1.2,
        _ => 2.0,
    }
}

/// Text that means itself in XML and HTML, between tags and in quotes.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\n' | '\t' => safe.push(c),
            // No characters of XML, and those that turn the direction of what follows.
            c if is_obeyed(c) || matches!(c, '\u{fffe}' | '\u{ffff}') => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(name: &str, status: Option<Status>) -> PictureTask {
        PictureTask { name: name.into(), status, ..PictureTask::default() }
    }

    #[test]
    fn names_stay_text_and_statuses_are_classes() {
        let picture = Picture {
            title: "<w>".into(),
            tasks: vec![
                task("<script>alert('1')</script>", Some(Status::Failed)),
                task("b\u{1b}\u{202e}", None),
            ],
            links: vec![(0, 1, On::Failure)],
        };
        let svg = picture.svg();
        assert!(
            svg.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;") && !svg.contains("<script"),
            "{svg}"
        );
        assert!(svg.contains("class=\"task failed\"") && svg.contains("class=\"other\""), "{svg}");
        assert!(svg.contains("b\u{fffd}\u{fffd}") && svg.contains("<title>on failure</title>"), "{svg}");
        assert_eq!(svg.matches("<g class=\"task").count(), 2);
        assert!(!picture.svg_for_page().contains("<style>"));
    }

    #[test]
    fn only_edges_from_one_step_of_the_path_to_the_next_are_critical() {
        let on_path = |step| PictureTask { step: Some(step), ..task("t", None) };
        let tasks = vec![on_path(0), on_path(1), on_path(2), task("u", None)];
        let links = [(0, 1), (1, 2), (0, 2), (0, 3)].map(|(from, to)| (from, to, On::Success)).to_vec();
        let svg = Picture { title: "w".into(), tasks, links }.svg_for_page();
        assert_eq!(svg.matches("<path class=\"critical\"").count(), 2);
        assert_eq!(svg.matches("<g class=\"task  critical\"").count(), 3);
    }

    #[test]
    fn names_are_cut_to_what_fits() {
        assert_eq!(fitting("integration", 21.5), "integration");
        assert_eq!(fitting(&"x".repeat(256), 21.5), format!("{}…", "x".repeat(19)));
        assert_eq!(fitting(&"W".repeat(30), 21.5).chars().count(), 14);
        assert_eq!(fitting(&"日".repeat(30), 21.5).chars().count(), 10);
        let many_marks = format!("e{}", "\u{301}".repeat(100));
        assert_eq!(fitting(&many_marks, 21.5), many_marks);
    }

    #[test]
    fn a_fan_of_thousands_is_drawn_in_a_moment() {
        let tasks = (0..2000).map(|n| task(&n.to_string(), None)).collect();
        let links = (1..1999).flat_map(|n| [(0, n, On::Success), (n, 1999, On::Success)]).collect();
        let svg = Picture { title: "fan".into(), tasks, links }.svg();
        assert_eq!(svg.matches("<rect").count(), 2000);
    }
}
