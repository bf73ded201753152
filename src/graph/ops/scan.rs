//! Where each ray's samples begin.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::op::{Argument, Call, EvalContext, GradientAt, Lowering, MergeKey, Op};
use crate::graph::ops::shapes;
use crate::kernels::Caps;
use crate::kernels::scan::{self, MOST_CAPACITY, Stage};
use crate::reference;
use crate::tensor::{DType, Data, TensorType, Value};

/// Exclusive prefix sums of u32 counts `[rays]`, cut off at a capacity: `[rays + 2]`.
#[derive(Clone, Debug)]
pub(crate) struct Scan {
    /// Samples that there is room for.
    pub capacity: usize,
}

impl Scan {
    fn rays(&self, inputs: &[&TensorType]) -> Result<usize> {
        if self.capacity > MOST_CAPACITY {
            let why = format!(
                "has room for at most {MOST_CAPACITY} samples, not {}",
                self.capacity
            );
            return Err(Error::shape("scan", why));
        }
        match inputs {
            [counts] if counts.dtype == DType::U32 => match counts.shape.dims() {
                &[rays] if rays > 0 => return Ok(rays),
                _ => {}
            },
            _ => {}
        }
        let why = format!("takes u32 counts [rays], not empty, got {}", shapes(inputs));
        Err(Error::shape("scan", why))
    }
}

impl Op for Scan {
    fn name(&self) -> &'static str {
        "scan"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        Ok(TensorType::u32([self.rays(inputs)? + 2]))
    }

    fn gradient<'g>(&self, _at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        vec![None]
    }

    fn evaluate(&self, inputs: &[&Value], _cx: &EvalContext) -> Result<Value> {
        let base = reference::scan::scan(inputs[0].data.as_u32(), self.capacity);
        Value::new([base.len()], Data::U32(base))
    }

    fn lower(
        &self,
        _caps: &Caps,
        inputs: &[&TensorType],
        _output: &TensorType,
    ) -> Result<Lowering> {
        let kernel = |stage| scan::Scan {
            rays: inputs[0].shape.count(),
            capacity: self.capacity,
            stage,
        };
        let call = |stage, arguments| Call {
            kernel: Arc::new(kernel(stage)),
            arguments,
        };
        let counts = Argument::Input(0);
        let [totals, starts] = [0, 1].map(Argument::Temporary);
        let tiles = kernel(Stage::Sums).tiles();
        Ok(Lowering {
            temporaries: vec![TensorType::u32([tiles]), TensorType::u32([tiles + 2])],
            calls: vec![
                call(Stage::Sums, vec![counts, totals]),
                call(Stage::Starts, vec![counts, totals, starts]),
                call(Stage::Base, vec![counts, starts, Argument::Output]),
            ],
        })
    }

    fn merge_key(&self) -> Option<MergeKey> {
        let &Self { capacity } = self;
        Some(MergeKey::of(self, capacity))
    }
}

impl<'g> Var<'g> {
    /// Where each ray's samples begin in a buffer with room for `capacity`: self is their counts, u32 `[rays]`, the value u32 `[rays + 2]`.
    ///
    /// Element i is the sum of the counts before ray i. The first ray whose samples would end beyond the capacity is dropped, and all after it:
    /// from it on every element is where the last ray that fits ends. Element `rays` is the number of samples, the last one that of the rays
    /// that fit.
    pub fn scan(self, capacity: usize) -> Self {
        self.graph().apply(Scan { capacity }, &[self])
    }
}
