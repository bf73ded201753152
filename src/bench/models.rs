//! Training steps and samplers of the models in their usual sizes, compiled and given built-in data, ready to be run and timed. Each can
//! check its results against the CPU first:
//!
//! ```
//! use wgen::bench::models;
//! use wgen::{Choice, Gpu};
//!
//! let gpu = Gpu::new(&Choice::Auto)?;
//! let steps = models::steps()?;
//! let vae = steps.iter().find(|step| step.name == "vae").unwrap();
//! let ready = models::sampling(&gpu, vae, 1)?;
//! println!("{}: ready and run once after {:.3} s", ready.name, ready.first_step);
//! // The largest difference as a share of what is allowed.
//! assert!(ready.check()? <= 1.0);
//! # Ok::<(), wgen::Error>(())
//! ```

use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::graph::interpreter::evaluate;
use crate::graph::layout::Layout;
use crate::graph::op::EvalContext;
use crate::graph::update::{Rule, Update};
use crate::graph::{Graph, Sink};
use crate::kernels::philox::RandomState;
use crate::models::registry::{Examples, Usual};
use crate::models::{ALL, Model};
use crate::nn::init;
use crate::plan::{Plan, Store, StoreOptions};
use crate::program::{Flat, PlanOptions};
use crate::real::Precision;
use crate::tensor::{Data, Value};
use crate::verify::step::{Setup, leaves};

/// Examples of the resident data set.
const ROWS: usize = 12_800;

/// A plan that can be run any number of times.
#[derive(Debug)]
pub struct Ready {
    /// What it is.
    pub name: String,
    /// The plan.
    pub plan: Plan,
    /// Its parameters.
    pub store: Store,
    /// Seconds from the graph to the end of its first step.
    pub first_step: f64,
    /// What its outputs should be in the first run, from the interpreter in f64, each within a relative tolerance.
    expected: Vec<(String, Vec<f64>)>,
    /// That tolerance: the bounds of `verify` for a whole step.
    tolerance: f64,
    seed: u64,
    /// Inputs that a run replaces, as they are before the first.
    fed_back: Vec<(String, Data)>,
}

/// The steps that are timed.
///
/// # Errors
/// Never in practice: the usual sizes are sound.
pub fn steps() -> Result<Vec<Usual>> {
    let each = ALL.iter().map(|entry| (entry.usual)());
    Ok(each.collect::<Result<Vec<_>>>()?.concat())
}

/// The training step of a model in its usual size: data and index resident, Adam; with `half`, activations stored as f16. Without a
/// batch, that of [`steps`].
///
/// # Errors
/// When there is no such model, or the device refuses.
pub fn training(gpu: &Gpu, name: &str, batch: Option<usize>, half: bool) -> Result<Ready> {
    let steps = steps()?;
    let Some(usual) = steps.iter().find(|step| step.name == name) else {
        let known: Vec<&str> = steps.iter().map(|step| step.name).collect();
        return Err(Error::Usage(format!(
            "there is no model '{name}'; there is {}",
            known.join(", ")
        )));
    };
    let (model, phase) = (&usual.model, usual.phase);
    let batch = batch.unwrap_or(usual.batch);
    let examples = Examples::of(model.as_ref(), ROWS)?;
    let update = Update {
        rule: Rule::ADAM,
        max_norm: 0.0,
        ema: false,
        metrics: model.phases()[phase].metrics.clone(),
        set: model.phases()[phase].set,
        takes_data: model.phases()[phase].takes_data,
        batch,
        loss_scale: half,
    };
    let graph = model.training(phase, &examples.data, &update)?;
    let index = Data::U32((0..ROWS as u32).collect());
    let index = ("index", Value::new([ROWS], index)?);
    let inputs = examples
        .inputs
        .into_iter()
        .chain([index])
        .filter(|(n, _)| graph.has_input(n))
        .collect();
    ready(
        gpu,
        format!(
            "{name}, training step, batch {batch}{}",
            if half { ", f16" } else { "" }
        ),
        model.as_ref(),
        &graph,
        inputs,
        (true, half),
    )
}

/// Samples of a model: all at once, or of a sampler that is run often one run.
///
/// # Errors
/// When the model has no samples, or the device refuses.
pub fn sampling(gpu: &Gpu, usual: &Usual, count: usize) -> Result<Ready> {
    let sampling = usual.model.sampling(count)?;
    let mut inputs = sampling.begin(1, 0, 0)?;
    inputs.extend(sampling.classes.input(count, None, 0)?);
    inputs.extend(sampling.nothing_given()?);
    ready(
        gpu,
        name_of(usual, count, sampling.runs),
        usual.model.as_ref(),
        &sampling.graph,
        inputs,
        (false, false),
    )
}

/// What the samples of a model are called in a report.
///
/// # Errors
/// When the model has no samples.
pub(crate) fn sampling_name(usual: &Usual, count: usize) -> Result<String> {
    let runs = usual.model.sampling(1)?.runs;
    Ok(name_of(usual, count, runs))
}

fn name_of(usual: &Usual, count: usize, runs: usize) -> String {
    match (runs, count) {
        (1, 1) => format!("{}, 1 sample", usual.title),
        (1, _) => format!("{}, {count} samples", usual.title),
        _ => format!("{}, sampling step, batch {count}", usual.title),
    }
}

fn ready(
    gpu: &Gpu,
    name: String,
    model: &dyn Model,
    graph: &Graph,
    inputs: Vec<(&str, Value)>,
    (training, half): (bool, bool),
) -> Result<Ready> {
    let layout = Layout::new(model.parameters(), gpu.caps().binding_bytes)?;
    let weights: Vec<Vec<f32>> = layout.parameters.iter().map(|p| init::draw(p, 1)).collect();
    let options = StoreOptions {
        training,
        ema: false,
    };
    let store = Store::new(gpu, layout.clone(), options)?;
    store.write(Flat::Parameters, &weights)?;
    let begin = std::time::Instant::now();
    let plan_options = PlanOptions {
        half,
        ..PlanOptions::default()
    };
    let plan = Plan::compile(graph, &store, &[], plan_options)?;
    for (name, value) in &inputs {
        plan.write(name, &value.data)?;
    }
    let state = RandomState {
        seed: 1,
        step: 0,
        cursor: 0,
    };
    let schedule = vec![Rule::ADAM.schedule_row(500, 1e-3, 0.0, 1.0); 1024];
    store.set_state(state.step, state.seed, state.cursor)?;
    store.write_schedule(0, &schedule, true)?;
    plan.run(1)?;
    gpu.wait()?;
    let first_step = begin.elapsed().as_secs_f64();
    store.write(Flat::Parameters, &weights)?;
    let setup = Setup {
        graph,
        layout,
        weights,
        inputs,
        state,
        schedule,
    };
    let cx = EvalContext {
        precision: Precision::F64,
        state,
    };
    let nodes = graph.nodes();
    let (names, ids): (Vec<String>, Vec<_>) = graph
        .sinks()
        .into_iter()
        .filter_map(|(sink, id)| match sink {
            Sink::Output(name) => Some((name, id)),
            Sink::Gradient(_) | Sink::Input(_) => None,
        })
        .unzip();
    let known = leaves(&nodes, &setup, Precision::F64)?;
    let values = evaluate(&nodes, &ids, &known, &cx)?;
    let expected = names
        .into_iter()
        .zip(values.iter().map(|v| v.data.to_f64()))
        .collect();
    let fed_back = graph
        .sinks()
        .into_iter()
        .filter_map(|(sink, _)| match sink {
            Sink::Input(name) => {
                let value = setup.inputs.iter().find(|(n, _)| *n == name)?;
                Some((name, value.1.data.clone()))
            }
            _ => None,
        });
    Ok(Ready {
        fed_back: fed_back.collect(),
        first_step,
        name,
        plan,
        store,
        expected,
        tolerance: if half { 3e-2 } else { 1e-4 },
        seed: state.seed,
    })
}

impl Ready {
    /// Back to the first step's examples: the data ends somewhere.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn rewind(&self) -> Result<()> {
        for (name, data) in &self.fed_back {
            self.plan.write(name, data)?;
        }
        self.store.set_state(0, self.seed, 0)
    }

    /// Runs the first step and compares its outputs with the interpreter's: each within the bound of `verify` for
    /// rounding over a whole step. Returns the largest share of it.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn check(&self) -> Result<f64> {
        self.rewind()?;
        self.plan.run(1)?;
        let mut worst = 0.0_f64;
        for (name, expected) in &self.expected {
            let got = self.plan.read(name)?.data.to_f64();
            let range = expected.iter().fold(1e-6_f64, |m, x| m.max(x.abs()));
            for (g, e) in got.iter().zip(expected) {
                let share = (g - e).abs() / (self.tolerance * range);
                worst = worst.max(if share.is_finite() {
                    share
                } else {
                    f64::INFINITY
                });
            }
        }
        Ok(worst)
    }
}
