//! Where the tasks of a graph stand in a drawing: in columns by stage, edges from left to right (Sugiyama's method).
//!
//! Columns are the stages. An edge over several columns passes each of them at a place of its own. The order within a
//! column follows the means of the neighbours in sweeps (Barth, Jünger and Mutzel tell why few are enough); the heights are
//! those nearest to the neighbours' that keep the distance, found by pooling adjacent violators (Ayer et al., 1955).
//! Parts of a graph that nothing connects stand below each other; tasks on their own come last, several in a row.
//! Nothing here recurses.

/// Sweeps over all columns, to and fro: more change little.
const SWEEPS: usize = 6;
/// Places that edges pass on their way, in all; longer edges beyond that are drawn straight.
const PASSED: usize = 50_000;

/// Tasks on their own that stand beside each other, and how many of them are worth it.
const IN_A_ROW: usize = 5;
const WORTH_ROWS: usize = 8;

/// Where everything stands.
#[derive(Default)]
pub(crate) struct Layered {
    /// The column of each node.
    pub(crate) column: Vec<usize>,
    /// The middle of each node, in units of the distance between two of them.
    pub(crate) height: Vec<f64>,
    /// For each edge, in the order given: the heights at which it passes the columns between its ends.
    pub(crate) passes: Vec<Vec<f64>>,
    /// How many columns there are.
    pub(crate) columns: usize,
    /// The lowest place that is taken.
    pub(crate) extent: f64,
}

/// Nodes and the places that edges pass, by column and in their order.
struct Places {
    columns: Vec<Vec<usize>>,
    left: Vec<Vec<usize>>,
    right: Vec<Vec<usize>>,
    /// How much room each takes: nodes 1, edges less.
    room: Vec<f64>,
    position: Vec<f64>,
}

/// Places the nodes of a graph whose stages are known.
pub(crate) fn place(count: usize, edges: &[(usize, usize)], stages: &[Vec<usize>]) -> Layered {
    let parts = parts(count, edges);
    let mut whole = Layered {
        column: vec![0; count],
        height: vec![0.0; count],
        passes: vec![Vec::new(); edges.len()],
        ..Layered::default()
    };
    let mut stage_of = vec![0; count];
    for (stage, nodes) in stages.iter().enumerate() {
        nodes.iter().for_each(|node| stage_of[*node] = stage);
    }
    let mut local = vec![0; count];
    for part in &parts.joined {
        part.nodes.iter().enumerate().for_each(|(index, node)| local[*node] = index);
        let links: Vec<(usize, usize)> =
            part.edges.iter().map(|edge| (local[edges[*edge].0], local[edges[*edge].1])).collect();
        let mut stages: Vec<Vec<usize>> = Vec::new();
        for node in &part.nodes {
            let stage = stage_of[*node];
            stages.resize_with(stages.len().max(stage + 1), Vec::new);
            stages[stage].push(local[*node]);
        }
        whole.take(part, place_part(part.nodes.len(), &links, &stages));
    }
    whole.take_singles(&parts.single);
    whole
}

/// The parts of a graph that nothing connects.
struct Parts {
    joined: Vec<Part>,
    /// Nodes without any edge.
    single: Vec<usize>,
}

/// Nodes that edges connect, and these, in their order.
#[derive(Default)]
struct Part {
    nodes: Vec<usize>,
    edges: Vec<usize>,
}

fn parts(count: usize, edges: &[(usize, usize)]) -> Parts {
    // Each node points to one of its part; who points to itself stands for the part.
    let mut towards: Vec<usize> = (0..count).collect();
    let find = |towards: &mut Vec<usize>, mut node: usize| {
        while towards[node] != node {
            towards[node] = towards[towards[node]];
            node = towards[node];
        }
        node
    };
    for (from, to) in edges {
        let (one, other) = (find(&mut towards, *from), find(&mut towards, *to));
        towards[one.max(other)] = one.min(other);
    }
    let mut part_of = vec![usize::MAX; count];
    let mut all: Vec<Part> = Vec::new();
    for node in 0..count {
        let root = find(&mut towards, node);
        if part_of[root] == usize::MAX {
            part_of[root] = all.len();
            all.push(Part::default());
        }
        part_of[node] = part_of[root];
        all[part_of[node]].nodes.push(node);
    }
    for (index, (from, _)) in edges.iter().enumerate() {
        all[part_of[*from]].edges.push(index);
    }
    let (single, joined): (Vec<Part>, Vec<Part>) = all.into_iter().partition(|part| part.edges.is_empty());
    Parts { joined, single: single.into_iter().flat_map(|part| part.nodes).collect() }
}

impl Layered {
    /// Where the next part begins.
    fn below(&self) -> f64 {
        if self.columns == 0 { 0.0 } else { self.extent + 1.5 }
    }

    fn take(&mut self, part: &Part, placed: Layered) {
        let below = self.below();
        for (index, node) in part.nodes.iter().enumerate() {
            self.column[*node] = placed.column[index];
            self.height[*node] = placed.height[index] + below;
        }
        for (edge, passes) in part.edges.iter().zip(placed.passes) {
            self.passes[*edge] = passes.into_iter().map(|height| height + below).collect();
        }
        self.columns = self.columns.max(placed.columns);
        self.extent = placed.extent + below;
    }

    fn take_singles(&mut self, nodes: &[usize]) {
        if nodes.is_empty() {
            return;
        }
        let below = self.below();
        let in_a_row = if nodes.len() > WORTH_ROWS { IN_A_ROW } else { 1 };
        for (index, node) in nodes.iter().enumerate() {
            self.column[*node] = index % in_a_row;
            self.height[*node] = below + (index / in_a_row) as f64;
        }
        self.columns = self.columns.max(in_a_row);
        self.extent = below + ((nodes.len() - 1) / in_a_row) as f64;
    }
}

/// Places nodes that are connected.
fn place_part(count: usize, edges: &[(usize, usize)], stages: &[Vec<usize>]) -> Layered {
    let mut column = vec![0; count];
    for (stage, nodes) in stages.iter().enumerate() {
        nodes.iter().for_each(|node| column[*node] = stage);
    }
    let mut places = Places {
        columns: stages.to_vec(),
        left: vec![Vec::new(); count],
        right: vec![Vec::new(); count],
        room: vec![1.0; count],
        position: Vec::new(),
    };
    let mut on_way: Vec<Vec<usize>> = Vec::with_capacity(edges.len());
    let mut left_to_pass = PASSED;
    for (from, to) in edges {
        let between = column[*from] + 1..column[*to];
        let mut chain = Vec::new();
        if between.len() <= left_to_pass {
            left_to_pass -= between.len();
            chain = between.map(|column| places.pass(column)).collect();
            let ends = std::iter::once(*from).chain(chain.iter().copied()).chain([*to]);
            let ends: Vec<usize> = ends.collect();
            ends.windows(2).for_each(|pair| places.link(pair[0], pair[1]));
        }
        on_way.push(chain);
    }
    places.order();
    places.align();
    Layered {
        height: places.position[..count].to_vec(),
        passes: on_way
            .into_iter()
            .map(|chain| chain.into_iter().map(|place| places.position[place]).collect())
            .collect(),
        columns: places.columns.len(),
        extent: places.position.iter().copied().fold(0.0, f64::max),
        column,
    }
}

impl Places {
    fn pass(&mut self, column: usize) -> usize {
        let place = self.room.len();
        self.room.push(0.5);
        self.left.push(Vec::new());
        self.right.push(Vec::new());
        self.columns[column].push(place);
        place
    }

    fn link(&mut self, from: usize, to: usize) {
        self.right[from].push(to);
        self.left[to].push(from);
    }

    /// Puts each column into the order of the means of its neighbours.
    fn order(&mut self) {
        self.position = vec![0.0; self.room.len()];
        (0..self.columns.len()).for_each(|column| self.number(column));
        for sweep in 0..SWEEPS {
            for step in 0..self.columns.len() {
                let column = if sweep % 2 == 0 { step } else { self.columns.len() - 1 - step };
                let neighbours = if sweep % 2 == 0 { &self.left } else { &self.right };
                let position = &self.position;
                let mean = |place: usize| mean_of(&neighbours[place], position).unwrap_or(position[place]);
                let mut means: Vec<(f64, usize)> =
                    self.columns[column].iter().map(|place| (mean(*place), *place)).collect();
                // Stable: those with equal means stay as they were.
                means.sort_by(|a, b| a.0.total_cmp(&b.0));
                self.columns[column] = means.into_iter().map(|(_, place)| place).collect();
                self.number(column);
            }
        }
    }

    /// Heights that only follow from the order, so that columns are comparable: from 0 to 1.
    fn number(&mut self, column: usize) {
        let count = self.columns[column].len() as f64;
        for (rank, place) in self.columns[column].iter().enumerate() {
            self.position[*place] = (rank as f64 + 0.5) / count;
        }
    }

    /// Brings each place near to the mean of its neighbours, at least its room away from the next.
    fn align(&mut self) {
        for column in 0..self.columns.len() {
            let mut height = 0.0;
            for place in &self.columns[column] {
                height += self.room[*place] / 2.0;
                self.position[*place] = height;
                height += self.room[*place] / 2.0;
            }
        }
        let widest = (0..self.columns.len()).max_by_key(|column| self.columns[*column].len()).unwrap_or(0);
        for _ in 0..SWEEPS {
            (widest + 1..self.columns.len()).for_each(|column| self.settle(column, true));
            (0..widest).rev().for_each(|column| self.settle(column, false));
            (0..self.columns.len())
                .filter(|column| *column != widest)
                .for_each(|column| self.settle_between(column));
        }
        let least = self.position.iter().copied().fold(f64::INFINITY, f64::min);
        self.position.iter_mut().for_each(|height| *height -= least);
    }

    fn settle(&mut self, column: usize, by_left: bool) {
        let neighbours = if by_left { &self.left } else { &self.right };
        let wanted = self.columns[column].iter();
        let wanted =
            wanted.map(|place| mean_of(&neighbours[*place], &self.position).unwrap_or(self.position[*place]));
        let wanted = wanted.collect();
        self.take(column, wanted);
    }

    fn settle_between(&mut self, column: usize) {
        let wanted = self.columns[column].iter().map(|place| {
            let sides = [&self.left[*place], &self.right[*place]];
            let means: Vec<f64> =
                sides.into_iter().filter_map(|side| mean_of(side, &self.position)).collect();
            if means.is_empty() {
                self.position[*place]
            } else {
                means.iter().sum::<f64>() / means.len() as f64
            }
        });
        let wanted = wanted.collect();
        self.take(column, wanted);
    }

    fn take(&mut self, column: usize, wanted: Vec<f64>) {
        let rooms: Vec<f64> = self.columns[column].iter().map(|place| self.room[*place]).collect();
        for (place, height) in self.columns[column].iter().zip(spread(&wanted, &rooms)) {
            self.position[*place] = height;
        }
    }
}

fn mean_of(places: &[usize], position: &[f64]) -> Option<f64> {
    let sum: f64 = places.iter().map(|place| position[*place]).sum();
    (!places.is_empty()).then(|| sum / places.len() as f64)
}

/// The heights nearest to those wanted (least squares) that keep the order and leave each its room.
fn spread(wanted: &[f64], rooms: &[f64]) -> Vec<f64> {
    let mut offsets = Vec::with_capacity(wanted.len());
    let mut offset = 0.0;
    for (index, room) in rooms.iter().enumerate() {
        if index > 0 {
            offset += f64::midpoint(rooms[index - 1], *room);
        }
        offsets.push(offset);
    }
    // Blocks that stand together: their mean, and how many they are.
    let mut blocks: Vec<(f64, usize)> = Vec::new();
    for (wanted, offset) in wanted.iter().zip(&offsets) {
        let mut block = (wanted - offset, 1);
        while let Some((mean, count)) = blocks.pop_if(|(mean, _)| *mean > block.0) {
            let all = count + block.1;
            block = ((mean * count as f64 + block.0 * block.1 as f64) / all as f64, all);
        }
        blocks.push(block);
    }
    let means = blocks.into_iter().flat_map(|(mean, count)| std::iter::repeat_n(mean, count));
    means.zip(offsets).map(|(mean, offset)| mean + offset).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;
    use proptest::prelude::*;

    fn placed(count: usize, edges: &[(usize, usize)]) -> Layered {
        let mut before = vec![Vec::new(); count];
        edges.iter().for_each(|(from, to)| before[*to].push(*from));
        place(count, edges, &Graph::new(before).stages())
    }

    #[test]
    fn a_diamond_stands_around_its_middle() {
        let layered = placed(4, &[(0, 1), (0, 2), (1, 3), (2, 3)]);
        assert_eq!(layered.column, [0, 1, 1, 2]);
        assert!((layered.height[0] - layered.height[3]).abs() < 1e-9);
        assert!((layered.height[0] - f64::midpoint(layered.height[1], layered.height[2])).abs() < 1e-9);
    }

    #[test]
    fn crossings_are_undone_and_long_edges_pass_every_column_between() {
        // 0 and 1 lead to 3 and 2: drawn in the order of the file they would cross.
        let layered = placed(5, &[(0, 3), (1, 2), (0, 4), (3, 4)]);
        assert_eq!(layered.height[0] < layered.height[1], layered.height[3] < layered.height[2]);
        assert_eq!(layered.passes.iter().map(Vec::len).collect::<Vec<_>>(), [0, 0, 1, 0]);
    }

    #[test]
    fn parts_stand_below_each_other_and_tasks_on_their_own_in_rows() {
        // 0 before 2, 1 before 3, and twelve that nothing connects.
        let layered = placed(16, &[(0, 2), (1, 3)]);
        assert_eq!(layered.height[..4], [0.0, 1.5, 0.0, 1.5]);
        assert_eq!(layered.column[4..], [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]);
        assert_eq!((layered.height[4], layered.height[15], layered.extent), (3.0, 5.0, 5.0));
        assert_eq!(placed(3, &[]).column, [0, 0, 0]);
        assert_eq!(placed(0, &[]).columns, 0);
    }

    proptest! {
        #[test]
        fn nodes_of_a_column_never_overlap_and_edges_go_to_the_right(
            pairs in prop::collection::vec((0..40usize, 0..40usize), 0..120)
        ) {
            let mut edges: Vec<(usize, usize)> = pairs.into_iter().filter(|(a, b)| a < b).collect();
            edges.sort_unstable();
            edges.dedup();
            let layered = placed(40, &edges);
            for (from, to) in &edges {
                prop_assert!(layered.column[*from] < layered.column[*to]);
            }
            for a in 0..40 {
                prop_assert!(layered.height[a] >= 0.0 && layered.height[a] <= layered.extent);
                prop_assert!(layered.column[a] < layered.columns);
                for b in (0..a).filter(|b| layered.column[*b] == layered.column[a]) {
                    prop_assert!((layered.height[a] - layered.height[b]).abs() > 0.999);
                }
            }
        }
    }
}
