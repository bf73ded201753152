//! A quantile along the last axis.

use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::op::{Argument, EvalContext, GradientAt, Lowering, MergeKey, Op, in_precision};
use crate::graph::ops::shapes;
use crate::kernels::{Caps, quantile};
use crate::real::Real;
use crate::reference;
use crate::tensor::{DType, Shape, TensorType, Value};

/// A quantile of each run along the last axis, which disappears. The gradient goes to the two neighbours that it lies between, and equals
/// share theirs.
#[derive(Clone, Debug)]
pub(crate) struct Quantile {
    /// Which, from 0 to 1; or a rank of its own.
    pub of: Of,
}

/// Which quantile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Of {
    /// This share of the elements below it.
    Ratio(f64),
    /// The element of this rank in rising order.
    Rank(usize),
}

impl Quantile {
    fn kernel(&self, caps: &Caps, inputs: &[&TensorType]) -> Result<quantile::Quantile> {
        let wrong = |why: String| Err(Error::shape("quantile", why));
        let [x] = inputs else {
            return wrong(format!("takes one operand, got {}", shapes(inputs)));
        };
        let Some((&length, outer)) = x.shape.dims().split_last() else {
            return wrong("takes an axis, got a scalar".to_owned());
        };
        if x.dtype != DType::F32 {
            return wrong(format!("takes f32, got {x:?}"));
        }
        let sizes = [outer.iter().product(), length];
        match self.of {
            Of::Ratio(ratio) => quantile::Quantile::new(caps, sizes, ratio),
            Of::Rank(rank) if rank < length => Ok(quantile::Quantile::at(caps, sizes, rank, 0.0)),
            Of::Rank(rank) => wrong(format!("rank {rank} of {length} elements")),
        }
    }
}

impl Op for Quantile {
    fn name(&self) -> &'static str {
        "quantile"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        self.kernel(&Caps::portable(), inputs)?;
        let dims = inputs[0].shape.dims();
        Ok(TensorType::f32(Shape::new(dims[..dims.len() - 1].to_vec())))
    }

    fn gradient<'g>(&self, at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        let &[x] = at.inputs else {
            return Vec::new();
        };
        let Ok(kernel) = self.kernel(&Caps::portable(), &[&x.ty()]) else {
            return vec![None];
        };
        let last = x.shape().rank() - 1;
        let mut kept = x.shape().dims().to_vec();
        kept[last] = 1;
        let column = |v: Var<'g>| v.reshape(Shape::new(kept.clone()));
        // 1 at the element of a rank, shared by its equals.
        let of_rank = |rank: usize| {
            let of = Of::Rank(rank.min(kernel.length - 1));
            let value = x.graph().apply(Quantile { of }, &[x]);
            let equal = x.equal(column(value));
            equal / column(equal.sum(&[last]))
        };
        let mut weights = of_rank(kernel.below);
        if kernel.share > 0.0 {
            weights = weights * (1.0 - kernel.share) + of_rank(kernel.below + 1) * kernel.share;
        }
        vec![Some(column(at.upstream) * weights)]
    }

    fn evaluate(&self, inputs: &[&Value], cx: &EvalContext) -> Result<Value> {
        let ty = inputs[0].tensor_type();
        let kernel = self.kernel(&Caps::portable(), &[&ty])?;
        let data = in_precision!(cx.precision, T => {
            T::into_data(reference::quantile::quantile(&kernel, T::of(&inputs[0].data)))
        });
        Value::new(self.infer(&[&ty])?.shape, data)
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _output: &TensorType) -> Result<Lowering> {
        Ok(Lowering::single(
            self.kernel(caps, inputs)?,
            vec![Argument::Input(0), Argument::Output],
        ))
    }

    fn merge_key(&self) -> Option<MergeKey> {
        let (ratio, rank) = match self.of {
            Of::Ratio(ratio) => (ratio.to_bits(), None),
            Of::Rank(rank) => (0, Some(rank)),
        };
        Some(MergeKey::of(self, (ratio, rank)))
    }
}

impl<'g> Var<'g> {
    /// The `ratio`-quantile along the last axis, which disappears: linear between neighbours in order, as PyTorch's `quantile`.
    pub fn quantile(self, ratio: f64) -> Self {
        let of = Of::Ratio(ratio);
        self.graph().apply(Quantile { of }, &[self])
    }
}
