//! Which ray a sample belongs to.

use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::op::{Argument, EvalContext, GradientAt, Lowering, MergeKey, Op};
use crate::graph::ops::shapes;
use crate::kernels::Caps;
use crate::kernels::ray_of;
use crate::reference;
use crate::tensor::{DType, Data, TensorType, Value};

/// The ray of each sample, from where each ray's begin.
#[derive(Clone, Debug)]
pub(crate) struct RayOf {
    /// Rows for samples.
    pub samples: usize,
}

/// The rays of a `scan`'s value `[rays + 2]`.
pub(super) fn rays_of_base(op: &str, base: Option<&&TensorType>) -> Result<usize> {
    match base {
        Some(base) if base.dtype == DType::U32 => match base.shape.dims() {
            &[words] if words > 2 => return Ok(words - 2),
            _ => {}
        },
        _ => {}
    }
    let got = base.map_or_else(String::new, |b| shapes(&[b]));
    let why = format!("takes where rays begin, u32 [rays + 2] as scan gives it, got {got}");
    Err(Error::shape(op, why))
}

impl RayOf {
    fn kernel(&self, inputs: &[&TensorType]) -> Result<ray_of::RayOf> {
        Ok(ray_of::RayOf {
            rays: rays_of_base("ray_of", inputs.first())?,
            samples: self.samples,
        })
    }
}

impl Op for RayOf {
    fn name(&self) -> &'static str {
        "ray_of"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        self.kernel(inputs)?;
        Ok(TensorType::u32([self.samples]))
    }

    fn gradient<'g>(&self, _at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        vec![None]
    }

    fn evaluate(&self, inputs: &[&Value], _cx: &EvalContext) -> Result<Value> {
        let kernel = self.kernel(&[&inputs[0].tensor_type()])?;
        let rays = reference::ray_of::ray_of(&kernel, inputs[0].data.as_u32());
        Value::new([self.samples], Data::U32(rays))
    }

    fn lower(
        &self,
        _caps: &Caps,
        inputs: &[&TensorType],
        _output: &TensorType,
    ) -> Result<Lowering> {
        let kernel = self.kernel(inputs)?;
        let arguments = vec![Argument::Input(0), Argument::Output];
        Ok(Lowering::single(kernel, arguments))
    }

    fn merge_key(&self) -> Option<MergeKey> {
        let &Self { samples } = self;
        Some(MergeKey::of(self, samples))
    }
}

impl<'g> Var<'g> {
    /// The ray of each of `samples` rows, u32 `[samples]`: self is where rays begin, u32 `[rays + 2]`, as [`Var::scan`] gives it. Rows that belong to
    /// no ray have 0.
    pub fn ray_of(self, samples: usize) -> Self {
        self.graph().apply(RayOf { samples }, &[self])
    }
}
