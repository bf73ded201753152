//! An application with a device, an encoder and a render pass of its own, and no window. Each frame it records a trained decoder into
//! its encoder, moves through latent space, draws the picture on a quad and writes a PNG.
//!
//! cargo run --release --example embed -- [--run DIR] [--frames 24] [--out DIR] [--steps 600]

use std::path::PathBuf;

use wgen::gpu::Gpu;

mod shared;
use shared::{Decoder, Pngs, Quad, number, option};

const SIZE: u32 = 256;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let frames = number("--frames", 24);
    let out = PathBuf::from(option("--out").unwrap_or_else(|| "runs/embed".to_owned()));
    std::fs::create_dir_all(&out)?;

    // The application's own device. wgen does without what it lacks, and never changes it.
    let instance =
        wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let adapter = pollster::block_on(wgpu::util::initialize_adapter_from_env_or_default(
        &instance, None,
    ))?;
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
        label: Some("application"),
        required_features: adapter.features() & wgpu::Features::SUBGROUP,
        ..Default::default()
    }))?;
    println!("the application's device: {}", adapter.get_info().name);

    let gpu = Gpu::from_device(&device, &queue, &adapter.get_info())?;
    let run = option("--run").map(PathBuf::from);
    let mut decoder = Decoder::new(&gpu, run.as_deref(), number("--steps", 600))?;

    // The code comes from a buffer of the application's, the picture goes to a texture.
    let code = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("code"),
        size: 4 * decoder.latent as u64,
        usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    decoder.plan.bind("z", (&code).into())?;

    let pngs = Pngs::new(&device, SIZE);
    let quad = Quad::new(&device, &decoder.texture, Pngs::FORMAT);

    for frame in 0..frames {
        let angle = std::f32::consts::TAU * frame as f32 / frames as f32;
        queue.write_buffer(
            &code,
            0,
            bytemuck::cast_slice(&decoder.code(angle.cos(), angle.sin())),
        );
        let mut encoder = device.create_command_encoder(&Default::default());
        // Everything that wgen does in a frame: some dispatches in the application's encoder.
        decoder.plan.record(&mut encoder);
        quad.draw(&mut encoder, &pngs.view);
        pngs.copy(&mut encoder);
        queue.submit([encoder.finish()]);

        // Only because this application wants PNG files.
        pngs.save(&device, &out.join(format!("{frame:04}.png")))?;
    }
    println!("{frames} frames in {}", out.display());
    Ok(())
}
