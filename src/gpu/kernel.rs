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
        if bindings.len() as u32 > caps.storage_buffers {
            let (needed, most) = (bindings.len() as u64, u64::from(caps.storage_buffers));
            return limit(
                name.to_owned(),
                needed,
                "max_storage_buffers_per_shader_stage",
                most,
                "split the kernel",
            );
        }
        if let Some(b) = bindings.iter().find(|b| b.bytes() > caps.binding_bytes) {
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
            .map(|b| if b.access == Access::Read { 'r' } else { 'w' })
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

    /// Binds buffers to a kernel, one for each of its bindings in order. Its numbers go into a uniform buffer of its own.
    ///
    /// # Errors
    /// When a buffer is too small, the number differs, or the device refuses.
    pub fn bind(&self, kernel: &dyn Kernel, buffers: &[BufferSlice]) -> Result<Bound> {
        let exact: Vec<BufferSlice> = buffers
            .iter()
            .zip(kernel.bindings())
            // Exactly the tensor, so that a clamped access cannot reach its neighbours.
            .map(|(slice, b)| BufferSlice {
                size: slice.size.min(b.bytes().max(4)),
                ..slice.clone()
            })
            .collect();
        self.bind_whole(
            kernel,
            if exact.len() == buffers.len() {
                &exact
            } else {
                buffers
            },
        )
    }

    /// As [`Gpu::bind`], but each slice whole: what lies behind a tensor is then within the kernel's reach, which verification wants.
    ///
    /// # Errors
    /// As [`Gpu::bind`].
    pub fn bind_whole(&self, kernel: &dyn Kernel, buffers: &[BufferSlice]) -> Result<Bound> {
        let prepared = self.prepare(kernel)?;
        let bindings = kernel.bindings();
        if buffers.len() != bindings.len() {
            return Err(Error::Gpu(format!(
                "{} has {} bindings, got {} buffers",
                kernel.family(),
                bindings.len(),
                buffers.len()
            )));
        }
        for (buffer, binding) in buffers.iter().zip(&bindings) {
            if buffer.size < binding.bytes() {
                return Err(Error::Gpu(format!(
                    "{}: '{}' needs {} bytes, its buffer has {}",
                    kernel.family(),
                    binding.name,
                    binding.bytes(),
                    buffer.size
                )));
            }
        }
        let launch = kernel.launch();
        let params = self.create_uniform(&launch.params)?;
        let bind_group = self.scoped(kernel.family(), 0, || {
            let mut entries: Vec<_> = buffers
                .iter()
                .enumerate()
                .map(|(i, slice)| wgpu::BindGroupEntry {
                    binding: i as u32,
                    resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                        buffer: &slice.buffer,
                        offset: slice.offset,
                        size: std::num::NonZeroU64::new(slice.size),
                    }),
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
            pipeline: prepared.pipeline,
            bind_group,
            workgroups: launch.workgroups,
        })
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
