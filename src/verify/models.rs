//! The training steps of every model: small sizes that no tile divides, every loss and option that makes other kernels.

use super::Comparison;
use super::step::{self, Setup};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::graph::layout::{Init, Layout, Parameter, Role};
use crate::kernels::philox::RandomState;
use crate::kernels::schedule;
use crate::models::registry::{Case, Examples};
use crate::nn::init;
use crate::tensor::{Data, Value};

/// Verifies a step of a model.
///
/// # Errors
/// When it cannot be compiled or run. Differences are in the comparison.
pub(super) fn verify(gpu: &Gpu, case: &Case) -> Result<Comparison> {
    const ROWS: usize = 200;
    let model = case.model.as_ref();
    let examples = Examples::of(model, ROWS)?;
    let update = case.update();
    let graph = model.training(case.phase, &examples.data, &update)?;
    let layout = Layout::new(model.parameters(), gpu.caps().binding_bytes)?;
    let weights = layout
        .parameters
        .iter()
        .map(|p| match (p.init, p.role) {
            // DCGAN's weights are so small that gradients drown in rounding, and a U-Net's branches end in zeros; what is verified is
            // the arithmetic.
            (Init::Normal(..) | Init::Constant(_), Role::Trained(_)) if p.shape.rank() > 1 => {
                let wide = Init::Normal(0.0, 0.15);
                init::draw(
                    &Parameter {
                        init: wide,
                        ..p.clone()
                    },
                    5,
                )
            }
            // Not zero, where a wrong sign would not show.
            (Init::Constant(_), Role::Trained(_)) => vec![0.3; p.shape.count()],
            _ => init::draw(p, 5),
        })
        .collect();
    let index: Vec<u32> = (0..ROWS as u32)
        .map(|i| (i * 77 + 3) % ROWS as u32)
        .collect();
    let state = RandomState {
        seed: 0x0123_4567_89ab_cdef,
        step: 41,
        cursor: 9,
    };
    let row = |i: u64| {
        let mut row = case.rule.schedule_row(41 + i, 1e-3, 0.9, 0.7);
        row[schedule::LOSS_SCALE] = if case.options.half { 8.0 } else { 1.0 };
        row
    };
    let index = ("index", Value::new([ROWS], Data::U32(index))?);
    let setup = Setup {
        graph: &graph,
        layout,
        weights,
        inputs: examples
            .inputs
            .into_iter()
            .chain([index])
            .filter(|(name, _)| graph.has_input(name))
            .collect(),
        state,
        schedule: (0..4).map(row).collect(),
    };
    step::graph(gpu, &setup, case.options)
}
