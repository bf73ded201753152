//! The training steps of every model, and runs of samplers that are not made of them: small sizes that no tile divides, every loss and option that makes other kernels.

use super::Comparison;
use super::cases::{Values, numbers};
use super::step::{self, Setup};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::graph::Graph;
use crate::graph::layout::{Init, Layout, Parameter, Role};
use crate::kernels::philox::RandomState;
use crate::kernels::schedule;
use crate::models::Model;
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
    let (graph, inputs) = if case.samples {
        sampling(model, case.batch)?
    } else {
        let examples = Examples::of(model, ROWS)?;
        let graph = model.training(case.phase, &examples.data, &case.update())?;
        let index = (0..ROWS as u32).map(|i| (i * 77 + 3) % ROWS as u32);
        let index = Value::new([ROWS], Data::U32(index.collect()))?;
        let inputs = examples.inputs.into_iter().chain([("index", index)]);
        (graph, inputs.collect())
    };
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
    let setup = Setup {
        graph: &graph,
        layout,
        weights,
        inputs: inputs
            .into_iter()
            .filter(|(name, _)| graph.has_input(name))
            .collect(),
        state,
        schedule: (0..4).map(row).collect(),
    };
    step::graph(gpu, &setup, case.options)
}

/// A run of a sampler and what it begins with; what the caller gives is noise pressed into [0, 1], the ends among it, as masks are.
fn sampling(model: &dyn Model, count: usize) -> Result<(Graph, Vec<(&'static str, Value)>)> {
    let sampling = model.sampling(count)?;
    let mut inputs = sampling.begin(3, 0, 0)?;
    inputs.extend(sampling.classes.input(count, None, 0)?);
    for (seed, given) in (17..).zip(&sampling.given) {
        let values = numbers(Values::Normal, seed, given.shape.count()).to_f32();
        let values = values.iter().map(|x| (x + 0.5).clamp(0.0, 1.0)).collect();
        inputs.push((given.name, Value::f32(given.shape.clone(), values)?));
    }
    Ok((sampling.graph, inputs))
}
