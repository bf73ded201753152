//! A program bound to a device and a store of parameters: what runs.
//!
//! After [`Plan::compile`] nothing is made any more: [`Plan::record`] writes dispatches into an encoder, the caller's or one of
//! [`Plan::run`]'s own. A plan is made from a [`Baked`] program and keeps nothing else: what can be exported is what runs. A [`Player`]
//! runs several in turns.
//!
//! ```
//! use wgen::graph::layout::{Init, Layout, Parameter};
//! use wgen::kernels::philox::Domain;
//! use wgen::plan::{Plan, Store, StoreOptions};
//! use wgen::program::{Flat, PlanOptions};
//! use wgen::tensor::{Data, TensorType};
//! use wgen::{Choice, Gpu, Graph};
//!
//! let graph = Graph::new(Domain::Sampling);
//! let (x, w) = (graph.input("x", TensorType::f32([4])), graph.parameter("w", [4]));
//! graph.output("y", x * w + 1.0);
//!
//! let gpu = Gpu::new(&Choice::Auto)?;
//! let layout = Layout::new(vec![Parameter::new("w", [4], Init::Constant(0.0))], gpu.caps().binding_bytes)?;
//! let store = Store::new(&gpu, layout, StoreOptions::default())?;
//! store.write(Flat::Parameters, &[vec![2.0; 4]])?;
//! let plan = Plan::compile(&graph, &store, &[], PlanOptions::default())?;
//! plan.write("x", &Data::F32(vec![0.0, 1.0, 2.0, 3.0]))?;
//! plan.run(1)?;
//! assert_eq!(plan.read("y")?.data, Data::F32(vec![1.0, 3.0, 5.0, 7.0]));
//! # Ok::<(), wgen::Error>(())
//! ```

use std::collections::HashMap;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::gpu::kernel::exact;
use crate::gpu::{Bound, BufferSlice, Gpu};
use crate::graph::Graph;
use crate::kernels::Cost;
use crate::program::baked::{Baked, Fill, Stored};
use crate::program::lower::{self, LowerOptions};
use crate::program::{BufferId, PlanOptions, Program, memory};

mod bind;
mod halves;
mod player;
mod read;
mod record;
mod renderer;
mod sampler;
mod store;

pub use player::Player;
pub use renderer::Renderer;
pub(crate) use renderer::{check_size, further};
pub use sampler::Sampler;
pub use store::{Store, StoreOptions};

/// Bytes of guard on both sides of a plan's own buffers.
const GUARD: u64 = 256;

/// Bits of a NaN that nobody computes: what guards and unwritten memory hold during verification.
pub(crate) const POISON: u32 = 0x7fc0_dead;

/// A compiled graph. See the module's text.
#[derive(Debug)]
pub struct Plan {
    gpu: Gpu,
    baked: Baked,
    places: Vec<BufferSlice>,
    /// The plan's own buffers, with guards on both sides.
    own: Vec<wgpu::Buffer>,
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
        let program = Self::lower(graph, store, options)?;
        let slots = memory::assign(&program, !options.retain);
        Self::assemble(&program, &slots, store, bindings)
    }

    /// The program that [`Plan::compile`] makes a plan of: the graph's kernels, each in the variant that the device's tuner has chosen.
    ///
    /// # Errors
    /// When the graph is not sound, a parameter is missing, or the device is lost while variants are measured.
    pub fn lower(graph: &Graph, store: &Store, options: PlanOptions) -> Result<Program> {
        let gpu = store.gpu();
        let lower_options = LowerOptions {
            fuse: options.fuse,
            half: options.half,
        };
        let caps = options.caps(gpu.caps());
        let mut program = lower::lower(graph, &caps, store.layout(), lower_options)?;
        if options.tune && !gpu.caps().software {
            for dispatch in &mut program.dispatches {
                dispatch.kernel = gpu.tuning().choose(gpu, &caps, &dispatch.kernel)?;
            }
        }
        Ok(program)
    }

    /// A plan of kernels and slots that were made elsewhere: what [`Plan::compile`] ends with, and how verification plants faults.
    ///
    /// # Errors
    /// As [`Plan::compile`].
    pub(crate) fn assemble(
        program: &Program,
        slots: &memory::Slots,
        store: &Store,
        bindings: &[(&str, BufferSlice)],
    ) -> Result<Self> {
        let gpu = store.gpu();
        let baked = program.baked(&|launch| gpu.expand(launch), slots, store.layout())?;
        Self::from_baked(baked, store, bindings)
    }

    /// A plan of a baked program. Its shaders are trusted like Rust code of the application: they may loop without end.
    ///
    /// # Errors
    /// When the program does not hang together, was made for a store of another layout, or a limit is exceeded, or the device refuses.
    pub fn from_baked(
        baked: Baked,
        store: &Store,
        bindings: &[(&str, BufferSlice)],
    ) -> Result<Self> {
        baked.check()?;
        if baked.store != Stored::of(store.layout()) {
            return Err(Error::Usage(format!(
                "the baked program is for a store of {} tensors in other places than this one's {}",
                baked.store.tensors.len(),
                store.layout().parameters.len()
            )));
        }
        let gpu = store.gpu().clone();
        let mut memory = Memory::new(&gpu, &baked, bindings)?;
        let places = memory.places(&baked, store)?;
        if let Some((name, _)) = bindings.iter().find(|(n, _)| baked.input(n).is_none()) {
            return Err(Error::Usage(format!(
                "'{name}' is bound, but the graph has no such input"
            )));
        }
        let own = memory.own;
        let mut plan = Self {
            gpu,
            baked,
            places,
            own,
            bound: Vec::new(),
            parts: Vec::new(),
            segments: Vec::new(),
            estimate: 0.0,
            pictures: Vec::new(),
        };
        plan.bind_all()?;
        plan.write_tables()?;
        plan.gpu.save_pipelines();
        Ok(plan)
    }

    /// Makes pipelines and bind groups, and cuts the step into segments.
    fn bind_all(&mut self) -> Result<()> {
        let software = self.gpu.caps().software;
        self.gpu.prepare_shaders_ahead(&self.baked.shaders);
        let mut estimates = Vec::new();
        for index in 0..self.baked.dispatches.len() {
            let estimate = record::estimate(self.baked.dispatches[index].cost, software);
            let bound = self.bind_dispatch(index, record::parts_for(estimate))?;
            let each = estimate / bound.len() as f64;
            estimates.extend(std::iter::repeat_n(each, bound.len()));
            let first = self.bound.len();
            self.bound.extend(bound);
            self.parts.push(first..self.bound.len());
        }
        self.segments = record::segments(&estimates);
        self.estimate = estimates.iter().sum();
        Ok(())
    }

    fn bind_dispatch(&self, index: usize, parts: usize) -> Result<Vec<Bound>> {
        let dispatch = &self.baked.dispatches[index];
        let shader = &self.baked.shaders[dispatch.shader];
        let ranges = dispatch.bindings.iter().map(|bound| {
            let place = &self.places[bound.buffer];
            let dtype = self.baked.buffers[bound.buffer].dtype;
            let skipped = dtype.bytes(bound.first);
            BufferSlice {
                buffer: place.buffer.clone(),
                offset: place.offset + skipped,
                size: place.size.saturating_sub(skipped),
            }
        });
        let ranges: Vec<BufferSlice> = ranges.collect();
        let resources = exact(shader, dispatch, &ranges);
        self.gpu.bind_dispatch(shader, dispatch, &resources, parts)
    }

    /// Its device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// What it runs.
    pub fn baked(&self) -> &Baked {
        &self.baked
    }

    /// The memory of a buffer of its program.
    pub fn place(&self, buffer: BufferId) -> &BufferSlice {
        &self.places[buffer.0]
    }

    /// Flops and bytes of one step.
    pub fn cost(&self) -> Cost {
        self.baked.cost()
    }

    /// Bytes of the plan's own buffers.
    pub fn memory(&self) -> u64 {
        self.own.iter().map(wgpu::Buffer::size).sum()
    }

    /// The dispatches in order: kernel, variant, results with their shapes, bytes, flops, slots.
    pub fn explain(&self) -> String {
        self.baked.explain()
    }
}

/// The buffers of a plan while it is made.
struct Memory<'a> {
    gpu: &'a Gpu,
    own: Vec<wgpu::Buffer>,
    slots: Vec<BufferSlice>,
    inputs: HashMap<String, BufferSlice>,
}

impl<'a> Memory<'a> {
    fn new(gpu: &'a Gpu, baked: &Baked, bindings: &[(&str, BufferSlice)]) -> Result<Self> {
        let inputs = bindings.iter();
        let mut memory = Self {
            gpu,
            own: Vec::new(),
            slots: Vec::new(),
            inputs: inputs.map(|(n, b)| ((*n).to_owned(), b.clone())).collect(),
        };
        for &bytes in &baked.slots {
            let slot = memory.make("slot", bytes)?;
            memory.slots.push(slot);
        }
        Ok(memory)
    }

    fn make(&mut self, label: &str, bytes: u64) -> Result<BufferSlice> {
        let size = bytes.max(16).next_multiple_of(16);
        let buffer = self.gpu.create_buffer(label, size + 2 * GUARD)?;
        self.own.push(buffer.clone());
        Ok(BufferSlice {
            buffer,
            offset: GUARD,
            size,
        })
    }

    /// The memory of each buffer of the program.
    fn places(&mut self, baked: &Baked, store: &Store) -> Result<Vec<BufferSlice>> {
        let mut places = Vec::with_capacity(baked.buffers.len());
        for buffer in &baked.buffers {
            let place = match &buffer.fill {
                Fill::Transient { slot } => slot.map(|s| self.slots[s].clone()),
                Fill::Input { name, .. } => self.inputs.get(name).cloned(),
                other => store.slice(other)?,
            };
            places.push(match (place, &buffer.fill) {
                (Some(place), _) => place,
                (None, Fill::Input { name, .. }) => {
                    let place = self.make(name, buffer.bytes)?;
                    self.inputs.insert(name.clone(), place.clone());
                    place
                }
                (None, _) => self.make("output", buffer.bytes)?,
            });
        }
        Ok(places)
    }
}
