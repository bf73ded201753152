//! Concatenation.

use crate::error::{Error, Result};
use crate::graph::op::{Argument, EvalContext, GradientAt, Lowering, MergeKey, Op};
use crate::graph::ops::shapes;
use crate::graph::{Graph, Var};
use crate::kernels::Caps;
use crate::kernels::concat;
use crate::reference::Twin;
use crate::tensor::{DType, Data, Shape, TensorType, Value};

/// Operands one after another along an axis; other sizes agree.
#[derive(Clone, Debug)]
pub struct Concat {
    /// The axis.
    pub axis: usize,
}

impl Concat {
    fn kernel(&self, inputs: &[&TensorType]) -> concat::Concat {
        let dims = inputs[0].shape.dims();
        concat::Concat {
            outer: dims[..self.axis].iter().product(),
            inner: dims[self.axis + 1..].iter().product(),
            lengths: inputs.iter().map(|t| t.shape.dims()[self.axis]).collect(),
            dtype: inputs[0].dtype,
        }
    }
}

impl Op for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        let wrong = |why: &str| {
            Err(Error::shape(
                self.name(),
                format!("{why}: {}", shapes(inputs)),
            ))
        };
        let Some(first) = inputs.first() else {
            return wrong("takes at least one operand");
        };
        if inputs.len() > concat::MAX_PARTS {
            return wrong("takes at most seven operands at once");
        }
        if self.axis >= first.shape.rank() || first.dtype == DType::U8 {
            return wrong(&format!(
                "axis {} of f32 or u32 operands is wanted",
                self.axis
            ));
        }
        let mut dims = first.shape.dims().to_vec();
        dims[self.axis] = 0;
        for input in inputs {
            let mut other = input.shape.dims().to_vec();
            let length = other.get(self.axis).copied().unwrap_or(0);
            dims[self.axis] += length;
            if other.len() == dims.len() {
                other[self.axis] = dims[self.axis];
            }
            if other != dims || input.dtype != first.dtype {
                return wrong(&format!("sizes beside axis {} must agree", self.axis));
            }
        }
        Ok(TensorType {
            shape: Shape::new(dims),
            dtype: first.dtype,
        })
    }

    fn gradient<'g>(&self, at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        let mut start = 0;
        let part = |input: &Var<'g>| {
            let end = start + input.shape().dims()[self.axis];
            let part = at.upstream.slice(self.axis, start, end);
            start = end;
            Some(part)
        };
        at.inputs.iter().map(part).collect()
    }

    fn evaluate(&self, inputs: &[&Value], _cx: &EvalContext) -> Result<Value> {
        let types: Vec<TensorType> = inputs.iter().map(|v| v.tensor_type()).collect();
        let types: Vec<&TensorType> = types.iter().collect();
        let output = self.infer(&types)?;
        let mut buffers: Vec<Data> = inputs.iter().map(|v| v.data.clone()).collect();
        buffers.push(Data::U8(Vec::new()));
        self.kernel(&types).reference(&mut buffers);
        Value::new(output.shape, buffers.pop().unwrap_or(Data::U8(Vec::new())))
    }

    fn lower(
        &self,
        _caps: &Caps,
        inputs: &[&TensorType],
        _output: &TensorType,
    ) -> Result<Lowering> {
        let mut arguments: Vec<_> = (0..inputs.len()).map(Argument::Input).collect();
        arguments.push(Argument::Output);
        Ok(Lowering::single(self.kernel(inputs), arguments))
    }

    fn merge_key(&self) -> Option<MergeKey> {
        let &Self { axis } = self;
        Some(MergeKey::of(self, axis))
    }
}

impl Graph {
    /// `parts` one after another along `axis`, any number of them.
    pub fn concat<'g>(&'g self, axis: usize, parts: &[Var<'g>]) -> Var<'g> {
        if parts.len() <= concat::MAX_PARTS {
            return self.apply(Concat { axis }, parts);
        }
        let joined: Vec<Var<'g>> = parts
            .chunks(concat::MAX_PARTS)
            .map(|c| self.apply(Concat { axis }, c))
            .collect();
        self.concat(axis, &joined)
    }
}
