//! A device with a store on it: a GPU, or the CPU through the interpreter. Trainer and evaluation see no difference.
//!
//! [`Device`] is the choice, [`Device::session`] the only place where it is asked. A training step has two halves,
//! [`Executable::gradients`] and [`Executable::update`]; between them the gradients lie in [`Flat::Gradients`], for whoever wants to add
//! those of several batches up, or of several machines:
//!
//! ```
//! # use wgen::graph::Graph;
//! # use wgen::graph::layout::{Init, Layout, Parameter};
//! # use wgen::graph::update::{Rule, Update};
//! # use wgen::kernels::philox::Domain;
//! # use wgen::plan::StoreOptions;
//! # use wgen::program::Flat;
//! # use wgen::session::Device;
//! // The loss is w^2, its gradient 2 w.
//! let graph = Graph::new(Domain::Training);
//! let w = graph.parameter("w", [1]);
//! let loss = (w * w).sum_all();
//! graph.output("loss", loss);
//! for (name, gradient) in ["w"].iter().zip(graph.gradients(loss, &[w])) {
//!     graph.output_gradient(name, gradient);
//! }
//! let rule = Rule::Sgd { momentum: 0.0, decay: 0.0, nesterov: false };
//! graph.set_update(Update {
//!     rule,
//!     max_norm: 0.0,
//!     ema: false,
//!     metrics: vec!["loss".to_owned()],
//!     set: 0,
//!     batch: 1,
//!     takes_data: false,
//!     loss_scale: false,
//! });
//!
//! let device = Device::Cpu;
//! let layout = Layout::new(
//!     vec![Parameter::new("w", [1], Init::Constant(0.0))],
//!     device.caps().binding_bytes,
//! )?;
//! let session = device.session(layout, StoreOptions { training: true, ema: false })?;
//! session.write(Flat::Parameters, &[vec![3.0]])?;
//! session.write_schedule(0, &[rule.schedule_row(0, 0.25, 0.0, 1.0)], true)?;
//!
//! let mut step = session.compile(&graph, &[])?;
//! step.gradients()?;
//! let mut gradients = session.read(Flat::Gradients)?;
//! assert_eq!(gradients, [[6.0]]);
//! gradients[0][0] /= 2.0;
//! session.write(Flat::Gradients, &gradients)?;
//! step.update()?;
//! assert_eq!(session.read(Flat::Parameters)?, [[3.0 - 0.25 * 3.0]]);
//! # Ok::<(), wgen::Error>(())
//! ```

use std::any::Any;
use std::fmt::Debug;

use crate::error::{Error, Result};
use crate::gpu::{Choice, Gpu};
use crate::graph::Graph;
use crate::graph::layout::Layout;
use crate::kernels::{Caps, RING_COLUMNS, RING_ROWS, SCHEDULE_COLUMNS, state};
use crate::plan::{Store, StoreOptions};
use crate::program::Flat;
use crate::tensor::{Data, Value};

mod cpu;
pub mod feed;
pub(crate) mod gpu;

/// What computations run on.
#[derive(Clone, Debug)]
pub enum Device {
    /// A GPU.
    Gpu(Gpu),
    /// The interpreter in f32 on all cores.
    Cpu,
}

impl Device {
    /// Opens what `choice` names. `Auto` falls back to the CPU where there is no adapter, and the log says so; what the environment asks for
    /// (`WGPU_ADAPTER_NAME`, `WGPU_BACKEND`) has to be there.
    ///
    /// # Errors
    /// When a named adapter is not there, or a driver refuses.
    pub fn open(choice: &Choice) -> Result<Self> {
        match choice {
            Choice::Cpu => Ok(Self::Cpu),
            Choice::Named(_) => Gpu::new(choice).map(Self::Gpu),
            Choice::Auto => match Gpu::new(choice) {
                Ok(gpu) => Ok(Self::Gpu(gpu)),
                Err(Error::NoAdapter(why)) if !crate::gpu::asked_by_environment() => {
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

    /// A store for the parameters of `layout` on this device, all zero.
    ///
    /// # Errors
    /// When it does not fit.
    pub fn session(&self, layout: Layout, options: StoreOptions) -> Result<Box<dyn Session>> {
        Ok(match self {
            Self::Gpu(gpu) => Box::new(Store::new(gpu, layout, options)?),
            Self::Cpu => Box::new(cpu::Host::new(layout, options)),
        })
    }
}

/// Parameters and all that belongs to them, on a device. What was compiled by a session works on its store, and sees what is written
/// here in the order of the calls.
pub trait Session: Debug + Send + Sync {
    /// Where parameters lie.
    fn layout(&self) -> &Layout;

    /// All tensors of a flat buffer, in the layout's order, as they lie on the device.
    ///
    /// # Errors
    /// When there is no such buffer or the device is lost.
    fn read(&self, flat: Flat) -> Result<Vec<Vec<f32>>>;

    /// Replaces all tensors of a flat buffer.
    ///
    /// # Errors
    /// When there is no such buffer, or the number of tensors or a size differs.
    fn write(&self, flat: Flat, tensors: &[Vec<f32>]) -> Result<()>;

    /// Sets step, seed and cursor, and lets updates happen again.
    ///
    /// # Errors
    /// When the device is lost.
    fn set_state(&self, step: u64, seed: u64, cursor: u32) -> Result<()>;

    /// Moves the cursor: the place in the `index` input at which the next run's batch begins.
    ///
    /// # Errors
    /// When the device is lost.
    fn set_cursor(&self, cursor: u32) -> Result<()>;

    /// Writes schedule rows for steps from `first` on; with `current`, also as the row of the step that runs next.
    ///
    /// # Errors
    /// When the device is lost.
    fn write_schedule(
        &self,
        first: u64,
        rows: &[[f32; SCHEDULE_COLUMNS]],
        current: bool,
    ) -> Result<()>;

    /// Starts to read the ring of figures as it is after all that was run so far, without waiting.
    ///
    /// # Errors
    /// When the device is lost.
    fn begin_ring(&self) -> Result<Box<dyn RingRead>>;

    /// Uploads an input once, for any number of executables.
    ///
    /// # Errors
    /// When it does not fit.
    fn upload(&self, name: &str, value: Value) -> Result<Box<dyn Resident>>;

    /// Compiles a graph; `inputs` that are not given are written before each run.
    ///
    /// # Errors
    /// When the graph is not sound or does not fit the device, or an input is not one of the graph or of another session.
    fn compile(
        &self,
        graph: &Graph,
        inputs: &[(&str, &dyn Resident)],
    ) -> Result<Box<dyn Executable>> {
        self.compile_with(graph, inputs, false)
    }

    /// As [`Session::compile`]; with `half` activations and their gradients are stored as f16.
    ///
    /// # Errors
    /// As [`Session::compile`]; also when the device has no f16, as the CPU has none.
    fn compile_with(
        &self,
        graph: &Graph,
        inputs: &[(&str, &dyn Resident)],
        half: bool,
    ) -> Result<Box<dyn Executable>>;

    /// Computes a step's gradients once more, every value kept, and names the first result that is not finite. `None` where all are,
    /// and of a device that cannot tell: the CPU's interpreter, which the caller may ask in f64.
    ///
    /// # Errors
    /// As [`Session::compile_with`].
    fn find_fault(
        &self,
        graph: &Graph,
        inputs: &[(&str, &dyn Resident)],
        half: bool,
    ) -> Result<Option<Fault>>;
}

/// A graph ready to run in the session that compiled it.
pub trait Executable: Debug + Send + Sync {
    /// Runs it `steps` times.
    ///
    /// # Errors
    /// When the device is lost or an operator fails.
    fn run(&mut self, steps: usize) -> Result<()>;

    /// Runs the first half of a training step: forward and backward. The gradients of the parameters that the graph trains are then in
    /// the session's [`Flat::Gradients`], its metrics in the outputs. Of a tensor of state (running statistics) its next value lies
    /// there instead, which is not to be scaled or added up; with a loss scale gradients are those of the scaled loss. Step and cursor
    /// stay, so that a second call takes the same batch and noise again, unless [`Session::set_cursor`] has moved on.
    ///
    /// A graph without an update runs as a whole.
    ///
    /// # Errors
    /// As [`Executable::run`].
    fn gradients(&mut self) -> Result<()>;

    /// Runs the second half with the gradients that the session has by now and the metrics of the last [`Executable::gradients`]: norm,
    /// verdict, optimiser, moving average, counters. After `gradients` and nothing between them the same bits as `run(1)`.
    ///
    /// Nothing happens for a graph without an update.
    ///
    /// # Errors
    /// As [`Executable::run`].
    fn update(&mut self) -> Result<()>;

    /// Writes an input.
    ///
    /// # Errors
    /// When there is none of that name or the size differs.
    fn write(&mut self, name: &str, value: Value) -> Result<()>;

    /// Reads an output.
    ///
    /// # Errors
    /// When there is none of that name or the device is lost.
    fn read(&self, name: &str) -> Result<Value>;

    /// Kernel variants in order, for the record of a run.
    fn variants(&self) -> Vec<String>;

    /// Its kernels as a table for people; `None` where the graph is interpreted.
    fn explain(&self) -> Option<String>;
}

/// Data of an input, uploaded once: shared by the executables that read it.
pub trait Resident: Any + Debug + Send + Sync {
    /// Replaces it by as many elements, for all runs to come.
    ///
    /// # Errors
    /// When it does not fit.
    fn replace(&self, data: Data) -> Result<()>;
}

/// The ring of figures under way to the host.
pub trait RingRead: Debug + Send {
    /// Waits for it.
    ///
    /// # Errors
    /// When the device is lost.
    fn wait(self: Box<Self>) -> Result<Ring>;
}

/// The figures of the newest steps, and how far the device is.
#[derive(Clone, Debug, PartialEq)]
pub struct Ring {
    /// [`RING_ROWS`] rows of [`RING_COLUMNS`] figures.
    figures: Vec<f32>,
    /// The state's words: [`state`].
    state: Vec<u32>,
}

impl Ring {
    /// The figures of the device's step `step`, if it is one of the newest 1024: metrics from column 0 on, the gradient's norm
    /// in column 6.
    pub fn row(&self, step: u64) -> &[f32] {
        let row = (step % RING_ROWS as u64) as usize;
        &self.figures[row * RING_COLUMNS..][..RING_COLUMNS]
    }

    /// Steps that the device has done.
    pub fn step(&self) -> u64 {
        u64::from(self.state[state::STEP_LOW]) | u64::from(self.state[state::STEP_HIGH]) << 32
    }

    /// Whether it refused a step, and all since.
    pub fn halted(&self) -> bool {
        self.state[state::HALTED] != 0
    }
}

/// What was not finite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which tensor, and what computed it.
    pub tensor: String,
    /// What was found in it.
    pub detail: String,
}
