//! A wgpu device, wgen's own or one that your application owns, and what is made on it: buffers, pipelines, kernels bound to buffers. With
//! [`crate::plan`] the only module that names wgpu.
//!
//! ```
//! use wgen::gpu::{BufferSlice, Choice, Gpu};
//! use wgen::kernels::wgsl::Wgsl;
//! use wgen::tensor::{DType, Data};
//!
//! let gpu = Gpu::new(&Choice::Auto)?;
//! println!("{}: {}", gpu.summary().name, gpu.summary().reason);
//! let x = BufferSlice::from(&gpu.create_buffer("x", 16)?);
//! gpu.write(&x, &Data::F32(vec![1.0, 2.0, 3.0, 4.0]).to_device_bytes())?;
//!
//! let source = "
//!     @group(0) @binding(0) var<storage, read_write> x: array<f32>;
//!     @compute @workgroup_size(4) fn double(@builtin(local_invocation_index) i: u32) { x[i] *= 2.0; }";
//! let double = Wgsl::new("double", source).read_write("x", 4);
//! gpu.dispatch(&gpu.bind(&double, &[x.clone()])?);
//! let bytes = gpu.read(&[x])?.remove(0);
//! assert_eq!(Data::from_device_bytes(DType::F32, 4, &bytes), Data::F32(vec![2.0, 4.0, 6.0, 8.0]));
//! # Ok::<(), wgen::Error>(())
//! ```

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};
use crate::kernels::{Caps, Launch};
use crate::program::template::Templates;

pub(crate) mod adapter;
mod buffer;
mod cache;
mod environment;
pub(crate) mod kernel;
mod pipeline;
mod texture;
pub(crate) mod timing;
pub mod tuning;

pub use adapter::{AdapterSummary, Choice, list};
pub use buffer::Readback;
pub use kernel::{Bound, BufferSlice, Resource};
pub use pipeline::Prepared;
pub use timing::Clock;

/// Whether environment variables say which adapter it has to be.
pub(crate) fn asked_by_environment() -> bool {
    ["WGPU_ADAPTER_NAME", "WGPU_BACKEND"]
        .iter()
        .any(|name| environment::variable(name).is_some())
}

/// A wgpu device and queue with their capabilities and pipelines. Cheap to clone.
#[derive(Clone)]
pub struct Gpu {
    shared: Arc<Shared>,
}

struct Shared {
    device: wgpu::Device,
    queue: wgpu::Queue,
    caps: Caps,
    summary: AdapterSummary,
    templates: Mutex<Templates>,
    /// WGSL by what it was expanded from.
    expansions: Mutex<HashMap<String, String>>,
    pipelines: Mutex<HashMap<String, Prepared>>,
    layouts: Mutex<HashMap<String, wgpu::BindGroupLayout>>,
    fault: Arc<Mutex<Option<Fault>>>,
    /// Whether the device is wgen's own: it may be polled at any time.
    owned: bool,
    cache: Option<cache::DiskCache>,
    tuning: tuning::Tuning,
}

/// What the device reported outside of a call.
#[derive(Clone, Debug)]
enum Fault {
    Lost(String),
    Uncaptured(String),
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gpu")
            .field("adapter", &self.shared.summary)
            .finish_non_exhaustive()
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gpu {
    /// Opens the adapter that `choice` names and makes a device on it, with every limit the adapter has.
    ///
    /// # Errors
    /// When no adapter answers to the choice, or the driver refuses a device.
    pub fn new(choice: &Choice) -> Result<Self> {
        let (adapter, summary) = adapter::open(choice)?;
        let (device, queue) = adapter::request(&adapter)
            .map_err(|e| Error::Gpu(format!("{} refuses a device: {e}", summary.name)))?;
        let fault = Arc::new(Mutex::new(None));
        let (uncaptured, lost) = (fault.clone(), fault.clone());
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            log::error!("GPU: {error}");
            lock(&uncaptured).get_or_insert(Fault::Uncaptured(error.to_string()));
        }));
        device.set_device_lost_callback(move |reason, message| {
            *lock(&lost) = Some(Fault::Lost(format!("{reason:?}: {message}")));
        });
        let info = adapter.get_info();
        let cache = cache::DiskCache::open(&device, &info);
        let units = adapter::matrix_units(&adapter, device.features());
        let mut gpu = Self::assemble(device, queue, &info, summary, fault, units);
        if let Some(shared) = Arc::get_mut(&mut gpu.shared) {
            (shared.owned, shared.cache) = (true, cache);
        }
        Ok(gpu)
    }

    /// Borrows a device that an application owns. It is never reconfigured, and polled only by calls that say that they wait: what it
    /// has beyond WebGPU's guaranteed limits is used, but for matrix units, of which only an adapter can tell ([`Gpu::from_adapter`]); what
    /// else it lacks wgen does without. Its error and device-lost callbacks stay the application's; dropping all that wgen made lets go of
    /// the device.
    ///
    /// # Errors
    /// When the device was requested with limits below `Limits::default()`, saying which: before anything is made on it.
    pub fn from_device(
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        info: &wgpu::AdapterInfo,
    ) -> Result<Self> {
        Self::borrowed(device, queue, info, 0)
    }

    /// As [`Gpu::from_device`], of a device whose adapter is at hand: its matrix units are used too where a plan asks for them and the device was requested
    /// with `Features::EXPERIMENTAL_COOPERATIVE_MATRIX`.
    ///
    /// # Errors
    /// As [`Gpu::from_device`].
    pub fn from_adapter(
        adapter: &wgpu::Adapter,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
    ) -> Result<Self> {
        let units = adapter::matrix_units(adapter, device.features());
        Self::borrowed(device, queue, &adapter.get_info(), units)
    }

    fn borrowed(
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        info: &wgpu::AdapterInfo,
        matrix_units: u32,
    ) -> Result<Self> {
        let caps = adapter::caps(info, device.features(), &device.limits());
        adapter::check_floor(&caps)?;
        let summary = AdapterSummary::of(info, "borrowed from the application");
        let fault = Arc::new(Mutex::new(None));
        let (device, queue) = (device.clone(), queue.clone());
        let made = Self::assemble(device, queue, info, summary, fault, matrix_units);
        Ok(made)
    }

    fn assemble(
        device: wgpu::Device,
        queue: wgpu::Queue,
        info: &wgpu::AdapterInfo,
        summary: AdapterSummary,
        fault: Arc<Mutex<Option<Fault>>>,
        matrix_units: u32,
    ) -> Self {
        let caps = Caps {
            matrix_units,
            ..adapter::caps(info, device.features(), &device.limits())
        };
        let shared = Shared {
            device,
            queue,
            caps,
            summary,
            templates: Mutex::new(Templates::embedded()),
            expansions: Mutex::default(),
            pipelines: Mutex::default(),
            layouts: Mutex::default(),
            fault,
            owned: false,
            cache: None,
            tuning: tuning::Tuning::open(tuning::Tuning::path_for(info)),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The device.
    pub fn device(&self) -> &wgpu::Device {
        &self.shared.device
    }

    /// The queue.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.shared.queue
    }

    /// Whether the device is wgen's own, not borrowed from an application.
    pub(crate) fn is_owned(&self) -> bool {
        self.shared.owned
    }

    /// What it can do.
    pub fn caps(&self) -> &Caps {
        &self.shared.caps
    }

    /// Its adapter, and why it was chosen.
    pub fn summary(&self) -> &AdapterSummary {
        &self.shared.summary
    }

    /// Adds a shader template, or replaces one: a user's own kernels, and mutants of ours. Pipelines of it are made anew.
    pub fn set_template(&self, name: &str, source: &str) {
        lock(&self.shared.templates).set(name, source);
        // What others include may be in any pipeline.
        let shared = name.starts_with("shared/");
        let of_others = |key: &str| !shared && !key.starts_with(&format!("{name}\n"));
        lock(&self.shared.expansions).retain(|key, _| of_others(key));
        lock(&self.shared.pipelines).retain(|key, _| of_others(key));
    }

    /// The error that the device reported outside of a call, if it did.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] or [`Error::Gpu`].
    pub fn check(&self) -> Result<()> {
        // The lock is not held while polling: the callback of a loss takes it.
        let uncaptured = matches!(*lock(&self.shared.fault), Some(Fault::Uncaptured(_)));
        if uncaptured {
            self.learn_of_loss();
        }
        match lock(&self.shared.fault).clone() {
            None => Ok(()),
            Some(Fault::Lost(reason)) => Err(Error::DeviceLost(reason)),
            Some(Fault::Uncaptured(message)) => Err(Error::Gpu(message)),
        }
    }

    /// What is made on a lost device is invalid, and using it an error, before the loss itself is reported by a poll. A borrowed device is
    /// not polled: its owner hears of the loss.
    fn learn_of_loss(&self) {
        if self.shared.owned {
            // What was submitted before has to end first, or to be given up.
            let wait = wgpu::PollType::Wait {
                submission_index: None,
                timeout: Some(std::time::Duration::from_secs(2)),
            };
            self.device().poll(wait).ok();
        }
    }

    /// Runs `work` in error scopes; what the device objects to becomes an error.
    pub(crate) fn scoped<T>(&self, what: &str, bytes: u64, work: impl FnOnce() -> T) -> Result<T> {
        let memory = self
            .device()
            .push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = self
            .device()
            .push_error_scope(wgpu::ErrorFilter::Validation);
        let made = work();
        let invalid = pollster::block_on(validation.pop());
        let exhausted = pollster::block_on(memory.pop());
        if let Some(error) = exhausted {
            return Err(Error::OutOfMemory {
                what: what.to_owned(),
                bytes,
                held: self.held(),
                detail: error.to_string(),
            });
        }
        if invalid.is_some() {
            self.learn_of_loss();
        }
        self.check()?;
        match invalid {
            Some(error) => Err(Error::Gpu(format!("{what}: {error}"))),
            None => Ok(made),
        }
    }

    /// Bytes of device memory that the device's allocations hold, where its backend can say.
    pub fn held(&self) -> Option<u64> {
        let report = self.device().generate_allocator_report()?;
        Some(report.total_allocated_bytes)
    }

    /// Waits until everything that was submitted is done.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn wait(&self) -> Result<()> {
        let done = self.device().poll(wgpu::PollType::wait_indefinitely());
        self.check()?;
        done.map_err(|e| Error::Gpu(e.to_string()))?;
        Ok(())
    }

    /// The WGSL that a launch expands to on this device.
    ///
    /// # Errors
    /// When there is no such template, or it uses a variable that the launch does not give.
    pub fn expand(&self, launch: &Launch) -> Result<String> {
        let key = format!("{}\n{}", launch.template, launch.context);
        if let Some(known) = lock(&self.shared.expansions).get(&key) {
            return Ok(known.clone());
        }
        let text = lock(&self.shared.templates).expand(launch)?;
        lock(&self.shared.expansions).insert(key, text.clone());
        Ok(text)
    }

    /// Lets go of pipelines that nobody uses any more, once there are more than `most`: a driver keeps some megabytes for each.
    pub(crate) fn keep_pipelines(&self, most: usize) {
        let mut pipelines = lock(&self.shared.pipelines);
        if pipelines.len() > most {
            pipelines.clear();
            lock(&self.shared.expansions).clear();
        }
    }

    /// What the tuner learned on this adapter and driver.
    pub fn tuning(&self) -> &tuning::Tuning {
        &self.shared.tuning
    }

    /// Writes new pipelines to the disk cache, where the driver has one.
    pub fn save_pipelines(&self) {
        if let Some(cache) = &self.shared.cache {
            cache.save();
        }
    }
}
