//! Scaled dot-product attention (Vaswani et al. 2017), its matrix never in memory.

use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::op::{Argument, EvalContext, GradientAt, Lowering, MergeKey, Op, in_precision};
use crate::graph::ops::decompose::through;
use crate::graph::ops::shapes;
use crate::kernels::Caps;
use crate::kernels::attention::{self, Mode, Sizes};
use crate::kernels::matmul::Layout;
use crate::real::Real;
use crate::reference;
use crate::tensor::{DType, Shape, TensorType, Value};

/// Attention, or a part of its gradient; [`Var::attention`] puts them together. Operands are those of [`Mode::operands`].
#[derive(Clone, Debug)]
pub(crate) struct Attention {
    /// What is computed.
    pub mode: Mode,
}

impl Attention {
    fn kernel(&self, caps: &Caps, inputs: &[&TensorType]) -> Result<attention::Attention> {
        let wrong = |why: String| Err(Error::shape("attention", why));
        let dims = |i: usize| inputs.get(i).map(|t| t.shape.dims());
        let (Some(&[batch, queries, heads, size]), Some(&[_, keys, _, _])) = (dims(0), dims(1))
        else {
            return wrong(format!(
                "takes query, key and value [batch, rows, heads, channels], got {}",
                shapes(inputs)
            ));
        };
        let sizes = Sizes {
            batch,
            queries,
            keys,
            heads,
            size,
        };
        sizes.check()?;
        let (vectors, numbers) = self.mode.operands();
        let shape = |name: &str| match name {
            "query" | "upstream" => Shape::from([batch, queries, heads, size]),
            "key" | "value" => [batch, keys, heads, size].into(),
            _ => [batch, queries, heads].into(),
        };
        let wanted: Vec<Shape> = vectors.iter().chain(numbers).map(|n| shape(n)).collect();
        let fits = inputs.len() == wanted.len()
            && inputs
                .iter()
                .zip(&wanted)
                .all(|(t, shape)| t.dtype == DType::F32 && t.shape == *shape);
        if !fits {
            return wrong(format!("takes f32 {wanted:?}, got {}", shapes(inputs)));
        }
        Ok(attention::Attention::new(caps, sizes, self.mode))
    }

    /// The same value from primitives, with the matrix.
    fn decomposed<'g>(&self, operands: &[Var<'g>]) -> Var<'g> {
        let &[batch, queries, heads, size] = operands[0].shape().dims() else {
            return operands[0];
        };
        let keys = operands[1].shape().dims()[1];
        let scale = 1.0 / (size as f64).sqrt();
        // [batch * heads, rows, channels] and back.
        let by_head = |v: Var<'g>| {
            let rows = v.shape().dims()[1];
            v.permute(&[0, 2, 1, 3])
                .reshape([batch * heads, rows, size])
        };
        let back =
            |v: Var<'g>, rows: usize| v.reshape([batch, heads, rows, size]).permute(&[0, 2, 1, 3]);
        // Of a number a query: [batch * heads, queries, 1].
        let numbers = |v: Var<'g>| v.permute(&[0, 2, 1]).reshape([batch * heads, queries, 1]);
        let (query, key) = (by_head(operands[0]), by_head(operands[1]));
        let scores = query.matmul_as(Layout::Nt, key) * scale;
        let log_sums = || {
            scores
                .log_sum_exp(&[2])
                .reshape([batch * heads, queries, 1])
        };
        match self.mode {
            Mode::LogSums => log_sums()
                .reshape([batch, heads, queries])
                .permute(&[0, 2, 1]),
            Mode::Forward => {
                let p = (scores - log_sums()).exp();
                back(p.matmul(by_head(operands[2])), queries)
            }
            Mode::ByValue => {
                let p = (scores - numbers(operands[3])).exp();
                back(p.matmul_as(Layout::Tn, by_head(operands[2])), keys)
            }
            Mode::ByQuery | Mode::ByKey => {
                let p = (scores - numbers(operands[4])).exp();
                let (value, upstream) = (by_head(operands[2]), by_head(operands[3]));
                let along = upstream.matmul_as(Layout::Nt, value);
                let d = p * (along - numbers(operands[5])) * scale;
                if self.mode == Mode::ByQuery {
                    back(d.matmul(key), queries)
                } else {
                    back(d.matmul_as(Layout::Tn, query), keys)
                }
            }
        }
        .reshape(match self.mode {
            Mode::LogSums => Shape::from([batch, queries, heads]),
            Mode::Forward | Mode::ByQuery => [batch, queries, heads, size].into(),
            Mode::ByKey | Mode::ByValue => [batch, keys, heads, size].into(),
        })
    }
}

impl Op for Attention {
    fn name(&self) -> &'static str {
        match self.mode {
            Mode::Forward => "attention",
            Mode::LogSums => "attention_log_sums",
            Mode::ByQuery => "attention_by_query",
            Mode::ByKey => "attention_by_key",
            Mode::ByValue => "attention_by_value",
        }
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        let s = self.kernel(&Caps::portable(), inputs)?.sizes;
        Ok(match self.mode {
            Mode::LogSums => TensorType::f32([s.batch, s.queries, s.heads]),
            Mode::Forward | Mode::ByQuery => inputs[0].clone(),
            Mode::ByKey | Mode::ByValue => inputs[1].clone(),
        })
    }

    fn gradient<'g>(&self, at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        if self.mode != Mode::Forward {
            return through(at, |operands| self.decomposed(operands));
        }
        let &[query, key, value] = at.inputs else {
            return Vec::new();
        };
        let u = at.upstream;
        let of = |mode: Mode, operands: &[Var<'g>]| u.graph().apply(Self { mode }, operands);
        let log_sums = of(Mode::LogSums, &[query, key]);
        let dots = (u * at.output).sum(&[3]);
        let all = [query, key, value, u, log_sums, dots];
        vec![
            Some(of(Mode::ByQuery, &all)),
            Some(of(Mode::ByKey, &all)),
            Some(of(Mode::ByValue, &[query, key, u, log_sums])),
        ]
    }

    fn evaluate(&self, inputs: &[&Value], cx: &EvalContext) -> Result<Value> {
        let types: Vec<TensorType> = inputs.iter().map(|v| v.tensor_type()).collect();
        let types: Vec<&TensorType> = types.iter().collect();
        let kernel = self.kernel(&Caps::portable(), &types)?;
        let data = in_precision!(cx.precision, T => {
            let operands: Vec<&[T]> = inputs.iter().map(|v| T::of(&v.data)).collect();
            T::into_data(reference::attention::attention(&kernel, &operands))
        });
        Value::new(self.infer(&types)?.shape, data)
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _output: &TensorType) -> Result<Lowering> {
        let mut arguments: Vec<Argument> = (0..inputs.len()).map(Argument::Input).collect();
        arguments.push(Argument::Output);
        Ok(Lowering::single(self.kernel(caps, inputs)?, arguments))
    }

    fn merge_key(&self) -> Option<MergeKey> {
        let &Self { mode } = self;
        Some(MergeKey::of(self, mode))
    }
}

impl<'g> Var<'g> {
    /// softmax(self key^T / sqrt(channels)) value, head by head: self is `[batch, queries, heads, channels]`, key and value are
    /// `[batch, keys, heads, channels]`. Memory grows with the rows, not with their product, in the gradient too.
    pub fn attention(self, key: Self, value: Self) -> Self {
        let mode = Mode::Forward;
        self.graph().apply(Attention { mode }, &[self, key, value])
    }
}
