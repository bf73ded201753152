//! From a program to plain data.

use std::collections::HashMap;

use super::{
    Baked, Binding, Bound, Buffer, Dispatch, FORMAT, Fill, Matrices, Output, Shader, Stored,
};
use crate::error::{Error, Result};
use crate::graph::layout::Layout;
use crate::kernels::{self, Kernel, Launch};
use crate::program::memory::Slots;
use crate::program::{BufferSpec, Origin, Program};

impl Program {
    /// The program as plain data: its transients in `slots`, its parameters where `layout` has them, its shaders as `expand` makes WGSL of
    /// a launch ([`Templates::expand`](crate::program::template::Templates::expand), or
    /// [`Gpu::expand`](crate::gpu::Gpu::expand) where a device has templates of its own).
    ///
    /// # Errors
    /// When a template does not expand, or `slots` or `layout` are of another program.
    pub fn baked(
        &self,
        expand: &dyn Fn(&Launch) -> Result<String>,
        slots: &Slots,
        layout: &Layout,
    ) -> Result<Baked> {
        let mut shaders = Shaders::default();
        let mut dispatches = Vec::with_capacity(self.dispatches.len());
        for dispatch in &self.dispatches {
            let kernel = dispatch.kernel.as_ref();
            let (launch, bindings) = (kernel.launch(), kernel.bindings());
            let shader = shaders.find(&launch, &bindings, expand)?;
            if bindings.len() != dispatch.buffers.len() {
                return Err(Error::Usage(format!(
                    "{} has {} bindings, its dispatch {} buffers",
                    kernel.family(),
                    bindings.len(),
                    dispatch.buffers.len()
                )));
            }
            let bound = bindings.iter().zip(&dispatch.buffers).enumerate();
            let bound = bound.map(|(i, (binding, buffer))| Bound {
                buffer: buffer.0,
                first: dispatch.offsets.get(i).copied().unwrap_or(0),
                count: binding.count,
            });
            dispatches.push(described(kernel, launch, shader, bound.collect()));
        }
        let update = self.dispatches.iter().position(|d| d.group.is_none());
        let slot_of = |i: usize| slots.of.get(i).copied().flatten();
        let buffers = self.buffers.iter().enumerate();
        let buffers = buffers.map(|(i, spec)| self.buffer_of(spec, slot_of(i)));
        let outputs = self.outputs.iter().map(|output| Output {
            name: output.name.clone(),
            buffer: output.buffer.0,
            shape: output.shape.clone(),
        });
        Ok(Baked {
            format: FORMAT,
            shaders: shaders.all,
            update: update.unwrap_or(dispatches.len()),
            dispatches,
            buffers: buffers.collect(),
            slots: slots.sizes.clone(),
            outputs: outputs.collect(),
            store: Stored::of(layout),
        })
    }

    fn buffer_of(&self, spec: &BufferSpec, slot: Option<usize>) -> Buffer {
        let fill = match &spec.origin {
            Origin::Transient => Fill::Transient { slot },
            Origin::Output(name) => Fill::Output { name: name.clone() },
            Origin::Input(name) => {
                let table = self.tables.iter().find(|(n, _)| n == name);
                let words = table.map(|(_, value)| {
                    let bytes = value.data.to_device_bytes();
                    let word = |b: &[u8]| u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                    bytes.chunks_exact(4).map(word).collect()
                });
                Fill::Input {
                    name: name.clone(),
                    words,
                }
            }
            &Origin::Parameter(tensor) => Fill::Parameter { tensor },
            &Origin::Gradient(tensor) => Fill::Gradient { tensor },
            &Origin::Segment(flat, segment) => Fill::Segment { flat, segment },
            Origin::State => Fill::State,
            Origin::Schedule => Fill::Schedule,
            Origin::Table => Fill::Table,
            Origin::Control => Fill::Control,
            Origin::Ring => Fill::Ring,
        };
        Buffer {
            shape: spec.ty.shape.clone(),
            dtype: spec.ty.dtype,
            bytes: spec.ty.bytes(),
            fill,
        }
    }
}

/// A kernel by itself: its shader, and its dispatch over buffers that are its bindings.
pub(crate) fn alone(
    kernel: &dyn Kernel,
    expand: &dyn Fn(&Launch) -> Result<String>,
) -> Result<(Shader, Dispatch)> {
    let (launch, bindings) = (kernel.launch(), kernel.bindings());
    let shader = Shader::of(&launch, &bindings, expand(&launch)?);
    let bound = bindings.iter().enumerate().map(|(buffer, b)| Bound {
        buffer,
        first: 0,
        count: b.count,
    });
    Ok((shader, described(kernel, launch, 0, bound.collect())))
}

fn described(kernel: &dyn Kernel, launch: Launch, shader: usize, bindings: Vec<Bound>) -> Dispatch {
    let mut params = launch.params;
    params.resize(params.len().max(4).next_multiple_of(4), 0);
    Dispatch {
        shader,
        family: kernel.family().to_owned(),
        variant: kernel.variant(),
        cost: kernel.cost(),
        params,
        workgroups: launch.workgroups,
        grid: launch.grid,
        bindings,
    }
}

/// The distinct shaders so far.
#[derive(Default)]
struct Shaders {
    all: Vec<Shader>,
    /// By what they were expanded from, so that each is expanded once.
    known: HashMap<String, usize>,
}

impl Shaders {
    /// The position of a launch's shader.
    fn find(
        &mut self,
        launch: &Launch,
        bindings: &[kernels::Binding],
        expand: &dyn Fn(&Launch) -> Result<String>,
    ) -> Result<usize> {
        use std::fmt::Write as _;
        let mut key = format!(
            "{}\n{}\n{:?}\n{}",
            launch.template, launch.entry, launch.constants, launch.context
        );
        for b in bindings {
            // Writing to a string does not fail.
            let _ = write!(key, "\n{} {:?} {:?}", b.name, b.access, b.dtype);
        }
        if let Some(&known) = self.known.get(&key) {
            return Ok(known);
        }
        let shader = Shader::of(launch, bindings, expand(launch)?);
        let same = self.all.iter().position(|other| *other == shader);
        let position = same.unwrap_or_else(|| {
            self.all.push(shader);
            self.all.len() - 1
        });
        self.known.insert(key, position);
        Ok(position)
    }
}

impl Shader {
    fn of(launch: &Launch, bindings: &[kernels::Binding], wgsl: String) -> Self {
        let constants = launch.constants.iter();
        let described = bindings.iter().map(|b| Binding {
            name: b.name.clone(),
            access: b.access,
            dtype: b.dtype,
        });
        // A workgroup of ours that is one subgroup has so many lanes.
        let number = |name: &str| launch.context[name].as_u64().map_or(1, |n| n as u32);
        let lanes = || {
            if launch.is_cooperative() {
                1
            } else {
                number("lanes")
            }
        };
        Self {
            name: launch.template.to_owned(),
            wgsl,
            entry: launch.entry.to_owned(),
            constants: constants.map(|(n, v)| ((*n).to_owned(), *v)).collect(),
            bindings: described.collect(),
            uniform: bindings.len() as u32,
            subgroups: launch.subgroups.then(lanes),
            f16: launch.is_half(),
            matrices: launch.is_cooperative().then(|| Matrices {
                side: number("side"),
                lanes: number("lanes"),
                exactly: launch.context["surplus"] == false,
                least: number("least"),
            }),
        }
    }
}
