//! Activations by name.

use serde::{Deserialize, Serialize};

use crate::graph::Var;

/// A scalar function after a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Activation {
    /// x
    Identity,
    /// max(x, 0)
    #[default]
    Relu,
    /// x where positive, else 0.2 x, as DCGAN has it.
    LeakyRelu,
    /// 1 / (1 + e^-x)
    Sigmoid,
    /// tanh(x)
    Tanh,
    /// x where positive, else e^x - 1.
    Elu,
    /// x sigmoid(x)
    Silu,
    /// ln(1 + e^x)
    Softplus,
}

impl Activation {
    /// The function of every element.
    pub fn apply(self, x: Var<'_>) -> Var<'_> {
        match self {
            Self::Identity => x,
            Self::Relu => x.relu(),
            Self::LeakyRelu => x.leaky_relu(0.2),
            Self::Sigmoid => x.sigmoid(),
            Self::Tanh => x.tanh(),
            Self::Elu => x.elu(1.0),
            Self::Silu => x.silu(),
            Self::Softplus => x.softplus(),
        }
    }
}
