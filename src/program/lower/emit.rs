//! Groups become dispatches over virtual buffers.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::Source;
use super::builder::{Builder, leaf, leaf_kind};
use super::groups::{Group, Groups, Kind};
use crate::error::{Error, Result};
use crate::graph::layout::Layout;
use crate::graph::op::{Argument, Fused, Lowering, Pattern};
use crate::graph::ops::leaf::LeafKind;
use crate::graph::ops::reduce;
use crate::graph::{NodeId, Sink};
use crate::kernels::expression::{Expression, Indexing, Term};
use crate::kernels::map::Map;
use crate::kernels::reduce::{Combine, Reduce};
use crate::kernels::{Caps, SCHEDULE_COLUMNS, STATE_WORDS};
use crate::program::{BufferId, Dispatch, NodeGroup, Origin, Output, Program};
use crate::tensor::TensorType;

pub(super) fn emit(
    source: &Source,
    groups: &Groups,
    caps: &Caps,
    layout: &Layout,
) -> Result<Program> {
    let order = groups.order();
    let mut emitter = Emitter {
        source,
        groups,
        caps,
        layout,
        program: Program::default(),
        places: HashMap::new(),
        parameters: layout.positions(),
        demanded: demanded(source, groups, &order),
        constants: BTreeSet::new(),
    };
    for g in order {
        emitter.group(g)?;
    }
    emitter.copies()?;
    Ok(emitter.program)
}

/// Which values must be in memory: results, and what the kernels that make them read.
fn demanded(source: &Source, groups: &Groups, order: &[usize]) -> BTreeSet<NodeId> {
    let mut demanded: BTreeSet<NodeId> = source
        .sinks
        .iter()
        .map(|(_, id)| source.root(*id))
        .collect();
    for &g in order.iter().rev() {
        let group = &groups.list[g];
        let outputs: Vec<NodeId> = outputs_of(group, &demanded);
        if outputs.is_empty() && group.row_sums.is_none_or(|s| !demanded.contains(&s)) {
            continue;
        }
        match group.kind {
            Kind::Opaque(_) => demanded.extend(&group.inputs),
            Kind::Product(_) | Kind::Reduce(_) | Kind::Map => {
                let mut builder = Builder::new(source, groups, group);
                let wanted = if outputs.is_empty() {
                    vec![group.members[0]]
                } else {
                    outputs
                };
                builder.finish(&wanted);
                demanded.extend(builder.operands.iter().map(|(root, _)| *root));
                match group.kind {
                    Kind::Product(head) => {
                        demanded.extend(source.node(head).inputs.iter().map(|&i| source.root(i)));
                    }
                    Kind::Reduce(_) => demanded.extend(&group.prologue.reads),
                    _ => {}
                }
            }
        }
    }
    demanded
}

fn outputs_of(group: &Group, demanded: &BTreeSet<NodeId>) -> Vec<NodeId> {
    group
        .members
        .iter()
        .copied()
        .filter(|m| demanded.contains(m))
        .collect()
}

struct Emitter<'a> {
    source: &'a Source,
    groups: &'a Groups,
    caps: &'a Caps,
    layout: &'a Layout,
    program: Program,
    places: HashMap<NodeId, BufferId>,
    /// Positions in the layout by name.
    parameters: HashMap<&'a str, usize>,
    demanded: BTreeSet<NodeId>,
    /// Those that were written into memory.
    constants: BTreeSet<NodeId>,
}

impl Emitter<'_> {
    /// The buffer of a value, made when it is first asked for.
    fn place(&mut self, root: NodeId) -> Result<BufferId> {
        if let Some(&place) = self.places.get(&root) {
            return Ok(place);
        }
        let ty = self.source.node(root).ty.clone();
        let (origin, ty) = match leaf(self.source, root) {
            Some((LeafKind::Input, name)) => (Origin::Input(name), ty),
            Some((LeafKind::Parameter, name)) => {
                (Origin::Parameter(self.parameter(&name, &ty)?), ty)
            }
            Some((LeafKind::Schedule(_), _)) => {
                (Origin::Schedule, TensorType::f32([SCHEDULE_COLUMNS]))
            }
            Some((LeafKind::Constant(_), _)) | None => (self.origin_of_result(root)?, ty),
        };
        let place = self.program.buffer(origin, ty);
        self.places.insert(root, place);
        Ok(place)
    }

    /// The buffer of a kernel's operand. A constant is written into memory for those that cannot have it in an expression.
    fn operand(&mut self, root: NodeId) -> Result<BufferId> {
        let place = self.place(root)?;
        if let Pattern::Constant(value) = *self.source.pattern(root)
            && self.constants.insert(root)
        {
            let count = self.source.count(root);
            let group = Some(self.program.groups.len());
            self.program.groups.push(NodeGroup {
                outputs: vec![(root, place)],
                inputs: Vec::new(),
            });
            self.program.dispatches.push(Dispatch {
                offsets: Vec::new(),
                kernel: Arc::new(Map::new(self.caps, count, constant(value))),
                buffers: vec![place],
                group,
            });
        }
        Ok(place)
    }

    fn parameter(&self, name: &str, ty: &TensorType) -> Result<usize> {
        let position = self.parameters.get(name).copied().ok_or_else(|| {
            let known: Vec<&str> = self
                .layout
                .parameters
                .iter()
                .map(|p| p.name.as_str())
                .collect();
            Error::Usage(format!(
                "parameter '{name}' is not in the store, which has {}",
                known.join(", ")
            ))
        })?;
        let stored = &self.layout.parameters[position].shape;
        if *stored != ty.shape {
            let why = format!("the graph has {:?}, the store {stored:?}", ty.shape);
            return Err(Error::shape(format!("parameter '{name}'"), why));
        }
        Ok(position)
    }

    /// A value that is one result goes straight to its destination; others are transient and copied at the end.
    fn origin_of_result(&self, root: NodeId) -> Result<Origin> {
        let sinks: Vec<&(Sink, NodeId)> = self.source.sinks_of[root.index()]
            .iter()
            .map(|&i| &self.source.sinks[i])
            .collect();
        Ok(match sinks.as_slice() {
            [(Sink::Gradient(name), id)] if self.source.consumers[root.index()].is_empty() => {
                Origin::Gradient(self.parameter(name, &self.source.node(*id).ty)?)
            }
            _ => match sinks.iter().find_map(|s| {
                if let (Sink::Output(name), _) = s {
                    Some(name)
                } else {
                    None
                }
            }) {
                Some(name) => Origin::Output(name.clone()),
                None => Origin::Transient,
            },
        })
    }

    fn state(&mut self) -> BufferId {
        self.program
            .buffer(Origin::State, TensorType::u32([STATE_WORDS]))
    }

    fn group(&mut self, g: usize) -> Result<()> {
        let group = &self.groups.list[g];
        let mut outputs = outputs_of(group, &self.demanded);
        let row_sums = group.row_sums.filter(|s| self.demanded.contains(s));
        if outputs.is_empty() && row_sums.is_none() {
            return Ok(());
        }
        if outputs.is_empty() {
            // Only the sums on the side are wanted, but the product comes with them.
            outputs.push(group.members[0]);
        }
        let source = self.source;
        let mut roots: Vec<NodeId> = Vec::new();
        let lowering = match group.kind {
            Kind::Opaque(head) => {
                roots = source
                    .node(head)
                    .inputs
                    .iter()
                    .map(|&i| source.root(i))
                    .collect();
                if roots
                    .iter()
                    .any(|&r| matches!(leaf_kind(source, r), Some(LeafKind::Schedule(_))))
                {
                    let name = source.node(head).op.name();
                    return Err(Error::Usage(format!(
                        "{name} reads a schedule's scalar; multiply it by 1 first"
                    )));
                }
                let node = source.node(head);
                let types: Vec<&TensorType> =
                    node.inputs.iter().map(|i| &source.node(*i).ty).collect();
                node.op.lower(self.caps, &types, &node.ty)?
            }
            Kind::Map => {
                let mut builder = Builder::new(source, self.groups, group);
                let expression = if source.is_elementwise(group.members[0]) {
                    builder.finish(&outputs)
                } else {
                    // A random node that someone needs in memory.
                    let types: Vec<&TensorType> = Vec::new();
                    let node = source.node(group.members[0]);
                    let lowering = node.op.lower(self.caps, &types, &node.ty)?;
                    return self.append(lowering, &[], &[group.members[0]], None);
                };
                let count = source.count(group.members[0]);
                let arguments = self.arguments(
                    &mut roots,
                    &builder.operands,
                    expression.is_random(),
                    outputs.len(),
                );
                Lowering::single(Map::new(self.caps, count, expression), arguments)
            }
            Kind::Product(head) => {
                let mut builder = Builder::new(source, self.groups, group);
                let epilogue = builder.finish(&outputs);
                let node = source.node(head);
                let types: Vec<&TensorType> =
                    node.inputs.iter().map(|i| &source.node(*i).ty).collect();
                let mut arguments = |ids: &mut dyn Iterator<Item = NodeId>| -> Vec<Argument> {
                    ids.map(|id| input(&mut roots, id)).collect()
                };
                let fused = Fused {
                    epilogue,
                    inputs: arguments(&mut node.inputs.iter().map(|&i| source.root(i))),
                    operands: arguments(&mut builder.operands.iter().map(|(root, _)| *root)),
                    row_sums: row_sums.is_some(),
                };
                node.op.lower_fused(self.caps, &types, &node.ty, fused)?
            }
            Kind::Reduce(head) => self.reduce(group, head, &outputs, &mut roots)?,
        };
        self.append(lowering, &roots, &outputs, row_sums)
    }

    /// Arguments of a kernel whose operands come first, then the state, then results.
    fn arguments(
        &self,
        roots: &mut Vec<NodeId>,
        operands: &[(NodeId, Indexing)],
        random: bool,
        results: usize,
    ) -> Vec<Argument> {
        let mut arguments: Vec<Argument> = operands
            .iter()
            .map(|(root, _)| input(roots, *root))
            .collect();
        if random {
            arguments.push(Argument::State);
        }
        arguments.extend(std::iter::repeat_n(Argument::Output, results));
        arguments
    }

    fn reduce(
        &self,
        group: &Group,
        head: NodeId,
        outputs: &[NodeId],
        roots: &mut Vec<NodeId>,
    ) -> Result<Lowering> {
        let source = self.source;
        let Pattern::Reduce {
            combine,
            domain: [outer, length, inner],
        } = *source.pattern(head)
        else {
            return Ok(Lowering::default());
        };
        let operand = source.node(head).inputs[0];
        let inside = group.prologue.inside.clone();
        let mut prologue = Builder::with(source, self.groups, inside, None);
        let before = prologue.finish(&[source.root(operand)]);
        let mut epilogue = Builder::new(source, self.groups, group);
        let after = epilogue.finish(outputs);
        let mut kernel = Reduce::new(self.caps, combine, outer, length, inner);
        kernel.prologue = before;
        if combine != Combine::Argmax {
            kernel.epilogue = after;
        }
        let first: Vec<Argument> = prologue
            .operands
            .iter()
            .map(|(root, _)| input(roots, *root))
            .collect();
        let second: Vec<Argument> = epilogue
            .operands
            .iter()
            .map(|(root, _)| input(roots, *root))
            .collect();
        let mut lowering = Lowering::default();
        reduce::in_one_or_two(
            self.caps,
            kernel,
            first,
            second,
            vec![Argument::Output; outputs.len()],
            &mut lowering,
        );
        Ok(lowering)
    }

    /// Adds a group's dispatches. `Argument::Output` stands for the outputs in order, the sums on the side last.
    fn append(
        &mut self,
        lowering: Lowering,
        roots: &[NodeId],
        outputs: &[NodeId],
        row_sums: Option<NodeId>,
    ) -> Result<()> {
        let results: Vec<NodeId> = outputs.iter().copied().chain(row_sums).collect();
        let inputs = roots
            .iter()
            .map(|&r| Ok((r, self.operand(r)?)))
            .collect::<Result<Vec<_>>>()?;
        let outputs = results
            .iter()
            .map(|&r| Ok((r, self.place(r)?)))
            .collect::<Result<Vec<_>>>()?;
        let temporaries: Vec<BufferId> = lowering
            .temporaries
            .iter()
            .map(|ty| self.program.buffer(Origin::Transient, ty.clone()))
            .collect();
        let group = self.program.groups.len();
        let mut next_output = outputs.iter().map(|(_, place)| *place);
        for call in lowering.calls {
            let mut buffers = Vec::with_capacity(call.arguments.len());
            for argument in &call.arguments {
                buffers.push(match argument {
                    Argument::Input(i) => inputs[*i].1,
                    Argument::Output => next_output.next().ok_or_else(|| {
                        Error::Gpu(format!("{:?} has more results than its node", call.kernel))
                    })?,
                    Argument::Temporary(i) => temporaries[*i],
                    Argument::State => self.state(),
                });
            }
            self.program.dispatches.push(Dispatch {
                offsets: Vec::new(),
                kernel: call.kernel,
                buffers,
                group: Some(group),
            });
        }
        self.program.groups.push(NodeGroup { outputs, inputs });
        Ok(())
    }

    fn output(&mut self, sink: &Sink, id: NodeId, buffer: BufferId) {
        if let Sink::Output(name) = sink {
            self.program.outputs.push(Output {
                name: name.clone(),
                buffer,
                shape: self.source.node(id).ty.shape.clone(),
            });
        }
    }

    /// Results that share their value with another result, or are leaves, get their own copy.
    fn copies(&mut self) -> Result<()> {
        for (sink, id) in &self.source.sinks {
            let root = self.source.root(*id);
            let ty = self.source.node(root).ty.clone();
            let wanted = match sink {
                Sink::Output(name) => Origin::Output(name.clone()),
                Sink::Input(name) => Origin::Input(name.clone()),
                Sink::Gradient(name) => {
                    Origin::Gradient(self.parameter(name, &self.source.node(*id).ty)?)
                }
            };
            let place = self.place(root)?;
            let place_is_output = matches!(self.program.buffers[place.0].origin, Origin::Output(_));
            if self.program.buffers[place.0].origin == wanted
                || (place_is_output && matches!(sink, Sink::Output(_)))
            {
                self.operand(root)?;
                self.output(sink, *id, place);
                continue;
            }
            let (expression, inputs) =
                match (leaf_kind(self.source, root), self.source.pattern(root)) {
                    (_, Pattern::Constant(value)) => (constant(*value), vec![]),
                    (Some(LeafKind::Schedule(column)), _) => {
                        let operands = vec![Indexing::scalar_at(column, SCHEDULE_COLUMNS)];
                        (
                            Expression {
                                terms: vec![Term::Operand(0)],
                                operands,
                                results: vec![0],
                            },
                            vec![(root, place)],
                        )
                    }
                    _ => (Expression::operand(ty.shape.count()), vec![(root, place)]),
                };
            let kernel = Map::new(self.caps, ty.shape.count(), expression);
            let target = self
                .program
                .buffer(wanted, self.source.node(*id).ty.clone());
            let buffers = inputs.iter().map(|(_, p)| *p).chain([target]).collect();
            let group = Some(self.program.groups.len());
            self.program.groups.push(NodeGroup {
                outputs: vec![(root, target)],
                inputs,
            });
            self.program.dispatches.push(Dispatch {
                offsets: Vec::new(),
                kernel: Arc::new(kernel),
                buffers,
                group,
            });
            self.output(sink, *id, target);
        }
        Ok(())
    }
}

/// The same number for every element.
fn constant(value: f64) -> Expression {
    Expression {
        terms: vec![Term::Constant(value)],
        operands: Vec::new(),
        results: vec![0],
    }
}

/// The argument for a root: its position among the group's inputs.
fn input(roots: &mut Vec<NodeId>, root: NodeId) -> Argument {
    let position = roots.iter().position(|r| *r == root).unwrap_or_else(|| {
        roots.push(root);
        roots.len() - 1
    });
    Argument::Input(position)
}
