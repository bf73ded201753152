//! wgen itself, so that it takes its turns with the peers.

use peer_protocol::{Case, Layout, Product, Run, serve};
use wgen::bench::{cases, models};
use wgen::gpu::{Choice, Gpu};
use wgen::kernels::conv2d::{Conv2d, Direction, Geometry};
use wgen::kernels::map::Map;
use wgen::kernels::matmul::{Layout as Operands, Matmul};
use wgen::kernels::reduce::{Combine, Reduce};
use wgen::kernels::{Access, Kernel};
use wgen::verify::cases::{Values, numbers};

/// Kernels of one case, recorded into one pass as a plan would.
fn repeat(gpu: &Gpu, kernel: &dyn Kernel) -> wgen::Result<Run> {
    let mut buffers = Vec::new();
    for (i, binding) in kernel.bindings().iter().enumerate() {
        let buffer = gpu.create_buffer(&binding.name, binding.bytes())?;
        if binding.access == Access::Read {
            let period = numbers(Values::Positive, i as u64, binding.count.min(65_537)).to_f32();
            let values: Vec<f32> = period.iter().copied().cycle().take(binding.count).collect();
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            gpu.write(&(&buffer).into(), &bytes)?;
        }
        buffers.push((&buffer).into());
    }
    let bound = gpu.bind(kernel, &buffers)?;
    let gpu = gpu.clone();
    Ok(Box::new(move |times| {
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            (0..times).for_each(|_| bound.record(&mut pass));
        }
        gpu.queue().submit([encoder.finish()]);
        gpu.wait().expect("a device");
    }))
}

fn prepare(gpu: &Gpu, case: Case) -> wgen::Result<Run> {
    let caps = gpu.caps();
    match case {
        Case::Matmul(layout, m, n, k) => {
            let operands = match layout {
                Layout::Nn => Operands::Nn,
                Layout::Nt => Operands::Nt,
                Layout::Tn => Operands::Tn,
            };
            repeat(gpu, &Matmul::new(caps, operands, 1, m, n, k)?)
        }
        Case::Add(n) => repeat(gpu, &Map::new(caps, n, cases::sum_of_two(n))),
        Case::Chain(n) => repeat(gpu, &Map::new(caps, n, cases::chain(n))),
        Case::RowSums(m, n) => repeat(gpu, &Reduce::new(caps, Combine::Sum, m, n, 1)),
        Case::ColumnSums(m, n) => repeat(gpu, &Reduce::new(caps, Combine::Sum, 1, m, n)),
        Case::Conv(product, side) => {
            let geometry = Geometry::square(16, side, 64, 64, [3, 1, 1]);
            let direction = match product {
                Product::Forward => Direction::Forward,
                Product::Input => Direction::Input,
                Product::Weight => Direction::Weight,
            };
            repeat(gpu, &Conv2d::new(caps, geometry, direction)?)
        }
        Case::DcganStep => {
            let discriminator = models::training(gpu, "gan-discriminator", Some(32), false)?;
            let generator = models::training(gpu, "gan-generator", Some(32), false)?;
            let gpu = gpu.clone();
            Ok(Box::new(move |times| {
                discriminator.rewind().expect("a device");
                for _ in 0..times {
                    discriminator.plan.run(1).expect("a device");
                    generator.plan.run(1).expect("a device");
                }
                gpu.wait().expect("a device");
            }))
        }
        Case::VaeStep | Case::DiffusionStep | Case::DiffusionSample => {
            let ready = match case {
                Case::DiffusionStep => models::training(gpu, "diffusion", Some(16), false)?,
                Case::DiffusionSample => {
                    let steps = models::steps()?;
                    let usual = steps.iter().find(|step| step.name == "diffusion");
                    models::sampling(gpu, usual.expect("one of the models"), 16)?
                }
                _ => models::training(gpu, "vae", Some(128), false)?,
            };
            let gpu = gpu.clone();
            Ok(Box::new(move |times| {
                ready.rewind().expect("a device");
                ready.plan.run(times).expect("a device");
                gpu.wait().expect("a device");
            }))
        }
    }
}

fn main() {
    let gpu = Gpu::new(&Choice::Auto).expect("an adapter");
    let who = format!(
        "wgen {} on {}",
        env!("CARGO_PKG_VERSION"),
        gpu.summary().name
    );
    serve(&who, |case| prepare(&gpu, case).ok());
}
