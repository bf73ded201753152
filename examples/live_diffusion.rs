//! A reverse process, live: each frame the application records one reverse step of a diffusion model into its encoder, and its render pass
//! draws from the very buffer that the step wrote. In a window when there is a display, to PNGs otherwise. After the last step new noise comes;
//! where the mouse is dragged over the pictures they are drawn anew, and fit to what is left of them (inpainting). The right button brings new ones.
//! Without a display one stroke is drawn across the pictures when they are done.
//!
//! cargo run --release --example live_diffusion -- [--run DIR] [--steps 150] [--sampler unipc] [--sampling-steps 20] [--frames N] [--out DIR]
//!
//! Without --run a small model is trained on built-in digits first, for --steps steps. DIR may also be a folder that diffusers saved. --sampler is one of
//! `wgen sample --list-samplers`; without, samples are drawn as the folder says.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use wgen::data::digits::digits;
use wgen::files::{Config, Training};
use wgen::gpu::Gpu;
use wgen::models::diffusion::inpainting::{Inpainting, KNOWN, MASK};
use wgen::models::diffusion::samplers::SamplerSettings;
use wgen::models::diffusion::{Config as Diffusing, Diffusion, Network, unet};
use wgen::plan::{Plan, Sampler};
use wgen::run::Run;
use wgen::session::Device;
use wgen::tensor::ImageShape;
use wgen::train::Trainer;

#[allow(dead_code, reason = "this example has a model of its own")]
mod shared;
#[path = "shared/window.rs"]
mod window;
use shared::{Pngs, number, option, paint, pipeline};
use window::{Content, Failure, Pointer};

/// Images beside each other, and pixels of the picture that is saved.
const SIDE: u32 = 4;
const SIZE: u32 = 512;

const DRAW: &str = "
struct Grid { side: u32, height: u32, width: u32, channels: u32 }
@group(0) @binding(0) var<storage, read> images: array<f32>;
@group(0) @binding(1) var<uniform> grid: Grid;
@group(0) @binding(2) var<storage, read> known: array<f32>;
@group(0) @binding(3) var<storage, read> mask: array<f32>;

struct Corner {
    @builtin(position) position: vec4<f32>,
    @location(0) uv: vec2<f32>,
}

@vertex
fn corner(@builtin(vertex_index) i: u32) -> Corner {
    let uv = vec2<f32>(f32(i & 1u), f32(i >> 1u));
    return Corner(vec4<f32>(uv.x * 2.0 - 1.0, 1.0 - uv.y * 2.0, 0.0, 1.0), uv);
}

// Of what is kept the picture, not what the process has of it under its noise.
fn shown(i: u32) -> f32 {
    return mix(images[i], known[i], mask[i]);
}

// The images lie as wgen has them: [image, row, column, channel].
@fragment
fn shade(in: Corner) -> @location(0) vec4<f32> {
    let place = min(in.uv, vec2<f32>(0.99999)) * f32(grid.side);
    let cell = vec2<u32>(place);
    let pixel = vec2<u32>(fract(place) * vec2<f32>(f32(grid.width), f32(grid.height)));
    let image = cell.y * grid.side + cell.x;
    let first = ((image * grid.height + pixel.y) * grid.width + pixel.x) * grid.channels;
    let last = grid.channels - 1u;
    return vec4<f32>(shown(first), shown(first + min(1u, last)), shown(first + min(2u, last)), 1.0);
}
";

/// The sampler on the application's device, and the application's pipeline that draws its buffer.
struct Live {
    sampler: Sampler,
    pipeline: wgpu::RenderPipeline,
    group: wgpu::BindGroup,
    image: ImageShape,
    seed: u64,
    /// How much of each value is kept: 1, and 0 where the mouse was.
    mask: Vec<f32>,
    /// Whether the mouse was anywhere since the process began.
    marked: bool,
    /// Whether there are pictures that are kept, and whether they are complete.
    kept: bool,
    complete: bool,
}

impl Live {
    fn new(gpu: &Gpu, target: wgpu::TextureFormat) -> Result<Self, Failure> {
        let trained;
        let given = option("--run").map(PathBuf::from);
        let folder: &Path = match &given {
            Some(folder) => folder,
            None => {
                trained = train(gpu, number("--steps", 150))?;
                &trained
            }
        };
        let run = Run::open(folder)?;
        if given.is_none() {
            std::fs::remove_dir_all(folder).ok();
        }
        let usual = match option("--sampler") {
            Some(name) => run.settings_of_sampler(&name)?,
            None => run.sampler_settings().cloned().unwrap_or_default(),
        };
        let settings = SamplerSettings {
            steps: number("--sampling-steps", usual.steps as u64) as usize,
            ..usual
        };
        println!("{}, {} steps", settings.sampler, settings.steps);
        let run = run.with_sampler_settings(&settings)?;
        // Nothing is known until it is given: the sampler as it would be without.
        let model = run.model().as_any().downcast_ref::<Diffusion>();
        if model.is_some_and(|m| m.low_res().is_some()) {
            return Err(
                "a model of super-resolution makes pictures of small ones, which nobody draws here"
                    .into(),
            );
        }
        let run = run.inpainting(Inpainting::default())?;
        let mut sampler = run.sampler(gpu, (SIDE * SIDE) as usize)?;
        sampler.begin(1, 0, None)?;
        let (pipeline, group) = drawing(gpu.device(), sampler.plan(), run.image(), target)?;
        Ok(Self {
            sampler,
            pipeline,
            group,
            image: run.image(),
            seed: 1,
            mask: vec![1.0; (SIDE * SIDE) as usize * run.image().count()],
            marked: false,
            kept: false,
            complete: false,
        })
    }

    /// A touch of the brush at a place of the window, both from 0 to 1: what lies under it is drawn anew.
    fn mark(&mut self, u: f32, v: f32) {
        let ImageShape {
            height,
            width,
            channels,
        } = self.image;
        let side = SIDE as f32;
        let place = |x: f32| (x * side).clamp(0.0, side - 0.001);
        let (x, y) = (place(u), place(v));
        let picture = (y as usize * SIDE as usize + x as usize) * self.image.count();
        let at = [y.fract() * height as f32, x.fract() * width as f32];
        let radius = height.max(width) as f32 / 7.0;
        for (i, value) in self.mask[picture..picture + self.image.count()]
            .iter_mut()
            .enumerate()
        {
            let pixel = i / channels;
            let (row, column) = ((pixel / width) as f32, (pixel % width) as f32);
            if (row + 0.5 - at[0]).hypot(column + 0.5 - at[1]) < radius {
                *value = 0.0;
            }
        }
        self.marked = true;
    }

    /// New pictures everywhere.
    fn renew(&mut self) -> Result<(), Failure> {
        self.sampler.give(MASK, &vec![0.0; self.mask.len()])?;
        self.mask.fill(1.0);
        (self.marked, self.kept, self.complete) = (false, false, false);
        self.begin()
    }

    fn begin(&mut self) -> Result<(), Failure> {
        self.seed += 1;
        Ok(self.sampler.begin(self.seed, 0, None)?)
    }

    /// What is shown now becomes what is known: on the device, from the sampler's output to its input.
    fn keep(&mut self, encoder: &mut wgpu::CommandEncoder) -> Result<(), Failure> {
        let plan = self.sampler.plan();
        let (images, known) = (plan.buffer("images")?, plan.buffer(KNOWN)?);
        encoder.copy_buffer_to_buffer(
            &images.buffer,
            images.offset,
            &known.buffer,
            known.offset,
            Some(images.size),
        );
        self.kept = true;
        Ok(())
    }
}

/// A pipeline that reads the plan's output where it lies.
fn drawing(
    device: &wgpu::Device,
    plan: &Plan,
    image: ImageShape,
    target: wgpu::TextureFormat,
) -> Result<(wgpu::RenderPipeline, wgpu::BindGroup), Failure> {
    let pipeline = pipeline(device, DRAW, target);
    let words = [
        SIDE,
        image.height as u32,
        image.width as u32,
        image.channels as u32,
    ];
    let grid = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("grid"),
        size: 16,
        usage: wgpu::BufferUsages::UNIFORM,
        mapped_at_creation: true,
    });
    grid.get_mapped_range_mut(..)?
        .copy_from_slice(bytemuck::cast_slice(&words));
    grid.unmap();
    let buffer = |binding: u32, name: &str| -> Result<wgpu::BindGroupEntry<'_>, Failure> {
        let slice = plan.buffer(name)?;
        Ok(wgpu::BindGroupEntry {
            binding,
            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer: &slice.buffer,
                offset: slice.offset,
                size: std::num::NonZeroU64::new(slice.size),
            }),
        })
    };
    let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some("images"),
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[
            buffer(0, "images")?,
            wgpu::BindGroupEntry {
                binding: 1,
                resource: grid.as_entire_binding(),
            },
            buffer(2, KNOWN)?,
            buffer(3, MASK)?,
        ],
    });
    Ok((pipeline, group))
}

/// A small U-Net on built-in digits.
fn train(gpu: &Gpu, steps: u64) -> wgen::Result<PathBuf> {
    let data = digits(4000, 1);
    let unet = unet::Config {
        norm_num_groups: 4,
        attention_head_dim: Some(16),
        ..unet::Config::of(data.shape, &[16, 32], 1, &[])
    };
    let model = Diffusing::of(data.shape, true, Network::Unet(Box::new(unet)));
    let config = Config::new(
        Arc::new(Diffusion::new(model)?),
        data.shape,
        "digits",
        Training {
            steps: Some(steps),
            epochs: None,
            batch: 16,
            ema: Some(0.99),
            ..Training::default()
        },
    );
    let folder = std::env::temp_dir().join(format!("wgen-live-{}", std::process::id()));
    std::fs::remove_dir_all(&folder).ok();
    let mut trainer = Trainer::new(&Device::Gpu(gpu.clone()), config, data, &folder, false)?;
    let summary = trainer.run(&AtomicBool::new(false), |_, _| Ok(()))?;
    println!(
        "trained for {} steps in {:.1} s",
        summary.steps, summary.seconds
    );
    Ok(folder)
}

impl Content for Live {
    fn new(gpu: Gpu, target: wgpu::TextureFormat, _size: [u32; 2]) -> Result<Self, Failure> {
        Self::new(&gpu, target)
    }

    fn pointed(&mut self, pointer: &Pointer) -> Result<(), Failure> {
        if pointer.right {
            self.renew()?;
        }
        if pointer.left {
            let [u, v] = pointer.at.map(|x| x as f32);
            self.mark(u, v);
        }
        Ok(())
    }

    /// One reverse step, and the picture of where the process stands, into the application's encoder.
    fn record(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        target: &wgpu::TextureView,
    ) -> Result<(), Failure> {
        let done = self.sampler.is_done();
        if self.marked && (self.kept || done) {
            if !self.kept {
                self.keep(encoder)?;
            }
            self.sampler.give(MASK, &self.mask)?;
            (self.marked, self.complete) = (false, false);
            self.begin()?;
        } else if done && !self.kept {
            self.begin()?;
        } else if done && !self.complete {
            self.keep(encoder)?;
            self.mask.fill(1.0);
            self.sampler.give(MASK, &self.mask)?;
            self.complete = true;
        }
        if !self.complete {
            self.sampler.record(encoder);
        }
        paint(encoder, target, &self.pipeline, &self.group);
        Ok(())
    }
}

fn headless() -> Result<(), Failure> {
    let frames = number("--frames", 50);
    let out = PathBuf::from(option("--out").unwrap_or_else(|| "runs/live".to_owned()));
    std::fs::create_dir_all(&out)?;
    let (device, queue, gpu) = window::headless()?;
    let mut live = Live::new(&gpu, Pngs::FORMAT)?;
    let pngs = Pngs::new(&device, SIZE);
    for frame in 0..frames {
        if live.complete {
            live.renew()?;
        }
        if live.sampler.is_done() && !live.kept {
            for i in 0..=100 {
                let along = i as f32 / 100.0;
                live.mark(along, 0.25 + 0.5 * along);
            }
        }
        let mut encoder = device.create_command_encoder(&Default::default());
        live.record(&mut encoder, &pngs.view)?;
        pngs.copy(&mut encoder);
        queue.submit([encoder.finish()]);
        // Only because this application wants PNG files.
        pngs.save(&device, &out.join(format!("{frame:04}.png")))?;
    }
    println!("{frames} frames in {}", out.display());
    Ok(())
}

fn main() -> Result<(), Failure> {
    match window::windowed::<Live>("wgen: a reverse process", SIZE, number("--frames", 0))? {
        Some((_, drawn)) => println!("{drawn} frames drawn"),
        None => headless()?,
    }
    Ok(())
}
