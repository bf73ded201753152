//! A kernel of somebody's own in plain WGSL: source, entry point, bindings by name and access, workgroups.
//!
//! ```
//! use wgen::kernels::Kernel;
//! use wgen::kernels::wgsl::Wgsl;
//!
//! let kernel = Wgsl::new("double", "
//!     @group(0) @binding(0) var<storage, read> x: array<f32>;
//!     @group(0) @binding(1) var<storage, read_write> y: array<f32>;
//!
//!     @compute @workgroup_size(64)
//!     fn double(@builtin(global_invocation_id) id: vec3<u32>) {
//!         if id.x < arrayLength(&x) { y[id.x] = 2.0 * x[id.x]; }
//!     }
//! ")
//! .read("x", 1000)
//! .write("y", 1000)
//! .workgroups([16, 1, 1]);
//! assert_eq!(kernel.bindings().len(), 2);
//! ```

use std::sync::Arc;

use super::{Access, Binding, Cost, Grid, Kernel, Launch, bytes_of};
use crate::tensor::{DType, Shape};

/// The template that is nothing but somebody's WGSL.
const TEMPLATE: &str = "shared/plain";

/// A kernel in plain WGSL. Its bindings are `@group(0)` in the order in which they are named here; parameters, where there are any, are a
/// uniform behind them. It can be compared with a closure ([`verify::against`](crate::verify::against)); with one as its twin
/// ([`Wgsl::twin`]) it can be benchmarked too, as wgen's own are.
#[derive(Clone, Debug)]
pub struct Wgsl {
    entry: &'static str,
    source: Arc<str>,
    bindings: Vec<Binding>,
    shapes: Vec<Shape>,
    constants: Vec<(&'static str, f64)>,
    params: Vec<u32>,
    workgroups: [u32; 3],
    grid: Grid,
    flops: f64,
}

impl Wgsl {
    /// A kernel with the entry point `entry`, which is also its name, without bindings yet.
    pub fn new(entry: &'static str, source: impl Into<Arc<str>>) -> Self {
        Self {
            entry,
            source: source.into(),
            bindings: Vec::new(),
            shapes: Vec::new(),
            constants: Vec::new(),
            params: Vec::new(),
            workgroups: [1; 3],
            grid: Grid::Whole,
            flops: 0.0,
        }
    }

    /// One more storage buffer.
    #[must_use]
    pub fn binding(mut self, binding: Binding) -> Self {
        self.shapes.push([binding.count].into());
        self.bindings.push(binding);
        self
    }

    /// The shape of the buffer that was named last, which has as many elements: messages name its rows and columns.
    #[must_use]
    pub fn shaped(mut self, shape: impl Into<Shape>) -> Self {
        if let Some(last) = self.shapes.last_mut() {
            *last = shape.into();
        }
        self
    }

    /// A tensor of f32 that is only read: its shape, or the number of its elements.
    #[must_use]
    pub fn read(self, name: &str, shape: impl Into<Shape>) -> Self {
        let shape = shape.into();
        self.binding(Binding::read(name, DType::F32, shape.count()))
            .shaped(shape)
    }

    /// A tensor of f32, every element of which is written and none read.
    #[must_use]
    pub fn write(self, name: &str, shape: impl Into<Shape>) -> Self {
        let shape = shape.into();
        self.binding(Binding::write(name, DType::F32, shape.count()))
            .shaped(shape)
    }

    /// A tensor of f32 that is updated in place.
    #[must_use]
    pub fn read_write(self, name: &str, shape: impl Into<Shape>) -> Self {
        let shape = shape.into();
        self.binding(Binding::read_write(name, DType::F32, shape.count()))
            .shaped(shape)
    }

    /// The value of an `override` constant.
    #[must_use]
    pub fn constant(mut self, name: &'static str, value: f64) -> Self {
        self.constants.push((name, value));
        self
    }

    /// Words of the uniform buffer, which is bound after the storage buffers.
    #[must_use]
    pub fn params(self, words: &[u32]) -> Self {
        Self {
            params: words.to_vec(),
            ..self
        }
    }

    /// Workgroups in x, y, z.
    #[must_use]
    pub fn workgroups(self, workgroups: [u32; 3]) -> Self {
        Self { workgroups, ..self }
    }

    /// How its grid may be cut and folded, if it may: it then adds a word of its [`params`](Wgsl::params) to its workgroup's number. That
    /// such dispatches together do the same work is verified.
    #[must_use]
    pub fn grid(self, grid: Grid) -> Self {
        Self { grid, ..self }
    }

    /// Floating point operations of a run, for benchmarks. Bytes are counted from the bindings.
    #[must_use]
    pub fn flops(self, flops: f64) -> Self {
        Self { flops, ..self }
    }
}

impl Kernel for Wgsl {
    fn family(&self) -> &'static str {
        self.entry
    }

    fn variant(&self) -> String {
        "plain".to_owned()
    }

    fn bindings(&self) -> Vec<Binding> {
        self.bindings.clone()
    }

    fn launch(&self) -> Launch {
        Launch {
            template: TEMPLATE,
            entry: self.entry,
            context: serde_json::json!({"wgsl": &*self.source}),
            constants: self.constants.clone(),
            params: self.params.clone(),
            workgroups: self.workgroups,
            grid: self.grid,
            subgroups: false,
        }
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: self.flops,
            bytes: bytes_of(&self.bindings),
        }
    }
}

impl Wgsl {
    /// The shapes of its bindings.
    pub(crate) fn shapes(&self) -> &[Shape] {
        &self.shapes
    }

    /// The shape of binding number `i`, which there is.
    pub(crate) fn shape(&self, i: usize) -> &Shape {
        &self.shapes[i]
    }

    /// Which of its bindings are written.
    pub(crate) fn written(&self) -> impl Iterator<Item = usize> + '_ {
        let written = |(i, b): (usize, &Binding)| (b.access != Access::Read).then_some(i);
        self.bindings.iter().enumerate().filter_map(written)
    }
}
