//! A step was refused: which tensor stopped being finite first?
//!
//! On a GPU the step is run again by a plan that retains every value, and the first dispatch that gave a number which is not finite is
//! named. Where that finds nothing (the examples have been replaced since, the sum of squares overflowed) or there is no GPU, the step is
//! computed again on the CPU in f64, and the first value beyond f32 is named.

use std::sync::Arc;

use super::update_of;
use crate::data::epoch_order;
use crate::error::Result;
use crate::files::{Storage, Training};
use crate::graph::interpreter::{Known, evaluate};
use crate::graph::op::EvalContext;
use crate::graph::ops::leaf::LeafKind;
use crate::graph::update::Update;
use crate::graph::{NodeId, Sink};
use crate::kernels::philox::RandomState;
use crate::kernels::{Access, SCHEDULE_COLUMNS};
use crate::models::{DataType, Model};
use crate::plan::Plan;
use crate::program::PlanOptions;
use crate::program::{Flat, Origin, memory};
use crate::real::Precision;
use crate::session::feed::Feed;
use crate::session::{Resident, Session};
use crate::tensor::{Data, Value};

/// What was asked to be computed when the step was refused.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused<'a> {
    /// How the model is trained.
    pub(super) training: &'a Training,
    /// Which of the updates of an iteration.
    pub(super) phase: usize,
    /// The device's step, from 0: what its noise is keyed by.
    pub(super) step: u64,
    /// Which batch of the training it was given.
    pub(super) number: u64,
    /// Its row of the schedule.
    pub(super) schedule: [f32; SCHEDULE_COLUMNS],
}

/// The first tensor that was not finite, and what was found in it.
pub(super) fn first(
    model: &dyn Model,
    session: &Session,
    feed: &Feed,
    refused: Refused<'_>,
) -> Result<Option<(String, String)>> {
    match on_device(model, session, feed, refused)? {
        Some(found) => Ok(Some(found)),
        None => on_cpu(model, session, feed, refused),
    }
}

/// Runs the step again on the GPU, retaining everything, and looks at each dispatch's results.
fn on_device(
    model: &dyn Model,
    session: &Session,
    feed: &Feed,
    refused: Refused<'_>,
) -> Result<Option<(String, String)>> {
    let Session::Gpu(store) = session else {
        return Ok(None);
    };
    let phase = &model.phases()[refused.phase];
    let update = Update {
        max_norm: 0.0,
        ema: false,
        ..update_of(refused.training, phase, feed.batch_of(refused.number))
    };
    let graph = model.training(refused.phase, &feed.data_type(), &update)?;
    let inputs: Vec<_> = feed
        .inputs()
        .into_iter()
        .filter_map(|(name, resident)| match resident {
            Resident::Gpu(slice) => Some((name, slice.clone())),
            Resident::Cpu(_) => None,
        })
        .filter(|(name, _)| graph.has_input(name))
        .collect();
    let retaining = PlanOptions {
        half: refused.training.precision == Storage::F16,
        retain: true,
        ..PlanOptions::default()
    };
    let program = Plan::lower(&graph, store, retaining)?;
    let slots = memory::assign(&program, false);
    let plan = Plan::assemble(&program, &slots, store, &inputs)?;
    let nodes = graph.nodes();
    for (i, dispatch) in program.dispatches.iter().enumerate() {
        // The update after the graph would change the weights.
        let Some(group) = dispatch.group else { break };
        plan.run_one(i)?;
        for (binding, id) in dispatch.kernel.bindings().iter().zip(&dispatch.buffers) {
            if binding.access == Access::Read {
                continue;
            }
            let values = plan.read_buffers(&[*id])?.remove(0).to_f64();
            let Some(at) = values.iter().position(|x| !x.is_finite()) else {
                continue;
            };
            let node = program.groups[group]
                .outputs
                .iter()
                .find(|(_, b)| b == id)
                .map(|(n, _)| &nodes[n.index()]);
            let shape = &program.buffers[id.0].ty.shape;
            let name = match (&program.buffers[id.0].origin, node) {
                (Origin::Gradient(p), _) => {
                    format!("gradient of '{}'", store.layout().parameters[*p].name)
                }
                (Origin::Output(name), _) => format!("output '{name}'"),
                (_, Some(node)) => format!("{} {shape:?}", node.op.name()),
                _ => format!("a partial result {shape:?}"),
            };
            let kernel = format!("{} {}", dispatch.kernel.family(), dispatch.kernel.variant());
            return Ok(Some((
                format!("{name}, by dispatch {i} ({kernel})"),
                format!("{} at element {at}", values[at]),
            )));
        }
    }
    Ok(None)
}

/// Computes step `step` on the CPU in f64 from the session's weights, and names the first node whose value an f32 cannot hold.
fn on_cpu(
    model: &dyn Model,
    session: &Session,
    feed: &Feed,
    refused: Refused<'_>,
) -> Result<Option<(String, String)>> {
    let Refused {
        training,
        phase,
        step,
        number,
        schedule,
    } = refused;
    let weights = session.read(Flat::Parameters)?;
    for (parameter, tensor) in session.layout().parameters.iter().zip(&weights) {
        if let Some(i) = tensor.iter().position(|x| !x.is_finite()) {
            return Ok(Some((
                format!("parameter '{}'", parameter.name),
                format!("{} at {i}", tensor[i]),
            )));
        }
    }
    let dataset = feed.dataset();
    let per_epoch = feed.batches_per_epoch();
    let order = epoch_order(dataset.rows(), training.seed, number / per_epoch);
    let first = (number % per_epoch) as usize * training.batch;
    let batch = feed.batch_of(number);
    let rows: Vec<usize> = order[first..first + batch]
        .iter()
        .map(|&r| r as usize)
        .collect();
    let part = dataset.select(&rows);
    let data = DataType {
        rows: batch,
        indices: batch,
        ..feed.data_type()
    };
    let update = Update {
        max_norm: 0.0,
        ema: false,
        loss_scale: false,
        ..update_of(training, &model.phases()[phase], batch)
    };
    let graph = model.training(phase, &data, &update)?;
    let nodes = graph.nodes();
    let cx = EvalContext {
        precision: Precision::F64,
        state: RandomState {
            seed: training.seed,
            step,
            cursor: 0,
        },
    };
    let mut known = Known::new();
    for (i, node) in nodes.iter().enumerate() {
        let Some(leaf) = node.op.as_leaf() else {
            continue;
        };
        let data = match (&leaf.kind, leaf.name.as_str()) {
            (LeafKind::Input, "data") => part.values.clone(),
            (LeafKind::Input, "labels") => Data::U8(part.one_hot(data.classes)?),
            (LeafKind::Input, "index") => Data::U32((0..batch as u32).collect()),
            (LeafKind::Parameter, name) => match session.layout().find(name) {
                Some(position) => Data::F32(weights[position].clone()),
                None => continue,
            },
            (LeafKind::Schedule(column), _) => Data::F32(vec![schedule[*column]]),
            _ => continue,
        };
        let value = Value::new(node.ty.shape.clone(), data.in_precision(Precision::F64))?;
        known.insert(NodeId(i as u32), Arc::new(value));
    }
    for (i, node) in nodes.iter().enumerate() {
        let id = NodeId(i as u32);
        let value = evaluate(&nodes, &[id], &known, &cx)?.remove(0);
        let beyond = |x: &f64| !x.is_finite() || x.abs() > f64::from(f32::MAX);
        if let Some(at) = value.data.to_f64().iter().position(beyond) {
            let x = value.data.to_f64()[at];
            let name = node
                .op
                .as_leaf()
                .map_or(String::new(), |l| format!(" '{}'", l.name));
            return Ok(Some((
                format!("{}{name} (node {i}, {:?})", node.op.name(), node.ty.shape),
                format!("{x:e} at element {at}"),
            )));
        }
        known.insert(id, value);
    }
    // Every value fits, but the sum of the gradients' squares may not.
    let mut total = 0.0;
    let mut largest = (String::new(), 0.0);
    for (sink, id) in graph.sinks() {
        if let Sink::Gradient(name) = sink {
            let squares: f64 = known[&id].data.to_f64().iter().map(|x| x * x).sum();
            total += squares;
            if squares > largest.1 {
                largest = (name, squares);
            }
        }
    }
    let overflows = total > f64::from(f32::MAX);
    let detail = format!("its squares sum to {:e}, beyond f32", largest.1);
    Ok(overflows.then(|| (format!("gradient of '{}'", largest.0), detail)))
}
