//! The end of a step: counters and the schedule's next row: `shaders/advance.wgsl`.

use super::{
    Binding, Cost, Grid, Kernel, Launch, SCHEDULE_COLUMNS, STATE_WORDS, TABLE_ROWS, bytes_of,
};
use crate::tensor::DType;

/// Moves the step counter on by one and the cursor by `batch`.
#[derive(Clone, Debug)]
pub(crate) struct Advance {
    /// Examples of a step.
    pub batch: usize,
}

impl Kernel for Advance {
    fn family(&self) -> &'static str {
        "advance"
    }

    fn variant(&self) -> String {
        format!("batch {}", self.batch)
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![
            Binding::read("table", DType::F32, TABLE_ROWS * SCHEDULE_COLUMNS),
            Binding::read_write("schedule", DType::F32, SCHEDULE_COLUMNS),
            Binding::read_write("state", DType::U32, STATE_WORDS),
        ]
    }

    fn launch(&self) -> Launch {
        Launch {
            template: "advance",
            entry: "advance",
            context: serde_json::json!({}),
            constants: Vec::new(),
            params: vec![
                self.batch as u32,
                TABLE_ROWS as u32,
                SCHEDULE_COLUMNS as u32,
            ],
            workgroups: [1, 1, 1],
            grid: Grid::Whole,
            subgroups: false,
        }
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: 0.0,
            bytes: bytes_of(&self.bindings()),
        }
    }
}
