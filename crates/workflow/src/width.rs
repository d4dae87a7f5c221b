//! How many tasks of a graph can run at once at most: the largest set of which none waits for another, directly
//! or through others.
//!
//! By Dilworth's theorem that is the least number of chains that cover the graph, and those are the tasks less
//! a maximum matching of each task with one that comes after it (Fulkerson 1956). The matching is found by
//! augmenting paths over rows of bits; what a search has reached in vain is never searched again.

use crate::graph::Graph;

/// Tasks up to which the width is worked out: two megabytes of bits and well below a second.
pub(crate) const WIDTH_TASKS: usize = 4000;

const WORD: usize = u64::BITS as usize;

/// The width of a graph without cycles, given its stages and as how many that run alike each task counts; of one that is
/// too large to say, its widest stage.
pub(crate) fn width(graph: &Graph, stages: &[Vec<usize>], alike: &[usize]) -> usize {
    let count: usize = alike.iter().sum();
    if count > WIDTH_TASKS {
        let counted = |stage: &Vec<usize>| stage.iter().map(|task| alike[*task]).sum();
        return stages.iter().map(counted).max().unwrap_or(0);
    }
    let mut matching = Matching {
        later: each_alike(later(graph, stages), alike),
        open: vec![u64::MAX; count.div_ceil(WORD)],
        matched: vec![None; count],
    };
    count - (0..count).filter(|&task| matching.augment(task)).count()
}

/// For each task those that come after it, as bits.
fn later(graph: &Graph, stages: &[Vec<usize>]) -> Vec<Vec<u64>> {
    let count = graph.before().len();
    let mut later = vec![vec![0_u64; count.div_ceil(WORD)]; count];
    for &task in stages.iter().rev().flatten() {
        let row = std::mem::take(&mut later[task]);
        for &before in graph.before().of(task) {
            let earlier = &mut later[before];
            earlier[task / WORD] |= 1 << (task % WORD);
            for (word, more) in earlier.iter_mut().zip(&row) {
                *word |= more;
            }
        }
        later[task] = row;
    }
    later
}

/// The same with so many in the place of each task, all of which come before and after the same others.
fn each_alike(later: Vec<Vec<u64>>, alike: &[usize]) -> Vec<Vec<u64>> {
    let count: usize = alike.iter().sum();
    if count == later.len() {
        return later;
    }
    let mut firsts = Vec::with_capacity(alike.len());
    let mut next = 0;
    for many in alike {
        firsts.push(next);
        next += many;
    }
    let mut all = Vec::with_capacity(count);
    for (row, many) in later.iter().zip(alike) {
        let mut wide = vec![0_u64; count.div_ceil(WORD)];
        for after in (0..alike.len()).filter(|task| row[task / WORD] >> (task % WORD) & 1 == 1) {
            (firsts[after]..firsts[after] + alike[after])
                .for_each(|copy| wide[copy / WORD] |= 1 << (copy % WORD));
        }
        all.resize(all.len() + many, wide);
    }
    all
}

struct Matching {
    later: Vec<Vec<u64>>,
    /// Tasks that no search has reached since the last that ended well; those that only searches in vain have
    /// reached stay out for good.
    open: Vec<u64>,
    /// For each task the one before it that it is matched with.
    matched: Vec<Option<usize>>,
}

impl Matching {
    /// Matches one more task with one after it, changing others' matches where that helps.
    fn augment(&mut self, start: usize) -> bool {
        let mut path: Vec<(usize, usize)> = Vec::new();
        let mut reached: Vec<usize> = Vec::new();
        let mut task = start;
        loop {
            match self.take(task) {
                Some(after) => {
                    reached.push(after);
                    path.push((task, after));
                    let Some(next) = self.matched[after] else { break };
                    task = next;
                }
                None => {
                    let Some((back, _)) = path.pop() else { return false };
                    task = back;
                }
            }
        }
        for (before, after) in path {
            self.matched[after] = Some(before);
        }
        for task in reached {
            self.open[task / WORD] |= 1 << (task % WORD);
        }
        true
    }

    /// Takes an open task that comes after this one; one that is free before others.
    fn take(&mut self, task: usize) -> Option<usize> {
        let candidates = self.later[task].iter().zip(&self.open).map(|(later, open)| later & open);
        let mut first = None;
        for (index, mut word) in candidates.enumerate() {
            while word != 0 {
                let found = index * WORD + word.trailing_zeros() as usize;
                word &= word - 1;
                if self.matched[found].is_none() {
                    first = Some(found);
                    break;
                }
                first.get_or_insert(found);
            }
            if first.is_some_and(|found| self.matched[found].is_none()) {
                break;
            }
        }
        let found = first?;
        self.open[found / WORD] &= !(1 << (found % WORD));
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn width_of(before: Vec<Vec<usize>>) -> usize {
        let graph = Graph::new(before);
        let stages = graph.stages();
        width(&graph, &stages, &vec![1; graph.before().len()])
    }

    #[test]
    fn who_stands_for_several_counts_as_so_many() {
        // 0 before 1 and 2, 2 before 3: the most is 1 with 3, or the five of 0.
        let graph = Graph::new(vec![vec![], vec![0], vec![0], vec![2]]);
        let width = |alike: &[usize]| width(&graph, &graph.stages(), alike);
        assert_eq!((width(&[1, 1, 1, 1]), width(&[5, 1, 1, 1]), width(&[5, 70, 2, 1])), (2, 5, 72));
        assert_eq!(width(&[WIDTH_TASKS, 9, 9, 1]), WIDTH_TASKS);
    }

    #[test]
    fn a_graph_may_be_wider_than_its_widest_stage() {
        // 1, 2 and 3 come after 0; 4 and 5 after 1: 2, 3, 4 and 5 can run at once, and no stage has four.
        let before = vec![vec![], vec![0], vec![0], vec![0], vec![1], vec![1]];
        assert_eq!(width_of(before), 4);
        assert_eq!(width_of(vec![vec![], vec![0], vec![0], vec![1, 2]]), 2);
        assert_eq!(width_of((0..200).map(|i| if i == 0 { vec![] } else { vec![i - 1] }).collect()), 1);
        assert_eq!((width_of(vec![]), width_of(vec![vec![]; 100])), (0, 100));
    }

    /// Whether one of two tasks comes after the other.
    fn ordered(later: &[Vec<u64>], a: usize, b: usize) -> bool {
        later[a][b / WORD] >> (b % WORD) & 1 == 1 || later[b][a / WORD] >> (a % WORD) & 1 == 1
    }

    proptest! {
        #[test]
        fn it_is_the_largest_set_without_order(edges in prop::collection::vec((0..10usize, 0..10usize), 0..30)) {
            let mut before = vec![Vec::new(); 10];
            for (a, b) in edges {
                let (low, high) = (a.min(b), a.max(b));
                if low != high && !before[high].contains(&low) {
                    before[high].push(low);
                }
            }
            let graph = Graph::new(before.clone());
            let later = later(&graph, &graph.stages());
            let free = |set: u32| {
                let tasks: Vec<usize> = (0..10).filter(|task| set >> task & 1 == 1).collect();
                tasks.iter().all(|&a| tasks.iter().all(|&b| !ordered(&later, a, b)))
            };
            let largest = (0_u32..1 << 10).filter(|&set| free(set)).map(u32::count_ones).max();
            prop_assert_eq!(Some(width_of(before) as u32), largest);
        }
    }
}
