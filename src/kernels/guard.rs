//! The verdict on a step, its clipping factor and its figures: `shaders/guard.wgsl`.

use serde_json::json;

use super::{
    Binding, CONTROL_FLOATS, Cost, Grid, Kernel, Launch, RING_COLUMNS, RING_ROWS, SCHEDULE_COLUMNS,
    STATE_WORDS, bytes_of,
};
use crate::tensor::DType;

/// The most figures that a step may report, its loss the first.
pub(crate) const MAX_METRICS: usize = 6;

/// How many buffers they come in, so that with all others they are no more than any device binds: the last one holds the rest.
pub(crate) const METRIC_BUFFERS: usize = 4;

/// Finishes the gradient's norm, refuses steps that are not finite, writes the ring.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    /// Partial sums of squares.
    pub partials: usize,
    /// Figures, the loss first; at most [`MAX_METRICS`], in [`Guard::buffers`].
    pub metrics: usize,
    /// Gradients are scaled to this norm at most; 0 for no clipping.
    pub max_norm: f32,
    /// Whether the gradients are those of a scaled loss.
    pub scaled: bool,
}

impl Guard {
    /// How many figures lie in each of the buffers.
    pub(crate) fn buffers(&self) -> Vec<usize> {
        let mut lengths = vec![1; self.metrics.min(METRIC_BUFFERS)];
        if let Some(last) = lengths.last_mut() {
            *last += self.metrics.saturating_sub(METRIC_BUFFERS);
        }
        lengths
    }
}

impl Kernel for Guard {
    fn family(&self) -> &'static str {
        "guard"
    }

    fn variant(&self) -> String {
        if self.max_norm > 0.0 {
            format!("clip {}", self.max_norm)
        } else {
            "no clipping".to_owned()
        }
    }

    fn bindings(&self) -> Vec<Binding> {
        let mut bindings = vec![Binding::read("partials", DType::F32, self.partials)];
        let figures = self.buffers().into_iter().enumerate();
        bindings.extend(figures.map(|(i, n)| Binding::read(format!("metric{i}"), DType::F32, n)));
        bindings.push(Binding::read_write("state", DType::U32, STATE_WORDS));
        bindings.push(Binding::write("control", DType::F32, CONTROL_FLOATS));
        bindings.push(Binding::read_write(
            "ring",
            DType::F32,
            RING_ROWS * RING_COLUMNS,
        ));
        if self.scaled {
            bindings.push(Binding::read("schedule", DType::F32, SCHEDULE_COLUMNS));
        }
        bindings
    }

    fn launch(&self) -> Launch {
        Launch {
            template: "guard",
            entry: "guard",
            context: json!({"metrics": self.buffers(), "scaled": self.scaled}),
            constants: Vec::new(),
            params: vec![
                self.partials as u32,
                RING_ROWS as u32,
                self.max_norm.to_bits(),
            ],
            workgroups: [1, 1, 1],
            grid: Grid::Whole,
            subgroups: false,
        }
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: self.partials as f64,
            bytes: bytes_of(&self.bindings()),
        }
    }
}
