//! Samples along rays where earlier ones weigh most.

use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::op::{Argument, EvalContext, GradientAt, Lowering, MergeKey, Op, in_precision};
use crate::graph::ops::shapes;
use crate::kernels::Caps;
use crate::kernels::sample_pdf;
use crate::real::Real;
use crate::reference;
use crate::tensor::{TensorType, Value};

/// Depths `[rays, samples]` and `count` more, by weights `[rays, samples]` and where they are given by uniforms `[rays, count]`. It has no
/// gradient.
#[derive(Clone, Debug)]
pub(crate) struct SamplePdf {
    /// How many more.
    pub count: usize,
}

impl SamplePdf {
    fn kernel(&self, caps: &Caps, inputs: &[&TensorType]) -> Result<sample_pdf::SamplePdf> {
        let count = self.count;
        let (given, mut wanted) = (inputs.len() == 3, "z [rays, samples]".to_owned());
        if let Some(&[rays, samples]) = inputs.first().map(|t| t.shape.dims()) {
            let coarse = TensorType::f32([rays, samples]);
            let mut types = vec![coarse.clone(), coarse];
            if given {
                types.push(TensorType::f32([rays, count]));
            }
            if inputs.len() == types.len() && inputs.iter().zip(&types).all(|(a, b)| *a == b) {
                return sample_pdf::SamplePdf::new(caps, rays, samples, count, given);
            }
            wanted = shapes(&types.iter().collect::<Vec<_>>());
        }
        Err(Error::shape(
            "sample_pdf",
            format!("takes f32 {wanted}, got {}", shapes(inputs)),
        ))
    }
}

impl Op for SamplePdf {
    fn name(&self) -> &'static str {
        "sample_pdf"
    }

    /// Where a bin's mass is next to none, the rounding of the sums up to it moves a sample by a good part of the bin: f32 knows a sum of 1 to
    /// 6e-8, which is 6e-3 of a mass of 1e-5.
    fn is_decision(&self) -> bool {
        true
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        let kernel = self.kernel(&Caps::portable(), inputs)?;
        Ok(TensorType::f32([kernel.rays, kernel.merged()]))
    }

    fn gradient<'g>(&self, at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        vec![None; at.inputs.len()]
    }

    fn evaluate(&self, inputs: &[&Value], cx: &EvalContext) -> Result<Value> {
        let types: Vec<TensorType> = inputs.iter().map(|v| v.tensor_type()).collect();
        let kernel = self.kernel(&Caps::portable(), &types.iter().collect::<Vec<_>>())?;
        let data = in_precision!(cx.precision, T => {
            let of = |i: usize| T::of(&inputs[i].data);
            let uniforms = kernel.given.then(|| of(2));
            T::into_data(reference::sample_pdf::sample_pdf(&kernel, of(0), of(1), uniforms))
        });
        Value::new([kernel.rays, kernel.merged()], data)
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _output: &TensorType) -> Result<Lowering> {
        let mut arguments: Vec<Argument> = (0..inputs.len()).map(Argument::Input).collect();
        arguments.push(Argument::Output);
        Ok(Lowering::single(self.kernel(caps, inputs)?, arguments))
    }

    fn merge_key(&self) -> Option<MergeKey> {
        let &Self { count } = self;
        Some(MergeKey::of(self, count))
    }
}

impl<'g> Var<'g> {
    /// Self `[rays, samples]`, ascending depths along rays, with `count` more where `weights` `[rays, samples]` say that there is something:
    /// `[rays, samples + count]`, ascending. `uniforms` `[rays, count]` in [0, 1) are looked up in the distribution; without them there are
    /// even steps from 0 to 1. At least 3 samples; no gradient. Mildenhall et al. 2020, section 5.2, as nerf-pytorch has it.
    pub fn sample_pdf(self, weights: Self, uniforms: Option<Self>, count: usize) -> Self {
        let mut operands = vec![self, weights];
        operands.extend(uniforms);
        self.graph().apply(SamplePdf { count }, &operands)
    }
}
