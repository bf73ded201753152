//! What an operator is: shape rule, gradient rule, value on the CPU, lowering to kernels. An operator of your own implements the same trait
//! [`Op`]; `examples/custom_op.rs` in the repository shows one with a kernel.
//!
//! ```
//! use wgen::graph::op::{EvalContext, GradientAt, Op};
//! use wgen::graph::{Graph, Var};
//! use wgen::kernels::philox::{Domain, RandomState};
//! use wgen::real::Precision;
//! use wgen::tensor::{Data, TensorType, Value};
//!
//! /// Rounds down, with the straight-through gradient: as if the value were x itself.
//! #[derive(Debug)]
//! struct Floor;
//!
//! impl Op for Floor {
//!     fn name(&self) -> &'static str { "floor" }
//!     fn infer(&self, inputs: &[&TensorType]) -> wgen::Result<TensorType> { Ok(inputs[0].clone()) }
//!     fn gradient<'g>(&self, at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> { vec![Some(at.upstream)] }
//!     fn evaluate(&self, inputs: &[&Value], context: &EvalContext) -> wgen::Result<Value> {
//!         let floor = inputs[0].data.to_f64().iter().map(|x| x.floor()).collect();
//!         Value::new(inputs[0].shape.clone(), Data::F64(floor).in_precision(context.precision))
//!     }
//! }
//!
//! # let graph = Graph::new(Domain::Training);
//! # let x = graph.parameter("x", [2]);
//! # let context = EvalContext { precision: Precision::F64, state: RandomState::default() };
//! # let leaves = [("x", Value::f32([2], vec![1.75, -0.25])?)];
//! let y = graph.apply(Floor, &[x]); // x is a parameter with the value (1.75, -0.25)
//! let gradient = graph.gradients((y * 3.0).sum_all(), &[x])[0];
//! let values = graph.interpret(&[y.id(), gradient.id()], &leaves, &context)?;
//! assert_eq!(values[0].data.to_f64(), [1.0, -1.0]);
//! assert_eq!(values[1].data.to_f64(), [3.0, 3.0]);
//! # Ok::<(), wgen::Error>(())
//! ```

use std::any::{Any, TypeId};
use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::Var;
use super::ops::leaf::Leaf;
use crate::error::{Error, Result};
use crate::kernels::Caps;
use crate::kernels::expression::Expression;
use crate::kernels::functions::{Distribution, Function};
use crate::kernels::philox::{Key, RandomState};
use crate::kernels::reduce::Combine;
use crate::real::Precision;
use crate::reference::Twin;
use crate::tensor::{TensorType, Value};

/// What an operator's value is computed with on the CPU.
#[derive(Clone, Copy, Debug)]
pub struct EvalContext {
    /// The precision of reals.
    pub precision: Precision,
    /// Seed, step and cursor.
    pub state: RandomState,
}

/// A node whose gradient is asked for.
#[derive(Debug)]
pub struct GradientAt<'a, 'g> {
    /// The operator's operands.
    pub inputs: &'a [Var<'g>],
    /// Its value.
    pub output: Var<'g>,
    /// The gradient of the loss by that value.
    pub upstream: Var<'g>,
}

/// `$body` with the type `$T` that a precision names.
macro_rules! in_precision {
    ($precision:expr, $T:ident => $body:expr) => {
        match $precision {
            $crate::real::Precision::F32 => {
                type $T = f32;
                $body
            }
            $crate::real::Precision::F64 => {
                type $T = f64;
                $body
            }
            $crate::real::Precision::Tracked => {
                type $T = $crate::real::Tracked;
                $body
            }
        }
    };
}
pub(crate) use in_precision;

/// What a kernel's binding is, seen from the operator that it computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// Operand number n.
    Input(usize),
    /// The value.
    Output,
    /// Temporary number n of this lowering.
    Temporary(usize),
    /// The plan's step, seed and cursor.
    State,
}

/// A kernel and its bindings, in order.
#[derive(Clone, Debug)]
pub struct Call {
    /// The kernel.
    pub kernel: Arc<dyn Twin>,
    /// One for each of its bindings.
    pub arguments: Vec<Argument>,
}

/// An operator as kernels.
#[derive(Clone, Debug, Default)]
pub struct Lowering {
    /// Buffers that live only between its calls.
    pub temporaries: Vec<TensorType>,
    /// The calls in order.
    pub calls: Vec<Call>,
}

impl Lowering {
    /// A single kernel.
    pub fn single(kernel: impl Twin + 'static, arguments: Vec<Argument>) -> Self {
        Self {
            temporaries: Vec::new(),
            calls: vec![Call {
                kernel: Arc::new(kernel),
                arguments,
            }],
        }
    }
}

/// What a plan may know of an operator to fuse it with its neighbours.
#[derive(Clone, Debug, PartialEq)]
pub enum Pattern {
    /// Nothing: it runs as its own lowering says.
    Opaque,
    /// It has no operands; its value comes from outside of the graph.
    Leaf,
    /// A scalar constant.
    Constant(f64),
    /// A scalar function of broadcast operands.
    Elementwise(Function),
    /// Random numbers.
    Random {
        /// Their distribution.
        distribution: Distribution,
        /// What they belong to.
        key: Key,
        /// Their stream.
        stream: u32,
    },
    /// Sums of products whose kernel has an epilogue: see [`Op::lower_fused`].
    Product {
        /// Whether it can give the sums of its first operand over all but the last axis on the side.
        row_sums: bool,
    },
    /// A reduction over neighbouring axes: `[outer, length, inner]` of the operand.
    Reduce {
        /// How elements are combined.
        combine: Combine,
        /// The operand's sizes, folded.
        domain: [usize; 3],
    },
    /// The operand's memory under another shape.
    Alias,
}

/// What a plan puts behind the kernel of a [`Pattern::Product`].
#[derive(Clone, Debug)]
pub struct Fused {
    /// What becomes of a finished element.
    pub epilogue: Expression,
    /// The operator's operands.
    pub inputs: Vec<Argument>,
    /// The epilogue's operands.
    pub operands: Vec<Argument>,
    /// Whether the sums of the first operand are wanted too, as the last output.
    pub row_sums: bool,
}

impl Fused {
    /// Nothing behind the kernel of an operator with so many operands.
    pub fn nothing(operands: usize) -> Self {
        Self {
            epilogue: Expression::accumulator(),
            inputs: (0..operands).map(Argument::Input).collect(),
            operands: Vec::new(),
            row_sums: false,
        }
    }

    /// The arguments of a kernel that does everything: operands, the epilogue's, the state where it is random, `results` outputs, the
    /// sums.
    pub fn arguments(&self, results: usize) -> Vec<Argument> {
        let mut arguments = self.inputs.clone();
        arguments.extend(&self.operands);
        if self.epilogue.is_random() {
            arguments.push(Argument::State);
        }
        let outputs = results + usize::from(self.row_sums);
        arguments.extend(std::iter::repeat_n(Argument::Output, outputs));
        arguments
    }
}

/// What [`Op::merge_key`] compares operators by: the operator's type, and a value of any type that can be compared and hashed.
#[derive(Debug)]
pub struct MergeKey {
    op: TypeId,
    value: Box<dyn Comparable>,
}

impl MergeKey {
    /// The key of `op`: all of its fields that its value depends on. Reals go in as their bits.
    pub fn of<O, T>(_op: &O, value: T) -> Self
    where
        O: Op + 'static,
        T: Eq + Hash + Debug + Send + Sync + 'static,
    {
        Self {
            op: TypeId::of::<O>(),
            value: Box::new(value),
        }
    }
}

impl PartialEq for MergeKey {
    fn eq(&self, other: &Self) -> bool {
        self.op == other.op && self.value.equals(other.value.as_ref())
    }
}

impl Eq for MergeKey {}

impl Hash for MergeKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.op.hash(state);
        self.value.hash_into(state);
    }
}

/// A value of some type that can be compared and hashed.
trait Comparable: Any + Debug + Send + Sync {
    fn equals(&self, other: &dyn Comparable) -> bool;
    fn hash_into(&self, state: &mut dyn Hasher);
}

impl<T: Eq + Hash + Debug + Send + Sync + 'static> Comparable for T {
    fn equals(&self, other: &dyn Comparable) -> bool {
        (other as &dyn Any).downcast_ref() == Some(self)
    }

    fn hash_into(&self, mut state: &mut dyn Hasher) {
        self.hash(&mut state);
    }
}

/// A mathematical operator with one value.
pub trait Op: Debug + Send + Sync {
    /// Its name, as the field calls it.
    fn name(&self) -> &'static str;

    /// The type of its value.
    ///
    /// # Errors
    /// When the operands do not fit, saying what was expected and found.
    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType>;

    /// The gradient by each operand, made of operators. `None` where there is none.
    fn gradient<'g>(&self, at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>>;

    /// Its value on the CPU.
    ///
    /// # Errors
    /// When it cannot be computed, for instance because an input was not bound.
    fn evaluate(&self, inputs: &[&Value], cx: &EvalContext) -> Result<Value>;

    /// The kernels that compute it, unfused: of a [`Pattern::Product`] those of [`Op::lower_fused`] with nothing behind them. Leaves have none.
    ///
    /// # Errors
    /// When no kernel can, for instance because a size is above a limit.
    fn lower(&self, caps: &Caps, inputs: &[&TensorType], output: &TensorType) -> Result<Lowering> {
        self.lower_fused(caps, inputs, output, Fused::nothing(inputs.len()))
    }

    /// As [`Op::lower`], with an epilogue: for operators whose pattern is [`Pattern::Product`]. Outputs come in order over all calls.
    ///
    /// # Errors
    /// As [`Op::lower`].
    fn lower_fused(
        &self,
        _caps: &Caps,
        _inputs: &[&TensorType],
        _output: &TensorType,
        _fused: Fused,
    ) -> Result<Lowering> {
        Err(Error::Usage(format!(
            "{} has neither lower nor lower_fused",
            self.name()
        )))
    }

    /// What a plan may fuse.
    fn pattern(&self, _inputs: &[&TensorType]) -> Pattern {
        Pattern::Opaque
    }

    /// The leaf that this operator is, for those that are one.
    fn as_leaf(&self) -> Option<&Leaf> {
        None
    }

    /// Whether rounding of its operands may change its value by more than rounding: it decides something (which cells a ray meets), or divides
    /// by what is left of numbers that cancel. Its value on a device is verified for itself, and what follows from it from that value on.
    fn is_decision(&self) -> bool {
        false
    }

    /// What of this operator decides its value, beside the operands: nodes of the same operands whose keys are equal become one. `None`,
    /// as it is unless an operator says otherwise, if nodes of it must never merge.
    fn merge_key(&self) -> Option<MergeKey> {
        None
    }
}

#[cfg(test)]
mod tests {
    use crate::graph::Graph;
    use crate::kernels::philox::Domain;
    use crate::tensor::TensorType;

    #[test]
    fn equal_operators_on_equal_operands_become_one_node() {
        let graph = Graph::new(Domain::Training);
        let x = graph.input("x", TensorType::f32([4, 8]));
        assert_eq!(x.sum(&[0]).id(), x.sum(&[0]).id());
        assert_ne!(x.sum(&[0]).id(), x.sum(&[1]).id());
        assert_ne!(x.sum(&[0]).id(), x.exp().sum(&[0]).id());
        assert_eq!(x.transpose().id(), x.transpose().id());
        let constant = |x| graph.constant(x).id();
        assert_eq!(constant(f64::NAN), constant(f64::NAN));
        assert_ne!(constant(0.0), constant(-0.0));
        let noise = |name| graph.normal_by_example(name, 1, 4, 8).id();
        assert_ne!(noise("a"), noise("b"));
    }
}
