//! On the CPU: the interpreter for the graph, the kernels' twins for its update, on arrays in host memory.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Executable, Fault, Resident, Ring, RingRead, Session};
use crate::error::{Error, Result};
use crate::graph::interpreter::{Known, evaluate};
use crate::graph::layout::{Layout, Place};
use crate::graph::op::EvalContext;
use crate::graph::ops::leaf::LeafKind;
use crate::graph::{Graph, Node, NodeId, Sink};
use crate::kernels::{
    CONTROL_FLOATS, RING_COLUMNS, RING_ROWS, SCHEDULE_COLUMNS, STATE_WORDS, TABLE_ROWS, state,
};
use crate::plan::StoreOptions;
use crate::program::state as host;
use crate::program::{Flat, Origin, Program, lower};
use crate::real::Precision;
use crate::reference::random_state;
use crate::tensor::{DType, Data, Value};

/// The store: one array an origin. Its programs share it.
#[derive(Clone, Debug)]
pub(super) struct Host {
    layout: Arc<Layout>,
    arrays: Arc<Mutex<Arrays>>,
}

type Arrays = HashMap<Origin, Data>;

/// A value that several programs may read.
#[derive(Clone, Debug)]
struct Shared(Arc<Mutex<Arc<Value>>>);

impl Shared {
    fn new(value: Arc<Value>) -> Self {
        Self(Arc::new(Mutex::new(value)))
    }

    fn get(&self) -> Arc<Value> {
        locked(&self.0).clone()
    }

    fn set(&self, value: Arc<Value>) {
        *locked(&self.0) = value;
    }
}

/// What a mutex holds. A twin that panicked in an update has left out the arrays it worked on, which are then said to be missing.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Resident for Shared {
    fn replace(&self, data: Data) -> Result<()> {
        let shape = self.get().shape.clone();
        self.set(Arc::new(Value::new(shape, data)?));
        Ok(())
    }
}

impl Host {
    /// Arrays for the parameters of `layout`, all zero.
    pub(super) fn new(layout: Layout, options: StoreOptions) -> Self {
        let zeros = |count: usize| Data::F32(vec![0.0; count]);
        let mut arrays = HashMap::new();
        let mut wanted = vec![Flat::Parameters];
        if options.training {
            wanted.extend([Flat::Gradients, Flat::Moment1, Flat::Moment2]);
        }
        if options.ema {
            wanted.push(Flat::Ema);
        }
        for flat in wanted {
            for (i, &count) in layout.segments.iter().enumerate() {
                arrays.insert(Origin::Segment(flat, i), zeros(count));
            }
        }
        arrays.insert(Origin::State, Data::U32(vec![0; STATE_WORDS]));
        arrays.insert(Origin::Schedule, zeros(SCHEDULE_COLUMNS));
        arrays.insert(Origin::Table, zeros(TABLE_ROWS * SCHEDULE_COLUMNS));
        arrays.insert(Origin::Control, zeros(CONTROL_FLOATS));
        arrays.insert(Origin::Ring, zeros(RING_ROWS * RING_COLUMNS));
        Self {
            layout: Arc::new(layout),
            arrays: Arc::new(Mutex::new(arrays)),
        }
    }

    fn arrays(&self) -> MutexGuard<'_, Arrays> {
        locked(&self.arrays)
    }
}

/// The values of a parameter's place in a flat buffer.
fn tensor<'a>(arrays: &'a Arrays, flat: Flat, place: &Place) -> Result<&'a [f32]> {
    match arrays.get(&Origin::Segment(flat, place.segment)) {
        Some(Data::F32(values)) => Ok(&values[place.offset..place.offset + place.count]),
        _ => Err(missing(flat)),
    }
}

fn tensor_mut<'a>(arrays: &'a mut Arrays, flat: Flat, place: &Place) -> Result<&'a mut [f32]> {
    match arrays.get_mut(&Origin::Segment(flat, place.segment)) {
        Some(Data::F32(values)) => Ok(&mut values[place.offset..place.offset + place.count]),
        _ => Err(missing(flat)),
    }
}

fn missing(flat: Flat) -> Error {
    Error::Usage(format!("the store has no {flat:?} buffers"))
}

impl Session for Host {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn read(&self, flat: Flat) -> Result<Vec<Vec<f32>>> {
        let arrays = self.arrays();
        let places = self.layout.places.iter();
        places
            .map(|place| Ok(tensor(&arrays, flat, place)?.to_vec()))
            .collect()
    }

    fn write(&self, flat: Flat, tensors: &[Vec<f32>]) -> Result<()> {
        let layout = &self.layout;
        if tensors.len() != layout.places.len() {
            let (wanted, got) = (layout.places.len(), tensors.len());
            return Err(Error::Usage(format!(
                "the store has {wanted} tensors, got {got}"
            )));
        }
        for ((place, parameter), values) in
            layout.places.iter().zip(&layout.parameters).zip(tensors)
        {
            if values.len() != place.count {
                let why = format!("has {} elements, got {}", place.count, values.len());
                return Err(Error::shape(&parameter.name, why));
            }
        }
        let mut arrays = self.arrays();
        for (place, values) in layout.places.iter().zip(tensors) {
            tensor_mut(&mut arrays, flat, place)?.copy_from_slice(values);
        }
        Ok(())
    }

    fn set_state(&self, step: u64, seed: u64, cursor: u32) -> Result<()> {
        let words = host::words(step, seed, cursor);
        self.arrays()
            .insert(Origin::State, Data::U32(words.to_vec()));
        Ok(())
    }

    fn set_cursor(&self, cursor: u32) -> Result<()> {
        if let Some(Data::U32(words)) = self.arrays().get_mut(&Origin::State) {
            words[state::CURSOR] = cursor;
        }
        Ok(())
    }

    fn write_schedule(
        &self,
        first: u64,
        rows: &[[f32; SCHEDULE_COLUMNS]],
        current: bool,
    ) -> Result<()> {
        let mut arrays = self.arrays();
        if let Some(Data::F32(table)) = arrays.get_mut(&Origin::Table) {
            for (at, part) in host::places_of_rows(first, rows.len()) {
                let words = rows[part].as_flattened();
                table[at * SCHEDULE_COLUMNS..][..words.len()].copy_from_slice(words);
            }
        }
        if let (true, Some(row)) = (current, rows.first()) {
            arrays.insert(Origin::Schedule, Data::F32(row.to_vec()));
        }
        Ok(())
    }

    fn begin_ring(&self) -> Result<Box<dyn RingRead>> {
        let arrays = self.arrays();
        Ok(Box::new(Ring {
            figures: arrays[&Origin::Ring].to_f32(),
            state: arrays[&Origin::State].as_u32().to_vec(),
        }))
    }

    fn upload(&self, _name: &str, value: Value) -> Result<Box<dyn Resident>> {
        Ok(Box::new(Shared::new(Arc::new(value))))
    }

    fn compile_with(
        &self,
        graph: &Graph,
        inputs: &[(&str, &dyn Resident)],
        half: bool,
    ) -> Result<Box<dyn Executable>> {
        if half {
            return Err(Error::field(
                "precision",
                "f16 is storage on a GPU; the CPU interpreter has f32 alone",
            ));
        }
        graph.check()?;
        let update = match graph.update() {
            Some(update) => Some(lower::lower_update(graph, &update, &self.layout)?),
            None => None,
        };
        let mut given = HashMap::new();
        for (name, resident) in inputs {
            if !graph.has_input(name) {
                return Err(Error::Usage(format!(
                    "'{name}' is bound, but the graph has no such input"
                )));
            }
            let resident: &dyn Any = *resident;
            let shared = resident
                .downcast_ref::<Shared>()
                .ok_or_else(|| Error::Usage(format!("'{name}' was uploaded to another session")))?;
            given.insert((*name).to_owned(), shared.clone());
        }
        Ok(Box::new(HostProgram {
            host: self.clone(),
            nodes: graph.nodes(),
            sinks: graph.sinks(),
            update,
            inputs: given,
            outputs: HashMap::new(),
        }))
    }

    fn find_fault(
        &self,
        _graph: &Graph,
        _inputs: &[(&str, &dyn Resident)],
        _half: bool,
    ) -> Result<Option<Fault>> {
        Ok(None)
    }
}

impl RingRead for Ring {
    fn wait(self: Box<Self>) -> Result<Ring> {
        Ok(*self)
    }
}

/// A graph for the interpreter, with the kernels of its update.
#[derive(Debug)]
struct HostProgram {
    host: Host,
    nodes: Vec<Arc<Node>>,
    sinks: Vec<(Sink, NodeId)>,
    update: Option<Program>,
    inputs: HashMap<String, Shared>,
    outputs: HashMap<String, Arc<Value>>,
}

impl HostProgram {
    /// The leaf values of a step.
    fn known(&self) -> Result<Known> {
        let arrays = self.host.arrays();
        let layout = &self.host.layout;
        let mut known = Known::new();
        for (i, node) in self.nodes.iter().enumerate() {
            let Some(leaf) = node.op.as_leaf() else {
                continue;
            };
            let value = match leaf.kind {
                LeafKind::Constant(_) => continue,
                LeafKind::Input => match self.inputs.get(&leaf.name) {
                    Some(shared) => shared.get(),
                    None => continue,
                },
                LeafKind::Parameter => {
                    let position = layout.find(&leaf.name).ok_or_else(|| {
                        Error::Usage(format!("parameter '{}' is not in the store", leaf.name))
                    })?;
                    let values = tensor(&arrays, Flat::Parameters, &layout.places[position])?;
                    Arc::new(Value::f32(leaf.ty.shape.clone(), values.to_vec())?)
                }
                LeafKind::Schedule(column) => Arc::new(Value::f32(
                    [],
                    vec![arrays[&Origin::Schedule].to_f32()[column]],
                )?),
            };
            known.insert(NodeId(i as u32), value);
        }
        Ok(known)
    }

    fn set_input(&mut self, name: &str, value: Arc<Value>) {
        match self.inputs.get(name) {
            Some(shared) => shared.set(value),
            None => {
                self.inputs.insert(name.to_owned(), Shared::new(value));
            }
        }
    }
}

impl Executable for HostProgram {
    fn run(&mut self, steps: usize) -> Result<()> {
        (0..steps).try_for_each(|_| {
            self.gradients()?;
            self.update()
        })
    }

    fn gradients(&mut self) -> Result<()> {
        let state = random_state(self.host.arrays()[&Origin::State].as_u32());
        let known = self.known()?;
        let wanted: Vec<NodeId> = self.sinks.iter().map(|(_, id)| *id).collect();
        let cx = EvalContext {
            precision: Precision::F32,
            state,
        };
        let values = evaluate(&self.nodes, &wanted, &known, &cx)?;
        let sinks: Vec<Sink> = self.sinks.iter().map(|(sink, _)| sink.clone()).collect();
        for (sink, value) in sinks.into_iter().zip(values) {
            match sink {
                Sink::Output(name) => {
                    self.outputs.insert(name, value);
                }
                Sink::Input(name) => self.set_input(&name, value),
                Sink::Gradient(name) => {
                    let layout = &self.host.layout;
                    let Some(place) = layout.find(&name).map(|p| layout.places[p]) else {
                        continue;
                    };
                    let mut arrays = self.host.arrays();
                    let flat = tensor_mut(&mut arrays, Flat::Gradients, &place)?;
                    if let Data::F32(gradient) = &value.data {
                        flat.copy_from_slice(gradient);
                    }
                }
            }
        }
        Ok(())
    }

    fn update(&mut self) -> Result<()> {
        let Some(update) = &self.update else {
            return Ok(());
        };
        let mut names = update.outputs.iter().map(|o| &o.name);
        match names.find(|name| !self.outputs.contains_key(*name)) {
            Some(name) => Err(Error::Usage(format!(
                "an update before its gradients: there is no '{name}' yet"
            ))),
            None => run_update(update, &mut self.host.arrays(), &self.outputs),
        }
    }

    fn write(&mut self, name: &str, value: Value) -> Result<()> {
        let mut leaves = self.nodes.iter().filter_map(|node| node.op.as_leaf());
        let input = leaves.find(|l| matches!(l.kind, LeafKind::Input) && l.name == name);
        let Some(input) = input else {
            return Err(Error::Usage(format!("the graph has no input '{name}'")));
        };
        if value.shape.count() != input.ty.shape.count() {
            let why = format!("is {:?}, got {:?}", input.ty.shape, value.shape);
            return Err(Error::shape(format!("input '{name}'"), why));
        }
        self.set_input(name, Arc::new(value));
        Ok(())
    }

    fn read(&self, name: &str) -> Result<Value> {
        match self.outputs.get(name) {
            Some(value) => Ok(value.as_ref().clone()),
            None => Err(Error::Usage(format!(
                "there is no output '{name}', or nothing was run yet"
            ))),
        }
    }

    fn variants(&self) -> Vec<String> {
        vec!["interpreter f32".to_owned()]
    }

    fn explain(&self) -> Option<String> {
        None
    }
}

/// Runs the kernels after the gradients by their twins.
fn run_update(
    update: &Program,
    arrays: &mut Arrays,
    outputs: &HashMap<String, Arc<Value>>,
) -> Result<()> {
    let mut transient: HashMap<usize, Data> = HashMap::new();
    for dispatch in &update.dispatches {
        let mut bound: Vec<Data> = Vec::with_capacity(dispatch.buffers.len());
        for id in &dispatch.buffers {
            let spec = &update.buffers[id.0];
            bound.push(match &spec.origin {
                Origin::Transient => {
                    let count = spec.ty.shape.count();
                    transient
                        .remove(&id.0)
                        .unwrap_or_else(|| Data::zeros(DType::F32, Precision::F32, count))
                }
                Origin::Output(name) => outputs[name].data.clone(),
                // Moved, not copied: parameters and moments are large.
                origin => arrays
                    .get_mut(origin)
                    .map(|d| std::mem::replace(d, Data::U8(Vec::new())))
                    .ok_or_else(|| Error::Usage(format!("the store has no {origin:?}")))?,
            });
        }
        dispatch.kernel.reference(&mut bound);
        for (id, array) in dispatch.buffers.iter().zip(bound) {
            match &update.buffers[id.0].origin {
                Origin::Transient => {
                    transient.insert(id.0, array);
                }
                Origin::Output(_) => {}
                origin => {
                    arrays.insert(origin.clone(), array);
                }
            }
        }
    }
    Ok(())
}
