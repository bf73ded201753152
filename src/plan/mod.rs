//! A graph compiled for a device and bound to a store.
//!
//! After [`Plan::compile`] nothing is made any more: [`Plan::record`] writes dispatches into an encoder, the caller's or one of
//! [`Plan::run`]'s own.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::gpu::kernel::exact;
use crate::gpu::{Bound, BufferSlice, Gpu, Resource};
use crate::graph::{Graph, Node};
use crate::kernels::present::{Picture, Present};
use crate::kernels::{Binding, Cost, Texel};
use crate::program::explain::explain;
use crate::program::lower::{self, LowerOptions};
use crate::program::{BufferId, BufferSpec, Origin, PlanOptions, Program, memory};
use crate::tensor::{DType, Data, Value};

mod halves;
mod sampler;
mod store;

pub use sampler::Sampler;
pub use store::{Store, StoreOptions};

/// Bytes of guard on both sides of a plan's own buffers.
const GUARD: u64 = 256;

/// Bits of a NaN that nobody computes: what guards and unwritten memory hold during verification.
pub const POISON: u32 = 0x7fc0_dead;

/// A compiled graph. See the module's text.
#[derive(Debug)]
pub struct Plan {
    gpu: Gpu,
    program: Program,
    nodes: Vec<Arc<Node>>,
    places: Vec<BufferSlice>,
    /// The plan's own buffers, with guards on both sides.
    own: Vec<wgpu::Buffer>,
    slots: memory::Slots,
    /// Dispatches as they are recorded: a long one is several.
    bound: Vec<Bound>,
    /// Which of them each dispatch of the program is.
    parts: Vec<Range<usize>>,
    segments: Vec<Range<usize>>,
    /// Seconds of one step by estimate.
    estimate: f64,
    /// Outputs that also go to textures, after the last dispatch.
    pictures: Vec<(String, Bound)>,
}

impl Plan {
    /// Compiles `graph` for the store's device. Inputs that `bindings` does not name get buffers of the plan's own.
    ///
    /// # Errors
    /// When the graph is not sound, a parameter is missing, a limit is exceeded, or the device refuses.
    pub fn compile(
        graph: &Graph,
        store: &Store,
        bindings: &[(&str, BufferSlice)],
        options: PlanOptions,
    ) -> Result<Self> {
        let gpu = store.gpu();
        let caps = options.caps(gpu.caps());
        let program = lower::lower(
            graph,
            &caps,
            store.layout(),
            LowerOptions {
                fuse: options.fuse,
                half: options.half,
            },
        )?;
        let mut program = program;
        if options.tune && !gpu.caps().software {
            for dispatch in &mut program.dispatches {
                dispatch.kernel = gpu.tuning().choose(gpu, &dispatch.kernel)?;
            }
        }
        let slots = memory::assign(&program, !options.retain);
        Self::assemble(graph, store, bindings, program, slots)
    }

    /// A plan from kernels and slots that were made elsewhere: what [`Plan::compile`] ends with, and how verification plants faults.
    ///
    /// # Errors
    /// As [`Plan::compile`].
    pub fn assemble(
        graph: &Graph,
        store: &Store,
        bindings: &[(&str, BufferSlice)],
        program: Program,
        slots: memory::Slots,
    ) -> Result<Self> {
        let gpu = store.gpu().clone();
        let software = gpu.caps().software;
        let mut own = Vec::new();
        let make = |label: &str, bytes: u64, own: &mut Vec<wgpu::Buffer>| -> Result<BufferSlice> {
            let size = bytes.max(16).next_multiple_of(16);
            let buffer = gpu.create_buffer(label, size + 2 * GUARD)?;
            own.push(buffer.clone());
            Ok(BufferSlice {
                buffer,
                offset: GUARD,
                size,
            })
        };
        let slot_places = slots
            .sizes
            .iter()
            .map(|&bytes| make("slot", bytes, &mut own))
            .collect::<Result<Vec<_>>>()?;
        let mut inputs: HashMap<&str, BufferSlice> =
            bindings.iter().map(|(n, b)| (*n, b.clone())).collect();
        let mut places: Vec<BufferSlice> = Vec::with_capacity(program.buffers.len());
        for (i, spec) in program.buffers.iter().enumerate() {
            let place = match &spec.origin {
                Origin::Transient => slots.of[i].map(|s| slot_places[s].clone()),
                Origin::Input(name) => inputs.get(name.as_str()).cloned(),
                other => store.slice(other)?,
            };
            places.push(match (place, &spec.origin) {
                (Some(place), _) => place,
                (None, Origin::Input(name)) => {
                    let place = make(name, spec.ty.bytes(), &mut own)?;
                    inputs.insert(name, place.clone());
                    place
                }
                (None, _) => make("output", spec.ty.bytes(), &mut own)?,
            });
        }
        if let Some(name) = bindings.iter().map(|b| b.0).find(|name| {
            !program
                .buffers
                .iter()
                .any(|b| matches!(&b.origin, Origin::Input(n) if n == name))
        }) {
            return Err(Error::Usage(format!(
                "'{name}' is bound, but the graph has no such input"
            )));
        }
        let nodes = graph.nodes();
        let mut plan = Self {
            gpu,
            program,
            nodes,
            places,
            own,
            slots,
            bound: Vec::new(),
            parts: Vec::new(),
            segments: Vec::new(),
            estimate: 0.0,
            pictures: Vec::new(),
        };
        let mut estimates = Vec::new();
        for index in 0..plan.program.dispatches.len() {
            let estimate = estimate(plan.program.dispatches[index].kernel.cost(), software);
            let bound = plan.bind_dispatch(index, parts_for(estimate))?;
            let each = estimate / bound.len() as f64;
            estimates.extend(std::iter::repeat_n(each, bound.len()));
            let first = plan.bound.len();
            plan.bound.extend(bound);
            plan.parts.push(first..plan.bound.len());
        }
        plan.write_tables()?;
        plan.segments = segments(&estimates);
        plan.estimate = estimates.iter().sum();
        plan.gpu.save_pipelines();
        Ok(plan)
    }

    /// Writes what the graph knows itself into the inputs that the caller did not bind: [`Graph::table`].
    ///
    /// # Errors
    /// When the device is lost.
    pub fn write_tables(&self) -> Result<()> {
        for leaf in self.nodes.iter().filter_map(|node| node.op.as_leaf()) {
            let Some(value) = &leaf.value else { continue };
            let is = |b: &BufferSpec| matches!(&b.origin, Origin::Input(n) if *n == leaf.name);
            if let Some(position) = self.program.buffers.iter().position(is) {
                let place = &self.places[position];
                if self.own.contains(&place.buffer) {
                    self.gpu.write(place, &value.data.to_device_bytes())?;
                }
            }
        }
        Ok(())
    }

    fn bind_dispatch(&self, index: usize, parts: usize) -> Result<Vec<Bound>> {
        let dispatch = &self.program.dispatches[index];
        let kernel = dispatch.kernel.as_ref();
        let from = |(i, b): (usize, &BufferId)| {
            let place = &self.places[b.0];
            let first = dispatch.offsets.get(i).copied().unwrap_or(0);
            let skipped = self.program.buffers[b.0].ty.dtype.bytes(first);
            BufferSlice {
                buffer: place.buffer.clone(),
                offset: place.offset + skipped,
                size: place.size.saturating_sub(skipped),
            }
        };
        let buffers: Vec<BufferSlice> = dispatch.buffers.iter().enumerate().map(from).collect();
        self.gpu.bind_parts(kernel, &exact(kernel, &buffers), parts)
    }

    /// Its device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Its kernels and virtual buffers.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The nodes of its graph.
    pub fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }

    /// The memory of a virtual buffer.
    pub fn place(&self, buffer: BufferId) -> &BufferSlice {
        &self.places[buffer.0]
    }

    /// Records one step into the caller's encoder: one compute pass, nothing else made.
    pub fn record(&self, encoder: &mut wgpu::CommandEncoder) {
        self.record_range(encoder, 0..self.bound.len());
    }

    /// Records a range of [`Plan::segments`].
    pub fn record_range(&self, encoder: &mut wgpu::CommandEncoder, range: Range<usize>) {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        self.record_range_into(range, &mut pass);
    }

    /// Records one step into a pass of the caller's, who may put timestamps around it or dispatches of his own beside it.
    pub fn record_into(&self, pass: &mut wgpu::ComputePass<'_>) {
        self.record_range_into(0..self.bound.len(), pass);
    }

    fn record_range_into(&self, range: Range<usize>, pass: &mut wgpu::ComputePass<'_>) {
        let last = range.end == self.bound.len();
        self.bound[range]
            .iter()
            .for_each(|bound| bound.record(pass));
        if last {
            self.pictures
                .iter()
                .for_each(|(_, bound)| bound.record(pass));
        }
    }

    /// Records one dispatch of the program into a pass of the caller's.
    pub fn record_one_into(&self, index: usize, pass: &mut wgpu::ComputePass<'_>) {
        let parts = self.parts[index].clone();
        self.bound[parts]
            .iter()
            .for_each(|bound| bound.record(pass));
    }

    /// The step cut into ranges of less than 100 ms by estimate, to be submitted one by one. A dispatch that alone would take longer
    /// is several, each a part of its grid.
    pub fn segments(&self) -> &[Range<usize>] {
        &self.segments
    }

    /// Runs `steps` steps, in submissions of less than 100 ms by estimate (1 s on a software adapter).
    ///
    /// # Errors
    /// When the device is lost.
    pub fn run(&self, steps: usize) -> Result<()> {
        let device = self.gpu.device();
        let submit = |record: &dyn Fn(&mut wgpu::CommandEncoder)| {
            let mut encoder =
                device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            record(&mut encoder);
            self.gpu.queue().submit([encoder.finish()]);
        };
        if self.segments.len() == 1 {
            let longest = longest_submission(self.gpu.caps().software);
            let together = ((longest / self.estimate.max(1e-9)) as usize).max(1);
            let mut left = steps;
            while left > 0 {
                let now = left.min(together);
                submit(&|encoder| (0..now).for_each(|_| self.record(encoder)));
                left -= now;
            }
        } else {
            for _ in 0..steps {
                self.segments
                    .iter()
                    .for_each(|s| submit(&|encoder| self.record_range(encoder, s.clone())));
            }
        }
        self.gpu.check()
    }

    /// Runs one dispatch alone and waits for it: for verification.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn run_one(&self, index: usize) -> Result<()> {
        let mut encoder = self
            .gpu
            .device()
            .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            self.record_one_into(index, &mut pass);
        }
        self.gpu.queue().submit([encoder.finish()]);
        self.gpu.wait()
    }

    /// The memory of an output or input, by name.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn buffer(&self, name: &str) -> Result<&BufferSlice> {
        let output = self
            .program
            .outputs
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, b)| *b);
        let input = || {
            let is = |b: &BufferSpec| matches!(&b.origin, Origin::Input(n) if n == name);
            self.program.buffers.iter().position(is).map(BufferId)
        };
        match output.or_else(input) {
            Some(buffer) => Ok(self.place(buffer)),
            None => Err(Error::Usage(format!(
                "the plan has no output or input '{name}'; it has {}",
                self.names()
            ))),
        }
    }

    fn names(&self) -> String {
        let inputs = self.program.buffers.iter().filter_map(|b| match &b.origin {
            Origin::Input(name) => Some(name.as_str()),
            _ => None,
        });
        let outputs = self.program.outputs.iter().map(|(n, _)| n.as_str());
        outputs.chain(inputs).collect::<Vec<_>>().join(", ")
    }

    /// Binds the caller's memory to an input or output from the next recording on.
    ///
    /// # Errors
    /// When there is none of that name, or the memory is too small or no storage buffer.
    pub fn bind(&mut self, name: &str, slice: BufferSlice) -> Result<()> {
        let position = self.program.buffers.iter().position(|b| match &b.origin {
            Origin::Input(n) | Origin::Output(n) => n == name,
            _ => false,
        });
        let position = position.ok_or_else(|| {
            Error::Usage(format!(
                "the plan has no output or input '{name}'; it has {}",
                self.names()
            ))
        })?;
        let before = std::mem::replace(&mut self.places[position], slice);
        let mut bound = Vec::new();
        for i in 0..self.parts.len() {
            let uses = &self.program.dispatches[i].buffers;
            if uses.contains(&BufferId(position)) {
                match self.bind_dispatch(i, self.parts[i].len()) {
                    Ok(parts) => bound.push((self.parts[i].start, parts)),
                    Err(error) => {
                        self.places[position] = before;
                        return Err(error);
                    }
                }
            }
        }
        // All or nothing: an application that was refused goes on with what it had.
        for (first, parts) in bound {
            for (i, part) in parts.into_iter().enumerate() {
                self.bound[first + i] = part;
            }
        }
        Ok(())
    }

    /// Has each recording also write an output's images into the caller's texture, as `picture` lays them out. The texture needs usage
    /// `STORAGE_BINDING`, a format of [`Texel`] and exactly the grid's size.
    ///
    /// # Errors
    /// When there is no such output, or the texture does not fit.
    pub fn bind_texture(
        &mut self,
        name: &str,
        texture: &wgpu::Texture,
        picture: Picture,
    ) -> Result<()> {
        let output = self.program.outputs.iter().find(|(n, _)| n == name);
        let Some((_, id)) = output else {
            return Err(Error::Usage(format!(
                "the plan has no output '{name}'; it has {}",
                self.names()
            )));
        };
        let ty = &self.program.buffers[id.0].ty;
        if ty.dtype != DType::F32 {
            return Err(Error::shape(
                "present",
                format!("'{name}' is {ty:?}, not f32"),
            ));
        }
        let texel = Texel::of(texture.format())?;
        let kernel = Present::new(ty.shape.count(), picture, texel)?;
        let resources = [
            exact(&kernel, std::slice::from_ref(&self.places[id.0])).remove(0),
            Resource::Texture(texture.clone()),
        ];
        let bound = self.gpu.bind_whole(&kernel, &resources)?;
        self.pictures.retain(|(n, _)| n != name);
        self.pictures.push((name.to_owned(), bound));
        Ok(())
    }

    /// Writes an input that the plan owns.
    ///
    /// # Errors
    /// When there is none of that name or the size differs.
    pub fn write(&self, name: &str, data: &Data) -> Result<()> {
        self.gpu.write(self.buffer(name)?, &data.to_device_bytes())
    }

    /// Reads an output, waiting for it.
    ///
    /// # Errors
    /// When there is none of that name or the device is lost.
    pub fn read(&self, name: &str) -> Result<Value> {
        let id = self
            .program
            .outputs
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, b)| *b);
        let id = id.ok_or_else(|| {
            Error::Usage(format!(
                "the plan has no output '{name}'; it has {}",
                self.names()
            ))
        })?;
        let data = self.read_buffers(&[id])?.remove(0);
        Value::new(self.program.buffers[id.0].ty.shape.clone(), data)
    }

    /// Reads virtual buffers.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn read_buffers(&self, ids: &[BufferId]) -> Result<Vec<Data>> {
        let exact = |id: &BufferId| {
            let bytes = self.program.buffers[id.0].ty.bytes().max(4);
            BufferSlice {
                size: bytes,
                ..self.places[id.0].clone()
            }
        };
        let bytes = self.gpu.read(&ids.iter().map(exact).collect::<Vec<_>>())?;
        Ok(ids
            .iter()
            .zip(bytes)
            .map(|(id, bytes)| {
                let ty = &self.program.buffers[id.0].ty;
                Data::from_device_bytes(ty.dtype, ty.shape.count(), &bytes)
            })
            .collect())
    }

    /// What each binding of a dispatch holds.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn read_bindings(&self, index: usize) -> Result<Vec<Data>> {
        let dispatch = &self.program.dispatches[index];
        let whole = self.read_buffers(&dispatch.buffers)?;
        let cut = |(i, (data, binding)): (usize, (Data, Binding))| {
            let first = dispatch.offsets.get(i).copied().unwrap_or(0);
            data.slice(first, binding.count)
        };
        let bindings = dispatch.kernel.bindings();
        Ok(whole
            .into_iter()
            .zip(bindings)
            .enumerate()
            .map(cut)
            .collect())
    }

    /// Fills the plan's own buffers, guards included, with a NaN that nobody computes. Inputs have to be written afterwards.
    ///
    /// # Errors
    /// Never in practice.
    pub fn poison(&self) -> Result<()> {
        for buffer in &self.own {
            let words = vec![POISON; buffer.size() as usize / 4];
            self.gpu
                .write(&buffer.into(), bytemuck::cast_slice(&words))?;
        }
        Ok(())
    }

    /// After [`Plan::poison`] and a run: whether anything wrote outside of its buffer.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn guards_intact(&self) -> Result<bool> {
        let ends = |b: &wgpu::Buffer| {
            let end = BufferSlice {
                buffer: b.clone(),
                offset: b.size() - GUARD,
                size: GUARD,
            };
            [
                BufferSlice {
                    buffer: b.clone(),
                    offset: 0,
                    size: GUARD,
                },
                end,
            ]
        };
        let ranges: Vec<BufferSlice> = self.own.iter().flat_map(ends).collect();
        let intact = |bytes: &Vec<u8>| bytes.chunks_exact(4).all(|w| w == POISON.to_le_bytes());
        Ok(self.gpu.read(&ranges)?.iter().all(intact))
    }

    /// Flops and bytes of one step.
    pub fn cost(&self) -> Cost {
        self.program
            .dispatches
            .iter()
            .fold(Cost::default(), |sum, d| {
                let cost = d.kernel.cost();
                Cost {
                    flops: sum.flops + cost.flops,
                    bytes: sum.bytes + cost.bytes,
                }
            })
    }

    /// Bytes of the plan's own buffers.
    pub fn memory(&self) -> u64 {
        self.own.iter().map(wgpu::Buffer::size).sum()
    }

    /// The dispatches in order: kernel, variant, results with their shapes, bytes, flops, slots.
    pub fn explain(&self) -> String {
        explain(&self.program, &self.slots)
    }
}

/// No segment, and no dispatch, should take longer by estimate: drivers reset a device that does not answer for about 2 s.
const LONGEST: f64 = 0.1;

/// How long the steps of one submission may take by estimate. A software adapter has no watchdog, and its threads compete with
/// the one that submits: there submissions are fewer and longer.
fn longest_submission(software: bool) -> f64 {
    if software { 1.0 } else { LONGEST }
}

/// Seconds of a dispatch at the rates of a slow device of its kind: an estimate that is too long costs a submission, one that is too
/// short may cost the driver.
fn estimate(cost: Cost, software: bool) -> f64 {
    let (flops_a_second, bytes_a_second) = if software { (2e10, 2e9) } else { (2e11, 1e10) };
    (cost.flops / flops_a_second).max(cost.bytes / bytes_a_second)
}

/// Into how many parts a dispatch of this length is cut.
fn parts_for(estimate: f64) -> usize {
    (estimate / LONGEST).ceil().max(1.0) as usize
}

/// Cuts a step where its estimate passes the longest submission's.
fn segments(estimates: &[f64]) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let (mut start, mut sum) = (0, 0.0);
    for (i, own) in estimates.iter().enumerate() {
        if i > start && sum + own > LONGEST {
            ranges.push(start..i);
            (start, sum) = (i, 0.0);
        }
        sum += own;
    }
    ranges.push(start..estimates.len());
    ranges
}
