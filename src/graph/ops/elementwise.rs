//! Scalar functions of broadcast operands, and their gradients.

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::graph::op::{
    Argument, EvalContext, GradientAt, Lowering, MergeKey, Op, Pattern, in_precision,
};
use crate::graph::ops::shapes;
use crate::graph::{Graph, Var};
use crate::kernels::Caps;
use crate::kernels::expression::{Expression, Indexing, Term};
use crate::kernels::functions::Function;
use crate::kernels::map::Map;
use crate::real::Real;
use crate::reference::functions::apply;
use crate::tensor::{DType, Data, Shape, TensorType, Value};

/// A scalar function applied to every element; operands broadcast by NumPy's rule.
#[derive(Clone, Debug)]
pub struct Elementwise {
    /// Which.
    pub function: Function,
    /// A shape that the value is stretched to, beyond its operands'.
    pub stretch: Option<Shape>,
}

impl Op for Elementwise {
    fn name(&self) -> &'static str {
        self.function.name()
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        if inputs.len() != self.function.arity() {
            return Err(Error::shape(
                self.name(),
                format!(
                    "takes {} operands, got {}",
                    self.function.arity(),
                    inputs.len()
                ),
            ));
        }
        if let Some(other) = inputs.iter().find(|t| t.dtype != DType::F32) {
            return Err(Error::shape(
                self.name(),
                format!("takes f32, got {}; cast it", other.dtype.name()),
            ));
        }
        let start = self.stretch.clone().unwrap_or_default();
        let shape = inputs
            .iter()
            .try_fold(start, |shape, t| shape.broadcast(&t.shape));
        match shape {
            Some(shape) if self.stretch.as_ref().is_none_or(|s| *s == shape) => {
                Ok(TensorType::f32(shape))
            }
            _ => {
                let to = self
                    .stretch
                    .as_ref()
                    .map(|s| format!(" to {s:?}"))
                    .unwrap_or_default();
                Err(Error::shape(
                    self.name(),
                    format!("shapes {} do not broadcast{to}", shapes(inputs)),
                ))
            }
        }
    }

    fn gradient<'g>(&self, at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        let parts = gradient(self.function, at);
        let shapes = at.inputs.iter().map(|v| v.shape());
        parts
            .into_iter()
            .zip(shapes)
            .map(|(part, shape)| part.map(|p| p.sum_to(shape)))
            .collect()
    }

    fn evaluate(&self, inputs: &[&Value], cx: &EvalContext) -> Result<Value> {
        let types: Vec<TensorType> = inputs.iter().map(|v| v.tensor_type()).collect();
        let shape = self.infer(&types.iter().collect::<Vec<_>>())?.shape;
        let data = in_precision!(cx.precision, T => evaluate::<T>(self.function, &shape, inputs));
        Value::new(shape, data)
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], output: &TensorType) -> Result<Lowering> {
        let mut expression = Expression::default();
        for (i, input) in inputs.iter().enumerate() {
            expression.terms.push(Term::Operand(i));
            expression
                .operands
                .push(Indexing::broadcast(&output.shape, &input.shape));
        }
        expression.results.push(inputs.len());
        expression
            .terms
            .push(Term::Call(self.function, (0..inputs.len()).collect()));
        let mut arguments: Vec<_> = (0..inputs.len()).map(Argument::Input).collect();
        arguments.push(Argument::Output);
        Ok(Lowering::single(
            Map::new(caps, output.shape.count(), expression),
            arguments,
        ))
    }

    fn pattern(&self, _inputs: &[&TensorType]) -> Pattern {
        Pattern::Elementwise(self.function)
    }

    fn merge_key(&self) -> Option<MergeKey> {
        let Self { function, stretch } = self;
        Some(MergeKey::of(self, (*function, stretch.clone())))
    }
}

/// Elements that one task of the thread pool computes.
const CHUNK: usize = 1 << 14;

fn evaluate<T: Real>(function: Function, shape: &Shape, inputs: &[&Value]) -> Data {
    let operands: Vec<(&[T], Indexing)> = inputs
        .iter()
        .map(|v| (T::of(&v.data), Indexing::broadcast(shape, &v.shape)))
        .collect();
    let mut out = vec![T::from_f64(0.0); shape.count()];
    out.par_chunks_mut(CHUNK)
        .enumerate()
        .for_each(|(chunk, out)| {
            let first = chunk * CHUNK;
            let at = |o: &(&[T], Indexing), i: usize| {
                o.0[if o.1.dense {
                    first + i
                } else {
                    o.1.source(first + i)
                }]
            };
            match operands.as_slice() {
                [a] if a.1.dense => {
                    for (i, out) in out.iter_mut().enumerate() {
                        *out = apply(function, &[a.0[first + i]]);
                    }
                }
                [a, b] if a.1.dense && b.1.dense => {
                    for (i, out) in out.iter_mut().enumerate() {
                        *out = apply(function, &[a.0[first + i], b.0[first + i]]);
                    }
                }
                [a] => out
                    .iter_mut()
                    .enumerate()
                    .for_each(|(i, out)| *out = apply(function, &[at(a, i)])),
                [a, b] => out
                    .iter_mut()
                    .enumerate()
                    .for_each(|(i, out)| *out = apply(function, &[at(a, i), at(b, i)])),
                [a, b, c] => out
                    .iter_mut()
                    .enumerate()
                    .for_each(|(i, out)| *out = apply(function, &[at(a, i), at(b, i), at(c, i)])),
                _ => {}
            }
        });
    T::into_data(out)
}

/// The gradient by each operand, in the broadcast shape.
fn gradient<'g>(function: Function, at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
    let (x, y, g) = (at.inputs, at.output, at.upstream);
    let graph = g.graph();
    let one = |part: Var<'g>| vec![Some(part)];
    match function {
        Function::Identity => one(g),
        Function::Neg => one(-g),
        Function::Add => vec![Some(g), Some(g)],
        Function::Sub => vec![Some(g), Some(-g)],
        Function::Mul => vec![Some(g * x[1]), Some(g * x[0])],
        Function::Div => vec![Some(g / x[1]), Some(-(g * y / x[1]))],
        // Where operands are equal the first one takes the gradient.
        Function::Max => {
            let second = x[1].greater(x[0]);
            vec![
                Some(second.select(graph.constant(0.0), g)),
                Some(g * second),
            ]
        }
        Function::Min => {
            let second = x[0].greater(x[1]);
            vec![
                Some(second.select(graph.constant(0.0), g)),
                Some(g * second),
            ]
        }
        Function::Greater | Function::Equal => vec![None, None],
        Function::Select => {
            let zero = graph.constant(0.0);
            vec![None, Some(x[0].select(g, zero)), Some(x[0].select(zero, g))]
        }
        // By the value, which is in memory anyway; at the very bounds the gradient goes to them.
        Function::Clamp => {
            let (above, below) = (y.greater(x[1]), x[2].greater(y));
            let one = graph.constant(1.0);
            vec![
                Some(g * (above * below)),
                Some(g * (one - above)),
                Some(g * (one - below)),
            ]
        }
        Function::Abs => one(x[0].greater_than(0.0).select(g, -g)),
        Function::Square => one(g * x[0] * 2.0),
        Function::Sqrt => one(g * 0.5 / y),
        Function::Exp => one(g * y),
        Function::ExpMinusOne => one(g * (y + 1.0)),
        Function::Log => one(g / x[0]),
        Function::LogOnePlus => one(g / (x[0] + 1.0)),
        Function::Relu => one(g * y.greater_than(0.0)),
        Function::LeakyRelu => {
            let positive = x[0].greater_than(0.0);
            let by_slope = positive.select(graph.constant(0.0), g * x[0]);
            vec![Some(positive.select(g, g * x[1])), Some(by_slope)]
        }
        Function::Elu => {
            let positive = x[0].greater_than(0.0);
            let by_alpha = positive.select(
                graph.constant(0.0),
                g * x[0].min(graph.constant(0.0)).exp_minus_one(),
            );
            vec![Some(positive.select(g, g * (y + x[1]))), Some(by_alpha)]
        }
        Function::Sigmoid => one(g * (y - y.square())),
        Function::Tanh => one(g * (graph.constant(1.0) - y.square())),
        Function::Silu => {
            let s = x[0].sigmoid();
            one(g * (s + y * (graph.constant(1.0) - s)))
        }
        Function::Erf => one(g * (-x[0].square()).exp() * (2.0 / std::f64::consts::PI.sqrt())),
        Function::Gelu => {
            let density = (x[0].square() * -0.5).exp() * (1.0 / std::f64::consts::TAU.sqrt());
            let below = ((x[0] * std::f64::consts::FRAC_1_SQRT_2).erf() + 1.0) * 0.5;
            one(g * (below + x[0] * density))
        }
        Function::GeluTanh => {
            let scale = (2.0 / std::f64::consts::PI).sqrt();
            let t = ((x[0] + x[0].square() * x[0] * 0.044715) * scale).tanh();
            let slope = (x[0].square() * (3.0 * 0.044715) + 1.0) * scale;
            one(g * ((t + 1.0) * 0.5 + x[0] * 0.5 * (graph.constant(1.0) - t.square()) * slope))
        }
        Function::Softplus => one(g * x[0].sigmoid()),
        Function::BceWithLogits => vec![Some(g * (x[0].sigmoid() - x[1])), Some(-(g * x[0]))],
    }
}

impl Graph {
    /// `function` of `operands`.
    pub fn elementwise<'g>(&'g self, function: Function, operands: &[Var<'g>]) -> Var<'g> {
        self.apply(
            Elementwise {
                function,
                stretch: None,
            },
            operands,
        )
    }
}

macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident => $function:ident;)*) => {
        impl<'g> Var<'g> {
            $($(#[$doc])* pub fn $name(self) -> Self { self.graph().elementwise(Function::$function, &[self]) })*
        }
    };
}

unary! {
    /// |x|
    abs => Abs;
    /// x^2
    square => Square;
    /// sqrt(x)
    sqrt => Sqrt;
    /// e^x
    exp => Exp;
    /// e^x - 1, accurate next to 0.
    exp_minus_one => ExpMinusOne;
    /// ln(x)
    log => Log;
    /// max(x, 0)
    relu => Relu;
    /// 1 / (1 + e^-x)
    sigmoid => Sigmoid;
    /// tanh(x)
    tanh => Tanh;
    /// x sigmoid(x)
    silu => Silu;
    /// The error function.
    erf => Erf;
    /// x Phi(x), exact.
    gelu => Gelu;
    /// x Phi(x), the tanh approximation.
    gelu_tanh => GeluTanh;
    /// ln(1 + e^x)
    softplus => Softplus;
}

impl<'g> Var<'g> {
    fn constant(self, value: f64) -> Self {
        self.graph().constant(value)
    }

    /// The larger of the two.
    pub fn max(self, other: Self) -> Self {
        self.graph().elementwise(Function::Max, &[self, other])
    }

    /// The smaller of the two.
    pub fn min(self, other: Self) -> Self {
        self.graph().elementwise(Function::Min, &[self, other])
    }

    /// 1 where self > other, else 0; no gradient.
    pub fn greater(self, other: Self) -> Self {
        self.graph().elementwise(Function::Greater, &[self, other])
    }

    /// 1 where self > value, else 0.
    pub fn greater_than(self, value: f64) -> Self {
        self.greater(self.constant(value))
    }

    /// 1 where equal, else 0; no gradient.
    pub fn equal(self, other: Self) -> Self {
        self.graph().elementwise(Function::Equal, &[self, other])
    }

    /// `a` where self is not 0, else `b`.
    pub fn select(self, a: Self, b: Self) -> Self {
        self.graph().elementwise(Function::Select, &[self, a, b])
    }

    /// min(max(x, low), high)
    pub fn clamp(self, low: f64, high: f64) -> Self {
        self.graph().elementwise(
            Function::Clamp,
            &[self, self.constant(low), self.constant(high)],
        )
    }

    /// x where positive, else slope x.
    pub fn leaky_relu(self, slope: f64) -> Self {
        self.graph()
            .elementwise(Function::LeakyRelu, &[self, self.constant(slope)])
    }

    /// x where positive, else alpha (e^x - 1).
    pub fn elu(self, alpha: f64) -> Self {
        self.graph()
            .elementwise(Function::Elu, &[self, self.constant(alpha)])
    }

    /// The value repeated to `shape`, by NumPy's rule.
    pub fn broadcast_to(self, shape: impl Into<Shape>) -> Self {
        let op = Elementwise {
            function: Function::Identity,
            stretch: Some(shape.into()),
        };
        self.graph().apply(op, &[self])
    }

    /// The gradient of a broadcast: sums over the axes along which a tensor of `shape` was repeated.
    pub fn sum_to(self, shape: Shape) -> Self {
        let own = self.shape();
        if own == shape {
            return self;
        }
        let missing = own.rank() - shape.rank();
        let repeated = |axis: usize| {
            axis < missing || (shape.dims()[axis - missing] == 1 && own.dims()[axis] != 1)
        };
        let axes: Vec<usize> = (0..own.rank()).filter(|&a| repeated(a)).collect();
        self.sum(&axes).reshape(shape)
    }
}

macro_rules! operator {
    ($trait:ident, $method:ident, $function:ident) => {
        impl<'g> std::ops::$trait for Var<'g> {
            type Output = Var<'g>;
            fn $method(self, other: Self) -> Self {
                self.graph()
                    .elementwise(Function::$function, &[self, other])
            }
        }
        impl<'g> std::ops::$trait<f64> for Var<'g> {
            type Output = Var<'g>;
            fn $method(self, other: f64) -> Self {
                let other = self.graph().constant(other);
                self.graph()
                    .elementwise(Function::$function, &[self, other])
            }
        }
    };
}
operator!(Add, add, Add);
operator!(Sub, sub, Sub);
operator!(Mul, mul, Mul);
operator!(Div, div, Div);

impl std::ops::Neg for Var<'_> {
    type Output = Self;
    fn neg(self) -> Self {
        self.graph().elementwise(Function::Neg, &[self])
    }
}
