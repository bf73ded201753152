//! Values that come from outside of a graph.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::op::{EvalContext, GradientAt, Lowering, MergeKey, Op, Pattern};
use crate::kernels::Caps;
use crate::tensor::{TensorType, Value};

/// Where a leaf's value comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LeafKind {
    /// The caller binds it.
    Input,
    /// The store.
    Parameter,
    /// A column of the schedule's current row.
    Schedule(usize),
    /// It is this number.
    Constant(f64),
}

/// A node without operands.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// Where its value comes from.
    pub kind: LeafKind,
    /// Its name; empty for constants.
    pub name: String,
    /// Its type.
    pub ty: TensorType,
    /// Of an input: its value where the caller gives none.
    pub value: Option<Arc<Value>>,
}

impl Op for Leaf {
    fn name(&self) -> &'static str {
        match self.kind {
            LeafKind::Input => "input",
            LeafKind::Parameter => "parameter",
            LeafKind::Schedule(_) => "schedule",
            LeafKind::Constant(_) => "constant",
        }
    }

    fn infer(&self, _inputs: &[&TensorType]) -> Result<TensorType> {
        Ok(self.ty.clone())
    }

    fn gradient<'g>(&self, _at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        Vec::new()
    }

    fn evaluate(&self, _inputs: &[&Value], cx: &EvalContext) -> Result<Value> {
        if let Some(value) = &self.value {
            let data = value.data.clone().in_precision(cx.precision);
            return Value::new(value.shape.clone(), data);
        }
        Err(Error::Usage(format!(
            "{} '{}' was not given a value",
            self.name(),
            self.name
        )))
    }

    fn lower(
        &self,
        _caps: &Caps,
        _inputs: &[&TensorType],
        _output: &TensorType,
    ) -> Result<Lowering> {
        Ok(Lowering::default())
    }

    fn pattern(&self, _inputs: &[&TensorType]) -> Pattern {
        match self.kind {
            LeafKind::Constant(value) => Pattern::Constant(value),
            _ => Pattern::Leaf,
        }
    }

    fn as_leaf(&self) -> Option<&Leaf> {
        Some(self)
    }

    fn merge_key(&self) -> Option<MergeKey> {
        let value = match self.kind {
            LeafKind::Schedule(column) => column as u64,
            LeafKind::Constant(value) => value.to_bits(),
            LeafKind::Input | LeafKind::Parameter => 0,
        };
        let kind = std::mem::discriminant(&self.kind);
        Some(MergeKey::of(self, (kind, value, self.name.clone())))
    }
}
