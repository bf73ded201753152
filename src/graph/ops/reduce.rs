//! Reductions over any axes.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::op::{
    Argument, Call, EvalContext, Fused, GradientAt, Lowering, MergeKey, Op, Pattern, in_precision,
};
use crate::kernels::Caps;
use crate::kernels::expression::Expression;
use crate::kernels::rearrange::Rearrange;
use crate::kernels::reduce::{self, Combine};
use crate::real::Real;
use crate::reference::Twin;
use crate::reference::reduce::{argmax, combine};
use crate::tensor::{DType, Data, Shape, TensorType, Value};

/// Combines elements over `axes`, which disappear. Argmax gives the position in the flattened reduced axes.
#[derive(Clone, Debug)]
pub(crate) struct Reduce {
    /// How.
    pub combine: Combine,
    /// Over which axes, ascending.
    pub axes: Vec<usize>,
}

impl Reduce {
    fn kept(&self, shape: &Shape) -> Vec<usize> {
        (0..shape.rank())
            .filter(|a| !self.axes.contains(a))
            .collect()
    }

    /// `[outer, length, inner]` if the reduced axes are neighbours, sizes of 1 aside.
    fn domain(&self, shape: &Shape) -> Option<[usize; 3]> {
        let dims = shape.dims();
        let wide: Vec<usize> = self
            .axes
            .iter()
            .copied()
            .filter(|&a| dims[a] != 1)
            .collect();
        let (Some(&first), Some(&last)) = (wide.first(), wide.last()) else {
            return Some([shape.count(), 1, 1]);
        };
        let gap = (first..=last).any(|a| dims[a] != 1 && !self.axes.contains(&a));
        let product = |range: &[usize]| range.iter().product::<usize>();
        (!gap).then(|| {
            [
                product(&dims[..first]),
                product(&dims[first..=last]),
                product(&dims[last + 1..]),
            ]
        })
    }
}

impl Op for Reduce {
    fn name(&self) -> &'static str {
        self.combine.name()
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        let [x] = inputs else {
            return Err(Error::shape(self.name(), "takes one operand"));
        };
        if x.dtype != DType::F32 {
            return Err(Error::shape(
                self.name(),
                format!("takes f32, got {}; cast it", x.dtype.name()),
            ));
        }
        if let Some(axis) = self.axes.iter().find(|&&a| a >= x.shape.rank()) {
            return Err(Error::shape(
                self.name(),
                format!("{:?} has no axis {axis}", x.shape),
            ));
        }
        let length: usize = self.axes.iter().map(|&a| x.shape.dims()[a]).product();
        if length == 0 && self.combine != Combine::Sum {
            return Err(Error::shape(
                self.name(),
                format!(
                    "nothing to reduce over axes {:?} of {:?}",
                    self.axes, x.shape
                ),
            ));
        }
        let kept: Vec<usize> = self
            .kept(&x.shape)
            .into_iter()
            .map(|a| x.shape.dims()[a])
            .collect();
        let dtype = if self.combine == Combine::Argmax {
            DType::U32
        } else {
            DType::F32
        };
        Ok(TensorType {
            shape: Shape::new(kept),
            dtype,
        })
    }

    fn gradient<'g>(&self, at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        let (x, y, g) = (at.inputs[0], at.output, at.upstream);
        let shape = x.shape();
        let mut dims = shape.dims().to_vec();
        self.axes.iter().for_each(|&a| dims[a] = 1);
        let stretch = |v: Var<'g>| v.reshape(dims.as_slice()).broadcast_to(shape.clone());
        vec![match self.combine {
            Combine::Sum => Some(stretch(g)),
            // Equal extremes share the gradient, as torch.amax does.
            Combine::Max | Combine::Min => {
                let hit = x.equal(stretch(y));
                Some(hit * stretch(g / hit.sum(&self.axes)))
            }
            Combine::LogSumExp => Some(stretch(g) * (x - stretch(y)).exp()),
            Combine::Argmax => None,
        }]
    }

    fn evaluate(&self, inputs: &[&Value], cx: &EvalContext) -> Result<Value> {
        let output = self.infer(&[&inputs[0].tensor_type()])?;
        let data = in_precision!(cx.precision, T => self.compute::<T>(inputs[0], &output));
        Value::new(output.shape, data)
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], output: &TensorType) -> Result<Lowering> {
        let x = inputs[0];
        let mut lowering = Lowering::default();
        let mut source = Argument::Input(0);
        let domain = self.domain(&x.shape).unwrap_or_else(|| {
            // The reduced axes are brought to the end first.
            let order: Vec<usize> = self
                .kept(&x.shape)
                .into_iter()
                .chain(self.axes.iter().copied())
                .collect();
            let kernel = Rearrange::permute(&x.shape, &order, DType::F32);
            lowering.temporaries.push(x.clone());
            lowering.calls.push(Call {
                kernel: Arc::new(kernel),
                arguments: vec![source, Argument::Temporary(0)],
            });
            source = Argument::Temporary(0);
            [
                output.shape.count(),
                x.shape.count() / output.shape.count().max(1),
                1,
            ]
        });
        let [outer, length, inner] = domain;
        let kernel = reduce::Reduce::new(caps, self.combine, outer, length, inner);
        in_one_or_two(
            caps,
            kernel,
            vec![source],
            Vec::new(),
            vec![Argument::Output],
            &mut lowering,
        );
        Ok(lowering)
    }

    fn pattern(&self, inputs: &[&TensorType]) -> Pattern {
        match inputs.first().and_then(|x| self.domain(&x.shape)) {
            Some(domain) => Pattern::Reduce {
                combine: self.combine,
                domain,
            },
            None => Pattern::Opaque,
        }
    }

    fn merge_key(&self) -> Option<MergeKey> {
        let Self { combine, axes } = self;
        Some(MergeKey::of(self, (*combine, axes.clone())))
    }
}

/// Adds a reduction's dispatches to a lowering: one, or partial results and their combination. `before` are the prologue's
/// arguments (with the state, where it is random), `after` the epilogue's.
pub(crate) fn in_one_or_two(
    caps: &Caps,
    kernel: reduce::Reduce,
    before: Vec<Argument>,
    after: Vec<Argument>,
    outputs: Vec<Argument>,
    lowering: &mut Lowering,
) {
    let chunks = reduce::Reduce::split(
        caps,
        kernel.combine,
        kernel.outer,
        kernel.length,
        kernel.inner,
    );
    let mut call = |kernel: reduce::Reduce, operands: &[&[Argument]], outputs: &[Argument]| {
        let mut arguments: Vec<Argument> = operands.concat();
        if kernel.prologue.is_random() || kernel.epilogue.is_random() {
            arguments.push(Argument::State);
        }
        arguments.extend(outputs);
        lowering.calls.push(Call {
            kernel: Arc::new(kernel) as Arc<dyn Twin>,
            arguments,
        });
    };
    if chunks == 1 {
        call(kernel, &[&before, &after], &outputs);
        return;
    }
    let partial = Argument::Temporary(lowering.temporaries.len());
    let (first, second) = kernel.in_two(caps, chunks);
    let count = first.results();
    call(first, &[&before], &[partial]);
    call(second, &[&[partial], &after], &outputs);
    lowering.temporaries.push(TensorType::f32([count]));
}

/// A product whose sums are cut into `parts`, which `product` writes one after the other as it does its row sums, where they are wanted; then the
/// sum of the parts, with what follows. `counts`: elements of the result, and row sums.
pub(super) fn sum_of_parts(
    caps: &Caps,
    parts: usize,
    product: impl Twin + 'static,
    counts: [usize; 2],
    fused: Fused,
) -> Lowering {
    let sum = |count: usize| reduce::Reduce::new(caps, Combine::Sum, 1, parts, count);
    let mut lowering = Lowering::single(product, fused.inputs);
    let mut add = |kernel: reduce::Reduce, more: Vec<Argument>, count: usize| {
        let part = Argument::Temporary(lowering.temporaries.len());
        lowering.temporaries.push(TensorType::f32([parts, count]));
        lowering.calls[0].arguments.push(part);
        lowering.calls.push(Call {
            kernel: Arc::new(kernel),
            arguments: [vec![part], more].concat(),
        });
    };
    let mut more = fused.operands;
    if fused.epilogue.is_random() {
        more.push(Argument::State);
    }
    more.extend(std::iter::repeat_n(
        Argument::Output,
        fused.epilogue.results.len(),
    ));
    let whole = reduce::Reduce {
        epilogue: fused.epilogue,
        ..sum(counts[0])
    };
    add(whole, more, counts[0]);
    if fused.row_sums {
        add(sum(counts[1]), vec![Argument::Output], counts[1]);
    }
    lowering
}

impl Reduce {
    fn compute<T: Real>(&self, x: &Value, output: &TensorType) -> Data {
        let values = T::of(&x.data);
        let strides = x.shape.strides();
        let dims = x.shape.dims();
        let offsets = |axes: &[usize]| -> Vec<usize> {
            axes.iter().fold(vec![0], |offsets, &a| {
                offsets
                    .iter()
                    .flat_map(|&o| (0..dims[a]).map(move |i| (o, i)))
                    .map(|(o, i)| o + i * strides[a])
                    .collect()
            })
        };
        let starts = offsets(&self.kept(&x.shape));
        let runs = offsets(&self.axes);
        let of = |start: usize| runs.iter().map(move |&r| values[start + r]);
        debug_assert_eq!(starts.len(), output.shape.count());
        if self.combine == Combine::Argmax {
            return Data::U32(starts.iter().map(|&s| argmax(of(s))).collect());
        }
        T::into_data(
            starts
                .iter()
                .map(|&s| combine(self.combine, of(s)))
                .collect(),
        )
    }
}

impl<'g> Var<'g> {
    fn reduce(self, combine: Combine, axes: &[usize]) -> Self {
        let mut axes = axes.to_vec();
        axes.sort_unstable();
        axes.dedup();
        if axes.is_empty() && combine != Combine::Argmax {
            return self;
        }
        self.graph().apply(Reduce { combine, axes }, &[self])
    }

    fn all_axes(self) -> Vec<usize> {
        (0..self.shape().rank()).collect()
    }

    /// The sum over `axes`, which disappear.
    pub fn sum(self, axes: &[usize]) -> Self {
        self.reduce(Combine::Sum, axes)
    }

    /// The sum of all elements: a scalar.
    pub fn sum_all(self) -> Self {
        self.sum(&self.all_axes())
    }

    /// The mean over `axes`.
    pub fn mean(self, axes: &[usize]) -> Self {
        let shape = self.shape();
        let count: usize = axes.iter().filter_map(|&a| shape.dims().get(a)).product();
        self.sum(axes) * (1.0 / count as f64)
    }

    /// The mean of all elements: a scalar.
    pub fn mean_all(self) -> Self {
        self.mean(&self.all_axes())
    }

    /// The largest over `axes`.
    pub fn max_over(self, axes: &[usize]) -> Self {
        self.reduce(Combine::Max, axes)
    }

    /// The smallest over `axes`.
    pub fn min_over(self, axes: &[usize]) -> Self {
        self.reduce(Combine::Min, axes)
    }

    /// Where the largest over `axes` stands first, in the flattened reduced axes: u32.
    pub fn argmax(self, axes: &[usize]) -> Self {
        self.reduce(Combine::Argmax, axes)
    }

    /// ln(sum of e^x) over `axes`.
    pub fn log_sum_exp(self, axes: &[usize]) -> Self {
        self.reduce(Combine::LogSumExp, axes)
    }
}

/// A prologue-free reduction of a whole buffer: sums of squares and the like.
pub(crate) fn whole(
    caps: &Caps,
    count: usize,
    prologue: Expression,
    chunks: usize,
) -> reduce::Reduce {
    reduce::Reduce {
        prologue,
        chunks,
        ..reduce::Reduce::new(caps, Combine::Sum, 1, count, 1)
    }
}
