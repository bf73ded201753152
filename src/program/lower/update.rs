//! The kernels after the gradients: norm, verdict, optimiser, moving average, counters.

use std::collections::HashSet;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::graph::layout::{Layout, Role};
use crate::graph::ops::reduce::whole;
use crate::graph::update::{Rule, Update};
use crate::kernels::adam::Adam;
use crate::kernels::advance::Advance;
use crate::kernels::commit::Commit;
use crate::kernels::concat::{Concat, MAX_PARTS};
use crate::kernels::ema::Ema;
use crate::kernels::expression::{Expression, Indexing, Term};
use crate::kernels::functions::Function;
use crate::kernels::guard::{Guard, MAX_METRICS, METRIC_BUFFERS};
use crate::kernels::rmsprop::Rmsprop;
use crate::kernels::sgd::Sgd;
use crate::kernels::{
    CONTROL_FLOATS, Caps, RING_COLUMNS, RING_ROWS, SCHEDULE_COLUMNS, STATE_WORDS, TABLE_ROWS,
};
use crate::program::{BufferId, Dispatch, Flat, Origin, Program};
use crate::reference::Twin;
use crate::tensor::{DType, TensorType};

/// Partial sums of squares of one segment.
const PARTIALS: usize = 256;

/// Refuses an update of parameters whose gradients nobody gave.
fn check_given(update: &Update, layout: &Layout, given: &[String]) -> Result<()> {
    let given: HashSet<&str> = given.iter().map(String::as_str).collect();
    let missing = layout
        .parameters
        .iter()
        .find(|p| p.role.set() == update.set && !given.contains(p.name.as_str()));
    if let Some(parameter) = missing {
        return Err(Error::Usage(format!(
            "the step changes '{}' but its graph does not say how: give its gradient (of state, its next value) with \
             Graph::output_gradient",
            parameter.name
        )));
    }
    Ok(())
}

fn check_metrics(update: &Update) -> Result<()> {
    if update.metrics.is_empty() || update.metrics.len() > MAX_METRICS {
        let count = update.metrics.len();
        return Err(Error::Usage(format!(
            "an update takes 1 to {MAX_METRICS} metrics, the loss first; got {count}"
        )));
    }
    Ok(())
}

/// The optimiser's kernel for `count` parameters, and which buffers it takes between the gradient and the schedule.
fn optimiser(rule: &Rule, count: usize) -> (Arc<dyn Twin>, &'static [Flat]) {
    const BOTH: &[Flat] = &[Flat::Moment1, Flat::Moment2];
    let adam = |beta1, beta2, epsilon, decay, decoupled| Adam {
        count,
        beta1,
        beta2,
        epsilon,
        decay,
        decoupled,
    };
    match *rule {
        Rule::Adam {
            beta1,
            beta2,
            epsilon,
            decay,
        } => (Arc::new(adam(beta1, beta2, epsilon, decay, false)), BOTH),
        Rule::AdamW {
            beta1,
            beta2,
            epsilon,
            decay,
        } => (Arc::new(adam(beta1, beta2, epsilon, decay, true)), BOTH),
        Rule::Sgd {
            momentum,
            decay,
            nesterov,
        } => (
            Arc::new(Sgd {
                count,
                momentum,
                decay,
                nesterov,
            }),
            &[Flat::Moment1],
        ),
        Rule::Rmsprop {
            alpha,
            epsilon,
            momentum,
            decay,
        } => (
            Arc::new(Rmsprop {
                count,
                alpha,
                epsilon,
                momentum,
                decay,
            }),
            BOTH,
        ),
    }
}

pub(super) fn append(
    program: &mut Program,
    update: &Update,
    caps: &Caps,
    layout: &Layout,
    given: &[String],
) -> Result<()> {
    check_given(update, layout, given)?;
    check_metrics(update)?;
    let flat = |program: &mut Program, which: Flat, segment: usize| {
        program.buffer(
            Origin::Segment(which, segment),
            TensorType::f32([layout.segments[segment]]),
        )
    };
    let state = program.buffer(Origin::State, TensorType::u32([STATE_WORDS]));
    let schedule = program.buffer(Origin::Schedule, TensorType::f32([SCHEDULE_COLUMNS]));
    let table = program.buffer(
        Origin::Table,
        TensorType::f32([TABLE_ROWS * SCHEDULE_COLUMNS]),
    );
    let control = program.buffer(Origin::Control, TensorType::f32([CONTROL_FLOATS]));
    let ring = program.buffer(Origin::Ring, TensorType::f32([RING_ROWS * RING_COLUMNS]));
    let mut push = |program: &mut Program, kernel: Arc<dyn Twin>, buffers: Vec<BufferId>| {
        program.dispatches.push(Dispatch {
            offsets: Vec::new(),
            kernel,
            buffers,
            group: None,
        });
    };

    let trained: Vec<usize> = layout.segments_of(Role::Trained(update.set)).collect();
    let partials = norm(program, &mut push, caps, layout, &trained, flat)?;
    let mut figures = Vec::with_capacity(update.metrics.len());
    for name in &update.metrics {
        let found = program.outputs.iter().find(|o| o.name == *name);
        let found = found.map(|o| o.buffer);
        let buffer = found.ok_or_else(|| {
            Error::Usage(format!("metric '{name}' is not an output of the graph"))
        })?;
        if program.buffers[buffer.0].ty.shape.count() != 1 {
            return Err(Error::shape(format!("metric '{name}'"), "must be a scalar"));
        }
        figures.push(buffer);
    }
    if figures.len() > METRIC_BUFFERS {
        let rest = figures.split_off(METRIC_BUFFERS - 1);
        figures.push(joined(program, &mut push, rest));
    }
    let mut guard = vec![partials];
    guard.extend(figures);
    guard.extend([state, control, ring]);
    if update.loss_scale {
        guard.push(schedule);
    }
    let kernel = Guard {
        partials: program.buffers[partials.0].ty.shape.count(),
        metrics: update.metrics.len(),
        max_norm: update.max_norm,
        scaled: update.loss_scale,
    };
    push(program, Arc::new(kernel), guard);

    for &segment in &trained {
        let count = layout.segments[segment];
        let param = flat(program, Flat::Parameters, segment);
        let gradient = flat(program, Flat::Gradients, segment);
        let (kernel, moments) = optimiser(&update.rule, count);
        let mut buffers = vec![param, gradient];
        buffers.extend(moments.iter().map(|&m| flat(program, m, segment)));
        buffers.extend([schedule, control]);
        push(program, kernel, buffers);
    }
    let states: Vec<usize> = layout.segments_of(Role::State(update.set)).collect();
    for &segment in &states {
        let count = layout.segments[segment];
        let values = flat(program, Flat::Parameters, segment);
        let next = flat(program, Flat::Gradients, segment);
        let buffers = vec![values, next, control];
        push(program, Arc::new(Commit { count }), buffers);
    }
    for &segment in trained.iter().chain(&states).filter(|_| update.ema) {
        let count = layout.segments[segment];
        let values = flat(program, Flat::Parameters, segment);
        let average = flat(program, Flat::Ema, segment);
        let buffers = vec![average, values, schedule, control];
        push(program, Arc::new(Ema { count }), buffers);
    }
    push(
        program,
        Arc::new(Advance {
            batch: if update.takes_data { update.batch } else { 0 },
        }),
        vec![table, schedule, state],
    );
    Ok(())
}

/// Sums of squares of the gradients of `segments`: one dispatch each, and one more where there are several segments.
fn norm(
    program: &mut Program,
    push: &mut impl FnMut(&mut Program, Arc<dyn Twin>, Vec<BufferId>),
    caps: &Caps,
    layout: &Layout,
    segments: &[usize],
    flat: impl Fn(&mut Program, Flat, usize) -> BufferId,
) -> Result<BufferId> {
    let mut parts = Vec::new();
    for &segment in segments {
        let count = layout.segments[segment];
        let square = Expression {
            terms: vec![Term::Operand(0), Term::Call(Function::Square, vec![0])],
            operands: vec![Indexing::dense(count)],
            results: vec![1],
        };
        let kernel = whole(caps, count, square, PARTIALS.min(count / 4).max(1));
        let partial = program.buffer(Origin::Transient, TensorType::f32([kernel.results()]));
        let gradient = flat(program, Flat::Gradients, segment);
        push(program, Arc::new(kernel), vec![gradient, partial]);
        parts.push(partial);
    }
    while parts.len() > 1 {
        // Seven at a time into one list.
        let rest = parts.split_off(parts.len().min(MAX_PARTS));
        let first = joined(program, push, parts);
        parts = rest;
        parts.push(first);
    }
    parts
        .pop()
        .ok_or_else(|| Error::Usage("an update without parameters".to_owned()))
}

/// One buffer of the elements of several, one after another.
fn joined(
    program: &mut Program,
    push: &mut impl FnMut(&mut Program, Arc<dyn Twin>, Vec<BufferId>),
    parts: Vec<BufferId>,
) -> BufferId {
    let count = |p: &BufferId| program.buffers[p.0].ty.shape.count();
    let lengths: Vec<usize> = parts.iter().map(count).collect();
    let total = lengths.iter().sum();
    let joined = program.buffer(Origin::Transient, TensorType::f32([total]));
    let kernel = Concat {
        outer: 1,
        inner: 1,
        lengths,
        dtype: DType::F32,
    };
    let buffers = parts.into_iter().chain([joined]).collect();
    push(program, Arc::new(kernel), buffers);
    joined
}
