//! Sums of rows by index, the gradient of a [`gather`](super::gather): `shaders/scatter_add.wgsl`.
//!
//! Without atomics, so that sums are always made in the same order: [`SortTiles`] and [`MergeRuns`] sort the positions by their index,
//! equal ones in their order, [`FindStarts`] finds where each row's begin, then [`ScatterAdd`] sums the run of each row. Of n positions that
//! is some n (32 + log n log n) steps of integers: [`sorting`] says which kernels.
//!
//! ```
//! use wgen::Twin;
//! use wgen::kernels::scatter_add::{FindStarts, ScatterAdd, SortTiles, sorting};
//! use wgen::tensor::Data;
//!
//! // Updates 1, 10 and 100 go to rows 2, 0 and 2 of three. So few are one tile, which needs no merging.
//! assert!(sorting(3).1.is_empty());
//! let mut buffers = [Data::U32(vec![2, 0, 2]), Data::U32(vec![0; 6])];
//! SortTiles { count: 3 }.reference(&mut buffers);
//! let [_, sorted] = buffers;
//! assert_eq!(sorted.as_u32(), [0, 1, 2, 0, 2, 2]); // pairs of index and position
//!
//! let mut buffers = [sorted, Data::U32(vec![0; 4])];
//! FindStarts { count: 3, rows: 3 }.reference(&mut buffers);
//! let [sorted, starts] = buffers;
//! assert_eq!(starts.as_u32(), [0, 1, 1, 3]);
//!
//! let mut buffers = [Data::F32(vec![1.0, 10.0, 100.0]), sorted, starts, Data::F32(vec![0.0; 3])];
//! ScatterAdd { count: 3, rows: 3, width: 1 }.reference(&mut buffers);
//! assert_eq!(buffers[3], Data::F32(vec![10.0, 0.0, 101.0]));
//! ```

use serde_json::json;

use super::divide::divisor;
use super::{Binding, Cost, Grid, Kernel, Launch, bytes_of, fold};
use crate::tensor::DType;

/// log2 of the positions that are sorted by comparing each with each.
const TILE: u32 = 5;

/// log2 of the runs that are merged at once.
const FAN: u32 = 2;

/// The sorted tiles of positions by their index: pairs (index, position), equal indices in the order of their positions.
#[derive(Clone, Debug)]
pub struct SortTiles {
    /// Positions.
    pub count: usize,
}

/// One sorted run of each four.
#[derive(Clone, Debug)]
pub struct MergeRuns {
    /// Positions.
    pub count: usize,
    /// log2 of a run's length.
    pub run: u32,
}

/// Where each row's positions begin among the sorted, and behind them all where the last row's end: `rows + 1` places.
#[derive(Clone, Debug)]
pub struct FindStarts {
    /// Positions.
    pub count: usize,
    /// Rows.
    pub rows: usize,
}

/// `out[row, :] = sum of updates[b, :] where index[b] = row`, over positions as they are sorted.
#[derive(Clone, Debug)]
pub struct ScatterAdd {
    /// Positions.
    pub count: usize,
    /// Rows of the result.
    pub rows: usize,
    /// Elements of a row.
    pub width: usize,
}

/// The kernels that sort `count` positions, in order.
pub fn sorting(count: usize) -> (SortTiles, Vec<MergeRuns>) {
    let runs = (TILE..).step_by(FAN as usize);
    let unsorted = runs.take_while(|&run| count > 1 << run);
    let merges = unsorted.map(|run| MergeRuns { count, run }).collect();
    (SortTiles { count }, merges)
}

/// Log2 of a run's length after a merge.
pub(crate) fn merged(run: u32) -> u32 {
    run + FAN
}

/// Positions of a tile.
pub(crate) fn tile() -> usize {
    1 << TILE
}

/// The launch of a kernel over positions or rows.
fn launch(stage: &str, entry: &'static str, params: [usize; 3], units: usize) -> Launch {
    Launch {
        template: "scatter_add",
        entry,
        context: json!({"stage": stage, "fan": 1 << FAN, "tile": TILE}),
        constants: vec![("WORKGROUP", 64.0)],
        params: [params[0] as u32, params[1] as u32, params[2] as u32, 0].to_vec(),
        workgroups: fold(units.div_ceil(64) as u64),
        grid: Grid::Line { first: 3 },
        subgroups: false,
    }
}

impl Kernel for SortTiles {
    fn family(&self) -> &'static str {
        "scatter_add"
    }

    fn variant(&self) -> String {
        "tiles".to_owned()
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![
            Binding::read("index", DType::U32, self.count),
            Binding::write("sorted", DType::U32, 2 * self.count),
        ]
    }

    fn launch(&self) -> Launch {
        let params = [self.count, 0, TILE as usize];
        launch("tiles", "sort_tiles", params, self.count)
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: 0.0,
            bytes: bytes_of(&self.bindings()),
        }
    }
}

impl Kernel for MergeRuns {
    fn family(&self) -> &'static str {
        "scatter_add"
    }

    fn variant(&self) -> String {
        format!("merge {}", 1_u64 << self.run)
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![
            Binding::read("runs", DType::U32, 2 * self.count),
            Binding::write("sorted", DType::U32, 2 * self.count),
        ]
    }

    fn launch(&self) -> Launch {
        let params = [self.count, 0, self.run as usize];
        launch("merge", "merge_runs", params, self.count)
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: 0.0,
            bytes: bytes_of(&self.bindings()),
        }
    }
}

impl Kernel for FindStarts {
    fn family(&self) -> &'static str {
        "scatter_add"
    }

    fn variant(&self) -> String {
        "starts".to_owned()
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![
            Binding::read("sorted", DType::U32, 2 * self.count),
            Binding::write("starts", DType::U32, self.rows + 1),
        ]
    }

    fn launch(&self) -> Launch {
        let params = [self.count, self.rows, 0];
        launch("starts", "find_starts", params, self.rows + 1)
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: 0.0,
            bytes: bytes_of(&self.bindings()),
        }
    }
}

impl ScatterAdd {
    fn is_vector(&self) -> bool {
        self.width.is_multiple_of(4)
    }

    /// What an invocation makes of a row: for each it finds the positions once.
    fn span(&self) -> usize {
        let wide = self.width / if self.is_vector() { 4 } else { 1 };
        let fits = |span: &usize| self.is_vector() && wide.is_multiple_of(8 * span);
        [8, 4, 2].into_iter().find(fits).unwrap_or(1)
    }
}

impl Kernel for ScatterAdd {
    fn family(&self) -> &'static str {
        "scatter_add"
    }

    fn variant(&self) -> String {
        match (self.is_vector(), self.span()) {
            (false, _) => "sum".to_owned(),
            (true, 1) => "sum vec4".to_owned(),
            (true, span) => format!("sum vec4 x{span}"),
        }
    }

    fn bindings(&self) -> Vec<Binding> {
        let vector = self.is_vector();
        vec![
            Binding::read("updates", DType::F32, self.count * self.width).vector(vector),
            Binding::read("sorted", DType::U32, 2 * self.count),
            Binding::read("starts", DType::U32, self.rows + 1),
            Binding::write("out", DType::F32, self.rows * self.width).vector(vector),
        ]
    }

    fn launch(&self) -> Launch {
        let (vector, span) = (self.is_vector(), self.span());
        let wide = self.width / if vector { 4 } else { 1 };
        let units = self.rows * wide / span;
        let mut params = divisor(wide / span).to_vec();
        params.extend([units as u32, wide as u32, 0, 0]);
        Launch {
            template: "scatter_add",
            entry: "scatter_add",
            context: json!({
                "stage": "sum", "vector": vector, "span": span, "fan": 1 << FAN, "tile": TILE,
            }),
            constants: vec![("WORKGROUP", 64.0)],
            params,
            workgroups: fold(units.div_ceil(64) as u64),
            grid: Grid::Line { first: 6 },
            subgroups: false,
        }
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: (self.count * self.width) as f64,
            bytes: bytes_of(&self.bindings()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_ends_where_one_run_holds_all() {
        let merges = |count| -> Vec<u32> {
            let (_, merges) = sorting(count);
            merges.iter().map(|m| m.run).collect()
        };
        assert!(merges(0).is_empty() && merges(32).is_empty());
        assert_eq!(merges(33), [5]);
        assert_eq!(merges(128), [5]);
        assert_eq!(merges(129), [5, 7]);
        assert_eq!(merges(1 << 20), [5, 7, 9, 11, 13, 15, 17, 19]);
    }
}
