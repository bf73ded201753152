//! What predicts, whatever it is made of.

use std::fmt::Debug;

use crate::graph::Var;
use crate::graph::layout::Parameter;
use crate::kernels::timestep_embedding::{Convention, MOST_FRACTION_BITS};
use crate::nn::Pass;

/// What a network is told of the noise in its examples.
#[derive(Clone, Copy, Debug)]
pub struct Timestep<'g> {
    /// u32 `[batch]`, or `[1]` for all examples; two's complement where it is below 0. Or f32, as it is.
    pub value: Var<'g>,
    /// In units of 2^-this: solvers visit timesteps between the integers that a network is trained at. To this f32 is rounded.
    pub fraction_bits: u32,
}

impl<'g> From<Var<'g>> for Timestep<'g> {
    /// Integers.
    fn from(value: Var<'g>) -> Self {
        Self {
            value,
            fraction_bits: 0,
        }
    }
}

/// Bits of a timestep's fraction, as many as leave room for `total` timesteps and a sign.
pub(super) fn fraction_bits(total: usize) -> u32 {
    let room = (total as u32).leading_zeros().saturating_sub(1);
    room.min(MOST_FRACTION_BITS)
}

impl<'g> Timestep<'g> {
    /// Of reals, f32, in a process of `total` timesteps.
    pub(super) fn real(value: Var<'g>, total: usize) -> Self {
        Self {
            value,
            fraction_bits: fraction_bits(total),
        }
    }

    /// `[batch or 1, dim]`: [`Var::timestep_embedding`].
    pub fn embedding(self, dim: usize, convention: Convention) -> Var<'g> {
        self.value
            .timestep_embedding(dim, convention, self.fraction_bits)
    }
}

/// What a network is told beside x and t.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conditions<'g> {
    /// `[batch, class rows]`, 1 at the class.
    pub classes: Option<Var<'g>>,
    /// Smaller images of the same, `[batch, their width]`, in the process's range: of super-resolution.
    pub low_res: Option<Var<'g>>,
}

impl<'g> Conditions<'g> {
    /// The same with other rows.
    #[must_use]
    pub fn map(self, rows: impl Fn(Var<'g>) -> Var<'g>) -> Self {
        Self {
            classes: self.classes.map(&rows),
            low_res: self.low_res.map(rows),
        }
    }
}

/// A network that a process is reversed by.
pub trait Denoiser: Debug + Send + Sync {
    /// Its tensors.
    fn parameters(&self) -> Vec<Parameter>;

    /// What it says of `x` `[batch, width]` at `t`: `[batch, pixels, outputs]`, a pixel of points being the whole point. A network without
    /// such inputs passes over what it is told.
    fn predict<'g>(
        &self,
        pass: &Pass<'g>,
        x: Var<'g>,
        t: Timestep<'g>,
        told: Conditions<'g>,
    ) -> Var<'g>;

    /// Values of a prediction a pixel: the channels of x, twice as many where a variance is predicted too.
    fn outputs(&self) -> usize;
}
