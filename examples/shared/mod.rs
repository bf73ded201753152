//! What the examples with pictures share: a trained decoder on the application's device, a quad that shows a texture, frames as PNG files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use wgen::data::digits::digits;
use wgen::files::{Config, Training};
use wgen::gpu::Gpu;
use wgen::kernels::Texel;
use wgen::kernels::present::Picture;
use wgen::models::vae::{self, Vae};
use wgen::plan::Plan;
use wgen::run::Run;
use wgen::session::Device;
use wgen::train::Trainer;

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
        let trained = Run::open(folder)?;
        if run.is_none() {
            std::fs::remove_dir_all(folder).ok();
        }
        let mut plan = trained.decoder(gpu, 1)?;

        // From here on each recording also leaves the picture in the texture: nothing crosses the bus.
        let image = trained.image();
        let (width, height) = (image.width as u32, image.height as u32);
        let texture = gpu.create_texture("picture", width, height, Texel::Rgba8Unorm)?;
        let picture = Picture::grid(image.height, image.width, image.channels, 1);
        plan.bind_texture("images", &texture, picture)?;
        let latent = trained.latent().unwrap_or(0);
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
    let config = Config::new(
        Arc::new(Vae::new(vae::Config {
            hidden: vec![256],
            latent: 8,
            ..vae::Config::mnist()
        })?),
        data.shape,
        "digits",
        Training {
            steps: Some(steps),
            epochs: None,
            ..Training::default()
        },
    );
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
        let pipeline = pipeline(device, QUAD, target);
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
        paint(encoder, target, &self.pipeline, &self.group);
    }
}

/// A pipeline that fills a target: entry points `corner` and `shade`.
pub(crate) fn pipeline(
    device: &wgpu::Device,
    source: &str,
    target: wgpu::TextureFormat,
) -> wgpu::RenderPipeline {
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some("application"),
        source: wgpu::ShaderSource::Wgsl(source.into()),
    });
    device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
        label: Some("application"),
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
    })
}

/// The application's render pass.
pub(crate) fn paint(
    encoder: &mut wgpu::CommandEncoder,
    target: &wgpu::TextureView,
    pipeline: &wgpu::RenderPipeline,
    group: &wgpu::BindGroup,
) {
    let mut pass = encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
        label: Some("application"),
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
    pass.set_pipeline(pipeline);
    pass.set_bind_group(0, group, &[]);
    pass.draw(0..4, 0..1);
}

/// A square target without a window, and its way to PNG files.
pub(crate) struct Pngs {
    target: wgpu::Texture,
    pub(crate) view: wgpu::TextureView,
    back: wgpu::Buffer,
    size: u32,
}

impl Pngs {
    pub(crate) const FORMAT: wgpu::TextureFormat = wgpu::TextureFormat::Rgba8Unorm;

    /// `size` pixels wide and high; 64 divides it, as copies want.
    pub(crate) fn new(device: &wgpu::Device, size: u32) -> Self {
        let target = device.create_texture(&wgpu::TextureDescriptor {
            label: Some("target"),
            size: wgpu::Extent3d {
                width: size,
                height: size,
                depth_or_array_layers: 1,
            },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: Self::FORMAT,
            usage: wgpu::TextureUsages::RENDER_ATTACHMENT | wgpu::TextureUsages::COPY_SRC,
            view_formats: &[],
        });
        let view = target.create_view(&Default::default());
        let back = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("frame"),
            size: u64::from(4 * size * size),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        Self {
            target,
            view,
            back,
            size,
        }
    }

    /// Ends the frame's encoder with the copy to the host.
    pub(crate) fn copy(&self, encoder: &mut wgpu::CommandEncoder) {
        encoder.copy_texture_to_buffer(
            self.target.as_image_copy(),
            wgpu::TexelCopyBufferInfo {
                buffer: &self.back,
                layout: wgpu::TexelCopyBufferLayout {
                    offset: 0,
                    bytes_per_row: Some(4 * self.size),
                    rows_per_image: None,
                },
            },
            self.target.size(),
        );
    }

    /// Waits for the submitted frame and writes it.
    pub(crate) fn save(
        &self,
        device: &wgpu::Device,
        path: &Path,
    ) -> Result<(), Box<dyn std::error::Error>> {
        self.back.map_async(wgpu::MapMode::Read, .., |_| {});
        device.poll(wgpu::PollType::wait_indefinitely())?;
        let pixels = self.back.get_mapped_range(..)?.to_vec();
        self.back.unmap();
        let picture = image::RgbaImage::from_raw(self.size, self.size, pixels)
            .ok_or("a frame has another size")?;
        Ok(picture.save(path)?)
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
