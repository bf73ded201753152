//! Random tensors: uniform, normal, Bernoulli, by counter.

use crate::error::Result;
use crate::graph::op::{Argument, EvalContext, GradientAt, Lowering, Op, Pattern, in_precision};
use crate::graph::{Graph, Var};
use crate::kernels::Caps;
use crate::kernels::expression::{Expression, Term};
use crate::kernels::functions::Distribution;
use crate::kernels::map::Map;
use crate::kernels::philox::Key;
use crate::real::Real;
use crate::reference::random::draw;
use crate::tensor::{Data, Shape, TensorType, Value};

/// Random numbers of a shape. The same stream, step and key give the same numbers, wherever the node stands.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    /// How they are distributed.
    pub distribution: Distribution,
    /// What they belong to.
    pub key: Key,
    /// Their stream.
    pub stream: u32,
    /// Their shape.
    pub shape: Shape,
}

impl Random {
    fn compute<T: Real>(&self, cx: &EvalContext) -> Data {
        let each = |i| draw::<T>(self.distribution, &cx.state, self.key, self.stream, i);
        T::into_data((0..self.shape.count()).map(each).collect())
    }
}

impl Op for Random {
    fn name(&self) -> &'static str {
        self.distribution.name()
    }

    fn infer(&self, _inputs: &[&TensorType]) -> Result<TensorType> {
        Ok(TensorType::f32(self.shape.clone()))
    }

    fn gradient<'g>(&self, _at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        Vec::new()
    }

    fn evaluate(&self, _inputs: &[&Value], cx: &EvalContext) -> Result<Value> {
        let data = in_precision!(cx.precision, T => self.compute::<T>(cx));
        Value::new(self.shape.clone(), data)
    }

    fn lower(
        &self,
        caps: &Caps,
        _inputs: &[&TensorType],
        _output: &TensorType,
    ) -> Result<Lowering> {
        let term = Term::Random {
            distribution: self.distribution,
            key: self.key,
            stream: self.stream,
        };
        let expression = Expression {
            terms: vec![term],
            operands: Vec::new(),
            results: vec![0],
        };
        Ok(Lowering::single(
            Map::new(caps, self.shape.count(), expression),
            vec![Argument::State, Argument::Output],
        ))
    }

    fn pattern(&self, _inputs: &[&TensorType]) -> Pattern {
        Pattern::Random {
            distribution: self.distribution,
            key: self.key,
            stream: self.stream,
        }
    }
}

impl Graph {
    /// Random numbers keyed by the step. `name` decides the stream and may be used once.
    pub fn random(
        &self,
        name: &str,
        distribution: Distribution,
        shape: impl Into<Shape>,
    ) -> Var<'_> {
        let stream = self.stream(name);
        self.apply(
            Random {
                distribution,
                key: Key::Step,
                stream,
                shape: shape.into(),
            },
            &[],
        )
    }

    /// Standard normal numbers of `[draws * examples, width]` keyed by example and draw, the same for every batch size.
    pub fn normal_by_example(
        &self,
        name: &str,
        draws: usize,
        examples: usize,
        width: usize,
    ) -> Var<'_> {
        self.random_by_example(name, Distribution::Normal, draws, examples, width)
    }

    /// The same of any distribution.
    pub fn random_by_example(
        &self,
        name: &str,
        distribution: Distribution,
        draws: usize,
        examples: usize,
        width: usize,
    ) -> Var<'_> {
        let stream = self.stream(name);
        let key = Key::Example {
            examples: examples as u32,
            draws: draws as u32,
            width: width as u32,
        };
        let shape = [draws * examples, width].into();
        self.apply(
            Random {
                distribution,
                key,
                stream,
                shape,
            },
            &[],
        )
    }
}
