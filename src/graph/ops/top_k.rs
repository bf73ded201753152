//! The k largest along an axis.

use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::op::{Argument, EvalContext, GradientAt, Lowering, MergeKey, Op, in_precision};
use crate::kernels::Caps;
use crate::kernels::top_k::{self, Kept};
use crate::real::Real;
use crate::reference;
use crate::tensor::{DType, Shape, TensorType, Value};

/// Which are the `k` largest along `axis`: a mask or their positions. It has no gradient; what it selects has.
#[derive(Clone, Debug)]
pub struct TopK {
    /// The axis.
    pub axis: usize,
    /// How many.
    pub k: usize,
    /// What is given.
    pub kept: Kept,
}

impl TopK {
    fn kernel(&self, caps: &Caps, x: &TensorType) -> Result<top_k::TopK> {
        let dims = x.shape.dims();
        if x.dtype != DType::F32 || self.axis >= dims.len() {
            return Err(Error::shape(
                "top_k",
                format!("takes f32 with an axis {}, got {x:?}", self.axis),
            ));
        }
        let length = dims[self.axis];
        if self.k == 0 || self.k > length {
            return Err(Error::shape(
                "top_k",
                format!(
                    "k is {}; axis {} of {:?} has {length} elements, of which 1 to {length} can be kept",
                    self.k, self.axis, x.shape
                ),
            ));
        }
        let outer = dims[..self.axis].iter().product();
        let inner = dims[self.axis + 1..].iter().product();
        Ok(top_k::TopK::new(
            caps,
            [outer, length, inner],
            self.k,
            self.kept,
        ))
    }
}

impl Op for TopK {
    fn name(&self) -> &'static str {
        "top_k"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        self.kernel(&Caps::portable(), inputs[0])?;
        Ok(match self.kept {
            Kept::Mask => TensorType::f32(inputs[0].shape.clone()),
            Kept::Indices => {
                let mut dims = inputs[0].shape.dims().to_vec();
                dims[self.axis] = self.k;
                TensorType::u32(Shape::new(dims))
            }
        })
    }

    fn gradient<'g>(&self, _at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        vec![None]
    }

    fn evaluate(&self, inputs: &[&Value], cx: &EvalContext) -> Result<Value> {
        let ty = inputs[0].tensor_type();
        let kernel = self.kernel(&Caps::portable(), &ty)?;
        let data = in_precision!(cx.precision, T => reference::top_k::top_k(&kernel, T::of(&inputs[0].data)));
        Value::new(self.infer(&[&ty])?.shape, data)
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _output: &TensorType) -> Result<Lowering> {
        let kernel = self.kernel(caps, inputs[0])?;
        Ok(Lowering::single(
            kernel,
            vec![Argument::Input(0), Argument::Output],
        ))
    }

    fn merge_key(&self) -> Option<MergeKey> {
        let &Self { axis, k, kept } = self;
        Some(MergeKey::of(self, (axis, k, kept)))
    }
}

impl<'g> Var<'g> {
    /// 1 for each of the `k` largest along `axis`, 0 for the others; among equals the first count. No gradient.
    pub fn top_k_mask(self, axis: usize, k: usize) -> Self {
        let kept = Kept::Mask;
        self.graph().apply(TopK { axis, k, kept }, &[self])
    }

    /// Positions of the `k` largest along `axis`, the largest first, in place of that axis; u32.
    pub fn top_k_indices(self, axis: usize, k: usize) -> Self {
        let kept = Kept::Indices;
        self.graph().apply(TopK { axis, k, kept }, &[self])
    }

    /// The `k` largest along `axis`, 0 in place of the others. The gradient goes to those that were kept.
    pub fn keep_top_k(self, axis: usize, k: usize) -> Self {
        self * self.top_k_mask(axis, k)
    }
}
