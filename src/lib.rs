//! wgen trains and samples generative models (autoencoders, VAE, GAN, diffusion) with hand-written WGSL compute kernels on any GPU that
//! [`wgpu`] reaches, and can prove on that GPU that every kernel is right: each has a CPU twin.
//!
//! It is for three people.
//!
//! **You benchmark GPUs.** A kernel of your own, against what this adapter was measured to do at most, its result checked:
//!
//! ```
//! use wgen::kernels::wgsl::Wgsl;
//! use wgen::verify::cases::{Values, numbers};
//! use wgen::{Choice, Gpu, bench};
//!
//! # fn main() -> wgen::Result<()> {
//! const AXPY: &str = "
//!     @group(0) @binding(0) var<storage, read> x: array<f32>;
//!     @group(0) @binding(1) var<storage, read_write> y: array<f32>;
//!     @compute @workgroup_size(256)
//!     fn axpy(@builtin(global_invocation_id) id: vec3<u32>) { y[id.x] = 2.0 * x[id.x] + y[id.x]; }";
//! let gpu = Gpu::new(&Choice::Auto)?;
//! let n = 1 << 20;
//! let kernel = Wgsl::new("axpy", AXPY).read("x", n).read_write("y", n).flops(2.0 * n as f64);
//! let kernel = kernel.workgroups([n as u32 / 256, 1, 1]);
//! let kernel = kernel.twin(move |b| (0..n).for_each(|i| b[1][i] = 2.0 * b[0][i] + b[1][i]));
//! let inputs = [numbers(Values::Normal, 1, n), numbers(Values::Normal, 2, n)];
//! let line = bench::kernel(&gpu, &kernel, &inputs)?.lines.remove(0);
//! println!("{:.1} GB/s, {:.2} of the ceiling, right: {}", line.gbytes, line.share, line.right);
//! # assert!(line.right && line.share > 0.0);
//! # Ok(())
//! # }
//! ```
//!
//! **You draw.** A trained model's decoder in your own device, encoder and texture; nothing is made while you record:
//!
//! ```
//! use wgen::kernels::present::Picture;
//! use wgen::{Gpu, Run, wgpu};
//!
//! # fn main() -> wgen::Result<()> {
//! # let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
//! # let adapter = pollster::block_on(wgpu::util::initialize_adapter_from_env_or_default(&instance, None)).unwrap();
//! # let (device, queue) = pollster::block_on(adapter.request_device(&Default::default())).unwrap();
//! # let texture = device.create_texture(&wgpu::TextureDescriptor {
//! #     label: None, size: wgpu::Extent3d { width: 28, height: 28, depth_or_array_layers: 1 }, mip_level_count: 1, sample_count: 1,
//! #     dimension: wgpu::TextureDimension::D2, format: wgpu::TextureFormat::Rgba8Unorm,
//! #     usage: wgpu::TextureUsages::STORAGE_BINDING | wgpu::TextureUsages::TEXTURE_BINDING, view_formats: &[],
//! # });
//! # let dir = tempfile::tempdir().unwrap();
//! # let folder = dir.path().join("run");
//! # let data = wgen::data::digits::digits(64, 1);
//! # let vae = wgen::models::vae::Config { hidden: vec![16], latent: 2, ..wgen::models::vae::Config::mnist() };
//! # let config = wgen::files::Config::new(
//! #     std::sync::Arc::new(wgen::models::vae::Vae::new(vae)?), data.shape, "digits",
//! #     wgen::files::Training { steps: Some(2), epochs: None, batch: 32, ..Default::default() },
//! # );
//! # let stop = std::sync::atomic::AtomicBool::new(false);
//! # wgen::train::Trainer::new(&wgen::session::Device::Cpu, config, data, &folder, false)?.run(&stop, |_, _| Ok(()))?;
//! let gpu = Gpu::from_device(&device, &queue, &adapter.get_info())?; // it stays yours
//! let run = Run::open(&folder)?;
//! let mut decoder = run.decoder(&gpu, 1)?;
//! decoder.bind_texture("images", &texture, Picture::grid(28, 28, 1, 1))?;
//!
//! // Each frame:
//! let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
//! decoder.record(&mut encoder);
//! // ... your render pass, which samples the texture ...
//! queue.submit([encoder.finish()]);
//! # gpu.wait()?;
//! # Ok(())
//! # }
//! ```
//!
//! **You doubt.** A kernel of your own against a closure on the CPU, in `cargo test`: memory poisoned and guarded, the message naming the
//! tensor, the place, how many elements differ and the worst of them:
//!
//! ```
//! use wgen::kernels::wgsl::Wgsl;
//! use wgen::verify::{Inputs, Tolerance, against, cases::Values};
//! use wgen::{Choice, Gpu};
//!
//! # fn main() -> wgen::Result<()> {
//! const SQUARES: &str = "
//!     @group(0) @binding(0) var<storage, read> x: array<f32>;
//!     @group(0) @binding(1) var<storage, read_write> y: array<f32>;
//!     @compute @workgroup_size(64)
//!     fn squares(@builtin(global_invocation_id) id: vec3<u32>) {
//!         if id.x < 1000u { y[id.x] = x[id.x] * x[id.x] - 1.0; }
//!     }";
//! let kernel = Wgsl::new("squares", SQUARES).read("x", 1000).write("y", 1000).workgroups([16, 1, 1]);
//! let inputs = Inputs::drawn(&kernel, Values::Normal, 1);
//! let squares = |x: &[&[f64]]| vec![x[0].iter().map(|x| x * x - 1.0).collect()];
//! // The sum of two terms, neither of which is above 25.
//! against(&Gpu::new(&Choice::Auto)?, &kernel, inputs, squares, Tolerance::sum(2, 25.0))?.expect();
//! # Ok(())
//! # }
//! ```
//!
//! # Nouns
//!
//! [`Gpu`] a device, yours or wgen's; [`Kernel`] a plain description of one WGSL kernel, [`Twin`] what computes the same on the CPU; [`Op`]
//! an operator with its gradient, [`Graph`] operators applied to variables; [`Program`] a graph as kernels, without a device; [`Plan`] a
//! program on a [`Gpu`] and a [`Store`] of parameters; [`Session`](session) a device with a store behind one trait, the GPU's or the CPU's;
//! [`Model`] what builds the graphs of one kind of model, [`Run`] a trained one in a folder.
//!
//! `docs/architecture.md` in the repository shows how they hang together, `docs/embedding.md` how wgen lives in your application.

pub mod bench;
#[cfg(feature = "cli")]
pub mod cli;
pub mod data;
pub(crate) mod error;
pub mod evaluate;
pub mod files;
pub mod gpu;
pub mod graph;
pub mod kernels;
pub mod live;
pub mod models;
pub mod nn;
pub mod plan;
pub mod program;
pub mod real;
pub mod reference;
pub mod report;
pub mod run;
pub mod sanitize;
pub mod session;
pub mod tensor;
pub mod train;
pub mod verify;

pub use error::{Error, Result};
pub use gpu::{Choice, Gpu};
pub use graph::{Graph, Op, Var};
pub use kernels::Kernel;
pub use models::Model;
pub use plan::{Plan, Store};
pub use program::Program;
pub use reference::Twin;
pub use run::Run;
pub use wgpu;

/// The README's example is compiled and run with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[derive(Debug)]
pub struct ReadmeDoctests;
