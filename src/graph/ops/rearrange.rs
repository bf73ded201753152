//! Permute, transpose, slice and pad.

use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::op::{Argument, EvalContext, GradientAt, Lowering, MergeKey, Op};
use crate::kernels::Caps;
use crate::kernels::rearrange::Rearrange;
use crate::reference::Twin;
use crate::tensor::{DType, Data, Shape, TensorType, Value};

/// Makes axis `order[i]` of the operand axis i of the value.
#[derive(Clone, Debug)]
pub struct Permute {
    /// A permutation of the axes.
    pub order: Vec<usize>,
}

/// The window of sizes `sizes` that begins at `offsets`; what lies outside of the operand is `fill`. Slices and pads.
#[derive(Clone, Debug)]
pub struct Window {
    /// Where it begins on each axis; may be negative.
    pub offsets: Vec<isize>,
    /// Its sizes.
    pub sizes: Vec<usize>,
    /// What stands outside.
    pub fill: f32,
}

fn refuse_bytes(name: &str, x: &TensorType) -> Result<()> {
    match x.dtype {
        DType::U8 | DType::F16 => Err(Error::shape(name, "takes f32 or u32; cast bytes first")),
        _ => Ok(()),
    }
}

fn evaluate(kernel: &Rearrange, x: &Value, shape: Shape) -> Result<Value> {
    let mut buffers = [x.data.clone(), Data::U8(Vec::new())];
    kernel.reference(&mut buffers);
    let [_, out] = buffers;
    Value::new(shape, out)
}

impl Op for Permute {
    fn name(&self) -> &'static str {
        "permute"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        let [x] = inputs else {
            return Err(Error::shape(self.name(), "takes one operand"));
        };
        refuse_bytes(self.name(), x)?;
        let mut sorted = self.order.clone();
        sorted.sort_unstable();
        if sorted != (0..x.shape.rank()).collect::<Vec<_>>() {
            let why = format!(
                "{:?} is not an order of the {} axes of {:?}",
                self.order,
                x.shape.rank(),
                x.shape
            );
            return Err(Error::shape(self.name(), why));
        }
        let dims: Vec<usize> = self.order.iter().map(|&a| x.shape.dims()[a]).collect();
        Ok(TensorType {
            shape: Shape::new(dims),
            dtype: x.dtype,
        })
    }

    fn gradient<'g>(&self, at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        let mut back = vec![0; self.order.len()];
        self.order
            .iter()
            .enumerate()
            .for_each(|(i, &a)| back[a] = i);
        vec![Some(at.upstream.permute(&back))]
    }

    fn evaluate(&self, inputs: &[&Value], _cx: &EvalContext) -> Result<Value> {
        let output = self.infer(&[&inputs[0].tensor_type()])?;
        let kernel = Rearrange::permute(&inputs[0].shape, &self.order, inputs[0].dtype());
        evaluate(&kernel, inputs[0], output.shape)
    }

    fn lower(
        &self,
        _caps: &Caps,
        inputs: &[&TensorType],
        _output: &TensorType,
    ) -> Result<Lowering> {
        let kernel = Rearrange::permute(&inputs[0].shape, &self.order, inputs[0].dtype);
        Ok(Lowering::single(
            kernel,
            vec![Argument::Input(0), Argument::Output],
        ))
    }

    fn merge_key(&self) -> Option<MergeKey> {
        Some(MergeKey::of(self, self.order.clone()))
    }
}

impl Op for Window {
    fn name(&self) -> &'static str {
        "window"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        let [x] = inputs else {
            return Err(Error::shape(self.name(), "takes one operand"));
        };
        refuse_bytes(self.name(), x)?;
        if self.offsets.len() != x.shape.rank() || self.sizes.len() != x.shape.rank() {
            let why = format!(
                "{} offsets and {} sizes for the {} axes of {:?}",
                self.offsets.len(),
                self.sizes.len(),
                x.shape.rank(),
                x.shape
            );
            return Err(Error::shape(self.name(), why));
        }
        Ok(TensorType {
            shape: Shape::new(self.sizes.clone()),
            dtype: x.dtype,
        })
    }

    fn gradient<'g>(&self, at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        let back = Self {
            offsets: self.offsets.iter().map(|o| -o).collect(),
            sizes: at.inputs[0].shape().dims().to_vec(),
            fill: 0.0,
        };
        vec![Some(at.upstream.graph().apply(back, &[at.upstream]))]
    }

    fn evaluate(&self, inputs: &[&Value], _cx: &EvalContext) -> Result<Value> {
        let x = inputs[0];
        let kernel = Rearrange::window(&x.shape, &self.offsets, &self.sizes, self.fill, x.dtype());
        evaluate(&kernel, x, Shape::new(self.sizes.clone()))
    }

    fn lower(
        &self,
        _caps: &Caps,
        inputs: &[&TensorType],
        _output: &TensorType,
    ) -> Result<Lowering> {
        let x = inputs[0];
        let kernel = Rearrange::window(&x.shape, &self.offsets, &self.sizes, self.fill, x.dtype);
        Ok(Lowering::single(
            kernel,
            vec![Argument::Input(0), Argument::Output],
        ))
    }

    fn merge_key(&self) -> Option<MergeKey> {
        let Self {
            offsets,
            sizes,
            fill,
        } = self;
        let key = (offsets.clone(), sizes.clone(), fill.to_bits());
        Some(MergeKey::of(self, key))
    }
}

impl<'g> Var<'g> {
    /// Axis `order[i]` becomes axis i.
    pub fn permute(self, order: &[usize]) -> Self {
        self.graph().apply(
            Permute {
                order: order.to_vec(),
            },
            &[self],
        )
    }

    /// The last two axes exchanged.
    pub fn transpose(self) -> Self {
        let rank = self.shape().rank();
        let mut order: Vec<usize> = (0..rank).collect();
        if rank >= 2 {
            order.swap(rank - 2, rank - 1);
        }
        self.permute(&order)
    }

    /// Elements `start..end` along `axis`.
    pub fn slice(self, axis: usize, start: usize, end: usize) -> Self {
        let shape = self.shape();
        if axis >= shape.rank() || start > end || end > shape.dims()[axis] {
            let why = format!("{start}..{end} along axis {axis} is not inside of {shape:?}");
            self.graph().fail(Error::shape("slice", why));
            return self;
        }
        let mut offsets = vec![0; shape.rank()];
        let mut sizes = shape.dims().to_vec();
        offsets[axis] = start as isize;
        sizes[axis] = end - start;
        self.graph().apply(
            Window {
                offsets,
                sizes,
                fill: 0.0,
            },
            &[self],
        )
    }

    /// `before[i]` and `after[i]` elements of `fill` added along axis i.
    pub fn pad(self, before: &[usize], after: &[usize], fill: f32) -> Self {
        let shape = self.shape();
        let sizes = shape
            .dims()
            .iter()
            .zip(before.iter().zip(after))
            .map(|(d, (b, a))| d + b + a)
            .collect();
        let offsets = before.iter().map(|&b| -(b as isize)).collect();
        self.graph().apply(
            Window {
                offsets,
                sizes,
                fill,
            },
            &[self],
        )
    }
}
