//! From a shader's description to its pipeline, made once.

use std::fmt::Write as _;

use rayon::prelude::*;

use super::buffer::binding_type;
use super::{Gpu, lock};
use crate::error::{Error, Result};
use crate::kernels::{Access, Kernel};
use crate::program::baked::{Binding, Dispatch, Matrices, Shader, alone};

/// A shader's pipeline. Kernels that differ in numbers alone share one.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
}

impl Gpu {
    /// Makes the kernel's pipeline, or finds it.
    ///
    /// # Errors
    /// When the template does not expand, the shader is not valid, or a limit is exceeded.
    pub fn prepare(&self, kernel: &dyn Kernel) -> Result<Prepared> {
        let (shader, dispatch) = alone(kernel, &|launch| self.expand(launch))?;
        self.check_limits(&shader, &dispatch)?;
        self.prepare_shader(&shader)
    }

    /// Makes the pipelines of many kernels at once, on all cores, for what will ask for them one by one. Nothing on a software adapter, which compiles at
    /// the first dispatch. What cannot be made is passed over: whoever asks for it again gets the error.
    pub(crate) fn prepare_ahead(&self, kernels: &[&dyn Kernel]) {
        if !self.caps().software {
            kernels.par_iter().for_each(|&kernel| {
                self.prepare(kernel).ok();
            });
        }
    }

    /// The same of shaders.
    pub(crate) fn prepare_shaders_ahead(&self, shaders: &[Shader]) {
        if !self.caps().software {
            shaders.par_iter().for_each(|shader| {
                self.prepare_shader(shader).ok();
            });
        }
    }

    /// Refuses a dispatch that is beyond the device.
    pub(super) fn check_limits(&self, shader: &Shader, dispatch: &Dispatch) -> Result<()> {
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
        let name = &dispatch.family;
        if let Some(wants) = shader.matrices {
            let (least, most) = (caps.subgroup_min_size, caps.subgroup_max_size);
            let fits = most <= wants.lanes
                && least >= wants.least
                && (least == wants.lanes || !wants.exactly);
            if caps.matrix_units != wants.side || !fits {
                let Matrices { side, lanes, .. } = wants;
                return Err(Error::Usage(format!(
                    "{name}: made for matrix units of {side}x{side} and subgroups of {lanes}; this device has {} and {least} to {most}",
                    caps.matrix_units
                )));
            }
        }
        let is_buffer = |b: &&Binding| !matches!(b.access, Access::Texture { .. });
        let buffers = shader.bindings.iter().filter(is_buffer).count();
        if buffers > caps.storage_buffers as usize {
            let (needed, most) = (buffers as u64, u64::from(caps.storage_buffers));
            return limit(
                name.clone(),
                needed,
                "max_storage_buffers_per_shader_stage",
                most,
                "split the kernel",
            );
        }
        let bound = shader.bindings.iter().zip(&dispatch.bindings);
        let bytes = bound
            .filter(|(b, _)| is_buffer(b))
            .map(|(b, bound)| (b, b.dtype.bytes(bound.count)));
        for (binding, bytes) in bytes {
            if bytes > caps.binding_bytes {
                let what = format!("{name}: '{}'", binding.name);
                let hint = "lower the batch or the model's sizes";
                return limit(
                    what,
                    bytes,
                    "max_storage_buffer_binding_size",
                    caps.binding_bytes,
                    hint,
                );
            }
        }
        let workgroups = dispatch.workgroups.iter();
        if let Some(&n) = workgroups.into_iter().find(|&&n| n > caps.workgroups) {
            let (needed, most) = (u64::from(n), u64::from(caps.workgroups));
            return limit(
                name.clone(),
                needed,
                "max_compute_workgroups_per_dimension",
                most,
                "lower the batch",
            );
        }
        Ok(())
    }

    /// Makes a shader's pipeline, or finds it: equal source, entry point, constants and access are one.
    ///
    /// # Errors
    /// When the shader is not valid.
    pub(crate) fn prepare_shader(&self, shader: &Shader) -> Result<Prepared> {
        let access: String = shader.bindings.iter().map(|b| letter(b.access)).collect();
        let mut key = format!("{}\n{}\n{access}\n", shader.name, shader.entry);
        for (name, value) in &shader.constants {
            let _ = writeln!(key, "{name} {value}");
        }
        key.push_str(&shader.wgsl);
        if let Some(found) = lock(&self.shared.pipelines).get(&key) {
            return Ok(found.clone());
        }
        let layout = self.layout(&access, &shader.bindings);
        let invalid = |e: Error| Error::Shader {
            name: shader.name.clone(),
            message: e.to_string(),
        };
        let constants: Vec<(&str, f64)> = shader
            .constants
            .iter()
            .map(|(name, value)| (name.as_str(), *value))
            .collect();
        let device = self.device();
        let pipeline = self
            .scoped(&shader.name, 0, || {
                let descriptor = wgpu::ShaderModuleDescriptor {
                    label: Some(&shader.name),
                    source: wgpu::ShaderSource::Wgsl(shader.wgsl.as_str().into()),
                };
                let checks = wgpu::ShaderRuntimeChecks {
                    bounds_checks: true,
                    ..wgpu::ShaderRuntimeChecks::unchecked()
                };
                // SAFETY: bounds stay checked. What is left out are loop bounds, and every loop of a kernel runs over a finite
                // range; user templates and baked programs are trusted like any Rust code of the application.
                let module = unsafe { device.create_shader_module_trusted(descriptor, checks) };
                let pipeline_layout =
                    device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                        label: None,
                        bind_group_layouts: &[Some(&layout)],
                        immediate_size: 0,
                    });
                device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                    label: Some(&shader.name),
                    layout: Some(&pipeline_layout),
                    module: &module,
                    entry_point: Some(&shader.entry),
                    compilation_options: wgpu::PipelineCompilationOptions {
                        constants: &constants,
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
}

/// What of an access a pipeline's layout depends on.
fn letter(access: Access) -> &'static str {
    match access {
        Access::Read => "r",
        Access::Write | Access::ReadWrite | Access::Atomic => "w",
        Access::Texture { texel, .. } => texel.name(),
    }
}
