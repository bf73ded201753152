//! Spherical harmonics of directions.

use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::op::{Argument, EvalContext, GradientAt, Lowering, MergeKey, Op, in_precision};
use crate::graph::ops::decompose::through;
use crate::graph::ops::shapes;
use crate::kernels::Caps;
use crate::kernels::spherical_harmonics::factor::{B, C, D, E, F, G, H};
use crate::kernels::spherical_harmonics::{self, Mode, VALUES};
use crate::real::Real;
use crate::reference::spherical_harmonics as reference;
use crate::tensor::{TensorType, Value};

/// The 16 harmonics of directions `[n, 3]`, or of these and of the gradient by the harmonics `[n, 16]` the gradient by the directions.
#[derive(Clone, Debug)]
pub(crate) struct SphericalHarmonics {
    /// What is computed.
    pub mode: Mode,
}

impl SphericalHarmonics {
    fn kernel(&self, inputs: &[&TensorType]) -> Result<spherical_harmonics::SphericalHarmonics> {
        let mode = self.mode;
        if let Some(&[rows, 3]) = inputs.first().map(|t| t.shape.dims()) {
            let mut wanted = vec![TensorType::f32([rows, 3])];
            if mode == Mode::Gradient {
                wanted.push(TensorType::f32([rows, VALUES]));
            }
            if inputs.len() == wanted.len() && inputs.iter().zip(&wanted).all(|(a, b)| *a == b) {
                return Ok(spherical_harmonics::SphericalHarmonics { rows, mode });
            }
        }
        let wanted = match mode {
            Mode::Value => "f32 [n, 3]",
            Mode::Gradient => "f32 [n, 3] and [n, 16]",
        };
        let why = format!("takes {wanted}, got {}", shapes(inputs));
        Err(Error::shape("spherical_harmonics", why))
    }
}

/// The gradient by directions from primitives, as the shader has it.
fn gradient_of_primitives<'g>(direction: Var<'g>, upstream: Var<'g>) -> Var<'g> {
    let [x, y, z] = [0, 1, 2].map(|i| direction.slice(1, i, i + 1));
    let u = |i: usize| upstream.slice(1, i, i + 1);
    let (xx, yy, zz) = (x.square(), y.square(), z.square());
    let along = zz * -5.0 + 1.0;
    let by_x =
        u(3) * -B + (y * u(4) - z * u(7) + x * u(8)) * C + (y * z * u(10) + x * z * u(14)) * F
            - x * y * u(9) * (6.0 * E)
            + along * u(13) * G
            + (yy - xx) * u(15) * (3.0 * E);
    let by_y = u(1) * -B
        + (x * u(4) - z * u(5) - y * u(8)) * C
        + (x * z * u(10) - y * z * u(14)) * F
        + x * y * u(15) * (6.0 * E)
        + along * u(11) * G
        + (yy - xx) * u(9) * (3.0 * E);
    let by_z = u(2) * B + z * u(6) * (6.0 * D) - (y * u(5) + x * u(7)) * C
        + (x * y * u(10) + (xx - yy) * u(14) * 0.5) * F
        - z * (y * u(11) + x * u(13)) * (10.0 * G)
        + (zz * 15.0 - 3.0) * u(12) * H;
    direction.graph().concat(1, &[by_x, by_y, by_z])
}

impl Op for SphericalHarmonics {
    fn name(&self) -> &'static str {
        match self.mode {
            Mode::Value => "spherical_harmonics",
            Mode::Gradient => "spherical_harmonics_gradient",
        }
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        let rows = self.kernel(inputs)?.rows;
        Ok(TensorType::f32(match self.mode {
            Mode::Value => [rows, VALUES],
            Mode::Gradient => [rows, 3],
        }))
    }

    fn gradient<'g>(&self, at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        match self.mode {
            Mode::Value => {
                let mode = Mode::Gradient;
                let graph = at.upstream.graph();
                vec![Some(
                    graph.apply(Self { mode }, &[at.inputs[0], at.upstream]),
                )]
            }
            Mode::Gradient => through(at, |operands| {
                gradient_of_primitives(operands[0], operands[1])
            }),
        }
    }

    fn evaluate(&self, inputs: &[&Value], cx: &EvalContext) -> Result<Value> {
        let types: Vec<TensorType> = inputs.iter().map(|v| v.tensor_type()).collect();
        let ty = self.infer(&types.iter().collect::<Vec<_>>())?;
        let data = in_precision!(cx.precision, T => {
            let direction = T::of(&inputs[0].data);
            T::into_data(match self.mode {
                Mode::Value => reference::spherical_harmonics(direction),
                Mode::Gradient => reference::gradient(direction, T::of(&inputs[1].data)),
            })
        });
        Value::new(ty.shape, data)
    }

    fn lower(
        &self,
        _caps: &Caps,
        inputs: &[&TensorType],
        _output: &TensorType,
    ) -> Result<Lowering> {
        let mut arguments: Vec<Argument> = (0..inputs.len()).map(Argument::Input).collect();
        arguments.push(Argument::Output);
        Ok(Lowering::single(self.kernel(inputs)?, arguments))
    }

    fn merge_key(&self) -> Option<MergeKey> {
        Some(MergeKey::of(self, self.mode))
    }
}

impl<'g> Var<'g> {
    /// The 16 real spherical harmonics of degree 0 to 3 of directions `[n, 3]` of length 1: `[n, 16]`, in the order and with the signs of
    /// tiny-cuda-nn.
    pub fn spherical_harmonics(self) -> Self {
        let op = SphericalHarmonics { mode: Mode::Value };
        self.graph().apply(op, &[self])
    }
}
