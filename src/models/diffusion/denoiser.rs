//! What predicts, whatever it is made of.

use std::fmt::Debug;

use crate::graph::Var;
use crate::graph::layout::Parameter;
use crate::nn::Pass;

/// A network that a process is reversed by.
pub trait Denoiser: Debug + Send + Sync {
    /// Its tensors.
    fn parameters(&self) -> Vec<Parameter>;

    /// What it says of `x` `[batch, width]` at `t` (u32, `[batch]` or `[1]`): `[batch, pixels, outputs]`, a pixel of points being the whole
    /// point. `classes` is `[batch, class rows]`, 1 at the class.
    fn predict<'g>(
        &self,
        pass: &Pass<'g>,
        x: Var<'g>,
        t: Var<'g>,
        classes: Option<Var<'g>>,
    ) -> Var<'g>;

    /// Values of a prediction a pixel: the channels of x, twice as many where a variance is predicted too.
    fn outputs(&self) -> usize;
}
