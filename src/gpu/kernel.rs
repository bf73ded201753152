//! From a kernel's descriptor to something that runs: pipeline, bind group, dispatch.

use super::buffer::binding_type;
use super::{Gpu, lock};
use crate::error::{Error, Result};
use crate::kernels::{Access, Binding, Kernel, Launch};

/// A range of a buffer.
#[derive(Clone, Debug)]
pub struct BufferSlice {
    /// The buffer.
    pub buffer: wgpu::Buffer,
    /// Bytes from its start, a multiple of 256.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
}

impl From<&wgpu::Buffer> for BufferSlice {
    fn from(buffer: &wgpu::Buffer) -> Self {
        Self {
            buffer: buffer.clone(),
            offset: 0,
            size: buffer.size(),
        }
    }
}

/// What a binding is bound to.
#[derive(Clone, Debug)]
pub enum Resource {
    /// A range of a buffer.
    Buffer(BufferSlice),
    /// A texture that the kernel writes, of exactly the size it fills.
    Texture(wgpu::Texture),
}

impl From<BufferSlice> for Resource {
    fn from(slice: BufferSlice) -> Self {
        Self::Buffer(slice)
    }
}

/// A kernel's pipeline. Kernels that differ in numbers alone share one.
#[derive(Clone, Debug)]
pub struct Prepared {
    pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
}

/// A kernel with its buffers: `record` may be called any number of times and makes nothing new.
#[derive(Clone, Debug)]
pub struct Bound {
    pipeline: wgpu::ComputePipeline,
    bind_group: wgpu::BindGroup,
    workgroups: [u32; 3],
}

impl Bound {
    /// Records the dispatch into a compute pass. A kernel without work records nothing.
    pub fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        let [x, y, z] = self.workgroups;
        if x == 0 || y == 0 || z == 0 {
            return;
        }
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        pass.dispatch_workgroups(x, y, z);
    }
}

impl Gpu {
    /// Makes the kernel's pipeline, or finds it.
    ///
    /// # Errors
    /// When the template does not expand, the shader is not valid, or a limit is exceeded.
    pub fn prepare(&self, kernel: &dyn Kernel) -> Result<Prepared> {
        let bindings = kernel.bindings();
        self.check_limits(kernel, &bindings)?;
        self.prepare_launch(&kernel.launch(), &bindings)
    }

    fn check_limits(&self, kernel: &dyn Kernel, bindings: &[Binding]) -> Result<()> {
        let caps = self.caps();
        let limit =
            |what: String, needed: u64, limit_name: &'static str, limit: u64, hint: &str| {
                Err(Error::Limit {
                    what,
                    needed,
                    limit_name,
                    limit,
                    hint: hint.to_owned(),
                })
            };
        let name = kernel.family();
        let is_buffer = |b: &&Binding| !matches!(b.access, Access::Texture { .. });
        let buffers = bindings.iter().filter(is_buffer).count();
        if buffers > caps.storage_buffers as usize {
            let (needed, most) = (buffers as u64, u64::from(caps.storage_buffers));
            return limit(
                name.to_owned(),
                needed,
                "max_storage_buffers_per_shader_stage",
                most,
                "split the kernel",
            );
        }
        if let Some(b) = bindings
            .iter()
            .filter(is_buffer)
            .find(|b| b.bytes() > caps.binding_bytes)
        {
            let what = format!("{name}: '{}'", b.name);
            let hint = "lower the batch or the model's sizes";
            return limit(
                what,
                b.bytes(),
                "max_storage_buffer_binding_size",
                caps.binding_bytes,
                hint,
            );
        }
        let workgroups = kernel.launch().workgroups;
        if let Some(&n) = workgroups.iter().find(|&&n| n > caps.workgroups) {
            let (needed, most) = (u64::from(n), u64::from(caps.workgroups));
            return limit(
                name.to_owned(),
                needed,
                "max_compute_workgroups_per_dimension",
                most,
                "lower the batch",
            );
        }
        Ok(())
    }

    fn prepare_launch(&self, launch: &Launch, bindings: &[Binding]) -> Result<Prepared> {
        let access: String = bindings
            .iter()
            .map(|b| match b.access {
                Access::Read => "r",
                Access::Write | Access::ReadWrite => "w",
                Access::Texture { texel, .. } => texel.name(),
            })
            .collect();
        let key = format!(
            "{}\n{}\n{:?}\n{access}\n{}",
            launch.template, launch.entry, launch.constants, launch.context
        );
        if let Some(found) = lock(&self.shared.pipelines).get(&key) {
            return Ok(found.clone());
        }
        let source = lock(&self.shared.templates).expand(launch)?;
        let layout = self.layout(&access, bindings);
        let invalid = |e: Error| Error::Shader {
            name: launch.template.to_owned(),
            message: e.to_string(),
        };
        let device = self.device();
        let pipeline = self
            .scoped(launch.template, 0, || {
                let descriptor = wgpu::ShaderModuleDescriptor {
                    label: Some(launch.template),
                    source: wgpu::ShaderSource::Wgsl(source.into()),
                };
                let checks = wgpu::ShaderRuntimeChecks {
                    bounds_checks: true,
                    ..wgpu::ShaderRuntimeChecks::unchecked()
                };
                // SAFETY: bounds stay checked. What is left out are loop bounds, and every loop of a kernel runs over a finite
                // range; user templates are trusted like any Rust code of the application.
                let module = unsafe { device.create_shader_module_trusted(descriptor, checks) };
                let pipeline_layout =
                    device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                        label: None,
                        bind_group_layouts: &[Some(&layout)],
                        immediate_size: 0,
                    });
                device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                    label: Some(launch.template),
                    layout: Some(&pipeline_layout),
                    module: &module,
                    entry_point: Some(launch.entry),
                    compilation_options: wgpu::PipelineCompilationOptions {
                        constants: &launch.constants,
                        zero_initialize_workgroup_memory: false,
                    },
                    cache: self.shared.cache.as_ref().map(|c| &c.cache),
                })
            })
            .map_err(invalid)?;
        let prepared = Prepared { pipeline, layout };
        lock(&self.shared.pipelines).insert(key, prepared.clone());
        Ok(prepared)
    }

    fn layout(&self, access: &str, bindings: &[Binding]) -> wgpu::BindGroupLayout {
        let mut layouts = lock(&self.shared.layouts);
        layouts
            .entry(access.to_owned())
            .or_insert_with(|| {
                let entry = |binding: usize, ty: wgpu::BindingType| wgpu::BindGroupLayoutEntry {
                    binding: binding as u32,
                    visibility: wgpu::ShaderStages::COMPUTE,
                    ty,
                    count: None,
                };
                let uniform = wgpu::BindingType::Buffer {
                    ty: wgpu::BufferBindingType::Uniform,
                    has_dynamic_offset: false,
                    min_binding_size: None,
                };
                let mut entries: Vec<_> = bindings
                    .iter()
                    .enumerate()
                    .map(|(i, b)| entry(i, binding_type(b.access)))
                    .collect();
                entries.push(entry(bindings.len(), uniform));
                self.device()
                    .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                        label: Some(access),
                        entries: &entries,
                    })
            })
            .clone()
    }

    /// Binds a kernel to `buffers`, one a binding in order, each exactly its tensor, so that a clamped access cannot reach a neighbour.
    /// The parameters get a uniform buffer of their own.
    ///
    /// # Errors
    /// When a buffer is too small, the number differs, or the device refuses.
    pub fn bind(&self, kernel: &dyn Kernel, buffers: &[BufferSlice]) -> Result<Bound> {
        self.bind_parts(kernel, &exact(kernel, buffers), 1)
            .map(only)
    }

    /// As [`Gpu::bind`], but each resource whole: what lies behind a tensor is then within the kernel's reach, which verification
    /// wants. Textures are bound here too.
    ///
    /// # Errors
    /// As [`Gpu::bind`]; also when a texture has another format or size.
    pub fn bind_whole(&self, kernel: &dyn Kernel, resources: &[Resource]) -> Result<Bound> {
        self.bind_parts(kernel, resources, 1).map(only)
    }

    /// As [`Gpu::bind_whole`], cut into up to `parts` dispatches, which together do the work.
    ///
    /// # Errors
    /// As [`Gpu::bind_whole`].
    pub fn bind_parts(
        &self,
        kernel: &dyn Kernel,
        resources: &[Resource],
        parts: usize,
    ) -> Result<Vec<Bound>> {
        let prepared = self.prepare(kernel)?;
        let bindings = kernel.bindings();
        if resources.len() != bindings.len() {
            return Err(Error::Gpu(format!(
                "{} has {} bindings, got {} buffers",
                kernel.family(),
                bindings.len(),
                resources.len()
            )));
        }
        let fitted = bindings
            .iter()
            .zip(resources)
            .map(|(binding, resource)| fitting(kernel, binding, resource))
            .collect::<Result<Vec<_>>>()?;
        let launches = kernel.launch().parts(parts);
        let bound = |launch: Launch| -> Result<Bound> {
            let params = self.create_uniform(&launch.params)?;
            let bind_group = self.scoped(kernel.family(), 0, || {
                let mut entries: Vec<_> = fitted
                    .iter()
                    .enumerate()
                    .map(|(i, fitted)| wgpu::BindGroupEntry {
                        binding: i as u32,
                        resource: match fitted {
                            Fitted::Texture(view) => wgpu::BindingResource::TextureView(view),
                            Fitted::Buffer(slice) => {
                                wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                                    buffer: &slice.buffer,
                                    offset: slice.offset,
                                    size: std::num::NonZeroU64::new(slice.size),
                                })
                            }
                        },
                    })
                    .collect();
                entries.push(wgpu::BindGroupEntry {
                    binding: bindings.len() as u32,
                    resource: params.as_entire_binding(),
                });
                self.device().create_bind_group(&wgpu::BindGroupDescriptor {
                    label: Some(kernel.family()),
                    layout: &prepared.layout,
                    entries: &entries,
                })
            })?;
            Ok(Bound {
                pipeline: prepared.pipeline.clone(),
                bind_group,
                workgroups: launch.workgroups,
            })
        };
        launches.into_iter().map(bound).collect()
    }

    /// Runs a bound kernel alone: one pass, one submission. For verification and small uses; plans record many into one.
    pub fn dispatch(&self, bound: &Bound) {
        let descriptor = wgpu::CommandEncoderDescriptor::default();
        let mut encoder = self.device().create_command_encoder(&descriptor);
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            bound.record(&mut pass);
        }
        self.queue().submit([encoder.finish()]);
    }
}

/// Each slice cut to its tensor.
pub(crate) fn exact(kernel: &dyn Kernel, buffers: &[BufferSlice]) -> Vec<Resource> {
    let bindings = kernel.bindings();
    let cut = |(i, slice): (usize, &BufferSlice)| {
        let bytes = bindings.get(i).map_or(slice.size, |b| b.bytes().max(4));
        Resource::Buffer(BufferSlice {
            size: slice.size.min(bytes),
            ..slice.clone()
        })
    };
    buffers.iter().enumerate().map(cut).collect()
}

/// The one part of a kernel that was not cut.
fn only(mut parts: Vec<Bound>) -> Bound {
    parts.swap_remove(0)
}

/// A resource that was found to be what its binding wants.
enum Fitted<'a> {
    Buffer(&'a BufferSlice),
    Texture(wgpu::TextureView),
}

/// Whether a resource can be what a binding wants.
fn fitting<'a>(
    kernel: &dyn Kernel,
    binding: &Binding,
    resource: &'a Resource,
) -> Result<Fitted<'a>> {
    let refuse = |message: String| {
        Err(Error::Gpu(format!(
            "{}: '{}' {message}",
            kernel.family(),
            binding.name
        )))
    };
    match (binding.access, resource) {
        (
            Access::Texture {
                texel,
                width,
                height,
            },
            Resource::Texture(texture),
        ) => {
            let (format, size) = (texture.format(), [texture.width(), texture.height()]);
            if format != texel.format() || size != [width, height] {
                return refuse(format!(
                    "wants a {:?} texture of {width} x {height}, got {format:?} of {} x {}",
                    texel.format(),
                    size[0],
                    size[1]
                ));
            }
            if !texture
                .usage()
                .contains(wgpu::TextureUsages::STORAGE_BINDING)
            {
                return refuse("wants a texture with usage STORAGE_BINDING".to_owned());
            }
            let view = texture.create_view(&wgpu::TextureViewDescriptor::default());
            Ok(Fitted::Texture(view))
        }
        (Access::Texture { .. }, Resource::Buffer(_)) => {
            refuse("wants a texture, got a buffer".to_owned())
        }
        (_, Resource::Texture(_)) => refuse("wants a buffer, got a texture".to_owned()),
        (_, Resource::Buffer(slice)) => {
            if slice.size < binding.bytes() {
                return refuse(format!(
                    "needs {} bytes, its buffer has {}",
                    binding.bytes(),
                    slice.size
                ));
            }
            if !slice.buffer.usage().contains(wgpu::BufferUsages::STORAGE) {
                return refuse("wants a buffer with usage STORAGE".to_owned());
            }
            Ok(Fitted::Buffer(slice))
        }
    }
}
