//! Verifies whole plans, dispatch by dispatch: each dispatch and each group of nodes against the CPU on the GPU's own inputs, then results
//! as a whole, then the ordinary plan, whose buffers share memory, against one in which every value is kept, bit by bit.
//!
//! ```
//! use wgen::kernels::philox::Domain;
//! use wgen::program::{PlanOptions, Program, memory::Slots};
//! use wgen::tensor::{TensorType, Value};
//! use wgen::verify::step::{self, Setup};
//! use wgen::{Choice, Gpu, Graph};
//! # use wgen::graph::layout::{Init, Layout, Parameter};
//! # use wgen::kernels::{SCHEDULE_COLUMNS, philox::RandomState};
//!
//! let graph = Graph::new(Domain::Sampling);
//! let (x, w) = (graph.input("x", TensorType::f32([4])), graph.parameter("w", [4]));
//! graph.output("y", (x - w).exp());
//! # let layout = Layout::new(vec![Parameter::new("w", [4], Init::Constant(0.0))], 1 << 27)?;
//! # let (state, schedule) = (RandomState { seed: 1, step: 0, cursor: 0 }, vec![[0.0; SCHEDULE_COLUMNS]; 2]);
//! let weights = vec![vec![1.0, 2.0, 3.0, 4.0]];
//! let inputs = vec![("x", Value::f32([4], vec![0.5, -1.0, 2.0, 4.0])?)];
//! let setup = Setup { graph: &graph, layout, weights, inputs, state, schedule };
//! let (gpu, options) = (Gpu::new(&Choice::Auto)?, PlanOptions::default());
//! let comparison = step::graph(&gpu, &setup, options)?;
//! comparison.expect();
//!
//! // A fault planted on purpose, w - x in place of x - w, is found.
//! let swap = |program: &mut Program, _: &mut Slots| program.dispatches[0].buffers.swap(0, 1);
//! let comparison = step::sabotaged(&gpu, &setup, options, &swap)?;
//! assert!(!comparison.passed());
//! # Ok::<(), wgen::Error>(())
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use super::Comparison;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::graph::interpreter::{Known, evaluate};
use crate::graph::layout::Layout;
use crate::graph::op::EvalContext;
use crate::graph::ops::leaf::{Leaf, LeafKind};
use crate::graph::{Graph, Node, NodeId, Sink};
use crate::kernels::Access;
use crate::kernels::philox::RandomState;
use crate::plan::{Plan, Store, StoreOptions};
use crate::program::PlanOptions;
use crate::program::lower::{LowerOptions, lower};
use crate::program::memory::{self, Slots};
use crate::program::{BufferId, Flat, Origin, Program};
use crate::real::{Precision, Real, Tracked};
use crate::reference;
use crate::tensor::{DType, Data, Value};

/// A graph with everything that a step of it needs.
#[derive(Debug)]
pub struct Setup<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// Its parameters.
    pub layout: Layout,
    /// Their values.
    pub weights: Vec<Vec<f32>>,
    /// Its inputs by name.
    pub inputs: Vec<(&'a str, Value)>,
    /// Seed, step and cursor.
    pub state: RandomState,
    /// The schedule of each step to be run.
    pub schedule: Vec<[f32; crate::kernels::SCHEDULE_COLUMNS]>,
}

impl Setup<'_> {
    fn store(&self, gpu: &Gpu) -> Result<Store> {
        let options = StoreOptions {
            training: true,
            ema: true,
        };
        let store = Store::new(gpu, self.layout.clone(), options)?;
        store.write(Flat::Parameters, &self.weights)?;
        store.write(Flat::Ema, &self.weights)?;
        store.set_state(self.state.step, self.state.seed, self.state.cursor)?;
        store.write_schedule(self.state.step, &self.schedule, true)?;
        Ok(store)
    }

    fn plan(
        &self,
        store: &Store,
        options: PlanOptions,
        sabotage: Sabotage<'_>,
    ) -> Result<Compiled> {
        let caps = options.caps(store.gpu().caps());
        let mut program = lower(
            self.graph,
            &caps,
            store.layout(),
            LowerOptions {
                fuse: options.fuse,
                half: options.half,
            },
        )?;
        let mut slots = memory::assign(&program, !options.retain);
        sabotage(&mut program, &mut slots);
        let plan = Plan::assemble(&program, &slots, store, &[])?;
        plan.poison()?;
        plan.write_tables()?;
        for (name, value) in &self.inputs {
            plan.write(name, &value.data)?;
        }
        let nodes = self.graph.nodes();
        Ok(Compiled {
            plan,
            program,
            nodes,
        })
    }

    fn results(&self, compiled: &Compiled, store: &Store) -> Result<Vec<(String, Data)>> {
        let mut results = Vec::new();
        for output in &compiled.program.outputs {
            let value = compiled.plan.read(&output.name)?;
            results.push((output.name.clone(), value.data));
        }
        for flat in [
            Flat::Parameters,
            Flat::Gradients,
            Flat::Moment1,
            Flat::Moment2,
            Flat::Ema,
        ] {
            for (parameter, values) in self.layout.parameters.iter().zip(store.read(flat)?) {
                results.push((format!("{flat:?} of {}", parameter.name), Data::F32(values)));
            }
        }
        Ok(results)
    }
}

/// A plan and what it was made of: the twins of its kernels, and which nodes they compute.
struct Compiled {
    plan: Plan,
    program: Program,
    nodes: Vec<Arc<Node>>,
}

/// Changes a program or its slots before they run: a fault planted on purpose.
pub type Sabotage<'a> = &'a dyn Fn(&mut Program, &mut Slots);

/// Verifies one step of a graph as the module's text says, in `options` but with everything retained.
///
/// # Errors
/// When the graph cannot be compiled or run. Differences are in the comparison.
pub fn graph(gpu: &Gpu, setup: &Setup<'_>, options: PlanOptions) -> Result<Comparison> {
    sabotaged(gpu, setup, options, &|_, _| {})
}

/// As [`graph`], with a fault planted in every plan that is made: the comparison must not pass.
///
/// # Errors
/// As [`graph`].
pub fn sabotaged(
    gpu: &Gpu,
    setup: &Setup<'_>,
    options: PlanOptions,
    sabotage: Sabotage<'_>,
) -> Result<Comparison> {
    let mut comparison = Comparison::default();
    let store = setup.store(gpu)?;
    let compiled = setup.plan(
        &store,
        PlanOptions {
            retain: true,
            ..options
        },
        sabotage,
    )?;
    dispatches(&compiled, &mut comparison)?;
    comparison.require(compiled.plan.guards_intact()?, || {
        "a kernel wrote outside of its buffers".to_owned()
    });
    groups(&compiled, setup, &mut comparison)?;
    // A store to f16, or an operand of a matrix unit, errs by 2^-10 at most, and some thirty lie between a step's leaves and its last gradient: 3e-2 if all pointed
    // one way. Each dispatch was held to its own, derived tolerance before.
    let tolerance = if options.half || options.half_products {
        3e-2
    } else {
        1e-4
    };
    whole(&compiled, setup, &store, tolerance, &mut comparison)?;

    // The ordinary plan, as many steps as there are rows of the schedule in one submission, against the retaining one.
    let steps = setup.schedule.len().saturating_sub(1).max(1);
    let again = setup.store(gpu)?;
    let ordinary = setup.plan(&again, options, sabotage)?;
    ordinary.plan.run(steps)?;
    let fresh = setup.store(gpu)?;
    let retaining = setup.plan(
        &fresh,
        PlanOptions {
            retain: true,
            ..options
        },
        sabotage,
    )?;
    for _ in 0..steps {
        let dispatches = 0..retaining.program.dispatches.len();
        dispatches
            .into_iter()
            .try_for_each(|i| retaining.plan.run_one(i))?;
    }
    let (a, b) = (
        setup.results(&ordinary, &again)?,
        setup.results(&retaining, &fresh)?,
    );
    for ((name, a), (_, b)) in a.iter().zip(&b) {
        let same = a.to_device_bytes() == b.to_device_bytes();
        comparison.require(same, || {
            format!("'{name}' has other bits after {steps} steps with slots reused")
        });
    }
    comparison.require(ordinary.plan.guards_intact()?, || {
        "a kernel wrote outside of its slots".to_owned()
    });
    Ok(comparison)
}

/// Every dispatch against its twin, on what the GPU itself put into its buffers.
fn dispatches(compiled: &Compiled, comparison: &mut Comparison) -> Result<()> {
    let Compiled { plan, program, .. } = compiled;
    for (i, dispatch) in program.dispatches.iter().enumerate() {
        let bindings = dispatch.kernel.bindings();
        let before = plan.read_bindings(i)?;
        plan.run_one(i)?;
        let after = plan.read_bindings(i)?;
        let mut arrays: Vec<Data> = bindings
            .iter()
            .zip(&before)
            .map(|(b, data)| match b.access {
                Access::Write => Data::zeros(b.dtype, Precision::Tracked, b.count),
                _ => data.clone().in_precision(Precision::Tracked),
            })
            .collect();
        dispatch.kernel.reference(&mut arrays);
        let name = format!(
            "dispatch {i}, {} {}",
            dispatch.kernel.family(),
            dispatch.kernel.variant()
        );
        for ((binding, expected), got) in bindings.iter().zip(&arrays).zip(&after) {
            if binding.access != Access::Read {
                let mut one = Comparison::default();
                one.array(&binding.name, got, expected);
                comparison.merge(&name, one);
            }
        }
    }
    Ok(())
}

/// Every group of fused nodes against the interpreter on the unfused nodes.
fn groups(compiled: &Compiled, setup: &Setup<'_>, comparison: &mut Comparison) -> Result<()> {
    let Compiled {
        plan,
        program,
        nodes,
    } = compiled;
    let cx = EvalContext {
        precision: Precision::Tracked,
        state: setup.state,
    };
    for (g, group) in program.groups.iter().enumerate() {
        let operands = on_matrix_units(program, g);
        let ids: Vec<BufferId> = group.inputs.iter().map(|(_, b)| *b).collect();
        let mut known = Known::new();
        for ((node, buffer), data) in group.inputs.iter().zip(plan.read_buffers(&ids)?) {
            if let Some(mut value) = input_value(compiled, *node, *buffer, data, setup)? {
                if let Some(&terms) = operands.get(buffer) {
                    value.data = reference::half::operands(&value.data, terms);
                }
                known.insert(*node, Arc::new(value));
            }
        }
        let wanted: Vec<NodeId> = group.outputs.iter().map(|(n, _)| *n).collect();
        let expected = evaluate(nodes, &wanted, &known, &cx)?;
        let buffers: Vec<BufferId> = group.outputs.iter().map(|(_, b)| *b).collect();
        for ((node, expected), got) in wanted
            .iter()
            .zip(expected)
            .zip(plan.read_buffers(&buffers)?)
        {
            let buffer = buffers[wanted.iter().position(|w| w == node).unwrap_or(0)];
            let rounded;
            let expected = match program.buffers[buffer.0].ty.dtype {
                DType::F16 => {
                    rounded = reference::half::stored(&expected.data);
                    &rounded
                }
                _ => &expected.data,
            };
            let mut one = Comparison::default();
            one.array(nodes[node.index()].op.name(), &got, expected);
            comparison.merge(&format!("group {g}, node {node:?}"), one);
        }
    }
    Ok(())
}

/// What of a group's inputs is an operand of a product on matrix units, and how many terms its sums may have.
fn on_matrix_units(program: &Program, group: usize) -> HashMap<BufferId, usize> {
    let of_group = program.dispatches.iter().filter(|d| d.group == Some(group));
    let mut terms = HashMap::new();
    for dispatch in of_group {
        let Some(of_kernel) = dispatch.kernel.rounded_terms() else {
            continue;
        };
        for buffer in &dispatch.buffers[..2] {
            let most = terms.entry(*buffer).or_insert(0);
            *most = of_kernel.max(*most);
        }
    }
    terms
}

/// What the interpreter is given for an input of a group. State, step and schedule are those before the step.
fn input_value(
    compiled: &Compiled,
    node: NodeId,
    buffer: BufferId,
    data: Data,
    setup: &Setup<'_>,
) -> Result<Option<Value>> {
    let origin = &compiled.program.buffers[buffer.0].origin;
    let Node { op, ty, .. } = compiled.nodes[node.index()].as_ref();
    // The run has replaced what it feeds back.
    let replaced = |name: &str| {
        let sinks = setup.graph.sinks();
        let fed_back = |(sink, _): &(Sink, NodeId)| matches!(sink, Sink::Input(n) if n == name);
        let given = setup.inputs.iter().find(|(n, _)| *n == name);
        given.filter(|_| sinks.iter().any(fed_back))
    };
    let is_input = |l: &&Leaf| matches!(l.kind, LeafKind::Input);
    let leaf = op.as_leaf();
    if let Some((_, value)) = leaf.filter(is_input).and_then(|l| replaced(&l.name)) {
        let data = value.data.clone().in_precision(Precision::Tracked);
        return Ok(Some(Value::new(ty.shape.clone(), data)?));
    }
    let data = match (origin, leaf.map(|l| l.kind)) {
        (Origin::Schedule, Some(LeafKind::Schedule(column))) => {
            Data::F32(vec![setup.schedule[0][column]])
        }
        // The update has changed the parameters since.
        (Origin::Parameter(position), _) => Data::F32(setup.weights[*position].clone()),
        _ => data,
    };
    Ok(Some(Value::new(
        ty.shape.clone(),
        data.in_precision(Precision::Tracked),
    )?))
}

/// Losses and gradients of the step as a whole, against the interpreter from the leaves and the device's decisions on, each within
/// `tolerance` of its range: rounding of all dispatches together, amplified by what lies between. A result that is beyond that, as the little
/// that is left of large terms is, has what its tracked twin grants, up to [`MOST`] of its range.
fn whole(
    compiled: &Compiled,
    setup: &Setup<'_>,
    store: &Store,
    tolerance: f64,
    comparison: &mut Comparison,
) -> Result<()> {
    let Compiled { plan, nodes, .. } = compiled;
    let decided = decisions(compiled)?;
    let evaluated = |precision: Precision, wanted: &[NodeId]| {
        let state = setup.state;
        let mut known = leaves(nodes, setup, precision)?;
        for (id, value) in &decided {
            let data = value.data.clone().in_precision(precision);
            known.insert(*id, Arc::new(Value::new(value.shape.clone(), data)?));
        }
        evaluate(nodes, wanted, &known, &EvalContext { precision, state })
    };
    let sinks = setup.graph.sinks();
    let wanted: Vec<NodeId> = sinks.iter().map(|(_, id)| *id).collect();
    let expected = evaluated(Precision::F64, &wanted)?;
    let gradients = store.read(Flat::Gradients)?;
    for ((sink, id), expected) in sinks.iter().zip(expected) {
        let got = match sink {
            Sink::Output(name) => plan.read(name)?.data,
            Sink::Gradient(name) => match setup.layout.find(name) {
                Some(position) => Data::F32(gradients[position].clone()),
                None => continue,
            },
            // What the next run begins with: no result of this one.
            Sink::Input(_) => continue,
        };
        if let Data::U32(_) = got {
            continue;
        }
        let expected = expected.data.to_f64();
        let range = expected
            .iter()
            .fold(0.0_f64, |m, x| m.max(x.abs()))
            .max(1e-6);
        let compared = |granted: &dyn Fn(usize) -> f64| {
            let each = expected.iter().enumerate();
            let tracked = each.map(|(i, &x)| Tracked::with_bias(x, granted(i)));
            let mut one = Comparison::default();
            let tracked = Data::Tracked(tracked.collect());
            one.array(&format!("{sink:?}"), &got, &tracked);
            one
        };
        let mut one = compared(&|_| tolerance * range);
        if !one.passed() {
            let tracked = evaluated(Precision::Tracked, &[*id])?.swap_remove(0);
            let own = |i: usize| Tracked::of(&tracked.data)[i].tolerance().min(MOST * range);
            one = compared(&|i| own(i).max(tolerance * range));
        }
        // Its own figures are not local errors: only the verdict counts here.
        (one.worst_relative, one.worst_ulp, one.worst_of_tolerance) = (0.0, None, 0.0);
        comparison.merge("as a whole", one);
    }
    Ok(())
}

/// A result that may be further off, relative to its range, would show nothing.
const MOST: f64 = 1e-2;

/// What the device made of operators that decide: [`Op::is_decision`](crate::graph::op::Op::is_decision).
fn decisions(compiled: &Compiled) -> Result<Known> {
    let Compiled {
        plan,
        program,
        nodes,
    } = compiled;
    let mut known = Known::new();
    let outputs = program.groups.iter().flat_map(|group| &group.outputs);
    for (id, buffer) in outputs.filter(|(id, _)| nodes[id.index()].op.is_decision()) {
        for data in plan.read_buffers(&[*buffer])? {
            let value = Value::new(nodes[id.index()].ty.shape.clone(), data)?;
            known.insert(*id, Arc::new(value));
        }
    }
    Ok(known)
}

/// The values of a graph's leaves before its step.
pub(crate) fn leaves(
    nodes: &[Arc<Node>],
    setup: &Setup<'_>,
    precision: Precision,
) -> Result<Known> {
    let inputs: HashMap<&str, &Value> = setup.inputs.iter().map(|(n, v)| (*n, v)).collect();
    let mut known = Known::new();
    for (i, node) in nodes.iter().enumerate() {
        let Some(leaf) = node.op.as_leaf() else {
            continue;
        };
        let data = match leaf.kind {
            LeafKind::Constant(_) => continue,
            LeafKind::Input => match inputs.get(leaf.name.as_str()) {
                Some(value) => value.data.clone(),
                None => continue,
            },
            LeafKind::Schedule(column) => Data::F32(vec![setup.schedule[0][column]]),
            LeafKind::Parameter => match setup.layout.find(&leaf.name) {
                Some(position) => Data::F32(setup.weights[position].clone()),
                None => continue,
            },
        };
        let value = Value::new(leaf.ty.shape.clone(), data.in_precision(precision))?;
        known.insert(NodeId(i as u32), Arc::new(value));
    }
    Ok(known)
}
