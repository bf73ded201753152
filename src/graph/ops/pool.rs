//! Pooling over windows of images.

use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::op::{Argument, EvalContext, GradientAt, Lowering, MergeKey, Op, in_precision};
use crate::graph::ops::shapes;
use crate::kernels::Caps;
use crate::kernels::pool::{self, Mode, Windows};
use crate::real::Real;
use crate::reference;
use crate::tensor::{DType, Data, TensorType, Value};

/// Pooling in one of its modes. Operands are those of the mode.
#[derive(Clone, Debug)]
pub struct Pool {
    /// The windows.
    pub windows: Windows,
    /// What is computed.
    pub mode: Mode,
}

impl Pool {
    fn kernel(&self) -> pool::Pool {
        pool::Pool {
            windows: self.windows,
            mode: self.mode,
        }
    }

    fn of<'g>(&self, mode: Mode, operands: &[Var<'g>]) -> Var<'g> {
        let windows = self.windows;
        operands[0].graph().apply(Self { windows, mode }, operands)
    }

    fn compute<T: Real>(&self, inputs: &[&Value]) -> Data {
        let operands: Vec<&[T]> = inputs.iter().map(|v| T::of(&v.data)).collect();
        T::into_data(reference::pool::pool(&self.kernel(), &operands))
    }
}

impl Op for Pool {
    fn name(&self) -> &'static str {
        match self.mode {
            Mode::Max => "max_pool2d",
            Mode::MaxRoute => "max_pool2d_gradient",
            Mode::MaxPick => "max_pool2d_pick",
            Mode::Average => "avg_pool2d",
            Mode::AverageSpread => "avg_pool2d_gradient",
        }
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        self.windows.check()?;
        let (operands, result) = self.kernel().shapes();
        let fits = inputs.len() == operands.len()
            && inputs
                .iter()
                .zip(&operands)
                .all(|(t, shape)| t.dtype == DType::F32 && t.shape == (*shape).into());
        if !fits {
            return Err(Error::shape(
                self.name(),
                format!("takes f32 {operands:?}, got {}", shapes(inputs)),
            ));
        }
        Ok(TensorType::f32(result))
    }

    fn gradient<'g>(&self, at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        let (x, u) = (at.inputs[0], at.upstream);
        match self.mode {
            Mode::Max => vec![Some(self.of(Mode::MaxRoute, &[x, u]))],
            Mode::MaxRoute => vec![None, Some(self.of(Mode::MaxPick, &[x, u]))],
            Mode::MaxPick => vec![None, Some(self.of(Mode::MaxRoute, &[x, u]))],
            Mode::Average => vec![Some(self.of(Mode::AverageSpread, &[u]))],
            Mode::AverageSpread => vec![Some(self.of(Mode::Average, &[u]))],
        }
    }

    fn evaluate(&self, inputs: &[&Value], cx: &EvalContext) -> Result<Value> {
        let types: Vec<TensorType> = inputs.iter().map(|v| v.tensor_type()).collect();
        let output = self.infer(&types.iter().collect::<Vec<_>>())?;
        let data = in_precision!(cx.precision, T => self.compute::<T>(inputs));
        Value::new(output.shape, data)
    }

    fn lower(
        &self,
        _caps: &Caps,
        inputs: &[&TensorType],
        _output: &TensorType,
    ) -> Result<Lowering> {
        let mut arguments: Vec<Argument> = (0..inputs.len()).map(Argument::Input).collect();
        arguments.push(Argument::Output);
        Ok(Lowering::single(self.kernel(), arguments))
    }

    fn merge_key(&self) -> Option<MergeKey> {
        let &Self { windows, mode } = self;
        Some(MergeKey::of(self, (windows, mode)))
    }
}

impl<'g> Var<'g> {
    fn pool(self, mode: Mode, size: [usize; 2], stride: [usize; 2], padding: [usize; 2]) -> Self {
        let &[batch, height, width, channels] = self.shape().dims() else {
            self.graph().fail(Error::shape(
                "pool",
                format!(
                    "takes images [batch, height, width, channels], got {:?}",
                    self.shape()
                ),
            ));
            return self;
        };
        let windows = Windows {
            batch,
            image: [height, width],
            channels,
            size,
            stride,
            padding,
        };
        self.graph().apply(Pool { windows, mode }, &[self])
    }

    /// The largest of each window of images `[batch, height, width, channels]`. Among equals the gradient goes to the first.
    pub fn max_pool2d(self, size: [usize; 2], stride: [usize; 2], padding: [usize; 2]) -> Self {
        self.pool(Mode::Max, size, stride, padding)
    }

    /// The mean of each window of images `[batch, height, width, channels]`, the padding counted as zeros.
    pub fn avg_pool2d(self, size: [usize; 2], stride: [usize; 2], padding: [usize; 2]) -> Self {
        self.pool(Mode::Average, size, stride, padding)
    }
}
