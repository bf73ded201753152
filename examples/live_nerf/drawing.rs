//! What the application draws: a field's view by its colour and depth, and cubes of its own, in one pass with a depth buffer.

use wgen::data::scene::{Camera, Pose};

/// The application's pipelines.
pub(crate) struct Drawing {
    layout: wgpu::BindGroupLayout,
    field: wgpu::RenderPipeline,
    cubes: wgpu::RenderPipeline,
    scene: wgpu::Buffer,
    depth: wgpu::TextureView,
}

const NEAR: f64 = 0.1;
const FAR: f64 = 50.0;
const DEPTH: wgpu::TextureFormat = wgpu::TextureFormat::Depth32Float;

impl Drawing {
    pub(crate) fn new(device: &wgpu::Device, target: wgpu::TextureFormat, size: [u32; 2]) -> Self {
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some("application"),
            source: wgpu::ShaderSource::Wgsl(include_str!("drawing.wgsl").into()),
        });
        let texture = |binding| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::FRAGMENT,
            ty: wgpu::BindingType::Texture {
                sample_type: wgpu::TextureSampleType::Float { filterable: false },
                view_dimension: wgpu::TextureViewDimension::D2,
                multisampled: false,
            },
            count: None,
        };
        let uniform = wgpu::BindGroupLayoutEntry {
            binding: 2,
            visibility: wgpu::ShaderStages::VERTEX_FRAGMENT,
            ty: wgpu::BindingType::Buffer {
                ty: wgpu::BufferBindingType::Uniform,
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        };
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some("application"),
            entries: &[texture(0), texture(1), uniform],
        });
        let all = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some("application"),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = |vertex, fragment, topology| {
            device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
                label: Some("application"),
                layout: Some(&all),
                vertex: wgpu::VertexState {
                    module: &module,
                    entry_point: Some(vertex),
                    compilation_options: Default::default(),
                    buffers: &[],
                },
                fragment: Some(wgpu::FragmentState {
                    module: &module,
                    entry_point: Some(fragment),
                    compilation_options: Default::default(),
                    targets: &[Some(target.into())],
                }),
                primitive: wgpu::PrimitiveState {
                    topology,
                    ..Default::default()
                },
                depth_stencil: Some(wgpu::DepthStencilState {
                    format: DEPTH,
                    depth_write_enabled: Some(true),
                    depth_compare: Some(wgpu::CompareFunction::LessEqual),
                    stencil: Default::default(),
                    bias: Default::default(),
                }),
                multisample: Default::default(),
                multiview_mask: None,
                cache: None,
            })
        };
        let scene = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("scene"),
            size: 80,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        Self {
            field: pipeline("corner", "shade", wgpu::PrimitiveTopology::TriangleStrip),
            cubes: pipeline("cube", "flat_shade", wgpu::PrimitiveTopology::TriangleList),
            layout,
            scene,
            depth: depth_of(device, size),
        }
    }

    /// For targets of another size.
    pub(crate) fn resize(&mut self, device: &wgpu::Device, size: [u32; 2]) {
        self.depth = depth_of(device, size);
    }

    /// A view's textures.
    pub(crate) fn group(
        &self,
        device: &wgpu::Device,
        colour: &wgpu::Texture,
        depth: &wgpu::Texture,
    ) -> wgpu::BindGroup {
        let views = [colour, depth].map(|t| t.create_view(&Default::default()));
        device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("view"),
            layout: &self.layout,
            entries: &[
                wgpu::BindGroupEntry {
                    binding: 0,
                    resource: wgpu::BindingResource::TextureView(&views[0]),
                },
                wgpu::BindGroupEntry {
                    binding: 1,
                    resource: wgpu::BindingResource::TextureView(&views[1]),
                },
                wgpu::BindGroupEntry {
                    binding: 2,
                    resource: self.scene.as_entire_binding(),
                },
            ],
        })
    }

    /// From the world to the screen, for a square field of view, column after column.
    pub(crate) fn look(&self, queue: &wgpu::Queue, pose: &Pose, camera: &Camera) {
        let axes = [0, 1, 2].map(|i| pose.axis(i));
        let place = pose.position();
        let focal = 2.0 * camera.fx / camera.width as f64;
        let along = |i: usize, column: usize| match column {
            3 => -(0..3).map(|k| axes[i][k] * place[k]).sum::<f64>(),
            c => axes[i][c],
        };
        let range = FAR / (FAR - NEAR);
        let mut words = Vec::with_capacity(20);
        for column in 0..4 {
            let back = along(2, column);
            let depth = -range * back - if column == 3 { range * NEAR } else { 0.0 };
            words.extend([
                focal * along(0, column),
                focal * along(1, column),
                depth,
                -back,
            ]);
        }
        words.extend([NEAR, FAR, 0.0, 0.0]);
        let words: Vec<f32> = words.into_iter().map(|x| x as f32).collect();
        queue.write_buffer(&self.scene, 0, bytemuck::cast_slice(&words));
    }

    /// A view's textures, and the cubes before and behind what they show.
    pub(crate) fn paint(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        target: &wgpu::TextureView,
        group: &wgpu::BindGroup,
    ) {
        let mut pass = encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
            label: Some("application"),
            color_attachments: &[Some(wgpu::RenderPassColorAttachment {
                view: target,
                depth_slice: None,
                resolve_target: None,
                ops: wgpu::Operations::default(),
            })],
            depth_stencil_attachment: Some(wgpu::RenderPassDepthStencilAttachment {
                view: &self.depth,
                depth_ops: Some(wgpu::Operations {
                    load: wgpu::LoadOp::Clear(1.0),
                    store: wgpu::StoreOp::Discard,
                }),
                stencil_ops: None,
            }),
            ..Default::default()
        });
        pass.set_bind_group(0, group, &[]);
        pass.set_pipeline(&self.field);
        pass.draw(0..4, 0..1);
        pass.set_pipeline(&self.cubes);
        pass.draw(0..36, 0..6);
    }
}

fn depth_of(device: &wgpu::Device, [width, height]: [u32; 2]) -> wgpu::TextureView {
    let texture = device.create_texture(&wgpu::TextureDescriptor {
        label: Some("depth"),
        size: wgpu::Extent3d {
            width,
            height,
            depth_or_array_layers: 1,
        },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format: DEPTH,
        usage: wgpu::TextureUsages::RENDER_ATTACHMENT,
        view_formats: &[],
    });
    texture.create_view(&Default::default())
}
