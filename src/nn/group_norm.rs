//! Group normalisation (Wu & He 2018).

use crate::graph::Var;
use crate::graph::layout::{Init, Parameter};

/// torch.nn.GroupNorm over `[batch, ..., channels]`.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupNorm {
    /// The prefix of its tensors' names.
    pub name: String,
    /// Channels.
    pub channels: usize,
    /// Groups of them.
    pub groups: usize,
    /// Added to the variance.
    pub epsilon: f64,
}

impl GroupNorm {
    /// Gain and bias.
    pub fn parameters(&self) -> Vec<Parameter> {
        let tensor =
            |what, init| Parameter::new(format!("{}.{what}", self.name), [self.channels], init);
        vec![
            tensor("weight", Init::Constant(1.0)),
            tensor("bias", Init::Constant(0.0)),
        ]
    }

    /// The layer applied to `x`, and silu after it where it is asked for.
    pub fn forward<'g>(&self, x: Var<'g>, silu: bool) -> Var<'g> {
        let [gain, bias] = self.affine(x);
        x.group_norm(self.groups, gain, bias, self.epsilon, silu)
    }

    /// The same, and before silu times 1 + scale, plus shift: rows `[rows, channels]` of each image, or one for all (Dhariwal & Nichol 2021,
    /// "Diffusion models beat GANs", section 4.2).
    pub fn forward_adaptive<'g>(&self, x: Var<'g>, scale: Var<'g>, shift: Var<'g>) -> Var<'g> {
        let [gain, bias] = self.affine(x);
        let factor = scale + 1.0;
        let rows = |v: Var<'g>| {
            if v.shape().dims()[0] == 1 {
                v.reshape([self.channels])
            } else {
                v
            }
        };
        let (gain, bias) = (rows(gain * factor), rows(bias * factor + shift));
        x.group_norm(self.groups, gain, bias, self.epsilon, true)
    }

    fn affine<'g>(&self, x: Var<'g>) -> [Var<'g>; 2] {
        ["weight", "bias"].map(|what| {
            x.graph()
                .parameter(&format!("{}.{what}", self.name), [self.channels])
        })
    }
}
