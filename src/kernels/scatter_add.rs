//! Sums of rows by index, the gradient of a [`gather`](super::gather): `shaders/scatter_add.wgsl`.
//!
//! Without atomics, so that sums are always made in the same order: [`RankPositions`] first sorts the positions by their index, then
//! [`ScatterAdd`] sums the run of each row.
//!
//! ```
//! use wgen::Twin;
//! use wgen::kernels::scatter_add::{RankPositions, ScatterAdd};
//! use wgen::tensor::Data;
//!
//! // Updates 1, 10 and 100 go to rows 2, 0 and 2 of three.
//! let mut buffers = [Data::U32(vec![2, 0, 2]), Data::U32(vec![0; 3])];
//! RankPositions { count: 3 }.reference(&mut buffers);
//! let [index, order] = buffers;
//! assert_eq!(order.as_u32(), [1, 0, 2]);
//!
//! let mut buffers = [Data::F32(vec![1.0, 10.0, 100.0]), index, order, Data::F32(vec![0.0; 3])];
//! ScatterAdd { count: 3, rows: 3, width: 1 }.reference(&mut buffers);
//! assert_eq!(buffers[3], Data::F32(vec![10.0, 0.0, 101.0]));
//! ```

use serde_json::json;

use super::{Binding, Cost, Grid, Kernel, Launch, bytes_of, fold};
use crate::tensor::DType;

/// Positions sorted by their index: `order[rank] = position`.
#[derive(Clone, Debug)]
pub struct RankPositions {
    /// Positions.
    pub count: usize,
}

/// `out[row, :] = sum of updates[b, :] where index[b] = row`, over positions in the order of [`RankPositions`].
#[derive(Clone, Debug)]
pub struct ScatterAdd {
    /// Positions.
    pub count: usize,
    /// Rows of the result.
    pub rows: usize,
    /// Elements of a row.
    pub width: usize,
}

fn launch(stage: &str, entry: &'static str, params: [usize; 3], units: usize) -> Launch {
    Launch {
        template: "scatter_add",
        entry,
        context: json!({"stage": stage}),
        constants: vec![("WORKGROUP", 64.0)],
        params: [params[0] as u32, params[1] as u32, params[2] as u32, 0].to_vec(),
        workgroups: fold(units.div_ceil(64) as u64),
        grid: Grid::Line { first: 3 },
        subgroups: false,
    }
}

impl Kernel for RankPositions {
    fn family(&self) -> &'static str {
        "scatter_add"
    }

    fn variant(&self) -> String {
        "rank".to_owned()
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![
            Binding::read("index", DType::U32, self.count),
            Binding::write("order", DType::U32, self.count),
        ]
    }

    fn launch(&self) -> Launch {
        launch("rank", "rank_positions", [self.count, 0, 0], self.count)
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: (self.count * self.count) as f64,
            bytes: bytes_of(&self.bindings()),
        }
    }
}

impl Kernel for ScatterAdd {
    fn family(&self) -> &'static str {
        "scatter_add"
    }

    fn variant(&self) -> String {
        "sum".to_owned()
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![
            Binding::read("updates", DType::F32, self.count * self.width),
            Binding::read("index", DType::U32, self.count),
            Binding::read("order", DType::U32, self.count),
            Binding::write("out", DType::F32, self.rows * self.width),
        ]
    }

    fn launch(&self) -> Launch {
        launch(
            "sum",
            "scatter_add",
            [self.count, self.rows, self.width],
            self.rows * self.width,
        )
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: (self.count * self.width) as f64,
            bytes: bytes_of(&self.bindings()),
        }
    }
}
