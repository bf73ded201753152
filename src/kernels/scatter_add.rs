//! Sums of rows by index, in a fixed order: `shaders/scatter_add.wgsl`.

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
