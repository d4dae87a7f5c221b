//! The graph of a workflow by index: stages, order, cycles, critical path. Nothing here recurses, so a
//! chain of a million tasks is fine.

/// Tasks by their place in the file, each with the tasks that it depends on.
///
/// Invariant: every target is a valid index.
pub(crate) struct Graph {
    before: Lists,
    after: Lists,
}

/// Some tasks for each task, all of them in one row: of a million there are not a million lists.
///
/// Invariant: `ends` grows, up to the length of `row`.
pub(crate) struct Lists {
    row: Vec<usize>,
    ends: Vec<usize>,
}

impl Lists {
    /// None yet, with room for so many lists and what is in them.
    pub(crate) fn with_capacity(lists: usize, tasks: usize) -> Self {
        Self { row: Vec::with_capacity(tasks), ends: Vec::with_capacity(lists) }
    }

    /// Adds to the list that is not at its end yet.
    pub(crate) fn push(&mut self, task: usize) {
        self.row.push(task);
    }

    /// Ends a list.
    pub(crate) fn end(&mut self) {
        self.ends.push(self.row.len());
    }

    /// How many lists there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The list of this task.
    pub(crate) fn of(&self, task: usize) -> &[usize] {
        let begin = task.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.row[begin..self.ends[task]]
    }

    /// For each task those in whose lists it is, in order.
    fn turned(&self) -> Self {
        // Where the next one of each list goes: at first, where the list begins.
        let mut next = vec![0; self.len() + 1];
        self.row.iter().for_each(|&task| next[task + 1] += 1);
        for task in 0..self.len() {
            next[task + 1] += next[task];
        }
        let mut row = vec![0; self.row.len()];
        for task in 0..self.len() {
            for &other in self.of(task) {
                row[next[other]] = task;
                next[other] += 1;
            }
        }
        next.pop();
        Self { row, ends: next }
    }
}

impl Graph {
    /// The graph of `before[task] = dependencies of the task`.
    pub(crate) fn new(before: Vec<Vec<usize>>) -> Self {
        let mut lists = Lists::with_capacity(before.len(), before.iter().map(Vec::len).sum());
        for dependencies in before {
            dependencies.into_iter().for_each(|dependency| lists.push(dependency));
            lists.end();
        }
        Self::of(lists)
    }

    /// The same of lists.
    pub(crate) fn of(before: Lists) -> Self {
        Self { after: before.turned(), before }
    }

    /// The graph of `before`, in which some tasks come after all others, however those end. Where there are such
    /// tasks, one node stands between: it comes after the last real one.
    pub(crate) fn with_last(mut before: Vec<Vec<usize>>, last: &[bool]) -> Self {
        if !last.contains(&true) {
            return Self::new(before);
        }
        let mut ends: Vec<bool> = last.iter().map(|is_last| !is_last).collect();
        for (_, dependencies) in before.iter().enumerate().filter(|(task, _)| !last[*task]) {
            dependencies.iter().for_each(|&dependency| ends[dependency] = false);
        }
        let gate = before.len();
        for (_, dependencies) in before.iter_mut().enumerate().filter(|(task, _)| last[*task]) {
            if dependencies.iter().all(|&dependency| !last[dependency]) {
                dependencies.push(gate);
            }
        }
        before.push((0..gate).filter(|&task| ends[task]).collect());
        Self::new(before)
    }

    /// The tasks that each task depends on.
    pub(crate) fn before(&self) -> &Lists {
        &self.before
    }

    /// Tasks by stage, in the order of the file within a stage: a task stands one stage after the last of
    /// its dependencies. Tasks on a cycle, or after one, stand in none.
    pub(crate) fn stages(&self) -> Vec<Vec<usize>> {
        let mut open = self.counts();
        let mut stage: Vec<usize> = (0..open.len()).filter(|&task| open[task] == 0).collect();
        let mut stages = Vec::new();
        while !stage.is_empty() {
            let mut next = Vec::new();
            for &after in stage.iter().flat_map(|&task| self.after.of(task)) {
                open[after] -= 1;
                if open[after] == 0 {
                    next.push(after);
                }
            }
            next.sort_unstable();
            stages.push(std::mem::replace(&mut stage, next));
        }
        stages
    }

    /// How many tasks each task depends on.
    fn counts(&self) -> Vec<usize> {
        (0..self.before.len()).map(|task| self.before.of(task).len()).collect()
    }

    /// Every task that is on no cycle and after none, each after those that it depends on.
    fn order(&self) -> Vec<usize> {
        let mut open = self.counts();
        let mut order: Vec<usize> = (0..open.len()).filter(|&task| open[task] == 0).collect();
        let mut next = 0;
        while let Some(&task) = order.get(next) {
            next += 1;
            for &after in self.after.of(task) {
                open[after] -= 1;
                if open[after] == 0 {
                    order.push(after);
                }
            }
        }
        order
    }

    /// Cycles, each as the tasks along it in the order in which they wait for one another, the first in the
    /// file first. At least one of every knot of cycles.
    pub(crate) fn cycles(&self) -> Vec<Vec<usize>> {
        let mut seen: Vec<u8> = vec![0; self.before.len()];
        for task in self.order() {
            seen[task] = DONE;
        }
        let mut cycles = Vec::new();
        for start in 0..seen.len() {
            let mut walk = Vec::new();
            let mut next = Some(start).filter(|&task| seen[task] != DONE);
            // The walk ends where it meets itself, or where only tasks of earlier walks are left.
            while let Some(task) = next.filter(|&task| seen[task] == 0) {
                seen[task] = ON_WALK;
                walk.push(task);
                next = self.before.of(task).iter().copied().find(|&task| seen[task] != DONE);
            }
            if let Some(begin) = next.and_then(|met| walk.iter().position(|&task| task == met)) {
                let mut cycle = walk[begin..].to_vec();
                let first = cycle.iter().enumerate().min_by_key(|(_, task)| **task).map_or(0, |(i, _)| i);
                cycle.rotate_left(first);
                cycles.push(cycle);
            }
            for task in walk {
                seen[task] = DONE;
            }
        }
        cycles
    }

    /// The path whose durations sum up to the most, and that sum; of equal ones the one with the most tasks,
    /// and of those the first in the file.
    pub(crate) fn critical_path(&self, stages: &[Vec<usize>], durations: &[f64]) -> (Vec<usize>, f64) {
        let mut total = durations.to_vec();
        let mut length = vec![1_usize; total.len()];
        let mut from: Vec<Option<usize>> = vec![None; total.len()];
        let longest = |total: &[f64], length: &[usize], tasks: &mut dyn Iterator<Item = usize>| {
            let order = |&a: &usize, &b: &usize| {
                total[a].total_cmp(&total[b]).then(length[a].cmp(&length[b])).then(b.cmp(&a))
            };
            tasks.max_by(order)
        };
        for &task in stages.iter().flatten() {
            if let Some(before) = longest(&total, &length, &mut self.before.of(task).iter().copied()) {
                total[task] += total[before];
                length[task] += length[before];
                from[task] = Some(before);
            }
        }
        let last = longest(&total, &length, &mut (0..total.len()));
        let mut path: Vec<usize> = std::iter::successors(last, |&task| from[task]).collect();
        path.reverse();
        (path, last.map_or(0.0, |last| total[last]))
    }
}

const ON_WALK: u8 = 1;
const DONE: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_diamond_has_three_stages_and_its_longest_side_is_critical() {
        let graph = Graph::new(vec![vec![], vec![0], vec![0], vec![1, 2]]);
        let stages = graph.stages();
        assert_eq!(stages, [vec![0], vec![1, 2], vec![3]]);
        assert_eq!(graph.critical_path(&stages, &[1.0, 1.0, 5.0, 1.0]), (vec![0, 2, 3], 7.0));
        assert!(graph.cycles().is_empty());
    }

    #[test]
    fn last_tasks_come_after_all_others() {
        // 1 comes after 0; 2 and 3 are last, 3 after 2.
        let before = vec![vec![], vec![0], vec![0], vec![2], vec![]];
        let graph = Graph::with_last(before.clone(), &[false, false, true, true, false]);
        assert_eq!(graph.stages(), [vec![0, 4], vec![1], vec![5], vec![2], vec![3]]);
        assert_eq!(graph.critical_path(&graph.stages(), &[1.0, 2.0, 1.0, 1.0, 9.0, 0.0]).0, [4, 5, 2, 3]);
        assert_eq!(Graph::with_last(before.clone(), &[false; 5]).stages(), Graph::new(before).stages());
    }

    #[test]
    fn cycles_are_found_one_for_each_knot() {
        // 0 waits for 1, 1 for 2, 2 for 0; 3 only hangs on it; 4 and 5 wait for each other.
        let graph = Graph::new(vec![vec![1], vec![2], vec![0], vec![0], vec![5], vec![4]]);
        assert_eq!(graph.cycles(), [vec![0, 1, 2], vec![4, 5]]);
    }

    #[test]
    fn a_chain_of_a_million_tasks_needs_no_stack() {
        let graph = Graph::new((0..1_000_000).map(|i| if i == 0 { vec![] } else { vec![i - 1] }).collect());
        assert_eq!(graph.stages().len(), 1_000_000);
        let ring = Graph::new((0..1_000_000).map(|i| vec![(i + 999_999) % 1_000_000]).collect());
        assert_eq!(ring.cycles()[0].len(), 1_000_000);
    }

    proptest! {
        #[test]
        fn stages_hold_every_task_after_its_dependencies_or_there_is_a_cycle(
            edges in prop::collection::vec((0..12usize, 0..12usize), 0..30)
        ) {
            let mut before = vec![Vec::new(); 12];
            for (task, dependency) in edges {
                if task != dependency && !before[task].contains(&dependency) {
                    before[task].push(dependency);
                }
            }
            let graph = Graph::new(before.clone());
            let mut place = [usize::MAX; 12];
            for (stage, tasks) in graph.stages().iter().enumerate() {
                for &task in tasks {
                    place[task] = stage;
                }
            }
            for (task, dependencies) in before.iter().enumerate().filter(|(t, _)| place[*t] != usize::MAX) {
                prop_assert!(dependencies.iter().all(|&d| place[d] < place[task]));
            }
            let cycles = graph.cycles();
            prop_assert_eq!(cycles.is_empty(), place.iter().all(|&p| p != usize::MAX));
            for cycle in cycles {
                let next = cycle.iter().cycle().skip(1);
                prop_assert!(cycle.iter().zip(next).all(|(task, next)| before[*task].contains(next)));
            }
        }
    }
}
