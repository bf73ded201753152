//! What becomes of the parameters once a step's gradients are known: the optimiser's rule, clipping, moving average, counters. A graph with
//! an [`Update`] is a whole training step.
//!
//! ```
//! use wgen::graph::Graph;
//! use wgen::graph::layout::{Init, Layout, Parameter};
//! use wgen::graph::update::{Rule, Update};
//! use wgen::kernels::{Caps, philox::Domain};
//! use wgen::program::lower::{LowerOptions, lower};
//!
//! let graph = Graph::new(Domain::Training);
//! let w = graph.parameter("w", [64]);
//! let loss = w.exp().sum_all();
//! graph.output("loss", loss);
//! graph.output_gradient("w", graph.gradients(loss, &[w])[0]);
//! let (rule, metrics) = (Rule::ADAM, vec!["loss".to_owned()]);
//! graph.set_update(Update { rule, max_norm: 1.0, ema: true, metrics, set: 0, batch: 1, takes_data: false, loss_scale: false });
//!
//! let layout = Layout::new(vec![Parameter::new("w", [64], Init::Constant(0.0))], 1 << 27)?;
//! let step = lower(&graph, &Caps::portable(), &layout, LowerOptions { fuse: true, half: false })?;
//! let kernels: Vec<_> = step.dispatches.iter().map(|d| d.kernel.family()).collect();
//! // The gradient's norm, whether the step is to be taken, the rule, the moving average, the counters.
//! assert!(kernels.ends_with(&["reduce", "guard", "adam", "ema", "advance"]));
//! # Ok::<(), wgen::Error>(())
//! ```

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::kernels::{SCHEDULE_COLUMNS, decimal, schedule};

/// An optimiser's rule and its constants; rates that change with the step are in the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "snake_case")]
pub enum Rule {
    /// Adam (Kingma & Ba 2015), with L2 decay.
    Adam {
        /// Decay of the first moment.
        beta1: f32,
        /// Decay of the second moment.
        beta2: f32,
        /// Added to the denominator.
        epsilon: f32,
        /// Weight decay.
        decay: f32,
    },
    /// AdamW (Loshchilov & Hutter 2019): Adam with decoupled decay.
    AdamW {
        /// Decay of the first moment.
        beta1: f32,
        /// Decay of the second moment.
        beta2: f32,
        /// Added to the denominator.
        epsilon: f32,
        /// Weight decay.
        decay: f32,
    },
    /// Gradient descent with momentum.
    Sgd {
        /// Decay of the velocity.
        momentum: f32,
        /// Weight decay.
        decay: f32,
        /// Nesterov's direction.
        nesterov: bool,
    },
    /// RMSProp.
    Rmsprop {
        /// Decay of the mean square.
        alpha: f32,
        /// Added to the denominator.
        epsilon: f32,
        /// Decay of the velocity.
        momentum: f32,
        /// Weight decay.
        decay: f32,
    },
}

impl Rule {
    /// Adam with the constants of its paper.
    pub const ADAM: Self = Self::Adam {
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        decay: 0.0,
    };

    /// Refuses constants with which it is no optimiser.
    ///
    /// # Errors
    /// Naming the one.
    pub fn check(&self) -> Result<()> {
        let (decays, others) = match *self {
            Self::Adam {
                beta1,
                beta2,
                epsilon,
                decay,
            }
            | Self::AdamW {
                beta1,
                beta2,
                epsilon,
                decay,
            } => (vec![("beta1", beta1), ("beta2", beta2)], [epsilon, decay]),
            Self::Sgd {
                momentum, decay, ..
            } => (vec![("momentum", momentum)], [0.0, decay]),
            Self::Rmsprop {
                alpha,
                epsilon,
                momentum,
                decay,
            } => (
                vec![("alpha", alpha), ("momentum", momentum)],
                [epsilon, decay],
            ),
        };
        for (name, value) in decays {
            if !(0.0..1.0).contains(&value) {
                return Err(Error::field(name, format!("{value} must be in [0, 1)")));
            }
        }
        for (name, value) in ["epsilon", "weight_decay"].into_iter().zip(others) {
            if !(0.0..=1.0).contains(&value) {
                return Err(Error::field(name, format!("{value} must be from 0 to 1")));
            }
        }
        Ok(())
    }

    /// How many moments it keeps.
    pub fn moments(&self) -> usize {
        match self {
            Self::Sgd { .. } => 1,
            _ => 2,
        }
    }

    /// The row of the schedule for step `step` (from 0), in f64 until the last: rates and bias corrections.
    pub fn schedule_row(
        &self,
        step: u64,
        learning_rate: f64,
        ema_decay: f64,
        model: f64,
    ) -> [f32; SCHEDULE_COLUMNS] {
        let mut row = [0.0; SCHEDULE_COLUMNS];
        row[schedule::LEARNING_RATE] = learning_rate as f32;
        if let Self::Adam { beta1, beta2, .. } | Self::AdamW { beta1, beta2, .. } = self {
            let t = step as f64 + 1.0;
            row[schedule::BIAS1] = (1.0 / (1.0 - decimal(*beta1).powf(t))) as f32;
            row[schedule::BIAS2] = (1.0 / (1.0 - decimal(*beta2).powf(t)).sqrt()) as f32;
        }
        row[schedule::EMA_RATE] = (1.0 - ema_decay) as f32;
        row[schedule::MODEL] = model as f32;
        row[schedule::LOSS_SCALE] = 1.0;
        row
    }
}

/// The end of a training step.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// The optimiser.
    pub rule: Rule,
    /// Gradients are scaled down to this global norm; 0 for no clipping.
    pub max_norm: f32,
    /// Whether a moving average of the parameters is kept.
    pub ema: bool,
    /// Names of the scalar outputs that go to the ring, the loss first; at most four.
    pub metrics: Vec<String>,
    /// Which parameters it changes: those of this set.
    pub set: u8,
    /// Examples of the step.
    pub batch: usize,
    /// Whether they are of the data, so that the cursor moves on by them.
    pub takes_data: bool,
    /// Whether the loss is multiplied by the schedule's scale before it is differentiated: gradients that f16 would flush to zero then
    /// survive on their way. See [`Graph::scaled_gradients`](crate::graph::Graph::scaled_gradients).
    pub loss_scale: bool,
}
