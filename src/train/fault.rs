//! A step was refused: which tensor stopped being finite first?
//!
//! On a GPU the step is run again by a plan that retains every value, and the first dispatch that gave a number which is not finite is
//! named. Where that finds nothing (the examples have been replaced since, the sum of squares overflowed) or there is no GPU, the step is
//! computed again on the CPU in f64, and the first value beyond f32 is named.

use std::sync::Arc;

use super::submit::Steps;
use super::timetable::{Timetable, update_of};
use crate::data::{Dataset, epoch_order};
use crate::error::{Error, Result};
use crate::files::{Storage, Training};
use crate::graph::interpreter::{Known, evaluate};
use crate::graph::op::EvalContext;
use crate::graph::ops::leaf::LeafKind;
use crate::graph::update::Update;
use crate::graph::{Graph, Node, NodeId, Sink};
use crate::kernels::SCHEDULE_COLUMNS;
use crate::kernels::philox::RandomState;
use crate::models::{DataType, Model};
use crate::program::Flat;
use crate::real::Precision;
use crate::session::Fault;
use crate::session::feed::Feed;
use crate::tensor::{Data, Value};

/// What was asked to be computed when the step was refused.
#[derive(Clone, Copy, Debug)]
struct Refused<'a> {
    /// How the model is trained.
    training: &'a Training,
    /// Which of the updates of an iteration.
    phase: usize,
    /// The device's step, from 0: what its noise is keyed by.
    tick: u64,
    /// Which batch of the training it was given.
    number: u64,
    /// Its row of the schedule.
    schedule: [f32; SCHEDULE_COLUMNS],
}

/// Runs the device's refused step `tick` again and names the first tensor that is not finite.
pub(super) fn name(
    model: &dyn Model,
    steps: &Steps,
    timetable: &Timetable,
    tick: u64,
    loss_scale: f32,
) -> Error {
    let step = tick / timetable.ticks();
    let (phase, before) = timetable.phase_of(tick % timetable.ticks());
    let refused = Refused {
        training: timetable.training(),
        phase,
        tick,
        number: step * timetable.batches() + before,
        schedule: timetable.row(tick, loss_scale),
    };
    let unnamed = |detail: String| Fault {
        tensor: "the loss or the gradient's norm".to_owned(),
        detail,
    };
    let Fault { tensor, detail } = match first(model, steps, refused) {
        Ok(Some(found)) => found,
        Ok(None) => unnamed("finite on the CPU in f64".to_owned()),
        Err(error) => unnamed(error.to_string()),
    };
    Error::NotFinite {
        step,
        tensor,
        detail,
        remedy: remedy(timetable, step),
    }
}

/// What is likely the cause of numbers that are not finite, and what to do.
fn remedy(timetable: &Timetable, step: u64) -> String {
    let rate = timetable.learning_rate(step);
    let clip = match timetable.training().clip {
        0.0 => ", or gradients scaled down by `clip` 1".to_owned(),
        norm => format!(", or `clip` below {norm}"),
    };
    format!(
        "most likely the `learning_rate` {rate} is too high: begin again with a tenth of it{clip}; the weights of the step before, and the last \
         checkpoint, are as they were"
    )
}

/// The first tensor that was not finite, and what was found in it.
fn first(model: &dyn Model, steps: &Steps, refused: Refused<'_>) -> Result<Option<Fault>> {
    match on_device(model, steps, refused)? {
        Some(found) => Ok(Some(found)),
        None => on_cpu(model, steps, refused),
    }
}

/// Runs the step again where it ran, retaining everything.
fn on_device(model: &dyn Model, steps: &Steps, refused: Refused<'_>) -> Result<Option<Fault>> {
    let Steps { session, feed, .. } = steps;
    let phase = &model.phases()[refused.phase];
    let update = Update {
        max_norm: 0.0,
        ema: false,
        ..update_of(refused.training, phase, feed.batch_of(refused.number))
    };
    let graph = model.training(refused.phase, &feed.data_type(), &update)?;
    let half = refused.training.precision == Storage::F16;
    session.find_fault(&graph, &feed.inputs_of(&graph), half)
}

/// The examples of batch `number` of a training, in its order.
fn examples(training: &Training, feed: &Feed, number: u64) -> Dataset {
    let dataset = feed.dataset();
    let per_epoch = feed.batches_per_epoch();
    let order = epoch_order(dataset.rows(), training.seed, number / per_epoch);
    let first = (number % per_epoch) as usize * training.batch;
    let rows: Vec<usize> = order[first..first + feed.batch_of(number)]
        .iter()
        .map(|&r| r as usize)
        .collect();
    dataset.select(&rows)
}

/// Computes the step on the CPU in f64 from the session's weights, and names the first node whose value an f32 cannot hold.
fn on_cpu(model: &dyn Model, steps: &Steps, refused: Refused<'_>) -> Result<Option<Fault>> {
    let Steps { session, feed, .. } = steps;
    let training = refused.training;
    let layout = session.layout();
    let weights = session.read(Flat::Parameters)?;
    for (parameter, tensor) in layout.parameters.iter().zip(&weights) {
        if let Some(i) = tensor.iter().position(|x| !x.is_finite()) {
            return Ok(Some(Fault {
                tensor: format!("parameter '{}'", parameter.name),
                detail: format!("{} at {i}", tensor[i]),
            }));
        }
    }
    let part = examples(training, feed, refused.number);
    let batch = part.rows();
    let data = DataType {
        rows: batch,
        indices: batch,
        ..feed.data_type()
    };
    let update = Update {
        max_norm: 0.0,
        ema: false,
        loss_scale: false,
        ..update_of(training, &model.phases()[refused.phase], batch)
    };
    let graph = model.training(refused.phase, &data, &update)?;
    let nodes = graph.nodes();
    let mut known = Known::new();
    let numbered = nodes.iter().enumerate();
    for (i, node, leaf) in numbered.filter_map(|(i, n)| Some((i, n, n.op.as_leaf()?))) {
        let data = match (&leaf.kind, leaf.name.as_str()) {
            (LeafKind::Input, "data") => part.values.clone(),
            (LeafKind::Input, "labels") => Data::U8(part.one_hot(data.classes)?),
            (LeafKind::Input, "poses") => Data::F32(part.poses()),
            (LeafKind::Input, "cameras") => Data::F32(part.cameras()),
            (LeafKind::Input, "index") => Data::U32((0..batch as u32).collect()),
            (LeafKind::Parameter, name) => match layout.find(name) {
                Some(position) => Data::F32(weights[position].clone()),
                None => continue,
            },
            (LeafKind::Schedule(column), _) => Data::F32(vec![refused.schedule[*column]]),
            _ => continue,
        };
        let value = Value::new(node.ty.shape.clone(), data.in_precision(Precision::F64))?;
        known.insert(NodeId(i as u32), Arc::new(value));
    }
    let cx = EvalContext {
        precision: Precision::F64,
        state: RandomState {
            seed: training.seed,
            step: refused.tick,
            cursor: 0,
        },
    };
    Ok(beyond_f32(&nodes, &mut known, &cx)?.or_else(|| overflowing(&graph, &known)))
}

/// The first of `nodes` whose value an f32 cannot hold. What is computed on the way is `known` afterwards.
fn beyond_f32(nodes: &[Arc<Node>], known: &mut Known, cx: &EvalContext) -> Result<Option<Fault>> {
    for (i, node) in nodes.iter().enumerate() {
        let id = NodeId(i as u32);
        let value = evaluate(nodes, &[id], known, cx)?.remove(0);
        let beyond = |x: &f64| !x.is_finite() || x.abs() > f64::from(f32::MAX);
        if let Some(at) = value.data.to_f64().iter().position(beyond) {
            let x = value.data.to_f64()[at];
            let leaf = node.op.as_leaf();
            let name = leaf.map_or(String::new(), |l| format!(" '{}'", l.name));
            return Ok(Some(Fault {
                tensor: format!("{}{name} (node {i}, {:?})", node.op.name(), node.ty.shape),
                detail: format!("{x:e} at element {at}"),
            }));
        }
        known.insert(id, value);
    }
    Ok(None)
}

/// The largest gradient, where every value fits but the sum of all gradients' squares does not.
fn overflowing(graph: &Graph, known: &Known) -> Option<Fault> {
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
    (total > f64::from(f32::MAX)).then(|| Fault {
        tensor: format!("gradient of '{}'", largest.0),
        detail: format!("its squares sum to {:e}, beyond f32", largest.1),
    })
}
