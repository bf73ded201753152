//! A device with a store on it: a GPU, or the CPU through the interpreter. Trainer and evaluation see no difference.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::gpu::{BufferSlice, Choice, Gpu, Readback};
use crate::graph::interpreter::{Known, evaluate};
use crate::graph::layout::Layout;
use crate::graph::op::EvalContext;
use crate::graph::ops::leaf::LeafKind;
use crate::graph::{Graph, Node, NodeId, Sink};
use crate::kernels::{
    Caps, RING_COLUMNS, RING_ROWS, SCHEDULE_COLUMNS, STATE_WORDS, TABLE_ROWS, state,
};
use crate::plan::{Plan, Store, StoreOptions};
use crate::program::{Flat, Origin, Program};
use crate::program::{PlanOptions, lower};
use crate::real::Precision;
use crate::reference::random_state;
use crate::tensor::{DType, Data, Value};

pub mod feed;

/// What computations run on.
#[derive(Clone, Debug)]
pub enum Device {
    /// A GPU.
    Gpu(Gpu),
    /// The interpreter in f32 on all cores.
    Cpu,
}

impl Device {
    /// Opens what `choice` names. `Auto` falls back to the CPU where there is no adapter, and the log says so.
    ///
    /// # Errors
    /// When a named adapter is not there, or a driver refuses.
    pub fn open(choice: &Choice) -> Result<Self> {
        match choice {
            Choice::Cpu => Ok(Self::Cpu),
            Choice::Named(_) => Gpu::new(choice).map(Self::Gpu),
            Choice::Auto => match Gpu::new(choice) {
                Ok(gpu) => Ok(Self::Gpu(gpu)),
                Err(Error::NoAdapter(why))
                    if std::env::var_os("WGPU_ADAPTER_NAME").is_none_or(|n| n.is_empty()) =>
                {
                    log::warn!("no GPU: {why}; running on the CPU");
                    Ok(Self::Cpu)
                }
                Err(error) => Err(error),
            },
        }
    }

    /// Its name, for records.
    pub fn name(&self) -> String {
        match self {
            Self::Gpu(gpu) => format!("{} ({})", gpu.summary().name, gpu.summary().driver),
            Self::Cpu => "CPU interpreter".to_owned(),
        }
    }

    /// What it can do; for the CPU, the portable floor with room for anything that fits into memory.
    pub fn caps(&self) -> Caps {
        match self {
            Self::Gpu(gpu) => gpu.caps().clone(),
            Self::Cpu => Caps {
                software: true,
                binding_bytes: 8 << 30,
                buffer_bytes: 8 << 30,
                ..Caps::portable()
            },
        }
    }
}

/// Parameters and all that belongs to them, on a device.
#[derive(Debug)]
pub enum Session {
    /// On a GPU.
    Gpu(Store),
    /// In host memory.
    Cpu(Box<HostStore>),
}

/// The store of the CPU: one array an origin.
#[derive(Debug)]
pub struct HostStore {
    layout: Layout,
    arrays: HashMap<Origin, Data>,
}

/// A graph ready to run in a session.
#[derive(Debug)]
pub enum Executable {
    /// A plan.
    Gpu(Box<Plan>),
    /// The graph itself.
    Cpu(Box<HostProgram>),
}

/// A graph for the interpreter, with the kernels of its update.
#[derive(Debug)]
pub struct HostProgram {
    nodes: Vec<Node>,
    sinks: Vec<(Sink, NodeId)>,
    update: Option<Program>,
    inputs: HashMap<String, Arc<Value>>,
    outputs: HashMap<String, Arc<Value>>,
}

/// Data of an input, uploaded once: shared by the plans that read it.
#[derive(Clone, Debug)]
pub enum Resident {
    /// In a GPU buffer.
    Gpu(BufferSlice),
    /// In host memory.
    Cpu(Arc<Value>),
}

/// The ring of figures and the state, under way to the host.
#[derive(Debug)]
pub enum RingRead {
    /// From a GPU.
    Gpu(Readback),
    /// Already here.
    Cpu(Vec<f32>, Vec<u32>),
}

impl RingRead {
    /// Rows of [`RING_COLUMNS`] figures, and the state's words; waits for them.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn wait(self) -> Result<(Vec<f32>, Vec<u32>)> {
        match self {
            Self::Cpu(ring, state) => Ok((ring, state)),
            Self::Gpu(readback) => {
                let bytes = readback.wait()?;
                let word = |b: &[u8]| u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                let ring = bytes[0]
                    .chunks_exact(4)
                    .map(|b| f32::from_bits(word(b)))
                    .collect();
                Ok((ring, bytes[1].chunks_exact(4).map(word).collect()))
            }
        }
    }
}

impl Session {
    /// A store for `parameters` on `device`, all zero.
    ///
    /// # Errors
    /// When it does not fit.
    pub fn new(device: &Device, layout: Layout, options: StoreOptions) -> Result<Self> {
        match device {
            Device::Gpu(gpu) => Store::new(gpu, layout, options).map(Self::Gpu),
            Device::Cpu => {
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
                arrays.insert(Origin::Control, zeros(crate::kernels::CONTROL_FLOATS));
                arrays.insert(Origin::Ring, zeros(RING_ROWS * RING_COLUMNS));
                Ok(Self::Cpu(Box::new(HostStore { layout, arrays })))
            }
        }
    }

    /// Where parameters lie.
    pub fn layout(&self) -> &Layout {
        match self {
            Self::Gpu(store) => store.layout(),
            Self::Cpu(host) => &host.layout,
        }
    }

    /// All tensors of a flat buffer, in the layout's order.
    ///
    /// # Errors
    /// When there is no such buffer or the device is lost.
    pub fn read(&self, flat: Flat) -> Result<Vec<Vec<f32>>> {
        match self {
            Self::Gpu(store) => store.read(flat),
            Self::Cpu(host) => {
                let tensor = |p: &crate::graph::layout::Place| match host
                    .arrays
                    .get(&Origin::Segment(flat, p.segment))
                {
                    Some(Data::F32(values)) => Ok(values[p.offset..p.offset + p.count].to_vec()),
                    _ => Err(Error::Usage(format!("the store has no {flat:?} buffers"))),
                };
                host.layout.places.iter().map(tensor).collect()
            }
        }
    }

    /// Replaces all tensors of a flat buffer.
    ///
    /// # Errors
    /// When a size differs.
    pub fn write(&mut self, flat: Flat, tensors: &[Vec<f32>]) -> Result<()> {
        match self {
            Self::Gpu(store) => store.write(flat, tensors),
            Self::Cpu(host) => {
                for (place, tensor) in host.layout.places.iter().zip(tensors) {
                    if tensor.len() != place.count {
                        return Err(Error::shape(
                            "store",
                            format!("{} elements, got {}", place.count, tensor.len()),
                        ));
                    }
                    if let Some(Data::F32(values)) =
                        host.arrays.get_mut(&Origin::Segment(flat, place.segment))
                    {
                        values[place.offset..place.offset + place.count].copy_from_slice(tensor);
                    }
                }
                Ok(())
            }
        }
    }

    /// Sets step, seed and cursor, and lets updates happen again.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn set_state(&mut self, step: u64, seed: u64, cursor: u32) -> Result<()> {
        match self {
            Self::Gpu(store) => store.set_state(step, seed, cursor),
            Self::Cpu(host) => {
                let mut words = vec![0; STATE_WORDS];
                words[state::STEP_LOW] = step as u32;
                words[state::STEP_HIGH] = (step >> 32) as u32;
                words[state::SEED_LOW] = seed as u32;
                words[state::SEED_HIGH] = (seed >> 32) as u32;
                words[state::CURSOR] = cursor;
                host.arrays.insert(Origin::State, Data::U32(words));
                Ok(())
            }
        }
    }

    /// Moves the cursor.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn set_cursor(&mut self, cursor: u32) -> Result<()> {
        match self {
            Self::Gpu(store) => store.set_cursor(cursor),
            Self::Cpu(host) => {
                if let Some(Data::U32(words)) = host.arrays.get_mut(&Origin::State) {
                    words[state::CURSOR] = cursor;
                }
                Ok(())
            }
        }
    }

    /// Writes schedule rows for steps from `first` on; with `current`, also as the row of the step that runs next.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn write_schedule(
        &mut self,
        first: u64,
        rows: &[[f32; SCHEDULE_COLUMNS]],
        current: bool,
    ) -> Result<()> {
        match self {
            Self::Gpu(store) => store.write_schedule(first, rows, current),
            Self::Cpu(host) => {
                if let Some(Data::F32(table)) = host.arrays.get_mut(&Origin::Table) {
                    for (i, row) in rows.iter().enumerate() {
                        let at =
                            ((first + i as u64) % TABLE_ROWS as u64) as usize * SCHEDULE_COLUMNS;
                        table[at..at + SCHEDULE_COLUMNS].copy_from_slice(row);
                    }
                }
                if let (true, Some(row)) = (current, rows.first()) {
                    host.arrays
                        .insert(Origin::Schedule, Data::F32(row.to_vec()));
                }
                Ok(())
            }
        }
    }

    /// Starts to read the ring of figures, without waiting.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn begin_ring(&self) -> Result<RingRead> {
        match self {
            Self::Gpu(store) => Ok(RingRead::Gpu(
                store.gpu().begin_read(&store.ring_and_state())?,
            )),
            Self::Cpu(host) => {
                let ring = host.arrays[&Origin::Ring].to_f32();
                Ok(RingRead::Cpu(
                    ring,
                    host.arrays[&Origin::State].as_u32().to_vec(),
                ))
            }
        }
    }

    /// Uploads an input once, for any number of executables.
    ///
    /// # Errors
    /// When it does not fit.
    pub fn upload(&self, name: &str, value: Value) -> Result<Resident> {
        match self {
            Self::Gpu(store) => {
                let bytes = value.data.to_device_bytes();
                let buffer = store.gpu().create_buffer(name, bytes.len() as u64)?;
                let slice = BufferSlice::from(&buffer);
                store.gpu().write(&slice, &bytes)?;
                Ok(Resident::Gpu(slice))
            }
            Self::Cpu(_) => Ok(Resident::Cpu(Arc::new(value))),
        }
    }

    /// Replaces the data of an uploaded input of the same size, before the next run.
    ///
    /// # Errors
    /// When it does not fit.
    pub fn replace(
        &self,
        resident: &mut Resident,
        data: Data,
        executables: &mut [&mut Executable],
        name: &str,
    ) -> Result<()> {
        match (self, resident) {
            (Self::Gpu(store), Resident::Gpu(slice)) => {
                store.gpu().write(slice, &data.to_device_bytes())
            }
            (_, Resident::Cpu(value)) => {
                *value = Arc::new(Value::new(value.shape.clone(), data)?);
                for executable in executables {
                    if let Executable::Cpu(program) = executable {
                        program.inputs.insert(name.to_owned(), value.clone());
                    }
                }
                Ok(())
            }
            _ => Err(Error::Usage("an input of another session".to_owned())),
        }
    }

    /// Compiles a graph; `inputs` that are not given are written before each run.
    ///
    /// # Errors
    /// When the graph is not sound or does not fit the device.
    pub fn compile(&self, graph: &Graph, inputs: &[(&str, &Resident)]) -> Result<Executable> {
        self.compile_with(graph, inputs, false)
    }

    /// As [`Session::compile`]; with `half` activations and their gradients are stored as f16.
    ///
    /// # Errors
    /// As [`Session::compile`]; also when the device has no f16, as the CPU has none.
    pub fn compile_with(
        &self,
        graph: &Graph,
        inputs: &[(&str, &Resident)],
        half: bool,
    ) -> Result<Executable> {
        match self {
            Self::Gpu(store) => {
                let bindings: Vec<(&str, BufferSlice)> = inputs
                    .iter()
                    .filter_map(|(name, r)| match r {
                        Resident::Gpu(slice) => Some((*name, slice.clone())),
                        Resident::Cpu(_) => None,
                    })
                    .collect();
                Ok(Executable::Gpu(Box::new(Plan::compile(
                    graph,
                    store,
                    &bindings,
                    PlanOptions {
                        half,
                        ..PlanOptions::default()
                    },
                )?)))
            }
            Self::Cpu(_) if half => Err(Error::Usage(
                "--precision f16 is storage on a GPU; the CPU interpreter has f32 alone".to_owned(),
            )),
            Self::Cpu(host) => {
                graph.check()?;
                let update = match graph.update() {
                    Some(update) => Some(lower::lower_update(graph, &update, &host.layout)?),
                    None => None,
                };
                let given = inputs.iter().filter_map(|(name, r)| match r {
                    Resident::Cpu(value) => Some(((*name).to_owned(), value.clone())),
                    Resident::Gpu(_) => None,
                });
                Ok(Executable::Cpu(Box::new(HostProgram {
                    nodes: graph.nodes(),
                    sinks: graph.sinks(),
                    update,
                    inputs: given.collect(),
                    outputs: HashMap::new(),
                })))
            }
        }
    }

    /// Runs an executable of this session `steps` times.
    ///
    /// # Errors
    /// When the device is lost or an operator fails.
    pub fn run(&mut self, executable: &mut Executable, steps: usize) -> Result<()> {
        match (self, executable) {
            (Self::Gpu(_), Executable::Gpu(plan)) => plan.run(steps),
            (Self::Cpu(host), Executable::Cpu(program)) => {
                (0..steps).try_for_each(|_| program.step(host))
            }
            _ => Err(Error::Usage("an executable of another session".to_owned())),
        }
    }
}

impl Executable {
    /// Writes an input that was not given when it was compiled.
    ///
    /// # Errors
    /// When there is none of that name or the size differs.
    pub fn write(&mut self, name: &str, value: Value) -> Result<()> {
        match self {
            Self::Gpu(plan) => plan.write(name, &value.data),
            Self::Cpu(program) => {
                program.inputs.insert(name.to_owned(), Arc::new(value));
                Ok(())
            }
        }
    }

    /// Reads an output.
    ///
    /// # Errors
    /// When there is none of that name or the device is lost.
    pub fn read(&self, name: &str) -> Result<Value> {
        match self {
            Self::Gpu(plan) => plan.read(name),
            Self::Cpu(program) => match program.outputs.get(name) {
                Some(value) => Ok(value.as_ref().clone()),
                None => Err(Error::Usage(format!(
                    "there is no output '{name}', or nothing was run yet"
                ))),
            },
        }
    }

    /// Kernel variants in order, for the record of a run.
    pub fn variants(&self) -> Vec<String> {
        match self {
            Self::Gpu(plan) => plan.baked().variants().collect(),
            Self::Cpu(_) => vec!["interpreter f32".to_owned()],
        }
    }
}

impl HostProgram {
    /// The leaf values of a step.
    fn known(&self, host: &HostStore) -> Result<Known> {
        let mut known = Known::new();
        for (i, node) in self.nodes.iter().enumerate() {
            let Some(leaf) = node.op.as_leaf() else {
                continue;
            };
            let value = match leaf.kind {
                LeafKind::Constant(_) => continue,
                LeafKind::Input => match self.inputs.get(&leaf.name) {
                    Some(value) => value.clone(),
                    None => continue,
                },
                LeafKind::Parameter => {
                    let position = host.layout.find(&leaf.name).ok_or_else(|| {
                        Error::Usage(format!("parameter '{}' is not in the store", leaf.name))
                    })?;
                    let place = host.layout.places[position];
                    match &host.arrays[&Origin::Segment(Flat::Parameters, place.segment)] {
                        Data::F32(v) => {
                            let values = v[place.offset..place.offset + place.count].to_vec();
                            Arc::new(Value::f32(leaf.ty.shape.clone(), values)?)
                        }
                        _ => continue,
                    }
                }
                LeafKind::Schedule(column) => Arc::new(Value::f32(
                    [],
                    vec![host.arrays[&Origin::Schedule].to_f32()[column]],
                )?),
            };
            known.insert(NodeId(i as u32), value);
        }
        Ok(known)
    }

    fn step(&mut self, host: &mut HostStore) -> Result<()> {
        let state = random_state(host.arrays[&Origin::State].as_u32());
        let known = self.known(host)?;
        let wanted: Vec<NodeId> = self.sinks.iter().map(|(_, id)| *id).collect();
        let values = evaluate(
            &self.nodes,
            &wanted,
            &known,
            &EvalContext {
                precision: Precision::F32,
                state,
            },
        )?;
        for ((sink, _), value) in self.sinks.iter().zip(values) {
            match sink {
                Sink::Output(name) => {
                    self.outputs.insert(name.clone(), value);
                }
                Sink::Input(name) => {
                    self.inputs.insert(name.clone(), value);
                }
                Sink::Gradient(name) => {
                    let Some(place) = host.layout.find(name).map(|p| host.layout.places[p]) else {
                        continue;
                    };
                    let segment = host
                        .arrays
                        .get_mut(&Origin::Segment(Flat::Gradients, place.segment));
                    if let (Some(Data::F32(flat)), Data::F32(gradient)) = (segment, &value.data) {
                        flat[place.offset..place.offset + place.count].copy_from_slice(gradient);
                    }
                }
            }
        }
        match &self.update {
            Some(update) => run_update(update, host, &self.outputs),
            None => Ok(()),
        }
    }
}

/// Runs the kernels after the gradients by their twins.
fn run_update(
    update: &Program,
    host: &mut HostStore,
    outputs: &HashMap<String, Arc<Value>>,
) -> Result<()> {
    let mut transient: HashMap<usize, Data> = HashMap::new();
    for dispatch in &update.dispatches {
        let mut arrays: Vec<Data> = Vec::with_capacity(dispatch.buffers.len());
        for id in &dispatch.buffers {
            let spec = &update.buffers[id.0];
            arrays.push(match &spec.origin {
                Origin::Transient => {
                    let count = spec.ty.shape.count();
                    transient
                        .remove(&id.0)
                        .unwrap_or_else(|| Data::zeros(DType::F32, Precision::F32, count))
                }
                Origin::Output(name) => outputs[name].data.clone(),
                // Moved, not copied: parameters and moments are large.
                origin => host
                    .arrays
                    .get_mut(origin)
                    .map(|d| std::mem::replace(d, Data::U8(Vec::new())))
                    .ok_or_else(|| Error::Usage(format!("the store has no {origin:?}")))?,
            });
        }
        dispatch.kernel.reference(&mut arrays);
        for (id, array) in dispatch.buffers.iter().zip(arrays) {
            match &update.buffers[id.0].origin {
                Origin::Transient => {
                    transient.insert(id.0, array);
                }
                Origin::Output(_) => {}
                origin => {
                    host.arrays.insert(origin.clone(), array);
                }
            }
        }
    }
    Ok(())
}
