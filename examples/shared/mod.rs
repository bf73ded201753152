//! What `embed` and `window` share: a trained decoder on the application's device, and a quad that shows a texture.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use wgen::data::digits::digits;
use wgen::gpu::Gpu;
use wgen::graph::layout::Layout;
use wgen::kernels::Texel;
use wgen::kernels::present::Picture;
use wgen::models::vae;
use wgen::plan::program::Flat;
use wgen::plan::{Plan, PlanOptions, Store, StoreOptions};
use wgen::train::folder::{read_config, read_weights};
use wgen::train::session::Device;
use wgen::train::{Config, ModelConfig, Trainer, Training};

/// A plan that turns one code into one picture, in a texture that a render pass samples.
pub(crate) struct Decoder {
    pub(crate) plan: Plan,
    pub(crate) texture: wgpu::Texture,
    pub(crate) latent: usize,
    /// Two directions in latent space that the application moves along.
    axes: [Vec<f32>; 2],
}

impl Decoder {
    /// The decoder of a run folder; without one a small model is trained on built-in digits first, for `steps` steps.
    pub(crate) fn new(gpu: &Gpu, run: Option<&Path>, steps: u64) -> wgen::Result<Self> {
        let trained;
        let folder = match run {
            Some(folder) => folder,
            None => {
                trained = train(gpu, steps)?;
                &trained
            }
        };
        let config = read_config(folder)?;
        let model = config.build()?;
        let layout = Layout::new(model.parameters(), gpu.caps().binding_bytes)?;
        let weights = read_weights(folder, &layout)?;
        if run.is_none() {
            std::fs::remove_dir_all(folder).ok();
        }
        let store = Store::new(gpu, layout, StoreOptions::default())?;
        store.write(Flat::Parameters, &weights)?;
        let mut plan = Plan::compile(&model.decoding(1)?, &store, &[], PlanOptions::default())?;

        // From here on each recording also leaves the picture in the texture: nothing crosses the bus.
        let image = config.image;
        let (width, height) = (image.width as u32, image.height as u32);
        let texture = gpu.create_texture("picture", width, height, Texel::Rgba8Unorm)?;
        let picture = Picture::grid(image.height, image.width, image.channels, 1);
        plan.bind_texture("images", &texture, picture)?;
        let latent = model.latent().unwrap_or(0);
        let axis = |seed: f32| -> Vec<f32> {
            // Any two directions do; these have the length of a typical code.
            (0..latent)
                .map(|i| 1.4 * (seed + i as f32 * 2.399_963).sin())
                .collect()
        };
        Ok(Self {
            plan,
            texture,
            latent,
            axes: [axis(0.3), axis(1.9)],
        })
    }

    /// The code at a place of the plane that the two directions span.
    pub(crate) fn code(&self, x: f32, y: f32) -> Vec<f32> {
        let [a, b] = &self.axes;
        a.iter().zip(b).map(|(a, b)| x * a + y * b).collect()
    }
}

fn train(gpu: &Gpu, steps: u64) -> wgen::Result<PathBuf> {
    let data = digits(4000, 1);
    let config = Config {
        model: ModelConfig::Vae(vae::Config {
            hidden: vec![256],
            latent: 8,
            ..vae::Config::mnist()
        }),
        image: data.shape,
        data: "digits".to_owned(),
        training: Training {
            steps: Some(steps),
            epochs: None,
            ..Training::default()
        },
    };
    let folder = std::env::temp_dir().join(format!("wgen-example-{}", std::process::id()));
    std::fs::remove_dir_all(&folder).ok();
    let mut trainer = Trainer::new(&Device::Gpu(gpu.clone()), config, data, &folder, false)?;
    let summary = trainer.run(&AtomicBool::new(false), |_, _| Ok(()))?;
    println!(
        "trained for {} steps in {:.1} s",
        summary.steps, summary.seconds
    );
    Ok(folder)
}

const QUAD: &str = "
@group(0) @binding(0) var picture: texture_2d<f32>;
@group(0) @binding(1) var linear: sampler;

struct Corner {
    @builtin(position) position: vec4<f32>,
    @location(0) uv: vec2<f32>,
}

@vertex
fn corner(@builtin(vertex_index) i: u32) -> Corner {
    let uv = vec2<f32>(f32(i & 1u), f32(i >> 1u));
    return Corner(vec4<f32>(uv.x * 2.0 - 1.0, 1.0 - uv.y * 2.0, 0.0, 1.0), uv);
}

@fragment
fn shade(in: Corner) -> @location(0) vec4<f32> {
    return textureSample(picture, linear, in.uv);
}
";

/// The application's own render pass: a quad with a texture on it.
pub(crate) struct Quad {
    pipeline: wgpu::RenderPipeline,
    group: wgpu::BindGroup,
}

impl Quad {
    pub(crate) fn new(
        device: &wgpu::Device,
        texture: &wgpu::Texture,
        target: wgpu::TextureFormat,
    ) -> Self {
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some("quad"),
            source: wgpu::ShaderSource::Wgsl(QUAD.into()),
        });
        let pipeline = device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
            label: Some("quad"),
            layout: None,
            vertex: wgpu::VertexState {
                module: &module,
                entry_point: Some("corner"),
                compilation_options: Default::default(),
                buffers: &[],
            },
            fragment: Some(wgpu::FragmentState {
                module: &module,
                entry_point: Some("shade"),
                compilation_options: Default::default(),
                targets: &[Some(target.into())],
            }),
            primitive: wgpu::PrimitiveState {
                topology: wgpu::PrimitiveTopology::TriangleStrip,
                ..Default::default()
            },
            depth_stencil: None,
            multisample: Default::default(),
            multiview_mask: None,
            cache: None,
        });
        let sampler = device.create_sampler(&wgpu::SamplerDescriptor {
            mag_filter: wgpu::FilterMode::Linear,
            ..Default::default()
        });
        let view = texture.create_view(&Default::default());
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("quad"),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[
                wgpu::BindGroupEntry {
                    binding: 0,
                    resource: wgpu::BindingResource::TextureView(&view),
                },
                wgpu::BindGroupEntry {
                    binding: 1,
                    resource: wgpu::BindingResource::Sampler(&sampler),
                },
            ],
        });
        Self { pipeline, group }
    }

    pub(crate) fn draw(&self, encoder: &mut wgpu::CommandEncoder, target: &wgpu::TextureView) {
        let mut pass = encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
            label: Some("quad"),
            color_attachments: &[Some(wgpu::RenderPassColorAttachment {
                view: target,
                depth_slice: None,
                resolve_target: None,
                ops: wgpu::Operations {
                    load: wgpu::LoadOp::Clear(wgpu::Color::BLACK),
                    store: wgpu::StoreOp::Store,
                },
            })],
            ..Default::default()
        });
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.group, &[]);
        pass.draw(0..4, 0..1);
    }
}

/// The value after an option on the command line.
pub(crate) fn option(name: &str) -> Option<String> {
    let mut arguments = std::env::args().skip_while(|a| a != name);
    arguments.nth(1)
}

/// A number after an option.
pub(crate) fn number(name: &str, otherwise: u64) -> u64 {
    match option(name) {
        None => otherwise,
        Some(text) => text.parse().unwrap_or_else(|_| {
            eprintln!("{name} wants a number, got '{text}'");
            std::process::exit(2)
        }),
    }
}
