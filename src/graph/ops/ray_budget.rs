//! How many rays the next steps should have.

use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::op::{Argument, EvalContext, GradientAt, Lowering, MergeKey, Op, in_precision};
use crate::graph::ops::ray_of::rays_of_base;
use crate::graph::ops::shapes;
use crate::kernels::Caps;
use crate::kernels::ray_budget;
use crate::real::Real;
use crate::reference;
use crate::tensor::{DType, TensorType, Value};

/// From where rays begin and how many were asked for: how many fit, their samples, how many to ask for next.
#[derive(Clone, Debug)]
pub(crate) struct RayBudget {
    /// Samples that a step should have.
    pub aim: u32,
    /// The fewest rays.
    pub least: u32,
    /// The most rays.
    pub most: u32,
}

impl RayBudget {
    fn kernel(&self, inputs: &[&TensorType]) -> Result<ray_budget::RayBudget> {
        let &Self { aim, least, most } = self;
        if least > most || most > 1 << 24 {
            let why = format!(
                "clamps the rays to {least} .. {most}, which is empty or ends beyond 2^24, where f32 does not hold every whole number"
            );
            return Err(Error::shape("ray_budget", why));
        }
        let rays = rays_of_base("ray_budget", inputs.first())?;
        match inputs {
            [_, active] if active.dtype == DType::F32 && active.shape.count() == 1 => {
                Ok(ray_budget::RayBudget {
                    rays,
                    aim,
                    least,
                    most,
                })
            }
            _ => {
                let why = format!(
                    "takes where rays begin and how many are active, one f32, got {}",
                    shapes(inputs)
                );
                Err(Error::shape("ray_budget", why))
            }
        }
    }
}

impl Op for RayBudget {
    fn name(&self) -> &'static str {
        "ray_budget"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        self.kernel(inputs)?;
        Ok(TensorType::f32([3]))
    }

    fn gradient<'g>(&self, at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        vec![None; at.inputs.len()]
    }

    fn evaluate(&self, inputs: &[&Value], cx: &EvalContext) -> Result<Value> {
        let types: Vec<TensorType> = inputs.iter().map(|v| v.tensor_type()).collect();
        let kernel = self.kernel(&types.iter().collect::<Vec<_>>())?;
        let (base, step) = (inputs[0].data.as_u32(), cx.state.step);
        let data = in_precision!(cx.precision, T => {
            let active = T::of(&inputs[1].data)[0];
            T::into_data(reference::ray_budget::ray_budget(&kernel, base, active, step))
        });
        Value::new([3], data)
    }

    fn lower(
        &self,
        _caps: &Caps,
        inputs: &[&TensorType],
        _output: &TensorType,
    ) -> Result<Lowering> {
        Ok(Lowering::single(
            self.kernel(inputs)?,
            vec![
                Argument::Input(0),
                Argument::Input(1),
                Argument::State,
                Argument::Output,
            ],
        ))
    }

    fn merge_key(&self) -> Option<MergeKey> {
        let &Self { aim, least, most } = self;
        Some(MergeKey::of(self, (aim, least, most)))
    }
}

impl<'g> Var<'g> {
    /// How this step's rays came out and how many the next should have, f32 `[3]`: the active rays that fit, their samples, the next number of
    /// active rays. Self is where rays begin, u32 `[rays + 2]`, as [`Var::scan`] gives it; `active` is how many were asked for, a whole number as one
    /// f32.
    ///
    /// At every 16th step the next number is what would have had `aim` samples, `floor(fit * aim / samples)`, from `least` to `most`; at others it
    /// stays.
    pub fn ray_budget(self, active: Self, aim: u32, least: u32, most: u32) -> Self {
        let op = RayBudget { aim, least, most };
        self.graph().apply(op, &[self, active])
    }
}
