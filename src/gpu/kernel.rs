//! From a kernel's descriptor to something that runs: pipeline, bind group, dispatch.

use super::Gpu;
use super::pipeline::Prepared;
use crate::error::{Error, Result};
use crate::kernels::{Access, Kernel};
use crate::program::baked::{Binding, Dispatch, Part, Shader, alone};

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
    /// Binds a kernel to `buffers`, one a binding in order, each exactly its tensor, so that a clamped access cannot reach a neighbour.
    /// The parameters get a uniform buffer of their own.
    ///
    /// # Errors
    /// When a buffer is too small, the number differs, or the device refuses.
    pub fn bind(&self, kernel: &dyn Kernel, buffers: &[BufferSlice]) -> Result<Bound> {
        let (shader, dispatch) = alone(kernel, &|launch| self.expand(launch))?;
        let resources = exact(&shader, &dispatch, buffers);
        self.bind_dispatch(&shader, &dispatch, &resources, 1)
            .map(only)
    }

    /// As [`Gpu::bind`], but each resource whole: what lies behind a tensor is then within the kernel's reach, which verification
    /// wants. Textures are bound here too.
    ///
    /// # Errors
    /// As [`Gpu::bind`]; also when a texture has another format or size.
    pub(crate) fn bind_whole(&self, kernel: &dyn Kernel, resources: &[Resource]) -> Result<Bound> {
        self.bind_parts(kernel, resources, 1).map(only)
    }

    /// As [`Gpu::bind_whole`], cut into up to `parts` dispatches, which together do the work.
    ///
    /// # Errors
    /// As [`Gpu::bind_whole`].
    pub(crate) fn bind_parts(
        &self,
        kernel: &dyn Kernel,
        resources: &[Resource],
        parts: usize,
    ) -> Result<Vec<Bound>> {
        let (shader, dispatch) = alone(kernel, &|launch| self.expand(launch))?;
        self.bind_dispatch(&shader, &dispatch, resources, parts)
    }

    /// Binds a dispatch of `shader` to resources in the order of its bindings, cut into up to `parts` dispatches.
    ///
    /// # Errors
    /// When a resource is not what its binding wants, the number differs, a limit is exceeded, or the device refuses.
    pub(crate) fn bind_dispatch(
        &self,
        shader: &Shader,
        dispatch: &Dispatch,
        resources: &[Resource],
        parts: usize,
    ) -> Result<Vec<Bound>> {
        self.check_limits(shader, dispatch)?;
        let prepared = self.prepare_shader(shader)?;
        let wanted = dispatch.bindings.len();
        if resources.len() != wanted || shader.bindings.len() != wanted {
            return Err(Error::Gpu(format!(
                "{} has {} bindings, got {} buffers",
                dispatch.family,
                shader.bindings.len(),
                resources.len()
            )));
        }
        let fitted = (0..wanted)
            .map(|i| {
                let binding = &shader.bindings[i];
                let bytes = binding.dtype.bytes(dispatch.bindings[i].count);
                fitting(&dispatch.family, binding, bytes, &resources[i])
            })
            .collect::<Result<Vec<_>>>()?;
        let parts = dispatch.parts(parts).into_iter();
        parts
            .map(|part| self.bound(&dispatch.family, &prepared, &fitted, &part))
            .collect()
    }

    fn bound(
        &self,
        label: &str,
        prepared: &Prepared,
        fitted: &[Fitted<'_>],
        part: &Part,
    ) -> Result<Bound> {
        let params = self.create_uniform(&part.params)?;
        let bind_group = self.scoped(label, 0, || {
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
                binding: fitted.len() as u32,
                resource: params.as_entire_binding(),
            });
            self.device().create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(label),
                layout: &prepared.layout,
                entries: &entries,
            })
        })?;
        Ok(Bound {
            pipeline: prepared.pipeline.clone(),
            bind_group,
            workgroups: part.workgroups,
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

/// Each slice cut to its tensor.
pub(crate) fn exact(
    shader: &Shader,
    dispatch: &Dispatch,
    buffers: &[BufferSlice],
) -> Vec<Resource> {
    let bytes = |i: usize| {
        let (binding, bound) = (shader.bindings.get(i)?, dispatch.bindings.get(i)?);
        Some(binding.dtype.bytes(bound.count).max(4))
    };
    let cut = |(i, slice): (usize, &BufferSlice)| {
        Resource::Buffer(BufferSlice {
            size: slice.size.min(bytes(i).unwrap_or(slice.size)),
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

/// Whether a resource can be what a binding of `bytes` bytes wants.
fn fitting<'a>(
    family: &str,
    binding: &Binding,
    bytes: u64,
    resource: &'a Resource,
) -> Result<Fitted<'a>> {
    let refuse = |message: String| {
        let name = &binding.name;
        Err(Error::Gpu(format!("{family}: '{name}' {message}")))
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
            if slice.size < bytes {
                return refuse(format!(
                    "needs {bytes} bytes, its buffer has {}",
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
