//! How long it takes to make kernels of a model: the training step of a U-Net of six levels, without a device.
//!
//! cargo run --release --example compile_time [runs]
//!
//! Prints the medians of several runs in milliseconds, part by part, and a hash of what was made: two versions that print the same hash
//! made the same kernels.

use std::time::{Duration, Instant};

use wgen::graph::layout::Layout;
use wgen::graph::update::{Rule, Update};
use wgen::kernels::Caps;
use wgen::models::diffusion::{Config, Diffusion, Network, unet};
use wgen::models::{DataType, Model};
use wgen::nn::init::hash;
use wgen::program::explain::explain;
use wgen::program::lower::{LowerOptions, lower};
use wgen::program::memory;
use wgen::tensor::{DType, ImageShape};

const BATCH: usize = 16;

fn model() -> wgen::Result<Diffusion> {
    let image = ImageShape {
        height: 64,
        width: 64,
        channels: 3,
    };
    let unet = unet::Config::of(image, &[128, 128, 256, 256, 512, 512], 2, &[16, 8]);
    Diffusion::new(Config::of(image, true, Network::Unet(Box::new(unet))))
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e3
}

fn main() -> wgen::Result<()> {
    let runs = std::env::args().nth(1).and_then(|n| n.parse().ok());
    let runs: usize = runs.unwrap_or(5).max(1);
    let model = model()?;
    let caps = Caps::portable();
    let layout = Layout::new(model.parameters(), caps.binding_bytes)?;
    let data = DataType {
        rows: 100,
        width: 64 * 64 * 3,
        dtype: DType::U8,
        indices: 100,
        scale: 1.0 / 255.0,
        shift: 0.0,
        classes: 0,
        cameras: None,
    };
    let phase = model.phases().swap_remove(0);
    let update = Update {
        rule: Rule::ADAM,
        max_norm: 1.0,
        ema: true,
        metrics: phase.metrics,
        set: phase.set,
        batch: BATCH,
        takes_data: phase.takes_data,
        loss_scale: false,
    };
    let options = LowerOptions {
        fuse: true,
        half: false,
    };
    let mut times: [Vec<Duration>; 4] = Default::default();
    let mut made = String::new();
    for _ in 0..runs {
        let start = Instant::now();
        let graph = model.training(0, &data, &update)?;
        let built = start.elapsed();
        let program = lower(&graph, &caps, &layout, options)?;
        let lowered = start.elapsed();
        let slots = memory::assign(&program, true);
        let assigned = start.elapsed();
        let parts = [built, lowered - built, assigned - lowered, assigned];
        for (all, part) in times.iter_mut().zip(parts) {
            all.push(part);
        }
        let launches: Vec<_> = program
            .dispatches
            .iter()
            .map(|d| d.kernel.launch())
            .collect();
        made = format!(
            "{} nodes, {} kernels, hash {:016x}",
            graph.nodes().len(),
            program.dispatches.len(),
            hash(format!("{}{launches:?}", explain(&program, &slots)).as_bytes())
        );
    }
    println!("{made}; medians of {runs} runs:");
    for (name, times) in ["graph and gradients", "lowering", "memory", "total"]
        .iter()
        .zip(&mut times)
    {
        println!("  {name:<20} {:9.2} ms", median(times));
    }
    Ok(())
}
